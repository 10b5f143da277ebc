"""The journal's dummy data sets, recognised by the form of their lines, and the losses that their making implies."""

import re
from dataclasses import dataclass, replace

from femto import data
from femto.token_files import TokenIds
from femto.tokenizers import Tokenizer

SAMPLE_TOKENS = 8192  # of the beginning, which decide
FITTING_SHARE = 0.9  # of those lines that must have the form; simple_sequence2 has 0.2 % of noise a character


@dataclass(frozen=True)
class Stage:
    """A loss that stands for something."""

    loss: float  # nats
    meaning: str  # what a model of that loss knows


@dataclass(frozen=True)
class KnownData:
    """A dummy set: its floor, and the plateaus above it, highest first."""

    name: str
    floor: float  # the entropy of the data: no model gets below it
    plateaus: tuple[Stage, ...] = ()


# In nats a character.
KNOWN = (
    KnownData("simple_dummy", 1.241),
    KnownData(
        "simple_dummy2",
        1.275,
        (
            Stage(1.649, "the form of a line, with nothing copied"),
            Stage(1.462, "actions 0 to 4 and 9, and nothing of the previous line"),
        ),
    ),
    KnownData("addition_dummy", 0.645, (Stage(1.002, "the form of a line, with nothing added up"),)),
    KnownData("simple_sequence", 0.0, (Stage(0.693, "the symbols, with the letters guessed"),)),
    KnownData("simple_sequence2", 0.022),  # the entropy of the noise
)

FORMS = {
    "simple_dummy": re.compile(r"([bcdfghjk][aeiou]){2,3};"),
    "simple_dummy2": re.compile(r"[a-f]{4,8}(0|[1256][a-f]{3}|[3478][g-l]{3}|9z);"),
    "addition_dummy": re.compile(r"[0-9]{1,3} \+ [0-9]{1,3} = [0-9]{1,3};"),
    "simple_sequence": re.compile(r"[@#$%^]{0,2}([a-h]([@#$%^])\2){5,}[a-h]?[@#$%^]?"),  # the whole is one line
    "simple_sequence2": re.compile(r"[abc][defg][hijkl]([mnopqrs])\1[t-z0-3];"),
}


def recognise(ids: TokenIds, tokenizer: Tokenizer) -> KnownData | None:
    """The dummy set that ids (N,) are, its losses in nats a token of this tokenizer; None for any other text."""
    text = tokenizer.decode(ids[:SAMPLE_TOKENS])
    lines = text.split("\n")
    if len(lines) > 1:
        lines.pop()  # cut off, or empty
    for known in KNOWN:
        if sum(FORMS[known.name].fullmatch(line) is not None for line in lines) >= FITTING_SHARE * len(lines):
            counts = data.counts(ids, tokenizer.vocab_size)
            bytes_a_token = int(counts @ tokenizer.token_lengths()) / len(ids)
            plateaus = tuple(replace(stage, loss=stage.loss * bytes_a_token) for stage in known.plateaus)
            return replace(known, floor=known.floor * bytes_a_token, plateaus=plateaus)
    return None
