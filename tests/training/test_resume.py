"""A run that was killed, stopped or damaged ends bit-identically to one that was not."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from skipstone.core import events
from skipstone.core.errors import DamagedError, Interrupted, WorkerFailed
from skipstone.data.samples import Sample
from skipstone.datasets.loader import Loader
from skipstone.models.network import Network
from skipstone.training.checkpoint import load_checkpoint
from skipstone.training.fit import FitResult, fit
from skipstone.training.run_directory import RunFolder
from tests.training.crash import finished
from tests.training.sessions import EVERY, PHASES, make_loader, make_network, pictures
from tests.training.sessions import OPTIONS as KILLED_OPTIONS
from tests.training.sessions import evaluate as evaluate_pictures
from tests.training.tiny import TinyLoader, TinyTask, evaluate, recipe_of, tiny_network, train

ROOT = Path(__file__).parents[2]


def crash(folder: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.crash", str(folder), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def check(report: dict[str, Any], least_kills: int) -> None:
    assert report["kills"] >= least_kills
    assert report["identical"] == report["rounds"] > 0
    assert report["least_step_resumed"] > 0
    assert report["most_steps_lost"] <= EVERY
    assert report["stopped"] == [143, 130, 0]


def test_killed_and_stopped_runs_end_the_same(tmp_path: Path) -> None:
    check(crash(tmp_path, "--kills", "5", "--seed", "7"), 5)


@pytest.mark.proof
def test_a_hundred_kills_and_one_at_every_point_inside_a_save(tmp_path: Path) -> None:
    report = crash(tmp_path, "--kills", "100", "--seed", "1", "--sweep", "--plant")
    print(json.dumps(report, indent=1))
    check(report, 100)
    assert set(report["phases"]) == set(PHASES)
    assert {"moment", "operation", "save", "evaluate"} == set(report["kinds"])
    assert {"step", "save", "between", "evaluate"} <= set(report["doing"])
    assert report["swept"] == report["points_inside_a_save"] > 20
    for name, said in report["planted"].items():
        assert said, f"the checks do not see: {name}"


def test_the_log_of_kills_goes_on_where_it_stopped(tmp_path: Path) -> None:
    log = tmp_path / "kills.jsonl"
    rows = [
        {"round": 0, "kind": "save", "reached": 9, "saved": 5, "phase": "head", "doing": "save"},
        {"round": 0, "end": "identical"},
        {"round": 1, "kind": "save", "reached": 9, "saved": 5, "phase": "head", "doing": "save"},
    ]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"round": 1, "ki')
    assert finished(log) == rows[:2]
    assert finished(log) == rows[:2]


@pytest.mark.parametrize("what", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_loading_process_is_named_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: signal.Signals
) -> None:
    rows, parent = pictures(tmp_path / "photos"), os.getpid()
    sample = Loader.load_sample

    def lost(self: Loader, row: int, view: int = 0, *, epoch: int | None = None) -> Sample:
        if os.getpid() != parent and row == 29 and self.loading.worker_patience < 1:
            os.kill(os.getpid(), what)
        return sample(self, row, view, epoch=epoch)

    def session(name: str, patience: float) -> dict[str, torch.Tensor]:
        loader = make_loader(rows, 2, patience)
        network, _ = train(
            tmp_path / name,
            network=make_network(),
            loader=loader,
            evaluate=evaluate_pictures,
            **{**KILLED_OPTIONS, "epochs": 2, "unfreeze": "all", "checkpoint_every": 1},
        )
        return network.state_dict()

    monkeypatch.setattr(Loader, "load_sample", lost)
    with pytest.raises(WorkerFailed, match=r"/029\.png") as caught:
        session("lost", 0.7)
    assert caught.value.file.endswith("029.png")
    assert multiprocessing.active_children() == []
    resumed, whole = session("lost", 30), session("whole", 30)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    lines = (tmp_path / "lost/001/journal.jsonl").read_text().splitlines()
    (row,) = [row for row in map(json.loads, lines) if row["kind"] == "resumed"]
    assert row["step"] > 0


SECOND = """
import os, signal, sys
from skipstone.training.run_manager import watch_signals
with watch_signals() as stopping:
    os.kill(os.getpid(), signal.SIGINT)
    print(stopping.signal_number, flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print("still here", flush=True)
"""


def test_second_interrupt_leaves_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SECOND], capture_output=True, text=True, check=False
    )
    assert done.returncode == 130
    assert done.stdout.split() == ["2"]


@pytest.mark.parametrize(("epoch", "budget_stop", "steps"), [(2, 0, [6, 12, 18]), (1, 2, [2])])
def test_a_signal_ends_an_evaluation(
    tmp_path: Path, epoch: int, budget_stop: int, steps: list[int]
) -> None:
    """It does not wait for the evaluation, and the next session does that evaluation first; also
    where it is that of an epoch which the budget cut short."""
    calls: list[int] = []

    def slow(network: Network) -> dict[str, float]:
        calls.append(1)
        if len(calls) == epoch:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
        return evaluate(network)

    def session(folder: str, function: Any) -> tuple[Network, FitResult]:
        network = tiny_network()
        with RunFolder(tmp_path / folder) as run:
            if budget_stop:
                run.decide("length", lambda: {"steps": 18})
                run.decide("budget stop", lambda: {"step": budget_stop})
            result = fit(
                network,
                task=TinyTask(),  # type: ignore[arg-type]
                loader=loader,
                evaluate=function,
                options=recipe_of(epochs=3, budget=1e6 if budget_stop else None),
                run=run,
            )
        return network, result

    loader, start = TinyLoader(), time.monotonic()
    with pytest.raises(Interrupted) as caught:
        session("stopped", slow)
    assert time.monotonic() - start < 10
    assert caught.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    loader.served.clear()
    stopped, found = session("stopped", slow)
    assert loader.served[:1] == ([] if budget_stop else [(2, 0)])
    assert len(calls) == len(steps) + 1
    whole, expected = session("whole", evaluate)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, stopped.state_dict()[name])
    assert [row["step"] for row in found.history] == steps
    for row, other in zip(found.history, expected.history, strict=True):
        assert {**row, "seconds": 0} == {**other, "seconds": 0}
    assert (found.chosen_epoch, found.stopped_by) == (expected.chosen_epoch, expected.stopped_by)


# --- damage ---------------------------------------------------------------------------------


@pytest.fixture
def stopped_run(tmp_path: Path) -> Path:
    """A run that stopped at step 11 of 18, with checkpoints of steps 10 and 11."""
    loader = TinyLoader()

    def on_batch() -> None:
        if len(loader.served) == 11:
            os.kill(os.getpid(), signal.SIGTERM)

    loader.on_batch = on_batch
    with pytest.raises(Interrupted):
        train(tmp_path, loader=loader, epochs=3, checkpoint_every=1)
    return tmp_path / "001" / "checkpoint"


def newest(folder: Path) -> Path:
    number = {
        path.name: json.loads((path / "state.json").read_text())["number"]
        for path in folder.iterdir()
    }
    return folder / max(number, key=lambda name: number[name])


@pytest.mark.parametrize("name", ["state.json", "tensors.safetensors", "hashes.json"])
@pytest.mark.parametrize("how", ["flip", "cut", "remove"])
def test_damaged_checkpoint_is_named_and_the_previous_used(
    stopped_run: Path, name: str, how: str
) -> None:
    path = newest(stopped_run) / name
    data = bytearray(path.read_bytes())
    if how == "remove":
        path.unlink()
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data if how == "flip" else data[: len(data) // 2])
    notes: list[events.Event] = []
    with events.use_listener(notes.append):
        saved = load_checkpoint(stopped_run)
    assert saved is not None
    assert saved.state.step == 10
    warnings = [e.text for e in notes if isinstance(e, events.Note) and e.level == "warning"]
    assert len(warnings) == 1
    assert name in warnings[0]
    assert "step 10" in warnings[0]


def test_every_block_of_a_checkpoint_is_covered(stopped_run: Path) -> None:
    folder = newest(stopped_run)
    with events.use_listener(lambda event: None):
        for path in folder.iterdir():
            whole = path.read_bytes()
            for start in range(0, len(whole), 4096):
                block = bytes(byte ^ 0x40 for byte in whole[start : start + 4096])
                path.write_bytes(whole[:start] + block + whole[start + 4096 :])
                saved = load_checkpoint(stopped_run)
                assert saved is not None
                assert saved.state.step == 10, (path, start)
            path.write_bytes(whole)
    saved = load_checkpoint(stopped_run)
    assert saved is not None
    assert saved.state.step == 11


def test_damaged_run_ends_the_same(stopped_run: Path) -> None:
    (newest(stopped_run) / "tensors.safetensors").write_bytes(b"")
    loader = TinyLoader()
    network, result = train(stopped_run.parents[1], loader=loader, epochs=3, checkpoint_every=1)
    assert loader.served[0] == (1, 4)  # step 10 is batch 4 of the second epoch
    whole, expected = train(stopped_run.parents[1] / "clean", epochs=3, checkpoint_every=1)
    assert result.chosen_epoch == expected.chosen_epoch
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name])


def test_no_whole_checkpoint_is_an_error(stopped_run: Path) -> None:
    for generation in stopped_run.iterdir():
        (generation / "state.json").write_text("{}")
    with pytest.raises(DamagedError, match=r"even.state\.json.*odd.state\.json"):
        load_checkpoint(stopped_run)


@pytest.mark.parametrize(
    "change",
    [
        {"step": 10**9},
        {"step": -1},
        {"phase": 9},
        {"epoch": "1"},
        {"losses": {"loss": "x"}},
        {"losses": []},
        {"history": [{"epoch": 1}]},
        {"history": ["x"]},
        {"chosen_epoch": {"metrics": {}}},
        {"unknown": 1},
    ],
)
def test_a_poisoned_checkpoint_is_refused(stopped_run: Path, change: dict[str, object]) -> None:
    """By somebody who computes its hashes anew."""
    for generation in stopped_run.iterdir():
        value = json.loads((generation / "state.json").read_text())
        value["state"].update(change)
        (generation / "state.json").write_text(json.dumps(value))
        hashes = {
            name: hashlib.sha256((generation / name).read_bytes()).hexdigest()
            for name in ("state.json", "tensors.safetensors")
        }
        (generation / "hashes.json").write_text(json.dumps(hashes))
    with pytest.raises(DamagedError):
        train(stopped_run.parents[1], epochs=3, checkpoint_every=1)
