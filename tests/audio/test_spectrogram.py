"""Spectrograms against librosa's."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch

from skipstone.audio.decode import decode_waveform
from skipstone.audio.goldens import make_golden_recordings
from skipstone.audio.spectrogram import (
    COEFFICIENTS,
    LOG_OFFSET,
    PCEN,
    DecibelMel,
    FrameSpec,
    LogMel,
    MelEnergies,
    MfccStatistics,
    compute_pcen,
    make_mel_filters,
    make_smoother,
)

SPECS = [
    FrameSpec(rate=16_000, length=20_000, window=400, hop=160, bands=40, low=20, high=8000),
    FrameSpec(rate=8000, length=9000, window=200, hop=80, bands=32, low=60, high=3800),
    FrameSpec(rate=22_050, length=22_050, window=1024, hop=512, bands=64, low=0, high=11_025),
    FrameSpec(rate=8000, length=4001, window=250, hop=250, bands=20, low=50, high=4000),
]
each_spec = pytest.mark.parametrize("spec", SPECS)


def waveforms(spec: FrameSpec) -> np.ndarray:
    files = make_golden_recordings(6, spec.rate, spec.length)
    way = {"rate": spec.rate, "length": spec.length}
    return np.stack([decode_waveform(data, way)["waveform"] for _, data in files])


def by_librosa(spec: FrameSpec, waves: np.ndarray) -> np.ndarray:
    """(N, frames, bands)"""
    energies = librosa.feature.melspectrogram(
        y=waves.astype(np.float64),
        sr=spec.rate,
        n_fft=spec.dft,
        win_length=spec.window,
        hop_length=spec.hop,
        center=False,
        n_mels=spec.bands,
        fmin=spec.low,
        fmax=spec.high,
    )
    return energies.transpose(0, 2, 1)


@each_spec
def test_filters(spec: FrameSpec) -> None:
    expected = librosa.filters.mel(
        sr=spec.rate, n_fft=spec.dft, n_mels=spec.bands, fmin=spec.low, fmax=spec.high
    )
    assert make_mel_filters(spec) == pytest.approx(expected, abs=1e-7)


@each_spec
def test_energies_and_logarithms(spec: FrameSpec) -> None:
    waves = waveforms(spec)
    expected = by_librosa(spec, waves)
    energies = MelEnergies(spec)({"waveform": torch.from_numpy(waves)}).numpy()
    assert energies.shape == expected.shape == (6, spec.frames, spec.bands)
    assert np.abs(energies - expected).max() < 1e-4 * expected.max()
    logarithms = LogMel(spec, "log", [0.0] * spec.bands, [1.0] * spec.bands)
    picture = logarithms({"waveform": torch.from_numpy(waves)}).numpy()
    wanted = np.log(expected + LOG_OFFSET).transpose(0, 2, 1)[:, None]
    assert np.abs(picture - wanted).max() < 1e-4 * np.abs(wanted).max()


@each_spec
def test_decibels(spec: FrameSpec) -> None:
    waves = waveforms(spec)
    energies = by_librosa(spec, 32_767.0 * waves)
    expected = np.stack([librosa.power_to_db(e, amin=1e-10, top_db=80) for e in energies]) / 10 + 2
    picture = DecibelMel(spec)({"waveform": torch.from_numpy(waves)}).numpy()
    assert np.abs(picture[:, 0].transpose(0, 2, 1) - expected).max() < 1e-3


@each_spec
def test_pcen(spec: FrameSpec) -> None:
    energies = by_librosa(spec, waveforms(spec)) * 2**31
    smooth = PCEN["smooth"]
    # librosa's filter begins in the steady state of the first frame
    expected = librosa.pcen(
        energies.transpose(0, 2, 1),
        gain=PCEN["alpha"],
        bias=PCEN["delta"],
        power=0.5,
        b=smooth,
        eps=PCEN["offset"],
        zi=((1 - smooth) * energies[:, :1].transpose(0, 2, 1)),
    ).transpose(0, 2, 1)
    smoother = torch.from_numpy(make_smoother(spec.frames))
    ours = compute_pcen(torch.from_numpy(energies), smoother).numpy()
    assert np.abs(ours - expected).max() < 1e-4 * np.abs(expected).max()


def test_cepstral_statistics() -> None:
    spec = SPECS[0]
    waves = waveforms(spec)
    logs = np.log(by_librosa(spec, waves) + LOG_OFFSET).transpose(0, 2, 1)
    cepstra = np.stack([librosa.feature.mfcc(S=log, n_mfcc=COEFFICIENTS) for log in logs])
    change = np.diff(cepstra, axis=2)
    expected = np.hstack([f(axis=2) for v in (cepstra, change) for f in (v.mean, v.std)])
    zeros, ones = [0.0] * 4 * COEFFICIENTS, [1.0] * 4 * COEFFICIENTS
    found = MfccStatistics(spec, zeros, ones)({"waveform": torch.from_numpy(waves)}).numpy()
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


def test_it_stays_in_float32() -> None:
    spec = SPECS[1]
    front = LogMel(spec, "log", [0.0] * spec.bands, [1.0] * spec.bands)
    x = {"waveform": torch.from_numpy(waveforms(spec))}
    exact = front(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(front(x), exact)
    assert torch.equal(front.bfloat16()(x), exact)
    assert not front.state_dict()
