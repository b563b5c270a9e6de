"""A refinement is used where it gains for certain, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from skipstone.data.read import read_manifest
from skipstone.evaluation.scores import select_postprocessing
from skipstone.image.input import ImageInput
from skipstone.image.options import ImageOptions
from skipstone.inference.predictor import Predictor
from skipstone.tasks.options import SegmentOptions
from skipstone.tasks.segmentation.task import SegmentationTask
from tests.mask_data import Rough, write_scenes


@pytest.mark.parametrize(("noise", "helps"), [(1.5, True), (0.0, False)])
def test_a_crf_is_used_where_it_helps(tmp_path: Path, noise: float, helps: bool) -> None:
    manifest = read_manifest(write_scenes(tmp_path, 6, height=24, width=32))
    input = ImageInput(ImageOptions(resize="keep", pad=8, channels=3))
    task = SegmentationTask(SegmentOptions(), manifest.schema)
    predictor = Predictor(input, Rough(noise), task, {"temperature": 1.0})
    post = select_postprocessing(predictor, manifest, seed=0)
    assert ("crf" in post) == helps
    assert (post["tried"]["crf"]["low"] > 0) == helps
    assert post["tried"]["crf"]["n"] == 6
    for few in (manifest.take_rows([0, 1, 2]), manifest.with_column("group", list("aaabbb"))):
        assert select_postprocessing(predictor, few, seed=0) == {"temperature": 1.0}
    off = SegmentationTask(SegmentOptions(crf="off"), manifest.schema)
    assert select_postprocessing(Predictor(input, Rough(noise), off, {}), manifest, seed=0) == {}
