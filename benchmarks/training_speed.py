"""How fast a step of training is, against a plain loop in eager torch (float32, NCHW).

    python -m benchmarks training-speed
    python -m benchmarks training-speed --smoke

The step is the one of `skipstone train`, in each way that it times before a training: number
format, memory layout, and the gradients of `skipstone.models.conv_bf16`. The peer does the
same sums: the same network from the same pictures in memory, all weights learn, SGD with
Nesterov momentum.
All run interleaved in one process, the peer twice; see `skipstone.compression.latency`.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from skipstone.compression.latency import BenchmarkResult, default_threads, interleaved_benchmark
from skipstone.data.samples import Batch
from skipstone.inference.restore import restore_single_network
from skipstone.models.losses import CrossEntropy, LogitsCriterion
from skipstone.models.network import Network
from skipstone.training.checkpoint import TrainState
from skipstone.training.loop import StepConfig, train_step
from skipstone.training.objective import Objective
from skipstone.training.oom import MemoryJournal, MicroBatch
from skipstone.training.optimizers import make_optimizer
from skipstone.training.options import TrainOptions
from skipstone.training.precision import Mode, candidate_modes, choose_mode
from skipstone.training.recipe import RecipeFacts, resolve_recipe
from skipstone.training.schedules import make_curve
from skipstone.workflows.compare_models import CLASS_COUNT, make_untrained_bundle

#: model, side of the pictures, channels, batch
SIZES = (
    ("efficientnet_lite0", 160, 3, 32),
    ("resnet18", 160, 3, 32),
    ("resnet20", 28, 1, 128),
)
SMOKE = (("efficientnet_lite0", 32, 3, 2), ("resnet20", 28, 1, 8))
PEER = "torch, eager f32 NCHW"
AGAIN = f"{PEER}, again"
CPU = torch.device("cpu")
#: Random weights and labels would diverge at a real rate, and NaNs take other times.
RECIPE = resolve_recipe(
    TrainOptions(optimizer="sgd", lr=1e-9, ema=0.0, device="cpu"), RecipeFacts(samples=100_000)
)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks training-speed")
    made.add_argument("--seconds", type=float, default=60.0, help="to measure, each network")
    made.add_argument("--threads", type=int, default=default_threads())
    made.add_argument(
        "--smoke", action="store_true", help="small pictures, a second each, one thread"
    )
    made.add_argument("--json", action="store_true")
    return made


def main(arguments: list[str]) -> int:
    """Measure and print."""
    given = parser().parse_args(arguments)
    seconds, threads = (1.0, 1) if given.smoke else (given.seconds, given.threads)
    for model, size, channels, batch in SMOKE if given.smoke else SIZES:
        report = measure(model, size, channels, batch, seconds, threads)
        if given.json:
            print(json.dumps(report))
        else:
            show(report)
    return 0


def measure(
    model: str, size: int, channels: int, batch: int, seconds: float, threads: int
) -> dict[str, Any]:
    """All ways of a step against each other, and which one training would take."""
    network = restore_single_network(
        make_untrained_bundle(model, size=size, channels=channels), "training"
    )
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(
        0, 256, (batch, size, size, channels), dtype=torch.uint8, generator=generator
    )
    label = torch.randint(0, CLASS_COUNT, (batch,), generator=generator)
    data = Batch({"image": image}, {"label": label}, [])
    modes = candidate_modes(RECIPE, CPU, network)
    calls = {PEER: plain_step(network, data), AGAIN: plain_step(network, data)}
    calls |= {str(mode): own_step(network, data, mode) for mode in modes}
    found = interleaved_benchmark(calls, seconds=seconds, threads=threads)
    return report_of(found, modes, {"model": model, "size": size, "batch": batch})


def plain_step(network: Network, data: Batch) -> Callable[[], float]:
    """What a training loop in torch does without further thought."""
    network = copy.deepcopy(network).train()
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=RECIPE.lr,
        momentum=RECIPE.momentum,
        weight_decay=RECIPE.weight_decay,
        nesterov=True,
    )

    def call() -> float:
        # NCHW as most loaders give it: the view of (N, H, W, C) would be channels_last
        pictures = network.front(data.x).contiguous()
        optimizer.zero_grad()
        logits = network.head(network.backbone(pictures), ())["logits"]
        loss = F.cross_entropy(logits, torch.as_tensor(data.y["label"]))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.item()

    return call


def own_step(network: Network, data: Batch, mode: Mode) -> Callable[[], float]:
    network = copy.deepcopy(network).train().to(memory_format=mode.layout())
    objective = Objective(network, LogitsCriterion(CrossEntropy(label_smoothing=0.1), "label"))
    optimizer = make_optimizer(network, RECIPE)
    rules = StepConfig(
        steps=1,
        lr=RECIPE.lr,
        curve=make_curve("constant", total=1, warmup=0),
        ema=None,
        clip=RECIPE.clip,
        accumulate=1,
        mode=mode,
        device=CPU,
        memory=MicroBatch(network, len(data), MemoryJournal()),
        seed=0,
        norms_every=8,
    )
    state = TrainState()

    def call() -> float:
        state.phase_step += 1
        return train_step(objective, optimizer, [data], state, rules)

    return call


def report_of(found: BenchmarkResult, modes: list[Mode], facts: dict[str, Any]) -> dict[str, Any]:
    medians = {mode: found.median_ms(str(mode)) for mode in modes}
    ours = str(choose_mode(medians))
    stock = str(
        choose_mode({mode: value for mode, value in medians.items() if not mode.fast_depthwise})
    )
    pairs = [(PEER, ours), (AGAIN, PEER)] + ([(stock, ours)] if stock != ours else [])
    ratios = [{"slow": a, "fast": b, **found.speed_ratio(a, b).to_json()} for a, b in pairs]
    return {**found.to_json(), **facts, "ours": ours, "stock": stock, "ratios": ratios}


def show(report: dict[str, Any]) -> None:
    print(
        f"{report['model']}, {report['size']} px, batches of {report['batch']}: "
        f"{report['threads']} threads, {report['rounds']} rounds, interleaved; milliseconds a step"
    )
    for row in report["rows"]:
        taken = "  <- training takes this" if row["name"] == report["ours"] else ""
        print(
            f"  {row['name']:<34} {row['median_ms']:9.1f}   "
            f"[{row['p10_ms']:.1f}, {row['p90_ms']:.1f}]  (10th to 90th percentile){taken}"
        )
    for ratio in report["ratios"]:
        print(
            f"  {ratio['fast']} against {ratio['slow']}: {ratio['words']} "
            f"[{ratio['low']:.2f}, {ratio['high']:.2f}]"
        )
    if report["used_by_others"] is not None:
        print(f"  other programs used {report['used_by_others']:.0%} of the processors meanwhile")
