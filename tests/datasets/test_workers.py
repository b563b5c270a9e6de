"""Worker processes that die, stop, raise or hang are reported with their file, and none is left."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from skipstone.core.errors import DataError, MissingExtra, WorkerFailed
from skipstone.data.samples import Batch, SampleMeta
from skipstone.datasets import workers
from skipstone.datasets.workers import ReportRow, load_in_workers

FILES = 4
PATIENCE = 1.0
Fault = Callable[[], None]


def children() -> set[int]:
    """Processes whose parent is this one, zombies too."""
    pids = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == os.getpid():
                pids.add(int(entry.name))
    return pids


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """No process, no descriptor, nothing in shared memory, no signal handler."""

    def state() -> tuple[set[int], set[str], object]:
        return children(), shared(), signal.getsignal(signal.SIGCHLD)

    def descriptors() -> int:
        gc.collect()  # tracebacks hold queues
        return len(list(Path("/proc/self/fd").iterdir()))

    list(load_in_workers(Maker(), 2, name_row=name, workers=2, patience=PATIENCE))  # warm up
    before, count = state(), descriptors()
    yield
    assert state() == before
    assert descriptors() <= count


def shared() -> set[str]:
    """Names in shared memory that Python or torch could have made: browsers run here too."""
    made = ("torch_", "sem.", "psm_", "pym-", "skipstone", "wnsm_")
    return {entry.name for entry in Path("/dev/shm").iterdir() if entry.name.startswith(made)}


def fork(work: Callable[[int], None]) -> tuple[int, int]:
    """(pid, descriptor to read from) of a child that does `work(descriptor to write to)`."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            os.setpgid(0, 0)
            work(writer)
        finally:
            os._exit(0)
    os.close(writer)
    return pid, reader


def line_from(reader: int) -> list[int]:
    data = b""
    while not data.endswith(b"\n"):
        data += os.read(reader, 4096)
    return [int(word) for word in data.split()]


def name(row: int) -> str:
    return f"photos/{row // FILES}-{row % FILES}.jpg"


class Maker:
    """Batch `step` holds its number; file 2 of batch `at` meets `fault`."""

    def __init__(self, fault: Fault = lambda: None, at: int = 3) -> None:
        self.fault, self.at = fault, at

    def __call__(self, step: int, report: ReportRow) -> Batch:
        for number in range(FILES):
            report(step * FILES + number)
            if (step, number) == (self.at, 2):
                self.fault()
        x = {"image": torch.full((FILES, 3), float(step))}
        return Batch(
            x, {"label": torch.arange(FILES)}, [SampleMeta(step * 10 + n) for n in range(FILES)]
        )


def start(maker: Maker, count: int = 8, patience: float = PATIENCE) -> Iterator[Batch]:
    return load_in_workers(maker, count, name_row=name, workers=2, patience=patience)


def run(maker: Maker, count: int = 8, patience: float = PATIENCE) -> list[int]:
    return [int(batch.x["image"][0, 0]) for batch in start(maker, count, patience)]


def fail(fault: Fault) -> WorkerFailed:
    begin = time.monotonic()
    with pytest.raises(WorkerFailed, match=r"photos/3-2\.jpg") as caught:
        run(Maker(fault))
    assert time.monotonic() - begin < PATIENCE + 5
    assert caught.value.file == "photos/3-2.jpg"
    assert "worker 2 of 2 (pid " in str(caught.value)
    return caught.value


def test_batches_come_in_order_as_they_were_made() -> None:
    assert run(Maker()) == list(range(8))
    assert run(Maker(), count=1) == [0]
    assert run(Maker(), count=0) == []


def test_batches_hold_what_was_made() -> None:
    batch = Batch(
        {"image": torch.randint(0, 255, (2, 5, 4, 3), dtype=torch.uint8), "deep": torch.rand(2, 7)},
        {
            "label": torch.tensor([3, 1]),
            "mask": torch.tensor([[True], [False]]),
            "boxes": [torch.rand(3, 4), torch.zeros(0, 4)],
            "depth": torch.tensor([[65535], [7]], dtype=torch.uint16),
        },
        [
            SampleMeta(4, "a/\udcff.png", 1, (5, 4), (1.0, 0.0, 0.5, 0.0, 1.0, 0.25)),
            SampleMeta(7, "b.png"),
        ],
    )
    (back,) = load_in_workers(
        lambda step, report: batch, 1, name_row=name, workers=2, patience=PATIENCE
    )
    assert back.meta == batch.meta
    torch.testing.assert_close(back.x, batch.x, rtol=0, atol=0)
    torch.testing.assert_close(back.y, batch.y, rtol=0, atol=0)
    back.x["image"] += 1  # it can be written to


@pytest.mark.parametrize("wait", [0.0, 0.2])
def test_killed_in_the_middle_of_sending_a_batch(wait: float) -> None:
    """A batch is larger than what a pipe holds, and nobody reads it yet."""

    class Large(Maker):
        def __call__(self, step: int, report: ReportRow) -> Batch:
            super().__call__(step, report)
            return Batch({"image": torch.full((1, 1 << 20), step)})

    batches = start(Large(lambda: (time.sleep(wait), os.kill(os.getpid(), signal.SIGKILL))[0]))
    with pytest.raises(WorkerFailed, match="killed by SIGKILL"):
        assert [time.sleep(0.3) for _ in batches]


def test_killed() -> None:
    error = fail(lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert "was killed by SIGKILL" in str(error)
    assert "fewer --workers" in str(error)


def test_stopped() -> None:
    error = fail(lambda: os.kill(os.getpid(), signal.SIGSTOP))
    assert "is stopped" in str(error)
    assert "--worker-patience" in str(error)


def test_sleeping_forever() -> None:
    assert "hangs" in str(fail(lambda: time.sleep(1e6)))


def test_leaving() -> None:
    assert "ended with exit code 7" in str(fail(lambda: os._exit(7)))


def test_raising() -> None:
    def fault() -> None:
        raise ZeroDivisionError("by\nzero")

    error = fail(fault)
    assert "raised ZeroDivisionError" in str(error)
    assert "in fault" in error.__notes__[0]


@pytest.mark.parametrize("kind", [DataError, MissingExtra])
def test_errors_for_users_arrive_as_they_are(kind: type[DataError | MissingExtra]) -> None:
    def fault() -> None:
        raise kind("this file is odd.", hint="Do that.")

    with pytest.raises(kind, match="this file is odd") as caught:
        run(Maker(fault))
    assert caught.value.hint == "Do that."


def test_a_slow_batch_of_files_is_not_a_hang() -> None:
    """Each file counts: 4 files at 0.3 s take longer than a patience of 0.8 s."""

    class Slow(Maker):
        def __call__(self, step: int, report: ReportRow) -> Batch:
            return super().__call__(step, lambda row: (report(row), time.sleep(0.3))[0])

    assert run(Slow(), count=2, patience=0.8) == [0, 1]


def test_a_stopped_job_that_continues_is_not_a_hang() -> None:
    """Ctrl-Z for longer than the patience, then fg."""

    def work(writer: int) -> None:
        os.write(writer, b"0\n")
        made = run(Maker(lambda: time.sleep(0.4)), patience=1.0)
        os.write(writer, (" ".join(map(str, made)) + "\n").encode())

    job, reader = fork(work)
    assert line_from(reader) == [0]
    time.sleep(0.15)
    os.killpg(job, signal.SIGSTOP)
    time.sleep(1.5)
    os.killpg(job, signal.SIGCONT)
    assert line_from(reader) == list(range(8))
    os.waitpid(job, 0)
    os.close(reader)


FAULTS = {"busy": lambda: time.sleep(1e6), "stopped": lambda: os.kill(os.getpid(), signal.SIGSTOP)}


def survivors(fault: Fault, wait: float) -> list[int]:
    """Kill a process whose worker met `fault`; its workers that still run after `wait` seconds.

    They are ended before this returns.
    """

    def work(writer: int) -> None:
        batches = start(Maker(fault), patience=1000)
        next(batches)
        os.write(writer, (" ".join(map(str, children())) + "\n").encode())
        time.sleep(1000)

    parent, reader = fork(work)
    made = line_from(reader)
    assert len(made) == 2
    time.sleep(0.2)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    os.close(reader)
    end = time.monotonic() + wait
    while (made := [pid for pid in made if alive(pid)]) and time.monotonic() < end:
        time.sleep(0.02)
    for pid in made:
        os.kill(pid, signal.SIGKILL)
    return made


def alive(pid: int) -> bool:
    """False for zombies of a dead parent: init collects them."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("state", list(FAULTS))
def test_no_orphan_after_the_parent_was_killed(state: str) -> None:
    assert survivors(FAULTS[state], 10) == []


@pytest.mark.parametrize("fault", [*FAULTS.values(), lambda: None])
def test_an_iterator_that_is_closed_early_ends_its_workers(fault: Fault) -> None:
    batches = start(Maker(fault), count=100)
    next(batches)
    assert len(children()) >= 2
    batches.close()  # type: ignore[attr-defined]


def test_signals_to_the_whole_job_do_not_end_workers() -> None:
    def fault() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)

    assert run(Maker(fault)) == list(range(8))


# --- the checks can fail --------------------------------------------------------------------


def test_sabotage_workers_that_do_not_die_with_the_parent_are_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "_die_with", lambda parent: None)
    assert survivors(FAULTS["busy"], 0.5)


def test_sabotage_what_a_worker_leaves_in_shared_memory_is_seen() -> None:
    path = Path(f"/dev/shm/torch_{os.getpid()}_sabotage")

    def fault() -> None:
        path.write_bytes(b"x")
        os.kill(os.getpid(), signal.SIGKILL)

    before = shared()
    fail(fault)
    assert shared() - before == {path.name}
    path.unlink()
