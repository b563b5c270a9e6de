"""``--model auto`` for recordings, and the input options of a named model. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skipstone.core.registry import BACKBONES
from skipstone.core.specs import ModelChoice

#: Up to so many training recordings a pretrained embedding is a better start.
SMALL_DATA = 20_000
#: The speech embedding hears 0.76 s at once: with this much silence in the window, every part of a
#: recording is heard in several places.
_SPEECH_MARGIN, _SPEECH_SECONDS = 0.5, 10.0


def choose_audio_model(
    *, model: str, weights: str, state: Mapping[str, Any], rows: int, classes: int
) -> ModelChoice:
    """The choice for the input `audio`.

    Args:
        model: "auto" or a name in BACKBONES.
        weights: "auto", "pretrained", "none" or a file.
        state: of `AudioInput.survey`.
        rows: number of training rows.
    """
    name, reason = (model, f"{model} as requested") if model != "auto" else _choose_name(rows)
    entry = BACKBONES[name]
    if weights == "auto":
        weights = "pretrained" if entry.pretrained == "package" else "none"
    input = dict(entry.input_options)
    if input.get("loudness") == "decibels" and "seconds" in state:
        input["seconds"] = round(min(state["seconds"] + _SPEECH_MARGIN, _SPEECH_SECONDS), 2)
    start = "" if entry.is_closed_form else f", {'from scratch' if weights == 'none' else weights}"
    return ModelChoice(model=name, weights=weights, input=input, reason=f"{reason}{start}")


def _choose_name(rows: int) -> tuple[str, str]:
    """(name, reason). docs/audio.md has the measurements."""
    if rows >= SMALL_DATA:
        return "bcresnet", f"{rows:,} recordings: a small network for spectrograms is trained"
    return "speech-logistic", (
        f"{rows:,} recordings: a linear layer on an embedding that was pretrained on speech is "
        "solved in seconds and suits voices that it never heard; for other sounds try --model "
        "bcresnet"
    )
