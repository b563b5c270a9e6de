"""The files of a bundle, and checks that each still holds what was written.

`bundle.json` lists every file with its size, its SHA-256, and for files over 1 MiB a CRC-32 per
MiB, so that an error can name the damaged place. A file is read completely and checked; then the
same bytes are parsed. Files that are not listed are never opened, and links are never followed.

Hashes detect damage, not attacks: an attacker can recompute them. So the content is not trusted:
rows must have the types and bounds that skipstone writes, and each parser checks its own input
(`docs/architecture.md`, "A bundle from a stranger").
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from skipstone.core import storage
from skipstone.core.disk import fault_injection_point, storage_error
from skipstone.core.errors import DamagedError, UsageError
from skipstone.core.strict_json import parse_json

BUNDLE_JSON = "bundle.json"
BUNDLE_FORMAT = 3
CRC_BLOCK_BYTES = 1 << 20
MAX_BUNDLE_JSON_BYTES = 16 << 20
MAX_FILES = 10_000
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: Valid names of distributions (PyPA's name format); shown in a `pip install` command.
_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")


def describe_file(data: bytes) -> dict[str, Any]:
    """The list's entry for a file with this content."""
    row: dict[str, Any] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if len(data) > CRC_BLOCK_BYTES:
        starts = range(0, len(data), CRC_BLOCK_BYTES)
        row["blocks"] = [zlib.crc32(data[start : start + CRC_BLOCK_BYTES]) for start in starts]
    return row


def compute_seal(record: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a record without its seal."""
    content = {name: value for name, value in record.items() if name != "seal"}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_bundle_json(folder: Path, record: Mapping[str, Any]) -> None:
    """Write `bundle.json` with its seal."""
    storage.write_json(folder / BUNDLE_JSON, {**record, "seal": compute_seal(record)})


def read_bundle_json(folder: Path) -> dict[str, Any]:
    """Read `bundle.json`.

    Raises:
        DamagedError: it was changed.
        UsageError: it has another format.
    """
    path = folder / BUNDLE_JSON
    record = parse_json(read_regular_file(folder, BUNDLE_JSON, MAX_BUNDLE_JSON_BYTES), path)
    if not isinstance(record, dict) or type(record.get("format")) is not int:
        raise DamagedError(f"{path} is not a bundle: it states no format.")
    if record["format"] != BUNDLE_FORMAT:
        raise UsageError(
            f"{path} has bundle format {record['format']}; this skipstone reads only {BUNDLE_FORMAT}.",
            hint="Upgrade it: in skipstone's source folder, git pull && pip install ."
            if record["format"] > BUNDLE_FORMAT
            else "Train the model again, or use the skipstone that made it.",
        )
    if record.get("seal") != compute_seal(record):
        raise DamagedError(
            f"{path} was changed after it was written: its seal does not match its content.",
            hint="Copy the bundle again from its source.",
        )
    if not isinstance(record.get("files"), dict) or len(record["files"]) > MAX_FILES:
        raise DamagedError(f"{path} lists no files, or more than {MAX_FILES:,}.")
    for name, row in record["files"].items():
        check_file_name(name, path)
        if not _is_row(row):
            raise DamagedError(f"{path} does not describe the content of {name!r}.")
    plugins = record.get("plugins", {})
    if not isinstance(plugins, dict) or not all(
        isinstance(owner, str) and _DISTRIBUTION.fullmatch(owner) for owner in plugins.values()
    ):
        raise DamagedError(f"{path} names plugins with invalid package names.")
    return record


def _is_row(row: Any) -> bool:
    """Whether `row` is a valid result of `describe`."""
    if not isinstance(row, dict) or not isinstance(row.get("sha256"), str):
        return False
    size, blocks = row.get("bytes"), row.get("blocks", [])
    is_valid = type(size) is int and size >= 0 and _SHA256.fullmatch(row["sha256"]) is not None
    return is_valid and isinstance(blocks, list) and all(type(block) is int for block in blocks)


def read_regular_file(folder: Path, name: str, max_bytes: int | None = None) -> bytes:
    """The content of a regular file inside `folder`, without following links below it.

    Args:
        max_bytes: maximal size in bytes; None for this machine's memory.

    Raises:
        DamagedError: the file is missing, a link, not a regular file (a pipe would block), or too
            large.
    """
    path, max_bytes = folder / name, max_bytes or _physical_memory()
    _refuse_links(folder, name)
    descriptor = None
    try:
        fault_injection_point("read", path)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        parts = name.split("/")
        for remaining, part in zip(range(len(parts) - 1, -1, -1), parts, strict=True):
            kind = os.O_DIRECTORY if remaining else os.O_NONBLOCK
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | kind
            parent, descriptor = descriptor, os.open(part, flags, dir_fd=descriptor)
            os.close(parent)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DamagedError(f"{path} is not a regular file; a bundle's files must be.")
        if status.st_size > max_bytes:
            raise DamagedError(
                f"{path} has {status.st_size:,} bytes; at most {max_bytes:,} can be read."
            )
        with os.fdopen(os.dup(descriptor), "rb") as file:
            return file.read(status.st_size)
    except FileNotFoundError:
        raise DamagedError(f"{path} is missing.") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise DamagedError(f"{path} is not a regular file; a bundle's files must be.") from None
        raise storage_error("read", path, error) from error
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _refuse_links(folder: Path, name: str) -> None:
    """DamagedError if the path from `folder` to the file contains a symbolic link."""
    parts = name.split("/")
    for count in range(1, len(parts) + 1):
        if folder.joinpath(*parts[:count]).is_symlink():
            raise DamagedError(
                f"{folder / name} is a symbolic link; a bundle's files must be regular files."
            )


def check_file_name(name: str, where: Path) -> None:
    """DamagedError unless `name` is a relative path that stays inside its folder."""
    parts = name.split("/")
    is_inside = all(part not in ("", ".", "..") for part in parts)
    has_odd_characters = (
        any(mark in name for mark in ("\\", "\0", ":")) or PurePosixPath(name).is_absolute()
    )
    if not is_inside or has_odd_characters:
        raise DamagedError(f"{where} names the file {name!r:.200}, which is not inside the bundle.")
    if max(len(part.encode()) for part in parts) > 255 or len(parts) > 8:
        raise DamagedError(f"{where} names a file with too long a name: {name!r:.60}...")


def read_file(folder: Path, name: str, record: Mapping[str, Any] | None = None) -> bytes:
    """The bytes of a listed file, after checking them against the list.

    Raises:
        DamagedError: the file is not listed, a link, missing, or different; says where.
    """
    record = read_bundle_json(folder) if record is None else record
    check_file_name(name, folder / BUNDLE_JSON)
    path = folder / name
    row = record["files"].get(name)
    if row is None:
        raise DamagedError(f"{path} is not among the files that {BUNDLE_JSON} lists.")
    _refuse_links(folder, name)
    if path.is_file() and path.stat().st_size != row["bytes"]:
        raise DamagedError(f"{path} has {path.stat().st_size:,} bytes, not {row['bytes']:,}.")
    data = read_regular_file(folder, name)
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        raise DamagedError(
            f"{path} is damaged: {_locate_damage(data, row)}.",
            hint="Copy the bundle again from its source.",
        )
    return data


def read_listed_json(folder: Path, name: str, record: Mapping[str, Any] | None = None) -> Any:
    """The value in a listed JSON file, checked against the list and parsed strictly."""
    return parse_json(read_file(folder, name, record), folder / name)


def _locate_damage(data: bytes, row: Mapping[str, Any]) -> str:
    blocks = row.get("blocks", [])
    for number, expected in enumerate(blocks):
        start = number * CRC_BLOCK_BYTES
        if zlib.crc32(data[start : start + CRC_BLOCK_BYTES]) != expected:
            end = min(start + CRC_BLOCK_BYTES, len(data))
            return f"block {number + 1} of {len(blocks)} (bytes {start:,} to {end - 1:,}) differs"
    return "its SHA-256 differs"


def add_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Add files to an existing bundle, or replace them.

    Replaced files are removed from the list first and listed again afterwards, so a bundle whose
    writer is killed in between is valid without them.
    """
    record = read_bundle_json(folder)
    for name in files:
        check_file_name(name, folder / BUNDLE_JSON)
        _refuse_links(folder, name)
    unchanged = {name: row for name, row in record["files"].items() if name not in files}
    if len(unchanged) != len(record["files"]):
        write_bundle_json(folder, {**record, "files": unchanged})
    for name, data in files.items():
        path = folder / name
        storage.make_folder(path.parent)
        storage.write_bytes(path, data)
    added = {name: describe_file(data) for name, data in files.items()}
    write_bundle_json(folder, {**record, "files": {**unchanged, **added}})


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Remove files from an existing bundle: from its list, then from the disk."""
    record = read_bundle_json(folder)
    listed = [name for name in names if name in record["files"]]
    kept_files = {name: row for name, row in record["files"].items() if name not in listed}
    write_bundle_json(folder, {**record, "files": kept_files})
    for name in listed:
        storage.remove_file(folder / name)
        if not any((folder / name).parent.iterdir()):
            storage.remove_folder((folder / name).parent)
