"""Recordings as another package brings them, in one file: raw 16-bit samples, seen by a network as
log energies of bands. Readers, tasks, models and steps are skipstone's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skipstone.core.errors import DataError
from skipstone.core.specs import InputSpec
from skipstone.data.sources import Source, read_source
from skipstone.inputs.base import DecodedSample, FeatureSpec, Input

#: Samples of a recording, and of a frame.
LENGTH, FRAME = 2048, 64

INPUT = InputSpec(
    "bands",
    f"{__name__.rpartition('.')[2]}:BandsInput",
    summary="raw recordings of 16-bit samples",
    emits=("image",),
    row_content="files",
    suffixes=(".pcm",),
    noun="recording",
    example_names=("sound.pcm",),
)


class BandsInput(Input):
    """A recording is float32 (LENGTH,) in -1..1; the mean and deviation of its energies are fitted."""

    def __init__(
        self,
        options: None = None,
        state: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.options = options
        self._state = dict(state or {"mean": 0.0, "std": 1.0})

    def fit(self, sources: Sequence[Source]) -> BandsInput:
        sounds = np.stack([self.decode(source).value for source in sources])
        energies = LogBands(0.0, 1.0)({"sound": torch.from_numpy(sounds)})
        return BandsInput(None, {"mean": float(energies.mean()), "std": float(energies.std())})

    def feature_spec(self) -> FeatureSpec:
        return FeatureSpec("image", 1)

    def decode(self, source: Source) -> DecodedSample:
        data = read_source(source)
        if len(data) != 2 * LENGTH:
            raise DataError(f"{source.name} has {len(data)} bytes, not {2 * LENGTH}.")
        sound = np.frombuffer(bytes(data), "<i2").astype(np.float32) / 32768
        return DecodedSample(sound, (LENGTH,))

    def encode(self, raw: DecodedSample) -> dict[str, np.ndarray]:
        return {"sound": raw.value}

    def preprocessing_module(self) -> nn.Module:
        return LogBands(self._state["mean"], self._state["std"])

    def make_example(self, batch: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        return {"sound": rng.normal(0, 0.1, (batch, LENGTH)).astype(np.float32)}

    def make_golden_files(self, count: int) -> list[tuple[str, bytes]]:
        sounds = self.make_example(count)["sound"]
        return [(f"{at}.pcm", to_bytes(sound)) for at, sound in enumerate(sounds)]

    def get_state(self) -> tuple[dict[str, Any], Mapping[str, np.ndarray]]:
        return self._state, {}


class LogBands(nn.Module):
    """{"sound": (N, L)} -> (N, 1, FRAME / 2, frames)"""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = mean, std
        phase = 2 * np.pi * np.outer(np.arange(FRAME), np.arange(FRAME // 2)) / FRAME
        waves = np.hstack([np.cos(phase), np.sin(phase)]) * np.hanning(FRAME)[:, None]
        self.register_buffer("waves", torch.from_numpy(waves).float(), persistent=False)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        frames = x["sound"].reshape(-1, LENGTH // FRAME, FRAME)
        real, imaginary = (frames @ self.waves).chunk(2, dim=2)
        energies = torch.log(real * real + imaginary * imaginary + 1e-3)
        return ((energies - self.mean) / self.std).transpose(1, 2).unsqueeze(1)


def to_bytes(sound: np.ndarray) -> bytes:
    return (np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes()


def write_sounds(folder: Path, per_class: int) -> Path:
    """folder/<class>/<number>.pcm: tones of two heights."""
    for name, height in (("low", 0.05), ("high", 0.2)):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            rng = np.random.default_rng([number, round(100 * height)])
            phase = 2 * np.pi * height * rng.uniform(0.8, 1.2) * np.arange(LENGTH)
            sound = rng.uniform(0.2, 0.8) * np.sin(phase) + rng.normal(0, 0.02, LENGTH)
            (folder / name / f"{number}.pcm").write_bytes(to_bytes(sound))
    return folder
