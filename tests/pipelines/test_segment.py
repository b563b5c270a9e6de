"""The whole chain on masks: a dozen pictures of 48 x 64, and one of another size."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from skipstone.bundle.format import Bundle
from skipstone.compression.recover import train_recovery
from skipstone.compression.shrink_plan import StepContext
from skipstone.data.manifest import load_manifest
from skipstone.data.mask_files import MaskTable, load_mask_codes
from skipstone.evaluation.parity import Verification
from skipstone.inference.backends.openvino_backend import OpenVinoRuntime
from skipstone.inference.export.openvino_export import convert_onnx_to_ir
from skipstone.inference.open_model import open_model
from skipstone.inference.restore import restore_network
from skipstone.tasks.segmentation.crf import CrfOptions
from skipstone.workflows import export_and_verify as ship
from skipstone.workflows import train_model as train_module
from tests.mask_data import NAMES, make_scene, save_mask, write_scenes
from tests.pipelines.command import Answer, ask, script_answers, tree
from tests.small_bundles import reseal

#: Learns the scenes well enough that answers are no coin tosses.
TINY = [
    *("--model", "resnet20", "--weights", "none", "--width", "0.25", "--depth", "0.34"),
    *("--optimizer", "adamw", "--lr", "0.02", "--batch-size", "4", "--seed", "3"),
    *("--threads", "1", "--precision", "f32", "--channels-last", "--augment", "light"),
    # the usual decoder goes the whole way in the pages of docs/
    *("--head", "unet", "--decoder-channels", "16,8"),
]


@dataclass(frozen=True)
class Masks:
    data: Path
    run: Path
    answer: Answer
    touched: bool


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Masks:
    root = tmp_path_factory.mktemp("masks")
    data = root / "scenes"
    for split, count, start in (("train", 12, 0), ("val", 4, 20)):
        write_scenes(data / split, count, start=start)
        (data / split / "classes.csv").rename(data / "classes.csv")
    odd, mask = make_scene(90, 53, 71)  # of another size than the rest
    Image.fromarray(odd).save(data / "val/images/odd.png")
    save_mask(mask, data / "val/masks/odd.png")
    before = tree(data)
    answer = ask("train", data, "--out", root / "runs", *TINY, "--epochs", "8")
    assert answer.code == 0, answer
    return Masks(data, Path(answer.value["run"]), answer, tree(data) != before)


@pytest.fixture(scope="module")
def shrunk(masked: Masks) -> Answer:
    return ask("shrink", masked.run, "--max-drop", "100")


def test_training_proves_what_ships(masked: Masks) -> None:
    value = masked.answer.value
    assert not masked.touched
    assert value["verified"]
    assert value["role"] == "test"
    figures = value["metrics"]
    each = {f"iou:{name}" for name in NAMES}
    assert set(figures) == {"miou", "pixel_accuracy", "boundary_f1", "ece", "nll", "brier"} | each
    assert figures["miou"]["n"] == 5
    assert figures["pixel_accuracy"]["value"] > 0.6
    for figure in figures.values():
        assert figure["low"] <= figure["value"] <= figure["high"]
    manifest = load_manifest(masked.run / "manifest.parquet")
    assert manifest.column_values("target")[0] == {"mask": "train/masks/00.png"}


def test_the_report_shows_masks(masked: Masks) -> None:
    story = json.loads((masked.run / "report.json").read_text())["story"]
    galleries = [block for block in story["sections"] if block["kind"] == "gallery"]
    assert [block["title"] for block in galleries] == ["Worst images", "Best images"]
    assert galleries[0]["wide"]
    assert [len(block["items"]) for block in galleries] == [3, 2]
    items = [item for block in galleries for item in block["items"]]
    assert all(item["picture"].startswith("data:image/") for item in items)
    page = (masked.run / "report.html").read_text()
    assert "Worst images" in page
    assert "IoU of square" in page
    assert story["classes"] == []


def test_evaluate_gives_the_test_figures_in_every_runtime(masked: Masks) -> None:
    for runtime in ("torch", "openvino-f32", "onnxruntime"):
        found = ask("evaluate", masked.run, masked.data, "--split", "val", "--runtime", runtime)
        assert found.code == 0
        assert found.value["metrics"]["miou"]["value"] == pytest.approx(
            masked.answer.value["metrics"]["miou"]["value"], abs=1e-3
        )


def test_predictions_are_masks_of_the_pictures_size(masked: Masks, tmp_path: Path) -> None:
    folder = masked.data / "val" / "images"
    found = ask("predict", masked.run, folder, "--out", tmp_path / "masks")
    assert found.code == 0
    rows = found.value["predictions"]
    assert len(rows) == 5
    right = []
    for row in rows:
        table = MaskTable.from_schema(open_model(masked.run).task.schema)
        answer = load_mask_codes(Path(row["mask"]).read_bytes(), table, row["mask"])
        with Image.open(row["path"]) as picture, Image.open(row["overlay"]) as overlay:
            assert answer.shape == picture.size[::-1]
            assert overlay.size == picture.size
        truth = np.asarray(Image.open(row["path"].replace("images", "masks")))
        right.append((answer == truth).mean())
        shares = dict(zip(row["label"], row["share"], strict=True))
        assert sum(shares.values()) == pytest.approx(1)
        assert shares["ground"] == pytest.approx((answer == 0).mean())
    pixels = [Image.open(row["path"]).size for row in rows]
    weighted = np.average(right, weights=[width * height for width, height in pixels])
    assert weighted == pytest.approx(
        masked.answer.value["metrics"]["pixel_accuracy"]["value"], abs=1e-4
    )
    again = ask("predict", masked.run, folder, "--out", tmp_path / "masks")
    assert again.code == 0
    assert "is finished already" in again.value["finished"]
    inside = ask("predict", masked.run, folder, "--out", folder / "masks")
    assert inside.code == 2
    assert not (folder / "masks").exists()


def test_export_with_and_without_the_answer_inside(masked: Masks, tmp_path: Path) -> None:
    inside = ask("export", masked.run, "--argmax", "--out", tmp_path / "inside")
    assert inside.code == 0
    assert list(inside.value["files"]) == ["model.onnx"]
    file = tmp_path / "inside" / "model.onnx"
    plain, within = (
        onnxruntime.InferenceSession(path)
        for path in (masked.run / "bundle/exports/onnx/model.onnx", file)
    )
    ir = OpenVinoRuntime(*convert_onnx_to_ir(file.read_bytes()))
    rng = np.random.default_rng(0)
    for height, width in ((48, 64), (64, 72), (96, 40)):
        feed = {"image": rng.integers(0, 256, (2, height, width, 3), np.uint8)}
        (logits,), (mask,) = plain.run(None, feed), within.run(None, feed)
        assert mask.dtype == np.uint8
        assert mask.shape == (2, height, width)
        assert (mask == logits.argmax(1)).mean() > 0.999
        assert (ir.run(feed)["mask"] == mask).mean() > 0.999


def test_what_no_program_does_is_said(
    masked: Masks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model with a CRF answers otherwise than its exported files."""
    bundle = Path(shutil.copytree(masked.run / "bundle", tmp_path / "bundle"))
    reseal(bundle, lambda record: record["post"].update(crf=dataclasses.asdict(CrfOptions())))
    monkeypatch.setattr(ship, "export_argmax", lambda folder: b"made as for any other model")
    for flags in (("--argmax",), ("--to", "onnx"), ("--to", "openvino")):
        out = tmp_path / flags[-1]
        assert ask("export", masked.run, *flags, "--out", out / "plain").value["left_out"] == []
        found = ask("export", bundle, *flags, "--out", out / "refined")
        assert found.code == 0
        assert found.value["left_out"] == ["crf"]
        assert "post-processing that reads the image again (crf)" in found.err


def test_the_exported_script_writes_the_same_masks(masked: Masks, tmp_path: Path) -> None:
    """Of pictures of two sizes, where skipstone is not found; `verify` held it to the goldens."""
    folder = masked.data / "val" / "images"
    how = ["--out", tmp_path / "ours", "--runtime", "onnxruntime"]
    rows = ask("predict", masked.run, folder, *how).value["predictions"]
    exported = ask("export", masked.run, "--out", tmp_path / "out").value
    assert set(exported["files"]) == {"model.onnx", "predict.py"}
    found = script_answers(tmp_path / "out", rows, "--out", tmp_path / "theirs")
    for row, ours in zip(found, rows, strict=True):
        assert row["label"] == ours["label"]
        assert row["share"] == pytest.approx(ours["share"])
        assert row["probability"] == pytest.approx(ours["probability"], abs=1e-4)
        with Image.open(row["mask"]) as mask, Image.open(ours["mask"]) as wanted:
            assert mask.getpalette() == wanted.getpalette()
            assert np.array_equal(np.asarray(mask), np.asarray(wanted))
    checks = json.loads((masked.run / "report.json").read_text())["story"]["verification"]["rows"]
    assert [row["ok"] for row in checks if row["name"] == "stand-alone script"] == [True]


def test_the_report_tells_which_class_fills_which_part(masked: Masks) -> None:
    story = json.loads((masked.run / "report.json").read_text())["story"]
    (first, *others) = story["class_counts_within_rows"]["rows"]
    assert story["classes"] == []
    assert first["name"] in {row[0] for row in story["sections"][0]["rows"]}
    for role in ("train", "val", "test"):  # every scene has more background than anything else
        assert first[role] > sum(row[role] for row in others) / 2 > 0
    page = (masked.run / "report.html").read_text()
    assert "Pixels by class" in page
    assert "Rows by class" not in page


def test_int8_with_a_receipt_on_mean_iou(masked: Masks, shrunk: Answer) -> None:
    assert shrunk.code == 0
    receipt = shrunk.value["receipt"]
    assert receipt["metric"] == "miou"
    assert receipt["test"]["drop"]["n"] == 5
    assert abs(receipt["test"]["drop"]["value"]) < 10
    checked = ask("verify", shrunk.value["bundle"])
    assert checked.code == 0
    rows = {row["name"]: row for row in checked.value["rows"]}
    assert rows["openvino-int8"]["share"] < 0.2
    assert rows["torch-f32"]["share"] < 1e-3
    assert rows["openvino-int8"]["tolerance"]["share"] >= rows["openvino-int8"]["share"]


def test_compare_on_data(masked: Masks, shrunk: Answer) -> None:
    found = ask("compare", masked.run, shrunk.value["bundle"], "--data", masked.data)
    assert found.code == 0
    first, second = found.value["models"]
    assert first["metric"] == second["metric"] == "miou"
    assert second["difference"]["n"] == 17


def test_what_means_nothing_for_masks_is_refused(masked: Masks, tmp_path: Path) -> None:
    for words, part in (
        (("--mixup", "0.2"), "targets lie on the pictures"),
        (("--augment", "trivialaugment"), "without its mask or boxes"),
        (("--balanced",), "shows several classes at once"),
        (("--task", "classify"), "does not use masks"),
    ):
        found = ask("train", masked.data, "--out", tmp_path / "runs", *TINY, *words)
        assert found.code == 2, words
        assert part in found.value["error"], (words, found)


def test_audit_tells_of_masks(masked: Masks, tmp_path: Path) -> None:
    for name in ("images", "masks"):
        shutil.copytree(masked.data / "train" / name, tmp_path / "data" / name)
    shutil.copy(masked.data / "classes.csv", tmp_path / "data")
    save_mask(make_scene(0)[1][:20], tmp_path / "data" / "masks" / "00.png")
    (tmp_path / "data" / "masks" / "03.png").unlink()
    found = ask("audit", tmp_path / "data").value
    kinds = {finding["kind"]: finding["paths"] for finding in found["findings"]}
    assert kinds["mask_size"] == ["images/00.png"]
    assert kinds["picture_without_mask"] == ["images/03.png"]
    assert sum(found["counts"]["pixels"].values()) == pytest.approx(1)


def test_a_pruned_network_learns_from_the_one_it_was(masked: Masks, tmp_path: Path) -> None:
    bundle, rows = (
        Bundle.load(masked.run / "bundle"),
        load_manifest(masked.run / "manifest.parquet"),
    )
    work = StepContext(
        masked.run / "bundle",
        tmp_path / "new",
        rows.rows_with_role("train"),
        rows.rows_with_role("val"),
        0,
    )
    result = train_recovery(restore_network(bundle), bundle, work, epochs=1, teacher=0.7)
    (epoch,) = result.history
    assert 0 <= epoch["losses"]["teacher_loss"] < epoch["losses"]["loss"]
    assert epoch["metrics"]["miou"] > 0.2


def test_a_model_goes_on_with_one_more_class(
    masked: Masks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old classes keep rows, order and colours; the new one gets a row, and a colour of its own."""
    # other tests follow a bundle through its exports; growing changes nothing there
    monkeypatch.setattr(
        train_module, "export_and_verify", lambda folder: Verification(True, 0.0, 0, [])
    )
    data = tmp_path / "more"
    for split, count, start in (("train", 8, 40), ("val", 2, 60)):
        write_scenes(data / split, count, start=start, table=False)
        for file in (data / split / "masks").iterdir():
            mask = np.array(Image.open(file))
            mask[-6:] = 3  # a strip along the bottom of each
            Image.fromarray(mask).save(file)
            picture = np.array(Image.open(data / split / "images" / file.name))
            picture[-6:] = (200, 40, 160)
            Image.fromarray(picture).save(data / split / "images" / file.name)
    names = ["0,disc", "1,strip", "2,ground", "3,square"]  # in another order, by other numbers
    swap = np.array([2, 3, 0, 1], np.uint8)
    for file in data.glob("*/masks/*.png"):
        Image.fromarray(swap[np.array(Image.open(file))]).save(file)
    (data / "classes.csv").write_text("index,name\n" + "\n".join(names) + "\n")
    quick = (
        "--epochs",
        "14",
        "--augment",
        "none",
        "--threads",
        "1",
        "--precision",
        "f32",
        "--channels-last",
    )
    found = ask("train", data, "--from", masked.run, "--out", tmp_path / "runs", *quick)
    assert found.code == 0, found
    before, after = (
        open_model(run, "torch").task for run in (masked.run, Path(found.value["run"]))
    )
    assert after.schema["classes"] == [*NAMES, "strip"]
    assert after.schema["colours"][:3] == before.schema["colours"]
    assert len(set(map(tuple, after.schema["colours"]))) == 4
    assert found.value["metrics"]["iou:strip"]["value"] > 0.3
    assert found.value["metrics"]["pixel_accuracy"]["value"] > 0.6
