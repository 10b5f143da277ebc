"""`femto init` and `femto init-with`: a new model, from nothing or from another."""

from typing import TYPE_CHECKING, Any

import click

from femto.commands import main
from femto.commands.options import case_option, json_option, model_option, print_json, shape_options, tokenizer_data_option

if TYPE_CHECKING:
    from femto.config import ModelConfig
    from femto.tokenizers import Tokenizer

PRESETS = ("modern", "reference")
TOKENIZERS = ("ascii", "byte", "char", "bpe")
ASKED = ("preset", "tokenizer", "num_tokens", "embedding_degree", "num_layers", "num_heads")


@main.command("init")
@model_option
@click.option("--preset", default="modern", show_default=True, type=click.Choice(PRESETS), help="Default choices.")
@click.option("--tokenizer", default="ascii", show_default=True, type=click.Choice(TOKENIZERS), help="Kind.")
@click.option(
    "--tokenizer-data",
    type=click.Path(),
    help="bpe: file of a tokenizer (as train-bpe and dump-tokenizer write it, or a JSON list of tokens) or of a model. "
    "char: the text whose characters to know. [default: tokenizer.json, dataset.txt]",
)
@click.option("--reserve-tokens", default=0, show_default=True, help="Placeholders for tokens to come.")
@case_option
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
    case_sensitive: bool | None,
    positional_encoding: str | None,
    block: str | None,
    initializer: str | None,
    rotary_base: float | None,
    seed: int | None,
    force: bool,
    as_json: bool,
    **shape: Any,
) -> None:
    from femto import checkpoint, config
    from femto.system import random_numbers

    checkpoint.check_target(model, replace=force)
    made = _tokenizer(tokenizer, tokenizer_data, case_sensitive, reserve_tokens)
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
    with checkpoint.locked(model):
        checkpoint.save(checkpoint.create(model_config, made, training, preset), model)
    _report(model, model_config, seed, as_json, preset=preset)


def _tokenizer(kind: str, path: str | None, case_sensitive: bool | None, reserve_tokens: int) -> "Tokenizer":
    from femto import checkpoint, data, tokenizers

    if kind != "bpe":
        if path is not None and kind != "char":
            raise click.UsageError(f"--tokenizer-data is for char and bpe tokenizers; {kind} needs none")
        text = data.read_text(path or "dataset.txt") if kind == "char" else None
        return tokenizers.build(kind, text, case_sensitive is not False, reserve_tokens)
    path = path or "tokenizer.json"
    loaded = checkpoint.load_tokenizer(path)
    if case_sensitive not in (None, loaded.case_sensitive):
        case = "sensitive" if loaded.case_sensitive else "insensitive"
        raise click.UsageError(f"{path} is case {case}, and stays so; train-bpe decides that")
    if reserve_tokens and loaded.num_reserved:  # the journal's experiment 32 had twice as many as its author wanted
        raise click.UsageError(
            f"{path} has {loaded.num_reserved} reserved tokens already; give --reserve-tokens to train-bpe only"
        )
    return loaded.with_reserved(reserve_tokens)


def _report(model: str, shape: "ModelConfig", seed: int, as_json: bool, **more: str) -> None:
    from femto import config

    if as_json:
        count = shape.num_parameters
        print_json({"model": model, **more, "seed": seed, "num_parameters": count, "config": config.to_json(shape)})
    else:
        click.echo(f"{model}: {shape.num_parameters:,} parameters, {shape.vocab_size} tokens, seed {seed}")


@main.command()
@click.option("--parent", default="parent.dat", show_default=True, type=click.Path(), help="Model to take the layers from.")
@click.option("--child", default="model.dat", show_default=True, type=click.Path(), help="File of the new model.")
@tokenizer_data_option
@click.option("--num-tokens", type=int, help="Context in tokens (T). [default: the parent's]")
@click.option("--seed", type=click.IntRange(0), help="Of the new tensors, and of training. [default: random]")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@json_option
def init_with(
    parent: str, child: str, tokenizer_data: str, num_tokens: int | None, seed: int | None, force: bool, as_json: bool
) -> None:
    """Make a new model for another vocabulary from the layers of a trained one.

    All tensors are the parent's but token_embedding, head_map_weights and head_map_bias, which depend on the vocabulary.
    """
    from femto import checkpoint, growth
    from femto.system import random_numbers

    checkpoint.check_target(child, replace=force)
    loaded = checkpoint.load(parent, optimizer=False)
    made = checkpoint.load_tokenizer(tokenizer_data)
    if seed is None:
        seed = random_numbers.fresh_seed()
    grown = growth.init_with(loaded, made, num_tokens, seed)
    with checkpoint.locked(child):
        checkpoint.save(grown, child)
    _report(child, grown.model.config, seed, as_json, parent=parent)
