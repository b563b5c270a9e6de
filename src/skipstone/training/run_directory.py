"""The folder of a run: its identity, its journal, and a lock for one owner.

    runs/.lock            held while the number of a run is chosen
    runs/001/run.json     the run's identity (options, data fingerprint) and versions
    runs/001/journal.jsonl  one JSON object per line: decisions, epochs, interruptions, the end
    runs/001/.lock        held by the process of the run

Locks are POSIX record locks: the kernel releases them when the process ends, and worker processes
do not inherit them. So a lock is never stale.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from skipstone.core import disk, events, storage
from skipstone.core.errors import DamagedError, Refusal
from skipstone.core.formatting import relative_path
from skipstone.core.options import has_type
from skipstone.core.strict_json import parse_json
from skipstone.core.versions import package_versions

RUN, JOURNAL, LOCK = "run.json", "journal.jsonl", ".lock"
FORMAT = 2

#: Locks that this process holds. Record locks do not exclude their own process, and closing any
#: descriptor of a locked file releases them, so a locked file is never opened again.
_locks: dict[Path, int] = {}


class RunFolder:
    """A run folder that this process owns until `close`; made by `open_or_resume`.

    Args:
        path: the folder, such as runs/001.
        identity: JSON-able; a command with an equal identity resumes the run.
    """

    def __init__(self, path: Path | str, identity: Mapping[str, Any] | None = None) -> None:
        self.path = storage.make_folder(Path(path)).absolute()
        _lock(self.path / LOCK)
        try:
            storage.refuse_links(self.path)
            self.leftovers = storage.remove_stale_temporaries(self.path)
            if not (self.path / RUN).exists():
                record = {"format": FORMAT, "identity": dict(identity or {}), "created": _now()}
                storage.write_json(self.path / RUN, record | {"versions": versions()})
            self._entries = _parse(self.path / JOURNAL, self._renew_journal())
            self._append_failed = False
        except BaseException:
            self.close()
            raise

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoint"

    @property
    def features(self) -> Path:
        """Outputs of frozen stages (`training.feature_cache`)."""
        return self.path / "features"

    @property
    def bundle(self) -> Path:
        return self.path / "bundle"

    @property
    def finished(self) -> bool:
        return any(entry["kind"] == "finished" for entry in self._entries)

    def journal(self, kind: str, **facts: Any) -> None:
        """Append one durable line."""
        entry = {"kind": kind, "time": _now(), **facts}
        line = json.dumps(entry, sort_keys=True, allow_nan=False, ensure_ascii=False)
        if self._append_failed:
            self._renew_journal()
        self._append_failed = True
        storage.append_line(self.path / JOURNAL, line)
        self._append_failed = False
        self._entries.append(entry)

    def entries(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The journal's lines, oldest first."""
        return [entry for entry in self._entries if kind in (None, entry["kind"])]

    def decide(self, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """A decision that depends on measurements: made once, and journalled before it has effect.

        A resumed run reads it from the journal and does not measure again.
        """
        if (decision := self.find_decision(name)) is not None:
            return decision
        value = dict(make())
        self.journal("decision", name=name, value=value)
        return value

    def find_decision(self, name: str) -> dict[str, Any] | None:
        """The journalled decision; None before it is made."""
        values = [e["value"] for e in self.entries("decision") if e["name"] == name]
        return dict(values[0]) if values else None

    def finish(self, *, keep_checkpoint: bool = False) -> None:
        """Mark the run as finished: the same command then starts a new run, so that its checkpoint
        and its cached features are of no more use."""
        self.journal("finished")
        for folder in (self.features, *([] if keep_checkpoint else [self.checkpoints])):
            if folder.is_dir():
                storage.remove_folder(folder)

    def close(self) -> None:
        _unlock(self.path / LOCK)

    def _renew_journal(self) -> list[str]:
        """Write the journal to a new file: an fsync that failed is not repeated on the old one."""
        path = self.path / JOURNAL
        lines = storage.read_lines(path)
        if lines:
            storage.write_text(path, "".join(line + "\n" for line in lines))
        elif path.exists():
            storage.remove_file(path)
        return lines

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def lock_run(path: Path | str) -> Iterator[None]:
    """Lock an existing run, and remove temporary files of a killed process.

    Raises:
        Refusal: another process has the lock.
    """
    lock = Path(path).absolute() / LOCK
    _lock(lock)
    try:
        storage.refuse_links(lock.parent)
        storage.remove_stale_temporaries(lock.parent)
        yield
    finally:
        _unlock(lock)


def open_or_resume(base: Path | str, identity: Mapping[str, Any]) -> RunFolder:
    """The newest unfinished run of this identity in `base`, else a new run; a note says which.

    Raises:
        Refusal: another process has that run.
    """
    base = storage.make_folder(Path(base)).absolute()
    with _lock_base(base / LOCK):
        storage.remove_stale_temporaries(base)
        last = max(_numbers(base), default=0)
        matching = _runs_of(base, identity)
        for path in matching:
            if not _is_finished(path):
                run = RunFolder(path, identity)
                with contextlib.ExitStack() as stack:
                    stack.callback(run.close)
                    if not run.finished:  # its process may have finished it meanwhile
                        _note_resumed(run)
                        stack.pop_all()
                        return run
        if matching:
            events.emit_note(f"{relative_path(matching[0])} is finished, so this is a new run.")
        elif last:
            _note_other(base / f"{last:03d}")
        run = RunFolder(base / f"{last + 1:03d}", identity)
        events.emit_note(f"Run folder: {relative_path(run.path)}")
        return run


def find_finished_run(base: Path | str, identity: Mapping[str, Any]) -> Path | None:
    """The newest run of this identity in `base`, if it is finished and was made with today's
    versions: the same command would make it again."""
    base = Path(base).absolute()
    if not base.is_dir():
        return None
    newest = next(iter(_runs_of(base, identity)), None)
    if newest is None or not _is_finished(newest):
        return None
    return newest if storage.read_json(newest / RUN)["versions"] == versions() else None


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The entries of a run's journal. DamagedError that names the line and what is wrong with it."""
    return _parse(path / JOURNAL, storage.read_lines(path / JOURNAL))


def _runs_of(base: Path, identity: Mapping[str, Any]) -> list[Path]:
    """The runs of this identity, newest first.

    DamagedError if the newest run has no valid identity; warns of older ones without.
    """
    runs = []
    for place, number in enumerate(sorted(_numbers(base), reverse=True)):
        path = base / f"{number:03d}"
        try:
            if _identity(path) == _plain(identity):
                runs.append(path)
        except DamagedError as error:
            if not place:
                raise
            events.emit_warning(f"{error.message} It may be a run of this command.")
    return runs


def _note_other(path: Path) -> None:
    if _identity(path) is not None and not _is_finished(path):
        events.emit_note(
            f"{relative_path(path)} is unfinished, but with other options or data, so this is a new run."
        )


def versions() -> dict[str, str]:
    """Versions that the results of a run depend on."""
    packages = package_versions(("torch", "torchvision", "numpy", "timm"))
    return {**packages, "machine": platform.machine()}


def _note_resumed(run: RunFolder) -> None:
    events.emit_note(f"Resuming {relative_path(run.path)}, which is unfinished.")
    then = storage.read_json(run.path / RUN)["versions"]
    now = versions()
    changed = [
        f"{name} {then.get(name)} -> {now[name]}" for name in now if then.get(name) != now[name]
    ]
    if changed:
        events.emit_warning(
            f"Versions changed since it began, so results may differ: {', '.join(changed)}"
        )


def _identity(path: Path) -> Any:
    """The identity of the run; None for a run that was killed before it was written."""
    if not (path / RUN).exists():
        return None
    record = storage.read_json(path / RUN)
    is_sound = isinstance(record, dict) and isinstance(record.get("versions"), dict)
    if not is_sound or "identity" not in record or record.get("format") != FORMAT:
        raise DamagedError(
            f"{path / RUN} is not what this skipstone writes (run format {FORMAT}).",
            hint="Move it away.",
        )
    return record["identity"]


def _is_finished(path: Path) -> bool:
    return any(entry["kind"] == "finished" for entry in read_journal(path))


#: What a resumed run reads of its journal, by kind of entry, and of decisions by their name.
_ENTRIES: Mapping[str, Mapping[str, Any]] = {
    "decision": {"name": str, "value": dict},
    "session": {"threads": int, "device": str, "torch": str},
    "out of memory": {"step": int, "size": int},
}
_DECISIONS: Mapping[str, Mapping[str, Any]] = {
    "budget stop": {"step": int},
    "features": {"views": int},
    "files": {"sha256": dict},
    "length": {"steps": int},
    "precision": {
        "precision": Literal["f32", "bf16"],
        "channels_last": bool,
        "fast_depthwise": bool,
        "seconds": dict,
    },
    "unreadable": {"ids": list[int], "rows": int},
}
#: No run has as many steps, rows or threads.
_MOST = 10**9


def _parse(path: Path, lines: list[str]) -> list[dict[str, Any]]:
    """The entries. DamagedError that names the line and what is wrong with it."""
    entries = []
    for number, line in enumerate(lines, 1):
        where = f"{path} is damaged at line {number}"
        try:
            entry = parse_json(line.encode("utf-8", "surrogatepass"), "it")
            problem = _entry_problem(entry)
        except DamagedError as error:
            problem = error.message.rstrip(".")
        if problem:
            raise DamagedError(
                f"{where}: {problem}.",
                hint=f"Move {relative_path(path.parent)} away to start a new run.",
            )
        entries.append(entry)
    return entries


def _entry_problem(entry: Any) -> str:
    """What is wrong with a line of the journal; "" for a sound one."""
    if not isinstance(entry, dict) or not isinstance(entry.get("kind"), str):
        return "it has no kind"
    parts: list[tuple[Any, Mapping[str, Any]]] = [(entry, _ENTRIES.get(entry["kind"], {}))]
    if entry["kind"] == "decision" and isinstance(entry.get("name"), str):
        parts.append((entry.get("value"), _DECISIONS.get(entry["name"], {})))
    for values, kinds in parts:
        if not isinstance(values, dict):
            return "its value is not an object"
        for name, kind in kinds.items():
            value: Any = values.get(name)
            is_sound = isinstance(value, dict) if kind is dict else has_type(kind, value)
            if not is_sound or (kind is int and not 0 <= value < _MOST):
                return f"{name} is {value!r:.60}"
    return ""


def _numbers(base: Path) -> Iterator[int]:
    for entry in base.iterdir():
        if entry.is_dir() and len(entry.name) >= 3 and entry.name.isdecimal():
            yield int(entry.name)


def _plain(value: Any) -> Any:
    """The value after JSON: tuples are lists."""
    return json.loads(json.dumps(value, allow_nan=False))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


# --- locks ----------------------------------------------------------------------------------


def _lock(path: Path) -> None:
    """Take the lock; Refusal names the process that has it."""
    if path in _locks:
        raise Refusal(
            f"{relative_path(path.parent)} is in use by this process (pid {os.getpid()})."
        )
    descriptor = storage.open_lock(path)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _locks[path] = descriptor
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        if path in _locks:  # the disk is full: the pid is missing, but the lock holds
            return
        owner = _owner(descriptor)
        os.close(descriptor)
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise disk.storage_error("lock", path, error) from error
        raise Refusal(
            f"{relative_path(path.parent)} is in use by another skipstone (pid {owner}).",
            hint="Wait for it, stop it, or choose another folder with --out.",
        ) from None


def _unlock(path: Path) -> None:
    descriptor = _locks.pop(path, None)
    if descriptor is not None:
        os.close(descriptor)


def _owner(descriptor: int) -> str:
    """The pid in the lock file of another process."""
    for _ in range(20):  # the process writes its pid just after it has the lock
        text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        if text.isdecimal():
            return text
        time.sleep(0.01)
    return "unknown"


@contextlib.contextmanager
def _lock_base(path: Path) -> Iterator[None]:
    """Hold the lock of a folder of runs; waits for other processes."""
    descriptor = storage.open_lock(path)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
