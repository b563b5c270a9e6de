"""Stories of runs that were never trained: real task blocks over drawn answers."""

from __future__ import annotations

import functools
from dataclasses import asdict
from typing import Any

import numpy as np

from skipstone.data.samples import SampleMeta
from skipstone.evaluation.intervals import wilson_interval
from skipstone.report.data_uris import encode_data_uri
from skipstone.report.report_schema import ReportData, to_json_safe
from skipstone.tasks.classification.task import ClassificationTask
from skipstone.tasks.options import ClassifyOptions

HOSTILE = [
    '<img src=x onerror="alert(1)">',
    "</style></title><script>alert(2)</script>",
    "[/red][bold]markup[/bold]",
    "\x1b[31mescape\x1b[0m",
    "gnp.\u202eexe",
    "tab\tline\nnul\x00",
    "lone\udcff",
    "\"'><svg onload=alert(3)>",
    "javascript:alert(4)",
    "ערב טוב",
    "家猫和一个很长的中文类别名称",
    "a very long class name that somebody took from a folder of a folder of a folder of photos",
    "{{7*7}} ${7*7} %s %(x)s",
    "Crème brûlée",
]


def names(classes: int, *, hostile: bool = False) -> list[str]:
    given = list(HOSTILE) if hostile else []
    species = ["warbler", "sparrow", "tern", "gull", "woodpecker", "flycatcher", "grebe", "vireo"]
    return [*given, *(f"{k:03d} {species[k % 8]}" for k in range(classes))][:classes]


@functools.cache
def story(classes: int, *, hostile: bool = False, samples: int = 0) -> ReportData:
    """A run with `classes` classes, right about nine times in ten."""
    rng = np.random.default_rng(classes)
    labels = names(classes, hostile=hostile)
    n = samples or 12 * classes
    task = ClassificationTask(ClassifyOptions(), {"classes": labels})
    records = _records(task, labels, n, rng)
    errors = task.summarize_errors(records)
    assert errors is not None
    sections = [_with_pictures(dict(block), rng) for block in task.report_sections(records, {})]
    data = labels[0] if hostile else "photos"
    return ReportData(
        title=f"{data}: resnet18",
        subtitle=f"image, classify, {classes} classes, {n * 9:,} rows; 1 May 2026, 10:00 UTC",
        command=f"skipstone train '{data if hostile else 'photos/'}' --epochs 30",
        headline="accuracy",
        metrics=_metrics(task, records),
        role="test",
        split="the validation split of the data, scored once",
        seed=0,
        trained=[["Model", "resnet18, from scratch"], ["Parameters", "11.2 million"]],
        roles={"train": n * 7, "val": n, "test": n},
        classes=[
            {"name": name, "train": int(rng.integers(40, 100)), "val": 12, "test": 12}
            for name in labels
        ],
        commands={name: f"skipstone {name} runs/001" for name in ("audit", "shrink", "export")},
        sample="picture",
        errors=to_json_safe(asdict(errors)),
        stopped_by="epochs",
        notes=[f"Read as class folders: {n * 9} pictures in {classes} classes."],
        unscored=[{"name": f"{labels[0]}/cut.jpg", "error": "cut off after 1,024 bytes"}],
        history=_history(rng),
        best=26,
        sections=to_json_safe(sections),
        verification=_verification(),
        programs=[
            {
                "name": "openvino-f32",
                "runtime": "openvino",
                "precision": "f32",
                "bytes": 44_700_000,
                "default": True,
            }
        ],
        versions={"skipstone": "0.1.0", "torch": "2.14.1"},
    )


def _records(
    task: ClassificationTask, labels: list[str], n: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Drawn answers to `n` samples, scored; each class is there at least once."""
    classes = len(labels)
    truth = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    logits = rng.normal(0, 1.6, (n, classes))
    logits[np.arange(n), truth] += 3.6 + np.log(classes) * 0.8
    logits[np.arange(n), (truth + 1) % classes] += 2.0
    metas = [SampleMeta(id, f"/data/val/{labels[truth[id]]}/{id:05d}.jpg") for id in range(n)]
    answers = task.predict({"logits": logits.astype(np.float32)}, metas, {"temperature": 1.3})
    return [
        task.score_prediction(answer, labels[code])
        for answer, code in zip(answers, truth, strict=True)
    ]


def _metrics(task: ClassificationTask, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    values, n = task.compute_metrics(records), len(records)
    rows = []
    for metric in task.list_metrics():
        value = values[metric.name]
        low, high = wilson_interval(value * n, n) if value <= 1 else (0.9, 1.3)
        rows.append(
            {
                "name": metric.name,
                "title": metric.title,
                "higher_is_better": metric.higher_is_better,
                "value": value,
                "low": low,
                "high": high,
                "n": n,
            }
        )
    return rows


def _verification() -> dict[str, Any]:
    return {
        "ok": True,
        "max_difference": 8.8e-7,
        "flips": 0,
        "rows": [
            {"name": "files", "ok": True, "problem": ""},
            {
                "name": "onnxruntime-f32",
                "ok": True,
                "problem": "",
                "max_difference": 8.8e-7,
                "flips": 0,
                "n": 16,
                "tolerance": {"probability": 1e-4, "relative": 1e-4, "flips": 0},
            },
        ],
    }


def receipt(*, accepted: bool = True, tested: bool = True) -> dict[str, Any]:
    """As `shrink` writes one."""
    drop = 0.4 if accepted else 3.1
    part = {
        "before": {"value": 0.912, "low": 0.884, "high": 0.933, "n": 500},
        "after": {"value": 0.912 - drop / 100, "low": 0.88, "high": 0.93, "n": 500},
        "drop": {"value": drop, "low": drop - 0.7, "high": drop + 0.5, "n": 500},
    }
    return {
        "format": 2,
        "plan": "int8",
        "steps": [{"name": "int8", "options": {"samples": 300}, "facts": {}}],
        "metric": "accuracy",
        "title": "accuracy",
        "max_drop": 1.0,
        "accepted": accepted,
        "proven": accepted,
        "decided_on": "val",
        "proven_on": "test" if tested else "val",
        "val": {"role": "val", **part},
        "test": {"role": "test", **part} if tested else None,
        "sizes": {
            "float32_weights": 44_800_000,
            "input": [0, 0],
            "before": 44_800_000,
            "programs": {"openvino-int8": 11_400_000},
            "default": "openvino-int8",
            "ships": 11_400_000,
            "smaller": 3.93,
        },
        "latency": {
            "batch": 1,
            "rounds": 300,
            "threads": 2,
            "processors": [0, 1],
            "rows": [
                {"name": "torch-f32", "median_ms": 21.4, "p10_ms": 20.8, "p90_ms": 24.0},
                {"name": "openvino-bf16", "median_ms": 9.1, "p10_ms": 8.9, "p90_ms": 9.9},
                {"name": "openvino-int8", "median_ms": 4.2, "p10_ms": 4.0, "p90_ms": 4.9},
            ],
            "float_mode": "openvino-bf16",
            "ratios": [
                _ratio("torch-f32", 5.1, "5.10× faster"),
                _ratio("openvino-bf16", 2.17, "2.17× faster"),
            ],
            "faster": True,
            "control": _ratio("openvino-bf16, again", 1.0, "no difference"),
            "steady": True,
            "used_by_others": 0.01,
        },
        "made_from": "0" * 64,
        "versions": {},
    }


def _ratio(slow: str, value: float, words: str) -> dict[str, Any]:
    return {
        "slow": slow,
        "fast": "openvino-int8",
        "value": value,
        "low": value * 0.97,
        "high": value * 1.04,
        "words": words,
    }


def _with_pictures(block: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    if block["kind"] == "gallery":
        return {**block, "items": _draw_items(block["items"], rng)}
    cells = [
        {**cell, "items": _draw_items(cell["items"], rng)} for cell in block.get("cells", ())[:20]
    ]
    return {**block, "cells": cells} if cells else block


def _draw_items(items: list[dict[str, Any]], rng: np.random.Generator) -> list[dict[str, Any]]:
    drawn = []
    for place, item in enumerate(items):
        side = 8 if place % 5 == 0 else 160
        y, x = np.mgrid[0:side, 0:side] / side
        tint = rng.random(3)[None, None]
        record = (255 * (0.2 + 0.5 * np.sin(6 * (x * y))[..., None] ** 2 + 0.3 * tint) * tint) % 256
        uri = encode_data_uri(record.astype(np.uint8)) if place % 7 != 6 else ""
        drawn.append({**item, "picture": uri, "link": f"../../photos/{place}.jpg"})
    return drawn


def _history(rng: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    for epoch in range(1, 31):
        done = epoch / 30
        rows.append(
            {
                "epoch": epoch,
                "step": 120 * epoch,
                "phase": "all",
                "lr": 0.05 * (1 + np.cos(np.pi * done)) / 2,
                "loss": 2.2 * np.exp(-3 * done) + 0.1 + 0.03 * rng.random(),
                "losses": {},
                "metrics": {
                    "accuracy": 0.93
                    - 0.6 * np.exp(-5 * done)
                    + (0.01 * rng.random() if epoch != 26 else 0.015)
                },
                "gradients": {
                    "stem": 0.2 * np.exp(-done),
                    "stage 1": 0.1 * np.exp(-2 * done),
                    "head": 0.5 * np.exp(-3 * done),
                },
                "seconds": 10.0 * epoch,
            }
        )
    return to_json_safe(rows)
