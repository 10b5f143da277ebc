"""What the five data sets share: random choice, and how a model is questioned and its answers are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, TypeVar

Complete = Callable[[str, int], str]
"""(prompt, number of new characters wanted) -> what the model puts after the prompt, greedily chosen."""

Option = TypeVar("Option")


def pick(generator: Random, options: Sequence[Option]) -> Option:
    """One of `options`, all equally likely.

    Uses `Random.random` alone: the one method whose sequence Python promises never to change for a seed.
    """
    return options[int(generator.random() * len(options))]


def held_out(seed: int) -> Random:
    """A generator for questions; it shares its sequence with no training text, whatever that text's seed."""
    return Random(f"evaluation {seed}")


def share(part: int, whole: int) -> float:
    """`part / whole`, from 0 to 1; 0 when there is nothing to count."""
    return part / whole if whole else 0.0


@dataclass(frozen=True)
class Answer:
    """One question put to a model."""

    prompt: str
    expected: str
    output: str  # what the model said, cut to the length of `expected`

    @property
    def correct(self) -> bool:
        """Whether the output is the expected one, character for character."""
        return self.output == self.expected

    def to_json(self) -> dict[str, Any]:
        """The fields and the verdict."""
        return {
            "prompt": self.prompt,
            "expected": self.expected,
            "output": self.output,
            "correct": self.correct,
        }


def ask(complete: Complete, prompt: str, expected: str, count: int | None = None) -> Answer:
    """Ask for `count` characters (by default as many as expected) and keep those that are compared."""
    output = complete(prompt, len(expected) if count is None else count)
    return Answer(prompt, expected, output[: len(expected)])


def number_correct(answers: Iterable[Answer]) -> int:
    """How many of the answers are correct."""
    return sum(answer.correct for answer in answers)


def answers_table(answers: Iterable[Answer]) -> str:
    """A line for each answer, newlines shown as a backslash and n."""
    lines = []
    for answer in answers:
        prompt, expected, output = (text.replace("\n", "\\n") for text in (answer.prompt, answer.expected, answer.output))
        verdict = "success" if answer.correct else f"fail, expected: `{expected}`"
        lines.append(f"- input: `{prompt}`, output: `{output}` ({verdict})")
    return "\n".join(lines)


def free_lines(complete: Complete, prompt: str, count: int, longest: int) -> list[str]:
    """The lines that a model writes on its own after `prompt`, which ends with a newline; `count` characters in all.

    The line cut off at the end does not count, unless it is already longer than `longest` characters,
    the longest that the data has: a model that never ends a line shall not pass for one that writes none.
    """
    *lines, fragment = complete(prompt, count)[:count].split("\n")
    return [*lines, fragment] if len(fragment) > longest else lines


class Evaluation:
    """What every evaluation offers."""

    @property
    def passed(self) -> bool:
        """Whether the model meets the criterion of the journal."""
        raise NotImplementedError

    def table(self) -> str:
        """The result as text for people (Markdown)."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """The result as plain types; rates go from 0 to 1."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.table()


@dataclass(frozen=True)
class SequenceEvaluation(Evaluation):
    """How a model continues interleaved cycles: the journal's own samples, and others."""

    cycles: ClassVar[tuple[str, ...]]
    samples: tuple[Answer, ...]
    extra: tuple[Answer, ...]

    @property
    def passed(self) -> bool:
        """Whether every one of the journal's samples is continued exactly."""
        return all(answer.correct for answer in self.samples)

    @property
    def extra_rate(self) -> float:
        """Share of the other prompts that are continued exactly, from 0 to 1."""
        return share(number_correct(self.extra), len(self.extra))

    @property
    def cycle_rates(self) -> dict[str, float]:
        """For each cycle, the share of its places (samples and extra) that hold the expected character, 0 to 1."""
        places = [place for answer in (*self.samples, *self.extra) for place in _places(answer)]
        rates = {}
        for cycle in self.cycles:
            hits = [character == expected for character, expected in places if expected in cycle]
            rates[cycle] = share(sum(hits), len(hits))
        return rates

    def table(self) -> str:
        """The journal's samples as in the journal, then the counts."""
        lines = [answers_table(self.samples)]
        lines.append(f"- other prompts: {number_correct(self.extra)} of {len(self.extra)} correct")
        lines += [f"- places of `{cycle}`: {rate:.1%} correct" for cycle, rate in self.cycle_rates.items()]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Samples one by one, the others counted."""
        return {
            "passed": self.passed,
            "samples": [answer.to_json() for answer in self.samples],
            "extra_correct": number_correct(self.extra),
            "extra_total": len(self.extra),
            "extra_rate": self.extra_rate,
            "cycle_rates": self.cycle_rates,
        }


def _places(answer: Answer) -> list[tuple[str, str]]:
    """(output, expected) character by character; a missing character is an empty string."""
    missing = len(answer.expected) - len(answer.output)
    return list(zip([*answer.output, *[""] * missing], answer.expected, strict=True))
