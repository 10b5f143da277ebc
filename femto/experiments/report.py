"""The parts of docs/experiments.md, journal.md and recipes.md that are made from recipes and recorded results, never typed."""

import re
from typing import Any

from femto.experiments import reading, results
from femto.experiments.measures import MEASURES
from femto.experiments.recipe import Recipe
from femto.experiments.results import outcome, stuck
from femto.system.text import duration

PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.S)


def updated(page: str) -> str:
    """A page with everything between `<!-- generated: NAME -->` and `<!-- end -->` made anew."""
    parts = {"table": table, "answers": answers, "checks": checks, "measures": measures}
    return PART.sub(lambda match: match[1] + "\n" + parts[match[2]]() + "\n" + match[3], page)


def table() -> str:
    """One line for each experiment: the journal, its replay, and ours."""
    lines = [
        "| | experiment | journal | loss | steps | time | replayed: loss | steps | femto | loss | steps | time | parameters |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for number in reading.numbers():
        found = reading.load(number)
        log = found.log
        cells = [number, found.title, log["verdict"], _number(log.get("loss")), _number(log.get("steps")), _time(log)]
        replay, ours = results.result(number, "reference"), results.result(number, "modern")
        cells += [f"{replay['loss']:.3f}{' (stuck)' if stuck(replay) else ''}", _steps(replay)] if replay else ["", ""]
        if ours:
            verdict = "**success**" if ours["passed"] else "fail"
            cells += [verdict, f"{ours['loss']:.3f}", _steps(ours), duration(ours["seconds"]), f"{ours['num_parameters']:,}"]
        else:
            cells += [""] * 5
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def checks() -> str:
    """What every run of the modern preset had to show, and showed."""
    lines = ["| | what was asked, and what was measured |", "|---|---|"]
    for number in reading.numbers():
        ours = results.result(number, "modern")
        if ours:
            said = "; ".join(f"{outcome(check)}{'' if check['passed'] else ' (**not met**)'}" for check in ours["checks"])
            note = results.filled(reading.load(number).plan("modern").note)
            lines.append(f"| {number} | {said}{'. ' + note if note else ''} |")
    return "\n".join(lines) + "\n"


def measures() -> str:
    """Every measure, its options and what it is."""
    lines = ["| measure | of | is |", "|---|---|---|"]
    for name, measure in MEASURES.items():
        options = "".join(f", `{option}`" for option in measure.options)
        of = "all" if measure.of is None else ", ".join(measure.of)
        words = " ".join((measure.function.__doc__ or "").split())
        lines.append(f"| `{name}`{options} | {of} | {words} |")
    return "\n".join(lines) + "\n"


def answers() -> str:
    """Every question that the journal's author asked, and what measurements say."""
    parts = []
    for number in reading.numbers():
        found = reading.load(number)
        if found.answer:
            parts.append(_answer(found))
    return "\n".join(parts)


def _answer(found: Recipe) -> str:
    question = found.log.get("question", found.log["goal"])
    return f"**#{found.name}, {found.title}.** *{question}*\n{results.filled(found.answer)}\n"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,}"


def _steps(result: dict[str, Any]) -> str:
    return f"{result['steps']:,}" if result["complete"] else f"{result['steps']:,} of {result['planned_steps']:,}"


def _time(log: dict[str, Any]) -> str:
    if "seconds" in log:
        return duration(log["seconds"])
    if "milliseconds_per_step" in log and "steps" in log:
        return f"about {duration(log['milliseconds_per_step'] * log['steps'] / 1000)}"
    return ""
