"""`femto train-bpe`: a vocabulary learnt from a text."""

import click

from femto.commands.shared.command_line import command
from femto.commands.shared.notes import marker_note, note, text_notes, unknown_note
from femto.commands.shared.options import (
    Texts,
    case_option,
    dataset_option,
    json_option,
    keep_options,
    option,
    print_json,
    quiet_option,
    tokenizer_data_option,
)


@command("Vocabularies", "learn a vocabulary from a text", place=10)
@dataset_option
@tokenizer_data_option
@option(
    "--vocab-size",
    default=768,
    type=click.IntRange(12, 65_536),
    help="How many tokens to learn. <unk>, single characters and kept tokens count. A text that has no use for so many gives "
    "fewer.",
)
@option(
    "--reserve-tokens",
    default=0,
    values="0 or more; with --vocab-size at most 65,536",
    help="How many placeholders to add, for tokens that you name later with rename-token. They do not count as learnt.",
)
@keep_options
@case_option
@quiet_option
@json_option
def train_bpe(
    dataset: Texts,
    tokenizer_data: str,
    vocab_size: int,
    reserve_tokens: int,
    keep: tuple[str, ...],
    document_separator: str | None,
    case_sensitive: bool | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Learn a vocabulary from a text by byte pair encoding.

    If --dataset is a folder, every file below it counts, except hidden ones, and no token spans two files. The same data gives
    the same vocabulary file, which can be read and edited.
    """
    from femto import data, tokenizers
    from femto.commands.shared.progress import VocabularyProgress, shown_token

    tokenizers.check_target(tokenizer_data)
    tokenizers.check_reserved(reserve_tokens, vocab_size)
    documents, name = data.read_documents(dataset), data.name_of(dataset)
    text_notes(dataset)
    with VocabularyProgress(vocab_size, quiet) as progress:
        made = tokenizers.BpeTokenizer.from_documents(
            *(documents, vocab_size, case_sensitive is not False, progress.show), keep=keep, document_separator=document_separator
        )
    reserved = made.with_reserved(reserve_tokens)
    encoded = data.from_documents(name, documents, made)
    tokenizers.save(reserved, tokenizer_data)
    unknown_note(encoded.num_unknown, len(encoded.ids), name)
    if made.vocab_size < vocab_size:
        fewer = f"{name} has a use for {made.vocab_size} tokens, not for {vocab_size}"
        note(f"{fewer}: a larger text, or one that repeats itself less, gives more")
    if len(documents) > 1 and made.document_separator is None:
        joined = f"nothing stands between the {len(documents):,} files of {name} when they are encoded"
        note(f"{joined}; --document-separator puts a token there")
    for marker, count in tokenizers.markers(documents, made.kept).items():
        marker_note(marker, count, name, "and tokens may run across it; --keep makes it one token")
    counts = data.counts(encoded.ids, made.vocab_size)
    kept = {token: int(counts[made.tokens.index(token)]) for token in made.kept}
    bytes_per_token = encoded.num_bytes / len(encoded.ids)
    if as_json:
        print_json(
            {
                "tokenizer": tokenizer_data,
                "dataset": name,
                "documents": len(documents),
                "vocab_size": reserved.vocab_size,
                "reserved": reserve_tokens,
                "kept": {token.decode(): count for token, count in kept.items()},
                "tokens": len(encoded.ids),
                "bytes_per_token": bytes_per_token,
                "unknown_share": encoded.unknown_share,
            }
        )
        return
    also = f", {reserve_tokens} of them reserved" if reserve_tokens else ""
    for token, count in kept.items():
        click.echo(f"{name} has {shown_token(token)} {count:,} times")
    click.echo(f"{tokenizer_data}: {reserved.vocab_size} tokens{also}; {bytes_per_token:.3f} bytes of {name} a token")
