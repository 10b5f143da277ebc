"""`femto reset-optimizer`: training goes on as from a new optimiser."""

import click

from femto.commands.shared.command_line import command
from femto.commands.shared.options import model_option


@command("Grow and convert models", "drop the optimiser's state", place=50)
@model_option
def reset_optimizer(model: str) -> None:
    """Drop the state of a model's optimiser. The parameters stay as they are.

    The moments begin anew at the next training, and so does the step that the learning rate follows: it warms up again.
    """
    from femto import checkpoint, growth

    with checkpoint.locked(model):
        loaded = checkpoint.load(model)
        growth.reset_optimizer(loaded)
        checkpoint.save(loaded, model)
    click.echo(f"{model}: the optimiser is reset")
