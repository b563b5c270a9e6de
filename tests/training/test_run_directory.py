"""Run folders: numbers, resuming, the journal, and one owner at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from skipstone.core import events, storage
from skipstone.core.errors import DamagedError, Refusal, SkipstoneError
from skipstone.training import run_directory as runfolder
from skipstone.training.run_directory import RunFolder, open_or_resume


def notes_of(base: Path, identity: dict[str, object], *, finish: bool) -> tuple[str, list[str]]:
    seen: list[events.Event] = []
    with events.use_listener(seen.append), open_or_resume(base, identity) as run:
        if finish:
            run.finish()
    return run.path.name, [event.text for event in seen if isinstance(event, events.Note)]


def test_numbers_and_what_is_said(tmp_path: Path) -> None:
    name, notes = notes_of(tmp_path, {"lr": 1}, finish=False)
    assert name == "001"
    assert notes[0].startswith("Run folder: ")
    name, notes = notes_of(tmp_path, {"lr": 1}, finish=True)
    assert name == "001"
    assert "Resuming" in notes[0]
    name, notes = notes_of(tmp_path, {"lr": 1}, finish=False)
    assert name == "002"
    assert "finished, so this is a new run" in notes[0]
    name, notes = notes_of(tmp_path, {"lr": 2}, finish=False)
    assert name == "003"
    assert "other options or data" in notes[0]
    name, notes = notes_of(tmp_path, {"lr": 2, "seeds": (1, 2)}, finish=False)
    assert name == "004"
    name, notes = notes_of(tmp_path, {"seeds": [1, 2], "lr": 2}, finish=False)
    assert name == "004"


def test_an_unfinished_run_goes_on_after_others(tmp_path: Path) -> None:
    """A is stopped, B runs to its end and C is stopped: A goes on with its own run."""
    assert notes_of(tmp_path, {"lr": "a"}, finish=False)[0] == "001"
    assert notes_of(tmp_path, {"lr": "b"}, finish=True)[0] == "002"
    assert notes_of(tmp_path, {"lr": "c"}, finish=False)[0] == "003"
    name, notes = notes_of(tmp_path, {"lr": "a"}, finish=True)
    assert name == "001"
    assert "Resuming" in notes[0]
    assert "001, which is unfinished" in notes[0]
    name, notes = notes_of(tmp_path, {"lr": "a"}, finish=False)
    assert name == "004"
    assert "001 is finished, so this is a new run" in notes[0]


def test_an_older_run_that_another_process_works_on_is_in_use(tmp_path: Path) -> None:
    with open_or_resume(tmp_path, {"lr": "a"}):
        assert notes_of(tmp_path, {"lr": "b"}, finish=True)[0] == "002"
        with pytest.raises(Refusal, match=r"001 is in use by this process"):
            open_or_resume(tmp_path, {"lr": "a"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "001", "002"]


def test_an_older_run_that_cannot_be_read_is_passed_over_with_a_warning(tmp_path: Path) -> None:
    for lr in "ab":
        notes_of(tmp_path, {"lr": lr}, finish=False)
    (tmp_path / "001" / "run.json").write_text("[]")
    seen: list[events.Event] = []
    with events.use_listener(seen.append), open_or_resume(tmp_path, {"lr": "a"}) as run:
        assert run.path.name == "003"
    notes = [event for event in seen if isinstance(event, events.Note)]
    (warning,) = [note.text for note in notes if note.level == "warning"]
    assert "run.json is not what this skipstone writes" in warning
    (tmp_path / "003" / "run.json").write_text("[]")
    with pytest.raises(DamagedError, match=r"run\.json is not what"):
        open_or_resume(tmp_path, {"lr": "a"})


def test_other_versions_are_said(tmp_path: Path) -> None:
    with open_or_resume(tmp_path, {}) as run:
        path = run.path / "run.json"
    record = storage.read_json(path)
    record["versions"]["torch"] = "1.0"
    storage.write_json(path, record)
    _, notes = notes_of(tmp_path, {}, finish=False)
    assert "torch 1.0 -> " in notes[1]


def test_journal_survives_and_decisions_are_made_once(tmp_path: Path) -> None:
    made = []

    def decide() -> dict[str, int]:
        made.append(1)
        return {"steps": len(made)}

    for _ in range(3):
        with RunFolder(tmp_path / "run") as run:
            assert run.decide("length", decide) == {"steps": 1}
    assert run.find_decision("length") == {"steps": 1}
    assert run.find_decision("other") is None
    path = tmp_path / "run" / "journal.jsonl"
    path.write_bytes(path.read_bytes() + b'{"kind": "epo')  # a killed append
    with RunFolder(tmp_path / "run") as run:
        run.journal("epoch", loss=0.5)
    assert [json.loads(line)["kind"] for line in path.read_text().splitlines()] == [
        "decision",
        "epoch",
    ]


def test_damaged_journal_is_named(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as run:
        run.journal("epoch")
        run.journal("epoch")
    path = tmp_path / "run" / "journal.jsonl"
    path.write_text("{no\n" + path.read_text())
    with pytest.raises(DamagedError, match=r"journal\.jsonl is damaged at line 1"):
        RunFolder(tmp_path / "run")
    path.unlink()
    RunFolder(tmp_path / "run").close()  # the failure gave the lock back


def test_second_owner_in_this_process_is_refused(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run"), pytest.raises(Refusal, match="in use"):
        RunFolder(tmp_path / "run")
    RunFolder(tmp_path / "run").close()


HOLD = """
import os, sys, time
from skipstone.training.run_directory import open_or_resume
run = open_or_resume(sys.argv[1], {})
if os.fork() == 0:
    time.sleep(60)  # a worker that outlives its parent
print(run.path.name, flush=True)
time.sleep(60)
"""


def test_lock_names_its_owner_and_dies_with_it(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "001"
        with pytest.raises(Refusal, match=rf"in use by another skipstone \(pid {other.pid}\)"):
            open_or_resume(tmp_path, {})
        other.kill()
        other.wait()
        with open_or_resume(tmp_path, {}) as run:
            assert run.path.name == "001"
    finally:
        import os
        import signal

        os.killpg(other.pid, signal.SIGKILL)


RACE = """
import os, sys
from skipstone.core.errors import Refusal
from skipstone.training.run_directory import open_or_resume
base, count = sys.argv[1], int(sys.argv[2])
start_r, start_w = os.pipe()
hold_r, hold_w = os.pipe()
said_r, said_w = os.pipe()
children = []
for _ in range(count):
    child = os.fork()
    if child == 0:
        os.close(start_w); os.close(hold_w)
        os.read(start_r, 1)  # all start when the parent closes its end
        try:
            run = open_or_resume(base, {})
            word = b"own:" + run.path.name.encode() + b" "
        except Refusal as error:
            word = b"refused " if "pid" in str(error) else b"odd "
        except Exception:
            word = b"broken "
        os.write(said_w, word)
        os.read(hold_r, 1)
        os._exit(0)
    children.append(child)
os.close(start_w)
words = b""
while len(words.split()) < count:
    words += os.read(said_r, 4096)
os.close(hold_w)
for child in children:
    os.waitpid(child, 0)
print(words.decode())
"""


def race(base: Path, plant: str = "") -> list[str]:
    """What each of fifty starts says."""
    done = subprocess.run(
        [sys.executable, "-c", plant + RACE, str(base), "50"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.split()


def test_fifty_racing_starts_have_one_winner(tmp_path: Path) -> None:
    words = race(tmp_path)
    assert words.count("own:001") == 1
    assert words.count("refused") == 49
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["001"]


def test_sabotage_without_the_lock_there_are_many_winners(tmp_path: Path) -> None:
    words = race(tmp_path, "import fcntl\nfcntl.lockf = lambda *_: None\n")
    assert len(words) == 50
    assert words.count("refused") < 49
    assert words.count("own:001") != 1 or "own:002" in words or "broken" in words


def test_sabotage_a_lock_that_is_only_a_file_would_be_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lock(path: Path) -> None:
        if path.exists():
            raise Refusal("in use by another skipstone (pid 1)")
        path.write_text("1")

    monkeypatch.setattr(runfolder, "_lock", lock)
    with pytest.raises((Refusal, AssertionError)):
        test_lock_names_its_owner_and_dies_with_it(tmp_path)


def test_a_folder_killed_before_its_first_write_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "001").mkdir()
    (tmp_path / "notes").mkdir()
    with open_or_resume(tmp_path, {}) as run:
        assert run.path.name == "002"


@pytest.mark.parametrize("name", [".lock", "journal.jsonl", "run.json", "checkpoint", "bundle"])
def test_links_in_a_strangers_run_are_refused(tmp_path: Path, name: str) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("precious")
    with open_or_resume(tmp_path / "runs", {"lr": 1}) as run:
        (run.path / name).unlink(missing_ok=True)
    target = precious if name in ("checkpoint", "bundle") else precious / "file"
    (run.path / name).symlink_to(target)
    for act in (lambda: RunFolder(run.path), lambda: runfolder.lock_run(run.path).__enter__()):
        with pytest.raises(SkipstoneError, match=r"link|damaged"):
            act()
    assert [path.read_text() for path in precious.iterdir()] == ["precious"]


@pytest.mark.parametrize("keep", [False, True])
def test_a_finished_run_keeps_its_checkpoint_only_on_request(tmp_path: Path, keep: bool) -> None:
    with open_or_resume(tmp_path, {"lr": 1}) as run:
        storage.write_json(storage.make_folder(run.checkpoints / "even") / "state.json", {})
        run.finish(keep_checkpoint=keep)
        assert run.checkpoints.exists() == keep
        assert run.finished


POISON = {
    "no object": "[]",
    "a kind twice": '{"kind": "epoch", "kind": "finished"}',
    "a number beyond all": '{"kind": "epoch", "step": 1e999}',
    "a kind that is a list": '{"kind": ["epoch"]}',
    "nested without end": '{"kind": "epoch", "a": ' + "[" * 5000 + "]" * 5000 + "}",
    "a decision without a name": '{"kind": "decision", "value": {}}',
    "a decision that is text": '{"kind": "decision", "name": "length", "value": "9"}',
    "steps of 10^9": '{"kind": "decision", "name": "length", "value": {"steps": 1000000000}}',
    "steps below 0": '{"kind": "decision", "name": "length", "value": {"steps": -1}}',
    "steps as text": '{"kind": "decision", "name": "budget stop", "value": {"step": "9"}}',
    "a precision of its own": '{"kind": "decision", "name": "precision", "value": {"precision": '
    '"f8", "channels_last": true, "fast_depthwise": true, "seconds": {}}}',
    "ids that are text": '{"kind": "decision", "name": "unreadable", "value": {"ids": ["1"], '
    '"rows": 1}}',
    "hashes that are a list": '{"kind": "decision", "name": "files", "value": {"sha256": []}}',
    "a session without threads": '{"kind": "session", "device": "cpu", "torch": "2"}',
    "a size that is true": '{"kind": "out of memory", "step": 1, "size": true}',
}


@pytest.mark.parametrize("name", POISON)
def test_a_poisoned_journal_is_refused_by_its_line(tmp_path: Path, name: str) -> None:
    with RunFolder(tmp_path / "run") as run:
        run.journal("epoch")
    path = tmp_path / "run" / "journal.jsonl"
    path.write_text(path.read_text() + POISON[name] + "\n")
    with pytest.raises(DamagedError, match=r"journal\.jsonl is damaged at line 2: ") as refusal:
        RunFolder(tmp_path / "run")
    assert "Move " in str(refusal.value.hint)


@pytest.mark.parametrize(
    "change", [{"format": 0}, {"format": -1}, {"format": "2"}, {"versions": []}, {"versions": 3}]
)
def test_a_run_of_another_format_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    with open_or_resume(tmp_path, {"lr": 1}) as run:
        record = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**record, **change}))
    with pytest.raises(DamagedError, match=r"run\.json is not what this skipstone writes"):
        open_or_resume(tmp_path, {"lr": 1})
