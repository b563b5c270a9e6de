"""One training a kind of data, shared by the tests that follow what comes of it."""

from __future__ import annotations

import csv
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.photos import write_tag_table
from tests.pipelines.command import SMALL, Answer, ask, tree


@dataclass(frozen=True)
class Trained:
    data: Path
    run: Path
    answer: Answer
    touched: bool  # whether anything in the data changed
    sockets: list[str]  # what was opened in this process

    @property
    def value(self) -> Any:
        return self.answer.value


@pytest.fixture(autouse=True, scope="session")
def _quick(short_races: None) -> None:
    """The machine may be busy with other tests."""


def train_small(data: Path, out: Path, *words: str) -> Trained:
    root = data if data.is_dir() else data.parent
    before = tree(root)
    with _sockets() as sockets:
        answer = ask("train", data, "--out", out, *SMALL, *words)
    assert answer.code == 0, answer
    return Trained(data, Path(answer.value["run"]), answer, tree(root) != before, sockets)


@contextmanager
def _sockets() -> Iterator[list[str]]:
    """What this process opens within the block, as an audit hook sees it (it cannot be removed)."""
    found: list[str] = []
    on = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if on[0] and event.startswith("socket."):
            found.append(f"{event} {arguments!r}")

    sys.addaudithook(hook)
    socket.socketpair()[0].close()  # the hook is at work
    assert len(found) >= 2
    found.clear()
    try:
        yield found
    finally:
        on[0] = False


@pytest.fixture(scope="session")
def classified(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_small(photo_folder, tmp_path_factory.mktemp("classify"), "--epochs", "12")


@pytest.fixture(scope="session")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_tags(tmp_path_factory)


def train_tags(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """From a CSV with several labels a row and a group of three pictures each."""
    table = write_tag_table(tmp_path_factory.mktemp("tags"), 48)
    rows = list(csv.reader(table.open(encoding="utf-8")))
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*rows[0], "scene"])
        writer.writerows([*row, f"scene {at // 3}"] for at, row in enumerate(rows[1:]))
    words = (
        "--epochs",
        "12",
        "--group-column",
        "scene",
        "--separator",
        "|",
        "--test-share",
        "0.25",
    )
    return train_small(table, tmp_path_factory.mktemp("tagged"), *words)


@pytest.fixture(scope="session")
def numbered(idx_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """With loading processes."""
    words = ("--epochs", "8", "--workers", "2")
    return train_small(idx_folder, tmp_path_factory.mktemp("idx"), *words)


@pytest.fixture(scope="session")
def shrunk(classified: Trained) -> Answer:
    return ask("shrink", classified.run, "--max-drop", "100")


@pytest.fixture(scope="session")
def shrunk_tags(tagged: Trained) -> Answer:
    return ask("shrink", tagged.run, "--max-drop", "100")
