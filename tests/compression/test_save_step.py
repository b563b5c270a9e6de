"""What a step leaves is calibrated anew, and what refines its answers is decided anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from skipstone.bundle.format import Bundle
from skipstone.compression import recover as remade
from skipstone.compression.shrink_plan import StepContext
from skipstone.core import events
from skipstone.data.read import read_manifest
from skipstone.inference.restore import restore_input, restore_network
from tests.mask_data import Rough, write_scenes
from tests.small_bundles import mask_bundle


@pytest.mark.parametrize(("noise", "helps"), [(1.5, True), (0.0, False)])
def test_a_refinement_is_decided_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: float, helps: bool
) -> None:
    """A planted gain: the network that the step leaves answers as `Rough` does."""
    monkeypatch.setattr(remade, "TorchRuntime", lambda network: Rough(noise))
    for export in ("store_goldens", "export_onnx", "export_openvino"):
        monkeypatch.setattr(remade, export, lambda folder: None)
    val_rows = read_manifest(write_scenes(tmp_path / "data", 6, height=24, width=32))
    bundle = mask_bundle(pad=8)
    bundle.post = {"temperature": 1.0, "tried": {}} | ({} if helps else {"crf": {"iterations": 5}})
    said: list[str] = []
    with events.use_listener(lambda event: said.append(getattr(event, "text", ""))):
        remade.save_step_output(
            bundle,
            bundle.arch,
            restore_input(bundle),
            restore_network(bundle),
            StepContext(tmp_path, tmp_path / "new", val_rows.take_rows([]), val_rows),
        )
    post = Bundle.load(tmp_path / "new").post
    assert ("crf" in post) == helps
    assert (post["tried"]["crf"]["low"] > 0) == helps
    assert post["tried"]["crf"]["n"] == 6
    assert post["temperature"] != 1
    (told,) = [text for text in said if "Post-processing crf" in text]
    assert told.endswith("; used." if helps else "; not used.")
