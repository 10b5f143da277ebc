"""`femto loss`, `femto evaluate`, `femto info`: what a model file says."""

from typing import TYPE_CHECKING, Any

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
                "tokens": result.num_tokens,
                "unknown_share": read.unknown_share,
            }
        )
        return
    unknown_warning(read.unknown_share, dataset)
    click.echo(f"loss: {result.nats:.4f} nats a token")
    click.echo(f"bits a byte: {result.bits_per_byte:.4f}")
    click.echo(f"perplexity: {result.perplexity:.4f}")
    click.echo(f"tokens: {result.num_tokens:,}")


@main.command()
@model_option
@json_option
def info(model: str, as_json: bool) -> None:
    """Show hyperparameters, parameter count, history and tokens; with --json all of it, with checksums."""
    from femto import checkpoint, config

    loaded = checkpoint.load(model)
    shape, history, tokenizer = loaded.model.config, loaded.history, loaded.tokenizer
    if as_json:
        print_json(
            {
                "model": model,
                "hyperparameters": {**config.to_json(shape), "head_size": shape.head_size},
                "num_parameters": shape.num_parameters,
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
    case = "" if tokenizer.case_sensitive else ", case insensitive"
    click.echo(f"tokenizer: {tokenizer.kind}, {tokenizer.vocab_size} tokens{case}")
    click.echo("history:")
    for entry in history.entries:
        click.echo(f"  {entry['time']}  {entry_line(entry, history.losses)}")


def entry_line(entry: dict[str, Any], losses: "NDArray[np.float32]") -> str:
    """One entry of a history for people."""
    kind = entry["kind"]
    if kind == "init":
        seed = entry.get("seed")  # null in an imported model: the log's program had none
        return f"init, preset {entry.get('preset')}" + ("" if seed is None else f", seed {seed}")
    if kind == "init-with":
        return f"init-with the layers of a model after {entry.get('parent_steps')} steps, seed {entry.get('seed')}"
    if kind == "rename-token":
        return f"rename-token {entry.get('token_id')}, {entry.get('before')!r} is {entry.get('after')!r} now"
    if kind == "insert-layer":
        return f"insert-layer at {entry.get('index')}"
    if kind == "import":
        return f"import from {entry.get('file')}"
    return session_line(entry, losses) if kind == "session" else kind


def session_line(entry: dict[str, Any], losses: "NDArray[np.float32]") -> str:
    """One training session for people: steps, data set, first and last loss."""
    first, steps = entry["first_step"], entry["steps"]
    name = entry["dataset"]["name"]
    if not steps:
        return f"session on {name}, no steps"
    part = losses[first : first + steps]
    return (
        f"session on {name}, steps {first + 1:,} to {first + steps:,}, dropout {entry.get('dropout')}, "
        f"loss {part[0]:.4f} to {part[-10:].mean():.4f}"
    )
