"""Every runtime answers photos as the network does, also where oneDNN may use less of the
processor; and a program that does not is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks import agreement as agreement_module
from benchmarks.agreement import _decoded, measure_agreement
from skipstone.bundle.files import read_file
from skipstone.data.sources import FileRef, Inline
from skipstone.inference.export.onnx_export import export_onnx
from skipstone.inference.export.openvino_export import export_openvino
from skipstone.inference.golden_outputs import store_goldens
from tests.mask_data import write_scenes
from tests.small_bundles import mask_bundle, replace_file, taught_masks


def photos(folder: Path) -> list[FileRef]:
    return [FileRef(path) for path in sorted(folder.rglob("*")) if path.is_file()]


def test_every_program_answers_photos_as_the_network(
    exported: Path, flat_photo_folder: Path
) -> None:
    rows = measure_agreement(exported, photos(flat_photo_folder))
    assert {(row.name, row.batch) for row in rows} == {
        (name, batch)
        for name in ("onnxruntime-f32", "openvino-f32", "openvino-bf16")
        for batch in (1, 16)
    }
    for row in rows:
        assert row.n == 60
        if row.name.endswith("-f32"):
            assert row.max_probability <= 1e-4
            assert row.max_relative <= 1e-4
            assert row.flips == 0
            assert row.problem == ""


_ELSEWHERE = """
import json, sys
from pathlib import Path
import torch
with torch.backends.mkldnn.verbose(1), torch.no_grad():
    torch.nn.functional.conv2d(torch.rand(4, 16, 64, 64), torch.rand(16, 16, 3, 3))
from benchmarks.agreement import measure_agreement
from tests.evaluation.test_agreement import photos
rows = measure_agreement(Path(sys.argv[1]), photos(Path(sys.argv[2])), precisions=["f32"])
print(json.dumps([row.to_json() for row in rows]))
"""


def test_with_avx2_alone(exported: Path, flat_photo_folder: Path) -> None:
    """oneDNN reads the setting once a process; what it says of a convolution shows it was obeyed
    (its ONEDNN_VERBOSE for all would make OpenVINO 2026 fail).

    In float32 only: OpenVINO asks the processor, not oneDNN, whether there is bfloat16.
    """
    process = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, str(exported), str(flat_photo_folder)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    used = [line for line in process.stdout.splitlines() if "exec,cpu,convolution" in line]
    assert used
    assert all("avx512" not in line and "amx" not in line for line in used), used
    rows = json.loads(process.stdout.splitlines()[-1])
    assert {row["name"] for row in rows} == {"onnxruntime-f32", "openvino-f32"}
    for row in rows:
        assert row["max_probability"] <= 1e-4
        assert row["max_relative"] <= 1e-4
        assert row["flips"] == 0


def test_one_changed_weight_is_found(
    copied: Path, flat_photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sabotage; and where not all decoded files are held at once."""
    change_a_weight(copied)
    monkeypatch.setattr(agreement_module, "MAX_DECODED_BYTES", 24 * 24 * 24 * 3)
    rows = {row.name: row for row in measure_agreement(copied, photos(flat_photo_folder))}
    assert {row.n for row in rows.values()} == {60}
    assert rows["onnxruntime-f32"].problem
    assert not rows["openvino-f32"].problem


def change_a_weight(folder: Path) -> None:
    name = "exports/onnx/model.onnx"
    model = onnx.load_model_from_string(read_file(folder, name))
    tensor = next(item for item in model.graph.initializer if len(item.dims) == 4)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[int(np.abs(values).argmax())] *= 1.05
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    replace_file(folder, name, model.SerializeToString())


@pytest.mark.proof
def test_masks_of_many_sizes(tmp_path: Path) -> None:
    """The bound is that of photos, 1e-4, and no pixel but near ties; a changed weight is found."""
    folder = tmp_path / "bundle"
    taught_masks(mask_bundle()).save(folder)
    for step in (store_goldens, export_onnx, export_openvino):
        step(folder)
    rng = np.random.default_rng(0)
    for number in range(24):
        height, width = (int(side) for side in rng.integers(30, 129, 2))
        write_scenes(tmp_path / "data", 1, start=number, height=height, width=width)
    files = photos(tmp_path / "data" / "images")
    rows = measure_agreement(folder, files)
    assert {row.name for row in rows} >= {"onnxruntime-f32", "openvino-f32", "openvino-bf16"}
    for row in rows:
        assert row.n == 24
        assert row.share is not None
        if row.name.endswith("-f32"):
            assert row.max_probability <= 1e-4, row
            assert row.max_relative <= 1e-4, row
            assert (row.share, row.flips, row.problem) == (0, 0, ""), row
        else:
            assert row.share <= 0.05, row
    change_a_weight(folder)
    after = {row.name: row for row in measure_agreement(folder, files, precisions=["f32"])}
    assert after["onnxruntime-f32"].problem
    assert not after["openvino-f32"].problem


def test_no_more_files_are_held_than_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Decoder:
        def encode(self, source: Inline) -> tuple[dict[str, np.ndarray], None]:
            return {"image": np.zeros(int(source.name), np.uint8)}, None

    monkeypatch.setattr(agreement_module, "MAX_DECODED_BYTES", 100)
    sources = [Inline(b"", name=size) for size in ["40", "20", "40", "20", "40", "20"]]
    found = [[len(one["image"]) for one in part] for part in _decoded(Decoder(), sources)]
    assert found == [[20], [40, 40], [20, 20], [40]]
