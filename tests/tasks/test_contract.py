"""What every registered task promises, whatever it is.

A new task joins by an entry in EXAMPLES: how to draw targets, and outputs that are right about
them. Nothing else here knows any task.
"""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from skipstone.core.errors import DataError
from skipstone.core.options import get_spec
from skipstone.core.registry import HEADS, TASKS
from skipstone.data.samples import SampleMeta
from skipstone.tasks.base import Post, Prediction, Record, Task

N = 60
CLASSES = ["ant", "bee <b>", "cat, grey", "dog", "007", "NA"]
SCHEMA = {"classes": CLASSES}
Outputs = dict[str, np.ndarray]


def draw_labels(rng: np.random.Generator) -> list[Any]:
    return [CLASSES[code] for code in rng.integers(0, len(CLASSES), N)]


def draw_tags(rng: np.random.Generator) -> list[Any]:
    return [[name for name in CLASSES if rng.random() < 0.3] for _ in range(N)]


def right_labels(targets: list[Any]) -> Outputs:
    hot = np.array([[name == target for name in CLASSES] for target in targets])
    return {"logits": np.where(hot, 40.0, -40.0).astype(np.float32)}


def right_tags(targets: list[Any]) -> Outputs:
    hot = np.array([[name in target for name in CLASSES] for target in targets])
    return {"logits": np.where(hot, 40.0, -40.0).astype(np.float32)}


def draw_masks(rng: np.random.Generator) -> list[Any]:
    """Blocks of every class, and some pixels that count for nothing."""
    masks = []
    for _ in range(N):
        mask = rng.integers(0, len(CLASSES), (4, 4)).astype(np.uint8)
        mask = mask.repeat(4, 0).repeat(4, 1)  # (16, 16)
        mask[:2, :3] = 255
        masks.append(mask)
    return masks


def right_masks(targets: list[Any]) -> Outputs:
    truth = np.where(np.stack(targets) == 255, 0, np.stack(targets))
    hot = truth[:, None] == np.arange(len(CLASSES))[:, None, None]
    return {"logits": np.where(hot, 40.0, -40.0).astype(np.float32)}


def draw_boxes(rng: np.random.Generator) -> list[Any]:
    """A small, a medium and a large object of any class, apart from each other."""
    photos = []
    for _ in range(N):
        photo = []
        for left, side in ((0, 20), (100, 60), (250, 140)):
            x, y = left + rng.uniform(0, 40), rng.uniform(0, 40)
            label = CLASSES[rng.integers(0, len(CLASSES))]
            photo.append({"label": label, "box": [x, y, x + side, y + side]})
        photos.append(photo)
    return photos


def right_boxes(targets: list[Any]) -> Outputs:
    boxes = np.array([[item["box"] for item in target] for target in targets])
    hot = [[[item["label"] == name for name in CLASSES] for item in target] for target in targets]
    return {"boxes": boxes.astype(np.float32), "scores": np.array(hot, np.float32)}


def guess_boxes(targets: list[Any], noise: float) -> Outputs:
    """Right boxes, moved; right scores, drowned in noise."""
    rng, right = np.random.default_rng(1), right_boxes(targets)
    moved = rng.normal(0, noise / 10, right["boxes"].shape)
    scores = right["scores"] / 2 + rng.normal(0.1, noise / 200, right["scores"].shape)
    found = {"boxes": right["boxes"] + moved, "scores": scores.clip(0.001, 0.999)}
    return {name: value.astype(np.float32) for name, value in found.items()}


def guess_logits(right: Callable[[list[Any]], Outputs]) -> Callable[[list[Any], float], Outputs]:
    """Outputs that are right, drowned in noise."""

    def guess(targets: list[Any], noise: float) -> Outputs:
        rng = np.random.default_rng(1)
        return {
            key: (value / 8 + noise / 8 * rng.normal(size=value.shape)).astype(np.float32)
            for key, value in right(targets).items()
        }

    return guess


@dataclasses.dataclass(frozen=True)
class Example:
    draw: Callable[[np.random.Generator], list[Any]]
    right: Callable[[list[Any]], Outputs]
    guess: Callable[[list[Any], float], Outputs]
    unknown: Any  # a target that the schema cannot express


EXAMPLES = {
    "classify": Example(draw_labels, right_labels, guess_logits(right_labels), "zebra"),
    "tag": Example(draw_tags, right_tags, guess_logits(right_tags), ["ant", "zebra"]),
    "segment": Example(
        draw_masks, right_masks, guess_logits(right_masks), np.full((16, 16), 77, np.uint8)
    ),
    "detect": Example(
        draw_boxes, right_boxes, guess_boxes, [{"label": "zebra", "box": [0.0, 0.0, 9.0, 9.0]}]
    ),
}

every_task = pytest.mark.parametrize("name", sorted(entry.name for entry in TASKS))


def make(name: str, **options: Any) -> tuple[Task, Example]:
    entry = TASKS[name]
    task: Task = entry.load()(entry.make_options(options), SCHEMA)
    return task, EXAMPLES[name]


def guesses(targets: list[Any], example: Example, noise: float = 30.0) -> Outputs:
    return example.guess(targets, noise)


def answer(
    task: Task, outputs: Outputs, targets: list[Any], post: Post | None = None
) -> tuple[list[Prediction], list[Record]]:
    """Calibrated on the same targets where `post` says nothing."""
    metas = [SampleMeta(row, f"{row}.png") for row in range(N)]
    post = task.fit_postprocessing(outputs, targets) if post is None else post
    predictions = task.predict(outputs, metas, post)
    return predictions, [
        task.score_prediction(p, t) for p, t in zip(predictions, targets, strict=True)
    ]


def test_every_task_has_an_example() -> None:
    assert set(EXAMPLES) >= {entry.name for entry in TASKS if entry.distribution is None}


def test_options_and_catalogues_need_no_torch() -> None:
    code = (
        "import sys, skipstone.core.registry as r\n"
        "for kind in (r.TASKS, r.HEADS):\n"
        "    for entry in kind: entry.make_options()\n"
        "assert not {'torch', 'scipy', 'sklearn', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@every_task
def test_options_and_schema_survive_json(name: str) -> None:
    task, _ = make(name)
    values = json.loads(json.dumps(dataclasses.asdict(task.options)))
    schema = json.loads(json.dumps(dict(task.schema)))
    again = TASKS[name].load()(TASKS[name].make_options(values), schema)
    assert again.options == task.options
    assert again.schema == task.schema
    assert again.default_head() == task.default_head()
    assert all(get_spec(field).help for field in dataclasses.fields(task.options))


@every_task
def test_its_head_takes_its_targets(name: str) -> None:
    """The head that the task asks for exists, stores as JSON, and learns from its targets."""
    task, example = make(name)
    part = task.default_head()
    entry = HEADS[part.name]
    args = json.loads(json.dumps(part.to_json()["args"]))
    head = entry.load()(
        entry.make_options(args["options"]), channels=(4, 8), strides=(2, 4), **args["shape"]
    )
    targets = [task.encode_target(value) for value in example.draw(np.random.default_rng(0))[:4]]
    y = {
        key: (
            [target[key] for target in targets]
            if key in task.ragged
            else torch.stack([target[key] for target in targets])
        )
        for key in targets[0]
    }
    maps = (torch.randn(4, 4, 8, 8), torch.randn(4, 8, 4, 4, requires_grad=True))
    size = y["mask"].shape[-2:] if "mask" in y else (16, 16)
    outputs = head.training_outputs(maps, size)
    criterion = head.criterion() or task.criterion()
    total = sum(criterion(outputs, y).values()) / criterion.weight(y)
    total.backward()
    assert math.isfinite(total.item())
    assert maps[1].grad is not None
    arrays = {key: value.detach().numpy() for key, value in head(maps, size).items()}
    metas = [SampleMeta(row) for row in range(4)]
    assert [p.meta for p in task.predict(arrays, metas, {})] == metas
    soft = task.to_soft_targets(dict(y))
    if soft is not None:  # softened, not yet mixed: the same loss
        again = sum(criterion(outputs, soft).values()) / criterion.weight(soft)
        torch.testing.assert_close(again, total)


@every_task
def test_knows_its_own_targets_and_refuses_others(name: str) -> None:
    task, example = make(name)
    assert all(task.accepts_target(value) for value in example.draw(np.random.default_rng(0)))
    for value in (example.unknown, None, 7):
        assert not task.accepts_target(value)
        with pytest.raises(DataError):
            task.encode_target(value)


@every_task
def test_right_answers_score_one(name: str) -> None:
    task, example = make(name)
    targets = example.draw(np.random.default_rng(0))
    _, records = answer(task, example.right(targets), targets, post={})
    values = task.compute_metrics(records)
    assert list(values) == [metric.name for metric in task.list_metrics()]
    assert task.list_metrics()[0].name == task.headline
    assert {*task.tie_breaks} < {metric.name for metric in task.list_metrics()}
    assert task.list_metrics()[0].kind != "calibration"
    for metric in task.list_metrics():
        assert values[metric.name] == pytest.approx(1.0 if metric.higher_is_better else 0.0), metric
    assert all(record["correct"] == 1 for record in records)


@every_task
def test_worse_answers_score_less(name: str) -> None:
    task, example = make(name)
    targets = example.draw(np.random.default_rng(0))
    some = task.compute_metrics(answer(task, guesses(targets, example, 30), targets)[1])
    none = task.compute_metrics(answer(task, guesses(targets, example, 3000), targets)[1])
    assert none[task.headline] < some[task.headline] < 1


@every_task
def test_everything_it_gives_is_json_and_finite(name: str) -> None:
    task, example = make(name)
    targets = example.draw(np.random.default_rng(0))
    outputs = guesses(targets, example)
    post = task.fit_postprocessing(outputs, targets)
    predictions, records = answer(task, outputs, targets)
    for value in (
        dict(post),
        [dict(prediction.fields) for prediction in predictions],
        records,
        task.compute_metrics(records),
        [dict(section) for section in task.report_sections(records, post)],
    ):
        assert json.loads(json.dumps(value, allow_nan=False)) == value
    errors = task.summarize_errors(records)
    assert errors is None or {errors.metric, task.headline} <= set(task.compute_metrics(records))
    assert errors is None or 0 <= errors.majority <= 1
    assert {"label", "probability"} <= set(predictions[0].fields)
    assert {"correct", "loss"} <= set(records[0])


@every_task
def test_order_of_samples_does_not_matter(name: str) -> None:
    task, example = make(name)
    targets = example.draw(np.random.default_rng(0))
    _, records = answer(task, guesses(targets, example), targets)
    shuffled = [records[row] for row in np.random.default_rng(2).permutation(N)]
    assert task.compute_metrics(shuffled) == pytest.approx(task.compute_metrics(records))


@every_task
def test_metrics_survive_json_of_records(name: str) -> None:
    task, example = make(name)
    targets = example.draw(np.random.default_rng(0))
    _, records = answer(task, guesses(targets, example), targets)
    assert task.compute_metrics(json.loads(json.dumps(records))) == task.compute_metrics(records)


@every_task
def test_difference(name: str) -> None:
    task, example = make(name)
    targets = example.draw(np.random.default_rng(0))
    right = example.right(targets)
    reference = guesses(targets, example)
    post = task.fit_postprocessing(reference, targets)
    same = task.compare_outputs(reference, reference, post)
    assert (same.max_probability, same.max_relative, same.flips, same.near_ties) == (0, 0, 0, 0)
    assert same.n == N
    near = {key: value * np.float32(1 + 1e-6) for key, value in reference.items()}
    close = task.compare_outputs(reference, near, post)
    assert 0 < close.max_relative < 1e-5
    assert close.flips == 0
    reversed_ = {key: value[..., ::-1] for key, value in right.items()}
    swapped = task.compare_outputs(right, reversed_, post)
    assert swapped.flips > N / 4
    assert swapped.max_probability > 0.9
    broken = {
        key: np.where(value == value.max(), np.nan, value) for key, value in reference.items()
    }
    assert task.compare_outputs(reference, broken, post).max_probability == math.inf
    assert task.compare_outputs(reference, broken, post).flips >= 1
    short = {key: value[:, :-1] for key, value in reference.items()}
    assert task.compare_outputs(reference, short, post).flips == N


@every_task
def test_answers_that_are_no_numbers_are_refused_by_name(name: str) -> None:
    task, example = make(name)
    outputs = example.right(example.draw(np.random.default_rng(0)))
    for value in outputs.values():
        value[3] = np.nan
    with pytest.raises(Exception, match=r"3\.png"):
        task.predict(outputs, [SampleMeta(row, f"{row}.png") for row in range(N)], {})


@every_task
def test_one_sample_and_none(name: str) -> None:
    task, example = make(name)
    targets = example.draw(np.random.default_rng(0))
    one = {key: value[:1] for key, value in guesses(targets, example).items()}
    post = task.fit_postprocessing(one, targets[:1])
    assert len(task.predict(one, [SampleMeta(0)], post)) == 1
    empty = {key: value[:0] for key, value in one.items()}
    assert task.predict(empty, [], task.fit_postprocessing(empty, [])) == []
