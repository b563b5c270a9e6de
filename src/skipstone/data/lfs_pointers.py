"""Git LFS pointers: small texts in place of files that were not downloaded."""

from __future__ import annotations

from pathlib import Path

from skipstone.core.errors import DataError
from skipstone.core.formatting import quote_path

#: How a pointer begins.
_LFS_HEAD = b"version https://git-lfs.github.com/spec/"


def is_lfs_pointer(head: bytes) -> bool:
    """Whether a file that begins so is a Git LFS pointer.

    Args:
        head: its first 32 bytes, or more.
    """
    return len(head) >= 32 and head.startswith(_LFS_HEAD[: len(head)])


def lfs_pointer_error(path: Path, folder: Path, count: int = 1, total: int = 1) -> DataError:
    """The error for a data set in which `count` files are pointers, such as `path`."""
    what = f"{path} is a Git LFS pointer"
    if total > 1:
        what = f"{folder}: {count:,} of {total:,} files are Git LFS pointers, such as {path}"
    return DataError(
        f"{what}: the contents were not downloaded.",
        hint=f"Download them: git -C {quote_path(folder)} lfs pull",
    )
