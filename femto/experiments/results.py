"""Recorded results of the log's experiments: what femto measured when it ran them, and on what."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

PATH = Path(__file__).parent / "results.json"
PLACEHOLDER = re.compile(r"\{(\d+)\.(modern|reference)\.([^{}]+)\}")


@cache
def recorded() -> dict[str, dict[str, Any]]:
    """Verdicts, as `Verdict.to_json` gives them, by `NUMBER.PRESET`."""
    return dict(json.loads(PATH.read_bytes())) if PATH.is_file() else {}


def result(number: str, preset: str) -> dict[str, Any] | None:
    """The recorded verdict of a run, if there is one."""
    return recorded().get(f"{number}.{preset}")


def filled(text: str) -> str:
    """A text with every {NUMBER.PRESET.FIGURE} replaced by the recorded figure, or by `?` if that run was not recorded.

    FIGURE is a name among the verdict's figures, or a field of it.
    """

    def figure(match: re.Match[str]) -> str:
        found = result(match[1], match[2])
        if found is None:
            return "?"
        value = found["figures"].get(match[3], found.get(match[3]))
        return "?" if value is None else shown(match[3], value)

    return PLACEHOLDER.sub(figure, text)


SHARES = ("rules", "well_formed", "sums", "actions", "samples", "other_prompts", "worst_cycle", "known_words", "play_layout",
          "top_probability", "answer", "round_trip")  # fmt: skip


def shown(name: str, value: Any) -> str:
    """A figure for people: shares as percentages, losses with three decimals, counts as such."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    if name.split()[0] in SHARES:
        return f"{value:.1%}"
    if name == "seconds":
        return duration(value)
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.3f}"


def duration(seconds: float) -> str:
    """48 s, 3 min 05 s, 2 h 07 min."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
