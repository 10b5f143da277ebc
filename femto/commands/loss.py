"""`femto loss`: the last training losses."""

import click

from femto.commands.shared.command_line import command
from femto.commands.shared.options import json_option, model_option, option, print_json


@command("Look into models", "print the last training losses", place=20)
@model_option
@option("--limit", default=10, type=click.IntRange(1), help="How many losses to print.")
@json_option
def loss(model: str, limit: int, as_json: bool) -> None:
    """Print the last training losses in nats a token, one a line, oldest first."""
    from femto import checkpoint

    losses = checkpoint.load(model, optimizer=False).history.losses[-limit:]
    if as_json:
        print_json({"losses": [float(str(value)) for value in losses]})
        return
    for value in losses:
        click.echo(str(value))
