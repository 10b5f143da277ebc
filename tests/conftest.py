"""What makes the tests quick, and changes no result.

Temporary files are in memory where there is room: tests write tens of thousands, and a disk is waited for at each. TMPDIR, if it
is set, says where instead. The crash tests always work on the disk.

Threads that wait for work sleep instead of spinning: these models are so small that most of the time they wait, and beside
other programs a spinning thread takes the core from the one that it waits for.

Property tests have no deadline: an example of a millisecond takes seconds where other programs keep the cores busy.

No test finds token files of the user, or writes any there: those that need a cache have one of their own.
"""

import os
import shutil
import tempfile

from hypothesis import settings

MEMORY = "/dev/shm"

if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 1 << 29:
    tempfile.tempdir = os.environ["TMPDIR"] = MEMORY
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when the kernels are loaded, after this
os.environ["FEMTO_CACHE"] = "none"
settings.register_profile("femto", deadline=None)
settings.load_profile("femto")
