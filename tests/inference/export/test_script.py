"""The script answers as the Predictor does, without skipstone."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skipstone.core.errors import Refusal
from skipstone.core.registry import TASKS
from skipstone.core.specs import TaskSpec
from skipstone.data.samples import SampleMeta
from skipstone.data.sources import Inline
from skipstone.inference.export.onnx_export import export_onnx
from skipstone.inference.export.script import (
    _top_level_names,
    build_script,
    run_script,
    write_standalone,
)
from skipstone.inference.export.script_main import _with_files
from skipstone.inference.golden_outputs import Goldens
from skipstone.inference.open_model import open_model
from tests.small_bundles import CLASSES, small_bundle, write_small
from tests.text_bundles import text_run


def test_it_answers_as_the_predictor(exported: Path) -> None:
    sources = Goldens.load(exported).sources
    expected = open_model(exported).predict(sources)
    found = run_script(exported, sources)
    assert len(found) == len(sources)
    for row, prediction in zip(found, expected, strict=True):
        assert row["label"] == prediction.fields["label"]  # type: ignore[union-attr]
        assert row["probability"] == pytest.approx(prediction.fields["probability"], abs=1e-5)  # type: ignore[union-attr]


def test_tags_too(tmp_path: Path) -> None:
    folder = write_small(tmp_path / "bundle", "tag")
    export_onnx(folder)
    sources = Goldens.load(folder).sources[:4]
    for row, prediction in zip(
        run_script(folder, sources), open_model(folder).predict(sources), strict=True
    ):
        assert row["label"] == prediction.fields["label"]  # type: ignore[union-attr]
        assert row["probabilities"] == pytest.approx(prediction.fields["probabilities"], abs=1e-5)  # type: ignore[union-attr]


def test_a_bad_file_is_one_error_row_and_exit_code_1(exported: Path, tmp_path: Path) -> None:
    script = write_standalone(exported, tmp_path / "out")
    assert script == tmp_path / "out" / "predict.py"
    (tmp_path / "bad.png").write_bytes(b"nothing")
    (tmp_path / "good.png").write_bytes(_bytes(Goldens.load(exported).sources[1]))
    process = subprocess.run(
        [sys.executable, "-I", str(script), "--json", "bad.png", "good.png", "gone.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    rows = json.loads(process.stdout)["predictions"]
    assert [sorted(row)[0] for row in rows] == ["error", "label", "error"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "model.onnx",
        "predict.py",
    ]


def test_it_says_how_to_call_it_with_files_of_its_kind(tmp_path: Path) -> None:
    bundle, _ = text_run(tmp_path / "run", "logistic", count=60)
    assert "python predict.py letter.txt note.txt [--json]" in build_script(bundle)
    assert "python predict.py photo.jpg another.png [--json]" in build_script(small_bundle())


def test_it_imports_nothing_but_what_it_says(exported: Path) -> None:
    tree = ast.parse(build_script(small_bundle()))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
    assert found - sys.stdlib_module_names == {
        "numpy",
        "PIL",
        "onnxruntime",
        "openvino",  # instead, for the files of OpenVINO
        "pillow_heif",  # only where a photo is HEIC
    }


def test_files_of_an_answer_are_written_where_asked_and_never_over_others(tmp_path: Path) -> None:
    answer, photo = {"label": ["road"], "mask": b"png"}, Path("photos/a.jpg")
    assert _with_files(answer, photo, None, set()) == {"label": ["road"]}
    taken: set[str] = set()
    told = _with_files(answer, photo, tmp_path, taken)
    assert told == {"label": ["road"], "mask": str(tmp_path / "a.png")}
    assert (tmp_path / "a.png").read_bytes() == b"png"
    other = _with_files({"mask": b"another"}, Path("more/a.png"), tmp_path, taken)
    assert Path(other["mask"]).name == "a-2.png"  # of the same call
    with pytest.raises(FileExistsError):
        _with_files({"mask": b"another"}, photo, tmp_path, set())
    assert (tmp_path / "a.png").read_bytes() == b"png"


def test_answers_that_look_at_the_input_again_are_refused() -> None:
    bundle = small_bundle()
    bundle.task = {**bundle.task, "name": "segment", "options": {}}
    assert "def decode_masks(" in build_script(bundle)
    bundle.post = {"temperature": 1.0, "crf": {"iterations": 5}}
    with pytest.raises(Refusal, match=r"cannot do this .* post-processing \(crf\)"):
        build_script(bundle)


def test_a_task_without_a_stand_alone_form_is_refused(exported: Path) -> None:
    TASKS.register(TaskSpec("odd", "m:Odd"))
    try:
        bundle = small_bundle()
        bundle.task = {**bundle.task, "name": "odd"}
        with pytest.raises(Refusal, match="the task 'odd' has no stand-alone form"):
            build_script(bundle)
    finally:
        TASKS.unregister("odd")


@pytest.mark.parametrize("name", ["classify", "tag"])
@pytest.mark.parametrize("seed", range(5))
def test_answers_are_the_fields_that_the_task_predicts(name: str, seed: int) -> None:
    """tasks/label_answers.py is embedded in the script; it must not drift from the tasks."""
    rng = np.random.default_rng(seed)
    names = [*CLASSES, "queen", "king", "pawn", "board"]
    outputs = {"logits": (rng.normal(size=(20, 7)) * 10**seed).astype(np.float32)}
    outputs["logits"][3] = 0  # all equal: the order of ties
    post = {"temperature": 0.7, "thresholds": rng.uniform(0.2, 0.8, 7).tolist()}
    entry = TASKS[name]
    options = entry.make_options()
    task = entry.load()(options, {"classes": names})
    module, _, function = entry.standalone.partition(":")
    answers = getattr(sys.modules.get(module) or __import__(module, fromlist=["x"]), function)
    for settings in (post, {}):
        found = answers(outputs, {"classes": names}, vars(options), settings, [{}] * 20)
        metas = [SampleMeta(at) for at in range(20)]
        expected = [dict(item.fields) for item in task.predict(outputs, metas, settings)]
        assert found == expected


def _bytes(source: Inline) -> bytes:
    assert isinstance(source.data, bytes)
    return source.data


def test_names_that_two_parts_define_are_seen(tmp_path: Path) -> None:
    """In one file the later would take the place of the earlier, as it once did with `_BEGIN`."""
    text = "A = 1\nB, (C, *D) = 1, (2, 3)\nE: int = 4\nA.f = B[0] = C\ndef g(x):\n    H = x\n"
    found = _top_level_names(text)
    assert found == ["A", "B", "C", "D", "E", "g"]
    bundle, _ = text_run(tmp_path / "run", "textcnn", count=60, steps=7, subwords="2-3")
    names = _top_level_names(build_script(bundle))
    assert len(names) == len(set(names)) > 20
    assert {"subword_ids", "to_letters", "_BEGIN", "_OPENS"} <= set(names)
