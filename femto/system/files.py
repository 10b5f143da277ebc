"""Reading regular files only, and writing a file so that after any failure the old one or the new one is there, whole."""

import errno
import os
import re
import secrets
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # a system without it has no locks
    fcntl = None  # type: ignore[assignment]


def write_atomically(path: str | os.PathLike[str], chunks: Iterable[bytes | memoryview]) -> None:
    """Write chunks to a temporary file beside `path`, flush it to the disk, and rename it onto `path`.

    A symbolic link is followed, so that it stays one; an existing file's permissions are kept. What killed processes left of
    earlier writes to `path` is removed. Raises OSError, whose `strerror` says what became of the file: the old one is untouched
    and the temporary one gone, or, when only the folder could not be synced, the new one is there.
    """
    target = Path(os.path.realpath(path))
    try:
        check_writable(path)
        remove_abandoned(target.parent, re.escape(_prefix(target)))
        _replace(target, chunks)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; nothing was changed", os.fspath(path)) from error
    try:
        _sync_folder(target.parent)
    except OSError as error:
        message = f"the new file is in its place, but its folder could not be synced to the disk: {error.strerror}"
        raise OSError(error.errno, message, os.fspath(path)) from error


def _replace(target: Path, chunks: Iterable[bytes | memoryview]) -> None:
    temporary, file = _temporary(target)
    try:
        with file:
            if target.exists():
                os.chmod(temporary, target.stat().st_mode & 0o7777)
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, target)  # while it is locked, so that nobody takes it for abandoned
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell
            temporary.unlink(missing_ok=True)
        raise


def _temporary(target: Path) -> tuple[Path, BinaryIO]:
    """A new file beside `target`, locked as long as it is open."""
    while True:
        temporary = target.with_name(f"{_prefix(target)}{secrets.token_hex(8)}.tmp")
        file = open(temporary, "xb")  # noqa: SIM115 (the caller closes it)
        if fcntl is None:
            return temporary, file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = temporary.exists()
        except BlockingIOError:
            mine = False
        except OSError:  # a file system without locks; nobody removes it there either
            mine = True
        if mine:
            return temporary, file
        file.close()  # another process took it for abandoned before it was locked


def remove_abandoned(folder: Path, prefix: str = r"\.femto-[0-9a-f]{8}-") -> None:
    """Remove temporary files in a folder whose process has died: those that nobody has locked. prefix: a regular expression."""
    if fcntl is None:
        return
    names = []
    with suppress(OSError):  # tidying up stops no work
        names = os.listdir(folder)
    for name in names:
        if re.fullmatch(rf"{prefix}[0-9a-f]{{16}}\.tmp", name):
            with suppress(OSError):
                descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    (folder / name).unlink(missing_ok=True)
                finally:
                    os.close(descriptor)


def _prefix(target: Path) -> str:
    """What the names of its temporary files begin with: hidden, its own, and short even when its name is not."""
    return f".femto-{zlib.crc32(os.fsencode(target.name)):08x}-"


def copy(source: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Copy a file as `write_atomically` writes one."""
    with open(source, "rb") as file:
        write_atomically(path, iter(lambda: file.read(1 << 20), b""))


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder, and those above it, so that it outlives a loss of power. mode: its permissions, if it is new, before the
    process's mask. Raises OSError."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(mode, parents=True, exist_ok=True)
    for folder in missing:
        _sync_folder(folder.parent)


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


LONGEST_NAME = 255  # bytes
IN_THE_WAY = {errno.ELOOP: "it is a link; move it away", errno.EISDIR: "it is a folder; move it away"}


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A regular file, open for reading. Raises OSError, also if it is of another kind (a pipe would wait for ever, a device
    never end), and if what is done with it needs more memory than there is."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    try:
        with open(path, "rb") as file:
            yield file
    except MemoryError as error:
        raise OSError(errno.ENOMEM, "more than the memory holds", os.fspath(path)) from error


def read(path: str | os.PathLike[str], most: int | None = None) -> bytes:
    """The bytes of a regular file, `most` of them at most. Raises OSError, as `opened` does."""
    with opened(path) as file:
        content = file.read() if most is None else file.read(most + 1)
    if most is not None and len(content) > most:
        size = f"{most >> 20} MiB" if most >> 20 else f"{most >> 10} KiB"
        raise OSError(errno.EFBIG, f"larger than {size}")
    return content


@contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other processes from changing a file while it is read, changed and written.

    The lock is on a file beside it, `.NAME.lock`, which holds the number of the process, and ends with the process, however that
    ends. What killed processes left of writes to `path` is removed. Raises BlockingIOError, which names that process, if another
    one has it, and OSError if something else has that file's name. Where no lock can be had (a folder that cannot be written, a
    file system without locks), there is none.
    """
    target = Path(os.path.realpath(path))
    if fcntl is None or not target.name or not target.parent.is_dir():
        yield
        return
    lock = target.with_name(f".{target.name}.lock")
    if len(os.fsencode(lock.name)) > LONGEST_NAME:
        lock = target.with_name(f"{_prefix(target)}lock")
    descriptor = _acquire(lock, path)
    try:
        remove_abandoned(target.parent, re.escape(_prefix(target)))
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):
                if os.path.samestat(os.fstat(descriptor), os.stat(lock)):  # unless somebody removed it, and another made one
                    lock.unlink()
            os.close(descriptor)


def _acquire(lock: Path, path: str | os.PathLike[str]) -> int | None:
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise _no_lock(lock, IN_THE_WAY.get(error.errno or 0, error.strerror)) from error
            if not os.path.lexists(lock):  # nor can anything else be written there
                return None
            try:  # another user's; to lock it, it is enough to read it
                descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError as unreadable:
                raise _no_lock(lock, unreadable.strerror) from error
        try:
            _require_ours(descriptor, lock)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                with suppress(OSError):  # on a full disk the lock is good without its number
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, str(os.getpid()).encode())
                return descriptor
        except BlockingIOError:
            owner = os.pread(descriptor, 20, 0).decode("ascii", "replace") or "unknown"
            os.close(descriptor)
            raise BlockingIOError(errno.EAGAIN, f"in use by process {owner}", os.fspath(path)) from None
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(descriptor)
            if error.errno == errno.EEXIST:
                raise
            with suppress(OSError):
                lock.unlink()
            return None  # a file system without locks
        os.close(descriptor)  # of a file that its owner has just removed


def _require_ours(descriptor: int, lock: Path) -> None:
    """Raise OSError unless the file is what femto makes: with one name, and empty or the number of a process."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or not re.fullmatch(rb"\d{0,20}", os.pread(descriptor, 21, 0)):
        raise _no_lock(lock, "it is no lock of femto's; move it away")


def _no_lock(lock: Path, reason: str | None) -> OSError:
    return OSError(errno.EEXIST, f"{lock.name} cannot be its lock: {reason}")


def _sync_folder(folder: Path) -> None:
    """Make a rename in it durable, where the system lets a folder be synced. Raises OSError."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # file systems that cannot
            raise
    finally:
        os.close(descriptor)
