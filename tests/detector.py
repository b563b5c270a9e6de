"""A small detector that is no part of the package: it is here to keep the seams honest.

Its targets are ragged, its loss lives in the head and samples targets, it has several outputs, and
its task is not about one label a sample. Nothing in the package knows it.

    with registered(): ...                     in this process
    install(folder); PYTHONPATH=folder ...     in others, through entry points

Head: at each cell of the deepest map, distances from the cell's centre to the four sides, and a
score a class, as FCOS has them (Tian et al. 2019, sec. 3.1), without centre-ness and levels.
Boxes are (x1, y1, x2, y2) in fractions of the picture, so they suit pictures resized by squashing.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from skipstone.bundle.arch import Part
from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions
from skipstone.data.samples import Meta
from skipstone.errors import DataError
from skipstone.models.heads.base import Head, Targets
from skipstone.models.losses import SigmoidFocal
from skipstone.registry import HEADS, READERS, TASKS, Entry
from skipstone.tasks.base import Difference, Metric, Prediction, Record

BOX_TYPE = pa.list_(pa.struct([("label", pa.string()), ("box", pa.list_(pa.float64()))]))


class BoxesReader:
    """A folder with boxes.json: {"pictures/1.png": [{"label": "disc", "box": [pixels x 4]}]}."""

    def sniff(self, path: Path) -> str | None:
        return "boxes.json beside pictures" if (path / "boxes.json").is_file() else None

    def read(self, path: Path, options: ReadOptions) -> Manifest:
        rows = json.loads((path / "boxes.json").read_text())
        targets = []
        for name, boxes in rows.items():
            with Image.open(path / name) as picture:
                scale = (*picture.size, *picture.size)
            targets.append(
                [
                    {
                        "label": item["label"],
                        "box": [v / s for v, s in zip(item["box"], scale, strict=True)],
                    }
                    for item in boxes
                ]
            )
        return Manifest.from_rows(
            {"path": list(rows), "target": targets},
            root=path,
            reader="boxes",
            input="image",
            task="boxes",
            schema={"classes": sorted({item["label"] for boxes in targets for item in boxes})},
            target_type=BOX_TYPE,
            notes=(f"Read as boxes.json: {len(targets)} pictures.",),
        )


class GridHead(Head):
    """Outputs {"boxes": (N, M, 4), "scores": (N, M, K)} (logits), M the cells of the last map."""

    def __init__(
        self, options: None, *, channels: tuple[int, ...], strides: tuple[int, ...], classes: int
    ) -> None:
        super().__init__()
        self.classes = classes
        self.layer = nn.Conv2d(channels[-1], 4 + classes, 3, padding=1)
        self.focal = SigmoidFocal(gamma=2.0)
        self.reset()

    def reset(self) -> None:
        self.layer.reset_parameters()
        assert self.layer.bias is not None
        with torch.no_grad():
            self.layer.bias[4:] = -2.0  # few cells hold something (Lin 2017, sec. 4.1)

    def forward(self, features: tuple[Tensor, ...]) -> dict[str, Tensor]:
        raw = self.layer(features[-1]).flatten(2).transpose(1, 2)  # (N, M, 4 + K)
        centre = _centres(features[-1])  # (M, 2)
        reach = raw[..., :4].sigmoid()
        boxes = torch.cat([centre - reach[..., :2], centre + reach[..., 2:]], dim=-1)
        return {"boxes": boxes, "scores": raw[..., 4:]}

    def loss(self, features: tuple[Tensor, ...], y: Targets) -> dict[str, Tensor]:
        outputs, centre = self(features), _centres(features[-1])
        box_sum = score_sum = outputs["scores"].sum() * 0.0
        for row, (boxes, labels) in enumerate(zip(y["boxes"], y["labels"], strict=True)):
            cell, which = self._assign(centre, boxes)
            wanted = torch.zeros_like(outputs["scores"][row])
            wanted[cell, labels[which]] = 1.0
            score_sum = score_sum + self.focal(outputs["scores"][row], wanted)
            gap = F.l1_loss(outputs["boxes"][row, cell], boxes[which], reduction="none")
            box_sum = box_sum + 5.0 * gap.sum()
        return {"score": score_sum, "box": box_sum}

    def weight(self, y: Targets) -> Tensor:
        """How many boxes there are; 1 where there is none."""
        return torch.tensor(float(max(1, sum(len(boxes) for boxes in y["boxes"]))))

    def _assign(self, centre: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Cells (P,) and the box each of them answers for: the nearest one to its middle."""
        if len(boxes) == 0:
            nothing = torch.zeros(0, dtype=torch.int64, device=centre.device)
            return nothing, nothing
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        return torch.cdist(middle, centre).argmin(dim=1), torch.arange(len(boxes))


def _as_it_is(value: Any) -> Any:
    return value


def _centres(feature: Tensor) -> Tensor:
    """(M, 2): x and y of each cell's centre, in fractions of the picture."""
    height, width = feature.shape[-2:]
    y = (torch.arange(height, dtype=feature.dtype, device=feature.device) + 0.5) / height
    x = (torch.arange(width, dtype=feature.dtype, device=feature.device) + 0.5) / width
    return torch.stack([x.repeat(height), y.repeat_interleave(width)], dim=1)


@dataclass(frozen=True, kw_only=True)
class BoxesOptions:
    iou: float = 0.5  # overlap from which a box counts as found


class Boxes:
    """Targets are lists of {"label", "box"}; y {"boxes": (n, 4), "labels": (n,)}, ragged.

    A record: hits, answered, truths (counts at the IoU of the options), correct (F1 of the
    sample), loss (1 - mean best IoU), and id and name.
    """

    name = "boxes"
    ragged = frozenset({"boxes", "labels"})
    places = frozenset({"boxes"})
    headline = "f1"

    def __init__(self, options: BoxesOptions, schema: Mapping[str, Any]) -> None:
        self.options = options
        self.schema = dict(schema)
        self.classes: list[str] = list(schema["classes"])

    def head(self) -> Part:
        return Part("grid", {"options": {}, "shape": {"classes": len(self.classes)}})

    def opener(self, manifest: Manifest) -> Callable[[Any], Any]:
        return _as_it_is

    def target(self, value: Any, meta: Meta | None = None) -> dict[str, Tensor]:
        if not self.knows(value):
            raise DataError(f"{value!r} is no list of boxes of {', '.join(self.classes)}.")
        boxes = torch.tensor([item["box"] for item in value], dtype=torch.float32).reshape(-1, 4)
        labels = [self.classes.index(item["label"]) for item in value]
        return {"boxes": boxes, "labels": torch.tensor(labels, dtype=torch.int64)}

    def soften(self, y: dict[str, Any]) -> dict[str, Any] | None:
        return None

    def knows(self, value: Any) -> bool:
        return isinstance(value, list) and all(
            isinstance(item, dict) and item.get("label") in self.classes for item in value
        )

    def statistics(self, manifest: Manifest) -> Mapping[str, Any]:
        return {}

    def predict(
        self, outputs: Mapping[str, np.ndarray], metas: Sequence[Meta], post: Mapping[str, Any]
    ) -> list[Prediction]:
        if not all(np.isfinite(value).all() for value in outputs.values()):
            raise DataError(f"not finite: the answers to {', '.join(m.name for m in metas)}")
        probability = 1 / (1 + np.exp(-outputs["scores"].astype(np.float64)))  # (N, M, K)
        found = []
        for boxes, scores, meta in zip(outputs["boxes"], probability, metas, strict=True):
            best = scores.max(axis=1)
            keep: list[int] = []
            for cell in np.argsort(-best, kind="stable"):
                clash = keep and overlap(boxes[cell][None], boxes[keep]).max() > 0.5
                if best[cell] >= post.get("score", 0.3) and not clash:
                    keep.append(int(cell))
            fields = {
                "label": [self.classes[scores[cell].argmax()] for cell in keep],
                "probability": [float(best[cell]) for cell in keep],
                "boxes": [[float(value) for value in boxes[cell]] for cell in keep],
            }
            found.append(Prediction(meta, fields, {"boxes": boxes[keep], "scores": scores[keep]}))
        return found

    def evidence(
        self, outputs: Mapping[str, np.ndarray], metas: Sequence[Meta], targets: Sequence[Any]
    ) -> tuple[Mapping[str, np.ndarray], Sequence[Any]]:
        return outputs, targets

    def calibrate(
        self, outputs: Mapping[str, np.ndarray], targets: Sequence[Any]
    ) -> dict[str, Any]:
        def f1(score: float) -> float:
            metas = [Meta(row) for row in range(len(targets))]
            answers = self.predict(outputs, metas, {"score": score})
            records = [self.score(p, t) for p, t in zip(answers, targets, strict=True)]
            return self.compute(records)["f1"]

        return {"score": max(np.linspace(0.1, 0.8, 15).tolist(), key=f1) if len(targets) else 0.3}

    def score(self, prediction: Prediction, target: Any) -> Record:
        truth = np.array([item["box"] for item in target], np.float64).reshape(-1, 4)
        iou = overlap(truth, prediction.scores["boxes"])  # (truths, answers)
        free, hits, labels = set(range(iou.shape[1])), 0, prediction.fields["label"]
        for row, item in enumerate(target):
            fit = [
                c for c in free if labels[c] == item["label"] and iou[row, c] >= self.options.iou
            ]
            if fit:
                hits += 1
                free.remove(max(fit, key=lambda column: iou[row, column]))
        answered, truths = iou.shape[1], len(truth)
        best = iou.max(axis=1).mean() if answered and truths else float(answered == truths)
        return {
            "id": prediction.meta.id,
            "name": prediction.meta.name,
            "hits": hits,
            "answered": answered,
            "truths": truths,
            "correct": 2 * hits / (answered + truths) if answered + truths else 1.0,
            "iou": float(best),
            "loss": 1 - float(best),
        }

    def metrics(self) -> tuple[Metric, ...]:
        return (
            Metric("f1", f"F1 of boxes at IoU {self.options.iou}", "bootstrap"),
            Metric("mean_iou", "mean best IoU", "bootstrap"),
        )

    def compute(self, records: Sequence[Record]) -> dict[str, float]:
        hits = sum(record["hits"] for record in records)
        both = sum(record["answered"] + record["truths"] for record in records)
        return {
            "f1": 2 * hits / both if both else 1.0,
            "mean_iou": float(np.mean([record["iou"] for record in records])),
        }

    def difference(
        self,
        reference: Mapping[str, np.ndarray],
        outputs: Mapping[str, np.ndarray],
        post: Mapping[str, Any],
    ) -> Difference:
        n = len(reference["scores"])
        if any(reference[key].shape != outputs[key].shape for key in reference):
            return Difference(np.inf, np.inf, n, 0, n)
        was, now = (1 / (1 + np.exp(-o["scores"].astype(np.float64))) for o in (reference, outputs))
        gaps = [
            np.abs(reference[k] - outputs[k]).max() / np.abs(reference[k]).max() for k in reference
        ]
        changed = (was >= post.get("score", 0.3)) != (now >= post.get("score", 0.3))
        clear = changed & (np.abs(was - post.get("score", 0.3)) > 1e-4) | np.isnan(now)
        flips = clear.any(axis=(1, 2))
        ties = changed.any(axis=(1, 2)) & ~flips
        worst, gap = float(np.abs(was - now).max()), float(max(gaps))
        return Difference(
            np.inf if np.isnan(worst) else worst,
            np.inf if np.isnan(gap) else gap,
            int(flips.sum()),
            int(ties.sum()),
            n,
        )

    def sections(
        self, records: Sequence[Record], post: Mapping[str, Any]
    ) -> list[Mapping[str, Any]]:
        score = post.get("score", 0.3)
        return [{"kind": "facts", "title": "Boxes", "items": [["score", score]]}]


def overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """IoU of each box of (n, 4) with each of (m, 4): (n, m)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area = [np.clip(b[:, 2:] - b[:, :2], 0, None).prod(axis=1) for b in (one, other)]
    whole = area[0][:, None] + area[1][None] - shared
    return np.asarray(shared / np.maximum(whole, 1e-12))


READER = Entry("boxes", f"{__name__}:BoxesReader", summary="boxes.json beside pictures")
HEAD = Entry("grid", f"{__name__}:GridHead", summary="boxes and scores at each cell")
TASK = Entry("boxes", f"{__name__}:Boxes", f"{__name__}:BoxesOptions", summary="find things")


@contextlib.contextmanager
def registered() -> Iterator[None]:
    """The plugin's names are known within the block."""
    added = ((READERS, READER), (HEADS, HEAD), (TASKS, TASK))
    for registry, entry in added:
        registry.add(entry)
    try:
        yield
    finally:
        for registry, entry in added:
            registry.remove(entry.name)


def install(folder: Path) -> None:
    """Make `folder`, once on PYTHONPATH, bring this module as the installed skipstone-boxes."""
    shutil.copy(__file__, folder / "skipstone_boxes.py")
    info = folder / "skipstone_boxes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: skipstone-boxes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[skipstone.readers]\nboxes = skipstone_boxes:READER\n"
        "[skipstone.heads]\ngrid = skipstone_boxes:HEAD\n"
        "[skipstone.tasks]\nboxes = skipstone_boxes:TASK\n"
    )


def write_boxes(folder: Path, count: int, *, seed: int = 0, side: int = 64) -> Path:
    """`count` generated pictures with one or two bright squares ("square") or discs ("disc")."""
    rng = np.random.default_rng(seed)
    (folder / "pictures").mkdir(parents=True)
    rows: dict[str, list[dict[str, Any]]] = {}
    for number in range(count):
        picture = rng.integers(0, 60, (side, side, 3)).astype(np.uint8)
        boxes = []
        for half in range(int(rng.integers(1, 3))):  # one on the left, perhaps one on the right
            size = int(rng.integers(side // 4, side // 2 - 2))
            x = half * side // 2 + int(rng.integers(0, side // 2 - size))
            y = int(rng.integers(0, side - size))
            label = ("square", "disc")[int(rng.integers(2))]
            inside = np.ones((size, size), bool)
            if label == "disc":
                across = np.linspace(-1, 1, size)
                inside = across[:, None] ** 2 + across[None] ** 2 <= 1
            colour = (250, 200, 40) if label == "disc" else (60, 200, 250)
            picture[y : y + size, x : x + size][inside] = colour
            boxes.append({"label": label, "box": [x, y, x + size, y + size]})
        name = f"pictures/{number}.png"
        Image.fromarray(picture).save(folder / name)
        rows[name] = boxes
    (folder / "boxes.json").write_text(json.dumps(rows))
    return folder
