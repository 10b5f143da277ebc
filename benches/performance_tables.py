"""The tables of docs/performance.md: what a row of a record holds, and how it is shown.

A record is what one machine measured for one table at one commit. A page shows rows of the same name side by side, one line
a machine.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from configurations import configuration

Row = dict[str, Any]
Record = dict[str, Any]  # FACTS, and a description of the machine

FRAMEWORKS = {"eager": "PyTorch eager", "compile": "torch.compile", "jax": "JAX"}
FACTS = ("table", "processor", "isa", "cores", "date", "commit", "versions", "command", "rows")  # of every record


@dataclass(frozen=True)
class Table:
    """What stands in the first column, and a title and a text for each of the others; a figure that was not taken is empty."""

    name: str
    title: str  # of the first column
    key: Callable[[Row], str]
    columns: dict[str, Callable[[Row], str]]


def number(name: str, style: str, unit: str = "") -> Callable[[Row], str]:
    return lambda row: "" if row.get(name) is None else f"{row[name]:{style}}{unit}"


def share(name: str) -> Callable[[Row], str]:
    return number(name, ".0%")


def of(framework: str, cell: Callable[[Row], str]) -> Callable[[Row], str]:
    return lambda row: cell(row.get(framework, {}))


def ratios(row: Row) -> str:
    """The median over rounds, and their range."""
    found = row.get("ratio")
    return f"{found['median']:.2f} ({found['lowest']:.2f}-{found['highest']:.2f})" if found else ""


def text(name: str) -> Callable[[Row], str]:
    return lambda row: str(row[name])


def experiment(row: Row) -> str:
    return f"#{row['row']}"


def to_target(row: Row) -> str:
    return f"{row['seconds']:.2f}{'' if row['reached'] else ' (not reached)'}"


def comparison() -> dict[str, Callable[[Row], str]]:
    columns = {
        "femto ms": of("femto", number("ms", ".1f")),
        "of peak": of("femto", share("fraction_of_peak")),
        "MiB": of("femto", number("mib", ".0f")),
    }
    for kind, label in FRAMEWORKS.items():
        columns[f"{label} ms"] = of(kind, number("ms", ".1f"))
        columns[f"{label} MiB"] = of(kind, number("mib", ".0f"))
    return columns | {"fastest of them / femto: median (range) of rounds": ratios}


def instruction_sets() -> dict[str, Callable[[Row], str]]:
    columns = {"peak GF/s": number("peak_gflops", ".0f")}
    for row in ("10", "1", "22"):
        columns[f"#{row} ms"] = of(row, number("ms", ".2f"))
        columns[f"#{row} of peak"] = of(row, share("fraction_of_peak"))
    return columns


STEP = {
    "ms a step": number("ms", ".1f"),
    "thousand tokens/s": number("thousand_tokens_per_second", ".0f"),
    "of peak": share("fraction_of_peak"),
}
AXES = ("embedding_degree", "num_layers", "threads", "num_tokens", "batch_size", "head_size")

TABLES = {
    table.name: table
    for table in (
        Table("compare", "row", experiment, comparison()),
        Table(
            "time-to-loss",
            "framework",
            lambda row: f"{row['framework']}, round {row['round']}",
            {
                "parameters": number("parameters", ","),
                "steps until then": number("steps", ","),
                "tokens until then": number("tokens", ","),
                "seconds to target": to_target,
                "final loss": number("final_loss", ".4f"),
                "whole run": number("seconds_whole_run", ".2f"),
                "wall clock": number("wall_seconds", ".1f"),
            },
        ),
        Table(
            "recipe-search",
            "change",
            text("change"),
            {"GFLOP": number("gflop", ".0f"), "validation loss": number("validation_loss", ".3f")},
        ),
        Table(
            "roofline",
            "what",
            text("what"),
            {
                "one thread": lambda row: f"{row['one_thread']:.0f} {row['unit']}",
                "all cores": lambda row: f"{row['all_threads']:.0f} {row['unit']}",
            },
        ),
        Table("kernels", "what", text("what"), {"share of the step": share("share")}),
        *(Table(axis, axis, text(axis), STEP) for axis in AXES),
        Table("isa", "`FEMTO_ISA`", text("isa"), instruction_sets()),
        Table(
            "generation",
            "d, L",
            text("shape"),
            {
                "tokens a second": number("tokens_per_second", ",.0f"),
                "microseconds a token": number("microseconds_per_token", ",.0f"),
            },
        ),
    )
}


def markdown(head: list[str], lines: list[list[str]]) -> str:
    rows = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *rows]) + "\n"


def rendered(table: Table, records: list[Record]) -> str:
    """A table of all records that it has: rows in the order of the first record, a line for each machine that has the row."""
    found = [record for record in records if record["table"] == table.name]
    if not found:
        raise SystemExit(f"performance: no record of {table.name}")
    keys = list(dict.fromkeys(table.key(row) for record in found for row in record["rows"]))
    lines = [
        [key, record["processor"], *(cell(row) for cell in table.columns.values())]
        for key in keys
        for record in found
        for row in record["rows"]
        if table.key(row) == key
    ]
    return markdown([table.title, "machine", *table.columns], lines)


def machines(records: list[Record]) -> str:
    """One line for each processor."""
    first = {record["processor"]: record for record in reversed(records)}
    order = dict.fromkeys(record["processor"] for record in records)
    lines = [[name, first[name]["isa"], str(first[name]["cores"]), first[name].get("machine", "")] for name in order]
    return markdown(["machine", "instruction set", "cores", "caches, memory, system"], lines)


def provenance(records: list[Record]) -> str:
    """When and at which commit each table was measured: a line for those that were measured together."""
    together: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        together.setdefault((record["processor"], record["date"], f"`{record['commit']}`"), []).append(record)
    lines = []
    for key, found in together.items():
        versions = {what: version for record in found for what, version in record["versions"].items()}
        tables = ", ".join(record["table"] for record in found)
        lines.append([*key, ", ".join(f"{what} {version}" for what, version in versions.items()), tables])
    return markdown(["machine", "date", "commit", "versions", "tables"], lines)


def speed(records: list[Record]) -> str:
    """README's table: the comparison, by the number of parameters, without shares of the peak and ranges."""

    def size(row: Row) -> str:
        parameters = configuration(row["row"])[0].num_parameters
        return f"{parameters / 1e3:.0f} thousand" if parameters < 1e6 else f"{parameters / 1e6:.{int(parameters < 1e7)}f} million"

    columns = {title: cell for title, cell in comparison().items() if cell is not ratios and title != "of peak"}
    columns["fastest of them / femto"] = of("ratio", number("median", ".2f"))
    return rendered(Table("compare", "parameters", size, columns), records)


PAGES = {"machines": machines, "records": provenance, "speed": speed}


def part(name: str, records: list[Record]) -> str:
    """What stands between `<!-- generated: NAME -->` and `<!-- end -->`."""
    return PAGES[name](records) if name in PAGES else rendered(TABLES[name], records)
