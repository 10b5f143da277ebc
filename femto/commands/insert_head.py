"""`femto insert-head`: a wider model from a trained one."""

import click

from femto.commands.shared.command_line import command
from femto.commands.shared.growing import grow, growth_options
from femto.commands.shared.options import option


@command("Grow and convert models", "make a wider model that says the same", place=20)
@option("--add-heads", "count", old="--count", default=1, type=click.IntRange(1), help="How many heads to add to every layer.")
@growth_options("inserted.dat")
def insert_head(input: str, output: str, count: int, reset_optimizer: bool, seed: int | None, force: bool, as_json: bool) -> None:
    """Make a model wider: more attention heads of the same size in every layer.

    A modern model says what it said before, to rounding. On a reference model all that is new is random and the optimiser is
    reset.
    """
    from femto import growth

    grow(lambda old, seed: growth.insert_heads(old, count, seed), input, output, reset_optimizer, seed, force, as_json)
