"""skipstone.load: a trained model in Python. The command line has no such command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skipstone.commands.base import to_path

if TYPE_CHECKING:
    from skipstone.inference.predictor import Predictor


def load(model: Path | str, *, runtime: str = "auto") -> Predictor:
    """Load a model for predictions: `load("runs/001").predict(["a.jpg"])`.

    Args:
        model: a run folder or a bundle.
        runtime: "torch", "onnxruntime", "openvino", or with a precision "openvino-bf16"; "auto"
            is the bundle's default.
    """
    from skipstone.inference.open_model import open_model

    return open_model(to_path(model), runtime)
