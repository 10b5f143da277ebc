"""What `init` and `init-with` say of the model that they have made."""

from typing import TYPE_CHECKING

import click

from femto.commands.shared.options import print_json

if TYPE_CHECKING:
    from femto.config import ModelConfig


def report(model: str, shape: "ModelConfig", seed: int, as_json: bool, also: str = "", **more: object) -> None:
    """also: what the text has at its end. more: what the JSON has besides."""
    from femto import config

    if as_json:
        count = shape.num_parameters
        print_json({"model": model, **more, "seed": seed, "num_parameters": count, "config": config.to_json(shape)})
    else:
        click.echo(f"{model}: {shape.num_parameters:,} parameters, {shape.vocab_size} tokens, seed {seed}{also}")
