"""Recordings of all formats against soundfile, and damaged ones."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from skipstone.audio.decode import decode_waveform, fit_length, read_samples, to_mono
from skipstone.audio.goldens import make_golden_recordings, write_wav

RATE = 8000


def tone(count: int = 4000, channels: int = 1) -> np.ndarray:
    times = np.arange(count) / RATE
    waves = [0.7 * np.sin(2 * np.pi * 200 * (n + 1) * times) for n in range(channels)]
    return np.stack(waves, axis=1)


def encode(samples: np.ndarray, kind: str, subtype: str, rate: int = RATE) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=kind, subtype=subtype)
    return stream.getvalue()


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_wav_is_what_soundfile_reads(kind: str, subtype: str, channels: int) -> None:
    data = encode(tone(channels=channels), kind, subtype)
    samples, rate = read_samples(data)
    expected, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    assert rate == RATE
    assert samples.dtype == np.float32
    assert np.array_equal(samples, expected)


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        *(("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("AIFF", "PCM_16")),
        *(("WAV", "ULAW"), ("WAV", "IMA_ADPCM"), ("MP3", "MPEG_LAYER_III"), ("W64", "PCM_16")),
    ],
)
def test_other_formats_are_read(kind: str, subtype: str) -> None:
    data = encode(tone(8000), kind, subtype)
    samples, rate = read_samples(data)
    assert rate == RATE
    assert abs(len(samples) - 8000) < 2400  # MP3 pads
    assert np.abs(samples).max() == pytest.approx(0.7, abs=0.1)


def test_what_we_write_is_what_soundfile_reads() -> None:
    for name, data in make_golden_recordings(8, RATE, 4000):
        ours, rate = read_samples(data)
        theirs, their_rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
        assert (name.endswith(".wav"), rate) == (True, their_rate)
        assert np.array_equal(ours, theirs)


def test_rates_and_channels() -> None:
    samples = np.hstack([tone(), -tone()])
    assert np.abs(to_mono(samples, RATE, RATE)).max() == 0
    same = to_mono(tone(8000).astype(np.float32), RATE, 16_000)
    assert len(same) == 16_000
    times = np.arange(16_000) / 16_000
    assert np.abs(same - 0.7 * np.sin(2 * np.pi * 200 * times))[200:-200].max() < 1e-3


@pytest.mark.parametrize(("count", "length"), [(5, 9), (5, 8), (9, 5), (8, 5), (5, 5)])
def test_the_middle_of_a_recording_is_in_the_middle_of_the_window(count: int, length: int) -> None:
    window = fit_length(np.arange(1, count + 1, dtype=np.float32), length)
    assert len(window) == length
    heard = window[window > 0]
    assert np.array_equal(np.diff(heard), np.ones(len(heard) - 1))
    assert len(heard) == min(count, length)
    center = np.flatnonzero(window > 0).mean()
    assert abs(center - (length - 1) / 2) <= 0.5
    assert abs(heard.mean() - (count + 1) / 2) <= 0.5


def test_the_script_decodes_a_window() -> None:
    data = write_wav(tone(), RATE)
    arrays = decode_waveform(data, {"rate": RATE, "length": 6000})
    assert arrays["waveform"].shape == (6000,)
    assert np.array_equal(arrays["waveform"][1000:5000], read_samples(data)[0][:, 0])


def with_size(data: bytes, size: int) -> bytes:
    at = data.index(b"data") + 4
    return data[:at] + struct.pack("<I", size) + data[at + 4 :]


def test_a_stream_of_unknown_length_and_a_wrong_size_are_read() -> None:
    data = write_wav(tone(), RATE)
    for size in (0xFFFFFFFF, 0, 8000 + 36):
        assert len(read_samples(with_size(data, size))[0]) == 4000


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty: the file has no bytes"),
        (write_wav(np.zeros(0), RATE), "empty: the recording holds no samples"),
        (write_wav(tone(), RATE)[:3000], r"truncated: 2,956 of 8,000 bytes of samples are there"),
        (write_wav(tone(), RATE)[:30], "truncated: the file ends"),
        (b"this is a text, called a.wav", "not a recording: its first bytes"),
        (b"RIFF\x10\0\0\0WAVEdata\x04\0\0\0....", "damaged: its samples come before their format"),
        (
            write_wav(np.full(100, np.nan), RATE, bits=32, is_float=True),
            "not finite: 100 of 100 samples are NaN or infinite",
        ),
        (encode(tone(), "FLAC", "PCM_16")[:50], "damaged: "),
        (b"OggS" + bytes(200), "damaged: "),
    ],
)
def test_bad_files_say_what_is_wrong(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_samples(data)


def test_a_header_that_contradicts_itself() -> None:
    data = bytearray(write_wav(tone(), RATE))
    at = data.index(b"fmt ") + 8
    data[at + 2 : at + 4] = (7).to_bytes(2, "little")
    with pytest.raises(ValueError, match="damaged: its header says 7 channels of 16 bits"):
        read_samples(bytes(data))
