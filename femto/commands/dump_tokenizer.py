"""`femto dump-tokenizer`: the tokenizer of a model as a file of its own."""

import click

from femto.commands.shared.command_line import command
from femto.commands.shared.options import model_or_tokenizer_option, option, print_json, print_json_text


@command("Vocabularies", "print the tokenizer of a model as JSON", place=30)
@model_or_tokenizer_option("model.dat")
@option(
    "--format",
    "form",
    default="femto",
    type=click.Choice(["femto", "huggingface"]),
    help="The format: what train-bpe writes, or what the library `tokenizers` of Hugging Face reads, with the same ids.",
)
def dump_tokenizer(model: str, form: str) -> None:
    """Print the tokenizer of a model, or of a file, as JSON with one token a line.

    The result can be read, edited, and given to `femto init --tokenizer bpe` as --tokenizer-data. For tokens that its kind does
    not have, write "kind": "bpe" into it.
    """
    from femto import checkpoint, tokenizers

    tokenizer = checkpoint.load_tokenizer(model)
    if form == "femto":
        print_json_text(tokenizers.to_text(tokenizer).rstrip("\n"))
    else:
        print_json(tokenizers.to_huggingface(tokenizer))
