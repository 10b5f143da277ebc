"""How much memory this process can still have, so that what cannot fit is refused before any of it is taken."""

import os
import re
import resource
import sys
from collections.abc import Iterator, Mapping

from femto.errors import ResourceError
from femto.system import control_groups
from femto.system.control_groups import text
from femto.system.text import amount

FILES = {  # limit, use, and what of it the system would give back, of version 2 and of version 1 of control groups
    2: ("memory.max", "memory.current", ("active_file", "inactive_file", "slab_reclaimable")),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file", "total_inactive_file")),
}
NO_LIMIT = 1 << 62  # what version 1 says where there is none: the largest number of pages


def require(parts: Mapping[str, int], what: str, advice: str) -> None:
    """Raise ResourceError if the parts, in bytes, are together more than there is."""
    needed, there = sum(parts.values()), available()
    if needed > there:
        listed = ", ".join(f"{name} {amount(size)}" for name, size in parts.items() if size)
        raise ResourceError(f"{what} needs {amount(needed)} of memory ({listed}), but {amount(there)} are free; {advice}")


def available() -> int:
    """Bytes that this process can still have, at most: the least of what the machine, its control groups and its own limit leave.

    Pages of files and free swap count as free: what might fit is not refused.
    """
    of_machine = text("/proc/meminfo")
    swap = 1024 * (_number(of_machine, "SwapFree:") or 0)
    limits = [_of_machine(of_machine) + swap, *(free + swap for free in _of_groups())]
    own = resource.getrlimit(resource.RLIMIT_AS)[0]
    if own != resource.RLIM_INFINITY:
        taken = _number(text("/proc/self/statm"))
        limits += [] if taken is None else [own - taken * resource.getpagesize()]
    return max(0, min(limits))


def peak_bytes() -> int:
    """The most that this process has held in memory since it began."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS reports bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _of_machine(meminfo: str) -> int:
    """What Linux thinks can be had without swapping; elsewhere all that is built in."""
    free = _number(meminfo, "MemAvailable:")
    return os.sysconf("SC_PHYS_PAGES") * resource.getpagesize() if free is None else 1024 * free


def _of_groups() -> Iterator[int]:
    """What the control group of this process and each above it leave, where they have a limit."""
    for version, group in control_groups.folders("memory"):
        limit, use, caches = FILES[version]
        found = _number(text(f"{group}/{limit}"))
        if found is None or found >= NO_LIMIT:
            continue
        used = _number(text(f"{group}/{use}"))
        if used is not None:
            stat = text(f"{group}/memory.stat")
            yield found - used + sum(_number(stat, cache) or 0 for cache in caches)


def _number(content: str, name: str = "") -> int | None:
    """The first number of a file's content, or of its line that begins with a name; None if there is none."""
    found = re.search(rf"^{re.escape(name)}\s*(\d+)", content, re.MULTILINE)
    return int(found[1]) if found else None
