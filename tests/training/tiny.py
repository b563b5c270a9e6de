"""A network, a loader and a task that train in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipstone.data.samples import Batch, SampleMeta
from skipstone.models.backbone import Backbone
from skipstone.models.heads.base import Head
from skipstone.models.losses import Criterion, Targets
from skipstone.models.network import Network
from skipstone.tasks.base import Metric
from skipstone.training.fit import FitResult, fit
from skipstone.training.loop import Batches
from skipstone.training.options import TrainOptions
from skipstone.training.recipe import Recipe, RecipeFacts, resolve_recipe
from skipstone.training.run_directory import open_or_resume
from skipstone.training.run_manager import Evaluate


class TinyBackbone(Backbone):
    def __init__(self, *, norm: bool = True, dropout: float = 0.1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.middle = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.deep = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.channels, self.strides, self.classifier_name = (8,), (4,), "fc"

    def stage_modules(self) -> list[list[nn.Module]]:
        return [[self.stem, self.norm], [self.middle], [self.deep, self.dropout]]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = F.relu(self.norm(self.stem(x)))
        return (self.dropout(F.relu(self.deep(F.relu(self.middle(x))))),)


class TinyHead(Head):
    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.linear = nn.Linear(8, classes)

    def forward(self, features: tuple[Tensor, ...], size: Sequence[int]) -> dict[str, Tensor]:
        return {"logits": self.linear(features[-1].mean((2, 3)))}


class TinyCriterion(Criterion):
    def forward(self, outputs: dict[str, Tensor], y: Targets) -> dict[str, Tensor]:
        logits = outputs["logits"].float()
        return {"cross_entropy": F.cross_entropy(logits, y["label"], reduction="sum")}

    def weight(self, y: Targets) -> Tensor:
        return torch.tensor(float(len(y["label"])))


class Front(nn.Module):
    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return x["image"]


def tiny_network(seed: int = 0, **options: Any) -> Network:
    torch.manual_seed(seed)
    return Network(front=Front(), backbone=TinyBackbone(**options), head=TinyHead())


class TinyLoader:
    """Bright or dark 8x8 images with noise; a new order each epoch."""

    def __init__(self, samples: int = 48, batch_size: int = 8, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.arange(samples) % 2
        noise = torch.randn(samples, 1, 8, 8, generator=generator)
        self.images = noise + 0.8 * (2 * self.labels - 1).reshape(-1, 1, 1, 1)
        self.batch_size, self.seed = batch_size, seed
        self.served: list[tuple[int, int]] = []
        self.on_batch: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def iterate_epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(self.seed * 1000 + number)
        order = torch.randperm(len(self.labels), generator=generator)
        for index in range(start, len(self)):
            self.served.append((number, index))
            self.on_batch()
            rows = order[index * self.batch_size : (index + 1) * self.batch_size]
            metas = [SampleMeta(int(row), f"photo{int(row)}.png") for row in rows]
            yield Batch({"image": self.images[rows]}, {"label": self.labels[rows]}, metas)


class TinyTask:
    name, headline, tie_breaks = "tiny", "accuracy", ("loss",)

    def criterion(self) -> Criterion:
        return TinyCriterion()

    def list_metrics(self) -> tuple[Metric, ...]:
        return (
            Metric("accuracy", "accuracy", "proportion", field="correct"),
            Metric("loss", "cross-entropy", "bootstrap", higher_is_better=False),
        )


def evaluate(network: Network) -> dict[str, float]:
    """Accuracy and loss on images the loader does not have; draws random numbers on purpose."""
    torch.rand(3)
    held_out = TinyLoader(seed=99)
    training = {module: module.training for module in network.modules()}
    network.eval()
    with torch.no_grad():
        logits = network({"image": held_out.images})["logits"]
    for module, mode in training.items():
        module.training = mode
    correct = (logits.argmax(1) == held_out.labels).float().mean()
    return {"accuracy": float(correct), "loss": float(F.cross_entropy(logits, held_out.labels))}


def recipe_of(**options: Any) -> Recipe:
    """A quick recipe: f32, no timing, and the given options."""
    chosen = {"precision": "f32", "channels_last": False, "batch_size": 8, "device": "cpu"}
    return resolve_recipe(TrainOptions(**(chosen | options)), RecipeFacts(samples=48, values=8 * 8))


def train(
    base: Path,
    *,
    network: Network | None = None,
    loader: Batches | None = None,
    evaluate: Evaluate = evaluate,
    **options: Any,
) -> tuple[Network, FitResult]:
    """Train in a run folder under `base`; the same options resume an unfinished run."""
    network = network or tiny_network()
    recipe = recipe_of(**options)
    with open_or_resume(base, recipe.to_json()) as run:
        result = fit(
            network,
            task=TinyTask(),  # type: ignore[arg-type]
            loader=loader or TinyLoader(),
            evaluate=evaluate,
            options=recipe,
            run=run,
        )
        run.finish(keep_checkpoint=True)
    return network, result
