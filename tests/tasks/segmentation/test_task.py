"""Segment: figures equal to scikit-learn's and torchmetrics', masks resized to the right place."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import distance_transform_edt
from sklearn.metrics import confusion_matrix, jaccard_score
from torch.nn import functional as F
from torchmetrics.classification import MulticlassCalibrationError, MulticlassJaccardIndex

from skipstone.core import events
from skipstone.core.errors import DataError
from skipstone.data.mask_files import IGNORE_INDEX
from skipstone.data.read import read_manifest
from skipstone.data.samples import SampleMeta
from skipstone.data.sources import Inline
from skipstone.evaluation.intervals import metric_intervals, paired_difference, tango_interval
from skipstone.image.input import ImageInput
from skipstone.image.options import ImageOptions
from skipstone.tasks.base import Record, RecordTable
from skipstone.tasks.options import SegmentOptions
from skipstone.tasks.segmentation import metrics as figures
from skipstone.tasks.segmentation import report
from skipstone.tasks.segmentation.mask_maps import resize_to_record
from skipstone.tasks.segmentation.standalone import resize_to_source
from skipstone.tasks.segmentation.task import SegmentationTask
from tests.mask_data import NAMES, make_scene, write_scenes

K = 5
CLASSES = {"classes": [f"c{k}" for k in range(K)]}


def task(**options: Any) -> SegmentationTask:
    return SegmentationTask(SegmentOptions(**options), CLASSES)


def blobs(seed: int, height: int = 40, width: int = 56) -> np.ndarray:
    """Codes (H, W) with regions, and some pixels that count for nothing; never class 4."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, K - 1, (height // 8, width // 8)).astype(np.uint8)
    mask = coarse.repeat(8, 0).repeat(8, 1)
    mask[rng.random(mask.shape) < 0.02] = IGNORE_INDEX
    return mask


def noisy(mask: np.ndarray, seed: int) -> np.ndarray:
    """An answer: the mask shifted, with some pixels wrong and none unlabelled."""
    rng = np.random.default_rng(seed)
    answer = np.roll(np.where(mask == IGNORE_INDEX, 0, mask), (1, 2), (0, 1)).astype(np.uint8)
    wrong = rng.random(mask.shape) < 0.1
    answer[wrong] = rng.integers(0, K - 1, wrong.sum())
    return answer


def logits_of(answer: np.ndarray) -> np.ndarray:
    return np.where(answer[None] == np.arange(K)[:, None, None], 5.0, -5.0).astype(np.float32)


def records_of(count: int = 8, start: int = 0) -> tuple[list[Record], np.ndarray, np.ndarray]:
    """Records, truths and answers of `count` pictures."""
    truths = [blobs(start + seed) for seed in range(count)]
    answers = [noisy(truth, 100 + start + seed) for seed, truth in enumerate(truths)]
    outputs = {"logits": np.stack([logits_of(answer) for answer in answers])}
    metas = [SampleMeta(row, f"{row}.png") for row in range(count)]
    predictions = task().predict(outputs, metas, {})
    scored = [task().score_prediction(p, t) for p, t in zip(predictions, truths, strict=True)]
    return scored, np.stack(truths), np.stack(answers)


def test_figures_equal_scikit_learns_and_torchmetrics() -> None:
    records, truths, answers = records_of()
    values = task().compute_metrics(records)
    counted = truths != IGNORE_INDEX
    truth, answer = truths[counted], answers[counted]
    assert np.array_equal(
        task().sum_confusion(RecordTable.from_records(records)),
        confusion_matrix(truth, answer, labels=range(K)),
    )
    each = jaccard_score(truth, answer, labels=range(K), average=None, zero_division=0)
    for k in range(K - 1):
        assert values[f"iou:c{k}"] == pytest.approx(each[k], abs=1e-12)
    assert np.isnan(values["iou:c4"])  # absent from targets and predictions
    reference = MulticlassJaccardIndex(K, average="macro", ignore_index=IGNORE_INDEX)
    wanted = reference(torch.from_numpy(answers.astype(int)), torch.from_numpy(truths.astype(int)))
    assert values["miou"] == pytest.approx(float(wanted), abs=1e-6)
    assert values["pixel_accuracy"] == pytest.approx((truth == answer).mean(), abs=1e-12)


def unsure(count: int) -> tuple[np.ndarray, np.ndarray, list[Record]]:
    """Logits (N, K, 40, 50) and truths of a network that is too sure, and its records."""
    truths = [blobs(seed, 40, 50) for seed in range(count)]
    rng = np.random.default_rng(0)
    logits = np.stack([logits_of(noisy(t, 9 + n)) / 2 for n, t in enumerate(truths)])
    logits = (logits + rng.normal(0, 2, logits.shape)).astype(np.float32)
    metas = [SampleMeta(row, f"{row}.png") for row in range(count)]
    predictions = task().predict({"logits": logits}, metas, {"temperature": 0.7})
    scored = [task().score_prediction(p, t) for p, t in zip(predictions, truths, strict=True)]
    return logits / np.float32(0.7), np.stack(truths), scored


def test_the_calibration_error_of_a_picture_equals_torchmetrics() -> None:
    logits, truths, records = unsure(3)
    errors = []
    for row in range(3):
        reference = MulticlassCalibrationError(K, n_bins=15, norm="l1", ignore_index=IGNORE_INDEX)
        wanted = float(
            reference(
                torch.from_numpy(logits[row][None]), torch.from_numpy(truths[row][None].astype(int))
            )
        )
        found = task().compute_metrics(records[row : row + 1])["ece"]
        assert found == pytest.approx(wanted, abs=1e-5)
        errors.append(found)
    assert min(errors) > 0.02
    # pictures count alike: the one without a label, and the size of the others, change nothing
    blank, _, _ = records_of(1)
    nothing = {**blank[0], "bins": [], "cells": [], "counts": [], "pixels": 0}
    whole = task().compute_metrics(records)["ece"]
    assert task().compute_metrics([*records, nothing])["ece"] == pytest.approx(whole)
    tenfold = [[b, *(10 * value for value in sums)] for b, *sums in records[0]["bins"]]
    assert task().compute_metrics([{**records[0], "bins": tenfold}, *records[1:]])["ece"] == (
        pytest.approx(whole)
    )


def test_likelihood_and_brier_score_of_pixels_equal_torch() -> None:
    logits, truths, records = unsure(3)
    each = []
    for row in range(3):
        scores = torch.from_numpy(logits[row]).double()
        truth = torch.from_numpy(truths[row].astype(np.int64))
        counted = truth != IGNORE_INDEX
        probability = torch.softmax(scores, 0)[:, counted]
        squared = (probability - F.one_hot(truth[counted], K).T) ** 2
        loss = F.cross_entropy(scores[None], truth[None], ignore_index=IGNORE_INDEX)
        wanted = float(loss), float(squared.sum(0).mean())
        found = task().compute_metrics(records[row : row + 1])
        assert (found["nll"], found["brier"]) == pytest.approx(wanted, rel=1e-5)
        each.append(wanted)
    nothing = {**records[0], "bins": [], "nll": 0.0, "brier": 0.0, "pixels": 0}
    found = task().compute_metrics(
        [*records, nothing]
    )  # pictures count alike, but the one without a label
    assert (found["nll"], found["brier"]) == pytest.approx(tuple(np.mean(each, axis=0)), rel=1e-5)


def test_the_calibration_error_has_an_interval_by_picture() -> None:
    _, _, records = unsure(12)
    metric = next(metric for metric in task().list_metrics() if metric.name == "ece")
    terms = task().calibration_terms(records)
    found = metric_intervals(records, task(), None, 0, metrics=(metric,))["ece"]
    assert np.abs(terms.mean(axis=0)).sum() == pytest.approx(found.value)
    assert found.low < found.value < found.high
    assert found.n == 12
    (block,) = [s for s in task().report_sections(records, {}) if s["kind"] == "reliability"]
    assert block["ece"] == pytest.approx(found.value)
    assert sum(row["count"] for row in block["bins"]) == pytest.approx(
        sum(record["pixels"] for record in records), rel=0.01
    )
    assert (block["unit"], block["independent"]) == ("pixels", False)


def test_of_large_pictures_a_sample_tells_the_calibration_error() -> None:
    truth = blobs(0, 240, 320)
    rng = np.random.default_rng(0)
    logits = logits_of(noisy(truth, 3)) / 4 + rng.normal(0, 1, (K, 240, 320))
    (prediction,) = task().predict({"logits": logits[None].astype(np.float32)}, [SampleMeta(0)], {})
    few = task().score_prediction(prediction, truth)
    assert sum(row[1] for row in few["bins"]) <= 2048
    reference = MulticlassCalibrationError(K, n_bins=15, norm="l1", ignore_index=IGNORE_INDEX)
    wanted = reference(torch.from_numpy(logits[None]), torch.from_numpy(truth[None].astype(int)))
    assert task().compute_metrics([few])["ece"] == pytest.approx(float(wanted), abs=0.02)


@pytest.mark.parametrize("count", [1, 2, 5, 12, 30])
def test_few_pictures_are_shared_out_between_the_galleries(count: int) -> None:
    records, _, _ = records_of(1)
    several = [{**records[0], "id": row, "loss": row / count} for row in range(count)]
    worst, best = (
        s["items"] for s in task().report_sections(several, {}) if s["kind"] == "gallery"
    )
    shown = [item["id"] for item in worst], [item["id"] for item in best]
    assert not set(shown[0]) & set(shown[1])
    assert len(shown[0]) + len(shown[1]) == min(count, 18)
    assert len(shown[1]) == {1: 0, 2: 1, 5: 2, 12: 4, 30: 6}[count]
    assert shown[1] == list(range(len(shown[1])))  # of least loss first
    assert shown[0] == list(range(count - 1, count - 1 - len(shown[0]), -1))


def slow_boundary_f1(truth: np.ndarray, answer: np.ndarray, code: int) -> float | None:
    """Csurka's BF score, by distances to the other boundary's nearest pixel."""
    answer = np.where(truth == IGNORE_INDEX, IGNORE_INDEX, answer)
    radius = max(1.0, 0.0075 * np.hypot(*truth.shape))

    def edge(codes: np.ndarray) -> np.ndarray:
        padded = np.pad(codes.astype(int), 1, mode="edge")
        here = padded[1:-1, 1:-1]
        around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
        return np.asarray((codes == code) & np.any([other != here for other in around], axis=0))

    of_truth, of_answer = edge(truth), edge(answer)
    if not of_truth.any() and not of_answer.any():
        return None
    if not of_truth.any() or not of_answer.any():
        return 0.0
    precision = (distance_transform_edt(~of_truth)[of_answer] <= radius).mean()
    recall = (distance_transform_edt(~of_answer)[of_truth] <= radius).mean()
    both = precision + recall
    return float(2 * precision * recall / both) if both else 0.0


@pytest.mark.parametrize("size", [(40, 56), (320, 480)])
def test_boundary_f1_equals_distances(size: tuple[int, int]) -> None:
    for seed in range(3):
        truth = blobs(seed, *size)
        answer = noisy(truth, seed)
        found = figures.boundary_f1(truth, answer, K)
        for code in range(K):
            wanted = slow_boundary_f1(truth, answer, code)
            assert found.get(code) == (None if wanted is None else pytest.approx(wanted, abs=1e-12))
    truth = np.zeros((30, 30), np.uint8)
    truth[:, 15:] = 200
    assert figures.boundary_f1(truth, truth, 201) == {0: 1.0, 200: 1.0}


def test_boundary_f1_is_a_mean_over_pictures() -> None:
    records, truths, answers = records_of(6)
    each = [
        [slow_boundary_f1(t, a, code) for t, a in zip(truths, answers, strict=True)]
        for code in range(K)
    ]
    present = [[v for v in row if v is not None] for row in each]
    wanted = np.mean([np.mean(row) for row in present if row])
    assert task().compute_metrics(records)["boundary_f1"] == pytest.approx(wanted, abs=1e-12)


def test_a_resample_counts_pictures_as_often_as_drawn() -> None:
    records, _, _ = records_of(6)
    weight = np.array([0, 2, 1, 0, 3, 1])
    drawn = [row for row, times in zip(records, weight, strict=True) for _ in range(times)]
    one, other = (
        task().compute_metrics(RecordTable.from_records(records).with_weights(weight)),
        task().compute_metrics(drawn),
    )
    assert one == pytest.approx(other, nan_ok=True)


def test_intervals_and_pairs_by_picture() -> None:
    records, _, _ = records_of(12)
    found = metric_intervals(records, task(), None, 0, metrics=task().list_metrics()[:3])
    for estimate in found.values():
        assert estimate.low < estimate.value < estimate.high
        assert estimate.n == 12
    gap = paired_difference(task().list_metrics()[0], records, records_of(12)[0], task())
    assert (gap.value, gap.low, gap.high) == pytest.approx((0, *tango_interval(0, 0, 12)))
    one = metric_intervals(records[:1], task(), None, 0, metrics=task().list_metrics()[:1])["miou"]
    assert (one.low, one.high) == (0, 1)


@pytest.mark.parametrize("resize", ["squash", "letterbox", "crop", "keep"])
@pytest.mark.parametrize("size", [(61, 90), (64, 64), (200, 150)])
def test_masks_and_pictures_are_laid_alike(resize: Any, size: tuple[int, int]) -> None:
    """A picture drawn from a mask gives, through the input, what the mask gives; and back."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width]
    mask = ((x > width // 3).astype(np.uint8) + (y > height // 2) * 2).astype(np.uint8)
    picture = np.repeat((mask * 60)[..., None], 3, 2).astype(np.uint8)
    options = ImageOptions(size=96, resize=resize, channels=3, interpolation="nearest")
    input = ImageInput(options)
    raw = input.decode(Inline(picture))
    meta = SampleMeta(0, "a", size=raw.size, to_source=raw.to_source, shape=raw.value.shape[:2])
    resized = resize_to_record(mask, meta)
    inside = resized != IGNORE_INDEX
    assert resized.shape == raw.value.shape[:2]
    assert (resized[inside] * 60 == raw.value[inside][:, 0]).mean() > 0.99
    assert (raw.value[~inside] == 128).all()
    back = resize_to_source(logits_of(np.where(inside, resized, 0)), meta)
    assert back.shape == mask.shape
    if resize != "crop":
        assert (back == mask).mean() > 0.97
    if resize == "keep" and max(size) <= 96:
        assert np.array_equal(back, mask)


def test_a_mask_of_another_size_is_named() -> None:
    meta = SampleMeta(3, "b.jpg", size=(30, 20), to_source=(1.0, 0, 0, 0, 1.0, 0), shape=(32, 32))
    with pytest.raises(DataError, match=r"b\.jpg: the image has 20 x 30 pixels and its mask 5 x"):
        task().encode_target(np.zeros((4, 5), np.uint8), meta)
    with pytest.raises(DataError, match="save it upright"):
        task().encode_target(np.zeros((20, 30), np.uint8), meta)


def test_targets_are_opened_by_their_own_table(tmp_path: Path) -> None:
    """A data set with other numbers, and a class that the model does not have."""
    write_scenes(tmp_path, 1)
    (tmp_path / "classes.csv").write_text("index,name\n0,stone\n1,disc\n2,square\n")
    model = SegmentationTask(SegmentOptions(), {"classes": list(NAMES)})
    heard: list[str] = []
    with events.use_listener(lambda event: heard.append(getattr(event, "text", ""))):
        opened = model.target_loader(manifest := read_manifest(tmp_path))
    mask = make_scene(0)[1]
    found = opened(manifest.column_values("target")[0])
    assert np.array_equal(found, np.array([IGNORE_INDEX, 2, 1], np.uint8)[mask])
    assert any("has no class stone" in text for text in heard)
    with pytest.raises(DataError, match="has no path of a mask"):
        opened("stone")
    with pytest.raises(DataError, match="cannot be read"):
        opened({"mask": "masks/77.png"})


def test_class_weights_count_pixels(tmp_path: Path) -> None:
    manifest = read_manifest(write_scenes(tmp_path, 3))
    model = SegmentationTask(SegmentOptions(class_weights="inverse"), manifest.schema)
    counts = model.label_statistics(manifest)["counts"]
    masks = np.stack([make_scene(seed)[1] for seed in range(3)])
    assert counts == np.bincount(masks.ravel(), minlength=3).tolist()
    weighted = SegmentationTask(model.options, {**manifest.schema, "counts": counts})
    weights = weighted.criterion().loss.class_weights
    assert weights.tolist() == pytest.approx([masks.size / (3 * count) for count in counts])
    assert SegmentationTask(SegmentOptions(), manifest.schema).label_statistics(manifest) == {}


def test_calibration_takes_a_sample_of_pixels() -> None:
    rng = np.random.default_rng(0)
    truth = [blobs(seed) for seed in range(4)]
    sharp = np.stack([logits_of(noisy(t, 1)) for t in truth]) * 3 + rng.normal(0, 1, (4, K, 40, 56))
    outputs = {"logits": sharp.astype(np.float32)}
    metas = [SampleMeta(row) for row in range(4)]
    some, targets = task().calibration_sample(outputs, metas, truth)
    assert some["logits"].shape == (4, K, 1, 2048)
    few = task().fit_postprocessing(some, targets)["temperature"]
    whole = task().fit_postprocessing(outputs, truth)["temperature"]
    assert whole > 1.5  # too sure of itself
    assert few == pytest.approx(whole, rel=0.1)


def test_flips_are_counted_by_picture_and_by_pixel() -> None:
    reference = {"logits": np.stack([logits_of(blobs(s) % K) for s in range(10)])}
    other = {"logits": reference["logits"].copy()}
    other["logits"][0] = np.roll(other["logits"][0], 1, 0)  # every pixel another class
    other["logits"][1][:, :1, :5] *= -1  # a few pixels
    found = task().compare_outputs(reference, other, {})
    assert (found.flips, found.near_ties, found.n) == (1, 1, 10)
    assert found.share == pytest.approx((40 * 56 + 5) / (10 * 40 * 56))


def test_answers_as_files(tmp_path: Path) -> None:
    """The index PNG holds the user's own indices, in the table's colours."""
    write_scenes(tmp_path, 1)
    (tmp_path / "classes.csv").write_text("index,name,r,g,b\n7,ground,1,2,3\n0,square,9,8,7\n")
    manifest_schema = {
        "classes": ["ground", "square"],
        "colours": [[1, 2, 3], [9, 8, 7]],
        "masks": [[7, 0x010203, "ground"], [0, 0x090807, "square"]],
    }
    model = SegmentationTask(SegmentOptions(), manifest_schema)
    answer = (make_scene(0)[1] > 0).astype(np.uint8)
    logits = np.stack([1.0 - answer, answer * 1.0]).astype(np.float32)
    (prediction,) = model.predict({"logits": logits[None]}, [SampleMeta(0, "a")], {})
    assert prediction.fields["label"] == ["ground", "square"]
    assert prediction.fields["share"] == pytest.approx([1 - answer.mean(), answer.mean()])
    picture = make_scene(0)[0]
    files = model.render_files(picture, prediction)
    with Image.open(io.BytesIO(files["mask"][1])) as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), np.where(answer, 0, 7))
        assert np.array_equal(
            np.asarray(image.convert("RGB")), np.array([[1, 2, 3], [9, 8, 7]])[answer]
        )
    drawn = model.draw_prediction(picture, prediction, answer)
    assert drawn.shape == (48, 64 * 3 + 8, 3)
    assert np.array_equal(drawn[:, :64], picture)
    assert np.array_equal(drawn[:, 68:132], drawn[:, 136:])  # truth and answer alike


def test_a_crf_pulls_a_rough_answer_to_the_pictures_edges() -> None:
    """It looks at the record's picture; padding stays out of it."""
    model = SegmentationTask(SegmentOptions(crf="on"), {"classes": ["dark", "bright"]})
    truth = np.zeros((40, 50), np.uint8)
    truth[8:30, 12:40] = 1
    picture = np.full((64, 64, 3), 128, np.uint8)  # filled up with grey
    picture[:40, :50] = 30 + 180 * truth[..., None]
    rough = np.zeros((64, 64), np.float32)
    rough[10:33, 9:38] = 1  # moved and of another size
    rng = np.random.default_rng(0)
    logits = np.stack([1 - rough, rough]) + rng.normal(0, 0.4, (2, 64, 64))
    meta = SampleMeta(0, "a", size=(40, 50), to_source=(1.0, 0, 0, 0, 1.0, 0), shape=(64, 64))
    post = model.fit_postprocessing(
        {"logits": logits[None].astype(np.float32)[:, :, :1, :1]}, [truth[:1, :1]]
    )
    assert post["crf"]["iterations"] > 0
    outputs = {"logits": logits[None].astype(np.float32), "image": picture[None]}
    assert model.required_inputs(post) == {"image"}
    assert model.required_inputs({}) == set()
    before, after = (
        model.predict(outputs, [meta], given)[0].scores["mask"]
        for given in ({"temperature": 1.0}, {**post, "temperature": 1.0})
    )
    assert (after == truth).mean() > 0.98 > (before == truth).mean()
    assert SegmentationTask(SegmentOptions(crf="off"), CLASSES).optional_postprocessors() == {}


def test_another_palette_than_the_models_is_refused(tmp_path: Path) -> None:
    """Classes named after indices: the same index in another colour is another class."""
    for name, colours in (("a", [0, 0, 0, 255, 0, 0]), ("b", [0, 0, 0, 0, 0, 255])):
        for number in range(2):
            mask = Image.fromarray((make_scene(number)[1] > 0).astype(np.uint8)).copy()
            mask.putpalette(colours)
            (tmp_path / name / "masks").mkdir(parents=True, exist_ok=True)
            mask.save(tmp_path / name / f"masks/{number}.png")
            (tmp_path / name / "images").mkdir(exist_ok=True)
            Image.fromarray(make_scene(number)[0]).save(tmp_path / name / f"images/{number}.png")
    manifest = read_manifest(tmp_path / "a")
    model = SegmentationTask(SegmentOptions(), manifest.schema)
    target = manifest.column_values("target")[0]
    assert np.array_equal(model.target_loader(manifest)(target), make_scene(0)[1] > 0)
    with pytest.raises(DataError, match="index 1 is #0000ff in these masks and #ff0000") as no:
        model.target_loader(read_manifest(tmp_path / "b"))
    assert "name,r,g,b" in str(no.value.hint)
    (tmp_path / "b/classes.csv").write_text("name,r,g,b\n1,0,0,255\n0,0,0,0\n")
    renamed = read_manifest(tmp_path / "b")
    assert np.array_equal(model.target_loader(renamed)(target), make_scene(0)[1] > 0)


def test_each_cell_of_confused_pixels_has_the_images_with_most_of_them() -> None:
    names, size = ["a", "b", "c"], 3
    matrix = np.array([[50, 9, 0], [1, 40, 0], [0, 0, 7]])
    rows = [
        {"id": 0, "name": "x", "cells": [0, 1], "counts": [30, 2], "pixels": 32, "correct": 0.9},
        {"id": 1, "name": "y", "cells": [0, 1], "counts": [10, 6], "pixels": 16, "correct": 0.6},
        {"id": 2, "name": "z", "cells": [1, 3], "counts": [1, 1], "pixels": 59, "correct": 0.9},
    ]
    first, second = report._collect_cells(names, matrix, rows)
    assert (first["truth"], first["answer"]) == divmod(1, size)
    assert [item["id"] for item in first["items"]] == [1, 0]
    assert first["items"][0]["caption"] == "a predicted as b in 37.5%"
    assert (second["truth"], second["answer"]) == (1, 0)
    assert [item["id"] for item in second["items"]] == [2]
