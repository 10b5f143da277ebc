"""Notes on standard error: what is worth knowing of a text, beside what was asked for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from femto.system.text import counted

if TYPE_CHECKING:
    from femto.tokenizers import Tokenizer

MUCH_UNKNOWN = 0.01  # of a text: another tokenizer is advised


def note(text: str) -> None:
    """Say it on standard error."""
    click.echo(f"note: {text}", err=True)


def unknown_note(count: int, total: int, what: str) -> None:
    """Say on standard error how many of a text's tokens the tokenizer does not know, and what to do where they are many."""
    from femto.data import spoken

    if count:
        what = spoken(what)
        share = f"{count / total:.2%} of {what} is <unk>, {count:,} of {counted(total, 'token')}"
        advice = "; a model made with --tokenizer char or bpe from this text, or with --tokenizer byte, can tell them apart"
        advice = advice if count >= MUCH_UNKNOWN * total else ""
        note(f"{share}: its tokenizer lacks those characters{advice}")


def text_notes(path: str | Sequence[str], tokenizer: "Tokenizer | None" = None) -> None:
    """Say on standard error what a text looks like, if it is not plain UTF-8, and what of a folder is left out."""
    from femto import text_files

    for each in text_files.notes(path, tokenizer):
        note(each)


def marker_note(name: bytes, count: int, what: str, consequence: str) -> None:
    """Say on standard error that a text has what looks like a token of its own, and is none that is kept."""
    from femto.commands.shared.progress import shown_token

    note(f"{shown_token(name)} stands {count:,} times in {what}, {consequence}")
