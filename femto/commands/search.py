"""`femto search`: a population of models, of which the best is grown and trained on."""

from pathlib import Path
from typing import Any

import click

from femto.commands.shared.command_line import command
from femto.commands.shared.history_text import recent_loss
from femto.commands.shared.notes import text_notes
from femto.commands.shared.options import (
    OrAuto,
    Texts,
    dataset_option,
    json_option,
    option,
    preset_option,
    print_json,
    quiet_option,
    threads_option,
    tokenizer_option,
)
from femto.commands.shared.run_progress import show_progress
from femto.system.text import counted

SIZES = ("tiny", "small", "medium", "big")


@command("Experiments", "train a population of models that grow, and keep the best", place=20)
@option(
    "--size",
    default="small",
    type=click.Choice(SIZES),
    help="How large the models are, how many start, and how long they train before the last stage.",
)
@dataset_option
@option("--folder", default="search", type=click.Path(), help="The folder for models and metrics.")
@preset_option
@tokenizer_option
@option("--vocab-size", type=click.IntRange(2), default_text="768", help="How many tokens the tokenizer bpe learns.")
@option(
    "--num-tokens",
    default=80,
    type=click.IntRange(1),
    values="1 to 65,536",
    help="The context: how many tokens a model looks at (T).",
)
@option("--steps", default=100_000, type=click.IntRange(1), help="How many steps the best model trains in the last stage.")
@option(
    "--batch-size",
    type=int,
    values="1 to 1,048,576",
    default_text="16 with the preset modern, 32 with reference",
    help="How many windows of the text one step learns from (B).",
)
@option(
    "--dropout",
    type=float,
    values="0 to 0.99",
    default_text="0",
    help="The probability that dropout sets a value to zero. 0 is no dropout.",
)
@option(
    "--learning-rate",
    type=float,
    values="0 to 1000",
    default_text="that of the preset",
    help="The highest learning rate, reached after the warm-up.",
)
@option(
    "--decay-steps",
    type=OrAuto(int),
    values="0 to 4,294,967,296",
    default_text="with the preset modern all steps of a model, with reference 50,000",
    help="For how many steps the learning rate falls from its highest to its minimum. 0 is no decay.",
)
@option("--seed", default=0, type=click.IntRange(0, 2**40), help="The seed of the random parameters and of the training.")
@option("--force", is_flag=True, help="Begin again, and replace what the folder holds of an earlier search.")
@option("--in-turn", is_flag=True, help="Train the models one after another on all threads, instead of side by side on one each.")
@quiet_option
@threads_option
@json_option
def search(
    size: str,
    dataset: Texts,
    folder: str,
    preset: str,
    tokenizer: str,
    vocab_size: int | None,
    num_tokens: int,
    steps: int,
    seed: int,
    force: bool,
    in_turn: bool,
    quiet: bool,
    as_json: bool,
    **training: Any,
) -> None:
    """Train a population of models on a text, let the best ones grow, and train the best of all further.

    The original program's train.py did this. Several models start. Each gets one layer more, and the best of those another one.
    The best model is then trained for --steps more. The models of every stage stay in the folder. A signal that
    stops `femto train` stops this too: it saves, and the same command goes on.
    """
    from femto import checkpoint, data
    from femto.experiments.engine import Run
    from femto.experiments.search import SIZES, recipe
    from femto.experiments.sources import Source
    from femto.system.signals import StopRequest

    if vocab_size is not None and tokenizer != "bpe":
        raise click.UsageError("--vocab-size is for --tokenizer bpe")
    kind: dict[str, Any] = {"kind": tokenizer, **({"vocab_size": vocab_size} if vocab_size else {})}
    plan = recipe(SIZES[size], preset, steps, num_tokens, kind, **training)
    source = Source(data.name_of(dataset), tuple(data.read_documents(dataset)))
    text_notes(dataset)
    run = Run(plan, preset, folder, source, seed, side_by_side=not in_turn, anew=force)
    stop = StopRequest()
    with stop.listening(), run.locked():
        show_progress(run, stop, quiet)
    models, lines = {}, []
    for name in run.state.models:
        loaded = checkpoint.load(run.path(name), optimizer=False)
        models[name] = {
            "path": str(run.path(name)),
            "steps": loaded.history.num_steps,
            "num_layers": loaded.model.config.num_layers,
            "loss": loaded.history.recent_loss(10) if loaded.history.num_steps else None,
        }
        layers, steps_done = loaded.model.config.num_layers, loaded.history.num_steps
        lines.append(f"{run.path(name)}: {counted(layers, 'layer')}, {counted(steps_done, 'step')}{recent_loss(loaded.history)}")
    if as_json:
        print_json({"folder": str(Path(folder)), "finished": run.finished, "stopped_by": stop.name, "models": models})
    else:
        for line in lines:
            click.echo(line)
        if stop.name:
            click.echo(f"{folder}: stopped by {stop.name}; the same command goes on")
    stop.end()
