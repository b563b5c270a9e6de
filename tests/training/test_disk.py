"""Every call into storage fails once, or is the last thing a process does; the run survives it.

Two layers: the product's own fault points (`disk.fault`), and the system calls below them
(`os.open`, `os.write`, ...), which cannot forget a place.
"""

from __future__ import annotations

import errno
import itertools
import os
import resource
import shutil
import signal
import stat
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from skipstone.core import disk, storage
from skipstone.core.errors import Interrupted, StorageError
from skipstone.training import run_manager as keeper_module
from skipstone.training.checkpoint import load_checkpoint
from tests.training import plants
from tests.training.tiny import TinyLoader, tiny_network, train

ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG)
KILL = 0
OPTIONS: dict[str, Any] = {"epochs": 2, "checkpoint_every": 2, "ema": 0.9}
#: The run is stopped here (of 12), so that the next session saves, evaluates, saves, and ends.
STOPPED = 9


def loader() -> TinyLoader:
    return TinyLoader(samples=48, batch_size=8)


def session(base: Path) -> dict[str, torch.Tensor]:
    return train(base, network=tiny_network(), loader=loader(), **OPTIONS)[0].state_dict()


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    disk.fault = None


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that stopped at step 9 of 12 and has two checkpoints."""
    base, batches = tmp_path_factory.mktemp("stopped"), loader()
    batches.on_batch = lambda: (
        os.kill(os.getpid(), signal.SIGTERM) if len(batches.served) == STOPPED else None
    )
    with pytest.raises(Interrupted):
        train(base, network=tiny_network(), loader=batches, **OPTIONS)
    return base


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return session(tmp_path_factory.mktemp("whole"))


# --- the two layers -------------------------------------------------------------------------


class Fault:
    """Counts operations; number `at` fails with `error`, or kills (0). Fails once."""

    def __init__(self, at: int = -1, error: int = KILL) -> None:
        self.at, self.error = at, error
        self.seen: list[str] = []
        #: (device, inode) of files whose fsync failed, and those that were synced again.
        self.failed: dict[tuple[int, int], int] = {}
        self.repeated: list[str] = []

    def __call__(self, operation: str, path: object) -> None:
        self.seen.append(operation)
        if len(self.seen) == self.at + 1:
            if self.error == KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(self.error, os.strerror(self.error), str(path))


@contextmanager
def fault_points(fault: Fault, base: Path) -> Iterator[None]:
    disk.fault = fault
    try:
        yield
    finally:
        disk.fault = None


@contextmanager
def system_calls(fault: Fault, base: Path) -> Iterator[None]:
    """Every call below that changes something in `base`, and a watch over fsync."""
    patch = pytest.MonkeyPatch()

    def wrap(name: str) -> None:
        call = getattr(os, name)

        def wrapped(target: Any, *given: Any, **named: Any) -> Any:
            path = _path(target, named.get("dir_fd"))
            if str(path).startswith(str(base)):
                writes = name != "open" or (given and given[0] & os.O_CREAT)
                if name == "fsync":
                    _watch(fault, target, path)
                if writes:
                    fault(name, path)
            return call(target, *given, **named)

        patch.setattr(os, name, wrapped)

    for name in ("open", "write", "fsync", "ftruncate", "mkdir", "rename", "replace", "unlink"):
        wrap(name)
    wrap("rmdir")
    exchange = disk._exchange

    def exchanged(first: Path, second: Path) -> bool:
        fault("exchange", first)
        return exchange(first, second)

    patch.setattr(disk, "_exchange", exchanged)
    try:
        yield
    finally:
        patch.undo()


def _path(target: Any, folder: int | None) -> Path:
    if isinstance(target, int):
        return Path(f"/proc/self/fd/{target}").readlink()
    inside = "" if folder is None else Path(f"/proc/self/fd/{folder}").readlink()
    return Path(inside, os.fspath(target)).absolute()


def _watch(fault: Fault, descriptor: int, path: Path) -> None:
    """A file whose fsync failed is kept open, so that its inode is not given to another."""
    found = os.fstat(descriptor)
    key = (found.st_dev, found.st_ino)
    if not stat.S_ISREG(found.st_mode):
        return
    if key in fault.failed:
        fault.repeated.append(str(path))
    if len(fault.seen) == fault.at and fault.error != KILL:
        fault.failed[key] = os.dup(descriptor)


LAYERS = {"fault points": fault_points, "system calls": system_calls}


def count(layer: str, stopped: Path, folder: Path) -> list[str]:
    """The operations of a session that goes on from `stopped` to the end."""
    shutil.copytree(stopped, folder)
    fault = Fault()
    with LAYERS[layer](fault, folder):
        session(folder)
    shutil.rmtree(folder)
    return fault.seen


def trial(
    layer: str, fault: Fault, stopped: Path, folder: Path, whole: dict[str, torch.Tensor]
) -> None:
    """A session with the fault, then one without. AssertionError where the run suffered."""
    what = f"operation {fault.at}, error {fault.error}"
    shutil.copytree(stopped, folder)
    if fault.error == KILL:
        ended, error = killed(layer, fault, folder)
        assert ended == -signal.SIGKILL, f"{what}: not reached, exit code {ended}\n{error}"
    else:
        with LAYERS[layer](fault, folder):
            error = failed(folder)
        if error is not None:
            assert error.errno == fault.error, what
            assert str(folder) in error.message, what
            assert error.hint, what
    saved = load_checkpoint(folder / "001" / "checkpoint")
    assert saved is not None, what
    assert saved.state.step >= STOPPED, f"{what}: back at {saved.state.step}"
    quiet = Fault()
    quiet.failed = fault.failed
    with LAYERS[layer](quiet, folder):
        resumed = session(folder)
    for descriptor in fault.failed.values():
        os.close(descriptor)
    assert fault.repeated + quiet.repeated == [], f"{what}: a failed fsync was repeated"
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), f"{what}: {name} differs"
    left = [p.name for p in (folder / "001").rglob(".skipstone-*")]
    assert left == [], f"{what}: left behind {left}"
    shutil.rmtree(folder)


def failed(folder: Path) -> StorageError | None:
    """None where the run went on: what failed was not needed, such as removing something old."""
    try:
        session(folder)
    except StorageError as error:
        return error
    return None


def killed(layer: str, fault: Fault, folder: Path) -> tuple[int, str]:
    """How a child ended that met the fault: its exit code, and the error that it raised, if any."""
    said = folder.with_name("said.txt")
    child = os.fork()
    if child == 0:
        try:
            with LAYERS[layer](fault, folder):
                session(folder)
        except BaseException:
            said.write_text(traceback.format_exc())
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, said.read_text() if said.exists() else ""


def sweep(layer: str, stopped: Path, tmp: Path, whole: Any, stride: int, kinds: int = 1) -> int:
    """Trials at every `stride`-th operation, each with `kinds` of KILL and the errors in turn."""
    operations, trials = count(layer, stopped, tmp / "count"), 0
    turn = itertools.cycle((KILL, *ERRORS))
    for at in range(0, len(operations), stride):
        for error in itertools.islice(turn, kinds):
            trial(layer, Fault(at, error), stopped, tmp / "trial", whole)
            trials += 1
    return trials


@pytest.mark.parametrize("layer", list(LAYERS))
@pytest.mark.own_process
def test_some_operations_fail(layer: str, stopped: Path, whole: Any, tmp_path: Path) -> None:
    assert sweep(layer, stopped, tmp_path, whole, stride=17) >= 8


@pytest.mark.proof
@pytest.mark.parametrize(("layer", "kinds"), [("fault points", 5), ("system calls", 2)])
@pytest.mark.own_process
def test_every_operation_fails_once_in_every_way(
    layer: str, kinds: int, stopped: Path, whole: Any, tmp_path: Path
) -> None:
    """Below the fault points each call fails in two of the five ways."""
    trials = sweep(layer, stopped, tmp_path, whole, 1, kinds)
    print(f"{layer}: {trials:,} trials; the last checkpoint loaded after each, and the end is same")
    assert trials > 400


def fsync_trials(stopped: Path, whole: Any, tmp: Path) -> int:
    """EIO at every fsync of a session; how many there were."""
    operations = count("system calls", stopped, tmp / "count")
    places = [at for at, name in enumerate(operations) if name == "fsync"]
    for at in places[:: max(1, len(places) // 8)]:
        trial("system calls", Fault(at, errno.EIO), stopped, tmp / "trial", whole)
    return len(places)


def test_a_failed_fsync_is_never_repeated(stopped: Path, whole: Any, tmp_path: Path) -> None:
    assert fsync_trials(stopped, whole, tmp_path) > 12


def test_a_run_folder_can_be_used_on_after_a_failed_append(tmp_path: Path) -> None:
    """By a program that catches the error: the journal becomes a new file."""
    from skipstone.training.run_directory import RunFolder

    with RunFolder(tmp_path / "run") as run:
        run.journal("epoch", number=1)
        path = run.path / "journal.jsonl"
        before = path.stat().st_ino
        fault = Fault()
        with system_calls(fault, tmp_path):
            run.journal("epoch", number=2)
        fault = Fault(fault.seen.index("fsync"), errno.EIO)
        with system_calls(fault, tmp_path):
            with pytest.raises(StorageError):
                run.journal("epoch", number=3)
            run.journal("epoch", number=4)
            run.journal("epoch", number=5)
        for descriptor in fault.failed.values():
            os.close(descriptor)
        assert fault.repeated == []
        assert path.stat().st_ino != before
    with RunFolder(tmp_path / "run") as run:
        assert [row["number"] for row in run.entries("epoch")] == [1, 2, 4, 5]


@pytest.mark.own_process
def test_a_real_limit_on_file_size(stopped: Path, whole: Any, tmp_path: Path) -> None:
    """EFBIG from the kernel: the tensors' file may not grow over 8 KiB."""
    shutil.copytree(stopped, tmp_path / "run")
    child = os.fork()
    if child == 0:
        code = 9
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
            session(tmp_path / "run")
        except StorageError as error:
            code = int(error.errno != errno.EFBIG or "tensors" not in error.message)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    resumed = session(tmp_path / "run")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


# --- the checks can fail --------------------------------------------------------------------


@contextmanager
def put_back(*names: tuple[Any, str]) -> Iterator[None]:
    before = [(owner, name, getattr(owner, name)) for owner, name in names]
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


@pytest.mark.own_process
def test_sabotage_saves_in_place_are_seen(stopped: Path, whole: Any, tmp_path: Path) -> None:
    from skipstone.core.errors import DamagedError
    from skipstone.training import checkpoint

    places = ((checkpoint, "GENERATIONS"), (storage, "write_folder"))
    with put_back(*places), pytest.raises((AssertionError, DamagedError)):
        _plant_and(plants.PLANTS["saves in place"], stopped, whole, tmp_path)


def _plant_and(plant: Callable[[], None], stopped: Path, whole: Any, tmp: Path) -> None:
    plant()
    sweep("fault points", stopped, tmp, whole, stride=7)


def test_sabotage_a_repeated_fsync_is_seen(
    stopped: Path, whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stubborn(path: Path, chunks: Any, origin: str = "") -> None:
        with path.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            try:
                os.fsync(file.fileno())
            except OSError:
                os.fsync(file.fileno())

    monkeypatch.setattr(storage, "write_chunks", stubborn)
    with pytest.raises(AssertionError, match="a failed fsync was repeated"):
        fsync_trials(stopped, whole, tmp_path)


@pytest.mark.own_process
def test_sabotage_an_error_that_is_swallowed_is_seen(
    stopped: Path, whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rare saves: the run goes on, but what is left lies further back than it should."""
    monkeypatch.setattr(keeper_module, "save_checkpoint", lambda *given: None)
    monkeypatch.setattr(
        keeper_module.RunManager,
        "load_chosen_weights",
        lambda self: self.network.load_state_dict(tiny_network(1).state_dict()),
    )
    with pytest.raises(AssertionError, match="differs"):
        sweep("fault points", stopped, tmp_path, whole, stride=25)
