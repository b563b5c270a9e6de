"""Sessions of a training that can be killed anywhere, forked from one process that has torch."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import mmap
import os
import signal
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.core import disk
from skipstone.core.errors import Interrupted
from skipstone.data.manifest import Manifest
from skipstone.datasets.loader import Batching, Loader
from skipstone.datasets.options import LoadOptions
from skipstone.image.augment_factory import make_image_augmentation, make_image_mixing
from skipstone.image.augment_options import ImageAugmentOptions
from skipstone.image.input import ImageInput
from skipstone.image.options import ImageOptions
from skipstone.models.network import Network
from skipstone.training import loop as loop_module
from skipstone.training import run_manager as keeper_module
from skipstone.training.checkpoint import load_checkpoint
from skipstone.training.run_directory import RunFolder
from tests.auditing.picture_rows import NAMES, FakeTask, write_rows
from tests.training.plants import PLANTS
from tests.training.tiny import TinyBackbone, TinyHead, train

WORKERS = 2
#: Steps between checkpoints.
EVERY = 5
EPOCHS, STEPS_PER_EPOCH, BATCH, ACCUMULATE = 5, 12, 4, 2
STEPS = EPOCHS * STEPS_PER_EPOCH
#: Four phases: the head, two more stages one by one, everything.
OPTIONS: dict[str, Any] = {
    "epochs": EPOCHS,
    "batch_size": BATCH,
    "accumulate": ACCUMULATE,
    "freeze_epochs": 1,
    "unfreeze": "gradual",
    "ema": 0.9,
    "checkpoint_every": EVERY,
    "optimizer": "adamw",
    "schedule": "plateau",
}
PHASES = ("head", "from stage 2", "from stage 1", "all")
DOING = ("starting", "step", "save", "evaluate", "between")


# --- what is trained ------------------------------------------------------------------------


class PixelFront(nn.Module):
    def forward(self, x: dict[str, Tensor]) -> Tensor:
        """uint8 or (mixed) float32 (N, H, W, 3) -> (N, 1, H, W)"""
        return x["image"].float().mean(3)[:, None] / 128 - 1


def make_network() -> Network:
    torch.manual_seed(0)
    return Network(front=PixelFront(), backbone=TinyBackbone(), head=TinyHead(len(NAMES)))


def pictures(folder: Path) -> Manifest:
    labels = [NAMES[number % 3] for number in range(STEPS_PER_EPOCH * BATCH * ACCUMULATE)]
    return write_rows(folder, labels, side=8)


def make_loader(rows: Manifest, workers: int, patience: float = 25.0) -> Loader:
    options, task = ImageAugmentOptions(augment="flip", mixup=0.4), FakeTask()
    image = ImageInput(ImageOptions(size=8, channels=3))
    batching = Batching(
        batch_size=BATCH,
        seed=0,
        shuffle=True,
        augment=make_image_augmentation(options, image),
        mix=make_image_mixing(options, task),  # type: ignore[arg-type]
    )
    loading = LoadOptions(workers=workers, worker_patience=patience)
    return Loader(rows, image, task, batching, loading=loading)  # type: ignore[arg-type]


# --- what a session tells -------------------------------------------------------------------


class Progress:
    """Numbers of a session that outlive it: shared memory without a name."""

    FIELDS = ("began", "step", "phase", "doing", "saves", "operations", "inside", "ended")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8 * len(self.FIELDS))

    def __getitem__(self, name: str) -> int:
        return int(struct.unpack_from("q", self._memory, 8 * self.FIELDS.index(name))[0])

    def __setitem__(self, name: str, value: int) -> None:
        struct.pack_into("q", self._memory, 8 * self.FIELDS.index(name), value)

    def reset(self) -> None:
        for name in self.FIELDS:
            self[name] = -1 if name in ("began", "step") else 0


def observe(progress: Progress) -> None:
    """Tell what this process does. Nothing of what it computes changes."""
    keeper = keeper_module.RunManager

    @contextlib.contextmanager
    def doing(word: str) -> Iterator[None]:
        before, progress["doing"] = progress["doing"], DOING.index(word)
        yield
        progress["doing"] = before

    def wrap(owner: Any, name: str, word: str) -> None:
        inner = getattr(owner, name)

        def outer(*given: Any, **named: Any) -> Any:
            with doing(word):
                return inner(*given, **named)

        setattr(owner, name, outer)

    restore, after_step, begin, save = (
        keeper.restore_checkpoint,
        keeper.after_step,
        keeper.begin_phase,
        keeper.save_checkpoint,
    )

    def restored(self: Any, checkpoint: Any) -> Any:
        state = restore(self, checkpoint)
        progress["began"] = progress["step"] = state.step
        return state

    def stepped(self: Any, state: Any, loss: float) -> None:
        progress["step"] = state.step
        after_step(self, state, loss)

    def begun(self: Any, phase: Any, optimizer: Any, state: Any) -> None:
        progress["phase"], progress["doing"] = PHASES.index(phase.name), DOING.index("between")
        begin(self, phase, optimizer, state)

    def saved(self: Any, state: Any) -> None:
        progress["saves"] += 1
        save(self, state)

    finish = RunFolder.finish

    def finished(self: Any, **options: bool) -> None:
        progress["ended"] = 1
        finish(self, **options)

    RunFolder.finish = finished  # type: ignore[method-assign]
    keeper.restore_checkpoint, keeper.after_step = restored, stepped  # type: ignore[method-assign]
    keeper.begin_phase, keeper.save_checkpoint = begun, saved  # type: ignore[method-assign]
    wrap(keeper, "save_checkpoint", "save")
    wrap(keeper, "_metrics", "evaluate")
    wrap(loop_module, "train_step", "step")


# --- kills ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kill:
    """Where a session ends.

    Args:
        kind: "moment", "operation", "save", "evaluate", "signal", or "" for none.
        at: the step; the operation of the session; the save of the session (from 1).
        index: of the operation within the save; the signal.
        delay: seconds after the step.
    """

    kind: str
    at: int = 0
    index: int = 0
    delay: float = 0.0


NO_KILL = Kill("")


def arm(kill: Kill, progress: Progress) -> None:
    """Let this process kill itself where `kill` says; also counts operations of storage."""
    inside = [0]

    def fault(operation: str, path: Path) -> None:
        number, progress["operations"] = progress["operations"], progress["operations"] + 1
        if kill.kind == "operation" and number == kill.at:
            os.kill(os.getpid(), signal.SIGKILL)
        if DOING[progress["doing"]] == "save" and progress["saves"] == kill.at:
            if kill.kind == "save" and inside[0] == kill.index:
                os.kill(os.getpid(), signal.SIGKILL)
            inside[0] += 1
        elif DOING[progress["doing"]] == "save" and progress["saves"] == 1:
            progress["inside"] += 1

    disk.fault = fault
    if kill.kind == "evaluate":
        metrics = keeper_module.RunManager._metrics

        def half(self: Any) -> Any:
            self.selector._evaluate = lambda network: (
                evaluate(network),
                os.kill(os.getpid(), signal.SIGKILL),
            )
            return metrics(self)

        keeper_module.RunManager._metrics = half  # type: ignore[method-assign]
    if kill.kind == "signal":
        after_step = keeper_module.RunManager.after_step

        def signalled(self: Any, state: Any, loss: float) -> None:
            if state.step == kill.at:  # as a terminal does: to every process of the job
                os.killpg(os.getpgrp(), kill.index)
            after_step(self, state, loss)

        keeper_module.RunManager.after_step = signalled  # type: ignore[method-assign]


class Server:
    """A process with everything imported, which forks a child for each session."""

    def __init__(self, folder: Path, *, workers: int = WORKERS, plant: str = "") -> None:
        self.folder, self.workers, self.plant = folder, workers, plant
        self.rows = pictures(folder / "photos")
        self.progress = Progress()
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans come to us

    def session(self, name: str, kill: Kill = NO_KILL) -> int:
        """Train, resuming what is there; the exit code, negative for a signal."""
        self.progress.reset()
        child = os.fork()
        if child == 0:
            self._train(name, kill)
        if kill.kind == "moment":
            self._kill_at_moment(child, kill)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        reap_orphans()
        return code

    def _train(self, name: str, kill: Kill) -> None:
        code = 70
        try:
            os.setpgid(0, 0)
            arm(kill, self.progress)
            observe(self.progress)
            if self.plant:
                PLANTS[self.plant]()
            base = self.folder / name
            network, result = train(
                base,
                network=make_network(),
                loader=make_loader(self.rows, self.workers),
                evaluate=evaluate,
                **OPTIONS,
            )
            disk.fault = None
            answer = {"digest": digest_of(base, network, result), "steps": result.steps}
            (self.folder / f"{name}.json").write_text(json.dumps(answer))
            code = 0
        except Interrupted as error:
            code = error.exit_code
        except BaseException as error:
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)

    def _kill_at_moment(self, child: int, kill: Kill) -> None:
        while self.progress["step"] < kill.at:
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return
            time.sleep(0.0005)
        time.sleep(kill.delay)
        # Stopped first: once the run is marked as complete it would begin anew, and that is right.
        os.kill(child, signal.SIGSTOP)
        os.waitid(os.P_PID, child, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        os.kill(child, signal.SIGCONT if self.progress["ended"] else signal.SIGKILL)

    def answer(self, name: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_text())
        return value

    def saved(self, name: str) -> int:
        folder = self.folder / name / "001" / "checkpoint"
        saved = load_checkpoint(folder) if folder.exists() else None
        return 0 if saved is None else saved.state.step


def reap_orphans(patience: float = 5.0) -> None:
    """Wait for the workers of a killed session. AssertionError where one stays."""
    end = time.monotonic() + patience
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            assert time.monotonic() < end, "a worker outlived its parent"
            time.sleep(0.0005)


def evaluate(network: Network) -> dict[str, float]:
    """On fixed pictures; draws random numbers on purpose."""
    torch.rand(3)
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 255, (24, 8, 8, 3), generator=generator)
    labels = torch.arange(24) % 3
    training = {module: module.training for module in network.modules()}
    network.eval()
    with torch.no_grad():
        logits = network({"image": images})["logits"]
    for module, mode in training.items():
        module.training = mode
    loss = torch.nn.functional.cross_entropy(logits, labels)
    return {"accuracy": float((logits.argmax(1) == labels).float().mean()), "loss": float(loss)}


def digest_of(base: Path, network: Network, result: Any) -> str:
    digest = hashlib.sha256()
    saved = load_checkpoint(base / "001" / "checkpoint")
    assert saved is not None
    for name, tensor in sorted({**network.state_dict(), **saved.tensors}.items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in result.history]
    digest.update(json.dumps([rows, result.chosen_epoch], sort_keys=True).encode())
    return digest.hexdigest()
