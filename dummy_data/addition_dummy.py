"""Sums `a + b = c;` of two numbers from 0 to 100 (the journal's #7, #8, #15-#17, #33).

`python3 dummy_data/addition_dummy.py > dataset.txt`
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from . import _script, _shared
else:  # run as a script: this folder is where Python looks first
    import _script
    import _shared

DEFAULT_LINES = 8000
NUMBERS = range(101)
LONGEST_LINE = 16  # characters: `100 + 100 = 200;`
LONGEST_SUM = 4  # characters: `200;`
RUN_CHARACTERS = 45  # of free text for each prompt; with the prompt at most 62 characters

LINE = re.compile(r"[0-9]+ ?\+ ?[0-9]+ ?= ?[0-9]+;")
"""What #17 means by an addition. Its own pattern allows no space after `+` and `=`, which the data has."""

PAIR = re.compile(r"([0-9]+) ?\+ ?([0-9]+) ?=")


def generate(seed: int = 0, lines: int = DEFAULT_LINES) -> str:
    """`lines` sums; both numbers uniform in 0 to 100."""
    generator = Random(seed)
    return "".join(full_line(_shared.pick(generator, NUMBERS), _shared.pick(generator, NUMBERS)) for _ in range(lines))


def full_line(first: int, second: int) -> str:
    """A line as it stands in the text, with `;` and the newline: `13 + 29 = 42;`."""
    return f"{first} + {second} = {first + second};\n"


def unseen_pairs(training_text: str, generator: Random) -> list[tuple[int, int]]:
    """Every pair (a, b) of 0 to 100 that stands nowhere in `training_text`, shuffled; (b, a) may stand there."""
    seen = {(int(first), int(second)) for first, second in PAIR.findall(training_text)}
    pairs = [(first, second) for first in NUMBERS for second in NUMBERS if (first, second) not in seen]
    return sorted(pairs, key=lambda _: generator.random())


@dataclass(frozen=True)
class AdditionDummyEvaluation(_shared.Evaluation):
    """Whether a model writes lines that look like sums, and whether it can add."""

    lines: tuple[str, ...]  # what the model wrote on its own
    sums: tuple[_shared.Answer, ...]  # pairs that are not in its training text

    @property
    def well_formed(self) -> int:
        """How many of `lines` have the form of a sum, right or wrong."""
        return sum(LINE.fullmatch(line) is not None for line in self.lines)

    @property
    def well_formed_rate(self) -> float:
        """Share of `lines` that have the form of a sum, from 0 to 1."""
        return _shared.share(self.well_formed, len(self.lines))

    @property
    def sum_rate(self) -> float:
        """Share of right sums, from 0 to 1."""
        return _shared.share(_shared.number_correct(self.sums), len(self.sums))

    @property
    def passed(self) -> bool:
        """Whether every line has the form of a sum (#17); #7 and #15 do not ask for right sums."""
        return self.well_formed_rate == 1.0

    def table(self) -> str:
        """Both counts, and up to three lines that are no sums."""
        right = _shared.number_correct(self.sums)
        malformed = [line for line in self.lines if not LINE.fullmatch(line)]
        lines = [
            f"- lines that look like sums: {self.well_formed} of {len(self.lines)} ({self.well_formed_rate:.1%})",
            f"- right sums of unseen pairs: {right} of {len(self.sums)} ({self.sum_rate:.1%})",
        ]
        return "\n".join(lines + [f"- no sum: `{line}`" for line in malformed[:3]])

    def to_json(self) -> dict[str, Any]:
        """Counts and rates (0 to 1)."""
        return {
            "passed": self.passed,
            "lines": len(self.lines),
            "well_formed": self.well_formed,
            "well_formed_rate": self.well_formed_rate,
            "sums": len(self.sums),
            "sums_right": _shared.number_correct(self.sums),
            "sum_rate": self.sum_rate,
        }


def evaluate(
    complete: _shared.Complete, training_text: str, samples: int = 100, runs: int = 20, seed: int = 1
) -> AdditionDummyEvaluation:
    """Let a model go on freely after `runs` random sums, then ask it for `samples` sums that it has not seen.

    Fewer sums are asked when fewer pairs are unseen. A newline goes before each: a model that is trained on windows of the text
    cannot know whether a number at the beginning of its context is whole; `3 + 29 = ` alone may be the end of `13 + 29 = `.
    """
    generator = _shared.held_out(seed)
    lines: list[str] = []
    for _ in range(runs):
        prompt = full_line(_shared.pick(generator, NUMBERS), _shared.pick(generator, NUMBERS))
        lines += _shared.free_lines(complete, prompt, RUN_CHARACTERS, LONGEST_LINE)
    sums = [
        _shared.ask(complete, f"\n{first} + {second} = ", f"{first + second};", LONGEST_SUM)
        for first, second in unseen_pairs(training_text, generator)[:samples]
    ]
    return AdditionDummyEvaluation(tuple(lines), tuple(sums))


if __name__ == "__main__":
    _script.main(generate, DEFAULT_LINES, __doc__)
