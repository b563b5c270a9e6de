"""Kill trainings at seeded random moments and compare what they end as. Run as a program:

    python -m tests.training.crash FOLDER --kills 10000 --jobs 2 --log kills.jsonl     (make kills)

One process imports torch and forks a child for every session, so that a kill costs little. A round
is one training (real files, two loading processes, MixUp, EMA, dropout, batch norm, accumulation,
gradual unfreezing) that is killed about ten times and then left to finish. Killed with SIGKILL

    moment     from outside, when it has reached a step, after a random part of the next
    operation  by itself, before a random operation of storage, also while it takes up its run
    save       by itself, before a random operation inside a save
    evaluate   by itself, in the middle of an evaluation

and with --sweep, once before every operation of storage inside a save, in order.

After each kill: the checkpoint that loads is past step 0, at most one interval behind, and not
older than the last; no worker is left. At the end of a round: every tensor of model, average,
optimizer and best weights, and the history, as in a training that nobody disturbed.

With --log each kill and each finished round is a line; the same command goes on after the last
finished round. Prints a summary as one JSON object; the exit code is 1 where something was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from skipstone.core.errors import DamagedError
from tests.training.plants import PLANTS
from tests.training.sessions import (
    DOING,
    EPOCHS,
    EVERY,
    NO_KILL,
    PHASES,
    STEPS,
    STEPS_PER_EPOCH,
    WORKERS,
    Kill,
    Server,
    reap_orphans,
)

#: Kills in one training, and how many steps further than the last checkpoint one of them is.
KILLS, REACH = 10, 14

# --- rounds ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clean:
    """An undisturbed training: its digest, and where storage is at work in it.

    Args:
        operations: of the whole session.
        inside: operations of one save.
    """

    digest: str
    operations: int
    inside: int


def clean_run(server: Server) -> Clean:
    """Train once with workers and once without; both must be the same."""
    digests = []
    for name, workers in (("clean", WORKERS), ("clean-threads", 0)):
        server.workers = workers
        assert server.session(name) == 0
        digests.append(server.answer(name)["digest"])
    server.workers = WORKERS
    assert digests[0] == digests[1], "loading in processes changed the result"
    assert server.answer("clean")["steps"] == STEPS
    progress = server.progress
    return Clean(digests[0], progress["operations"], progress["inside"])


def draw(rng: random.Random, clean: Clean, saved: int, number: int) -> Kill:
    """A kill after the first whole checkpoint. The first of a round comes in epoch `number`."""
    if not saved:
        low = max(EVERY + 1, number % EPOCHS * STEPS_PER_EPOCH)
        at = rng.randrange(low, (number % EPOCHS + 1) * STEPS_PER_EPOCH)
        return Kill("moment", at, delay=rng.uniform(0, 0.03))
    kind = rng.choices(("moment", "save", "operation", "evaluate"), (5, 3, 2, 2))[0]
    if kind == "evaluate":
        return Kill("evaluate")
    if kind == "save":
        return Kill("save", rng.randint(1, 2), rng.randrange(clean.inside))
    if kind == "operation":
        return Kill("operation", rng.randrange(clean.operations // 4))
    # From before its first step on; within the time of a step, an evaluation and a save.
    return Kill("moment", rng.randrange(saved - 1, saved + REACH), delay=rng.uniform(0, 0.03))


class Round:
    """One training that is killed again and again. AssertionError where something is wrong."""

    def __init__(self, server: Server, clean: Clean, name: str) -> None:
        self.server, self.clean, self.name = server, clean, name
        self.saved = 0
        shutil.rmtree(server.folder / name, ignore_errors=True)

    def kill(self, kill: Kill) -> dict[str, Any] | None:
        """A session with this kill; its row, or None where the training ended before."""
        begin, before, progress = time.monotonic(), self.saved, self.server.progress
        code = self.server.session(self.name, kill)
        if code == 0:
            return None
        assert code == -signal.SIGKILL, f"{self.name}: {kill} ended with {code}"
        began = progress["began"]
        assert began in (-1, before), f"{self.name}: resumed at {began} instead of {before}"
        reached, self.saved = max(before, progress["step"]), self.server.saved(self.name)
        assert self.saved > 0, f"{self.name}: after {kill} it would begin again"
        assert self.saved >= before, f"{self.name}: after {kill} step {before} is gone"
        lost = reached - self.saved
        assert lost <= EVERY, f"{self.name}: {kill} lost {lost} steps"
        return {
            **{key: value for key, value in asdict(kill).items() if value},
            "phase": PHASES[progress["phase"]],
            "doing": DOING[progress["doing"]],
            "reached": reached,
            "saved": self.saved,
            "seconds": round(time.monotonic() - begin, 3),
        }

    def end(self) -> dict[str, Any]:
        """Let it finish, and compare."""
        if not (self.server.folder / f"{self.name}.json").exists():
            assert self.server.session(self.name) == 0, f"{self.name}: it did not end"
        digest = self.server.answer(self.name)["digest"]
        assert digest == self.clean.digest, f"{self.name}: the end differs"
        shutil.rmtree(self.server.folder / self.name)
        return {"end": "identical", "digest": digest}


def play(server: Server, clean: Clean, number: int, seed: int, kills: int) -> Iterator[Any]:
    """Round `number`: a row for each kill, then one for the end."""
    rng, one = random.Random(f"{seed}/{number}"), Round(server, clean, f"round{number}")
    for _ in range(kills):
        row = one.kill(draw(rng, clean, one.saved, number))
        if row is None:
            break
        yield {"round": number, **row}
    yield {"round": number, **one.end()}


def sweep(server: Server, clean: Clean) -> int:
    """Kill before every operation inside a save, one after the other; how many there were."""
    one = Round(server, clean, "sweep")
    one.kill(Kill("moment", EVERY + 1))
    for index in range(clean.inside):
        row = one.kill(Kill("save", 1, index))
        assert row is not None, "the training is too short for the sweep"
        assert row["doing"] == "save"
    one.end()
    return clean.inside


def stop(server: Server, clean: Clean) -> list[int]:
    """SIGTERM, SIGINT, then left alone: the exit codes."""
    kills = [Kill("signal", 17, signal.SIGTERM), Kill("signal", 33, signal.SIGINT), NO_KILL]
    codes = [server.session("stopped", kill) for kill in kills]
    digest = server.answer("stopped")["digest"]
    assert digest == clean.digest, "the end of a run that was stopped differs"
    return codes


# --- faults planted in the product: the checks above go red ----------------------------------


def planted(folder: Path, clean: Clean) -> dict[str, str]:
    """What the checks say of each planted fault; "" where they do not see it."""
    said: dict[str, str] = {}
    for name in PLANTS:
        server = Server(folder / name.replace(" ", "-"), plant=name)
        said[name] = ""
        try:
            if name == "orphans":  # the worker sleeps, so there is no step to wait for
                server.session("one", Kill("moment", -1, delay=1.0))
            for number in range(0 if name == "orphans" else 3):
                for _ in play(server, clean, number, 5, KILLS):
                    pass
        except (AssertionError, DamagedError) as error:
            said[name] = str(error)
        end_orphans()
    return said


def end_orphans() -> None:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(stat[1]) == os.getpid():
                    os.kill(int(entry.name), signal.SIGKILL)
    reap_orphans()


# --- the program ----------------------------------------------------------------------------


def serve(log: Path, clean: Clean, numbers: list[int], given: argparse.Namespace, job: int) -> None:
    server = Server(given.folder / f"job{job}")
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for number in numbers:
        for row in play(server, clean, number, given.seed, min(KILLS, given.kills)):
            os.write(descriptor, (json.dumps(row) + "\n").encode())


def finished(log: Path) -> list[dict[str, Any]]:
    """The rows of finished rounds; others, of a run that was stopped, leave the log."""
    if not log.exists():
        return []
    rows = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
    done = {row["round"] for row in rows if "end" in row}
    kept = [row for row in rows if row["round"] in done]
    log.write_text("".join(json.dumps(row) + "\n" for row in kept))
    return kept


def summary(rows: list[dict[str, Any]], clean: Clean) -> dict[str, Any]:
    kills = [row for row in rows if "kind" in row]
    return {
        "kills": len(kills),
        "rounds": len(rows) - len(kills),
        "identical": sum(row.get("digest") == clean.digest for row in rows),
        "steps": STEPS,
        "every": EVERY,
        "most_steps_lost": max((row["reached"] - row["saved"] for row in kills), default=0),
        "least_step_resumed": min((row["saved"] for row in kills), default=0),
        "kinds": Counter(row["kind"] for row in kills),
        "phases": Counter(row["phase"] for row in kills),
        "doing": Counter(row["doing"] for row in kills),
        "points_inside_a_save": clean.inside,
        "seconds_a_kill": round(sum(r["seconds"] for r in kills) / max(1, len(kills)), 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--sweep", action="store_true", help="also every point inside a save")
    parser.add_argument("--plant", action="store_true", help="also plant faults")
    given = parser.parse_args()
    torch.set_num_threads(1)  # forked children may not use threads of their parent
    given.folder.mkdir(parents=True, exist_ok=True)
    log = given.log or given.folder / "kills.jsonl"
    start = time.monotonic()
    server = Server(given.folder / "clean")
    clean = clean_run(server)
    report: dict[str, Any] = {"stopped": stop(server, clean)}
    if given.sweep:
        report["swept"] = sweep(server, clean)
    code, rows = 0, finished(log)
    while not code and len([row for row in rows if "kind" in row]) < given.kills:
        missing = given.kills - sum("kind" in row for row in rows)
        first = 1 + max((row["round"] for row in rows), default=-1)
        count = max(1, -(-missing // KILLS))
        jobs = []
        for job in range(given.jobs):
            numbers = list(range(first, first + count))[job :: given.jobs]
            child = os.fork()
            if child == 0:
                try:
                    serve(log, clean, numbers, given, job)
                    os._exit(0)
                except (AssertionError, DamagedError) as error:
                    print(error, file=sys.stderr, flush=True)
                finally:
                    os._exit(1)
            jobs.append(child)
        code = max(os.waitstatus_to_exitcode(os.waitpid(job, 0)[1]) for job in jobs)
        rows = finished(log)
    report |= summary(rows, clean)
    if given.plant:
        report["planted"] = planted(given.folder / "planted", clean)
    print(json.dumps({**report, "seconds": round(time.monotonic() - start, 1)}, indent=1))
    return code


if __name__ == "__main__":
    sys.exit(main())
