"""Writing a file so that after any failure the old one or the new one is there, whole."""

import errno
import os
import secrets
from collections.abc import Iterable
from pathlib import Path


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
