"""A refinement is used where it gains for certain, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skipstone.data.read import read_manifest
from skipstone.inputs.image import ImageInput
from skipstone.inputs.options import ImageOptions
from skipstone.runtime.predictor import Predictor
from skipstone.tasks.options import SegmentOptions
from skipstone.tasks.segment import Segment
from skipstone.verbs.refine import refined
from tests.mask_data import write_scenes


class Rough:
    """Knows the colours of the scenes; `noise` drowns what it says of each pixel."""

    name = "rough"

    def __init__(self, noise: float) -> None:
        self.noise = noise

    def run(self, arrays: Any) -> dict[str, np.ndarray]:
        red = arrays["image"][..., 0].astype(np.float32)
        shown = np.where(red < 52, 0, np.where(red < 150, 1, 2))
        logits = 2.0 * (shown[:, None] == np.arange(3)[:, None, None])
        rng = np.random.default_rng(int(red.sum()))
        return {"logits": (logits + rng.normal(0, self.noise, logits.shape)).astype(np.float32)}

    def facts(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(("noise", "helps"), [(1.5, True), (0.0, False)])
def test_a_crf_is_used_where_it_helps(tmp_path: Path, noise: float, helps: bool) -> None:
    manifest = read_manifest(write_scenes(tmp_path, 6, height=40, width=48))
    input = ImageInput(ImageOptions(resize="keep", pad=8, channels=3))
    task = Segment(SegmentOptions(), manifest.schema)
    predictor = Predictor(input, Rough(noise), task, {"temperature": 1.0})
    post = refined(predictor, manifest, seed=0)
    assert ("crf" in post) == helps
    assert (post["tried"]["crf"]["low"] > 0) == helps
    assert post["tried"]["crf"]["n"] == 6
    off = Segment(SegmentOptions(crf="off"), manifest.schema)
    assert refined(Predictor(input, Rough(noise), off, {}), manifest, seed=0) == {}
