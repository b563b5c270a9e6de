"""Python's prompt and notebooks: what is printed, what is shown of results, what may be given."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

import skipstone
from skipstone.commands.base import find_commands
from skipstone.core.errors import UsageError
from skipstone.core.events import use_listener
from skipstone.core.settings import known_settings
from skipstone.evaluation.parity import Verification
from skipstone.workflows.export_and_verify import ExportResult, VerifyResult
from tests.photos import make_photo, save_photo
from tests.small_bundles import CLASSES, write_small

FUNCTIONS = [name for name in skipstone.__all__ if name not in ("SkipstoneError", "__version__")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small(tmp_path_factory.mktemp("model") / "bundle", goldens=False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One photo of each class, which the model has never learnt, and one that is none."""
    root = tmp_path_factory.mktemp("home") / "photos"
    for number, name in enumerate(CLASSES):
        save_photo(make_photo(number, "disc", (24, 24)), root / name / "1")
    (root / CLASSES[0] / "bad.jpg").write_bytes(b"no picture")
    return root


def test_at_the_prompt_what_is_done_is_said(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python's prompt, IPython and Jupyter set `sys.ps1`; scripts do not."""
    model = photos.parent / "runs"
    write_small(model / "001" / "bundle", goldens=False)
    skipstone.predict(model, photos)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "ps1", "In : ", raising=False)
    said = f"The model is {model / '001'}, the newest of 1 in {model}.\n"
    skipstone.predict(model, photos)
    assert capsys.readouterr().out == said
    heard: list[Any] = []
    with use_listener(heard.append):
        skipstone.predict(model, photos)
    assert capsys.readouterr().out == ""
    assert heard


def test_results_are_told_in_a_few_lines(model: Path, photos: Path) -> None:
    found = skipstone.audit(photos)
    head, *lines = repr(found).splitlines()
    assert head == "AuditResult"
    told = dict(line.split(maxsplit=1) for line in lines)
    assert told["rows"] == "4"
    assert told["note"].startswith("0         Read as class folders: 4 pictures")
    assert told["not_a_picture"].startswith("1 file is not a picture by its bytes, such as")
    scored = repr(skipstone.evaluate(model, photos))
    assert scored.startswith("EvaluateResult\n  on ")
    assert re.search(r"\n  accuracy +\d+\.\d % \(95 %: .* – .* %, n = 3\)\n", scored)
    assert re.search(r"\n  unreadable +1\n", scored)
    answers = repr(skipstone.predict(model, photos)).splitlines()
    assert len(answers) == 6
    assert re.fullmatch(r"  answer 0  Prediction\('.*1.jpg', label='\w+', .*\)", answers[1])
    assert "bad.jpg" in answers[2]
    many = repr(skipstone.predict(model, [photos / CLASSES[1] / "1.jpg"] * 25))
    assert "\n  ...       and 15 more answers\n" in many
    listed = repr(skipstone.list_models()).splitlines()
    assert any(re.match(r"  resnet18 +\w", line) for line in listed)


def test_what_may_be_given(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = photos / CLASSES[0] / "1.jpg"
    (alone,) = skipstone.predict(model, str(photo)).predictions
    walked = skipstone.predict(str(model), photos.glob("*/1.jpg"))
    assert len(walked.predictions) == 3
    monkeypatch.setenv("HOME", str(photos.parent))
    assert skipstone.audit("~/photos").audit.counts["rows"] == 4
    (other,) = skipstone.predict(model, f"~/photos/{CLASSES[0]}/1.jpg").predictions
    assert repr(alone).partition(",")[2] == repr(other).partition(",")[2]

    class DataFrame:
        def to_csv(self) -> None: ...

    with pytest.raises(TypeError, match=r"type DataFrame.*to_csv\('labels.csv'"):
        skipstone.train(DataFrame())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a path, not a value of type int"):
        skipstone.load(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"load\(model\)\.predict"):
        skipstone.predict(model, 7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="epochs is 'five'"):
        skipstone.train(photos, epochs="five")


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
def test_a_picture_in_memory_is_predicted_as_its_file(
    mode: str, model: Path, photos: Path, tmp_path: Path
) -> None:
    loaded = skipstone.load(model)
    with Image.open(photos / CLASSES[0] / "1.jpg") as photo:
        picture = photo.convert("RGB").convert(mode)
    file = tmp_path / "a.tiff"
    picture.save(file)
    (from_file, in_memory) = loaded.predict([file, picture])
    assert in_memory.fields["label"] == from_file.fields["label"]
    difference = in_memory.fields["probability"] - from_file.fields["probability"]
    assert abs(difference) < (0.1 if mode == "CMYK" else 1e-5)
    (alone,) = loaded.predict(picture)
    assert alone.fields["probability"] == pytest.approx(in_memory.fields["probability"], abs=1e-5)


def test_a_turned_picture_is_turned_back(model: Path, photos: Path) -> None:
    loaded = skipstone.load(model)
    with Image.open(photos / CLASSES[0] / "1.jpg") as photo:
        upright, turned = photo.convert("RGB"), photo.convert("RGB").rotate(90, expand=True)
    turned.getexif()[0x0112] = 6
    first, second = loaded.predict([upright, turned])
    assert first.fields["probability"] == pytest.approx(second.fields["probability"], abs=1e-6)


def test_a_table_in_memory_gives_its_paths(model: Path, photos: Path) -> None:
    loaded = skipstone.load(model)
    files = [str(path) for path in sorted(photos.glob("*/1.jpg"))]
    frame = pa.table({"number": [1, 2, 3], "path": files, "remark": ["", "x", ""]})
    assert repr(loaded.predict(frame)) == repr(loaded.predict(files))
    with pytest.raises(TypeError, match="unclear which column holds the paths: a, b"):
        loaded.predict(pa.table({"a": files, "b": files}))
    for wrong in (None, 3, [3.5], {"a": 1}.keys):
        with pytest.raises(TypeError, match="cannot predict for a value of type"):
            loaded.predict(wrong)  # type: ignore[arg-type]


def test_results_are_tables(model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = skipstone.predict(model, photos)
    scores = skipstone.evaluate(model, photos)
    sizes = ExportResult(Path("out"), {"model.onnx": 10, "predict.py": 5}, None)
    row = {"max_difference": 0.1, "flips": 0, "near_ties": 1, "n": 16}
    checks = VerifyResult(
        Verification.from_rows([{"name": "torch-f32", "ok": True, "problem": "", **row}])
    )
    for result in (
        answers,
        scores,
        sizes,
        checks,
        skipstone.list_models(),
        skipstone.audit(photos),
    ):
        page = result._repr_html_()
        assert page.startswith(f"<p><b>{type(result).__name__}</b></p><table><tr><th>")
        assert page.count("<tr>") == min(len(result.table_rows()), 20) + 1
    assert "<td>accuracy</td>" in scores._repr_html_()
    assert sizes.table_rows()[0] == {"file": "model.onnx", "bytes": 10}
    assert checks.table_rows() == [{"check": "torch-f32", "ok": True, **row, "problem": ""}]
    fake = SimpleNamespace(DataFrame=lambda rows: rows)
    monkeypatch.setitem(sys.modules, "pandas", fake)
    assert [row["path"] for row in answers.to_frame()] == [
        row["path"] for row in answers.to_json()["predictions"]
    ]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        answers.to_frame()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_help_explains_every_keyword(name: str) -> None:
    function = getattr(skipstone, name)
    said = inspect.getdoc(function) or ""
    for parameter in inspect.signature(function).parameters:
        assert re.search(rf"\b{parameter}\b", said), parameter


@pytest.mark.parametrize("name", [name for name in find_commands() if name != "load"])
def test_every_flag_is_a_keyword(name: str) -> None:
    command = find_commands()[name]
    parameters = inspect.signature(command.function).parameters
    takes_options = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    flags = {each.name for each in command.parameters if not each.is_options}
    flags |= {variant.name for variant in command.variants}
    assert flags <= set(parameters)
    assert takes_options or not command.option_groups
    assert command.function.__name__ in skipstone.__all__


def test_show_augmented_is_a_keyword_of_train(photos: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "augmented.png"
    result = skipstone.train(photos, show_augmented=sheet, augment="flip,noise", seed=1)
    assert result.exit_code == 0
    assert sheet.is_file()


def test_help_of_train_names_flags_that_there_are() -> None:
    said = inspect.getdoc(skipstone.train) or ""
    flags = re.findall(r"(\w+)=", said.partition("options:")[2])
    assert len(flags) > 8
    assert set(flags) <= known_settings().keys()
