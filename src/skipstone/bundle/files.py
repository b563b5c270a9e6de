"""The files of a bundle: which there are, and whether each still holds what was written.

`bundle.json` lists every file with its size, its SHA-256, and a CRC-32 for each MiB of a larger
one, so that damage can be named by place. A file is read whole, compared, and only then handed to
a parser, as the very bytes that were compared. Nothing that the list does not name is ever opened,
and no link is followed on the way.

Hashes find damage, not malice: whoever changes a file can compute them anew. So what is read here
is believed in nothing: rows have the types and bounds that skipstone writes, and each parser behind
checks its own (`docs/architecture.md`, "A bundle from a stranger").
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from skipstone import storage
from skipstone.disk import before, storage_error
from skipstone.errors import DamagedError, UsageError
from skipstone.strict_json import parse_json

RECORD = "bundle.json"
FORMAT = 1
BLOCK = 1 << 20
LARGEST_RECORD = 16 << 20
MOST_FILES = 10_000
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: What a distribution may be called (PyPA's name format); it is shown in a command to type.
_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")


def describe(data: bytes) -> dict[str, Any]:
    """What the list says of a file with this content."""
    row: dict[str, Any] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if len(data) > BLOCK:
        row["blocks"] = [zlib.crc32(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)]
    return row


def seal(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record without its own seal, in one way of writing it."""
    content = {name: value for name, value in record.items() if name != "seal"}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write `bundle.json`, sealed."""
    storage.write_json(folder / RECORD, {**record, "seal": seal(record)})


def read_record(folder: Path) -> dict[str, Any]:
    """Read `bundle.json`. DamagedError unless it is what was written; UsageError if too new."""
    path = folder / RECORD
    record = parse_json(read_plain(folder, RECORD, LARGEST_RECORD), path)
    if not isinstance(record, dict) or type(record.get("format")) is not int:
        raise DamagedError(f"{path} is no bundle: it states no format.")
    if record["format"] > FORMAT:
        raise UsageError(
            f"{path} has bundle format {record['format']}; this skipstone reads up to {FORMAT}.",
            hint="Upgrade: pip install --upgrade skipstone",
        )
    if record.get("seal") != seal(record):
        raise DamagedError(
            f"{path} was changed after it was written: its seal does not fit its content.",
            hint="Take the bundle from where it was made once more.",
        )
    if not isinstance(record.get("files"), dict) or len(record["files"]) > MOST_FILES:
        raise DamagedError(f"{path} lists no files, or more than {MOST_FILES:,}.")
    for name, row in record["files"].items():
        check_name(name, path)
        if not _is_row(row):
            raise DamagedError(f"{path} does not say what {name!r} should hold.")
    plugins = record.get("plugins", {})
    if not isinstance(plugins, dict) or not all(
        isinstance(owner, str) and _DISTRIBUTION.fullmatch(owner) for owner in plugins.values()
    ):
        raise DamagedError(f"{path} names plugins by something that is no package's name.")
    return record


def _is_row(row: Any) -> bool:
    """Whether it is what `describe` says of a file."""
    if not isinstance(row, dict) or not isinstance(row.get("sha256"), str):
        return False
    size, blocks = row.get("bytes"), row.get("blocks", [])
    known = type(size) is int and size >= 0 and _SHA256.fullmatch(row["sha256"]) is not None
    return known and isinstance(blocks, list) and all(type(block) is int for block in blocks)


def read_plain(folder: Path, name: str, largest: int | None = None) -> bytes:
    """The content of a regular file inside `folder`, following no link below it.

    Args:
        largest: bytes; None for what fits into this machine's memory.

    Raises:
        DamagedError: it is missing, a link, no regular file (a pipe would never end), or too large.
    """
    path, largest = folder / name, largest or _memory()
    _refuse_links(folder, name)
    descriptor = None
    try:
        before("read", path)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        parts = name.split("/")
        for left, part in zip(range(len(parts) - 1, -1, -1), parts, strict=True):
            kind = os.O_DIRECTORY if left else os.O_NONBLOCK
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | kind
            outer, descriptor = descriptor, os.open(part, flags, dir_fd=descriptor)
            os.close(outer)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise DamagedError(f"{path} is no regular file; a bundle's files are.")
        if found.st_size > largest:
            raise DamagedError(
                f"{path} has {found.st_size:,} bytes; at most {largest:,} can be read."
            )
        with os.fdopen(os.dup(descriptor), "rb") as file:
            return file.read(found.st_size)
    except FileNotFoundError:
        raise DamagedError(f"{path} is missing.") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise DamagedError(f"{path} is no regular file; a bundle's files are.") from None
        raise storage_error("read", path, error) from error
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _refuse_links(folder: Path, name: str) -> None:
    """DamagedError where the way from `folder` to the file leads through a symbolic link."""
    parts = name.split("/")
    for count in range(1, len(parts) + 1):
        if folder.joinpath(*parts[:count]).is_symlink():
            raise DamagedError(
                f"{folder / name} is a symbolic link; a bundle's files are plain files."
            )


def check_name(name: str, where: Path) -> None:
    """DamagedError unless `name` is a relative path that stays inside its folder."""
    parts = name.split("/")
    plain = all(part not in ("", ".", "..") for part in parts)
    odd = any(mark in name for mark in ("\\", "\0", ":")) or PurePosixPath(name).is_absolute()
    if not plain or odd:
        raise DamagedError(f"{where} names the file {name!r}, which is not inside the bundle.")


def read_file(folder: Path, name: str, record: Mapping[str, Any] | None = None) -> bytes:
    """The bytes of one listed file, after comparing them with the list.

    Raises:
        DamagedError: the file is not listed, is a link, is missing, or differs; says where.
    """
    record = read_record(folder) if record is None else record
    check_name(name, folder / RECORD)
    path = folder / name
    row = record["files"].get(name)
    if row is None:
        raise DamagedError(f"{path} is not among the files that {RECORD} lists.")
    _refuse_links(folder, name)
    if path.is_file() and path.stat().st_size != row["bytes"]:
        raise DamagedError(f"{path} has {path.stat().st_size:,} bytes, not {row['bytes']:,}.")
    data = read_plain(folder, name)
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        raise DamagedError(
            f"{path} is damaged: {_where_it_differs(data, row)}.",
            hint="Take the bundle from where it was made once more.",
        )
    return data


def read_listed_json(folder: Path, name: str, record: Mapping[str, Any] | None = None) -> Any:
    """The value in a listed JSON file, compared with the list and parsed strictly."""
    return parse_json(read_file(folder, name, record), folder / name)


def _where_it_differs(data: bytes, row: Mapping[str, Any]) -> str:
    blocks = row.get("blocks", [])
    for number, expected in enumerate(blocks):
        start = number * BLOCK
        if zlib.crc32(data[start : start + BLOCK]) != expected:
            end = min(start + BLOCK, len(data))
            return f"block {number + 1} of {len(blocks)} (bytes {start:,} to {end - 1:,}) differs"
    return "its SHA-256 differs"


def add_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Add files to a bundle that exists, or replace them.

    Names are taken off the list before their files change and come back afterwards, so a bundle
    whose writer is killed in between is sound and lacks them.
    """
    record = read_record(folder)
    for name in files:
        check_name(name, folder / RECORD)
        _refuse_links(folder, name)
    kept = {name: row for name, row in record["files"].items() if name not in files}
    if len(kept) != len(record["files"]):
        write_record(folder, {**record, "files": kept})
    for name, data in files.items():
        path = folder / name
        storage.make_folder(path.parent)
        storage.write_bytes(path, data)
    added = {name: describe(data) for name, data in files.items()}
    write_record(folder, {**record, "files": {**kept, **added}})
