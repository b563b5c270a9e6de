"""Every persistent write of skipstone goes through this file.

    temporary sibling -> write -> fsync -> rename to the final name -> fsync of the folder

A reader therefore finds the complete old file or the complete new one, wherever a process dies. A
write that fails (disk full, an I/O error) removes its temporary file, keeps the old one, and says
which file failed and what to do. The temporary files of a *killed* write start with `TEMPORARY_PREFIX`;
`remove_stale_temporaries` removes them, which the owner of a folder calls when it takes its lock.

A failed fsync is never repeated on the same file, because the kernel may have dropped the dirty
pages and reports that only once: another attempt writes a new file.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skipstone.core.disk import (
    REPLACED_PREFIX,
    TEMPORARY_PREFIX,
    atomic_replace,
    fault_injection_point,
    fsync_folder,
    fsync_tree,
    has_origin,
    open_regular,
    open_to_write,
    promote_content,
    read_regular,
    remove_dead_temporaries,
    storage_error,
    temporary_sibling,
    write_all,
    write_chunks,
    write_origin,
)
from skipstone.core.errors import DamagedError, FinishedAlready, StorageError
from skipstone.core.strict_json import parse_json

if TYPE_CHECKING:
    from torch import Tensor

# --- files ----------------------------------------------------------------------------------


def write_bytes(path: Path | str, data: bytes, *, origin: str = "") -> None:
    """Write `data` to `path`, durably and atomically. Raises StorageError.

    Args:
        origin: of `compute_origin`; the file is marked with it.
    """
    write_chunks(Path(path), [data], origin)


def compute_origin(**identity: Any) -> str:
    """The key of a command and of what it reads, by their names."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()


def refuse_finished(path: Path | str, origin: str) -> None:
    """FinishedAlready if a command with this key wrote the file or folder."""
    if has_origin(Path(path), origin):
        raise FinishedAlready(path)


def write_text(path: Path | str, text: str) -> None:
    """`write_bytes` of UTF-8; line ends stay as they are."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON with sorted keys and a final newline. NaN and infinity are a ValueError."""
    text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False)
    write_text(path, text + "\n")


def read_bytes(path: Path | str) -> bytes:
    """The content of a file. DamagedError if it is missing, StorageError if it cannot be read."""
    path = Path(path)
    try:
        fault_injection_point("read", path)
        return read_regular(path)
    except FileNotFoundError:
        raise DamagedError(f"{path} is missing.") from None
    except OSError as error:
        raise storage_error("read", path, error) from error


def read_json(path: Path | str) -> Any:
    """The value that `write_json` wrote. Other content is a DamagedError that names the file."""
    return parse_json(read_bytes(path), path)


def file_sha256(path: Path | str) -> str:
    """Hex SHA-256 of a file's content."""
    path = Path(path)
    try:
        fault_injection_point("read", path)
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise DamagedError(f"{path} is missing.") from None
    except OSError as error:
        raise storage_error("read", path, error) from error


# --- journals -------------------------------------------------------------------------------


def append_line(path: Path | str, text: str) -> None:
    """Append one line durably. Part of a line from a killed append is removed first.

    For files with one writer (the holder of a run's lock). A failed append keeps the old lines.
    """
    path = Path(path)
    if "\n" in text:
        raise ValueError("append_line takes one line")
    is_new = not path.exists()
    try:
        fault_injection_point("open", path)
        descriptor = open_to_write(path)
        try:
            end = _end_of_last_line(descriptor)
            try:
                os.ftruncate(descriptor, end)
                os.lseek(descriptor, end, os.SEEK_SET)
                write_all(descriptor, path, text.encode("utf-8") + b"\n")
                fault_injection_point("fsync", path)
                os.fsync(descriptor)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)
        if is_new:
            fsync_folder(path.parent)
    except OSError as error:
        raise storage_error("write", path, error) from error


def read_lines(path: Path | str) -> list[str]:
    """The complete lines of a journal; a last one without a line end is ignored."""
    path = Path(path)
    if not path.exists():
        return []
    data = read_bytes(path)
    complete = data[: data.rfind(b"\n") + 1]
    try:
        return complete.decode("utf-8").split("\n")[:-1]
    except UnicodeDecodeError as error:
        raise DamagedError(f"{path} is damaged: not UTF-8 ({error}).") from None


def open_lock(path: Path | str) -> int:
    """A descriptor of a file to lock, which is created if it is missing; its content is unused."""
    path = Path(path)
    try:
        fault_injection_point("open", path)
        return open_to_write(path)
    except OSError as error:
        raise storage_error("open", path, error) from error


def _end_of_last_line(descriptor: int) -> int:
    """The offset after the last line end."""
    end = os.lseek(descriptor, 0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 4096)
        os.lseek(descriptor, start, os.SEEK_SET)
        position = os.read(descriptor, end - start).rfind(b"\n")
        if position >= 0:
            return start + position + 1
        end = start
    return 0


# --- tensors --------------------------------------------------------------------------------

_DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}


def write_tensors(path: Path | str, tensors: Mapping[str, np.ndarray | Tensor]) -> None:
    """Write a safetensors file; the same tensors give the same bytes.

    Args:
        tensors: numpy arrays or torch tensors (bfloat16 too) by name. Views of one storage are
            written in full.
    """
    header: dict[str, Any] = {}
    rows = [(name, *_as_bytes(name, value)) for name, value in tensors.items()]
    # The widest numbers first, so that every tensor starts at a multiple of its number's width.
    rows.sort(key=lambda row: (-row[4], row[0]))
    offset = 0
    for name, kind, shape, data, _ in rows:
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    chunks = [len(text).to_bytes(8, "little") + text, *(row[3] for row in rows)]
    write_chunks(Path(path), chunks)


def read_torch_tensors(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a safetensors file as torch tensors on the CPU."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = read_bytes(path)
    try:
        tensors: dict[str, Tensor] = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{path} is not a readable safetensors file ({error}).") from None
    return tensors


def _as_bytes(
    name: str, value: np.ndarray | Tensor
) -> tuple[str, list[int], memoryview | bytes, int]:
    """(safetensors dtype, shape, content, bytes per number) of an array or a tensor."""
    if isinstance(value, np.ndarray | np.generic):
        kind, array = value.dtype.name, np.asarray(value)
    else:
        import torch

        value = value.detach().to("cpu").contiguous()
        kind = str(value.dtype).removeprefix("torch.")
        array = (value.view(torch.int16) if value.dtype == torch.bfloat16 else value).numpy()
    if kind not in _DTYPES:
        raise ValueError(f"tensor {name!r} has type {kind}, which safetensors cannot hold")
    shape = list(array.shape)
    array = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    content = array.reshape(-1).view(np.uint8).data if array.size else b""
    return _DTYPES[kind], shape, content, array.dtype.itemsize


# --- folders --------------------------------------------------------------------------------


@contextlib.contextmanager
def write_folder(
    path: Path | str,
    *,
    must_be_new: bool = False,
    temporary_folder: Path | None = None,
    origin: str = "",
) -> Iterator[Path]:
    """Fill a temporary sibling, which becomes `path` atomically at the end of the block.

    An existing folder stays until then. If the block raises, it stays, and the temporary folder is
    removed.

    Args:
        temporary_folder: the temporary sibling to use; its content is temporary_folder, also if the block raises.
        must_be_new: replace nothing: if `path` has content at the end, that is a StorageError. An
            existing empty folder (a mount point, the current folder) is filled.
        origin: of `compute_origin`; the folder is marked with it.
    """
    path = Path(path).absolute()
    make_folder(path.parent)
    remove_dead_temporaries(path.parent)
    fill = must_be_new and path.is_dir()
    temporary = temporary_folder or temporary_sibling(path / "inside" if fill else path)
    try:
        fault_injection_point("mkdir", temporary)
        temporary.mkdir(exist_ok=temporary_folder is not None)
    except OSError as error:
        raise storage_error("write", path, error) from error
    try:
        yield temporary
        if temporary_folder is not None:  # a killed call, which is resumed here, left them
            for leftover in list(temporary.rglob(f"{TEMPORARY_PREFIX}*")):
                leftover.unlink()
        fsync_tree(temporary)
        if fill:
            promote_content(temporary, path)
            write_origin(path, origin)
        else:
            write_origin(temporary, origin)
            atomic_replace(temporary, path, must_be_new=must_be_new)
    except BaseException as error:
        if temporary_folder is None:
            shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            raise storage_error("write", path, error) from error
        raise


def make_folder(path: Path | str) -> Path:
    """Create a folder and its missing parents, durably, unless it exists."""
    path = Path(path)
    missing = [part for part in (path, *path.parents) if not part.exists()]
    try:
        for part in reversed(missing):
            fault_injection_point("mkdir", part)
            part.mkdir(exist_ok=True)
            fsync_folder(part.parent)
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    except OSError as error:
        raise storage_error("make", path, error) from error
    return path


def remove_file(path: Path | str) -> None:
    """Remove a file durably, if it exists."""
    path = Path(path)
    try:
        fault_injection_point("remove", path)
        path.unlink(missing_ok=True)
        fsync_folder(path.parent)
    except OSError as error:
        raise storage_error("remove", path, error) from error


def remove_folder(path: Path | str) -> None:
    """Remove a folder and its content; a kill leaves all of it or a temporary."""
    path = Path(path)
    try:
        fault_injection_point("remove", path)
        doomed = temporary_sibling(path)
        path.rename(doomed)
        shutil.rmtree(doomed)
        fsync_folder(path.parent)
    except OSError as error:
        raise storage_error("remove", path, error) from error


def refuse_links(folder: Path | str) -> None:
    """DamagedError for a link anywhere in a folder that holds files of its own only: a stranger's
    link may lead to another file of the user."""
    for name, folders, files in os.walk(folder):
        for entry in sorted((*folders, *files)):
            if (path := Path(name, entry)).is_symlink():
                raise DamagedError(
                    f"{path} is a link; a run folder holds files of its own only.",
                    hint="Remove the link, or put what it leads to in its place.",
                )


def remove_stale_temporaries(folder: Path | str) -> list[str]:
    """Remove the temporary files of killed writes from `folder` itself; returns their names.

    Only the owner of the folder (the holder of its lock) may call this: a running write of another
    process looks the same.
    """
    folder = Path(folder)
    removed = []
    try:
        for entry in sorted(folder.iterdir()):
            if entry.name.startswith(REPLACED_PREFIX):
                target = folder / entry.name.removeprefix(REPLACED_PREFIX)
                if target.exists():
                    shutil.rmtree(entry)
                else:  # killed between the two renames: the old folder is the valid one
                    entry.rename(target)
            elif entry.name.startswith(TEMPORARY_PREFIX):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
            else:
                continue
            removed.append(entry.name)
    except OSError as error:
        raise storage_error("clean", folder, error) from error
    return removed
