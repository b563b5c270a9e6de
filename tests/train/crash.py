"""Kill trainings at seeded random moments and compare what they end as. Run as a program:

    python -m tests.train.crash FOLDER --kills 5 --seed 0

One process imports torch and forks a child for every session, so that a kill costs little. A
session is killed at a batch (inside an epoch) or at an operation of storage (inside a save).
Prints one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from skipstone import disk
from skipstone.errors import Interrupted
from skipstone.train.checkpoint import load_checkpoint
from tests.train.tiny import TinyLoader, train

#: Steps between checkpoints.
EVERY = 5
#: 5 epochs of 12 steps in three phases, with EMA, dropout, batch norm and accumulation.
OPTIONS: dict[str, Any] = {
    "epochs": 5,
    "batch_size": 4,
    "accumulate": 2,
    "freeze_epochs": 1,
    "unfreeze": "gradual",
    "ema": 0.9,
    "checkpoint_every": EVERY,
    "optimizer": "adamw",
    "schedule": "plateau",
}
SAMPLES = 96
STEPS = 5 * 12
#: The disk operation after which the first checkpoint is whole.
FIRST = 76


def session(base: Path, answer: Path, arrange: Callable[[TinyLoader], None]) -> None:
    """Train to the end and write what came out."""
    loader = TinyLoader(samples=SAMPLES, batch_size=4)
    arrange(loader)
    end, reached = loader.on_batch, answer.with_suffix(".reached")

    def on_batch() -> None:  # for the parent: how far this session came
        epoch, batch = loader.served[-1]
        reached.write_text(str(epoch * (STEPS // 5) + batch // 2))
        end()

    loader.on_batch = on_batch
    network, result = train(base, loader=loader, **OPTIONS)
    digest = hashlib.sha256()
    saved = load_checkpoint(base / "001" / "checkpoint")
    assert saved is not None
    for name, tensor in sorted({**network.state_dict(), **saved.tensors}.items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in result.history]
    digest.update(json.dumps([rows, result.best], sort_keys=True).encode())
    answer.write_text(json.dumps({"digest": digest.hexdigest(), "steps": result.steps}))


def fork(work: Callable[[], None]) -> int:
    """Run `work` in a child; its exit code, negative for a signal."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 70
    try:
        work()
        code = 0
    except Interrupted as error:
        code = error.exit_code
    finally:
        os._exit(code)


def end_at_batch(number: int, what: int) -> Callable[[TinyLoader], None]:
    """Send signal `what` to this process when it asks for its batch `number`."""

    def arrange(loader: TinyLoader) -> None:
        def on_batch() -> None:
            if len(loader.served) == number + 1:
                os.kill(os.getpid(), what)

        loader.on_batch = on_batch

    return arrange


def kill_at_operation(number: int) -> Callable[[TinyLoader], None]:
    def arrange(loader: TinyLoader) -> None:
        seen = [0]

        def fault(operation: str, path: Path) -> None:
            seen[0] += 1
            if seen[0] == number + 1:
                os.kill(os.getpid(), signal.SIGKILL)

        disk.fault = fault

    return arrange


def saved_step(base: Path) -> int:
    folder = base / "001" / "checkpoint"
    saved = load_checkpoint(folder) if folder.exists() else None
    return 0 if saved is None else saved.state.step


def kill_until_done(base: Path, answer: Path, kills: int, rng: random.Random) -> list[Any]:
    """Kill sessions, then let one finish. For each kill: the steps {"reached", "saved"}."""
    found: list[dict[str, int]] = []
    for _ in range(kills):
        if rng.random() < 0.5:
            arrange = end_at_batch(rng.randrange(12, 12 + 3 * STEPS // kills), signal.SIGKILL)
        else:
            arrange = kill_at_operation(rng.randrange(FIRST, FIRST + 480 // kills))
        code = fork(lambda arrange=arrange: session(base, answer, arrange))
        if code == 0:
            break
        assert code == -signal.SIGKILL, code
        reached = int(answer.with_suffix(".reached").read_text())
        found.append({"reached": reached, "saved": saved_step(base)})
    if not answer.exists():
        code = fork(lambda: session(base, answer, lambda loader: None))
        assert code == 0, code
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)  # forked children may not use threads of their parent
    rng = random.Random(given.seed)
    given.folder.mkdir(parents=True, exist_ok=True)

    def one(name: str, *arrangements: Callable[[TinyLoader], None]) -> dict[str, Any]:
        base, answer = given.folder / name, given.folder / f"{name}.json"
        codes = [fork(lambda a=a: session(base, answer, a)) for a in arrangements]
        return {"codes": codes, **json.loads(answer.read_text())}

    def nothing(loader: TinyLoader) -> None:
        pass

    report: dict[str, Any] = {"clean": one("clean", nothing)}
    report["stopped"] = one(
        "stopped", end_at_batch(31, signal.SIGTERM), end_at_batch(30, signal.SIGINT), nothing
    )
    report["killed"] = []
    for number in range(given.rounds):
        answer = given.folder / f"killed{number}.json"
        kills = kill_until_done(given.folder / f"killed{number}", answer, given.kills, rng)
        report["killed"].append({"kills": kills, **json.loads(answer.read_text())})
    print(json.dumps(report))


if __name__ == "__main__":
    main()
