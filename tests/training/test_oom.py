"""Out of memory: the micro-batch is halved, the step stays the same, and a resumed run too."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from skipstone.core import events
from skipstone.core.errors import Interrupted, OutOfMemory, is_out_of_memory
from skipstone.data.samples import Batch, SampleMeta
from skipstone.models.network import Network
from skipstone.training.objective import Objective
from skipstone.training.oom import HALVED, MicroBatch, split_batch
from skipstone.training.run_directory import RunFolder
from tests.training.tiny import TinyLoader, tiny_network, train


def real_cpu_error() -> RuntimeError:
    with pytest.raises(RuntimeError, match="can't allocate memory") as caught:
        torch.empty(1 << 50)
    return caught.value


ERRORS: dict[str, Callable[[], BaseException]] = {
    "cpu": real_cpu_error,
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "mps": lambda: RuntimeError("MPS backend out of memory (MPS allocated: 18.10 GB)"),
    "python": MemoryError,
}


def limit(
    monkeypatch: pytest.MonkeyPatch, samples: int, make: Callable[[], BaseException], after: int = 0
) -> list[int]:
    """From pass `after` on, more than `samples` at once use memory up, in the middle of a pass:
    the norm has counted its batch, dropout has drawn. Returns the sizes that were tried."""
    tried: list[int] = []
    forward = Objective.forward

    def limited(self: Objective, x: dict[str, Tensor], *args: Any, **named: Any) -> Any:
        size = len(x["image"])
        tried.append(size)
        losses = forward(self, x, *args, **named)
        if size > samples and len(tried) > after and self.network.training:
            raise make()
        return losses

    monkeypatch.setattr(Objective, "forward", limited)
    return tried


def journal(base: Path) -> list[dict[str, Any]]:
    lines = (base / "001" / "journal.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("kind", list(ERRORS))
def test_halves_until_it_fits_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    tried = limit(monkeypatch, 3, ERRORS[kind])
    said: list[events.Event] = []
    with events.use_listener(said.append):
        _, result = train(tmp_path, epochs=1)
    assert tried[:4] == [8, 4, 2, 2]
    assert set(tried[2:]) == {2}
    assert result.steps == 6
    assert result.micro_batch == 2
    rows = [row for row in journal(tmp_path) if row["kind"] == HALVED]
    assert [(row["step"], row["size"]) for row in rows] == [(0, 4), (0, 2)]
    warnings = [e.text for e in said if isinstance(e, events.Note) and e.level == "warning"]
    assert "batches of 8 go through in parts of 2" in warnings[1]
    assert "still learns from all 8" in warnings[1]
    assert "batch norm sees fewer samples at once, so its statistics change" in warnings[1]


def test_without_batch_norm_the_result_is_that_of_the_whole_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def session(name: str) -> dict[str, Tensor]:
        network = tiny_network(norm=False, dropout=0.0)
        return train(tmp_path / name, network=network, epochs=2)[0].state_dict()

    whole = session("whole")
    said: list[events.Event] = []
    with monkeypatch.context() as patch, events.use_listener(said.append):
        limit(patch, 1, ERRORS["cpu"])
        parts = session("parts")
    assert journal(tmp_path / "parts")[-2]["step"] == 12
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-4, atol=1e-5)
    assert not [e for e in said if isinstance(e, events.Note) and "batch norm" in e.text]


def test_the_journal_is_written_before_it_acts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    tried = limit(monkeypatch, 4, ERRORS["cpu"])
    parts = MicroBatch.split_batches

    def watched(self: MicroBatch, batches: list[Batch], step: int) -> list[Batch]:
        made = parts(self, batches, step)
        if len(tried) == 1:
            seen.append([row["kind"] for row in journal(tmp_path)])
        return made

    monkeypatch.setattr(MicroBatch, "split_batches", watched)
    train(tmp_path, epochs=1)
    assert HALVED in seen[0]


def test_a_resumed_run_halves_at_the_same_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after the halving but saved before it, and the machine has more memory by then."""
    options: dict[str, Any] = {"epochs": 3, "checkpoint_every": 5, "ema": 0.9}
    with monkeypatch.context() as patch:
        limit(patch, 4, ERRORS["cpu"], after=7)  # step 8 is the first that is too large
        whole = train(tmp_path / "whole", **options)[0].state_dict()
    loader = TinyLoader()
    loader.on_batch = lambda: os.kill(os.getpid(), 15) if len(loader.served) == 10 else None
    with monkeypatch.context() as patch:
        limit(patch, 4, ERRORS["cpu"], after=7)
        with pytest.raises(Interrupted):
            train(tmp_path / "stopped", loader=loader, **options)
    newest = max(  # the save at the signal is lost: what is left is of step 6
        (tmp_path / "stopped/001/checkpoint").iterdir(),
        key=lambda path: json.loads((path / "state.json").read_text())["number"],
    )
    (newest / "state.json").unlink()
    tried = limit(monkeypatch, 8, ERRORS["cpu"])
    resumed = train(tmp_path / "stopped", **options)[0].state_dict()
    assert tried[:3] == [8, 4, 4]
    for name in whole:
        assert torch.equal(whole[name], resumed[name]), name


def test_deciding_how_to_train_halves_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timing the ways of a step, and measuring one for a budget, are where it happens first."""
    tried = limit(monkeypatch, 4, ERRORS["cuda"])
    train(tmp_path, epochs=1, precision="f32", channels_last=None, budget=30.0)
    rows = journal(tmp_path)
    kinds = [row.get("name", row["kind"]) for row in rows]
    assert kinds.index(HALVED) < kinds.index("precision") < kinds.index("length")
    assert tried.count(8) == 1


def test_nothing_left_to_halve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, 1, ERRORS["cpu"], after=3)
    with pytest.raises(OutOfMemory, match="at step 4, with 2 samples at a time") as caught:
        train(tmp_path, epochs=1, checkpoint_every=1)
    assert "001/checkpoint/odd, of step 3." in str(caught.value)
    assert "--size" in str(caught.value.hint)


class Large(TinyLoader):
    """64 pictures of 256 pixels: a feature map of one batch takes 64 MiB."""

    def __init__(self) -> None:
        super().__init__(samples=64, batch_size=64)
        self.images = torch.randn(64, 1, 256, 256)


@pytest.mark.own_process
def test_what_a_full_machine_really_raises_is_known(tmp_path: Path) -> None:
    """The address space ends 200 MiB further on: torch's allocator and oneDNN fail for real, and
    what comes is a smaller part that fits, or the error that says so.

    What is made once (autograd's thread, kernels) is made before: oneDNN does not look whether it
    got the little memory of these, and ends the process.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            train(tmp_path / "before", epochs=1)
            loader = Large()
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20), resource.RLIM_INFINITY))
            _, result = train(tmp_path, loader=loader, batch_size=64, epochs=1, evaluate=half)
            code = 0 if result.micro_batch < 64 else 2
        except OutOfMemory:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert any(row["kind"] == HALVED for row in journal(tmp_path))


def half(network: Network) -> dict[str, float]:
    return {"accuracy": 0.5}


def test_another_error_is_not_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, 1, lambda: RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        train(tmp_path, epochs=1)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))
    assert is_out_of_memory(RuntimeError("could not create a primitive"))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for conv"))


@pytest.mark.parametrize(
    ("count", "size", "least", "sizes"),
    [
        (8, 8, 2, [8]),
        (8, 4, 2, [4, 4]),
        (7, 4, 2, [3, 4]),
        (5, 2, 1, [1, 2, 2]),
        (5, 2, 2, [2, 3]),
        (3, 2, 2, [3]),
        (1, 4, 2, [1]),
        (4, 1, 1, [1, 1, 1, 1]),
    ],
)
def test_parts(count: int, size: int, least: int, sizes: list[int]) -> None:
    values = torch.arange(count)
    boxes = [torch.full((n, 4), n) for n in range(count)]
    batch = Batch(
        {"x": values}, {"y": values, "boxes": boxes}, [SampleMeta(n) for n in range(count)]
    )
    parts = split_batch(batch, size, least)
    assert [len(part) for part in parts] == sizes
    assert torch.equal(torch.cat([part.x["x"] for part in parts]), values)
    assert [meta.id for part in parts for meta in part.meta] == list(range(count))
    assert [len(box) for part in parts for box in part.y["boxes"]] == list(range(count))


def leave_statistics(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MicroBatch, "_restore", lambda self: self._network.zero_grad())


def leave_the_journal(patch: pytest.MonkeyPatch) -> None:
    journal = RunFolder.journal

    def forgetful(self: RunFolder, kind: str, **facts: Any) -> None:
        if kind == HALVED:
            self._entries.append({"kind": kind, **facts})
        else:
            journal(self, kind, **facts)

    patch.setattr(RunFolder, "journal", forgetful)


@pytest.mark.parametrize("plant", [leave_statistics, leave_the_journal])
def test_sabotage_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """What a failed pass leaves in the norms, or a halving that is not written down, is red."""
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        test_a_resumed_run_halves_at_the_same_step(tmp_path, monkeypatch)
