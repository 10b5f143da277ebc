"""`femto insert-layer`, `insert-head`, `extend-context`, `reset-optimizer`: larger models from trained ones."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from femto.commands import main
from femto.commands.options import Command, json_option, model_option, print_json

if TYPE_CHECKING:
    from femto.checkpoint import Checkpoint


def growth_options(output: str) -> Callable[[Command], Command]:
    """What the commands that make a model larger share."""

    def decorate(command: Command) -> Command:
        for option in reversed(
            [
                click.option("--input", default="model.dat", show_default=True, type=click.Path(), help="Model to start from."),
                click.option(
                    "--output", default=output, show_default=True, type=click.Path(), help="The new model; may be the same file."
                ),
                click.option("--reset-optimizer", is_flag=True, help="Drop the optimiser's state."),
                click.option("--seed", type=click.IntRange(0), help="Of what is new. [default: random]"),
                click.option("--force", is_flag=True, help="Replace an existing file that is not the input."),
                json_option,
            ]
        ):
            command = option(command)
        return command

    return decorate


@main.command()
@growth_options("inserted.dat")
@click.option(
    "--insert-at", default=1, show_default=True, help="Layer that the new one comes before; as many as there are: last."
)
def insert_layer(
    input: str, output: str, insert_at: int, reset_optimizer: bool, seed: int | None, force: bool, as_json: bool
) -> None:
    """Make a model one layer deeper.

    A modern model says what it said before, to the bit, and the new layer learns from the first step. On a reference model the
    layer is random and the optimiser is reset, as the original program did it.
    """
    from femto import growth

    _grow(lambda old, seed: growth.insert_layer(old, insert_at, seed), input, output, reset_optimizer, seed, force, as_json)


@main.command()
@growth_options("inserted.dat")
@click.option("--count", default=1, show_default=True, help="Heads to add to every layer.")
def insert_head(input: str, output: str, count: int, reset_optimizer: bool, seed: int | None, force: bool, as_json: bool) -> None:
    """Make a model wider: more attention heads of the same size in every layer.

    A modern model says what it said before, to rounding. On a reference model all that is new is random and the optimiser is
    reset.
    """
    from femto import growth

    _grow(lambda old, seed: growth.insert_heads(old, count, seed), input, output, reset_optimizer, seed, force, as_json)


@main.command()
@growth_options("extended.dat")
@click.option("--num-tokens", required=True, type=int, help="The new context in tokens (T).")
def extend_context(
    input: str, output: str, num_tokens: int, reset_optimizer: bool, seed: int | None, force: bool, as_json: bool
) -> None:
    """Give a model a longer context; texts that fitted before get the same answers."""
    from femto import growth

    _grow(lambda old, seed: growth.extend_context(old, num_tokens, seed), input, output, reset_optimizer, seed, force, as_json)


def _grow(
    grow: "Callable[[Checkpoint, int], Checkpoint]",
    input: str,
    output: str,
    reset_optimizer: bool,
    seed: int | None,
    force: bool,
    as_json: bool,
) -> None:
    from femto import checkpoint, growth
    from femto.system import random_numbers

    same = os.path.exists(output) and os.path.exists(input) and os.path.samefile(input, output)
    checkpoint.check_target(output, replace=force or same)
    with checkpoint.locked(output):
        loaded = checkpoint.load(input)
        grown = grow(loaded, random_numbers.fresh_seed() if seed is None else seed)
        if reset_optimizer and grown.optimizer:
            growth.reset_optimizer(grown)
        checkpoint.save(grown, output)
    before, after = loaded.model.config, grown.model.config
    kept = growth.preserves_function(after) or after.num_tokens > before.num_tokens  # extend-context keeps it of any model
    if as_json:
        shape = {"num_layers": after.num_layers, "num_heads": after.num_heads, "embedding_degree": after.embedding_degree}
        print_json(
            {
                "model": output,
                "num_parameters": after.num_parameters,
                **shape,
                "num_tokens": after.num_tokens,
                "function_preserved": kept,
                "optimizer_kept": grown.optimizer is not None,
            }
        )
        return
    click.echo(
        f"{output}: {after.num_parameters:,} parameters ({before.num_parameters:,} before), L={after.num_layers}, "
        f"H={after.num_heads}, d={after.embedding_degree}, T={after.num_tokens}; "
        + ("says what it said before" if kept else "the new part is random, and the optimiser reset")
    )


@main.command()
@model_option
def reset_optimizer(model: str) -> None:
    """Drop the optimiser's state: moments, and the step that the learning rate follows, begin anew."""
    from femto import checkpoint, growth

    with checkpoint.locked(model):
        loaded = checkpoint.load(model)
        growth.reset_optimizer(loaded)
        checkpoint.save(loaded, model)
    click.echo(f"{model}: the optimiser is reset")
