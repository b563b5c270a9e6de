from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from skipstone.bundle.files import read_bundle_json, read_file, write_bundle_json
from skipstone.bundle.format import Bundle
from skipstone.commands.rendering import make_metrics_table, make_receipt_table
from skipstone.compression import apply_plan as maker
from skipstone.compression.apply_plan import shrink as shrink_bundle
from skipstone.compression.receipt import describe_verdict
from skipstone.compression.shrink_plan import ShrinkPlan
from skipstone.core.errors import DamagedError, DataError, Refusal, StorageError, UsageError
from skipstone.core.registry import STEPS
from skipstone.data.manifest import Manifest, load_manifest
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.datasets.splitting import assign_roles
from skipstone.inference.open_model import open_model
from skipstone.training.run_directory import lock_run
from skipstone.workflows import shrink_model as verb
from skipstone.workflows.compare_models import _Model, _stored_score
from skipstone.workflows.shrink_model import load_training_manifest, shrink
from tests.compression.example_steps import NOISE
from tests.small_bundles import reseal


@pytest.fixture
def _noise() -> Iterator[None]:
    STEPS.register(NOISE)
    yield
    STEPS.unregister("noise")


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_int8_from_a_run_to_a_verified_bundle_with_a_receipt(copied: Path, rows: Manifest) -> None:
    reseal(copied / "bundle", lambda record: record["metrics"].update(calibration={"halved": True}))
    before = content(copied / "bundle")
    result = shrink_bundle(
        copied / "bundle",
        rows,
        ShrinkPlan.from_text("int8(samples=20)"),
        max_drop=30.0,
        out=copied / "shrunk-int8",
        latency_seconds=0.5,
    )
    assert result.accepted
    assert result.exit_code == 0
    assert result.verification is not None
    assert result.verification.ok
    assert {row["name"] for row in result.verification.rows} >= {"openvino-int8", "torch-f32"}
    assert content(copied / "bundle") == before
    assert result.bundle == copied / "shrunk-int8"
    assert open_model(result.bundle).runtime.name == "openvino-int8"

    receipt = json.loads(read_file(result.bundle, "receipt.json"))
    assert receipt == json.loads(json.dumps(result.to_json()["receipt"]))
    assert set(result.to_json()) == {"bundle", "receipt", "accepted", "proven"}
    assert receipt["plan"] == "int8(samples=20)"
    assert [step["options"]["samples"] for step in receipt["steps"]] == [20]
    files = [result.bundle / "exports/openvino-int8" / name for name in ("model.xml", "model.bin")]
    programs = [path for path in (result.bundle / "exports").rglob("*.*") if path.suffix != ".json"]
    assert sorted(programs) == sorted(files)  # what ships, and no float program
    assert receipt["sizes"]["ships"] == sum(path.stat().st_size for path in files)
    assert receipt["val"]["drop"]["n"] == len(rows.rows_with_role("val"))
    assert receipt["test"]["drop"]["n"] == len(rows.rows_with_role("test"))
    names = [row["name"] for row in receipt["latency"]["rows"]]
    assert names[:4] == ["torch-f32", "openvino-f32", "openvino-bf16", "openvino-int8"]
    assert {ratio["fast"] for ratio in receipt["latency"]["ratios"]} == {"openvino-int8"}
    assert "accuracy on test" in make_receipt_table(receipt)[1][1][0]

    # what ships has figures of its own, and they are those that `evaluate` gives
    stated = Bundle.load(result.bundle).metrics
    assert (stated["role"], stated["runtime"]) == ("test", "openvino-int8")
    assert stated["calibration"] is None  # was the network's, in floats
    predictor = open_model(result.bundle)
    records = predictor.evaluate(rows.rows_with_role("test")).records
    figures = predictor.task.compute_metrics(records)
    assert {name: value["value"] for name, value in stated["metrics"].items()} == pytest.approx(
        figures
    )
    columns, table, title = make_metrics_table(receipt)
    assert len(columns) == 3
    assert [row[0] for row in table] == [metric.title for metric in predictor.task.list_metrics()]
    assert "openvino-int8" in title
    name, estimate, where, _ = _stored_score(_Model("x", Bundle.load(result.bundle), result.bundle))
    assert name == "accuracy"
    assert where is not None
    assert where.endswith("by openvino-int8")
    assert estimate is not None
    assert estimate.value == figures["accuracy"]


@pytest.mark.usefixtures("_noise")
def test_a_refusal_keeps_the_original_and_nothing_else(copied: Path) -> None:
    before = content(copied)
    result = shrink(copied, plan="noise(amount=100)", max_drop=1.0, latency_seconds=0.2)
    assert not result.accepted
    assert not result.proven
    assert result.exit_code == 1
    assert result.bundle == copied / "bundle"
    assert result.receipt["val"]["drop"]["value"] > 1
    assert result.receipt["test"] is None  # it is scored for what is kept, and only then
    assert "Refused" in describe_verdict(result.receipt)
    assert content(copied) == before
    assert sorted(path.name for path in copied.iterdir()) == ["bundle", "manifest.parquet"]


@pytest.mark.usefixtures("_noise")
def test_a_step_from_outside_makes_a_bundle_beside_those_that_are_there(copied: Path) -> None:
    (copied / "shrunk-noise").mkdir()
    (copied / "report.json").write_text("somebody's own, as this is no run")
    result = shrink(copied, plan="noise", max_drop=0.0, latency_seconds=0.2)
    assert result.accepted
    assert result.bundle == copied / "shrunk-noise-2"
    assert result.receipt["val"]["drop"]["value"] == 0
    answers = {ratio["fast"] for ratio in result.receipt["latency"]["ratios"]}
    assert answers == {"torch-f32, shrunk"}
    assert load_training_manifest(
        result.bundle, None
    ).compute_fingerprint()  # a shrunk bundle knows its run, too


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"plan": "int9"}, "Did you mean 'int8'"),
        ({"max_drop": -1.0}, "is not valid"),
        ({"max_drop": float("nan")}, "is not valid"),
        ({"data": "nowhere"}, "does not exist"),
        ({"out": "."}, "not empty"),
    ],
)
def test_what_cannot_be_used_is_refused_before_any_work(
    copied: Path, arguments: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copied)
    with pytest.raises(UsageError) as caught:
        shrink(copied, **arguments)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_a_run_has_one_owner_and_a_report_that_can_be_told_before_any_work(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "shrink_bundle", None)
    (copied / "run.json").write_text("{}")
    (copied / "report.json").write_text("[]")
    left = copied / ".skipstone-tmp-of-a-killed-shrink"
    left.mkdir()
    with lock_run(copied), pytest.raises(Refusal, match="in use by this process"):
        shrink(copied)
    left.mkdir()
    with pytest.raises(DamagedError, match=r"report\.json is not report data"):
        shrink(copied)
    assert not left.exists()
    with lock_run(copied):
        pass  # nobody holds it any more


def test_what_came_to_its_place_meanwhile_stays(
    copied: Path, rows: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copied / "shrunk"

    def make(*_: object) -> object:
        out.mkdir()
        (out / "bundle.json").write_text("another's")
        return SimpleNamespace(), None

    monkeypatch.setattr(maker, "_make", make)
    with pytest.raises(StorageError, match=r"shrunk: Directory not empty.*another folder"):
        shrink_bundle(copied / "bundle", rows, ShrinkPlan.from_text("int8"), max_drop=1.0, out=out)
    assert (out / "bundle.json").read_text() == "another's"
    assert not [path for path in copied.iterdir() if path.name.startswith(".skipstone")]


def test_data_that_moved_is_found_where_the_user_says(
    copied: Path, flat_photo_folder: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(flat_photo_folder, tmp_path / "moved"))
    assert load_training_manifest(copied / "bundle", moved).root == moved
    victim = (
        load_manifest(copied / "manifest.parquet").rows_with_role("val").column_values("path")[0]
    )
    (moved / victim).unlink()
    with pytest.raises(DataError, match="1 of 60 files") as caught:
        load_training_manifest(copied / "bundle", moved)
    assert victim in str(caught.value)


def test_a_bundle_away_from_its_run_asks_for_its_data(
    copied: Path, flat_photo_folder: Path, photo_folder: Path, tmp_path: Path, rows: Manifest
) -> None:
    bundle = Path(shutil.copytree(copied / "bundle", tmp_path / "alone"))
    with pytest.raises(UsageError, match="--data FOLDER"):
        shrink(bundle)
    found = load_training_manifest(bundle, flat_photo_folder)
    assert found.column_values("role") == rows.column_values("role")
    with pytest.raises(UsageError, match="is not the data") as caught:
        load_training_manifest(bundle, photo_folder)
    assert "--exclude FILE" in str(caught.value.hint)


def test_rows_that_training_left_out_are_left_out_again(
    copied: Path, flat_photo_folder: Path, tmp_path: Path
) -> None:
    listed = tmp_path / "exclude.txt"
    rows = read_manifest(flat_photo_folder)
    listed.write_text("\n".join(rows.column_values("path")[:3]))
    kept = assign_roles(read_manifest(flat_photo_folder, ReadOptions(exclude=str(listed))))
    bundle = Path(shutil.copytree(copied / "bundle", tmp_path / "alone"))
    record = read_bundle_json(bundle)
    record["lineage"]["data"]["fingerprint"] = kept.compute_fingerprint()
    write_bundle_json(bundle, record)
    found = load_training_manifest(bundle, flat_photo_folder, listed)
    assert found.column_values("role") == kept.column_values("role")
    with pytest.raises(UsageError, match="is not the data"):
        load_training_manifest(bundle, flat_photo_folder)
    with pytest.raises(UsageError, match="has no effect"):
        load_training_manifest(copied / "bundle", flat_photo_folder, listed)
