"""What the machine can do at most: float32 arithmetic in registers, reading and writing memory, on one thread and on all.

    python benches/roofline.py [--mib 256]

Memory is read by sums of products (BLAS) and written by fills, a block of its own for each thread.
"""

import argparse
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # the threads are ours; read when NumPy is imported

import numpy as np

from femto import kernels
from femto.profiling.benchmark import peak_gflops
from femto.system.text import counted

NEAR_MIB = 4  # beyond the L2 of a core, within L3
SECONDS = 0.1  # of each measurement
ROUNDS = 5  # of which the best counts


def read(block):
    np.dot(block, block)


def write(block):
    np.copyto(block, np.float32(1.0))


def gigabytes_per_second(work, blocks):
    """Of `work` on each of the blocks, all at once, a thread a block; the best of some rounds."""
    best = 0.0
    started = time.perf_counter()
    for block in blocks:
        work(block)  # first touch
    calls = max(1, int(SECONDS * len(blocks) / (time.perf_counter() - started)))

    def repeat(block):
        for _ in range(calls):
            work(block)

    with ThreadPoolExecutor(len(blocks)) as pool:
        for _ in range(ROUNDS):
            started = time.perf_counter()
            list(pool.map(repeat, blocks))
            best = max(best, calls * sum(block.nbytes for block in blocks) / (time.perf_counter() - started))
    return best / 1e9


def measure(far_mib):
    """One row for each bound: what, unit, on one thread, on all."""
    threads = kernels.num_threads()
    rows = [{"what": "float32 FMA in registers", "unit": "GF/s"}]
    for count, column in ((1, "one_thread"), (threads, "all_threads")):
        kernels.set_num_threads(count)
        rows[0][column] = peak_gflops()
    for what, work, mib in (
        (f"reading from L3, {NEAR_MIB} MiB", read, NEAR_MIB),
        (f"reading from memory, {far_mib} MiB", read, far_mib),
        (f"writing to memory, {far_mib} MiB", write, far_mib),
    ):
        blocks = [np.zeros(mib << 18, np.float32) for _ in range(threads)]
        row = {"what": what, "unit": "GB/s", "one_thread": gigabytes_per_second(work, blocks[:1])}
        rows.append({**row, "all_threads": gigabytes_per_second(work, blocks)})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=256, help="of memory for each thread [256]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    rows = measure(options.mib)
    print(f"| what | one thread | {counted(kernels.num_threads(), 'thread')} |\n|---|---|---|")
    for row in rows:
        print(f"| {row['what']} | {row['one_thread']:.0f} {row['unit']} | {row['all_threads']:.0f} {row['unit']} |")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
