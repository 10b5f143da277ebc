"""A line on a terminal that tells how far something is."""

import os
import sys
import time
from collections.abc import Sequence

import click

DRAW_SECONDS = 0.1  # between two drawings
WIDEST = 30  # of the bar itself
NARROWEST = 10


class Bar:
    """One line at the foot of a terminal on standard error, as wide as the terminal is when it is drawn; nothing elsewhere."""

    def __init__(self, total: int, quiet: bool = False) -> None:
        self.total, self.done = total, 0
        self.shown = not quiet and sys.stderr.isatty()
        self._parts: Sequence[str] = ()
        self._length = 0  # of the line that stands there
        self._drawn = 0.0

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the last state on a line of its own."""
        if self.shown and self._drawn:
            self._draw()
            click.echo(err=True)

    def update(self, done: int, *parts: str) -> None:
        """Show that so much of the total is done. parts: more to tell, of which a narrow terminal shows the first ones."""
        self.done, self._parts = done, parts
        if self.shown and time.monotonic() - self._drawn > DRAW_SECONDS:
            self._draw()

    def say(self, line: str) -> None:
        """A line that stays, above this one."""
        if self.shown and self._length:
            click.echo("\r" + " " * min(self._length, columns() - 1) + "\r", err=True, nl=False)
            self._length = 0
        click.echo(line, err=True)
        if self.shown and self._drawn:
            self._draw()

    def _draw(self) -> None:
        room = columns() - 1  # a character in the last column makes some terminals go on to the next line
        line = fitted(self.done, self.total, self._parts, room)
        click.echo("\r" + line.ljust(min(self._length, room)), err=True, nl=False)
        self._length, self._drawn = len(line), time.monotonic()


def fitted(done: int, total: int, parts: Sequence[str], room: int) -> str:
    """The line, at most `room` characters: a bar if there is room for one, the share, and as many of the parts as fit."""
    part = min(1.0, done / max(1, total))
    share = f"{part:4.0%}"
    text = next(
        text for count in range(len(parts), -1, -1) if len(text := "  ".join([share, *parts[:count]])) <= room or count == 0
    )
    width = min(WIDEST, room - len(text) - 4)
    if width >= NARROWEST:
        filled = round(width * part)
        text = f"[{'#' * filled}{'-' * (width - filled)}]  {text}"
    return text[: max(0, room)]


def columns() -> int:
    """Of the terminal, now."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
