"""Disks that fail, processes that are killed, power that is lost: some of what `python tests/crash` does at length."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CRASH = Path(__file__).parent / "crash"


@pytest.mark.skipif(sys.platform != "linux", reason="faults are injected with a preloaded library")
@pytest.mark.parametrize(
    ("arguments", "at_least"),
    [
        (["faults", "--scenario", "train", "--every", "7"], 40),
        (["faults", "--scenario", "init", "--every", "5"], 10),
        (["faults", "--scenario", "insert-layer", "--every", "9"], 9),
        (["faults", "--scenario", "train-bpe", "--every", "3"], 10),
        (["faults", "--scenario", "experiment", "--every", "77"], 10),
        (["kills", "--count", "25"], 25),
    ],
    ids=lambda value: value if isinstance(value, int) else " ".join(value[:3]),
)
def test_nothing_is_lost_broken_or_left_behind(arguments, at_least):
    on_disk = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
    done = subprocess.run([sys.executable, str(CRASH), *arguments], env=on_disk, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert max(int(word) for word in done.stdout.split() if word.isdigit()) >= at_least
