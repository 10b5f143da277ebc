"""`femto init`: a new model."""

from typing import Any

import click

from femto.commands import main
from femto.commands.options import json_option, model_option, print_json, shape_options

PRESETS = ("modern", "reference")
ASKED = ("preset", "tokenizer", "num_tokens", "embedding_degree", "num_layers", "num_heads")


@main.command("init")
@model_option
@click.option("--preset", default="modern", show_default=True, type=click.Choice(PRESETS), help="Default choices.")
@click.option("--tokenizer", default="ascii", show_default=True, type=click.Choice(["ascii", "byte", "char"]), help="Kind.")
@click.option(
    "--tokenizer-data",
    type=click.Path(),
    help="Text whose characters a char tokenizer knows. [default: dataset.txt]",
)
@click.option("--reserve-tokens", default=0, show_default=True, help="Placeholders for tokens to come.")
@click.option("--case-sensitive/--case-insensitive", default=True, show_default=True)
@click.option(
    "--positional-encoding",
    type=click.Choice(["none", "absolute", "learned", "rotary"]),
    help="[default: of the preset: rotary (modern), absolute (reference)]",
)
@click.option(
    "--block",
    type=click.Choice(["pre-norm", "reference"]),
    help="Where the residual adds: to the stream, or to its norm. [default: of the preset]",
)
@click.option("--initializer", type=click.Choice(["scaled", "reference"]), help="Random start. [default: of the preset]")
@click.option("--rotary-base", type=float, help="Of rotary angles. [default: 1000]")
@shape_options
@click.option("--seed", type=click.IntRange(0), help="Of the initialisation, and of training. [default: random]")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--interactive", is_flag=True, help="Ask for the main options that are not given.")
@json_option
@click.pass_context
def init(ctx: click.Context, /, **options: Any) -> None:
    """Make a new model and print its parameter count."""
    if options.pop("interactive"):
        for option in ctx.command.params:
            name = option.name or ""
            given = ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE
            if name in ASKED and not given:
                options[name] = click.prompt(name.replace("_", " "), default=options[name], type=option.type)
    _init(**options)


def _init(
    model: str,
    preset: str,
    tokenizer: str,
    tokenizer_data: str | None,
    reserve_tokens: int,
    case_sensitive: bool,
    positional_encoding: str | None,
    block: str | None,
    initializer: str | None,
    rotary_base: float | None,
    seed: int | None,
    force: bool,
    as_json: bool,
    **shape: Any,
) -> None:
    from femto import checkpoint, config, data, random_numbers, tokenizers

    checkpoint.check_target(model, replace=force)
    text = None
    if tokenizer == "char":
        text = data.read_text(tokenizer_data or "dataset.txt")
    elif tokenizer_data is not None:
        raise click.UsageError(f"--tokenizer-data is for char tokenizers; {tokenizer} needs none")
    made = tokenizers.build(tokenizer, text, case_sensitive, reserve_tokens)
    chosen = config.PRESETS[preset]
    changes: dict[str, Any] = {
        "positional_encoding": positional_encoding,
        "block": block,
        "initializer": initializer,
        "rotary_base": rotary_base,
    }
    model_config = config.updated(config.ModelConfig(made.vocab_size, **shape, **chosen.model), changes)
    if seed is None:
        seed = random_numbers.fresh_seed()
    training = config.updated(chosen.training, {"seed": seed})
    checkpoint.save(checkpoint.create(model_config, made, training, preset), model)
    if as_json:
        print_json(
            {
                "model": model,
                "preset": preset,
                "seed": seed,
                "num_parameters": model_config.num_parameters,
                "config": config.to_json(model_config),
            }
        )
    else:
        click.echo(f"{model}: {model_config.num_parameters:,} parameters, {made.vocab_size} tokens, seed {seed}")
