"""Made-up words: 4 or 6 letters, consonant and vowel in turn (the journal's #1-#3, #9, #10).

`python3 dummy_data/simple_dummy.py > dataset.txt`

Each word is followed by `;` and a newline. It begins with a consonant that none of the last three words began with,
holds no letter twice, and has 4 letters with probability one half, else 6.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from . import _script, _shared
else:  # run as a script: this folder is where Python looks first
    import _script
    import _shared

DEFAULT_LINES = 8000  # words
CONSONANTS = "bcdfghjk"
VOWELS = "aeiou"
MEMORY = 3  # how many earlier words a word must differ from in its first letter
LONGEST_LINE = 7  # characters: six letters and `;`
RUN_CHARACTERS = 40  # of free text for each prompt; with the prompt at most 64 characters


def generate(seed: int = 0, lines: int = DEFAULT_LINES) -> str:
    """`lines` words, each followed by `;` and a newline."""
    return "".join(f"{word};\n" for word in words(Random(seed), lines))


def words(generator: Random, count: int) -> list[str]:
    """`count` words in a row that obey the rule."""
    made: list[str] = []
    for _ in range(count):
        made.append(next_word(generator, made[-MEMORY:]))
    return made


def next_word(generator: Random, recent: Sequence[str]) -> str:
    """A word that may follow the words of `recent` (the last three, or fewer at the beginning)."""
    starts = {word[:1] for word in recent}
    word = ""
    for position in range(_shared.pick(generator, (4, 6))):
        taken = word if position else starts
        letters = VOWELS if position % 2 else CONSONANTS
        word += _shared.pick(generator, [letter for letter in letters if letter not in taken])
    return word


def broken_rule(line: str, recent: Sequence[str]) -> str | None:
    """The first rule that `line` (without its newline) breaks after the lines of `recent`, or None.

    In this order: "ending" (no `;`), "length", "alternation", "repeated letter", "start".
    """
    word = line[:-1]
    if not line.endswith(";"):
        return "ending"
    if len(word) not in (4, 6):
        return "length"
    if any(letter not in (VOWELS if place % 2 else CONSONANTS) for place, letter in enumerate(word)):
        return "alternation"
    if len(set(word)) < len(word):
        return "repeated letter"
    if word[0] in {earlier[:1] for earlier in recent[-MEMORY:]}:
        return "start"
    return None


@dataclass(frozen=True)
class SimpleDummyEvaluation(_shared.Evaluation):
    """How many of the words that a model makes up obey the rule."""

    total: int  # complete lines that the model wrote
    broken: dict[str, int]  # rule -> lines that break it first

    @property
    def correct(self) -> int:
        """Words that obey the whole rule."""
        return self.total - sum(self.broken.values())

    @property
    def rate(self) -> float:
        """Share of words that obey the whole rule, from 0 to 1."""
        return _shared.share(self.correct, self.total)

    @property
    def passed(self) -> bool:
        """Whether at least 90 % of the words obey the rule (the journal judges #1 by eye; the catalogue says 90 %)."""
        return self.rate >= 0.9

    def table(self) -> str:
        """One line, and one for each rule broken."""
        lines = [f"- words that obey the rule: {self.correct} of {self.total} ({self.rate:.1%})"]
        return "\n".join(lines + [f"- broken, {rule}: {count}" for rule, count in sorted(self.broken.items())])

    def to_json(self) -> dict[str, Any]:
        """Counts and the rate (0 to 1)."""
        return {
            "passed": self.passed,
            "total": self.total,
            "correct": self.correct,
            "rate": self.rate,
            "broken": dict(self.broken),
        }


def evaluate(complete: _shared.Complete, seed: int = 1, runs: int = 20) -> SimpleDummyEvaluation:
    """Let a model go on freely `runs` times, each after three words of its own, and check every word it completes."""
    generator = _shared.held_out(seed)
    total = 0
    broken: Counter[str] = Counter()
    for _ in range(runs):
        recent = [f"{word};" for word in words(generator, MEMORY)]
        for line in _shared.free_lines(complete, "\n".join([*recent, ""]), RUN_CHARACTERS, LONGEST_LINE):
            total += 1
            rule = broken_rule(line, recent)
            if rule:
                broken[rule] += 1
            recent.append(line)
    return SimpleDummyEvaluation(total, dict(broken))


if __name__ == "__main__":
    _script.main(generate, DEFAULT_LINES, __doc__)
