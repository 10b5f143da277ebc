"""Five interleaved cycles of different length, with a little noise (the journal's #43).

`python3 dummy_data/simple_sequence2.py > dataset.txt`

Each line holds the next letter of `abc`, of `defg`, of `hijkl`, of `mnopqrs` (written twice) and of `tuvwxyz0123`, then
`;` and a newline: `beloot;`, `cfhppu;`, `agiqqv;`. The lines repeat after 4620, so that 2000 lines show fewer than half
of them. 0.2 % of all characters are replaced at random by a letter, digit, `;` or newline.
"""

from __future__ import annotations

import string
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__:
    from . import _script, _shared
else:  # run as a script: this folder is where Python looks first
    import _script
    import _shared

DEFAULT_LINES = 2000
CYCLES = ("abc", "defg", "hijkl", "mnopqrs", "tuvwxyz0123")
WIDTHS = (1, 1, 1, 2, 1)  # how often each cycle's character is written
SUCCESSORS = {ord(here): after for cycle in CYCLES for here, after in zip(cycle, cycle[1:] + cycle[0], strict=True)}
PERIOD = 3 * 4 * 5 * 7 * 11  # lines
NOISE = 0.002  # probability that a character is replaced
NOISE_CHARACTERS = string.ascii_letters + string.digits + ";\n"
SAMPLE_PROMPTS = ("beloot;", "agissy;", "cfkqqt;")  # of #43; the last is line 3938, which 2000 lines do not show


def generate(seed: int = 0, lines: int = DEFAULT_LINES, noise: bool = True) -> str:
    """`lines` lines; `seed` decides about the noise only."""
    text = "".join(f"{line(index)}\n" for index in range(lines))
    return with_noise(text, Random(seed)) if noise else text


def line(index: int) -> str:
    """The line at `index`, counted from 0, without its newline."""
    letters = (cycle[index % len(cycle)] * width for cycle, width in zip(CYCLES, WIDTHS, strict=True))
    return "".join(letters) + ";"


def with_noise(text: str, generator: Random) -> str:
    """`text` with every character replaced, with probability 0.002, by any of 64 (now and then by itself)."""
    return "".join(_shared.pick(generator, NOISE_CHARACTERS) if generator.random() < NOISE else character for character in text)


def next_line(text: str) -> str:
    """The line after the line `text`: no two cycles share a character, so each one tells what comes next."""
    return text.translate(SUCCESSORS)


def continuation(prompt: str) -> str:
    """A newline and the two lines that follow the line `prompt`, the last one without its newline: 16 characters."""
    following = next_line(prompt)
    return f"\n{following}\n{next_line(following)}"


class SimpleSequence2Evaluation(_shared.SequenceEvaluation):
    """The three samples of #43 and other lines; `cycle_rates` tells which columns are learnt."""

    cycles = CYCLES


def evaluate(complete: _shared.Complete, seed: int = 1, extra: int = 100) -> SimpleSequence2Evaluation:
    """Ask for the two lines after each of the journal's three and after `extra` random lines of the 4617 others.

    More than half of those are in no training text of 2000 lines: a model answers them only if it has learnt every
    cycle by itself, not the lines by heart.
    """
    generator = _shared.held_out(seed)
    others = [text for text in map(line, range(PERIOD)) if text not in SAMPLE_PROMPTS]
    prompts = [_shared.pick(generator, others) for _ in range(extra)]
    return SimpleSequence2Evaluation(
        samples=tuple(_shared.ask(complete, prompt, continuation(prompt)) for prompt in SAMPLE_PROMPTS),
        extra=tuple(_shared.ask(complete, prompt, continuation(prompt)) for prompt in prompts),
    )


if __name__ == "__main__":
    _script.main(generate, DEFAULT_LINES, __doc__, has_noise=True)
