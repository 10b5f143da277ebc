"""`femto train-bpe`, `count-tokens`, `dump-tokenizer`, `rename-token`: vocabularies, learnt, seen and mended."""

import json
from collections.abc import Callable
from typing import Any

import click

from femto.commands import main
from femto.commands.options import (
    Command,
    case_option,
    dataset_option,
    json_option,
    print_json,
    tokenizer_data_option,
    unknown_warning,
)


def either_option(default: str) -> Callable[[Command], Command]:
    """The file of a tokenizer or of a model."""
    return click.option(
        "--model", "-m", default=default, show_default=True, type=click.Path(), help="File of a model or of a tokenizer."
    )


@main.command()
@dataset_option
@tokenizer_data_option
@click.option(
    "--vocab-size",
    default=768,
    show_default=True,
    type=click.IntRange(12, 65_536),
    help="Tokens to learn, <unk> and characters among them.",
)
@click.option("--reserve-tokens", default=0, show_default=True, help="Placeholders for tokens to come, beside those.")
@case_option
@click.option("--quiet", is_flag=True, help="No progress.")
@json_option
def train_bpe(
    dataset: str,
    tokenizer_data: str,
    vocab_size: int,
    reserve_tokens: int,
    case_sensitive: bool | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Learn a vocabulary from a text by byte pair encoding.

    --dataset may be a folder: then every file below it counts, but for hidden ones, and no token spans two files. The same data
    gives the same file.
    """
    from femto import data, tokenizers
    from femto.commands.progress import VocabularyProgress

    tokenizers.check_target(tokenizer_data)
    tokenizers.check_reserved(reserve_tokens, vocab_size)
    documents = data.read_documents(dataset)
    with VocabularyProgress(vocab_size, quiet) as progress:
        made = tokenizers.BpeTokenizer.from_documents(documents, vocab_size, case_sensitive is not False, progress.show)
    reserved = made.with_reserved(reserve_tokens)
    encoded = data.from_documents(dataset, documents, made)
    tokenizers.save(reserved, tokenizer_data)
    bytes_per_token = encoded.num_bytes / len(encoded.ids)
    if as_json:
        print_json(
            {
                "tokenizer": tokenizer_data,
                "dataset": dataset,
                "documents": len(documents),
                "vocab_size": reserved.vocab_size,
                "reserved": reserve_tokens,
                "tokens": len(encoded.ids),
                "bytes_per_token": bytes_per_token,
                "unknown_share": encoded.unknown_share,
            }
        )
        return
    unknown_warning(encoded.num_unknown, len(encoded.ids), dataset)
    also = f", {reserve_tokens} of them reserved" if reserve_tokens else ""
    click.echo(f"{tokenizer_data}: {reserved.vocab_size} tokens{also}; {bytes_per_token:.3f} bytes of {dataset} a token")


@main.command()
@either_option("tokenizer.json")
@dataset_option
def count_tokens(model: str, dataset: str) -> None:
    """Print how often each token is used when a text is encoded: a JSON list, the most frequent first."""
    import numpy as np

    from femto import checkpoint, data

    tokenizer = checkpoint.load_tokenizer(model)
    read = data.load_dataset(dataset, tokenizer)
    counts = np.bincount(read.ids, minlength=tokenizer.vocab_size)
    order = np.argsort(-counts, kind="stable").tolist()
    names = tokenizer.readable_tokens()
    unknown_warning(read.num_unknown, len(read.ids), dataset)
    entries = [{"rank": rank, "id": i, "token": names[i], "count": int(counts[i])} for rank, i in enumerate(order)]
    lines = ",\n".join(f"  {json.dumps(entry, ensure_ascii=False)}" for entry in entries)  # one a line, to be read
    click.echo(f"[\n{lines}\n]")


@main.command()
@either_option("model.dat")
@click.option(
    "--format",
    "form",
    default="femto",
    show_default=True,
    type=click.Choice(["femto", "huggingface"]),
    help="femto: what train-bpe writes; huggingface: for the library tokenizers, which gives the same ids.",
)
def dump_tokenizer(model: str, form: str) -> None:
    """Print a tokenizer as JSON, one token a line, to be read, edited, and given to `femto init --tokenizer bpe`."""
    from femto import checkpoint, tokenizers

    tokenizer = checkpoint.load_tokenizer(model)
    if form == "femto":
        click.echo(tokenizers.to_text(tokenizer), nl=False)
    else:
        print_json(tokenizers.to_huggingface(tokenizer))


@main.command()
@click.argument("name")
@either_option("model.dat")
@click.option("--token-id", type=click.IntRange(0), help="A reserved token. [default: the first]")
@json_option
def rename_token(name: str, model: str, token_id: int | None, as_json: bool) -> None:
    """Turn a reserved token of a model, or of a tokenizer file, into NAME, which is then found in texts.

    No tensor changes: what the model has learnt stays, and the new token begins where its reserved place has been.
    """
    from femto import checkpoint, growth, tokenizers

    if checkpoint.is_model(model):
        with checkpoint.locked(model):
            loaded = checkpoint.load(model)
            renamed = growth.rename_token(loaded, name, token_id)
            checkpoint.save(loaded, model)
        left = loaded.tokenizer.num_reserved
    else:
        changed = tokenizers.BpeTokenizer.renamed(tokenizers.load(model), name, token_id)
        renamed = changed.tokens.index(name.encode())
        tokenizers.save(changed, model)
        left = changed.num_reserved
    result: dict[str, Any] = {"model": model, "token_id": renamed, "token": name, "reserved_left": left}
    if as_json:
        print_json(result)
    else:
        click.echo(f"{model}: token {renamed} is {name!r} now; {left} reserved tokens are left")
