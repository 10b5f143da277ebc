"""`femto reset-optimizer`: training goes on as from a new optimiser."""

import click

from femto.commands.shared.command_line import command
from femto.commands.shared.options import json_option, model_option, print_json


@command("Grow and convert models", "drop the optimiser's state", place=50)
@model_option
@json_option
def reset_optimizer(model: str, as_json: bool) -> None:
    """Drop the state of a model's optimiser. The parameters stay as they are.

    The moments begin anew at the next training, and so does the step that the learning rate follows: it warms up again.
    """
    from femto import checkpoint, growth

    with checkpoint.locked(model):
        loaded = checkpoint.load(model)
        growth.reset_optimizer(loaded)
        checkpoint.save(loaded, model)
    if as_json:
        print_json({"model": model, "num_steps": loaded.history.num_steps, "optimizer_step": 0})
        return
    click.echo(f"{model}: the optimiser is reset")
