"""Exit codes, one-line errors, `--json`, and what must not be able to break the terminal."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skipstone.cli.main import BUG, json_text
from skipstone.commands.base import find_commands
from skipstone.core.errors import Diverged, Interrupted, Refusal
from tests.cli.conftest import Run, replace_command

COMMAND = [sys.executable, "-m", "skipstone"]


def _spawn(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, **options)


# --- help -----------------------------------------------------------------------------------


def test_help_is_fast_and_imports_nothing_heavy() -> None:
    code = (
        "import resource, sys\n"
        "from skipstone.cli.main import main\n"
        "assert main(['--help']) == 0\n"
        "heavy = {'torch', 'pyarrow', 'numpy', 'PIL', 'rich', 'timm', 'openvino', 'onnx'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(used.ru_utime + used.ru_stime, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, seconds = done.stderr.splitlines()
    assert modules == "[]"
    assert float(seconds) < 0.5
    assert all(f"  {name} " in done.stdout for name in find_commands())


@pytest.mark.parametrize("name", find_commands())
def test_help_of_a_command_is_fast_and_imports_no_torch(name: str) -> None:
    code = (
        "import resource, sys\n"
        "from skipstone.cli.main import main\n"
        f"assert main([{name!r}, '--help']) == 0\n"
        "print(sorted({'torch', 'pyarrow', 'PIL'} & set(sys.modules)), file=sys.stderr)\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(used.ru_utime + used.ru_stime, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, seconds = done.stderr.splitlines()
    assert modules == "[]"
    assert float(seconds) < 0.5
    assert f"usage: skipstone {name}" in done.stdout


def test_help_for_a_command_both_ways(run: Run) -> None:
    assert run("help", "train") == run("train", "--help")
    assert run("--help").code == run("help").code == 0
    assert run() == (2, run("--help").out, "")


def test_version(run: Run) -> None:
    import skipstone

    assert run("--version") == (0, f"skipstone {skipstone.__version__}\n", "")


# --- what a user mistypes -------------------------------------------------------------------

MISTAKES = {
    "trian {data}": "unknown command 'trian'.|Did you mean 'train'?",
    "--seed train {data}": "the command comes before --seed.|skipstone train photos/ --seed",
    "train": "skipstone train needs DATA.|skipstone train --help",
    "train {data} --epoch 5": "no flag --epoch.|'--epochs'",
    "train {data} --num-workers 4": "no flag --num-workers.|Did you mean '--workers'?",
    "train {data} --gpu 0": "no flag --gpu.|Did you mean --device cuda?",
    "train {data} --arch resnet50": "no flag --arch.|Did you mean '--model'?",
    "train {data} --resume": "no flag --resume.|The same command resumes",
    "train --data {data}": "no flag --data.|first argument, without a name",
    "train {data} -b 8": "no flag -b.|Did you mean '--batch-size'?",
    "export {runs}/001 --format onnx": "no flag --format.|Did you mean '--to'?",
    "{data}": "unknown command '{data}'.|To train on it: skipstone train {data}",
    "train {data}/train {data}/test": "what to do with '{data}/test'.|give that: {data}",
    "train https://host/photos": "https://host/photos is a URL.|curl -LO https://host/photos",
    "predict --jsno": "no flag --jsno.|'--json'",
    "train {data} --budget 10": "--budget: '10' has no unit: did you mean 10m or 10s?|--help",
    "train {data} --epochs five": "--epochs: 'five' is not a whole number.|--help",
    "train {data} --epochs 0": "epochs is 0; allowed: a whole number from 1.",
    "train {data} --optimizer sdg": "'sdg' is not allowed. Did you mean 'sgd'?|--help",
    "train {data} --augment strnog": "'strnog' is neither a preset|Did you mean 'strong'",
    "train {data} --channels 2": "--channels 2: these are photos, of 1 (grey)|Leave it out",
    "train {data} --model resent18": "unknown model 'resent18'.|Did you mean 'resnet18'",
    "train {data} --model convnext": "unknown model 'convnext'.|(any network of timm: timm/NAME)",
    "train {data} --task clasify": "unknown task 'clasify'.|Did you mean 'classify'?",
    "train {data} --group-column patient": "applies only to the layout table; {data} is read as "
    "split-folders.|--reader table",
    "train {data} --reader class-foders": "unknown reader 'class-foders'.|'class-folders'",
    "train {data} --weights none --model resnet20 --width x": "'x' is not a number",
    "train {data} --seed -1": "--seed: '-1' is not a whole number from 0",
    "train {data} other": "does not know what to do with 'other'",
    "train {data}s": "does not exist.|Did you mean {data}",
    "train {runs}/001": "is a run of skipstone, not data.|skipstone evaluate MODEL DATA",
    "train {runs}": "is a folder of runs of skipstone, not data.",
    "audit {runs}/001/bundle": "is a model of skipstone, not data.",
    "train {data}/train/*.jpeg": "no file matches the pattern {data}/train/*.jpeg.|{data}/train",
    "verify {runs}/*x": "no file matches the pattern {runs}/*x.|runs/001",
    "predict {runs}/001 {data}/*/*.jpeg": "no file matches the pattern {data}/*/*.jpeg|ls {data}",
    "verify {data}": "is a data folder, not a model",
    "verify {runs}/01": "no model at {runs}/01.|Did you mean '001'?",
    "evaluate {data} {runs}/001": "are swapped.|The model comes first: {runs}/001 {data}",
    "predict {photo} {runs}/001": "are swapped.|{runs}/001 {photo}",
    "predict {photo} {runs}": "are swapped.|{runs} {photo}",
    "predict {photo} {photo}": "is a file, not a model.|A model is a bundle, or the run folder",
    "evaluate {runs}/001 {data} --split tset": "no split 'tset'; it has test, train.|'test'",
    "predict {runs}/001 {photo} --runtime openvin": "unknown runtime 'openvin'.|openvino",
    "predict {runs}/001 {photo} --runtime openvino": "no program for openvino|skipstone export",
    "export {runs}/001 --to onxx": "--to: 'onxx' is not allowed. Did you mean 'onnx'?|--help",
    "shrink {runs}/001 --plan in8": "in8|int8",
    "shrink {runs}/001 --max-drop little": "--max-drop: 'little' is not a number",
    "shrink {runs}/001 --max-drop -1": "--max-drop -1 is not valid|--max-drop 1",
    "compare textcnn": "textcnn cannot be used untrained|skipstone train DATA --model textcnn",
    "compare {runs}/001 resent18": "'resent18' is neither a run, nor a bundle|resnet18",
    "models resent18": "unknown model 'resent18'.|Did you mean 'resnet18'",
    "train {data} --smooth 0.1": "no flag --smooth",
    "train {data} --thresholds f1": "--thresholds is an option of task tag; this run is",
    "train {data} --model efficientnet_lite0 --cell lstm": "--cell is an option of model crnn",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_is_one_line_with_what_to_type(
    run: Run,
    command: str,
    runs: Path,
    chess: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"data": chess, "runs": runs, "photo": chess / "train" / "bishop" / "0.jpg"}
    done = run(*[word.format(**names) for word in command.split()])
    message, _, hint = MISTAKES[command].format(**names).partition("|")
    assert done.code == 2
    assert done.out == ""
    lines = [line for line in done.err.splitlines() if "error: " in line or line[:7].isspace()]
    assert 1 <= len(lines) <= 2, done.err
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert hint in lines[-1]
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


# --- errors in general ----------------------------------------------------------------------


def _command_that(monkeypatch: pytest.MonkeyPatch, act: Callable[[Any], Any]) -> None:
    replace_command(monkeypatch, "models", act)


def _raising(error: BaseException) -> Callable[[Any], Any]:
    def act(**_: Any) -> Any:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refusal("it loses too much.", hint="Allow more."), 1),
        (Diverged("the loss is NaN.", step=3), 1),
        (Interrupted("stopped and saved.", signal_number=15), 143),
        (Interrupted("stopped and saved.", signal_number=2), 130),
        (KeyboardInterrupt(), 130),
        (MemoryError(), 1),
        (ZeroDivisionError("oh\nno"), BUG),
    ],
)
def test_exit_codes(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    _command_that(monkeypatch, _raising(error))
    done = run("models", "--json")
    assert done.code == code
    assert list(done.json) == ["error", "hint"]
    assert done.err.startswith(f"error: {done.json['error']}")
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) <= 2
    assert "Traceback" in run("models", "--debug").err


def test_a_bug_says_so_and_how_to_see_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _command_that(monkeypatch, _raising(ZeroDivisionError("oh\nno")))
    done = run("models")
    assert "error: this is a bug in skipstone (ZeroDivisionError: oh no)." in done.err
    assert "--debug" in done.err


def test_a_path_that_may_not_be_read_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "/root/photos")
    _command_that(monkeypatch, _raising(error))
    done = run("models")
    assert done.code == 1
    assert "error: /root/photos: Permission denied.\n" in done.err
    assert "bug" not in done.err


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.close()
        assert child.stderr is not None
        assert child.stderr.read() == ""


# --- --json ---------------------------------------------------------------------------------


def test_no_nan_in_json() -> None:
    value = {"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": (2, "é\udcff")}}
    assert json_text(value) == '{"a": null, "b": [1.5, null], "c": {"d": [2, "\\u00e9\\udcff"]}}'


def test_json_of_an_error_in_the_command_itself(run: Run) -> None:
    done = run("trian", "--json")
    assert done.json == {"error": "unknown command 'trian'.", "hint": "Did you mean 'train'?"}
    assert run("train", "--json").json["error"] == "skipstone train needs DATA."


def test_json_of_models(run: Run) -> None:
    rows = {row["name"]: row for row in run("models", "--json").json["models"]}
    assert rows["resnet18"]["parameters"] == 11_176_512
    assert rows["resnet18"]["macs"] == 1_813_561_344
    assert rows["resnet18"]["input"] == "image, spectrogram 224"
    assert rows["resnet18"]["source"].startswith("He et al. 2015")
    assert run("models", "resnet18", "--json").json["models"] == [rows["resnet18"]]
    (one,) = run("models", "timm/resnet18", "--json").json["models"]
    assert (one["parameters"], one["macs"]) == (11_176_512, 1_813_561_344)


def test_models_on_a_terminal(run: Run) -> None:
    shown = run("models").out
    assert "resnet{20,32,44,56,110}" in shown
    assert "timm/*" in shown
    assert "…" not in shown


# --- evaluate, predict, audit -----------------------------------------------------------------


def test_evaluate(run: Run, runs: Path, chess: Path) -> None:
    found = run("evaluate", runs / "001", chess, "--split", "test", "--json")
    assert found.code == 0
    assert found.json["split"] == "test"
    accuracy = found.json["metrics"]["accuracy"]
    assert set(accuracy) == {"value", "low", "high", "n"}
    assert accuracy["n"] == 6
    assert found.json["unknown_labels"] == {"pawn": 1}
    assert "pawn (1)" in found.err
    everything = run("evaluate", runs, chess, "--json")
    assert everything.json["metrics"]["accuracy"]["n"] == 15
    assert "--split NAME scores one" in everything.err
    assert f"The model is {runs / '001'}, the newest of 1" in everything.err


def test_evaluate_on_a_terminal(run: Run, runs: Path, chess: Path) -> None:
    shown = run("evaluate", runs / "001", chess / "train")
    assert shown.code == 0
    assert "balanced accuracy" in shown.out
    assert "95 % interval" in shown.out


def test_predict_goes_on_past_bad_files(run: Run, runs: Path, chess: Path, tmp_path: Path) -> None:
    bad, empty = tmp_path / "bad.jpg", tmp_path / "empty.png"
    bad.write_bytes(b"no picture")
    empty.touch()
    good = chess / "train" / "rook"
    words = ("predict", runs / "001", bad, good, tmp_path / "missing.jpg", empty)
    done = run(*words, "--json")
    assert done.code == 1
    rows = done.json["predictions"]
    assert [("error" in row) for row in rows] == [True, False, False, False, True, True]
    assert [row["path"] for row in rows][-2:] == [str(tmp_path / "missing.jpg"), str(empty)]
    for row in rows[1:4]:
        assert {"path", "label", "probability"} <= set(row)
        assert 0 < row["probability"] <= 1
    shown = run(*words)
    assert shown.code == 1
    assert sum(" error " in line for line in shown.out.splitlines()) == 3
    assert run("predict", runs / "001", good).code == 0


def test_paths_are_shown_whole_where_no_terminal_is(run: Run, runs: Path, tmp_path: Path) -> None:
    path = tmp_path / ("long" * 40) / "missing.jpg"
    assert str(path) in run("predict", runs / "001", path).out


def test_audit(run: Run, chess: Path, tmp_path: Path) -> None:
    done = run("audit", chess, "--json", "--out", tmp_path / "audit")
    assert done.code == 0
    assert {"counts", "findings"} <= set(done.json)
    assert all({"kind", "paths"} <= set(row) for row in done.json["findings"])
    assert (tmp_path / "audit" / "audit.json").is_file()
    assert run("audit", chess).code == 0


# --- hostile names ----------------------------------------------------------------------------


def test_names_cannot_speak_to_the_terminal(run: Run, runs: Path, tmp_path: Path) -> None:
    hostile = "[/red][bold]\x1b[31m\x1b]0;owned\x07\u202egpj.exe\n"
    path = tmp_path / f"{hostile}.jpg"
    path.parent.mkdir()  # the slash in it makes a folder
    path.write_bytes(b"no picture")
    done = run("predict", runs / "001", path)
    assert done.code == 1
    for text in (done.out, done.err):
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "[/red][bold]\\x1b[31m" in done.out
    refused = run("verify", path)
    assert "\x1b" not in refused.err
    assert "[/red]" in refused.err
    assert len(refused.err.splitlines()) <= 2


def test_a_name_that_is_no_unicode(run: Run, runs: Path, tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")
    done = _spawn(
        "predict", str(runs), name, env={**os.environ, "PYTHONIOENCODING": "ascii"}, errors="strict"
    )
    assert done.returncode == 1
    assert "\\xdcff.jpg" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 9 TiB"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_memory_that_cannot_be_had_is_no_bug(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def act(**_: Any) -> Any:
        raise error

    _command_that(monkeypatch, act)
    done = run("models")
    assert done.code == 1
    assert "out of memory (" in done.err
    assert "ulimit -v" in done.err


# --- warnings -----------------------------------------------------------------------------------


def test_warnings_of_pillow_are_notes_and_others_are_quiet(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(**_: Any) -> Any:
        for _ in range(2):
            warnings.warn_explicit("Corrupt EXIF data", UserWarning, "/x/PIL/TiffImagePlugin.py", 9)
        warnings.warn_explicit("use the other function", UserWarning, "/x/torch/nn.py", 9)
        raise Refusal("done")

    _command_that(monkeypatch, act)
    err = run("models").err
    assert err.splitlines()[0] == "Pillow: Corrupt EXIF data"
    assert err.count("Corrupt") == 1
    assert "other function" not in err
