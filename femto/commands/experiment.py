"""`femto experiment`: the 43 experiments of the journal, and recipes of one's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from femto.commands.shared.command_line import group
from femto.commands.shared.notes import text_notes
from femto.commands.shared.options import (
    Texts,
    json_option,
    one_or_several,
    option,
    print_json,
    quiet_option,
    threads_option,
)
from femto.commands.shared.run_progress import show_progress
from femto.config import PRESETS
from femto.system.text import counted

if TYPE_CHECKING:
    from femto.experiments.engine import Run
    from femto.experiments.recipe import Recipe

SHOWN_SETTINGS = ("batch_size", "learning_rate", "decay_steps", "dropout", "weight_decay")
NOT_MET = 3  # exit status of a run that ended without meeting its criterion


@group("Experiments", "run the 43 experiments of the journal, or a recipe of your own", place=10)
def experiment() -> None:
    """Run the 43 experiments of the journal that femto comes from, each with one command.

    `list` shows them all, `show N` tells what is known of experiment N, and `run N` runs it. `run FILE.toml` runs a recipe of
    your own, whose checks may ask for what `measures` shows.
    """


@experiment.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the experiments: number, the verdicts of the journal and of femto, time, title."""
    from femto.experiments import reading, results
    from femto.system.text import duration

    rows = []
    for number in reading.numbers():
        found, ours = reading.load(number), results.result(number, "modern")
        rows.append(
            {
                "number": int(number),
                "title": found.title,
                "log": found.log["verdict"],
                "ours": None if ours is None else "success" if ours["passed"] else "fail",
                "seconds": None if ours is None else ours["seconds"],
            }
        )
    if as_json:
        print_json(rows)
        return
    click.echo(f"{'':>3} {'journal':8} {'femto':8} {'in':>12}  title")
    for row in rows:
        took = "" if row["seconds"] is None else duration(row["seconds"])
        click.echo(f"{row['number']:>3} {row['log']:8} {row['ours'] or '':8} {took:>12}  {row['title']}")


@experiment.command()
@click.argument("name", metavar="NUMBER|FILE.toml")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show what is known of an experiment, given by its NUMBER or by the FILE.toml of a recipe.

    That is its settings, the results of the journal and of femto, and the questions of the journal with our answers.
    """
    from femto.config import to_json
    from femto.experiments import reading, results
    from femto.experiments.engine import describe
    from femto.experiments.verdict import asked

    found = reading.load(name)
    ours = {preset: results.result(found.name, preset) for preset in found.plans}
    if as_json:
        plans = {
            preset: {
                "model": plan.model,
                "tokenizer": plan.tokenizer,
                "training": to_json(plan.training),
                "stages": [describe(stage) for stage in plan.stages],
                "checks": [asked(check) for check in plan.checks],
                "note": plan.note,
                "result": ours[preset],
            }
            for preset, plan in found.plans.items()
        }
        answer = results.filled(found.answer)
        print_json({"name": found.name, "title": found.title, "data": found.data, "log": found.log, "criterion": found.criterion,
                    "answer": answer, "plans": plans})  # fmt: skip
        return
    click.echo(f"{found.name}  {found.title}")
    if "verdict" in found.log:
        click.echo(f"\nThe journal: {found.log['verdict']}. {found.log.get('goal', '')}")
        click.echo(f"  {_log_line(found)}")
        for observation in found.log.get("observations", ()):
            click.echo(f"  - {observation}")
    if found.criterion:
        click.echo(f"\nThe journal's criterion: {found.criterion}")
    for preset, plan in found.plans.items():
        click.echo(f"\n{preset}: {'; '.join(describe(stage) for stage in plan.stages)}")
        if plan.note:
            click.echo(f"  {results.filled(plan.note)}")
        click.echo(f"  tokenizer {_pairs(plan.tokenizer)}; model {_pairs(plan.model)}")
        training = to_json(plan.training)
        click.echo(f"  {_pairs({key: training[key] for key in SHOWN_SETTINGS})}")
        result = ours[preset]
        if result is None:
            click.echo(f"  asked: {'; '.join(map(asked, plan.checks))}")
            click.echo("  not recorded; `femto experiment run` tells")
            continue
        if result["plan"] != plan.digest:
            click.echo("  recorded with other settings than these:")
        for line in _result_lines(result):
            click.echo(f"  {line}")
    if "question" in found.log:
        click.echo(f"\nThe author asked: {found.log['question']}")
    if found.answer:
        click.echo(f"Our answer: {results.filled(found.answer)}")


@experiment.command()
@json_option
def measures(as_json: bool) -> None:
    """Show what the checks of a recipe can ask for."""
    from femto.experiments.measures import MEASURES

    if as_json:
        print_json({name: {"options": list(measure.options), "of": measure.of} for name, measure in MEASURES.items()})
        return
    for name, measure in MEASURES.items():
        click.echo(f"{name} {' '.join(map('{}=…'.format, measure.options))}".rstrip())
        click.echo(f"    {' '.join((measure.function.__doc__ or '').split())}")


@experiment.command(
    statuses={
        0: "The experiment meets its criterion.",
        NOT_MET: "It does not meet it.",
    }
)
@click.argument("name", metavar="NUMBER|FILE.toml")
@option(
    "--preset",
    type=click.Choice(tuple(PRESETS)),
    default_text="modern, if the recipe has it",
    help="The variant: with the settings of femto, or with those of the original program.",
)
@option(
    "--dataset",
    old="--data",
    multiple=True,
    type=click.Path(),
    callback=one_or_several,
    values="once for each, in this order",
    default_text="a text that Python brings along",
    help="The text, a file, a folder or several of them, for an experiment that does not generate its own.",
)
@option(
    "--max-minutes",
    old="--budget",
    type=click.FloatRange(0, min_open=True),
    default_text="no limit",
    help="How many minutes to train at most. Then every stage ends early.",
)
@option(
    "--seed",
    default=0,
    type=click.IntRange(0, 2**40),
    help="The seed of the data, of the random parameters and of the training.",
)
@option(
    "--folder",
    type=click.Path(),
    default_text="experiments/NAME-PRESET",
    help="The folder for models, metrics and the verdict.",
)
@option("--force", is_flag=True, help="Begin again, and replace what the folder holds of an earlier run.")
@option("--in-turn", is_flag=True, help="Train several models one after another, instead of side by side on one thread each.")
@quiet_option
@threads_option
@json_option
@click.pass_context
def run(
    ctx: click.Context,
    name: str,
    preset: str | None,
    dataset: Texts | None,
    max_minutes: float | None,
    seed: int,
    folder: str | None,
    force: bool,
    in_turn: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run an experiment, from where it stopped, and say whether it meets its criterion.

    It is given by its NUMBER in the journal, or by the FILE.toml of a recipe of your own.
    An experiment that starts from models of another one runs that one first, if it has not been run. A signal that stops `femto
    train` stops this too: it saves, and the same command goes on.
    """
    from femto.experiments import reading, sources, verdict
    from femto.experiments.engine import Run
    from femto.experiments.state import folder_of, is_done
    from femto.system.signals import StopRequest

    recipe = reading.load(name)
    preset = preset or next(iter(recipe.plans))
    place = Path(folder) if folder else folder_of(recipe.name, preset)
    if dataset is not None:
        text_notes(dataset)
    stop = StopRequest()
    with stop.listening():
        for each in reading.with_parents(recipe, preset):
            last = each is recipe
            where = place if last else folder_of(each.name, preset, place.parent)
            if not last and is_done(each, preset, where, cut=max_minutes is not None):
                continue
            if not last and not quiet:
                click.echo(f"first experiment {each.name}, whose models it starts from, in {where}", err=True)
            source = sources.load(each.data, dataset if each.data == recipe.data else None, seed)
            made = Run(each, preset, where, source, seed, max_minutes, side_by_side=not in_turn, anew=force and last)
            with made.locked():
                show_progress(made, stop, quiet)
            if not made.finished:
                if as_json:
                    print_json({"name": each.name, "preset": preset, "folder": str(where), "stopped_by": stop.name})
                else:
                    click.echo(f"{where}: stopped by {stop.name}; the same command goes on")
                stop.end()
    found = verdict.judge(made)
    verdict.save(found, made)
    if as_json:
        print_json({"folder": str(place), "log": recipe.log, **found.to_json()})
    else:
        _print(recipe, found.to_json(), made)
    stop.end()
    if not found.passed:
        ctx.exit(NOT_MET)


def _print(recipe: "Recipe", result: dict[str, Any], made: "Run") -> None:
    click.echo(f"{recipe.name}  {recipe.title}")
    if "verdict" in recipe.log:
        click.echo(f"the journal:  {recipe.log['verdict']}: {_log_line(recipe)}")
    for line in _result_lines(result):
        click.echo(line)
    click.echo(f"models: {', '.join(str(made.path(model)) for model in made.state.models)}")


def _log_line(recipe: "Recipe") -> str:
    """What the journal tells of an experiment, on a line."""
    from femto.system.text import duration

    log = recipe.log
    parts = []
    if "loss" in log:
        parts.append(f"loss {log['loss']}")
    if "steps" in log:
        parts.append(counted(log["steps"], "step"))
    if "seconds" in log:
        parts.append(duration(log["seconds"]))
    if "milliseconds_per_step" in log:
        parts.append(f"{log['milliseconds_per_step']:,.0f} ms a step")
    if "parameters" in log:
        parts.append(f"{log['parameters']:,} parameters")
    if "machine" in log:
        parts.append(log["machine"])
    return ", ".join(parts) or "no figures"


def _result_lines(result: dict[str, Any]) -> list[str]:
    """A verdict for people."""
    from femto.experiments.results import outcome, stuck
    from femto.system.text import duration

    steps = counted(result["planned_steps"], "step")
    steps = counted(result["steps"], "step") if result["complete"] else f"{result['steps']:,} of {steps}"
    lines = [
        f"femto:    {'success' if result['passed'] else 'fail'}: loss {result['loss']:.4f}, {steps}, "
        f"{duration(result['seconds'])}, {result['milliseconds_per_step']:,.0f} ms a step, "
        f"{result['num_parameters']:,} parameters, {result['preset']}"
    ]
    lines += [f"  {'met    ' if check['passed'] else 'NOT met'} {outcome(check)}" for check in result["checks"]]
    if stuck(result):
        lines.append(
            f"  stuck at {result['unigram_entropy']:.3f}, the entropy of the frequencies of tokens: it has learnt how often each "
            "occurs, and nothing about their order; `femto diagnose` says why"
        )
    return lines


def _pairs(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())
