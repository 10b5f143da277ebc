"""The command line that the five scripts of this folder share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence


def main(
    generate: Callable[..., str],
    default_lines: int,
    description: str | None,
    *,
    has_noise: bool = False,
    arguments: Sequence[str] | None = None,
) -> None:
    """Write `generate(seed=..., lines=...)` to standard output, as asked for on the command line.

    `has_noise` adds `--noise/--no-noise`, passed on as `noise=`. `arguments` replaces `sys.argv[1:]`.
    Ends with status 2 for a wrong option and 1 when the text cannot be written; a reader that
    closes the pipe early (`| head`) has what it wants, which is no error.
    """
    parser = argparse.ArgumentParser(
        description=(description or "").split("\n", 1)[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed gives the same text")
    parser.add_argument(
        "--lines", type=_positive, default=default_lines, metavar="N", help="how many lines (words, items) to write"
    )
    if has_noise:
        parser.add_argument(
            "--noise", action=argparse.BooleanOptionalAction, default=True, help="replace 0.2 %% of all characters"
        )
    text = generate(**vars(parser.parse_args(arguments)))
    if sys.stdout is None:  # what Python makes of a closed standard output
        parser.exit(1, f"{parser.prog}: error: cannot write to standard output: it is closed\n")
    try:
        _write(text)
    except BrokenPipeError:
        _discard_output()
    except OSError as error:
        _discard_output()
        parser.exit(1, f"{parser.prog}: error: cannot write to standard output: {error.strerror}\n")


def _positive(argument: str) -> int:
    """A whole number of at least 1, or argparse's usage error."""
    try:
        number = int(argument)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, not {argument!r}")
    return number


def _write(text: str) -> None:
    """Write bytes: a text stream would turn every newline into CR LF on Windows.

    Unbuffered (`python3 -u`), one call may write a part only.
    """
    rest = memoryview(text.encode("ascii"))
    while rest:
        rest = rest[sys.stdout.buffer.write(rest) :]
    sys.stdout.buffer.flush()


def _discard_output() -> None:
    """Let what is still buffered go nowhere, or the interpreter fails once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
