"""What the shortcut does: deep networks with and without it, as in He et al. 2015, figure 6.

    python -m benchmarks residual --out DIR
    python -m benchmarks residual --smoke

resnet20, resnet56 and resnet110 learn scikit-learn's handwritten digits (at 16 pixels) for the same
steps from the same seed, with their shortcuts and without (`--no-residual`). Printed for each: the
norm of the gradient at layers of growing depth, relative to that of the last convolution, at the
first step and as a mean of the last steps; the training loss; and the accuracy on a third of the
digits that nothing was learnt from. Results are kept as JSON lines; a stopped run goes on.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.runs import Results, shown
from skipstone.core import events
from skipstone.core.registry import BACKBONES
from skipstone.evaluation.intervals import wilson_interval

#: Depths at which gradients are shown, as shares of the way from the first convolution to the last.
PLACES = (0.0, 0.25, 0.5, 0.75, 1.0)
#: Steps at the end over which gradients and the loss are averaged.
LAST = 20
BATCH = 64


class Classifier(nn.Module):
    """A residual network, its average pool and a linear layer."""

    def __init__(self, name: str, *, residual: bool) -> None:
        super().__init__()
        entry = BACKBONES[name]
        options = entry.make_options({"residual": residual})
        self.backbone = entry.load()(name, options, in_channels=1)
        self.linear = nn.Linear(self.backbone.channels[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.backbone(x)[-1].mean(dim=(2, 3)))
        return logits

    def convolutions(self) -> list[nn.Conv2d]:
        """The 3x3 ones in the order of the forward pass: what the network's depth counts."""
        every = [m for m in self.backbone.modules() if isinstance(m, nn.Conv2d)]
        return [conv for conv in every if conv.kernel_size == (3, 3)]


def digits(seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(pictures, labels) to learn from and to judge by; pictures (N, 1, 16, 16) in -1..1."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    pictures = torch.from_numpy(data.images).float()[:, None] / 8 - 1
    pictures = F.interpolate(pictures, size=(16, 16), mode="bilinear")
    rows = np.arange(len(pictures))
    fit, judge = train_test_split(rows, test_size=1 / 3, stratify=data.target, random_state=seed)
    labels = torch.from_numpy(data.target)
    return (pictures[fit], labels[fit]), (pictures[judge], labels[judge])


def train(name: str, *, residual: bool, steps: int, seed: int) -> dict[str, Any]:
    """One row of the result: SGD with momentum at 0.1, as in the paper, down a cosine."""
    torch.manual_seed(seed)
    (x, y), (unseen, truth) = digits(seed)
    network = Classifier(name, residual=residual)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    layers = network.convolutions()
    first: list[float] = []
    norms, losses = torch.zeros(len(layers), dtype=torch.float64), []
    generator = torch.Generator().manual_seed(seed)
    for step in events.track_progress(
        range(steps), f"{name}{'' if residual else ', no shortcuts'}"
    ):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * 0.5 * (1 + math.cos(math.pi * step / steps))
        batch = torch.randint(len(x), (BATCH,), generator=generator)
        loss = F.cross_entropy(network(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        found = [float(conv.weight.grad.norm()) for conv in layers if conv.weight.grad is not None]
        first = first or found
        if step >= steps - LAST:
            norms += torch.tensor(found, dtype=torch.float64) / min(LAST, steps)
            losses.append(float(loss.detach()))
        optimizer.step()
    network.eval()
    with torch.no_grad():
        right = int((network(unseen).argmax(dim=1) == truth).sum())
    places = [round(place * (len(layers) - 1)) for place in PLACES]
    low, high = wilson_interval(right, len(truth))
    return {
        "residual": residual,
        "layers": len(layers) + 1,  # and the linear one
        "first": [first[place] / first[-1] for place in places],
        "last": [float(norms[place] / norms[-1]) for place in places],
        "loss": float(np.mean(losses)),
        "accuracy": {"value": right / len(truth), "low": low, "high": high, "n": len(truth)},
    }


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Lines for the terminal."""
    depths = "".join(f"{f'{place:.0%}':>10}" for place in PLACES)
    lines = [f"{'layers':>6} {'shortcuts':>9} {'step':>6}  gradient norm at depth {depths}"]
    for row in rows:
        shortcuts = "yes" if row["residual"] else "no"
        for when in ("first", "last"):
            norms = "".join(f"{norm:10.3g}" for norm in row[when])
            lines.append(f"{row['layers']:>6} {shortcuts:>9} {when:>6} {'':>23} {norms}")
    lines.append("")
    for row in rows:
        words = "with shortcuts" if row["residual"] else "without"
        lines.append(
            f"{row['layers']:>4} layers {words:<14}  loss {row['loss']:.3f}  "
            f"accuracy on unseen digits {shown(row['accuracy'])}"
        )
    return lines


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks residual")
    made.add_argument("--out", default="runs/benchmarks/residual", help="folder for results")
    made.add_argument("--steps", type=int, default=200)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--smoke", action="store_true", help="resnet20 for three steps")
    return made


def main(arguments: list[str]) -> int:
    """Train what is missing and print."""
    given = parser().parse_args(arguments)
    names = ["resnet20"] if given.smoke else ["resnet20", "resnet56", "resnet110"]
    steps = 3 if given.smoke else given.steps
    results = Results(Path(given.out))
    rows = []
    for name in names:
        for residual in (True, False):
            key = f"{name} {'residual' if residual else 'plain'} {steps} steps seed {given.seed}"
            row = results.get(key)
            if row is None:
                row = results.add(key, train(name, residual=residual, steps=steps, seed=given.seed))
            rows.append(row)
    print("\n".join(table(rows)))
    return 0
