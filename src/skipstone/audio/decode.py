"""Recordings to waveforms: WAV with numpy alone, other formats with soundfile, rates with soxr.

Errors are ValueErrors that begin with the kind of problem ("truncated: ..."). The stand-alone script
contains this module, so it imports only the standard library and numpy at its top.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

#: Samples (of all channels together) that a file may hold: two hours of stereo at 48 kHz.
MAX_SAMPLES = 2 * 48_000 * 7200
#: The samples of a damaged file that may be missing: some programs count the header, too.
_SLACK_BYTES = 64
#: Sizes that programs write when they do not know the length (a pipe).
_UNKNOWN_SIZES = (0, 0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFFFF - 36, 0x7FFFFFFF - 36, 0x7FFFF000)
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_HEADS = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff", b"riff")


def decode_waveform(data: bytes, spec: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """{"waveform": float32 (L,)} of a recording's window: its middle, or silence around it.

    Args:
        spec: {"rate": samples per second, "length": L}.
    """
    samples, rate = read_samples(data)
    return {"waveform": fit_length(to_mono(samples, rate, spec["rate"]), spec["length"])}


def read_samples(data: bytes) -> tuple[np.ndarray, int]:
    """(samples float32 (T, channels) in -1..1, samples per second) of a file's bytes.

    Raises:
        ValueError: the file is not a recording, is cut off, or holds no or invalid samples.
    """
    if not data:
        raise ValueError("empty: the file has no bytes")
    header = read_wav_header(data)
    if header is None:
        samples, rate = _read_with_soundfile(data)
    else:
        samples, rate = _read_wav(data, header), header["rate"]
    if not len(samples):
        raise ValueError("empty: the recording holds no samples")
    if not np.isfinite(samples).all():
        bad = len(samples) - int(np.isfinite(samples).all(axis=1).sum())
        raise ValueError(f"not finite: {bad:,} of {len(samples):,} samples are NaN or infinite")
    return samples, rate


def to_mono(samples: np.ndarray, rate: int, target: int) -> np.ndarray:
    """(T', ): the mean of the channels, at `target` samples per second."""
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    if rate == target:
        return np.ascontiguousarray(mono)
    try:
        import soxr
    except ImportError:
        raise ValueError(
            f"not read: it has {rate} samples per second, not {target}; to resample, pip install "
            "soxr"
        ) from None
    resampled: np.ndarray = soxr.resample(mono, rate, target)
    return resampled.astype(np.float32, copy=False)


def fit_length(waveform: np.ndarray, length: int) -> np.ndarray:
    """(length,): the middle of a longer waveform, or a shorter one between equal silences."""
    spare = len(waveform) - length
    if spare >= 0:
        return np.ascontiguousarray(waveform[spare // 2 : spare // 2 + length])
    window = np.zeros(length, np.float32)
    window[-spare // 2 : -spare // 2 + len(waveform)] = waveform
    return window


def read_wav_header(data: bytes) -> dict[str, Any] | None:
    """{"format", "channels", "rate", "bits", "begin", "size", "declared"} of PCM and float WAV;
    None for other files.

    Raises:
        ValueError: a WAV file whose chunks are cut off or contradict each other.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return None
    header: dict[str, Any] | None = None
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8
        if name == b"fmt ":
            header = _read_format(data[at : at + size])
            if header is None:
                return None  # a codec such as ADPCM
        elif name == b"data":
            if header is None:
                raise ValueError("damaged: its samples come before their format")
            present = len(data) - at
            known = present if size in _UNKNOWN_SIZES else size
            return {**header, "begin": at, "size": min(known, present), "declared": known}
        at += size + size % 2
    raise ValueError("truncated: the file ends before its samples")


def _read_format(chunk: bytes) -> dict[str, Any] | None:
    if len(chunk) < 16:
        raise ValueError("truncated: the file ends in its header")
    kind, channels, rate, _, block, bits = struct.unpack("<HHIIHH", chunk[:16])
    if kind == _EXTENSIBLE and len(chunk) >= 26:
        kind = int.from_bytes(chunk[24:26], "little")
    if kind not in (_PCM, _FLOAT):
        return None
    allowed = (8, 16, 24, 32) if kind == _PCM else (32, 64)
    if bits not in allowed or not channels or not rate or block != channels * bits // 8:
        raise ValueError(
            f"damaged: its header says {channels} channels of {bits} bits at {rate} Hz in blocks of "
            f"{block} bytes"
        )
    return {"format": kind, "channels": channels, "rate": rate, "bits": bits}


def missing_wav_bytes(header: Mapping[str, Any]) -> int:
    """The bytes of samples that the header announces and the file lacks."""
    return int(header["declared"] - header["size"])


def _read_wav(data: bytes, header: Mapping[str, Any]) -> np.ndarray:
    missing, width = missing_wav_bytes(header), header["bits"] // 8
    if missing > max(_SLACK_BYTES, header["declared"] // 100):
        raise ValueError(
            f"truncated: {header['size']:,} of {header['declared']:,} bytes of samples are there"
        )
    count = header["size"] // (width * header["channels"]) * header["channels"]
    if count > MAX_SAMPLES:
        raise ValueError(f"too large: {count:,} samples; allowed: {MAX_SAMPLES:,}")
    values: np.ndarray
    if header["format"] == _FLOAT:
        values = np.frombuffer(data, f"<f{width}", count, header["begin"]).astype(np.float32)
    elif width == 1:
        unsigned = np.frombuffer(data, np.uint8, count, header["begin"])
        values = (unsigned.astype(np.float32) - 128) / 128
    elif width == 3:
        parts = np.frombuffer(data, np.uint8, 3 * count, header["begin"]).reshape(-1, 3)
        whole = np.zeros((count, 4), np.uint8)
        whole[:, 1:] = parts
        values = whole.view("<i4")[:, 0].astype(np.float32) / np.float32(1 << 31)
    else:
        integers = np.frombuffer(data, f"<i{width}", count, header["begin"])
        values = integers.astype(np.float32) / np.float32(1 << (8 * width - 1))
    return values.reshape(-1, header["channels"])


def _read_with_soundfile(data: bytes) -> tuple[np.ndarray, int]:
    is_mp3 = data[0] == 0xFF and len(data) > 1 and data[1] & 0xE0 == 0xE0
    if not data.startswith(_HEADS) and not is_mp3:
        raise ValueError("not a recording: its first bytes are of no known audio format")
    try:
        import soundfile
    except ImportError:
        raise ValueError(
            "not read: only uncompressed WAV is read without soundfile; pip install soundfile"
        ) from None
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            announced, rate = file.frames, int(file.samplerate)
            if announced * file.channels > MAX_SAMPLES:
                raise ValueError(f"too large: {announced:,} frames; allowed: {MAX_SAMPLES:,}")
            samples = file.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"damaged: {str(error).strip().rstrip('.')}") from None
    if len(samples) < 0.99 * announced:
        raise ValueError(f"truncated: {len(samples):,} of {announced:,} samples can be decoded")
    return samples, rate
