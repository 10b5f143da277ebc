"""How much memory this process can still have, so that what cannot fit is refused before any of it is taken."""

import os
import re
import resource
from collections.abc import Mapping
from pathlib import Path

from femto.errors import ResourceError

CONTROL_GROUPS = (  # limit, use, and what of it the system would give back: of version 2, and of version 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat", "inactive_file"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
        "total_inactive_file",
    ),
)


def require(parts: Mapping[str, int], what: str, advice: str) -> None:
    """Raise ResourceError if the parts, in bytes, are together more than there is."""
    needed, there = sum(parts.values()), available()
    if needed > there:
        listed = ", ".join(f"{name} {amount(size)}" for name, size in parts.items() if size)
        raise ResourceError(f"{what} needs {amount(needed)} of memory ({listed}), but {amount(there)} are free; {advice}")


def available() -> int:
    """Bytes that this process can still have: the least of what the machine, its control group and its own limit leave."""
    limits = [_of_machine()]
    for limit, use, statistics, cache in CONTROL_GROUPS:
        found, used = _number(limit), _number(use)
        if found is not None and used is not None:
            limits.append(found - used + (_number(statistics, cache) or 0))
    own = resource.getrlimit(resource.RLIMIT_AS)[0]
    taken = _number("/proc/self/statm")
    if own != resource.RLIM_INFINITY and taken is not None:
        limits.append(own - taken * resource.getpagesize())
    return max(0, min(limits))


def _of_machine() -> int:
    """What Linux thinks can be had without swapping; elsewhere all that is built in."""
    free = _number("/proc/meminfo", "MemAvailable:")
    return os.sysconf("SC_PHYS_PAGES") * resource.getpagesize() if free is None else 1024 * free


def _number(path: str, name: str = "") -> int | None:
    """The first number of a file of the system, or of its line that begins with a name; None if there is none."""
    try:
        text = Path(path).read_text("ascii")
    except (OSError, ValueError):
        return None
    found = re.search(rf"^{re.escape(name)}\s*(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else None


def amount(size: int) -> str:
    """1.2 GiB."""
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20)):
        if size >= 1 << shift:
            return f"{size / (1 << shift):,.1f} {unit}"
    return f"{size / 1024:,.1f} KiB"
