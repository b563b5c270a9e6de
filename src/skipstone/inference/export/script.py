"""The stand-alone script: model.onnx and a predict.py that does not import skipstone.

It needs onnxruntime, numpy and Pillow, and tifffile for images that are not 8-bit photos. Its text
consists of the modules that skipstone itself decodes and predicts with. `Input.standalone` and the
entry of the task name them as "package.module:function".

An input's function takes (file bytes, its `spec`), a task's (outputs, schema, options, post,
geometries); `script_main` documents what they return. Such a module imports only the
standard library and small packages. Modules of skipstone that it imports with `from ... import` are
copied into the script before it.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skipstone.bundle.files import read_bundle_json, read_file
from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import resolve_bundle
from skipstone.core import events, storage
from skipstone.core.disk import scratch_folder
from skipstone.core.errors import DamagedError, Refusal
from skipstone.core.registry import INPUTS, TASKS
from skipstone.data.sources import Inline
from skipstone.inference.backends.onnx_check import check_onnx
from skipstone.inference.backends.openvino_check import check_ir
from skipstone.inference.export.onnx_export import ONNX_FILE, export_onnx, program_metadata
from skipstone.inference.programs import Programs, load_program_files, read_programs
from skipstone.inference.restore import input_dependent_postprocessing, restore_input

#: The program that the script runs, where the bundle has it.
SCRIPT_PROGRAM = "onnxruntime-f32"
_HEADER = '''\
#!/usr/bin/env python3
"""Predict with the {program} next to this script.

    pip install {packages}
    python predict.py {files} [--json]

Written by skipstone {version}; it does not need skipstone.
"""

from __future__ import annotations
'''


def write_standalone(path: Path | str, out: Path | str) -> Path | None:
    """Write model.onnx and predict.py into `out`; returns the script's path.

    If the input or the task has no stand-alone form, only model.onnx is written, a note says why,
    and None is returned.
    """
    folder, out = resolve_bundle(path), Path(out)
    bundle = Bundle.load(folder)
    if ONNX_FILE not in read_bundle_json(folder)["files"]:
        export_onnx(folder)
    program = read_file(folder, ONNX_FILE)
    check_onnx(program)
    storage.make_folder(out)
    storage.write_bytes(out / "model.onnx", program)
    return _write_script(bundle, out, "model.onnx")


def write_openvino(path: Path | str, out: Path | str, names: Sequence[str]) -> Path | None:
    """Write these OpenVINO programs of a bundle into `out`, with their settings and predict.py;
    returns the script's path, or None as `write_standalone`.

    A pair of files is written once: bfloat16 is a mode of the float32 program.
    """
    folder, out = resolve_bundle(path), Path(out)
    bundle, programs = Bundle.load(folder), read_programs(folder)
    storage.make_folder(out)
    stems: dict[str, str] = {}
    for program in (programs.by_name[name] for name in names):
        stem = "model-int8" if program.precision == "int8" else "model"
        if stem not in stems:
            stems[stem] = str(program.settings.get("floats", "f32"))
            files = load_program_files(folder, program)
            check_ir(files["model"], files["weights"])
            storage.write_bytes(out / f"{stem}.xml", files["model"])
            storage.write_bytes(out / f"{stem}.bin", files["weights"])
    first = "model-int8" if "model-int8" in stems else "model"
    settings = {**program_metadata(folder, restore_input(bundle)), "precision": stems[first]}
    storage.write_json(out / "model.json", settings)
    return _write_script(bundle, out, f"{first}.xml")


def _write_script(bundle: Bundle, out: Path, program: str) -> Path | None:
    try:
        text = build_script(bundle, program)
    except Refusal as refusal:
        events.emit_note(f"{program} comes without a script: {refusal.message}")
        return None
    storage.write_text(out / "predict.py", text)
    return out / "predict.py"


def example_file_names(bundle: Bundle) -> list[str]:
    """Example names of files that it predicts for."""
    return list(INPUTS[bundle.input["name"]].example_names)


def find_script_program(bundle: Bundle, programs: Programs) -> str | None:
    """The program that the stand-alone script of this bundle runs: ONNX Runtime's, or else the
    default one of OpenVINO, as of a shrunk model. None if no script can be written without
    exporting first."""
    default = programs.by_name.get(programs.default)
    if explain_missing_script(bundle):
        return None
    if SCRIPT_PROGRAM in programs.by_name:
        return SCRIPT_PROGRAM
    return default.name if default is not None and default.runtime == "openvino" else None


def explain_missing_script(bundle: Bundle) -> str:
    """Why this bundle has no stand-alone script, as a clause; "" if it has one."""
    parts = {
        f"the input {bundle.input['name']!r}": _decoding(bundle),
        f"the task {bundle.task['name']!r}": TASKS[bundle.task["name"]].standalone,
    }
    for kind, target in parts.items():
        if target is None:
            return f"{kind} has no stand-alone form"
    steps = input_dependent_postprocessing(bundle)
    return f"it cannot do this model's post-processing ({', '.join(steps)})" if steps else ""


def build_script(bundle: Bundle, program: str = "model.onnx") -> str:
    """The text of predict.py, which runs the file `program`. Refusal if the input or the task has no
    stand-alone form."""
    from importlib.metadata import version

    if reason := explain_missing_script(bundle):
        raise Refusal(f"{reason}.")
    decode, decoding = _part(_decoding(bundle))
    answer, answering = _part(TASKS[bundle.task["name"]].standalone)
    modules = list(dict.fromkeys([*decoding, *answering, "skipstone.inference.export.script_main"]))
    call = f'if __name__ == "__main__":\n    raise SystemExit(main({decode}, {answer}))\n'
    parts = [*map(_body, modules), call]
    header = _HEADER.format(
        version=version("skipstone"),
        program=program,
        packages=_packages("\n".join(parts), program),
        files=" ".join(example_file_names(bundle)),
    )
    text = header + "\n\n".join(parts)
    names = [name for part in parts for name in _top_level_names(part)]
    duplicates = {name for name in names if names.count(name) > 1}
    assert not duplicates, f"the script's parts define {sorted(duplicates)} twice"
    return text


def run_script(
    folder: Path, sources: Sequence[Inline], program: str = SCRIPT_PROGRAM
) -> list[dict[str, Any]]:
    """The script's predictions, from a process that cannot import skipstone or torch.

    Args:
        program: of `find_script_program`.

    Returns its rows without their paths. DamagedError if the script fails.
    """
    is_onnx = program == SCRIPT_PROGRAM
    with scratch_folder() as temporary:
        out = Path(temporary, "script")
        script = (
            write_standalone(folder, out) if is_onnx else write_openvino(folder, out, [program])
        )
        assert script is not None, "the caller has checked that there is a script"
        files = []
        for number, source in enumerate(sources):
            file = Path(temporary, f"{number:03d}{Path(source.name).suffix}")
            assert isinstance(source.data, bytes)
            file.write_bytes(source.data)
            files.append(str(file))
        process = subprocess.run(
            [sys.executable, "-I", "-c", _ISOLATED, str(script), "--json", *files],
            input=json.dumps([sys.path, "openvino" if is_onnx else "onnxruntime"]),
            capture_output=True,
            text=True,
            check=False,
        )
    if process.returncode != 0:
        last_lines = (process.stderr or process.stdout).strip().splitlines()[-2:]
        raise DamagedError(f"the stand-alone script fails: {' '.join(last_lines)}")
    try:
        rows: list[dict[str, Any]] = json.loads(process.stdout)["predictions"]
    except (ValueError, KeyError):
        raise DamagedError("the stand-alone script did not print JSON.") from None
    return [{name: value for name, value in row.items() if name != "path"} for row in rows]


#: Runs the script with every package blocked that its header does not list.
_ISOLATED = """
import json, runpy, sys
sys.path[:], other = json.load(sys.stdin)
for name in ("skipstone", "torch", "torchvision", "timm", "onnx", other, "safetensors"):
    sys.modules[name] = None
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _decoding(bundle: Bundle) -> str | None:
    """The stand-alone function that decodes this bundle's files; None if there is none."""
    return restore_input(bundle).standalone_decoder


def _part(target: str | None) -> tuple[str, list[str]]:
    """The function's name, its module, and before it the modules that this imports, in order."""
    assert target is not None, "explain_missing_script has checked"
    module, _, function = target.partition(":")
    return function, [*_own_imports(module), module]


def _own_imports(module: str) -> list[str]:
    """Modules of skipstone that `module` imports from, each after the ones it needs itself."""
    modules: list[str] = []
    for node in ast.parse(_source(module)).body:
        if _imports_own(node, module):
            assert isinstance(node, ast.ImportFrom)
            assert all(name.asname is None for name in node.names), f"{module} renames an import"
            modules += [*_own_imports(str(node.module)), str(node.module)]
    return list(dict.fromkeys(modules))


def _imports_own(node: ast.stmt, module: str) -> bool:
    package = module.partition(".")[0]
    return isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == package


def _packages(text: str, program: str) -> str:
    """The arguments of `pip install` to run the file `program`; in parentheses packages that only
    some files need, which are imported inside functions."""
    runtimes = {"onnxruntime", "openvino"}
    required: set[str] = {"onnxruntime" if program.endswith(".onnx") else "openvino"}
    optional: set[str] = set()
    tree = ast.parse(text)
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names:
            (required if node in tree.body else optional).add(_ON_PYPI.get(name, name))
    optional -= required | runtimes
    extra = f"      (some files: {' '.join(sorted(optional))})" if optional else ""
    return " ".join(sorted(required)) + extra


_ON_PYPI = {"PIL": "pillow", "pillow_heif": "pillow-heif"}


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"module {module} does not exist"
    assert spec.origin is not None, f"{module} has no source"
    return Path(spec.origin).read_text(encoding="utf-8")


def _body(module: str) -> str:
    """A module's text without its docstring, `__future__` imports and imports from skipstone."""
    source = _source(module)
    dropped: set[int] = set()
    for at, node in enumerate(ast.parse(source).body):
        docstring = at == 0 and isinstance(node, ast.Expr)
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if docstring or future or _imports_own(node, module):
            assert node.end_lineno is not None
            dropped.update(range(node.lineno, node.end_lineno + 1))
    lines = [line for number, line in enumerate(source.splitlines(), 1) if number not in dropped]
    return "\n".join(lines).strip() + "\n"


def _top_level_names(source: str) -> list[str]:
    """Names that a part defines at its top level, without imports."""
    defined = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names = (name for name in ast.walk(node) if isinstance(name, ast.Name))
            defined += [name.id for name in names if isinstance(name.ctx, ast.Store)]
    return defined
