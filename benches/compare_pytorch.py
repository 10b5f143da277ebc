"""femto against PyTorch eager, torch.compile and JAX: the same model, optimiser, batch and dropout, in one run.

    python benches/compare_pytorch.py --python PYTHON_WITH_TORCH [ROW …]

Each framework trains in a process of its own with the same number of threads. All start from femto's parameters, and the run
stops unless losses, norms of gradients and the norm of the parameters agree over three steps without dropout. Then they take
turns of a few whole steps (batch, forward, backward, clipping, AdamW), the others waiting: quote the ratio, because all saw the
same machine. PYTHON_WITH_TORCH needs no femto; what it cannot import is left out.
"""

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from configurations import ROWS

LABELS = {"femto": "femto", "eager": "PyTorch eager", "compile": "torch.compile", "jax": "JAX"}
STEPS = {"10": 20, "1": 20, "22": 5, "36": 5, "19": 5, "34": 2, "14": 1}  # a turn: a second and more for the slowest
WARMUP_STEPS = 2  # after the three of the check
SETTLE_SECONDS = 0.1  # before a turn; the threads of the one before spin for some milliseconds before they sleep
TOLERANCES = {"losses": 1e-5, "gradient_norms": 1e-4, "parameter_norm": 1e-6}  # relative; seen: a tenth of these
MOST_IDLE_CPUS = 0.02  # that a waiting worker may use


class Worker:
    """A process of compare_worker.py that answers one command at a time."""

    def __init__(self, kind, python, problem, threads, row):
        self.label = LABELS[kind]
        command = [python, Path(__file__).with_name("compare_worker.py"), kind, problem, threads or 0, row]
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(threads),
        )
        self.facts = self.answer()

    def ask(self, command, argument=None):
        try:
            self.process.stdin.write(json.dumps({command: argument}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self.fail()
        return self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else self.fail()

    def fail(self):
        sys.exit(f"compare_pytorch: {self.label} ended with status {self.process.wait()}; what it said is above")

    def stop(self):
        self.process.kill()
        self.process.wait()


def environment(threads):
    """Variables that give every framework `threads` threads, which sleep when there is no work.

    JAX has no setting of its own: PJRT_NPROC sizes XLA's thread pool.
    """
    variables = dict(os.environ)
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        variables.pop(name, None)
    if threads:
        variables |= dict.fromkeys(("FEMTO_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "PJRT_NPROC"), str(threads))
    return variables


def installed(python, module):
    """Whether that Python can import the module."""
    done = subprocess.run([python, "-c", f"import {module}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return done.returncode == 0


def choose_kinds(options):
    """The frameworks to run beside femto. Says on stderr what is missing."""
    kinds = []
    for module, wanted in (("torch", ["eager", *([] if options.no_compile else ["compile"])]), ("jax", ["jax"])):
        if module == "jax" and options.no_jax:
            continue
        if installed(options.python, module):
            kinds += wanted
        else:
            say(f"{options.python} cannot import {module}: left out")
    if not kinds:
        sys.exit(f"compare_pytorch: {options.python} has nothing to compare with; give --python one that has torch")
    return kinds


def say(text):
    print(text, file=sys.stderr, flush=True)


def check(answers, row):
    """The largest relative difference from femto of each figure; ends the run when one is beyond its tolerance."""
    differences = {}
    for kind in answers.keys() - {"femto"}:
        differences[kind] = {}
        for name, tolerance in TOLERANCES.items():
            ours, theirs = answers["femto"][name], answers[kind][name]
            pairs = zip(ours, theirs, strict=True) if isinstance(ours, list) else [(ours, theirs)]
            worst = max(abs(theirs / ours - 1.0) for ours, theirs in pairs)
            differences[kind][name] = worst
            if not worst <= tolerance:  # a NaN is beyond it too
                sys.exit(
                    f"compare_pytorch: #{row}: {name.replace('_', ' ')} of {LABELS[kind]} and femto differ by {worst:.1e} "
                    f"(at most {tolerance:.0e}) on the same parameters and batches: {theirs} and {ours}; nothing was timed"
                )
    return differences


def compare(row, kinds, options, folder):
    """Everything measured on a row."""
    problem = Path(folder) / f"{row}.npz"
    steps = options.steps or STEPS[row]
    with contextlib.ExitStack() as stack:
        workers = {}
        for kind in ["femto", *kinds]:
            say(f"#{row}: starting {LABELS[kind]}")
            python = sys.executable if kind == "femto" else options.python
            # Without --threads femto decides, and the others follow.
            threads = workers["femto"].facts["threads"] if workers else options.threads
            workers[kind] = Worker(kind, python, problem, threads, row)
            stack.callback(workers[kind].stop)
        differences = check({kind: worker.ask("check") for kind, worker in workers.items()}, row)
        say(f"#{row}: all agree; warming up, then {options.rounds} rounds of {steps} steps each")
        for worker in workers.values():
            worker.ask("steps", WARMUP_STEPS)
        peak = workers["femto"].ask("peak")["peak_gflops"]
        turns = {kind: [] for kind in workers}
        for _ in range(options.rounds):
            for kind, worker in workers.items():
                time.sleep(SETTLE_SECONDS)
                turns[kind].append(worker.ask("steps", steps))
        peak = max(peak, workers["femto"].ask("peak")["peak_gflops"])
        facts = {kind: worker.facts for kind, worker in workers.items()}
    results = {kind: facts[kind] | summary(turns[kind]) for kind in turns}
    for kind, result in results.items():
        if result["idle_cpus"] > MOST_IDLE_CPUS:
            say(f"#{row}: {LABELS[kind]} used {result['idle_cpus']:.2f} CPUs while it waited, and disturbed the others")
    ours = results["femto"]
    ours |= {"peak_gflops": peak, "fraction_of_peak": ours["flops_per_step"] / ours["median_ms"] / 1e6 / peak}
    fastest = min(kinds, key=lambda kind: results[kind]["median_ms"])
    ratios = [
        statistics.median(theirs["milliseconds"]) / statistics.median(mine["milliseconds"])
        for theirs, mine in zip(turns[fastest], turns["femto"], strict=True)
    ]
    return {
        "row": row,
        "configuration": dict(zip(("V", "T", "d", "L", "H", "dropout"), ROWS[row], strict=True)),
        "fastest": fastest,
        "ratio": results[fastest]["median_ms"] / ours["median_ms"],
        "ratio_of_rounds": [min(ratios), max(ratios)],
        "differences": differences,
        "results": results,
    }


def summary(turns):
    """Of one framework's turns on a row: the median step, and everything that it is the median of."""
    milliseconds = [turn["milliseconds"] for turn in turns]
    every = list(itertools.chain.from_iterable(milliseconds))
    return {
        "median_ms": statistics.median(every),
        "min_ms": min(every),
        "peak_rss_mib": turns[-1]["peak_rss_mib"],
        "cpus": statistics.median(turn["cpus"] for turn in turns),
        "idle_cpus": max(turn["idle_cpus"] for turn in turns),
        "milliseconds": milliseconds,
        "last_loss": turns[-1]["losses"][-1],
    }


def header(kinds):
    columns = ["row", "femto ms", "of peak", "MiB"]
    for kind in kinds:
        columns += [f"{LABELS[kind]} ms", "MiB"]
    columns.append("fastest of them / femto (rounds)")
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


def line(result, kinds):
    results = result["results"]
    ours, (low, high) = results["femto"], result["ratio_of_rounds"]
    columns = [f"#{result['row']}", f"{ours['median_ms']:.1f}", f"{ours['fraction_of_peak']:.0%}", f"{ours['peak_rss_mib']:.0f}"]
    for kind in kinds:
        columns += [f"{results[kind]['median_ms']:.1f}", f"{results[kind]['peak_rss_mib']:.0f}"]
    columns.append(f"{result['ratio']:.2f} ({low:.2f}-{high:.2f})")
    return f"| {' | '.join(columns)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=list(ROWS), metavar="ROW", help=f"of {', '.join(ROWS)} [all]")
    parser.add_argument("--python", default=sys.executable, help="a Python that has torch and perhaps jax [this one]")
    parser.add_argument("--threads", type=int, help="of every framework [femto's choice: the physical cores]")
    parser.add_argument("--steps", type=int, help="of a framework in each round [by row, 20 to 1]")
    parser.add_argument("--rounds", type=int, default=5, help="[5]")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile")
    parser.add_argument("--no-jax", action="store_true", help="without JAX")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured there as well, after each row")
    options = parser.parse_args()
    if unknown := [row for row in options.rows if row not in ROWS]:
        parser.error(f"no row {unknown[0]}; there are {', '.join(ROWS)}")
    kinds = choose_kinds(options)
    print(header(kinds))
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for row in options.rows:
            measured.append(compare(row, kinds, options, folder))
            print(line(measured[-1], kinds), flush=True)
            if options.json:
                options.json.write_text(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
