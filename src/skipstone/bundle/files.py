"""The files of a bundle: which there are, and whether each still holds what was written.

`bundle.json` lists every file with its size, its SHA-256, and a CRC-32 for each MiB of a larger
one, so that damage can be named by place. A file is read whole, compared, and only then handed to
a parser, as the very bytes that were compared. Nothing that the list does not name is ever opened.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from skipstone import storage
from skipstone.errors import DamagedError, UsageError

RECORD = "bundle.json"
FORMAT = 1
BLOCK = 1 << 20
LARGEST_RECORD = 64 << 20


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
    if path.is_symlink():
        raise DamagedError(f"{path} is a symbolic link; a bundle's files are plain files.")
    if path.is_file() and path.stat().st_size > LARGEST_RECORD:
        raise DamagedError(f"{path} has {path.stat().st_size:,} bytes, which is no bundle.")
    record = storage.read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("format"), int):
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
    if not isinstance(record.get("files"), dict):
        raise DamagedError(f"{path} lists no files.")
    for name in record["files"]:
        check_name(name, path)
    return record


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
    inside = [folder.joinpath(*Path(name).parts[:count]) for count in range(1, name.count("/") + 2)]
    if any(part.is_symlink() for part in inside):
        raise DamagedError(f"{path} is a symbolic link; a bundle's files are plain files.")
    if path.is_file() and path.stat().st_size != row["bytes"]:
        raise DamagedError(f"{path} has {path.stat().st_size:,} bytes, not {row['bytes']:,}.")
    data = storage.read_bytes(path)
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        raise DamagedError(
            f"{path} is damaged: {_where_it_differs(data, row)}.",
            hint="Take the bundle from where it was made once more.",
        )
    return data


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
    kept = {name: row for name, row in record["files"].items() if name not in files}
    if len(kept) != len(record["files"]):
        write_record(folder, {**record, "files": kept})
    for name, data in files.items():
        path = folder / name
        storage.make_folder(path.parent)
        storage.write_bytes(path, data)
    added = {name: describe(data) for name, data in files.items()}
    write_record(folder, {**record, "files": {**kept, **added}})
