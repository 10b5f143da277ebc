"""One long line: the next of `abcdefgh`, then the next of `@#$%^` twice (the journal's #29, #42).

`python3 dummy_data/simple_sequence.py > dataset.txt`

`a@@b##c$$d%%e^^f@@`: both cycles start again when they end, so the whole repeats after 40 items. There is no newline,
and nothing random: `--seed` is there because every generator has it, and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__:
    from . import _script, _shared
else:  # run as a script: this folder is where Python looks first
    import _script
    import _shared

DEFAULT_LINES = 2000  # items: a letter and two symbols
LETTERS = "abcdefgh"
SYMBOLS = "@#$%^"
PERIOD = len(LETTERS) * len(SYMBOLS)  # items
SAMPLE_PROMPTS = ("c%%d", "a$$b", "d%%e")  # of #42
PROMPT_LENGTHS = range(4, 13)  # characters; from 4 on, a piece of the sequence has one continuation only
CONTINUATION = 14  # characters, as in #42


def generate(seed: int = 0, lines: int = DEFAULT_LINES) -> str:
    """`lines` items in a row. `seed` has no effect."""
    return "".join(item(index) for index in range(lines))


def item(index: int) -> str:
    """The letter and the doubled symbol at `index`, counted from 0."""
    return LETTERS[index % len(LETTERS)] + SYMBOLS[index % len(SYMBOLS)] * 2


def continuation(prompt: str, count: int = CONTINUATION) -> str:
    """The `count` characters that follow `prompt`, a piece of the sequence of 4 to 120 characters.

    After `h` comes `a`. (The journal's third expected answer, `d%%e^^f@@g##h$$i%%`, has an `i`, which no cycle holds;
    the answer that it marks as success has `a`.)
    """
    cycle = generate(lines=PERIOD)
    start = (cycle * 2).find(prompt)
    if start < 0 or len(prompt) < PROMPT_LENGTHS[0]:
        raise ValueError(f"expected at least {PROMPT_LENGTHS[0]} characters of the sequence, not {prompt!r}")
    end = start + len(prompt)
    return "".join(cycle[place % len(cycle)] for place in range(end, end + count))


class SimpleSequenceEvaluation(_shared.SequenceEvaluation):
    """The three samples of #42 and other pieces of the sequence.

    `cycle_rates` tells the letters, which the journal's models do not learn, from the symbols, which they do.
    """

    cycles = (LETTERS, SYMBOLS)


def evaluate(complete: _shared.Complete, seed: int = 1, extra: int = 100) -> SimpleSequenceEvaluation:
    """Ask for 14 characters after each of the journal's three prompts and after `extra` random pieces of 4 to 12."""
    generator = _shared.held_out(seed)
    cycle = generate(lines=PERIOD)
    prompts = []
    for _ in range(extra):
        start = _shared.pick(generator, range(len(cycle)))
        prompts.append((cycle * 2)[start : start + _shared.pick(generator, PROMPT_LENGTHS)])
    return SimpleSequenceEvaluation(
        samples=tuple(_shared.ask(complete, prompt, continuation(prompt)) for prompt in SAMPLE_PROMPTS),
        extra=tuple(_shared.ask(complete, prompt, continuation(prompt)) for prompt in prompts),
    )


if __name__ == "__main__":
    _script.main(generate, DEFAULT_LINES, __doc__)
