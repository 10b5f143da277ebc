"""The caller's side of compare_worker.py: starts a worker, asks it, stops it."""

import json
import os
import subprocess
import sys
from pathlib import Path

LABELS = {"femto": "femto", "graph": "femto's graph", "eager": "PyTorch eager", "compile": "torch.compile", "jax": "JAX"}
SPINNING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # may let threads spin for longer than by default
# PyTorch and JAX allocate in every step. A glibc that is told to keep what they free, in huge pages, spares them page faults.
# femto allocates once, in huge pages by itself.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


class Worker:
    """A process of compare_worker.py that answers one command at a time; `facts` is what it says when it has started."""

    def __init__(self, kind, python, problem, threads, row, keep_memory):
        self.label = LABELS[kind]
        script = Path(__file__).with_name("compare_worker.py")
        self.process = subprocess.Popen(
            [python, str(script), kind, str(problem), str(threads or 0), row],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(threads) | (KEEP_MEMORY if keep_memory and kind not in ("femto", "graph") else {}),
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
        """The worker ends by itself when there are no more commands, and takes torch.compile's processes with it."""
        try:
            self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def environment(threads):
    """Variables that give a framework `threads` threads, which sleep when there is no work.

    JAX has no setting of its own: PJRT_NPROC sizes XLA's pool of threads.
    """
    variables = {name: value for name, value in os.environ.items() if name not in SPINNING}
    if threads:
        variables |= dict.fromkeys(("FEMTO_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "PJRT_NPROC"), str(threads))
    return variables


def can_import(python, module):
    command = [python, "-c", f"import {module}"]
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
