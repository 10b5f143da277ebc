"""`femto extend-context`: a model with a longer context from a trained one."""

from femto.commands.shared.command_line import command
from femto.commands.shared.growing import grow, growth_options
from femto.commands.shared.options import option


@command("Grow and convert models", "make a model with a longer context", place=30)
@option(
    "--num-tokens",
    required=True,
    type=int,
    values="more than now, at most 65,536",
    help="The new context: how many tokens the model looks at (T).",
)
@growth_options("extended.dat")
def extend_context(
    input: str, output: str, num_tokens: int, reset_optimizer: bool, seed: int | None, force: bool, as_json: bool
) -> None:
    """Give a model a longer context. Texts that fitted into the old one get the same answers."""
    from femto import growth

    grow(lambda old, seed: growth.extend_context(old, num_tokens, seed), input, output, reset_optimizer, seed, force, as_json)
