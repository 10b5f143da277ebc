"""femto against PyTorch eager, torch.compile and JAX: the same model, optimiser, batch and dropout, in one run.

    python benches/compare_pytorch.py --python PYTHON_WITH_TORCH [ROW …]

Each framework trains in a process of its own with the same number of threads. All start from femto's parameters, and the run
stops unless losses, norms of gradients and the norm of the parameters agree over three steps without dropout. Then they take
turns of a few whole steps (batch, forward, backward, clipping, AdamW) while the others wait: quote the ratio, because all saw the
same machine. PYTHON_WITH_TORCH needs no femto; what it cannot import is left out. torch.compile and JAX compile for minutes.
"""

import argparse
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path

from compare_process import LABELS, Worker, can_import
from configurations import ROWS

STEPS = {"10": 20, "1": 20, "22": 5, "36": 5, "19": 5, "34": 2, "14": 1}  # a turn: a second and more for the slowest
WARMUP_STEPS = 2  # after those of the check
SETTLE_SECONDS = 0.1  # before a turn: the threads of the one before spin for some milliseconds until they sleep
TOLERANCES = {"losses": 1e-5, "gradient_norms": 1e-4, "parameter_norm": 1e-6}  # relative
MOST_IDLE_CPUS = 0.02  # that a waiting worker may use


def choose_kinds(options):
    """The frameworks to run beside femto. Says on stderr what is missing."""
    if options.alone:
        return ["graph"]
    wanted = {"torch": ["eager", "compile"], "jax": ["jax"]}
    if options.no_compile:
        wanted["torch"].remove("compile")
    if options.no_jax:
        del wanted["jax"]
    kinds = []
    for module in wanted:
        if can_import(options.python, module):
            kinds += wanted[module]
        else:
            say(f"{options.python} cannot import {module}: left out")
    if not kinds:
        sys.exit(f"compare_pytorch: {options.python} has nothing to compare with; give --python one that has torch, or --alone")
    return kinds


def say(text):
    print(text, file=sys.stderr, flush=True)


def compare(row, kinds, options):
    """Everything measured on a row."""
    steps = options.steps or STEPS[row]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        workers = {}
        for kind in ["femto", *kinds]:
            say(f"#{row}: starting {LABELS[kind]}")
            python = sys.executable if kind in ("femto", "graph") else options.python
            # Without --threads femto decides, and the others follow.
            threads = workers["femto"].facts["threads"] if workers else options.threads
            workers[kind] = Worker(kind, python, Path(folder) / "problem.npz", threads, row, options.keep_memory)
            stack.callback(workers[kind].stop)
        answers, differences = {}, {}
        for kind, worker in workers.items():
            say(f"#{row}: checking and warming up {LABELS[kind]}")
            answers[kind] = worker.ask("check")
            differences[kind] = check(row, LABELS[kind], answers[kind], answers["femto"])
            worker.ask("steps", WARMUP_STEPS)
            if kind == "femto":
                peak = worker.ask("peak")["peak_gflops"]
        say(f"#{row}: all agree; rounds: {options.rounds}, steps in each: {steps}")
        turns = {kind: [] for kind in workers}
        for _ in range(options.rounds):
            for kind, worker in workers.items():
                time.sleep(SETTLE_SECONDS)
                turns[kind].append(worker.ask("steps", steps))
        peak = max(peak, workers["femto"].ask("peak")["peak_gflops"])
        results = {kind: worker.facts | summary(turns[kind]) for kind, worker in workers.items()}
    complain(row, results)
    ours = results["femto"]
    ours |= {"peak_gflops": peak, "fraction_of_peak": ours["flops_per_step"] / ours["median_ms"] / 1e6 / peak}
    fastest = min(kinds, key=lambda kind: results[kind]["median_ms"])
    # Round by round, so that a change in the machine's speed between rounds falls out.
    medians = [[statistics.median(turn["milliseconds"]) for turn in turns[kind]] for kind in (fastest, "femto")]
    ratios = [theirs / mine for theirs, mine in zip(*medians, strict=True)]
    return {
        "row": row,
        "configuration": dict(zip(("V", "T", "d", "L", "H", "dropout"), ROWS[row], strict=True)),
        "fastest": fastest,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "differences": differences,
        "results": results,
    }


def check(row, label, theirs, ours):
    """The largest relative difference from femto of each figure; ends the run when one is beyond its tolerance."""
    largest = {}
    for name, tolerance in TOLERANCES.items():
        differences = [abs(their / our - 1.0) for their, our in zip(theirs[name], ours[name], strict=True)]
        if not all(difference <= tolerance for difference in differences):  # so that NaN fails too
            sys.exit(
                f"compare_pytorch: #{row}: {name.replace('_', ' ')} of {label} {theirs[name]} and femto {ours[name]} differ by "
                f"more than {tolerance:g} on the same parameters and batches; nothing was timed"
            )
        largest[name] = max(differences)
    return largest


def summary(turns):
    """Of one framework's turns on a row: the median step, and everything that it is the median of."""
    milliseconds = [turn["milliseconds"] for turn in turns]
    return {
        "median_ms": statistics.median(chain.from_iterable(milliseconds)),
        "min_ms": min(chain.from_iterable(milliseconds)),
        "peak_rss_mib": turns[-1]["peak_rss_mib"],
        "cpus": statistics.median(turn["cpus"] for turn in turns),
        "idle_cpus": max(turn["idle_cpus"] for turn in turns),
        "last_loss": turns[-1]["losses"][-1],
        "milliseconds": milliseconds,
    }


def complain(row, results):
    """Say on stderr which framework took more of the machine than its share."""
    for kind, result in results.items():
        if result["idle_cpus"] > MOST_IDLE_CPUS:
            say(f"#{row}: {LABELS[kind]} used {result['idle_cpus']:.2f} CPUs while it waited, and disturbed the others")
        if result["cpus"] > 1.05 * results["femto"]["threads"]:
            say(f"#{row}: {LABELS[kind]} used {result['cpus']:.2f} CPUs; run this under taskset to hold it to its threads")


def table_head(kinds):
    columns = ["row", "femto ms", "of peak", "MiB"]
    for kind in kinds:
        columns += [f"{LABELS[kind]} ms", "MiB"]
    columns.append("fastest of them / femto: median (range) of rounds")
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


def table_row(result, kinds):
    ours, ratios = result["results"]["femto"], result["ratios"]
    columns = [f"#{result['row']}", f"{ours['median_ms']:.1f}", f"{ours['fraction_of_peak']:.0%}", f"{ours['peak_rss_mib']:.0f}"]
    for kind in kinds:
        theirs = result["results"][kind]
        columns += [f"{theirs['median_ms']:.1f}", f"{theirs['peak_rss_mib']:.0f}"]
    columns.append(f"{result['ratio']:.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
    return f"| {' | '.join(columns)} |"


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=list(ROWS), metavar="ROW", help=f"of {', '.join(ROWS)} [all]")
    parser.add_argument("--python", default=sys.executable, help="a Python that has torch and perhaps jax [this one]")
    parser.add_argument("--threads", type=positive, help="of every framework [femto's choice: the physical cores]")
    parser.add_argument("--steps", type=positive, help="of each framework in each round [by row, 20 to 1]")
    parser.add_argument("--rounds", type=positive, default=5, help="[5]")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile")
    parser.add_argument("--alone", action="store_true", help="only femto, against its own graph: to see that all of it works")
    parser.add_argument("--no-jax", action="store_true", help="without JAX")
    parser.add_argument(
        "--keep-memory", action="store_true", help="glibc keeps, in huge pages, what PyTorch and JAX free: faster, more memory"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured there as well, after each row")
    options = parser.parse_args()
    if unknown := [row for row in options.rows if row not in ROWS]:
        parser.error(f"no row {unknown[0]}; there are {', '.join(ROWS)}")
    if not shutil.which(options.python):
        parser.error(f"--python {options.python}: there is no such program")
    if options.json and not options.json.absolute().parent.is_dir():
        parser.error(f"--json {options.json}: there is no such folder")
    kinds = choose_kinds(options)
    print(table_head(kinds), flush=True)
    results = []
    try:
        for row in options.rows:
            results.append(compare(row, kinds, options))
            print(table_row(results[-1], kinds), flush=True)
            if options.json:
                measured = {"rounds": options.rounds, "keep_memory": options.keep_memory, "rows": results}
                options.json.write_text(json.dumps(measured, indent=1) + "\n")
    except KeyboardInterrupt:
        sys.exit("compare_pytorch: interrupted")


if __name__ == "__main__":
    main()
