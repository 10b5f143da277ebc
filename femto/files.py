"""Writing a file so that after any failure the old one or the new one is there, whole."""

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # a system without it has no locks
    fcntl = None  # type: ignore[assignment]


def write_atomically(path: str | os.PathLike[str], chunks: Iterable[bytes | memoryview]) -> None:
    """Write chunks to a temporary file beside `path`, flush it to the disk, and rename it onto `path`.

    A symbolic link is followed, so that it stays one; an existing file's permissions are kept. Raises OSError, and then the
    old file is untouched and the temporary one is gone.
    """
    target = Path(os.path.realpath(path))
    check_writable(path)
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            if target.exists():
                os.chmod(temporary, target.stat().st_mode & 0o7777)
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise OSError unless `write_atomically` may write there: a regular file or none, in a folder that can be written."""
    target = Path(os.path.realpath(path))
    if not os.fspath(path):
        raise FileNotFoundError(errno.ENOENT, "no file name given")
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "not a regular file")
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(errno.EACCES, "the folder cannot be written")


@contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other processes from changing a file while it is read, changed and written.

    The lock is on a file beside it, `.NAME.lock`, which holds the number of the process, and ends with the process, however that
    ends. Raises BlockingIOError, which names that process, if another one has it. Where no lock can be had (a folder
    that cannot be written, a file system without locks), there is none.
    """
    target = Path(os.path.realpath(path))
    lock = target.with_name(f".{target.name}.lock")
    descriptor = None if fcntl is None else _acquire(lock, path)
    try:
        yield
    finally:
        if descriptor is not None:
            lock.unlink(missing_ok=True)
            os.close(descriptor)


def _acquire(lock: Path, path: str | os.PathLike[str]) -> int | None:
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 20).decode("ascii", "replace") or "unknown"
            os.close(descriptor)
            raise BlockingIOError(errno.EAGAIN, f"in use by process {owner}", os.fspath(path)) from None
        except OSError:
            os.close(descriptor)
            return None
        try:
            if os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, str(os.getpid()).encode())
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # of a file that its owner has just removed


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets a folder be synced."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
