"""How many threads the kernels use, and which instruction set: set, asked for, and chosen from environment and machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from femto._kernels import core
from femto.errors import ConfigError
from femto.system import control_groups


def isa() -> str:
    """The instruction set that kernels run on: "avx512", "avx2", "neon" or "base"."""
    name: str = core.isa()
    return name


def supported_isas() -> list[str]:
    """The instruction sets that this machine runs, best first."""
    names: list[str] = core.supported_isas()
    return names


def set_isa(name: str) -> None:
    """Run kernels on this instruction set, in the whole process. Raises ValueError for one that this machine does not run."""
    core.set_isa(name)


def has_openmp() -> bool:
    """Whether kernels were built with threads."""
    built: bool = core.has_openmp()
    return built


def num_threads() -> int:
    """The threads that a kernel uses at most: 1 in a forked child and without OpenMP."""
    threads: int = core.num_threads()
    return threads


_chosen = False  # whether somebody said how many threads, rather than femto
_found = 1  # the threads that femto found at its start


def set_num_threads(threads: int | Literal["auto"]) -> None:
    """Let kernels use up to so many threads (1 to 4096), in the whole process. Changes no bit of any result.

    femto then keeps to it, also where fewer would be faster beside other programs. "auto" is what femto chooses at its start,
    from the environment and the machine. Raises ConfigError for an environment that says no number.
    """
    global _chosen
    if threads == "auto":
        apply_threads()
        return
    core.set_num_threads(threads)
    _chosen = True


def free_threads() -> int:
    """The threads that femto may choose among: those of the machine, or 1 where somebody chose a number."""
    return 1 if _chosen else _found


def use_threads(threads: int) -> None:
    """Use so many threads for now, which chooses nothing for anybody."""
    core.set_num_threads(threads)


@contextmanager
def fixed_threads(threads: int) -> Iterator[None]:
    """So many threads inside, as if somebody had chosen them."""
    global _chosen
    before, chosen = num_threads(), _chosen
    set_num_threads(threads)
    try:
        yield
    finally:
        core.set_num_threads(before)
        _chosen = chosen


def chosen_by_environment() -> int | None:
    """FEMTO_THREADS, else OMP_NUM_THREADS; None if neither says a number. Raises ConfigError."""
    for variable in ("FEMTO_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(variable, "").split(",")[0].strip()
        if value.isdecimal() and 1 <= int(value) <= 4096:
            return int(value)
        if value and variable == "FEMTO_THREADS":  # OMP_NUM_THREADS is not ours to judge
            raise ConfigError(f"{variable}={value}: expected a number of threads from 1 to 4096")
    return None


def default_num_threads() -> int:
    """FEMTO_THREADS, else OMP_NUM_THREADS, else the physical cores that this process may use.

    Those are the smallest of: the process's CPU affinity counted in physical cores (two hardware threads of one core add nothing
    to code bound by its FMA units), and the CPU quota of its control groups (a container's limit), rounded up.
    """
    told = chosen_by_environment()
    if told is not None:
        return told
    cores = _physical_cores()
    quota = _cgroup_quota()
    return max(1, min(cores, quota) if quota else cores)


def _physical_cores() -> int:
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cpus = os.sched_getaffinity(0)
    siblings = set()
    for cpu in cpus:
        try:
            siblings.add(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text("ascii"))
        except OSError:
            return len(cpus)
    return len(siblings)


def _cgroup_quota() -> int | None:
    """CPUs that the control groups of this process, its own and those above it, let it use, rounded up; None without a limit."""
    limits = []
    for version, group in control_groups.folders("cpu"):
        if version == 2:
            words = control_groups.text(f"{group}/cpu.max").split()  # "50000 100000" or "max 100000"
        else:
            words = [control_groups.text(f"{group}/cpu.cfs_{name}_us").strip() for name in ("quota", "period")]  # quota -1: none
        if len(words) == 2 and all(word.isdecimal() and int(word) for word in words):
            limits.append(-(-int(words[0]) // int(words[1])))
    return min(limits, default=None)


def apply_threads() -> None:
    """Set the kernels' threads from the environment and the machine. Raises ConfigError."""
    global _found, _chosen
    _found = default_num_threads()
    _chosen = chosen_by_environment() is not None
    use_threads(_found)


def apply_environment() -> None:
    """Set the kernels' threads and, when FEMTO_ISA names one, their instruction set. Raises ConfigError."""
    apply_threads()
    wanted = os.environ.get("FEMTO_ISA")
    if wanted:
        try:
            set_isa(wanted)
        except ValueError as error:
            raise ConfigError(f"FEMTO_ISA={wanted}: {error}") from None
