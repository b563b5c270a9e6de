"""The measured tables of docs/questions: a small residual network on scikit-learn's digits.

    python -m benchmarks questions
    python -m benchmarks questions --part imbalance
    python -m benchmarks questions --smoke

Each part compares a few settings on the same splits with the same seeds: for each setting the mean
over the seeds and its 95 % interval (Student's t), and the same for the difference to the first
setting, paired by seed. Results are kept as JSON lines; a stopped benchmark goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from benchmarks.runs import Results
from skipstone.core.registry import BACKBONES
from skipstone.training.schedules import make_curve

Scores = dict[str, float]
Data = tuple[Tensor, Tensor]  # (N, 1, 8, 8) in -1..1 and (N,)


@dataclass(frozen=True)
class Case:
    """One setting of a part.

    Args:
        samples: training images that are used; 0 for all.
        rare: training images that the classes 5 to 9 keep; 0 for all.
        balance: "weights" in the loss, a "sampler", "both" or "none".
        dropout: where: "none", in the "block", on the "sum" with the shortcut, before the "head".
        frozen: stages, from the first to before the second, that keep the weights of another task;
            the stem is stage 0.
    """

    name: str
    samples: int = 0
    epochs: int = 20
    batch: int = 32
    lr: float = 0.05
    schedule: str = "cosine"
    norm: str = "batch"
    dropout: str = "none"
    rare: int = 0
    balance: str = "none"
    augment: str = "none"
    pretrained: bool = False
    frozen: tuple[int, int] = (0, 0)


class Classifier(nn.Module):
    """A residual network of three blocks, its average pool and a linear layer."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        entry = BACKBONES["resnet20"]
        inside = 0.3 if case.dropout == "block" else 0.0
        options = {"width": 0.5, "depth": 0.34, "norm": case.norm, "block_dropout": inside}
        self.backbone = entry.load()("resnet20", entry.make_options(options), in_channels=1)
        self.dropout = nn.Dropout(0.3 if case.dropout == "head" else 0.0)
        self.linear = nn.Linear(self.backbone.channels[-1], 10)
        if case.dropout == "sum":
            for stage in self.backbone.block_stages():
                stage.add_module("dropout", nn.Dropout(0.3))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.dropout(self.backbone(x)[-1].mean(dim=(2, 3))))
        return logits


def load_split(seed: int) -> tuple[Data, Data]:
    """Two thirds of the digits for training and one third for scoring."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = torch.from_numpy(data.images).float()[:, None] / 8 - 1
    labels = torch.from_numpy(data.target).long()
    fit, judge = train_test_split(
        np.arange(len(labels)), test_size=1 / 3, stratify=labels, random_state=seed
    )
    return (images[fit], labels[fit]), (images[judge], labels[judge])


def choose_rows(y: Tensor, case: Case) -> Tensor:
    """Row numbers of the training images that a case uses, classes in equal shares."""
    rows = []
    for label in sorted(set(y.tolist())):
        found = (y == label).nonzero()[:, 0]
        most = case.rare if case.rare and label >= 5 else len(found)
        rows.append(found[: min(most, case.samples // 10 if case.samples else most)])
    return torch.cat(rows)


def augment_batch(x: Tensor, how: str, generator: torch.Generator) -> Tensor:
    """Shift by a pixel, or mirror, each image of the batch."""
    if how == "mirror":
        mirrored = torch.rand(len(x), generator=generator) < 0.5
        return torch.where(mirrored[:, None, None, None], x.flip(3), x)
    if how == "shift":
        moves = torch.randint(-1, 2, (len(x), 2), generator=generator).tolist()
        pairs = zip(F.pad(x, (1, 1, 1, 1), value=-1), moves, strict=True)
        return torch.stack([image[:, 1 + a : 9 + a, 1 + b : 9 + b] for image, (a, b) in pairs])
    return x


def class_factors(y: Tensor) -> Tensor:
    """N / (K n_c), the weights that scikit-learn calls "balanced"; 1 for absent classes."""
    counts = torch.bincount(y, minlength=10).float()
    return torch.where(counts > 0, len(y) / (counts.count_nonzero() * counts.clamp(min=1)), 1.0)


def fit_network(network: Classifier, data: Data, case: Case, seed: int) -> None:
    """SGD with momentum 0.9 and weight decay 5e-4."""
    x, y = data
    factors = class_factors(y)
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, case.lr, momentum=0.9, weight_decay=5e-4)
    per_epoch = max(1, len(y) // case.batch)
    total = per_epoch * case.epochs
    curve = make_curve(case.schedule, total=total, warmup=0)
    generator = torch.Generator().manual_seed(seed)
    chances = factors[y] if case.balance in ("sampler", "both") else torch.ones(len(y))
    weights = factors if case.balance in ("weights", "both") else None
    order = torch.empty(0, dtype=torch.long)
    for step in range(total):
        if step % per_epoch == 0:
            with_repeats = case.balance in ("sampler", "both")
            order = torch.multinomial(chances, len(y), with_repeats, generator=generator)
        rows = order[step % per_epoch * case.batch :][: case.batch]
        for group in optimizer.param_groups:
            group["lr"] = case.lr * curve(step)
        set_modes(network, case)
        logits = network(augment_batch(x[rows], case.augment, generator))
        loss = F.cross_entropy(logits, y[rows], weight=weights)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def set_modes(network: Classifier, case: Case) -> None:
    network.train()
    for modules in network.backbone.stage_modules()[slice(*case.frozen)]:
        for module in modules:
            module.eval()


def freeze_stages(network: Classifier, case: Case) -> None:
    for modules in network.backbone.stage_modules()[slice(*case.frozen)]:
        for module in modules:
            module.requires_grad_(False)


@torch.no_grad()
def predict_probabilities(network: nn.Module, x: Tensor) -> Tensor:
    network.eval()
    probabilities: Tensor = network(x).softmax(1)
    return probabilities


def score_probabilities(probabilities: Tensor, y: Tensor) -> Scores:
    """Accuracy, recall of the classes 0 to 4 and 5 to 9, and log loss."""
    hits = (probabilities.argmax(1) == y).float()
    chosen = probabilities[torch.arange(len(y)), y]
    scores = {"accuracy": hits.mean(), "log loss": -chosen.clamp(min=1e-7).log().mean()}
    for name, part in (("recall 0-4", y < 5), ("recall 5-9", y >= 5)):
        if part.any():
            scores[name] = hits[part].mean()
    return {name: float(value) for name, value in scores.items()}


def train_case(case: Case, seed: int, member: int = 0) -> tuple[Classifier, Data]:
    """A trained network and the data to score it on."""
    (x, y), judge = load_split(seed)
    torch.manual_seed(1000 * member + seed)
    network = Classifier(case)
    if case.pretrained:  # 0 to 4 first, then 5 to 9 with few images each
        first = y < 5
        source = replace(case, samples=0, epochs=20, frozen=(0, 0))
        fit_network(network, (x[first], y[first]), source, seed)
        freeze_stages(network, case)
        network.linear.reset_parameters()
    if case.name in FINE_TUNING_NAMES:
        x, y = x[y >= 5], y[y >= 5]
        judge = (judge[0][judge[1] >= 5], judge[1][judge[1] >= 5])
    rows = choose_rows(y, case)
    fit_network(network, (x[rows], y[rows]), case, 1000 * member + seed)
    return network, judge


def score_case(case: Case, seed: int) -> Scores:
    network, (x, y) = train_case(case, seed)
    return score_probabilities(predict_probabilities(network, x), y)


def score_ensemble(members: int, how: str) -> Callable[[int], Scores]:
    """Networks of other initial weights and orders of the same 100 images."""

    def score(seed: int) -> Scores:
        case = Case("ensemble", samples=100, epochs=40)
        answers = []
        for member in range(members):
            network, (x, y) = train_case(case, seed, member)
            answers.append(predict_probabilities(network, x))
        stacked = torch.stack(answers)  # (members, N, 10)
        if how == "vote":
            stacked = F.one_hot(stacked.argmax(2), 10).float()
        return score_probabilities(stacked.mean(0), y)

    return score


FEW: dict[str, Any] = {"samples": 100, "epochs": 40}
TUNED: dict[str, Any] = {"samples": 100, "epochs": 30, "pretrained": True, "lr": 0.02}
CASES: dict[str, tuple[Case, ...]] = {
    "batch": tuple(
        Case(f"{norm} norm, batches of {size}", norm=norm, batch=size, lr=0.1 * size / 64, **FEW)
        for size in (32, 8, 4)
        for norm in ("batch", "group")
    ),
    "dropout": tuple(
        Case(words, dropout=place, **FEW)
        for words, place in (
            ("none", "none"),
            ("inside the block, before its last convolution", "block"),
            ("after the sum, on the shortcut", "sum"),
            ("before the last linear layer", "head"),
        )
    ),
    "imbalance": tuple(
        Case(words, rare=8, balance=how)
        for words, how in (
            ("nothing", "none"),
            ("class weights in the loss", "weights"),
            ("weighted sampler", "sampler"),
            ("both", "both"),
        )
    ),
    "schedules": tuple(
        Case(name, schedule=name, samples=200, epochs=15, lr=0.2)
        for name in ("constant", "step", "cosine", "one-cycle")
    ),
    "augmentation": tuple(
        Case(words, augment=how, **FEW)
        for words, how in (("none", "none"), ("shift by a pixel", "shift"), ("mirror", "mirror"))
    ),
    "freezing": (
        Case("random weights", samples=100, epochs=30, lr=0.02),
        Case("all layers trained", **TUNED),
        Case("only the last layer trained", frozen=(0, 4), **TUNED),
        Case("stem and first stage frozen", frozen=(0, 2), **TUNED),
        Case("last two stages frozen", frozen=(2, 4), **TUNED),
    ),
}
FINE_TUNING_NAMES = {case.name for case in CASES["freezing"]}
ENSEMBLES = {
    "one network": score_ensemble(1, "mean"),
    "5 networks, majority": score_ensemble(5, "vote"),
    "3 networks, mean of probabilities": score_ensemble(3, "mean"),
    "5 networks, mean of probabilities": score_ensemble(5, "mean"),
}
PARTS = (*CASES, "ensembles")


def part_functions(part: str) -> dict[str, Callable[[int], Scores]]:
    """name of the setting -> its scores for a seed."""
    if part == "ensembles":
        return ENSEMBLES
    return {case.name: partial(score_case, case) for case in CASES[part]}


def mean_interval(values: Sequence[float]) -> str:
    """97.1 (96.2 - 98.0), or without brackets for a single value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.2f}"
    reach = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return f"{mean:.2f} ({mean - reach:.2f} to {mean + reach:.2f})"


def table_lines(rows: dict[str, list[Scores]]) -> list[str]:
    """Scores in %, log loss as it is, and the difference of accuracy to the first row."""
    first = next(iter(rows.values()))
    lines = []
    for name, scores in rows.items():
        cells = [
            f"{key} {mean_interval([s[key] * (1 if key == 'log loss' else 100) for s in scores])}"
            for key in scores[0]
        ]
        pairs = zip(scores, first, strict=True)
        gaps = [100 * (s["accuracy"] - f["accuracy"]) for s, f in pairs]
        lines.append(f"  {name}: {'; '.join(cells)}; difference {mean_interval(gaps)}")
    return lines


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks questions")
    made.add_argument("--out", default="runs/benchmarks/questions", help="folder for results")
    made.add_argument("--part", choices=PARTS, help="only this part (default: all)")
    made.add_argument("--seeds", type=int, default=5, help="so many seeds, from 0 on")
    made.add_argument("--smoke", action="store_true", help="one seed of one part")
    return made


def main(arguments: list[str]) -> int:
    """Train what is missing and print."""
    given = parser().parse_args(arguments)
    parts = ["schedules"] if given.smoke else [given.part] if given.part else list(PARTS)
    results = Results(Path(given.out))
    for part in parts:
        rows: dict[str, list[Scores]] = {}
        for name, score in part_functions(part).items():
            for seed in range(1 if given.smoke else given.seeds):
                key = f"{part}: {name}, seed {seed}"
                row = results.get(key) or results.add(key, {"scores": score(seed)})
                rows.setdefault(name, []).append(row["scores"])
        print(f"{part} (mean over {len(next(iter(rows.values())))} seeds and its 95 % interval)")
        print("\n".join(table_lines(rows)), flush=True)
    return 0
