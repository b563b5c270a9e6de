"""Spectrograms inside the graph: waveform -> mel energies -> loudness, or statistics of MFCCs.

The short-time Fourier transform is a convolution with DFT weights, computed as a matrix product of
overlapping blocks, which every runtime has and computes fast. Only frequencies with a mel weight are
computed. Energies equal `librosa.feature.melspectrogram(center=False)`.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor, nn

#: Added to energies before a logarithm: the quantization noise of 16-bit samples is far above.
LOG_OFFSET = 1e-6
#: The decibels of `melspectrogram.onnx` of Google's speech embedding, which hears 16-bit integers.
_FULL_SCALE, _DYNAMIC_RANGE = 32_767.0, 80.0
#: PCEN (Wang et al. 2017, arXiv:1607.05666, table 1): smoothing, gain, bias, offset; its root is
#: 1/2.
PCEN = {"smooth": 0.025, "alpha": 0.98, "delta": 2.0, "offset": 1e-6}
#: Cepstral coefficients whose statistics are features.
COEFFICIENTS = 20


@dataclass(frozen=True, kw_only=True)
class FrameSpec:
    """The frames of a spectrogram.

    Args:
        rate: samples per second.
        length: samples of the waveform.
        window, hop: samples of a frame, and between the beginnings of frames.
        bands: mel bands from `low` to `high` Hz.
    """

    rate: int
    length: int
    window: int
    hop: int
    bands: int
    low: float
    high: float

    @property
    def dft(self) -> int:
        """The least power of two that holds a frame."""
        return 1 << max(1, (self.window - 1).bit_length())

    @property
    def frames(self) -> int:
        """As with librosa's center=False: frames of `dft` samples that fit."""
        return max(1, 1 + (self.length - self.dft) // self.hop)


def make_mel_filters(spec: FrameSpec) -> np.ndarray:
    """(bands, dft / 2 + 1): triangles on Slaney's scale, each of area 1 (Slaney 1998, Auditory
    Toolbox), as `librosa.filters.mel`."""
    edges = _mel_to_hz(np.linspace(_hz_to_mel(spec.low), _hz_to_mel(spec.high), spec.bands + 2))
    frequencies = np.linspace(0, spec.rate / 2, spec.dft // 2 + 1)
    widths, ramps = np.diff(edges), edges[:, None] - frequencies[None]
    rising, falling = -ramps[:-2] / widths[:-1, None], ramps[2:] / widths[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return np.asarray(triangles * (2 / (edges[2:] - edges[:-2]))[:, None])


_LINEAR_HZ, _STEP = 1000.0, math.log(6.4) / 27  # linear below 1 kHz, logarithmic above


def _hz_to_mel(hz: float) -> float:
    linear = 3 * hz / 200
    return linear if hz < _LINEAR_HZ else 15 + math.log(hz / _LINEAR_HZ) / _STEP


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(
        mel < 15, 200 * mel / 3, _LINEAR_HZ * np.exp(_STEP * (np.maximum(mel, 15) - 15))
    )


class _Exact(nn.Module, abc.ABC):
    """A module of constants that computes in float32 under any autocast and any dtype of the network:
    energies span 100 dB. Its state dict is empty, because its constants belong to the input."""

    def __init__(self, constants: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self._constants = dict(constants)
        self._register(torch.device("cpu"))

    def _register(self, device: torch.device) -> None:
        for name, value in self._constants.items():
            self.register_buffer(
                name, torch.from_numpy(value.astype(np.float32)).to(device), persistent=False
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> _Exact:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        first = next(iter(self.buffers()))
        if first.dtype != torch.float32:  # network.bfloat16() leaves this module exact
            self._register(first.device)
        return self

    def forward(self, x: Any) -> Tensor:
        waveform: Tensor = x["waveform"] if isinstance(x, dict) else x
        device = waveform.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return self.compute(waveform.float())
        return self.compute(waveform.float())

    @abc.abstractmethod
    def compute(self, waveform: Tensor) -> Tensor:
        """Features of waveforms (N, L), in float32."""


class MelEnergies(_Exact):
    """Waveforms (N, L) -> mel energies (N, frames, bands)."""

    dft_weights: Tensor
    filters: Tensor

    def __init__(self, spec: FrameSpec, more: Mapping[str, np.ndarray] | None = None) -> None:
        filters = make_mel_filters(spec)
        used = np.flatnonzero(filters.any(axis=0))
        used = np.arange(used[0], used[-1] + 1) if len(used) else np.arange(1)
        self.spec, self._blocks = spec, -(-spec.window // spec.hop)
        # the window lies in the middle of librosa's frame of `dft` samples
        self._skip = (spec.dft - spec.window) // 2
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(spec.window) / spec.window)
        phase = 2 * np.pi * np.outer(np.arange(spec.window), used) / spec.dft
        weights = np.zeros((self._blocks * spec.hop, 2 * len(used)))
        weights[: spec.window] = np.hstack([np.cos(phase), np.sin(phase)]) * window[:, None]
        super().__init__({"dft_weights": weights, "filters": filters[:, used].T, **(more or {})})

    def compute(self, waveform: Tensor) -> Tensor:
        spec, blocks = self.spec, self._blocks
        total = (spec.frames + blocks - 1) * spec.hop
        begin = waveform[:, self._skip : self._skip + total]
        if begin.shape[1] < total:  # beyond the window's end its weights are 0
            begin = nn.functional.pad(begin, (0, total - begin.shape[1]))
        hops = begin.reshape(-1, spec.frames + blocks - 1, spec.hop)
        parts = [hops[:, first : first + spec.frames] for first in range(blocks)]
        spectrum = torch.cat(parts, dim=2) @ self.dft_weights  # (N, frames, 2 x frequencies)
        real, imaginary = spectrum.chunk(2, dim=2)
        return (real * real + imaginary * imaginary) @ self.filters


class LogMel(MelEnergies):
    """Waveforms (N, L) -> pictures (N, 1, bands, frames) of natural logarithms or PCEN,
    standardised per band."""

    mean: Tensor
    scale: Tensor
    smoother: Tensor

    def __init__(
        self, spec: FrameSpec, loudness: str, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self._loudness = loudness
        constants = {"mean": np.asarray(mean), "scale": 1 / np.asarray(std)}
        if loudness == "pcen":
            constants["smoother"] = make_smoother(spec.frames)
        super().__init__(spec, constants)

    def compute(self, waveform: Tensor) -> Tensor:
        energies = super().compute(waveform)
        if self._loudness == "pcen":
            loudness = compute_pcen(energies, self.smoother)
        else:
            loudness = torch.log(energies + LOG_OFFSET)
        picture = (loudness - self.mean) * self.scale
        return picture.transpose(1, 2).unsqueeze(1)


class DecibelMel(MelEnergies):
    """Waveforms (N, L) -> pictures (N, 1, bands, frames) as Google's speech embedding takes them:
    decibels, at most 80 below each recording's loudest, divided by 10, plus 2."""

    def __init__(self, spec: FrameSpec) -> None:
        super().__init__(spec)

    def compute(self, waveform: Tensor) -> Tensor:
        energies = super().compute(waveform * _FULL_SCALE)
        decibels = torch.log(energies.clamp(min=1e-10)) * (10 / math.log(10))
        floor = decibels.amax(dim=(1, 2), keepdim=True) - _DYNAMIC_RANGE
        picture = torch.maximum(decibels, floor) / 10 + 2
        return picture.transpose(1, 2).unsqueeze(1)


def make_smoother(frames: int) -> np.ndarray:
    """(frames, frames): the exponential average of energies over time as a matrix, M[t] = (1 - s)
    M[t - 1] + s E[t], beginning at M[0] = E[0]."""
    decay = 1 - PCEN["smooth"]
    steps = np.arange(frames)[:, None] - np.arange(frames)[None]
    weights = np.where(steps >= 0, PCEN["smooth"] * decay ** np.maximum(steps, 0), 0.0)
    weights[:, 0] = decay ** np.arange(frames)
    return weights


def compute_pcen(energies: Tensor, smoother: Tensor) -> Tensor:
    """Per-channel energy normalisation of (N, frames, bands)."""
    smooth = smoother @ energies
    gain = torch.exp(-PCEN["alpha"] * torch.log(smooth + PCEN["offset"]))
    raised: Tensor = (energies * gain + PCEN["delta"]).sqrt()
    return raised - math.sqrt(PCEN["delta"])


class MfccStatistics(MelEnergies):
    """Waveforms (N, L) -> (N, 4 x COEFFICIENTS): mean and deviation over time of the cepstral
    coefficients and of their differences, standardised."""

    cepstrum: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, spec: FrameSpec, mean: Sequence[float], std: Sequence[float]) -> None:
        matrix = dct(np.eye(spec.bands), type=2, norm="ortho", axis=1)[:, :COEFFICIENTS]
        constants = {"mean": np.asarray(mean), "scale": 1 / np.asarray(std), "cepstrum": matrix}
        super().__init__(spec, constants)

    def compute(self, waveform: Tensor) -> Tensor:
        cepstra = torch.log(super().compute(waveform) + LOG_OFFSET) @ self.cepstrum  # (N, T, C)
        parts = []
        for values in (cepstra, cepstra[:, 1:] - cepstra[:, :-1]):
            center = values.mean(dim=1, keepdim=True)
            parts.append(center.squeeze(1))
            parts.append(((values - center).square().mean(dim=1) + 1e-8).sqrt())
        return (torch.cat(parts, dim=1) - self.mean) * self.scale


class RawWaveform(nn.Module):
    """Waveforms (N, L) -> (N, 1, 1, L), for networks on waveforms."""

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return x["waveform"][:, None, None]
