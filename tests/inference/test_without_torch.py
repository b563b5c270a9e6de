"""Programs predict without torch, which takes seconds to import and most of the memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys
from skipstone.cli.main import main
code = main(sys.argv[1:])
assert "torch" not in sys.modules, "torch is imported"
sys.exit(code)
"""


@pytest.mark.parametrize("runtime", ["openvino-f32", "onnxruntime-f32"])
def test_predict_imports_no_torch(
    runtime: str, exported: Path, photo_folder: Path, tmp_path: Path
) -> None:
    photo = next((photo_folder / "validation").rglob("*.jpg"))
    done = subprocess.run(
        [sys.executable, "-c", CODE, "predict", str(exported), str(photo), "--runtime", runtime],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert photo.name in done.stdout
