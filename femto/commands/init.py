"""`femto init`: a new model."""

import os
from typing import TYPE_CHECKING, Any

import click

from femto import config
from femto.commands.shared.command_line import command
from femto.commands.shared.dependencies import given, refuse
from femto.commands.shared.model_text import require_there
from femto.commands.shared.new_model import report
from femto.commands.shared.notes import MUCH_UNKNOWN, text_notes, unknown_note
from femto.commands.shared.options import (
    FIRST_TEXT,
    case_option,
    force_option,
    json_option,
    keep_options,
    model_option,
    option,
    parts_option,
    preset_option,
    shape_options,
    tokenizer_option,
)
from femto.system.text import counted

if TYPE_CHECKING:
    from femto.tokenizers import Tokenizer

SAMPLE_BYTES = 1 << 20  # of it, which tell whether the tokenizer knows its characters
ASKED = ("preset", "tokenizer", "num_tokens", "embedding_degree", "num_layers", "num_heads")


@command("Train and use models", "make a new model", place=20)
@model_option
@preset_option
@tokenizer_option
@option(
    "--tokenizer-data",
    type=click.Path(),
    default_text="tokenizer.json for bpe, dataset.txt for char",
    help="What the tokenizer is made from. For bpe: the file of a tokenizer (as train-bpe and dump-tokenizer write it, or a JSON "
    "list of tokens) or of a model. For char: the text whose characters it knows, a file or a folder.",
)
@option(
    "--reserve-tokens",
    default=0,
    values="0 or more; the vocabulary has at most 65,536 tokens",
    help="How many placeholders to add to the vocabulary, for tokens that you name later with rename-token.",
)
@keep_options
@case_option
@option(
    "--positional-encoding",
    type=click.Choice(config.POSITIONAL_ENCODINGS),
    default_text="rotary with the preset modern, absolute with reference",
    help="How the model knows the positions of tokens.",
)
@option(
    "--block",
    type=click.Choice(config.BLOCKS),
    default_text="that of the preset",
    help="How a layer adds its result: to the residual stream (pre-norm), or to the normalised stream (reference).",
)
@option(
    "--initializer",
    type=click.Choice(config.INITIALIZERS),
    default_text="that of the preset",
    help="How the random parameters are drawn: scaled by the width of the model, or all alike as in the original program.",
)
@option(
    "--rotary-base",
    type=float,
    values="1 to 1e9",
    default_text="1000",
    help="The base of the angles of rotary positions. A longer context wants a larger one.",
)
@shape_options
@parts_option
@option(
    "--seed",
    type=click.IntRange(0),
    default_text="a random one",
    help="The seed of the random parameters, and of the training later.",
)
@force_option
@option("--interactive", is_flag=True, help="Ask for preset, tokenizer and shape, where they are not given.")
@json_option
@click.pass_context
def init(ctx: click.Context, /, **options: Any) -> None:
    """Make a new model with random parameters.

    The file has its shape, its tokenizer and its training settings as well. The number of parameters is printed.
    """
    if options.pop("interactive"):
        for option in ctx.command.params:
            name = option.name or ""
            if name in ASKED and not given(ctx, name):
                options[name] = click.prompt(name.replace("_", " "), default=options[name], type=option.type)
    _init(ctx, **options)


def _init(
    ctx: click.Context,
    model: str,
    preset: str,
    tokenizer: str,
    tokenizer_data: str | None,
    reserve_tokens: int,
    keep: tuple[str, ...],
    document_separator: str | None,
    case_sensitive: bool | None,
    positional_encoding: str | None,
    block: str | None,
    initializer: str | None,
    rotary_base: float | None,
    parts: int | None,
    seed: int | None,
    force: bool,
    as_json: bool,
    **shape: Any,
) -> None:
    from femto import checkpoint
    from femto.system import random_numbers

    checkpoint.check_target(model, replace=force)
    made = _tokenizer(tokenizer, tokenizer_data, case_sensitive)
    made = _with_more(made, keep, document_separator, reserve_tokens, tokenizer_data)
    chosen = config.PRESETS[preset]
    changes: dict[str, Any] = {
        "positional_encoding": positional_encoding,
        "block": block,
        "initializer": initializer,
        "rotary_base": rotary_base,
    }
    model_config = config.updated(config.ModelConfig(made.vocab_size, **shape, **chosen.model), changes)
    if model_config.positional_encoding != "rotary":
        refuse(ctx, "rotary_base", reason="without --positional-encoding rotary")
    if seed is None:
        seed = random_numbers.fresh_seed()
    training = config.updated(chosen.training, {"seed": seed, "parts": parts})
    with checkpoint.locked(model):
        checkpoint.save(checkpoint.create(model_config, made, training, preset), model)
    report(model, model_config, seed, as_json, preset=preset)
    _tell_unknown(made)


def _tell_unknown(tokenizer: "Tokenizer") -> None:
    """Say now, not after hours, if the tokenizer does not know much of the text that `train` takes at first."""
    from femto import data
    from femto.errors import DataError

    if tokenizer.unk_id is None or not os.path.isfile(FIRST_TEXT):
        return
    try:
        (beginning,) = data.read_beginning(FIRST_TEXT, SAMPLE_BYTES)
    except DataError:  # whoever trains on it will be told
        return
    ids = tokenizer.encode(beginning)
    unknown = tokenizer.count_unknown(ids)
    if unknown >= MUCH_UNKNOWN * max(1, len(ids)):
        unknown_note(unknown, len(ids), FIRST_TEXT)


def _tokenizer(kind: str, path: str | None, case_sensitive: bool | None) -> "Tokenizer":
    from femto import checkpoint, data, tokenizers

    if kind != "bpe":
        if path is not None and kind != "char":
            raise click.UsageError(f"--tokenizer-data is for char and bpe tokenizers; {kind} needs none")
        if kind != "char":
            return tokenizers.build(kind, None, case_sensitive is not False)
        path = path or FIRST_TEXT
        require_there(path, "text of the tokenizer", "--tokenizer-data")
        made = tokenizers.build(kind, data.read_texts(path), case_sensitive is not False)
        text_notes(path, made)
        return made
    path = path or "tokenizer.json"
    loaded = checkpoint.load_tokenizer(path)
    if case_sensitive not in (None, loaded.case_sensitive):
        case = "sensitive" if loaded.case_sensitive else "insensitive"
        raise click.UsageError(f"{path} is case {case}, and stays so; train-bpe decides that")
    return loaded


def _with_more(
    made: "Tokenizer", keep: tuple[str, ...], document_separator: str | None, reserve_tokens: int, path: str | None
) -> "Tokenizer":
    from femto.tokenizers import BpeTokenizer

    if reserve_tokens and made.num_reserved:  # the journal's experiment 32 had twice as many as its author wanted
        raise click.UsageError(
            f"{path or 'tokenizer.json'} has {counted(made.num_reserved, 'reserved token')} already; "
            "give --reserve-tokens to train-bpe only"
        )
    if keep or document_separator is not None:
        made = BpeTokenizer.keeping(made, keep, document_separator)
    return made.with_reserved(reserve_tokens)
