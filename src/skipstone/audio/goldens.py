"""Generated recordings for goldens: sounds of several kinds in several formats of WAV."""

from __future__ import annotations

import struct

import numpy as np

#: (bits, is float, channels) of the goldens, in turn.
_FORMATS = ((16, False, 1), (24, False, 1), (32, True, 1), (8, False, 1), (16, False, 2))
_NOISE = 0.01
#: Their lengths as shares of the window: shorter ones are padded, longer ones cut.
_SHARES = (0.6, 1.0, 0.3, 1.4)


def make_golden_recordings(count: int, rate: int, length: int) -> list[tuple[str, bytes]]:
    """`count` WAV files at the model's rate, so that decoding them needs no other library."""
    files = []
    for number in range(count):
        rng = np.random.default_rng([count, number])
        samples = max(16, round(length * _SHARES[number % len(_SHARES)]))
        waveform: np.ndarray = _SOUNDS[number % len(_SOUNDS)](np.arange(samples) / rate, rate, rng)
        # recordings have noise; without it, bands 100 dB below others would show rounding alone
        waveform = waveform + rng.normal(0, _NOISE, samples)
        bits, is_float, channels = _FORMATS[number % len(_FORMATS)]
        stereo = np.stack([waveform, 0.5 * waveform][:channels], axis=1)
        files.append((f"{number}.wav", write_wav(stereo, rate, bits=bits, is_float=is_float)))
    return files


def write_wav(samples: np.ndarray, rate: int, *, bits: int = 16, is_float: bool = False) -> bytes:
    """Samples (T, channels) or (T,) in -1..1 as the bytes of a WAV file."""
    samples = samples[:, None] if samples.ndim == 1 else samples
    channels, width = samples.shape[1], bits // 8
    if is_float:
        data = samples.astype(f"<f{width}").tobytes()
    else:
        full = 1 << (bits - 1)
        whole = np.clip(np.rint(samples.astype(np.float64) * full), -full, full - 1).astype("<i4")
        if bits == 8:
            data = (whole + 128).astype(np.uint8).tobytes()
        else:
            data = whole.reshape(-1, 1).view(np.uint8)[:, :width].tobytes()
    kind = 3 if is_float else 1
    head = struct.pack(
        "<HHIIHH", kind, channels, rate, rate * channels * width, channels * width, bits
    )
    chunks = b"fmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", len(data)) + data
    chunks += b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def _make_tone(times: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    base = rng.uniform(80, rate / 8)
    tones: list[np.ndarray] = [0.4 / k * np.sin(2 * np.pi * k * base * times) for k in (1, 2, 3)]
    return np.asarray(np.sum(tones, axis=0))


def _make_sweep(times: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    low, high = sorted(rng.uniform(60, rate / 3, 2))
    span = max(times[-1], 1e-3)
    phase = low * times + (high - low) * times**2 / (2 * span)
    return np.asarray(0.6 * np.sin(2 * np.pi * phase))


def _make_noise(times: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(rng.normal(0, rng.uniform(0.02, 0.3), len(times)))


def _make_clicks(times: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    waveform = rng.normal(0, 0.002, len(times))
    waveform[rng.integers(0, len(times), 8)] += 0.9
    return waveform


_SOUNDS = (_make_tone, _make_sweep, _make_noise, _make_clicks)
