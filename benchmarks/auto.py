"""`--model auto` against two fixed choices, on sets that ask for different ones.

tiny-grey     2,000 pictures of Fashion-MNIST (28 x 28, grey), scored on 2,000 of its test files
five-channel  600 photos of clothing as 16-bit TIFFs of five channels, scored on its validation part
photos-60     six photos of each class, scored on the validation part (341)
photos-3000   all training photos of clothing, scored on the same

The five channels are made of photos, as no real set of more channels is at hand: blue, green and
red in linear light (16 bits, which need the depth: sRGB's 256 steps are not even there), the local
mean and the local contrast. So weights that know photos know three of them, in another order.

The fixed choices are efficientnet_lite0 from ImageNet weights, and resnet18 of half width from
scratch. Each run has the same --budget. Bar: on every set, auto is no worse than the better fixed
choice beyond chance: not below the lower end of that one's interval.
"""

from __future__ import annotations

import argparse
import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.runs import (
    NO_DATA,
    SHORT,
    Results,
    arguments_for,
    data_of,
    shown,
    skipped,
    skipstone,
)

FIXED = {
    "pretrained": ("--model", "efficientnet_lite0", "--weights", "pretrained"),
    "scratch": ("--model", "resnet18", "--width", "0.5", "--weights", "none"),
}
SIDE = 160  # of the five-channel pictures


def parser() -> argparse.ArgumentParser:
    made = arguments_for("auto", __doc__)
    made.add_argument("--sets", default=",".join(SETS), help="which, separated by commas")
    made.add_argument("--budget", default="15m", help="of each training (default 15m)")
    return made


def main(arguments: list[str]) -> int:
    given = parser().parse_args(arguments)
    if (data := data_of(given)) is None:
        return skipped(NO_DATA)
    out = Path(given.out)
    results = Results(out)
    seed = given.seeds.split(",")[0]
    lines, met = [], True
    length = (*SHORT, "--size", "32") if given.smoke else ("--budget", given.budget)
    names = given.sets.split(",")
    sets = {name: SETS[name](data, out / "data", given.smoke) for name in names}
    for name in names[:1] if given.smoke else names:  # all are made, one is enough to train on
        rows = {
            choice: _run(
                results,
                key_of(name, choice, seed, length),
                sets[name],
                ("--seed", seed, *flags, *length),
                out,
            )
            for choice, flags in {"auto": (), **FIXED}.items()
        }
        best = max(FIXED, key=lambda choice: rows[choice]["accuracy"]["value"])
        good = rows["auto"]["accuracy"]["value"] >= rows[best]["accuracy"]["low"]
        met &= good or given.smoke
        lines.append(f"{name}: auto is {rows['auto']['chose']}")
        for choice, row in rows.items():
            mark = " <- best fixed" if choice == best else ""
            lines.append(
                f"    {choice:<11} {shown(row['accuracy']):<36} {row['minutes']:5.1f} min{mark}"
            )
        print("\n".join(lines[-len(rows) - 1 :]), flush=True)
    print("bar met" if met else "bar NOT met: auto is worse than a fixed choice beyond chance")
    return 0 if met else 1


def key_of(name: str, choice: str, seed: str, length: tuple[str, ...]) -> str:
    """Another length (a budget, some steps) is another result; also a folder's name."""
    return "-".join([name, choice, seed, *(word.strip("-") for word in length)])


def _run(
    results: Results, key: str, data: Path, flags: tuple[str, ...], out: Path
) -> dict[str, Any]:
    if (found := results.get(key)) is not None:
        return found
    run = skipstone("train", str(data), "--out", str(out / "runs" / key), *flags)
    arch = json.loads((Path(run["bundle"]) / "bundle.json").read_text())["arch"]["backbone"]
    return results.add(
        key,
        {
            "accuracy": run["metrics"]["accuracy"],
            "balanced_accuracy": run["metrics"]["balanced_accuracy"],
            "minutes": run["wall_seconds"] / 60,
            "chose": arch["name"],
            "run": run["run"],
        },
    )


def _tiny_grey(source: Path, out: Path, smoke: bool) -> Path:
    """The first rows of Fashion-MNIST's files, in files of the same names."""
    count = 60 if smoke else 2000
    folder = out / f"tiny-grey-{count}"
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "t10k"):
        for kind, header in (("images-idx3", 16), ("labels-idx1", 8)):
            name = f"{part}-{kind}-ubyte.gz"
            data = gzip.decompress((source / "fashion-mnist" / name).read_bytes())
            size = 28 * 28 if header == 16 else 1
            kept = data[:4] + struct.pack(">i", count) + data[8 : header + count * size]
            (folder / name).write_bytes(gzip.compress(kept, 1, mtime=0))
    return folder


def _photos(count: int | None) -> Callable[[Path, Path, bool], Path]:
    """`count` training photos of each class (None: all) as links, and the validation part."""

    def make(source: Path, out: Path, smoke: bool) -> Path:
        few = 3 if smoke else count
        folder = out / f"photos-{few or 'all'}"
        for part, most in (("train", few), ("validation", 3 if smoke else None)):
            for photo, kind in _clothing(source, part, most):
                link = folder / part / kind / photo.name
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.exists():
                    link.symlink_to(photo.resolve())
        return folder

    return make


def _five_channels(source: Path, out: Path, smoke: bool) -> Path:
    import tifffile

    folder = out / ("five-channel-smoke" if smoke else "five-channel")
    for part, most in (("train", 3 if smoke else 60), ("validation", 3 if smoke else None)):
        for photo, kind in _clothing(source, part, most):
            file = folder / part / kind / f"{photo.stem}.tif"
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                half = file.with_suffix(".half")
                tifffile.imwrite(
                    half, five_channels(photo), photometric="minisblack", planarconfig="contig"
                )
                half.rename(file)
    return folder


def five_channels(photo: Path) -> np.ndarray:
    """uint16 (H, W, 5): blue, green, red in linear light, local mean, local contrast."""
    from PIL import Image, ImageOps
    from scipy.ndimage import uniform_filter

    with Image.open(photo) as image:
        small = ImageOps.exif_transpose(image).convert("RGB")
        small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        srgb = np.asarray(small, np.float64) / 255
    # IEC 61966-2-1: from sRGB's curve to light
    light = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    grey = light @ np.array([0.2126, 0.7152, 0.0722])
    mean = uniform_filter(grey, 9)
    contrast = np.sqrt(np.maximum(uniform_filter(grey**2, 9) - mean**2, 0))
    channels = np.dstack([light[..., ::-1], mean, contrast * 2])
    whole: np.ndarray = np.rint(np.clip(channels, 0, 1) * 65535).astype(np.uint16)
    return whole


def _clothing(source: Path, part: str, most: int | None) -> list[tuple[Path, str]]:
    folders = sorted(path for path in (source / "clothing" / part).iterdir() if path.is_dir())
    return [(photo, kind.name) for kind in folders for photo in sorted(kind.glob("*.jpg"))[:most]]


SETS: dict[str, Callable[[Path, Path, bool], Path]] = {
    "tiny-grey": _tiny_grey,
    "five-channel": _five_channels,
    "photos-60": _photos(6),
    "photos-3000": _photos(None),
}
