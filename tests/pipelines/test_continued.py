"""train --from: new photos and new classes, from a model that knows some."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from skipstone.bundle.format import Bundle
from skipstone.core.errors import Interrupted
from skipstone.data.manifest import load_manifest
from skipstone.evaluation.parity import Verification
from skipstone.training import learner
from skipstone.workflows import train_model as train_module
from tests.photos import CLASSES, make_photo, save_photo
from tests.pipelines.command import SMALL, Answer, ask
from tests.pipelines.conftest import Trained, train_small, train_tags

#: Too few steps to learn from scratch; enough for one more class.
FEW = ("--steps", "12", "--lr", "0.006", "--ema", "0")


@pytest.fixture(autouse=True, scope="module")
def _no_exports() -> Iterator[None]:
    """Other tests follow a bundle through its exports; growing changes nothing there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            train_module, "export_and_verify", lambda folder: Verification(True, 0.0, 0, [])
        )
        yield


@pytest.fixture(scope="module")
def classified(
    photo_folder: Path, tmp_path_factory: pytest.TempPathFactory, _no_exports: None
) -> Trained:
    return train_small(photo_folder, tmp_path_factory.mktemp("classify"), "--epochs", "12")


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory, _no_exports: None) -> Trained:
    return train_tags(tmp_path_factory)


def add_class(folder: Path, name: str, count: int) -> None:
    """Photos of another kind: a dark checkerboard on a bright ground."""
    for number in range(count):
        rng = np.random.default_rng([9, number])
        pixels = rng.normal(225, 10, (48, 40, 3))
        y, x = np.mgrid[0:48, 0:40]
        pixels[((x // 5 + y // 5) % 2 == 0) & (x > 8) & (y > 8)] = rng.integers(0, 40, 3)
        picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        save_photo(picture, folder / name / f"{number:03d}")


@pytest.fixture(scope="module")
def four(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("four") / "photos"
    shutil.copytree(photo_folder, folder)
    add_class(folder / "train", "board", 12)
    add_class(folder / "validation", "board", 4)
    return folder


@pytest.fixture(scope="module")
def grown(classified: Trained, four: Path, tmp_path_factory: pytest.TempPathFactory) -> Answer:
    out = tmp_path_factory.mktemp("grown")
    answer = ask("train", four, "--from", classified.run, "--out", out, *FEW)
    assert answer.code == 0, answer
    return answer


def accuracy(model: object, data: Path) -> float:
    answer = ask("evaluate", model, data, "--runtime", "torch")
    assert answer.code == 0, answer
    return float(answer.value["metrics"]["accuracy"]["value"])


def test_the_head_grows_behind_the_classes_it_knew(grown: Answer, classified: Trained) -> None:
    before, after = (
        Bundle.load(Path(run) / "bundle") for run in (classified.run, grown.value["run"])
    )
    assert after.task["schema"]["classes"] == [*before.task["schema"]["classes"], "board"]
    assert after.arch.backbone == before.arch.backbone
    assert after.input == before.input
    assert after.tensors["head.linear.weight"].shape[0] == 4
    recipe, old = after.lineage["recipe"], before.lineage["recipe"]
    assert (recipe["optimizer"], recipe["batch_size"]) == (old["optimizer"], old["batch_size"])
    assert (recipe["steps"], recipe["lr"]) == (12, 0.006)


def test_lineage_says_from_which_bundle(grown: Answer, classified: Trained) -> None:
    record = json.loads((classified.run / "bundle/bundle.json").read_text())
    lineage = Bundle.load(Path(grown.value["run"]) / "bundle").lineage
    assert lineage["from"]["weights"] == record["files"]["weights.safetensors"]["sha256"]
    assert lineage["from"]["model"] == str(classified.run)
    assert lineage["from"]["command"] == record["lineage"]["command"]


def test_old_classes_are_kept_better_than_from_scratch(
    grown: Answer,
    four: Path,
    photo_folder: Path,
    tmp_path: Path,
) -> None:
    scratch = ask("train", four, "--out", tmp_path, *SMALL, *FEW)
    assert scratch.code == 0, scratch
    kept = accuracy(grown.value["run"], photo_folder)
    assert kept >= 0.8
    assert kept >= accuracy(scratch.value["run"], photo_folder) + 0.2
    assert accuracy(grown.value["run"], four) >= 0.8  # and the new class is learnt


def test_rows_keep_their_roles_so_that_no_training_row_is_tested(tmp_path: Path) -> None:
    """The model's run has carved its roles; the new data adds photos to the same folder."""
    # Generated photos resemble each other: near duplicates would follow those that were seen.
    apart = ("--dedup", "exact")
    photos = tmp_path / "photos"
    for kind in CLASSES:
        for number in range(12):
            save_photo(make_photo(number, kind), photos / kind / f"{number:03d}")
    first = ask("train", photos, "--out", tmp_path / "runs", *SMALL, "--steps", "1", *apart)
    assert first.code == 0, first
    before = load_manifest(Path(first.value["run"]) / "manifest.parquet")
    add_class(photos, "a-first", 12)  # sorts before the others: rows move, roles do not
    for number in range(12, 18):
        save_photo(make_photo(number, "disc"), photos / "disc" / f"{number:03d}")
    answer = ask(
        "train", photos, "--from", first.value["run"], "--out", tmp_path / "runs", "--steps", "1",
        "--seed", "11", *apart,
    )  # fmt: skip
    assert answer.code == 0, answer
    after = load_manifest(Path(answer.value["run"]) / "manifest.parquet")
    roles = dict(zip(after.column_values("path"), after.column_values("role"), strict=True))
    held = dict(zip(before.column_values("path"), before.column_values("role"), strict=True))
    assert {path: roles[path] for path in held} == held
    new = [roles[path] for path in roles if path not in held]
    assert set(new) == {"train", "val", "test"}
    assert "36 of 54 rows come from the data of" in answer.err.replace("\n", " ")


def test_tags_grow_too(tagged: Trained, tmp_path: Path) -> None:
    table = tmp_path / "tags" / "labels.csv"
    shutil.copytree(tagged.data.parent, table.parent)
    add_class(table.parent / "images", "boards", 12)
    with table.open("a", encoding="utf-8") as file:
        for number in range(12):
            file.write(f"images/boards/{number:03d}.jpg,board,board {number}\n")
    words = ("--group-column", "scene", "--separator", "|")
    answer = ask("train", table, "--from", tagged.run, "--out", tmp_path, *FEW, *words)
    assert answer.code == 0, answer
    bundle = Bundle.load(Path(answer.value["run"]) / "bundle")
    assert bundle.task["schema"]["classes"][-1] == "board"
    assert bundle.lineage["from"]["model"] == str(tagged.run)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--weights", "none"), "starts with that model's weights"),
        (("--model", "resnet18"), "keeps its network, resnet20; --model resnet18 is another"),
        (("--width", "0.5"), "--width 0.5 makes another network"),
        (("--channels", "1"), "--channels 1 reads the data otherwise than"),
        (("--normalize", "half"), ", which has --normalize fit"),
        (("--task", "tag"), "is for image and classify, but"),
    ],
)
def test_what_cannot_go_together_is_refused(
    classified: Trained, four: Path, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    answer = ask("train", four, "--from", classified.run, "--out", tmp_path / "runs", *words)
    assert answer.code == 2
    assert says in str(answer.value)
    assert not (tmp_path / "runs").exists()


def test_an_interrupted_run_goes_on_from_the_same_model_only(
    classified: Trained, four: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hash of its weights is part of what makes a command the same."""

    def interrupted(*_: Any, **__: Any) -> Any:
        raise Interrupted("stopped", signal_number=15)

    model = tmp_path / "model"
    shutil.copytree(classified.run, model)
    words = ("train", four, "--from", model, "--out", tmp_path / "runs", *FEW)
    with monkeypatch.context() as patch:
        patch.setattr(learner, "fit", interrupted)
        assert ask(*words).code == 143
        assert ask(*words).code == 143
        assert [path.name for path in sorted((tmp_path / "runs").glob("0*"))] == ["001"]
        bundle = Bundle.load(model / "bundle")
        bundle.tensors = {name: value * 1 for name, value in bundle.tensors.items()}
        bundle.tensors["head.linear.bias"] += 1
        bundle.save(model / "bundle")
        assert ask(*words).code == 143
        assert [path.name for path in sorted((tmp_path / "runs").glob("0*"))] == ["001", "002"]
