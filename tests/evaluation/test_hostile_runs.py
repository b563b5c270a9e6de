"""Commands that use a stranger's run folder or weights, on data of four kinds: nothing that those
name is executed, and nothing outside of the user's folder is opened."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import skipstone
from skipstone.bundle.format import Bundle
from skipstone.core.errors import SkipstoneError
from skipstone.core.settings import Settings
from skipstone.data.fingerprint import add_content_digests
from skipstone.data.manifest import MANIFEST_FILE, save_manifest
from skipstone.inference.golden_outputs import store_goldens
from skipstone.inputs.base import make_input_record
from skipstone.models.build import build_network, export_tensors
from skipstone.tasks.base import task_record
from skipstone.training.plan import TrainPlan, build_plan
from skipstone.training.run_directory import FORMAT, JOURNAL, RUN, versions
from tests.box_data import make_scenes, write_voc
from tests.evaluation.hostile import write_canary
from tests.evaluation.watch import Watch, watching
from tests.recordings import write_recording_folders
from tests.small_bundles import CLASSES
from tests.text_data import rows, write_csv

_FITTING = {"epochs": 1, "batch_size": 8, "augment": "none", "precision": "f32", "threads": 1}
_NETWORK = {"width": 0.25, "depth": 0.34}


def _write_pictures(folder: Path) -> Path:
    for at in range(36):
        path = folder / CLASSES[at % 3] / f"{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((24, 24), 20 + at).convert("RGB").save(path)
    return folder


#: Of each kind: the user's data, a model, and its options.
KINDS: dict[str, tuple[Callable[[Path], Path], str, dict[str, Any]]] = {
    "texts": (
        lambda folder: write_csv(folder / "texts.csv", rows(60)),
        *("textcnn", {"embedding": 8, "maps": 6}),
    ),
    "pictures": (lambda folder: _write_pictures(folder / "pictures"), "resnet20", {"size": 24}),
    "recordings": (
        lambda folder: write_recording_folders(folder / "sounds", 10),
        *("resnet20", {}),
    ),
    "boxes": (
        lambda folder: write_voc(folder / "boxes", make_scenes(14)),
        *("resnet20", {"size": 64, "pyramid_channels": 16, "branch_layers": 1}),
    ),
}


def _options(kind: str) -> dict[str, Any]:
    return {**_FITTING, **(_NETWORK if kind != "texts" else {}), **KINDS[kind][2]}


def _plan(kind: str, data: Path, seed: int = 0) -> TrainPlan:
    settings = Settings({**_options(kind), "seed": seed, "split_seed": 0})
    return build_plan(data, model=KINDS[kind][1], weights="none", seed=seed, settings=settings)


def _write_stranger(run: Path, plan: TrainPlan, canary: Path) -> None:
    """An untrained run whose bundle, manifest and ancestors name the canary and a command."""
    torch.manual_seed(plan.seed)
    network = build_network(plan.arch, plan.input).eval()
    secret = str(canary / "secret.bin")
    lineage = {
        "command": f"cat {secret}",
        "seed": plan.seed,
        "weights": secret,
        "augment": {"custom": "subprocess:getoutput"},
        "recipe": plan.recipe.to_json(),
        "data": {"path": secret},
        "vectors": {"file": secret},
        "from": {"model": str(canary)},
        "members": [{"model": str(canary), "weights": secret}],
    }
    Bundle(
        arch=plan.arch,
        input=make_input_record(plan.manifest.input, plan.input),
        task=task_record(plan.manifest.task, plan.task),
        lineage=lineage,
        tensors=export_tensors(network),
        input_arrays=plan.input.get_state()[1],
    ).save(run / "bundle")
    store_goldens(run / "bundle")
    save_manifest(
        add_content_digests(plan.manifest), run / MANIFEST_FILE, data_path=canary / "secret.bin"
    )
    (run / "planted.py").write_text("raise SystemExit('imported')\n")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", ["compare", "evaluate", "weights", "ensemble"])
@pytest.mark.proof
def test_a_strangers_run_reaches_nothing_outside(kind: str, command: str, tmp_path: Path) -> None:
    _use_stranger(kind, command, tmp_path)


@pytest.mark.parametrize(
    ("kind", "command"), [("texts", "ensemble"), ("pictures", "weights"), ("boxes", "compare")]
)
def test_a_strangers_run_reaches_nothing_outside_quickly(
    kind: str, command: str, tmp_path: Path
) -> None:
    _use_stranger(kind, command, tmp_path)


def _use_stranger(kind: str, command: str, folder: Path) -> None:
    data, canary = KINDS[kind][0](folder), write_canary(folder / "canary")
    runs = [folder / "strangers" / f"{seed}" for seed in range(2)]
    for seed, run in enumerate(runs):
        _write_stranger(run, _plan(kind, data, seed), canary)
    inside = folder / "work"
    inside.mkdir()
    with watching(folder, canary) as watch, contextlib.chdir(inside):
        if command == "compare":
            assert len(skipstone.compare(runs, data=data, latency_seconds=0.1).rows) == 2
        elif command == "evaluate":
            assert skipstone.evaluate(runs[0], data).metrics
        elif command == "weights":
            done = skipstone.train(
                data, model=KINDS[kind][1], weights=str(runs[0]), out="runs", **_options(kind)
            )
            assert done.verification.ok
        else:
            with contextlib.suppress(SkipstoneError) if kind == "boxes" else _nothing():
                assert skipstone.ensemble(runs, out="runs").exit_code == 0
    assert _list_violations(watch, folder) == []


@contextlib.contextmanager
def _nothing() -> Any:
    yield


def _list_violations(watch: Watch, folder: Path) -> list[str]:
    """What was found, but for code that libraries generate, and folders around `folder`, which are
    opened to make names durable."""
    around = {f"opened {parent}" for parent in folder.parents}
    return [
        sentence
        for sentence in watch.found
        if not sentence.startswith("executed code of <") and sentence not in around
    ]


@pytest.mark.parametrize("link", ["checkpoint/even/state.json", "plots", "ancestors/gap.json"])
def test_a_run_that_a_stranger_began_holds_no_links(link: str, tmp_path: Path) -> None:
    data, canary = KINDS["pictures"][0](tmp_path), write_canary(tmp_path / "canary")
    run = tmp_path / "runs" / "001"
    (run / link).parent.mkdir(parents=True)
    (run / link).symlink_to(canary if link == "plots" else canary / "secret.bin")
    identity = _plan("pictures", data).to_json()
    record = {"format": FORMAT, "identity": identity, "created": "", "versions": versions()}
    (run / RUN).write_text(json.dumps(record))
    (run / JOURNAL).write_text("")
    options = {**_options("pictures"), "split_seed": 0}
    with watching(tmp_path, canary) as watch, pytest.raises(SkipstoneError, match="is a link"):
        skipstone.train(data, model="resnet20", weights="none", out=tmp_path / "runs", **options)
    assert _list_violations(watch, tmp_path) == []


class _Command:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("file", "write"),
    [
        ("weights.pth", lambda path: path.write_bytes(pickle.dumps({"fc.weight": _Command()}))),
        ("weights.pth", lambda path: torch.save({"fc.weight": _Command()}, path)),
        ("weights.safetensors", _pipe),
        ("classes.txt", _pipe),
    ],
)
def test_imported_weights_run_nothing(
    file: str, write: Callable[[Path], object], tmp_path: Path
) -> None:
    canary, inside = write_canary(tmp_path / "canary"), tmp_path / "work"
    inside.mkdir()
    torch.save({"fc.weight": torch.zeros(1)}, inside / "weights.pth")
    (inside / "classes.txt").write_text("one\ntwo\n")
    (inside / file).unlink(missing_ok=True)
    write(inside / file)
    weights = inside / (file if file.startswith("weights") else "weights.pth")
    with watching(inside, canary) as watch, pytest.raises(SkipstoneError):
        skipstone.import_weights(
            weights,
            model="resnet20",
            classes=inside / "classes.txt",
            out=inside / "new",
            normalize="imagenet",
        )
    assert _list_violations(watch, tmp_path) == []
