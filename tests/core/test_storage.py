"""Storage: after every possible failure a reader finds the old content or the new, whole."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from skipstone.core import disk, storage
from skipstone.core.errors import DamagedError, StorageError

ERRORS = [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG]


@pytest.fixture(autouse=True)
def _no_fault() -> Iterator[None]:
    yield
    disk.fault = None


def fail_at(index: int, number: int) -> list[str]:
    """Make operation `index` (from 0) fail once; returns the growing list of operations."""
    seen: list[str] = []

    def fault(operation: str, path: Path) -> None:
        seen.append(operation)
        if len(seen) == index + 1:
            raise OSError(number, os.strerror(number), str(path))

    disk.fault = fault
    return seen


def count_operations(work: Callable[[], None]) -> int:
    seen = fail_at(-1, 0)
    work()
    disk.fault = None
    return len(seen)


def leftovers(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.name.startswith(".skipstone-")]


# --- files ----------------------------------------------------------------------------------


def test_json_is_sorted_and_stable(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    storage.write_json(path, {"b": 1.5, "a": ["ü", None, True]})
    assert list(json.loads(path.read_text("utf-8"))) == ["a", "b"]
    assert storage.read_json(path) == {"b": 1.5, "a": ["ü", None, True]}
    assert path.read_bytes().endswith(b"}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_what_is_no_number(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        storage.write_json(tmp_path / "a.json", {"loss": value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": NaN}', b"\xff\xfe", b"[" * 100_000])
def test_damaged_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"a\.json"):
        storage.read_json(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    for read in (storage.read_json, storage.read_torch_tensors, storage.file_sha256):
        with pytest.raises(DamagedError, match=r"gone.* is missing"):
            read(tmp_path / "gone")


@pytest.mark.parametrize("number", ERRORS)
def test_failed_write_leaves_old_or_new_and_no_litter(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "CHUNK", 4)
    path = tmp_path / "a.txt"
    old, new = b"old content", b"new content, and longer"
    operations = count_operations(lambda: storage.write_bytes(path, new))
    assert operations >= 8
    for index in range(operations):
        disk.fault = None
        storage.write_bytes(path, old)
        seen = fail_at(index, number)
        with pytest.raises(StorageError, match=r"a\.txt") as caught:
            storage.write_bytes(path, new)
        assert caught.value.errno == number
        # After the rename the new content is there, and only its durability is in doubt.
        assert path.read_bytes() == (new if seen[-1] == "fsync folder" else old)
        assert leftovers(tmp_path) == []


def test_failed_fsync_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match="check the disk"):
        storage.write_bytes(tmp_path / "a", b"x")
    assert len(calls) == 1
    assert list(tmp_path.iterdir()) == []


def test_full_disk_says_what_to_do(tmp_path: Path) -> None:
    fail_at(0, errno.ENOSPC)
    with pytest.raises(StorageError, match="free some space") as caught:
        storage.write_text(tmp_path / "a", "x")
    assert isinstance(caught.value, OSError)
    assert caught.value.exit_code == 1


def test_interrupt_while_writing_leaves_nothing(tmp_path: Path) -> None:
    def fault(operation: str, path: Path) -> None:
        if operation == "fsync":
            raise KeyboardInterrupt

    disk.fault = fault
    with pytest.raises(KeyboardInterrupt):
        storage.write_bytes(tmp_path / "a", b"x")
    assert list(tmp_path.iterdir()) == []


# --- journals -------------------------------------------------------------------------------


def test_cut_last_line_is_ignored_and_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    assert storage.read_lines(path) == []
    for line in ("one", "zwei ü"):
        storage.append_line(path, line)
    with path.open("ab") as file:
        file.write(b"x" * 10_000)  # longer than one block of the backward search
    assert storage.read_lines(path) == ["one", "zwei ü"]
    storage.append_line(path, "three")
    assert storage.read_lines(path) == ["one", "zwei ü", "three"]


@pytest.mark.parametrize("number", ERRORS)
def test_failed_append_keeps_the_lines(tmp_path: Path, number: int) -> None:
    path = tmp_path / "journal"
    storage.append_line(path, "first")
    for index in range(count_operations(lambda: storage.append_line(path, "second"))):
        fail_at(index, number)
        with pytest.raises(StorageError):
            storage.append_line(path, "lost")
        disk.fault = None
        assert storage.read_lines(path) == ["first", "second"]


def test_line_with_a_line_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one line"):
        storage.append_line(tmp_path / "j", "a\nb")


# --- tensors --------------------------------------------------------------------------------


def test_tensors_are_what_the_reference_reads(tmp_path: Path) -> None:
    arrays = {
        "f": np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3),
        "i": np.arange(-3, 4),
        "b": np.array([True, False, True]),
        "empty": np.zeros((0, 4), np.float16),
        "scalar": np.array(2.5),
        "strided": np.arange(12, dtype=np.uint8).reshape(3, 4)[:, ::2],
        "big-endian": np.arange(3, dtype=">i4"),
    }
    path = tmp_path / "a.safetensors"
    storage.write_tensors(path, arrays)
    ours = {name: tensor.numpy() for name, tensor in storage.read_torch_tensors(path).items()}
    for read in (ours, safetensors.numpy.load_file(path)):
        assert set(read) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)
            assert read[name].dtype == array.dtype.newbyteorder("=")
    first = path.read_bytes()
    storage.write_tensors(path, dict(reversed(arrays.items())))
    assert path.read_bytes() == first


def test_torch_tensors_with_bfloat16(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {
        "bf16": torch.randn(3, 5).to(torch.bfloat16),
        "channels_last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "grad": torch.randn(2, requires_grad=True),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(7),
    }
    storage.write_tensors(path, tensors)
    read = storage.read_torch_tensors(path)
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor)
        assert read[name].dtype == tensor.dtype
    with pytest.raises(ValueError, match="complex64"):
        storage.write_tensors(path, {"c": torch.zeros(2, dtype=torch.complex64)})


@pytest.mark.parametrize("keep", [0, 4, 9, 60, -1])
def test_cut_tensor_file_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.safetensors"
    storage.write_tensors(path, {"a": np.arange(100)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedError, match=r"a\.safetensors"):
        storage.read_torch_tensors(path)


# --- folders --------------------------------------------------------------------------------


def fill(path: Path, text: str) -> None:
    with storage.write_folder(path) as folder:
        storage.write_text(folder / "a.txt", text)
        storage.make_folder(folder / "deep")
        (folder / "deep" / "b.bin").write_text(text)  # a library that writes for itself


def content(path: Path) -> set[str]:
    return {(path / "a.txt").read_text(), (path / "deep" / "b.bin").read_text()}


@pytest.mark.parametrize("swap", [True, False], ids=["exchange", "two renames"])
@pytest.mark.parametrize("number", ERRORS)
def test_failed_folder_keeps_the_old_one(
    tmp_path: Path, number: int, swap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not swap:
        monkeypatch.setattr(disk, "_exchange", lambda *_: False)
    path = tmp_path / "bundle"
    fill(path, "old")
    assert content(path) == {"old"}
    operations = count_operations(lambda: fill(path, "old"))
    for index in range(operations):
        seen = fail_at(index, number)
        with pytest.raises(StorageError):
            fill(path, "new")
        disk.fault = None
        storage.remove_stale_temporaries(tmp_path)
        last = index == operations - 1
        assert seen[-1] == "fsync folder" or not last
        assert content(path) == ({"new"} if last else {"old"})
        assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]


def test_folder_block_that_raises_leaves_nothing(tmp_path: Path) -> None:
    def work() -> None:
        with storage.write_folder(tmp_path / "new") as folder:
            storage.write_text(folder / "a", "x")
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        work()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", [False, True])
def test_a_fresh_folder_replaces_nothing(tmp_path: Path, there: bool) -> None:
    """Not even what comes while it is written; an empty folder is filled and stays the same one."""
    path = tmp_path / "bundle"
    identity = None
    if there:
        path.mkdir()
        identity = path.stat().st_ino

    def too_late() -> None:
        with storage.write_folder(path, must_be_new=True) as folder:
            storage.write_text(folder / "a", "second")
            path.mkdir(exist_ok=True)
            (path / "a").write_text("first")

    with pytest.raises(StorageError, match=r"bundle: Directory not empty.*another folder"):
        too_late()
    assert [entry.name for entry in path.iterdir()] == ["a"]
    assert (path / "a").read_text() == "first"
    (path / "a").unlink()
    if not there:
        path.rmdir()
    with storage.write_folder(path, must_be_new=True) as folder:
        storage.make_folder(folder / "deep")
        storage.write_text(folder / "deep" / "b", "third")
    assert (path / "deep" / "b").read_text() == "third"
    assert [entry.name for entry in path.iterdir()] == ["deep"]
    assert list(tmp_path.iterdir()) == [path]
    assert not there or path.stat().st_ino == identity


KILLED = """
import os, signal, sys
from pathlib import Path
from skipstone.core import disk
from skipstone.core import storage
at, swap, target = int(sys.argv[1]), sys.argv[2] == "swap", Path(sys.argv[3])
if not swap:
    disk._exchange = lambda *_: False
seen = []
def fault(operation, path):
    seen.append(operation)
    if len(seen) == at + 1:
        os.kill(os.getpid(), signal.SIGKILL)
disk.fault = fault
storage.write_text(target / "file", "new")
with storage.write_folder(target / "folder") as folder:
    storage.write_text(folder / "a.txt", "new")
    (folder / "deep").mkdir()
    (folder / "deep" / "b.bin").write_text("new")
storage.append_line(target / "lines", "new")
"""


@pytest.mark.parametrize("swap", ["swap", "two"])
def test_killed_at_every_operation(tmp_path: Path, swap: str) -> None:
    """Forked children of one process that holds the imports, so that 2 x 25 kills are quick."""
    storage.write_text(tmp_path / "file", "old")
    fill(tmp_path / "folder", "old")
    storage.append_line(tmp_path / "lines", "old")
    done = False
    kills = 0
    while not done:
        child = os.fork()
        if child == 0:
            try:
                sys.argv = ["killed", str(kills), swap, str(tmp_path)]
                exec(compile(KILLED, "killed", "exec"), {"__name__": "killed"})
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        done = os.waitstatus_to_exitcode(status) == 0
        assert done or os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        storage.remove_stale_temporaries(tmp_path)
        assert (tmp_path / "file").read_text() in ("old", "new")
        assert content(tmp_path / "folder") in ({"old"}, {"new"})
        assert set(storage.read_lines(tmp_path / "lines")) <= {"old", "new"}
        assert storage.read_lines(tmp_path / "lines")[0] == "old"
        assert {entry.name for entry in tmp_path.iterdir()} == {"file", "folder", "lines"}
        kills += not done
    assert kills >= 15
    assert content(tmp_path / "folder") == {"new"}


def test_import_is_light() -> None:
    code = "import skipstone.core.storage, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- links and pipes --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["symbolic", "hard", "dangling", "pipe"])
@pytest.mark.parametrize("write", ["append", "lock"])
def test_nothing_is_written_through_a_link(tmp_path: Path, kind: str, write: str) -> None:
    precious, path = tmp_path / "precious", tmp_path / "run" / "file"
    path.parent.mkdir()
    precious.write_bytes(b"precious")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "hard":
        path.hardlink_to(precious)
    else:
        path.symlink_to(precious if kind == "symbolic" else tmp_path / "nothing")
    with pytest.raises(StorageError, match=r"file: |link"):
        storage.append_line(path, "a line") if write == "append" else storage.open_lock(path)
    assert precious.read_bytes() == b"precious"
    assert not (tmp_path / "nothing").exists()


def test_a_written_file_takes_the_place_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "file").symlink_to(tmp_path / "precious")
    storage.write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("read", [storage.read_bytes, storage.file_sha256, storage.read_json])
def test_only_regular_files_are_read(tmp_path: Path, read: Callable[[Path], object]) -> None:
    """Neither a pipe, which blocks, nor a device without an end, also behind a link."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for name, words in (("pipe", "regular"), ("link", "regular"), ("folder", "directory")):
        with pytest.raises(StorageError, match=words):
            read(tmp_path / name)


def test_a_name_with_a_nul_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="NUL character"):
        storage.read_bytes(tmp_path / "a\0b")


# --- what killed processes leave ----------------------------------------------------------------

_LEAVES = """
import os, sys
from pathlib import Path
from skipstone.core import disk, storage
with storage.write_folder(Path(sys.argv[1], "out")) as new:
    storage.write_text(new / "a", "a")
    os.kill(os.getpid(), 9)
"""
_SCRATCH = """
import os
from skipstone.core import disk
with disk.scratch_folder() as folder:
    (folder / "a").write_text("a")
    os.kill(os.getpid(), 9)
"""


def test_the_next_write_removes_what_a_kill_left(tmp_path: Path) -> None:
    """But nothing of a process that runs, of another machine, or of the user."""
    subprocess.run([sys.executable, "-c", _LEAVES, str(tmp_path)], check=False)
    assert len(leftovers(tmp_path)) == 1
    ours = disk.temporary_sibling(tmp_path / "x")
    others = [".skipstone-tmp-00000000-999999-ab", ".skipstone-tmp-x", "user.txt", ours.name]
    for name in others:
        (tmp_path / name).write_text("")
    with storage.write_folder(tmp_path / "out"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {*others, "out"}


def test_scratch_folders_of_killed_processes_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", _SCRATCH], check=False, env=environment)
    assert len(leftovers(tmp_path)) == 1
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with disk.scratch_folder() as folder:
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_folder_keeps_no_temporaries(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (kept / "masks").mkdir(parents=True)
    (kept / "masks" / f"{disk.TEMPORARY_PREFIX}0000").write_text("half a mask")
    (kept / "masks" / "a.png").write_text("a")
    with storage.write_folder(tmp_path / "out", must_be_new=True, temporary_folder=kept):
        pass
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["masks", "a.png"]
