"""The code behind the names of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from skipstone.core.errors import DataError
from skipstone.data.manifest import Manifest, build_table
from skipstone.data.options import ReadOptions
from skipstone.data.sources import Source, read_source
from skipstone.inputs.base import DecodedSample, FeatureSpec, Input
from skipstone.models.backbone import Backbone

from . import CurveNetOptions

#: Numbers in a curve.
LENGTH = 32


class CurvesReader:
    """A folder with curves.tsv: the levels from the lowest up, then a file's name and its level on
    each line."""

    def detect_layout(self, path: Path) -> str | None:
        return "curves.tsv beside curves" if (path / "curves.tsv").is_file() else None

    def read_manifest(self, path: Path, options: ReadOptions) -> Manifest:
        levels, *lines = (path / "curves.tsv").read_text().splitlines()
        rows = [line.split("\t") for line in lines]
        return Manifest(
            build_table(
                {"path": [name for name, _ in rows], "target": [level for _, level in rows]},
                pa.string(),
            ),
            root=path,
            reader="curves",
            input="curve",
            task="grade",
            schema={"levels": levels.split("\t")},
            notes=(f"Read as curves.tsv: {len(rows)} curves.",),
        )


class _Front(nn.Module):
    """{"curve": (N, L)} -> (N, 1, 1, L), each place scaled as in the fit part."""

    def __init__(self, mean: np.ndarray, std: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mean.copy()), persistent=False)
        self.register_buffer("std", torch.from_numpy(std.copy()), persistent=False)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return ((x["curve"] - self.mean) / self.std)[:, None, None]


class CurveInput(Input):
    """A curve is float32 (L,); the mean and deviation of each of its places are learnt."""

    def __init__(
        self,
        options: None = None,
        state: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.options = options
        self._state = dict(state or {"seen": 0})
        self._arrays = dict(
            arrays or {"mean": np.zeros(LENGTH, "f4"), "std": np.ones(LENGTH, "f4")}
        )

    def fit(self, sources: Sequence[Source]) -> CurveInput:
        curves = np.stack([self.decode(source).value for source in sources])
        learnt = {"mean": curves.mean(axis=0), "std": curves.std(axis=0) + 0.1}
        return CurveInput(self.options, {"seen": len(curves)}, learnt)

    def feature_spec(self) -> FeatureSpec:
        return FeatureSpec("curve", 1)

    def decode(self, source: Source) -> DecodedSample:
        data = read_source(source)
        try:
            curve = np.array(bytes(data).split(), np.float32)
        except ValueError:
            raise DataError(f"{source.name} holds more than numbers.") from None
        if curve.shape != (LENGTH,):
            raise DataError(f"{source.name} has {curve.size} numbers, not {LENGTH}.")
        return DecodedSample(curve, (len(curve),))

    def encode(self, raw: DecodedSample) -> dict[str, np.ndarray]:
        return {"curve": raw.value}

    def preprocessing_module(self) -> nn.Module:
        return _Front(**self._arrays)

    def make_example(self, batch: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        return {"curve": rng.normal(size=(batch, LENGTH)).astype(np.float32)}

    def make_golden_files(self, count: int) -> list[tuple[str, bytes]]:
        curves = self.make_example(count)["curve"]
        return [(f"{at}.txt", curve_text(curve)) for at, curve in enumerate(curves)]

    def get_state(self) -> tuple[dict[str, Any], Mapping[str, np.ndarray]]:
        return self._state, self._arrays


class CurveNet(Backbone):
    """Features (N, hidden, 1, L) and (N, 2 hidden, 1, L / 2)."""

    def __init__(self, options: CurveNetOptions, in_channels: int) -> None:
        super().__init__()
        hidden = options.hidden
        self.stem = nn.Sequential(nn.Conv2d(in_channels, hidden, (1, 5), padding=(0, 2)), nn.ReLU())
        self.deep = nn.Sequential(
            nn.Conv2d(hidden, 2 * hidden, (1, 5), stride=(1, 2), padding=(0, 2)), nn.ReLU()
        )
        self.channels, self.strides, self.classifier_name = (hidden, 2 * hidden), (1, 2), "fc"

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        first = self.stem(x)
        return first, self.deep(first)

    def stage_modules(self) -> list[list[nn.Module]]:
        return [[self.stem], [self.deep]]


def build_curvenet(name: str, options: CurveNetOptions, *, in_channels: int) -> CurveNet:
    return CurveNet(options, in_channels)


def curve_text(curve: np.ndarray) -> bytes:
    return " ".join(f"{value:.5f}" for value in curve).encode()


def write_curves(folder: Path, per_level: int) -> Path:
    """Noisy sines of random phase that swing slowly, faster, fast."""
    folder.mkdir(parents=True)
    swings = {"slow": 1.0, "faster": 3.0, "fast": 6.0}
    lines = ["\t".join(swings)]
    for level, times in swings.items():
        for number in range(per_level):
            rng = np.random.default_rng([number, int(times)])
            at = times * rng.uniform(0.8, 1.2) * np.arange(LENGTH) / LENGTH + rng.random()
            curve = np.sin(2 * np.pi * at) + rng.normal(0, 0.1, LENGTH)
            name = f"{level}-{number}.txt"
            (folder / name).write_bytes(curve_text(curve))
            lines.append(f"{name}\t{level}")
    (folder / "curves.tsv").write_text("\n".join(lines) + "\n")
    return folder
