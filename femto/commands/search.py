"""`femto search`: a population of models, of which the best is grown and trained on."""

from pathlib import Path
from typing import Any

import click

from femto.commands import main
from femto.commands.initialize import PRESETS, TOKENIZERS
from femto.commands.options import dataset_option, json_option, print_json, threads_option

SIZES = ("tiny", "small", "medium", "big")


@main.command()
@click.option("--size", default="small", show_default=True, type=click.Choice(SIZES), help="Of the models and of the population.")
@dataset_option
@click.option("--folder", default="search", show_default=True, type=click.Path(), help="Of checkpoints and metrics.")
@click.option("--preset", default="modern", show_default=True, type=click.Choice(PRESETS), help="Default choices.")
@click.option("--tokenizer", default="ascii", show_default=True, type=click.Choice(TOKENIZERS), help="Kind.")
@click.option("--vocab-size", type=click.IntRange(2), help="Tokens that bpe learns. [default: 768]")
@click.option("--num-tokens", default=80, show_default=True, type=click.IntRange(1), help="Context in tokens (T).")
@click.option("--steps", default=100_000, show_default=True, type=click.IntRange(1), help="Of the best model, at the end.")
@click.option("--batch-size", type=int, help="Windows a step. [default: modern: 16, reference: 32]")
@click.option("--dropout", type=float, help="Probability. [default: 0]")
@click.option("--learning-rate", type=float, help="Peak. [default: of the preset]")
@click.option("--decay-steps", type=int, help="Steps from the peak to the minimum. [default: modern: all that there will be]")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**40), help="Of starts and batches.")
@click.option("--force", is_flag=True, help="Begin anew, whatever the folder holds of an earlier search.")
@click.option("--in-turn", is_flag=True, help="Train one model at a time on all threads, not several on one thread each.")
@click.option("--quiet", is_flag=True, help="No progress.")
@threads_option
@json_option
def search(
    size: str,
    dataset: str,
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
    """Train a population of models on a text, grow those that learn best, and train the best one on.

    What the journal's train.py does: some models start; each is deepened by a layer; the best get another one; the best of those
    is trained for --steps more. Ctrl-C or SIGTERM saves, and the same command goes on. The models of every turn stay in the
    folder.
    """
    from femto import checkpoint, data
    from femto.commands.experiment import show_progress
    from femto.commands.progress import StopRequest
    from femto.experiments.engine import Run
    from femto.experiments.search import SIZES, recipe
    from femto.experiments.sources import Source

    if vocab_size is not None and tokenizer != "bpe":
        raise click.UsageError("--vocab-size is for --tokenizer bpe")
    kind: dict[str, Any] = {"kind": tokenizer, **({"vocab_size": vocab_size} if vocab_size else {})}
    plan = recipe(SIZES[size], preset, steps, num_tokens, kind, **training)
    source = Source(dataset, tuple(data.read_documents(dataset)))
    run = Run(plan, preset, folder, source, seed, side_by_side=not in_turn, anew=force)
    stop = StopRequest()
    with stop.listening(), run.locked():
        show_progress(run, stop, quiet)
    models = {}
    for name in run.state.models:
        loaded = checkpoint.load(run.path(name), optimizer=False)
        models[name] = {
            "path": str(run.path(name)),
            "steps": loaded.history.num_steps,
            "num_layers": loaded.model.config.num_layers,
            "loss": loaded.history.recent_loss(10) if loaded.history.num_steps else None,
        }
    if as_json:
        print_json({"folder": str(Path(folder)), "finished": run.finished, "stopped_by": stop.name, "models": models})
        return
    for model in models.values():
        loss = "" if model["loss"] is None else f", loss {model['loss']:.4f} over the last 10"
        click.echo(f"{model['path']}: {model['num_layers']} layers, {model['steps']:,} steps{loss}")
    if stop.name:
        click.echo(f"{folder}: stopped by {stop.name}; the same command goes on")
