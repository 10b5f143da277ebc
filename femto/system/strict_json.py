"""JSON from files of strangers: what Python's own reader lets pass, though no femto writes it, is refused."""

import gc
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, NoReturn

MAX_DEPTH = 64  # levels of lists and objects; deeper ones could be read, but neither shown nor written again


def parse(content: bytes) -> Any:
    """The value of UTF-8 JSON, with or without a byte order mark.

    Raises ValueError, one line, also for a field that an object has twice, NaN and Infinity, numbers beyond float64, more than
    MAX_DEPTH levels, and more than the memory holds.
    """
    try:
        text = content.decode("utf-8-sig")
        with _collector_paused():
            document = json.loads(text, object_pairs_hook=_unique_fields, parse_float=_finite, parse_constant=_refuse)
            require_shallow(document)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except MemoryError:
        raise ValueError("more than the memory holds") from None
    return document


def require_shallow(document: object) -> None:
    """Raise ValueError if lists and objects are nested more than MAX_DEPTH levels deep."""
    level, depth = [document], 0
    while level:
        nests = [value for value in level if isinstance(value, (dict, list))]
        level = list(chain.from_iterable(nest.values() if isinstance(nest, dict) else nest for nest in nests if nest))
        depth += bool(nests)
        if depth > MAX_DEPTH:
            raise ValueError(f"nested too deeply, more than {MAX_DEPTH} levels")


@contextmanager
def _collector_paused() -> Iterator[None]:
    """JSON holds no cycles: with many values, looking for some while they are made takes longer than all the rest."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _unique_fields(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name, value in pairs:
        if name in fields:
            raise ValueError(f"field {json.dumps(name[:40])} is there more than once")
        fields[name] = value
    return fields


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:40]} is too large")
    return number


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
