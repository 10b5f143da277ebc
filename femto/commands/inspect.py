"""`femto loss`, `femto evaluate`, `femto info`: what a model file says."""

import math
import statistics
from typing import TYPE_CHECKING

import click

from femto.commands import main
from femto.commands.options import (
    dataset_option,
    json_option,
    model_option,
    print_json,
    threads_option,
    unknown_warning,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from femto.analysis.lineage import Event


@main.command()
@model_option
@click.option("--limit", default=10, show_default=True, type=click.IntRange(1), help="How many.")
@json_option
def loss(model: str, limit: int, as_json: bool) -> None:
    """Print the last training losses, one a line, oldest first."""
    from femto import checkpoint

    losses = checkpoint.load(model, optimizer=False).history.losses[-limit:]
    if as_json:
        print_json({"losses": [float(str(value)) for value in losses]})
        return
    for value in losses:
        click.echo(str(value))


@main.command()
@model_option
@dataset_option
@click.option("--validation-split", default=1.0, show_default=True, help="Evaluate only on this last share of the data.")
@threads_option
@json_option
def evaluate(model: str, dataset: str, validation_split: float, as_json: bool) -> None:
    """Measure the loss on a text: nats a token, bits a byte, perplexity."""
    from femto import checkpoint, data, training

    if not 0.0 < validation_split <= 1.0:
        raise click.BadParameter("must be above 0 and at most 1", param_hint="--validation-split")
    loaded = checkpoint.load(model, optimizer=False)
    read = data.load_dataset(dataset, loaded.tokenizer)
    ids = read.ids[len(read.ids) - round(len(read.ids) * validation_split) :]
    data.require_two(ids, f"{dataset}: the part to evaluate")
    result = training.evaluate(loaded.model, ids, loaded.tokenizer.token_lengths())
    if as_json:
        print_json(
            {
                "model": model,
                "dataset": dataset,
                "loss": result.nats,
                "bits_per_byte": result.bits_per_byte,
                "perplexity": result.perplexity,
                "tokens": result.num_predictions,
                "unknown_share": read.unknown_share,
            }
        )
        return
    unknown_warning(read.num_unknown, len(read.ids), dataset)
    click.echo(f"loss: {result.nats:.4f} nats a token")
    click.echo(f"bits a byte: {result.bits_per_byte:.4f}")
    click.echo(f"perplexity: {result.perplexity:.4f}")
    click.echo(f"tokens: {result.num_predictions:,}")


@main.command()
@model_option
@json_option
def info(model: str, as_json: bool) -> None:
    """Show hyperparameters, parameter count, history and tokens; with --json all of it, with checksums."""
    from femto import checkpoint, config
    from femto.analysis import lineage
    from femto.model import count_parameters
    from femto.training import trainer

    loaded = checkpoint.load(model)
    shape, history, tokenizer = loaded.model.config, loaded.history, loaded.tokenizer
    # Of training: parameters, gradients, two moments; and the activations of the windows that are computed together.
    together = trainer.micro_batch_size(shape, loaded.training)
    memory = {
        "parameters": 4 * shape.num_parameters,
        "training_state": 12 * shape.num_parameters,
        "activations": together * trainer.activation_bytes(shape),
    }
    if as_json:
        print_json(
            {
                "model": model,
                "hyperparameters": {**config.to_json(shape), "head_size": shape.head_size},
                "num_parameters": shape.num_parameters,
                "parameters_of": count_parameters(shape),
                "memory_bytes": memory,
                "parameters_sha256": loaded.model.parameters_sha256,
                "optimizer_sha256": loaded.optimizer_sha256,
                "optimizer_step": loaded.optimizer.step if loaded.optimizer else None,
                "training": config.to_json(loaded.training),
                "num_steps": history.num_steps,
                "history": history.entries,
                "losses": [float(str(value)) for value in history.losses],
                "milliseconds": [float(str(value)) for value in history.milliseconds],
                "tokenizer": tokenizer.to_json(),
            }
        )
        return
    click.echo(f"{model}: {shape.num_parameters:,} parameters, {history.num_steps:,} steps")
    click.echo(
        f"shape: d={shape.embedding_degree}, L={shape.num_layers}, H={shape.num_heads} of {shape.head_size}, "
        f"T={shape.num_tokens}, V={shape.vocab_size}; block {shape.block}, positions {shape.positional_encoding}"
    )
    parts = ", ".join(f"{name} {count:,}" for name, count in count_parameters(shape).items())
    click.echo(f"parameters: {parts}")
    sizes = {name: f"{size / 2**20:,.1f} MiB" for name, size in memory.items()}
    click.echo(
        f"memory: parameters {sizes['parameters']}; training adds {sizes['training_state']} of gradients and moments, and "
        f"{sizes['activations']} of activations of {together} windows"
    )
    case = "" if tokenizer.case_sensitive else ", case insensitive"
    click.echo(f"tokenizer: {tokenizer.kind}, {tokenizer.vocab_size} tokens{case}")
    click.echo(f"training: {', '.join(f'{name} {value}' for name, value in config.to_json(loaded.training).items())}")
    if history.num_steps:
        kept = history.losses
        of = f" (of the last {len(kept):,} steps)" if len(kept) < history.num_steps else ""
        click.echo(f"loss: {sparkline(kept)}  {kept[0]:.4f} to {history.recent_loss(10):.4f}{of}")
    click.echo("history:")
    for event in lineage.events(history):
        click.echo(f"  {event.entry['time']}  {entry_line(event)}")


def sparkline(values: "NDArray[np.float32]", width: int = 60) -> str:
    """Values as a line of bars, each the mean of as many: low ones are small."""
    import numpy as np

    values = values[np.isfinite(values)].astype(np.float64)
    if not len(values):
        return ""
    means = np.array([part.mean() for part in np.array_split(values, min(width, len(values)))])
    span = means.max() - means.min()
    heights = np.zeros(len(means), int) if not 0 < span < np.inf else np.rint(7 * (means - means.min()) / span).astype(int)
    return "".join("▁▂▃▄▅▆▇█"[height] for height in heights)


def entry_line(event: "Event") -> str:
    """One entry of a history, or a part of a session, for people: on one line, whatever a stranger wrote into it."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in _entry_line(event))


def _entry_line(event: "Event") -> str:
    entry, kind = event.entry, event.entry["kind"]
    if kind == "init":
        seed = entry.get("seed")  # null in an imported model: the original program had none
        source = f", imported from {entry['imported']}" if "imported" in entry else ""
        return f"init, preset {entry.get('preset')}" + ("" if seed is None else f", seed {seed}") + source
    if kind == "init-with":
        return f"init-with the layers of a model after {entry.get('parent_steps')} steps, seed {entry.get('seed')}"
    if kind == "rename-token":
        return f"rename-token {entry.get('token_id')}, {entry.get('before')!r} is {entry.get('after')!r} now"
    if kind == "insert-layer":
        return f"insert-layer before layer {entry.get('index')}"
    if kind == "insert-head":
        return f"insert-head, {entry.get('count')} more in every layer"
    if kind == "extend-context":
        return f"extend-context to {entry.get('num_tokens')} tokens"
    if kind != "session":
        return str(kind)
    dataset = entry["dataset"]
    digest = dataset.get("sha256") or dataset.get("file_hash")  # the latter of the original program
    name = f"{dataset['name']} ({str(digest)[:8]})" if digest else dataset["name"]
    if not event.steps:
        return f"session on {name}, no steps"
    first = event.first_step
    losses = [loss for loss in event.losses.tolist() if math.isfinite(loss)] if len(event.losses) == event.steps else []
    skipped = f", {entry['skipped']} of them skipped" if entry.get("skipped") and event.steps == entry["steps"] else ""
    loss = f", loss {losses[0]:.4f} to {statistics.fmean(losses[-10:]):.4f}" if losses else ""
    return f"session on {name}, steps {first + 1:,} to {first + event.steps:,}{skipped}, dropout {entry.get('dropout')}{loss}"
