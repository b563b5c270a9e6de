"""How long fine-tuning takes to reach an accuracy, from the start of the process.

    python -m benchmarks fine-tuning --data FOLDER
    python -m benchmarks fine-tuning --data FOLDER --seeds 0 --peer-epochs 2

EfficientNet-Lite0 with the same weights, on the same train rows of clothing, scored on the same rows
that are split off from them; the user's validation folder is not used. The peer is a loop as in
torchvision's reference: eager float32, ImageFolder's decoding, random resized crops, AdamW with one
cycle; its first epoch trains the head, as fastai's `fine_tune` does. (fastai itself is not a package
that this project installs.)

Bar: `--feature-cache` first reaches the peer's accuracy after 1 + 1 epochs in a twentieth of its time.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.runs import NO_DATA, SHORT, Results, arguments_for, data_of, skipped, skipstone
from skipstone.data.manifest import MANIFEST_FILE, load_manifest

BAR = 20.0
MODEL = "efficientnet_lite0"
#: Our ways, by their flags; interleaved with the peer, seed by seed.
WAYS: dict[str, tuple[str, ...]] = {"cached features": ("--feature-cache",), "plain loop": ()}

Curve = list[dict[str, float]]


def parser() -> argparse.ArgumentParser:
    made = arguments_for("fine-tuning", __doc__)
    made.add_argument("--peer-epochs", type=int, default=2, help="the first trains the head alone")
    made.add_argument("--peer", metavar="JOB", help="run the peer's loop on this file, and print")
    return made


def main(arguments: list[str]) -> int:
    given = parser().parse_args(arguments)
    if given.peer:
        job = json.loads(Path(given.peer).read_text())
        for epoch in train_peer(job):
            print(json.dumps(epoch), flush=True)
        return 0
    if (data := data_of(given)) is None:
        return skipped(NO_DATA)
    out = Path(given.out)
    results, met = Results(out), True
    for seed in ["0"] if given.smoke else given.seeds.split(","):
        curves: dict[str, Curve] = {}
        for way, flags in WAYS.items():
            key = f"{way}, {seed}{', smoke' * given.smoke}"
            row = results.get(key) or results.add(
                key, _run_ours(data / "clothing", out, seed, flags, smoke=given.smoke)
            )
            curves[way] = row["curve"]
        key = f"peer of {given.peer_epochs} epochs, {seed}{', smoke' * given.smoke}"
        peer = results.get(key) or results.add(key, _run_peer(out, row["run"], given))
        met &= _print_times(seed, curves, peer["curve"]) or given.smoke
    print("bar met" if met else "bar NOT met: see the header of benchmarks/fine_tuning.py")
    return 0 if met else 1


def _run_ours(
    photos: Path, out: Path, seed: str, flags: tuple[str, ...], *, smoke: bool
) -> dict[str, Any]:
    """{"run", "wall_seconds", "curve"}; a row of the curve for each epoch."""
    extra = (*SHORT, "--size", "32", "--freeze-epochs", "1") if smoke else ()
    began = time.time()
    command = ("train", str(photos), "--model", MODEL, "--out", str(out / "runs"), "--seed", seed)
    done = skipstone(*command, *flags, *extra)
    curve = []
    for line in (Path(done["run"]) / "journal.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["kind"] == "epoch":
            at = datetime.datetime.fromisoformat(row["time"]).timestamp()
            curve.append({"seconds": at - began, "accuracy": row["metrics"]["accuracy"]})
    return {"run": done["run"], "wall_seconds": done["wall_seconds"], "curve": curve}


def _run_peer(out: Path, run: str, given: argparse.Namespace) -> dict[str, Any]:
    """The peer's curve on the rows of this run, from the start of a process of its own."""
    manifest = load_manifest(Path(run) / MANIFEST_FILE)
    classes = list(manifest.schema["classes"])
    job: dict[str, Any] = {"classes": len(classes), "epochs": given.peer_epochs, "size": 224}
    for role in ("train", "val"):
        rows = manifest.rows_with_role(role)
        labels = [classes.index(label) for label in rows.column_values("target")]
        paths = [str(manifest.root / path) for path in rows.column_values("path")]
        job[role] = list(zip(paths, labels, strict=True))
    if given.smoke:
        job |= {"size": 32, "train": job["train"][:64], "val": job["val"][:16]}
    file = out / "peer.json"
    file.write_text(json.dumps({**job, "began": time.time()}))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "fine-tuning", "--peer", str(file)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return {"curve": [json.loads(line) for line in done.stdout.splitlines()]}


def _print_times(seed: str, curves: dict[str, Curve], peer: Curve) -> bool:
    """The seconds until each way reaches the peer's last accuracy; whether the bar is met."""
    target, seconds = peer[-1]["accuracy"], peer[-1]["seconds"]
    print(f"seed {seed}: the eager loop reaches {100 * target:.1f} % after {seconds:.0f} s")
    met = False
    for way, curve in curves.items():
        best = max(row["accuracy"] for row in curve)
        first = next((row["seconds"] for row in curve if row["accuracy"] >= target), None)
        if first is None:
            print(f"    {way}: not reached, best {100 * best:.1f} %")
            continue
        print(
            f"    {way}: {first:.0f} s, {seconds / first:.1f} times as fast; best {100 * best:.1f} % "
            f"after {curve[-1]['seconds']:.0f} s"
        )
        met |= way == "cached features" and seconds / first >= BAR
    return met


def train_peer(job: dict[str, Any]) -> Curve:
    """The loop of the header; a row for each epoch."""
    import timm
    import torch
    from torch import nn

    from skipstone.models.weights import load_pretrained_state

    torch.manual_seed(0)
    network: Any = timm.create_model(MODEL, num_classes=1000, bn_eps=1e-3)
    network.load_state_dict(load_pretrained_state(MODEL))
    network.reset_classifier(job["classes"])
    loaders = {role: _peer_batches(job[role], job["size"], role) for role in ("train", "val")}
    curve: Curve = []
    for epoch in range(job["epochs"]):
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(epoch > 0 or name.startswith("classifier"))
        learning = [p for p in network.parameters() if p.requires_grad]
        rate = 2e-3 if epoch == 0 else 1e-3
        optimizer = torch.optim.AdamW(learning, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rate, total_steps=len(loaders["train"])
        )
        network.train()
        for pictures, labels in loaders["train"]:
            loss: Any = nn.functional.cross_entropy(network(pictures), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        network.eval()
        with torch.no_grad():
            hits = [(network(x).argmax(1) == y).float() for x, y in loaders["val"]]
        accuracy = float(torch.cat(hits).mean())
        curve.append({"seconds": time.time() - job["began"], "accuracy": accuracy})
    return curve


def _peer_batches(rows: list[tuple[str, int]], size: int, role: str) -> Any:
    """torchvision's loader and transforms."""
    from PIL import Image
    from torch.utils.data import DataLoader
    from torchvision import transforms

    training = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()]
    steps = training if role == "train" else [transforms.Resize((size, size))]
    normalize = transforms.Normalize((0.5,) * 3, (0.5,) * 3)
    transform = transforms.Compose([*steps, transforms.ToTensor(), normalize])

    class Photos:
        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, index: int) -> tuple[Any, int]:
            path, label = rows[index]
            with Image.open(path) as photo:
                return transform(photo.convert("RGB")), label

    is_training = role == "train"
    photos: Any = Photos()
    return DataLoader(
        photos, batch_size=32, shuffle=is_training, drop_last=is_training, num_workers=2
    )
