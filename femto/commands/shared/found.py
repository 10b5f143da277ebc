"""What `rename-token` and `add-token` say of the text at hand: whether it has the new tokens, and whether they are found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from femto.commands.shared import model_text
from femto.commands.shared.notes import note
from femto.commands.shared.options import FIRST_TEXT, Texts, texts_option
from femto.system.text import counted, printable

if TYPE_CHECKING:
    from femto.checkpoint.history import History
    from femto.tokenizers import Occurrences, Tokenizer

MOST_BYTES = 16 << 20  # of a text that are looked at: a second's work

counted_in_option = texts_option(
    "--dataset",
    default_text="what the model was last trained on, or dataset.txt; none, if it is not there",
    help="The text to count the new token in: a file, a folder whose files are all read, or - for standard input; or several of "
    "them. Of a large one, the first 16 MiB are looked at.",
)


@dataclass(frozen=True)
class TextAtHand:
    """A text to count tokens in."""

    name: str
    documents: list[bytes] | None  # None: it is not there

    def report(self, tokenizer: "Tokenizer", token_ids: Sequence[int], as_json: bool) -> dict[str, Any]:
        """Say of each token how often it is found, and what is in its way: as_json, warnings only. Returns it for JSON."""
        from femto import tokenizers

        if self.documents is None:
            note(f"{self.name} is not there to count the new token in; --dataset names a text")
            return {"dataset": None}
        names = tokenizer.readable_tokens()
        found = tokenizers.occurrences(tokenizer, token_ids, self.documents)
        for each in found:
            told, warning = self.line(each, names)
            if warning:
                note(told)
            elif not as_json:
                click.echo(told)
        counts = [
            {
                "token_id": each.token_id,
                "token": names[each.token_id],
                "in_text": each.in_text,
                "found": each.found,
                "taken_by": [{"token_id": index, "token": names[index], "count": count} for index, count in each.taken_by],
            }
            for each in found
        ]
        return {"dataset": self.name, "counts": counts}

    def line(self, of: "Occurrences", names: Sequence[object]) -> tuple[str, bool]:
        """What to say of a token, and whether it is a warning."""
        name = names[of.token_id]
        if not of.in_text:
            return f"{self.name} does not have {name!r}", True
        times = counted(of.in_text, "time")
        if of.found == of.in_text:
            return f"{self.name} has {name!r} {times}", False
        found = f"it is found {counted(of.found, 'time')}" if of.found else "it is never found"
        shown = ", ".join(f"{names[index]!r} ({count:,})" for index, count in of.taken_by[:5])
        more = f" and {len(of.taken_by) - 5:,} more" if len(of.taken_by) > 5 else ""
        why = f"tokens that begin earlier, or are longer, take its bytes: {shown}{more}"
        return f"{self.name} has {name!r} {times}, but {found}: {why}", True


def text_at_hand(given: Texts | None, history: "History | None" = None) -> TextAtHand:
    """The text that --dataset gives, else the last one of the model, by its history, else dataset.txt.

    Raises DataError if --dataset gives one that cannot be read.
    """
    from femto import data
    from femto.errors import DataError

    sessions = history.sessions() if history else []
    path: model_text.Path = sessions[-1]["dataset"]["name"] if sessions else FIRST_TEXT
    try:
        path = model_text.path_of(given, history)
        documents = data.read_beginning(path, MOST_BYTES)
    except DataError:
        if given is not None:
            raise
        return TextAtHand(printable(data.name_of(path)), None)
    name = "standard input" if path == ("-",) else printable(data.name_of(path))
    return TextAtHand(f"the first 16 MiB of {name}" if sum(map(len, documents)) == MOST_BYTES else name, documents)
