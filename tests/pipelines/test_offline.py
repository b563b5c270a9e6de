"""`skipstone train` opens no socket, and does not care where temporary files lie."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from skipstone.core import disk, storage
from skipstone.core.errors import StorageError
from tests.pipelines.command import SMALL
from tests.pipelines.conftest import Trained
from tests.pipelines.sockets import Watched, watched

WORDS = [*SMALL, "--epochs", "2", "--augment", "flip,mixup"]


def test_training_in_this_process_opened_no_socket(classified: Trained) -> None:
    assert classified.sockets == []


def train(data: Path, folder: Path, *words: str, **environment: str) -> Watched:
    command = ["-m", "skipstone", "train", str(data), "--out", str(folder / "runs")]
    return watched([*command, *WORDS, *words, "--json"], folder / "watched", **environment)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder for temporary files on another file system: memory, or else what holds the tests."""
    for root in (Path("/dev/shm"), Path.cwd()):
        if root.is_dir() and root.stat().st_dev != tmp_path.stat().st_dev:
            folder = Path(tempfile.mkdtemp(dir=root, prefix="skipstone-tmp-"))
            yield folder
            shutil.rmtree(folder)
            return
    pytest.skip("needs a second file system")


def write_something(folder: Path) -> None:
    storage.write_text(folder / "file", "x")
    with storage.write_folder(folder / "folder") as inside:
        storage.write_text(inside / "file", "x")


def test_writes_do_not_pass_through_tmpdir(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert tempfile.gettempdir() == str(elsewhere)
    write_something(tmp_path)
    assert (tmp_path / "folder" / "file").read_text() == "x"


def test_sabotage_a_write_through_tmpdir_is_seen(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "temporary_sibling", lambda path: elsewhere / path.name)
    with pytest.raises(StorageError) as caught:
        write_something(tmp_path)
    assert caught.value.errno == errno.EXDEV


@pytest.mark.proof
def test_no_socket_is_opened_and_tmpdir_changes_nothing(
    photo_folder: Path, tmp_path: Path, elsewhere: Path
) -> None:
    """With loading processes, TMPDIR on another file system, and every system call watched, the
    model is that of a plain run."""
    data = tmp_path / "photos"
    shutil.copytree(photo_folder, data)
    plain = train(data, tmp_path / "plain")
    far = train(data, tmp_path / "far", "--workers", "2", TMPDIR=str(elsewhere))
    results = []
    for run in (plain, far):
        assert run.code == 0, run.err
        assert run.sockets == []
        assert run.processes >= 1
        results.append(json.loads(run.out))
    assert results[0]["metrics"] == results[1]["metrics"]
    weights = [Path(value["bundle"], "weights.safetensors") for value in results]
    assert storage.file_sha256(weights[0]) == storage.file_sha256(weights[1])
    # torch makes an empty folder for compiled code
    assert [e.name for e in elsewhere.iterdir() if not e.name.startswith("torchinductor_")] == []


_PLANT = """
import socket
def warp(image):
    with socket.socket():
        raise RuntimeError("seen enough")
"""


@pytest.mark.proof
@pytest.mark.parametrize("workers", ["0", "2"])
def test_sabotage_a_socket_in_an_augmentation_is_seen(
    photo_folder: Path, tmp_path: Path, workers: str
) -> None:
    """In the training process, and in a loading process of it."""
    (tmp_path / "plant").mkdir()
    (tmp_path / "plant" / "planted_warp.py").write_text(_PLANT)
    words = ["--custom", "planted_warp:warp", "--workers", workers, "--epochs", "1"]
    run = watched(
        ["-c", _RUN, str(tmp_path / "plant"), str(photo_folder), *words, *SMALL],
        tmp_path / "watched",
        RUNS=str(tmp_path / "runs"),
    )
    assert any("socket.__new__" in line for line in run.sockets), run.err


#: Only the loading and a step or two of training: the plant is met there.
_RUN = """
import os, sys
sys.path.insert(0, sys.argv[1])
from skipstone.cli.main import main
main(["train", sys.argv[2], "--out", os.environ["RUNS"], *sys.argv[3:], "--steps", "1"])
"""
