"""Lines of letters with a digit that says what to do with them (the journal's #20-#27, #30).

`python3 dummy_data/simple_dummy2.py > dataset.txt`

A line is data, action, result, `;` and a newline, without spaces: `acbafbe3gih;`. Data is 4 to 8 random letters a-f.
Action 0 gives nothing; 1 the first three letters of the data; 2 the last three; 3 and 4 the same with a-f turned into
g-l; 5 to 8 are 1 to 4 on the data of the previous line (never on the first line); 9 gives `z`.
Before 14 July 2025 the journal's data had 20,000 lines: `--lines 20000`.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from . import _script, _shared
else:  # run as a script: this folder is where Python looks first
    import _script
    import _shared

DEFAULT_LINES = 50_000
ACTIONS = range(10)
ACTIONS_ON_PREVIOUS = range(5, 9)
LENGTHS = range(4, 9)  # letters of data
MAPPED = str.maketrans("abcdef", "ghijkl")
CONTEXT_LINES = 3  # before the line in question
LONGEST_RESULT = 4  # characters: three letters and `;`
PASS_RATE = 0.7  # of every action, to be exceeded (#20)


def generate(seed: int = 0, lines: int = DEFAULT_LINES) -> str:
    """`lines` lines, each with data and action of its own."""
    generator = Random(seed)
    text = []
    previous: str | None = None
    for _ in range(lines):
        data = random_data(generator)
        action = random_action(generator, has_previous=previous is not None)
        text.append(full_line(data, action, previous))
        previous = data
    return "".join(text)


def random_data(generator: Random) -> str:
    """4 to 8 letters a-f; every length and every letter equally likely."""
    return "".join(_shared.pick(generator, "abcdef") for _ in range(_shared.pick(generator, LENGTHS)))


def random_action(generator: Random, has_previous: bool) -> int:
    """0 to 9; without 5 to 8 when there is no previous line."""
    return _shared.pick(generator, [action for action in ACTIONS if has_previous or action not in ACTIONS_ON_PREVIOUS])


def result_of(action: int, data: str, previous: str | None) -> str:
    """What `action` makes of a line's `data` and of the `previous` line's (None on the first line)."""
    if action == 0:
        return ""
    if action == 9:
        return "z"
    if action in ACTIONS_ON_PREVIOUS:
        if previous is None:
            raise ValueError(f"action {action} needs a previous line")
        return result_of(action - 4, previous, None)
    letters = data[:3] if action in (1, 3) else data[-3:]
    return letters.translate(MAPPED) if action in (3, 4) else letters


def full_line(data: str, action: int, previous: str | None) -> str:
    """A line as it stands in the text, with `;` and the newline."""
    return f"{data}{action}{result_of(action, data, previous)};\n"


@dataclass(frozen=True)
class ActionScore:
    """A row of the journal's table."""

    action: int
    correct: int
    incorrect: int

    @property
    def rate(self) -> float:
        """Share of correct answers, from 0 to 1."""
        return _shared.share(self.correct, self.correct + self.incorrect)


@dataclass(frozen=True)
class SimpleDummy2Evaluation(_shared.Evaluation):
    """How well a model carries out each of the ten actions."""

    actions: tuple[ActionScore, ...]  # in the order 0 to 9

    @property
    def minimum_rate(self) -> float:
        """Correct rate of the worst action, from 0 to 1."""
        return min(score.rate for score in self.actions)

    @property
    def passed(self) -> bool:
        """Whether every action is right more than 70 % of the time (#20)."""
        return self.minimum_rate > PASS_RATE

    def table(self) -> str:
        """The table of the journal's #24."""
        lines = [
            "| action | correct  | incorrect  | correct rate   |",
            "|--------|----------|------------|----------------|",
        ]
        for score in self.actions:
            correct, incorrect, rate = f"{score.correct:2}", f"{score.incorrect:2}", f"{score.rate:6.1%}"
            lines.append(f"| {score.action:<6} | {correct:<8} | {incorrect:<10} | {rate:<14} |")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Counts and rates (0 to 1)."""
        rows = [
            {"action": row.action, "correct": row.correct, "incorrect": row.incorrect, "correct_rate": row.rate}
            for row in self.actions
        ]
        return {"passed": self.passed, "minimum_rate": self.minimum_rate, "actions": rows}


def question(generator: Random, action: int) -> tuple[str, str]:
    """A prompt (CONTEXT_LINES complete lines, then a line up to its digit `action`) and the rest of that line, with its `;`.

    Several lines, because a model that is trained on windows of the text cannot know whether its first line is complete. At
    most 51 characters. The first line may refer to one before it that the prompt does not show.
    """
    previous = random_data(generator)
    context = ""
    for _ in range(CONTEXT_LINES):
        data = random_data(generator)
        context += full_line(data, random_action(generator, has_previous=True), previous)
        previous = data
    data = random_data(generator)
    return f"{context}{data}{action}", f"{result_of(action, data, previous)};"


def evaluate(complete: _shared.Complete, seed: int = 1, lines_per_action: int = 20) -> SimpleDummy2Evaluation:
    """Ask for the result of every action on `lines_per_action` random lines; right when exact up to its `;`."""
    generator = _shared.held_out(seed)
    scores = []
    for action in ACTIONS:
        questions = [question(generator, action) for _ in range(lines_per_action)]
        correct = _shared.number_correct(
            _shared.ask(complete, prompt, expected, LONGEST_RESULT) for prompt, expected in questions
        )
        scores.append(ActionScore(action, correct, lines_per_action - correct))
    return SimpleDummy2Evaluation(tuple(scores))


if __name__ == "__main__":
    _script.main(generate, DEFAULT_LINES, __doc__)
