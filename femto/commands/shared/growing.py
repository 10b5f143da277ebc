"""What commands that make larger models share: options, and the way from one file to another."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from femto.commands.shared.options import Decorated, json_option, option, print_json, together

if TYPE_CHECKING:
    from femto.checkpoint import Checkpoint


def growth_options(output: str) -> Callable[[Decorated], Decorated]:
    """output: the default of --output."""
    return together(
        option("--input", default="model.dat", type=click.Path(), help="The file of the model to start from."),
        option("--output", default=output, type=click.Path(), help="The file of the new model. It may be the input."),
        option("--reset-optimizer", is_flag=True, help="Drop the state of the optimiser, where it would be kept."),
        option(
            "--seed",
            type=click.IntRange(0),
            default_text="a random one",
            help="The seed of the random numbers in the new parts of the model.",
        ),
        option("--force", is_flag=True, help="Replace the output file if it exists and is not the input."),
        json_option,
    )


def check_output(input: str, output: str, force: bool) -> None:
    """Raise CheckpointError unless the output may be written: to no file, to the input itself, or to any other by force."""
    from femto import checkpoint

    same = os.path.exists(output) and os.path.exists(input) and os.path.samefile(input, output)
    checkpoint.check_target(output, replace=force or same)


def grow(
    change: "Callable[[Checkpoint, int], Checkpoint]",
    input: str,
    output: str,
    reset_optimizer: bool,
    seed: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write what a change makes of the model, and report it. change: takes the model and a seed."""
    from femto import checkpoint, growth
    from femto.system import random_numbers

    check_output(input, output, force)
    with checkpoint.locked(output):
        loaded = checkpoint.load(input)
        grown = change(loaded, random_numbers.fresh_seed() if seed is None else seed)
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
