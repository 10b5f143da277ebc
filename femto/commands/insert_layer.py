"""`femto insert-layer`: a deeper model from a trained one."""

from femto.commands.shared.command_line import command
from femto.commands.shared.growing import grow, growth_options
from femto.commands.shared.options import option


@command("Grow and convert models", "make a deeper model that says the same", place=10)
@option(
    "--insert-at",
    default=1,
    values="0 to the number of layers",
    help="The layer that the new one comes before, counted from 0. The number of layers puts it last.",
)
@growth_options("inserted.dat")
def insert_layer(
    input: str, output: str, insert_at: int, reset_optimizer: bool, seed: int | None, force: bool, as_json: bool
) -> None:
    """Make a model one layer deeper.

    A modern model says what it said before, to the bit, and the new layer learns from the first step. On a reference model the
    layer is random and the optimiser is reset, as the original program did it.
    """
    from femto import growth

    grow(lambda old, seed: growth.insert_layer(old, insert_at, seed), input, output, reset_optimizer, seed, force, as_json)
