"""Measures what docs/performance.md shows, records it with the machine and the commit, and renews the page.

    python benches/performance.py record TABLE … --processor "NAME"    # nothing else running; without TABLE, all that can be
    python benches/performance.py page                                 # the marked parts of docs/performance.md and README.md

A record takes the place of an older one of the same table and processor. `compare` needs a Python with
PyTorch (--python), `time-to-loss` also needs the Shakespeare text (--data). `recipe-search` was a study by hand: nothing here
measures it.
"""

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from performance_tables import AXES, FRAMEWORKS, TABLES, Record, Row, part

ROOT = Path(__file__).parents[1]
RECORDS = Path(__file__).with_suffix(".json")
PAGE, README = ROOT / "docs" / "performance.md", ROOT / "README.md"
PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.S)

KERNEL_GROUPS = {
    "attention_forward": "attention",
    "attention_backward": "attention",
    "dropout": "dropout",
    "layer_norm_forward": "LayerNorm",
    "layer_norm_backward": "LayerNorm",
    "rotary": "rotary",
}


def updated(page: str, records: list[Record]) -> str:
    """A page with everything between `<!-- generated: NAME -->` and `<!-- end -->` made anew."""
    return PART.sub(lambda match: match[1] + "\n" + part(match[2], records) + "\n" + match[3], page)


def read(file: Path) -> list[Record]:
    return list(json.loads(file.read_bytes())) if file.is_file() else []


# What measures a table: the rows, and the versions of what it was measured with.


def from_script(options: argparse.Namespace, script: str, *arguments: str) -> Any:
    """What a script of this folder writes with --json."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "measured.json"
        subprocess.run([sys.executable, str(ROOT / "benches" / script), *arguments, "--json", str(file)], check=True)
        return json.loads(file.read_bytes())


def compare(options: argparse.Namespace) -> tuple[list[Row], dict[str, str]]:
    arguments = [*options.rows, "--python", options.python, "--rounds", str(options.rounds)]
    arguments += ["--steps", str(options.steps)] if options.steps else []
    arguments += ["--alone"] if options.alone else []
    measured = from_script(options, "compare_pytorch.py", *arguments)
    return compared(measured), versions_of(measured)


def compared(measured: dict[str, Any]) -> list[Row]:
    """Rows of what compare_pytorch.py wrote."""
    rows = []
    for entry in measured["rows"]:
        row = {"row": entry["row"]}
        for kind in ("femto", *FRAMEWORKS):
            if found := entry["results"].get(kind):
                row[kind] = {"ms": found["median_ms"], "mib": found["peak_rss_mib"]}
        row["femto"]["fraction_of_peak"] = entry["results"]["femto"]["fraction_of_peak"]
        if entry["fastest"] in FRAMEWORKS:
            row["ratio"] = {"median": entry["ratio"], "lowest": min(entry["ratios"]), "highest": max(entry["ratios"])}
        rows.append(row)
    return rows


def versions_of(measured: dict[str, Any]) -> dict[str, str]:
    results = measured["rows"][0]["results"]
    names = {"PyTorch": results.get("eager"), "JAX": results.get("jax")}
    return {name: facts["version"] for name, facts in names.items() if facts}


def time_to_loss(options: argparse.Namespace) -> tuple[list[Row], dict[str, str]]:
    command = [sys.executable, str(ROOT / "benches" / "time_to_loss.py"), "--data", options.data, "--json"]
    command += [] if options.alone else ["--python", options.python]
    command += ["--steps", str(options.steps)] if options.steps else []
    measured = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    rows = [{name: value for name, value in run.items() if name != "curve"} for run in measured["runs"]]
    if options.alone:
        return rows, {}
    asked = [options.python, "-c", "import torch; print(torch.__version__)"]
    return rows, {"PyTorch": subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()}


def roofline(options: argparse.Namespace) -> tuple[list[Row], dict[str, str]]:
    return from_script(options, "roofline.py", *(["--mib", "16"] if options.steps else [])), {}


def kernels(options: argparse.Namespace) -> tuple[list[Row], dict[str, str]]:
    """Shares of a step of #22, in groups of kernels."""
    from configurations import configuration

    from femto.profiling.benchmark import time_kernels

    measured = time_kernels(*configuration("22"), options.steps or 20)
    shares: dict[str, float] = {}
    for row in measured["kernels"]:
        group = kernel_group(row["kernel"], row["shape"])
        shares[group] = shares.get(group, 0.0) + row["share"]
    shares["outside kernels"] = measured["outside_kernels_ms"] / measured["step_ms"]
    return [{"what": what, "share": value} for what, value in sorted(shares.items(), key=lambda item: -item[1])], {}


def kernel_group(kernel: str, shape: str) -> str:
    if kernel == "matmul":
        if "a^T" in shape:
            return "gradients of weights and biases"
        return "products with GELU or its factor" if "gelu" in shape or "*" in shape else "other products"
    return KERNEL_GROUPS.get(kernel, "AdamW, cross entropy, embedding, clipping")


def axis(name: str) -> Callable[[argparse.Namespace], tuple[list[Row], dict[str, str]]]:
    """The measurement of one axis of scaling.py."""

    def measure(options: argparse.Namespace) -> tuple[list[Row], dict[str, str]]:
        steps = ["--steps", str(options.steps)] if options.steps else []
        measured = from_script(options, "scaling.py", "--axes", name, *steps)[name]
        return [
            {
                name: row[name],
                "ms": row["median_ms"],
                "thousand_tokens_per_second": row["tokens_per_second"] / 1000.0,
                "fraction_of_peak": row["fraction_of_peak"],
            }
            for row in measured
        ], {}

    return measure


def isa(options: argparse.Namespace) -> tuple[list[Row], dict[str, str]]:
    """Whole steps on every instruction set that this machine has."""
    from configurations import configuration

    from femto import kernels
    from femto.profiling.benchmark import time_steps

    rows, usual = [], kernels.isa()
    for name in sorted(kernels.supported_isas(), key=["avx512", "avx2", "neon", "base"].index):
        kernels.set_isa(name)
        measured = {row: time_steps(*configuration(row), options.steps or 20) for row in ("10", "1", "22") if row in options.rows}
        cells = {row: {"ms": m["median_ms"], "fraction_of_peak": m["fraction_of_peak"]} for row, m in measured.items()}
        rows.append({"isa": name, "peak_gflops": max(m["peak_gflops"] for m in measured.values()), **cells})
    kernels.set_isa(usual)
    return rows, {}


def generation(options: argparse.Namespace) -> tuple[list[Row], dict[str, str]]:
    """Greedy generation with the models of four rows."""
    from configurations import configuration

    from femto.profiling.benchmark import time_inference

    rows = []
    for row in ("10", "1", "22", "14"):
        if row in options.rows:
            config = configuration(row)[0]
            measured = time_inference(config, options.steps or 20)
            figures = {name: measured[name] for name in ("tokens_per_second", "microseconds_per_token")}
            rows.append({"shape": f"{config.embedding_degree}, {config.num_layers}", **figures})
    return rows, {}


MEASURES: dict[str, Callable[[argparse.Namespace], tuple[list[Row], dict[str, str]]]] = {
    "compare": compare,
    "time-to-loss": time_to_loss,
    "roofline": roofline,
    "kernels": kernels,
    **{name: axis(name) for name in AXES},
    "isa": isa,
    "generation": generation,
}


def processor() -> str:
    """As the machine calls it."""
    found = (
        re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        if os.path.exists("/proc/cpuinfo")
        else None
    )
    return found[1] if found else platform.processor() or platform.machine()


def commit() -> str:
    """The commit that is measured. Ends the program when the code has changes that no commit has."""
    changed = ["git", "status", "--porcelain", "--", "femto", "benches", f":!{RECORDS.relative_to(ROOT)}"]
    try:
        if subprocess.run(changed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip():
            sys.exit("performance: femto/ or benches/ have changes; commit them first, so that the record names what it measured")
        said = subprocess.run(
            ["git", "rev-parse", "--short=7", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        sys.exit("performance: this is no git repository; say with --commit what is measured")
    return said.strip()


def described(options: argparse.Namespace) -> str:
    """What an earlier record says of this processor's machine."""
    return next((old["machine"] for old in read(options.records) if old["processor"] == options.processor and old["machine"]), "")


def record(options: argparse.Namespace) -> None:
    """Measure the tables one after another, and write down each as it ends."""
    import numpy

    import femto
    from femto import kernels

    measured_commit = options.commit or commit()
    for name in options.tables:
        print(f"== {name} ==", file=sys.stderr, flush=True)
        rows, versions = MEASURES[name](options)
        made = {
            "table": name,
            "processor": options.processor,
            "isa": kernels.isa(),
            "cores": kernels.num_threads(),  # those that were used
            "machine": options.machine or described(options),
            "date": datetime.date.today().isoformat(),
            "commit": measured_commit,
            "versions": {
                "femto": femto.__version__,
                "Python": platform.python_version(),
                "NumPy": numpy.__version__,
                **versions,
            },
            "command": f"`performance.py record {name}`",
            "rows": rows,
        }
        others = [old for old in read(options.records) if (old["table"], old["processor"]) != (name, options.processor)]
        in_order = sorted([*others, made], key=lambda entry: list(TABLES).index(entry["table"]))  # stable: machines as they came
        options.records.write_text(json.dumps(in_order, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    from configurations import ROWS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(MEASURES)} [all that can be measured]")
    recording.add_argument("--processor", default=processor(), help="its name in the tables [what the machine says: %(default)s]")
    recording.add_argument(
        "--machine", default="", help="caches, memory and system, for the page's list of machines [as an earlier record of it]"
    )
    recording.add_argument("--commit", help="what is measured [HEAD, without changes]")
    recording.add_argument("--python", default=sys.executable, help="a Python that has torch and perhaps jax [this one]")
    recording.add_argument("--data", help="the Shakespeare text, for time-to-loss")
    recording.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW", help="[all]")
    recording.add_argument("--rounds", type=int, default=4, help="of the comparison [4]")
    recording.add_argument("--steps", type=int, help="of every measurement, to see that all works [enough of them]")
    recording.add_argument("--alone", action="store_true", help="femto's figures only, without PyTorch and JAX")
    recording.add_argument("--records", type=Path, default=RECORDS, metavar="FILE", help="[benches/performance.json]")
    commands.add_parser("page")
    options = parser.parse_args()
    if options.command == "page":
        for page in (PAGE, README):
            page.write_text(updated(page.read_text(encoding="utf-8"), read(RECORDS)), encoding="utf-8")
        return
    if unknown := [name for name in options.tables if name not in MEASURES]:
        parser.error(f"no measurement of {unknown[0]}; there are {', '.join(MEASURES)}")
    options.tables = options.tables or [name for name in MEASURES if name != "time-to-loss" or options.data]
    if "time-to-loss" in options.tables and not options.data:
        parser.error("time-to-loss needs --data, the Shakespeare text")
    if (options.steps or options.rows != list(ROWS)) and options.records == RECORDS:
        parser.error("--steps and --rows need --records FILE: a part is no record")
    record(options)


if __name__ == "__main__":
    main()
