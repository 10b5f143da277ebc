"""Recorded results of the journal's experiments: what femto measured when it ran them, and on what."""

import json
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

from femto.system.text import duration

PATH = Path(__file__).parent / "results.json"
PLACEHOLDER = re.compile(r"\{(\d+)\.(modern|reference)\.([^{}]+)\}")


@cache
def recorded() -> dict[str, dict[str, Any]]:
    """Verdicts, as `Verdict.to_json` gives them, by `NUMBER.PRESET`."""
    return dict(json.loads(PATH.read_bytes())) if PATH.is_file() else {}


def result(number: str, preset: str) -> dict[str, Any] | None:
    """The recorded verdict of a run, if there is one."""
    return recorded().get(f"{number}.{preset}")


def stuck(result: dict[str, Any]) -> bool:
    """Whether a run failed at the entropy of the frequencies of tokens: it has learnt how often each occurs, and no order."""
    return not result["passed"] and abs(float(result["loss"]) - float(result["unigram_entropy"])) < 0.05


def outcome(check: dict[str, Any]) -> str:
    """A check as it ended: what was measured, and what was asked."""
    name = check["figure"].split()[0]
    of = f" ({check['of']})" if check["of"] else ""
    return f"{check['figure']} {shown(name, check['value'])} {check['relation']} {shown(name, check['limit'])}{of}"


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
    """A figure for people: shares as percentages, losses with three decimals, counts as such; a dash for none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "—"
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    if name.split()[0] in SHARES:
        return f"{value:.1%}"
    if name == "milliseconds_per_step":
        return f"{value:,.0f}"
    if name == "seconds":
        return duration(value)
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.3f}"
