"""`femto train-bpe`: a vocabulary learnt from a text."""

import click

from femto.commands.shared.command_line import command
from femto.commands.shared.options import (
    case_option,
    dataset_option,
    json_option,
    option,
    print_json,
    quiet_option,
    tokenizer_data_option,
    unknown_warning,
)


@command("Vocabularies", "learn a vocabulary from a text", place=10)
@dataset_option
@tokenizer_data_option
@option(
    "--vocab-size",
    default=768,
    type=click.IntRange(12, 65_536),
    help="How many tokens to learn. <unk> and single characters count.",
)
@option(
    "--reserve-tokens",
    default=0,
    values="0 or more; with --vocab-size at most 65,536",
    help="How many placeholders to add, for tokens that you name later with rename-token. They do not count as learnt.",
)
@case_option
@quiet_option
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

    If --dataset is a folder, every file below it counts, except hidden ones, and no token spans two files. The same data gives
    the same vocabulary file, which can be read and edited.
    """
    from femto import data, tokenizers
    from femto.commands.shared.progress import VocabularyProgress

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
