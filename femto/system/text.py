"""Values as text, for people and for JSON."""

import json
import math
import re
from typing import Any


def brief(value: object) -> str:
    """A value from a file for an error message: ASCII, on one line, and not long."""
    try:
        shown = ascii(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, a nest of thousands of levels
        shown = type(value).__name__
    return shown if len(shown) <= 60 else shown[:57] + "..."


def printable(value: str) -> str:
    """A text of somebody else's on one line, without what a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value)


def described(thing: object, *parts: object, **facts: object) -> str:
    """The `repr` of an object in short: its class, what it is made of, and the figures that tell it from others, on one line."""
    return f"{type(thing).__name__}({', '.join([*map(repr, parts), *(f'{name}={fact!r}' for name, fact in facts.items())])})"


def counted(number: int, noun: str) -> str:
    """1 step, 1,234 steps."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def json_escaped(text: str, characters: str) -> str:
    """JSON with some of its characters, a range of a regular expression outside ASCII, as the escapes that mean the same."""
    return re.sub(f"[{characters}]", lambda found: json.dumps(found[0])[1:-1], text)


def amount(size: int) -> str:
    """1.2 GiB."""
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20)):
        if size >= 1 << shift:
            return f"{size / (1 << shift):,.1f} {unit}"
    return f"{size / 1024:,.1f} KiB"


def duration(seconds: float) -> str:
    """48 s, 3 min 05 s, 2 h 07 min."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def finite(document: Any) -> Any:
    """The document with null for numbers that JSON lacks: NaN and infinities."""
    if isinstance(document, dict):
        return {key: finite(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [finite(value) for value in document]
    return None if isinstance(document, float) and not math.isfinite(document) else document
