"""The system calls of `storage`, and the one place where tests inject faults.

`fault` is called with an operation's name ("open", "write", "fsync", "rename", "fsync folder",
"mkdir", "remove", "read") and its path before each call; tests set it to raise OSError or to kill
the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import os
import platform
import secrets
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TextIO, cast

from skipstone.core.errors import StorageError

#: Prefix of the temporary files and folders that a killed write leaves.
TEMPORARY_PREFIX = ".skipstone-tmp-"
#: Prefix of a folder that was renamed while its successor takes its name, on systems that cannot
#: exchange two names in one call; the folder's name follows.
REPLACED_PREFIX = ".skipstone-old-"
CHUNK = 1 << 20

fault: Callable[[str, Path], None] | None = None

_ADVICE = {
    errno.ENOSPC: "The disk is full: free some space and run the same command again.",
    errno.EDQUOT: "Your disk quota is used up: free some space and run the same command again.",
    errno.EFBIG: "The file is larger than this file system or a ulimit allows.",
    errno.EROFS: "The file system is read-only: choose another folder with --out.",
    errno.EACCES: "Permission denied: choose another folder with --out.",
    errno.EPERM: "Permission denied: choose another folder with --out.",
    errno.ENOTEMPTY: "Another process wrote there meanwhile: choose another folder with --out.",
    errno.ELOOP: "Remove the link first: skipstone writes only to files of its own.",
    errno.EIO: "The device reports an input/output error: check the disk first.",
}


def fault_injection_point(operation: str, path: Path) -> None:
    if fault is not None:
        fault(operation, path)


def temporary_sibling(path: Path) -> Path:
    return path.with_name(f"{_own_prefix()}{secrets.token_hex(4)}")


def _own_prefix() -> str:
    """Names this machine and process, so that others know whether it still runs."""
    return f"{TEMPORARY_PREFIX}{zlib.crc32(platform.node().encode()):08x}-{os.getpid()}-"


def remove_dead_temporaries(folder: Path) -> None:
    """Remove what killed processes of this machine left in a folder that others may use, too."""
    machine = _own_prefix().rpartition("-")[0].rpartition("-")[0]
    with contextlib.suppress(OSError):
        for entry in list(folder.iterdir()):
            owner = entry.name.removeprefix(f"{machine}-").partition("-")[0]
            if not entry.name.startswith(machine) or not owner.isdecimal() or _runs(int(owner)):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it runs, and belongs to somebody else
        return True
    return True


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder in the system's folder for temporary files; those of killed processes are removed."""
    remove_dead_temporaries(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=_own_prefix()) as folder:
        yield Path(folder)


def in_temporary_folder(path: Path) -> bool:
    """Whether `path` is in a temporary folder, which is fsynced as a whole later."""
    return any(part.startswith(TEMPORARY_PREFIX) for part in path.parts)


def open_regular(path: Path | str) -> io.BufferedReader:
    """A regular file to read, buffered. OSError for a pipe or a device, which may have no end."""
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "its name holds a NUL character", str(path))
    return open(path, "rb", opener=_open_regular)


def open_regular_text(path: Path, encoding: str, errors: str, newline: str | None = None) -> TextIO:
    """As `open_regular`, decoded."""
    opened = open(  # noqa: SIM115
        path, encoding=encoding, errors=errors, newline=newline, opener=_open_regular
    )
    return cast(TextIO, opened)


def read_regular(path: Path | str, max_bytes: int | None = None) -> bytes:
    """The content of a regular file. OSError also if it has more than `max_bytes`."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if max_bytes is not None and size > max_bytes:
            reason = f"it has {size:,} bytes, and at most {max_bytes:,} are read"
            raise OSError(errno.EFBIG, reason, str(path))
        return file.read(size)


def _open_regular(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would block
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        raise OSError(errno.EINVAL, "it is not a regular file", path)
    return descriptor


def open_to_write(path: Path, flags: int = 0) -> int:
    """A descriptor of a file of ours, to read and write; it is created if it is missing.

    OSError for a link, a second name of another file, or a pipe: a stranger may have put it there,
    and what it leads to would be overwritten.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o666)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        raise OSError(errno.ELOOP, "it is a link to another file", str(path))
    return descriptor


#: The extended attribute that holds which command wrote a file or folder.
_ORIGIN = "user.skipstone.origin"


def write_origin(path: Path, origin: str) -> None:
    """Mark a file or folder with the key of the command that wrote it, where the system can: on
    Linux, in most file systems. A copy has no mark."""
    if origin and sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setxattr(path, _ORIGIN, origin.encode())


def has_origin(path: Path, origin: str) -> bool:
    """Whether `write_origin` marked it with this key."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return os.getxattr(path, _ORIGIN) == origin.encode()
    return False


def write_chunks(path: Path, chunks: Iterable[bytes | memoryview], origin: str = "") -> None:
    temporary = temporary_sibling(path)
    try:
        fault_injection_point("open", path)
        descriptor = open_to_write(temporary, os.O_EXCL)
        try:
            for chunk in chunks:
                write_all(descriptor, path, chunk)
            if not in_temporary_folder(path):
                fault_injection_point("fsync", path)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        write_origin(temporary, origin)
        fault_injection_point("rename", path)
        temporary.replace(path)
        if not in_temporary_folder(path):
            fsync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise storage_error("write", path, error) from error
        raise


def write_all(descriptor: int, path: Path, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while len(view):
        fault_injection_point("write", path)
        view = view[os.write(descriptor, view[:CHUNK]) :]


def fsync_folder(folder: Path) -> None:
    """Make the names in `folder` durable. Windows and some network file systems cannot."""
    fault_injection_point("fsync folder", folder)
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    for name, _, files in os.walk(folder, topdown=False):
        for file in files:
            path = Path(name, file)
            if path.is_symlink():
                continue
            fault_injection_point("fsync", path)
            descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        fsync_folder(Path(name))


def atomic_replace(new: Path, path: Path, *, must_be_new: bool = False) -> None:
    """Rename the folder `new` to `path`; the old folder is removed afterwards.

    With `must_be_new` only an empty folder is replaced; a file, or a folder with content, is an OSError.
    """
    fault_injection_point("rename", path)
    if must_be_new or not path.exists():  # onto a folder that is not empty: ENOTEMPTY
        new.rename(path)
        fsync_folder(path.parent)
        return
    if _exchange(new, path):  # `new` is now the old one
        old = new
    else:
        old = path.with_name(REPLACED_PREFIX + path.name)
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
        try:
            fault_injection_point("rename", path)
            new.rename(path)
        except OSError:
            old.rename(path)
            raise
    fsync_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def promote_content(new: Path, path: Path) -> None:
    """Move the content of the folder `new`, which is in `path`, to `path`; OSError if `path` has
    other content."""
    fault_injection_point("rename", path)
    if any(entry != new for entry in path.iterdir()):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(path))
    for entry in sorted(new.iterdir()):
        entry.rename(path / entry.name)
    new.rmdir()
    fsync_folder(path)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one call (Linux: renameat2); False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    current_folder, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return bool(
        rename(current_folder, os.fsencode(first), current_folder, os.fsencode(second), exchange)
        == 0
    )


def storage_error(verb: str, path: Path, error: OSError) -> StorageError:
    if isinstance(error, StorageError):
        return error
    reason = error.strerror or str(error)
    number = error.errno or 0
    return StorageError(
        f"could not {verb} {path}: {reason}.", number=number, hint=_ADVICE.get(number)
    )
