"""The control groups that limit this process on Linux: its own and every one above it, of version 2 and of version 1."""

import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OF_PROCESS = Path("/proc/self/cgroup")


def folders(controller: str) -> Iterator[tuple[int, str]]:
    """Version, and folder, of each group that may limit what a controller ("memory", "cpu") gives, the innermost first."""
    for line in text(OF_PROCESS).splitlines():  # 0::/user.slice of version 2, 4:cpu,cpuacct:/user.slice of version 1
        controllers, path = line.split(":", 2)[1:]
        if controllers and controller not in controllers.split(","):
            continue
        version, root = (1, GROUPS / controller) if controllers else (2, GROUPS)
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts), -1, -1):
            yield version, os.path.join(root, *parts[:depth])


def text(path: str | Path) -> str:
    """What a file of the system says, without the buffers that so short a text does not need; nothing if it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
