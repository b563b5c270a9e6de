"""The stand-alone script: model.onnx and a predict.py that knows nothing of skipstone.

It needs onnxruntime, numpy and Pillow, and where pictures are deeper than photos, tifffile. Its
text is made of the very files that skipstone itself decodes and answers with, named by the facts of
the input's and the task's entries (an input object may name another, for what it was fitted on):

    "standalone": "package.module:function"

An input's function takes (file bytes, its `spec`), a task's (outputs, schema, options, post, seen);
`runtime.script_main` says what they give. A module imports small packages and the standard library
only; what it imports of skipstone's own modules, by `from ... import`, is put before it.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skipstone import events, storage
from skipstone.bundle.files import read_file, read_record
from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import bundle_of
from skipstone.data.sources import Inline
from skipstone.errors import DamagedError, Refusal
from skipstone.registry import INPUTS, TASKS
from skipstone.runtime.export_onnx import MODEL, export_onnx
from skipstone.runtime.onnx_check import check_onnx
from skipstone.runtime.parts import input_of, refinements_of
from skipstone.runtime.programs import Programs

FACT = "standalone"
#: The program that a script answers with.
STANDS_ALONE = "onnxruntime-f32"
_HEADER = '''\
#!/usr/bin/env python3
"""Answers for files, by the model.onnx beside this script.

    pip install {packages}
    python predict.py {files} [--json]

Written by skipstone {version}; it does not need skipstone.
"""

from __future__ import annotations
'''


def write_standalone(path: Path | str, out: Path | str) -> Path | None:
    """Write model.onnx and predict.py into `out`; returns the script.

    Where the input or the task has no stand-alone form, only model.onnx is written, a note says
    which of them it is, and None is returned.
    """
    folder, out = bundle_of(path), Path(out)
    bundle = Bundle.load(folder)
    if MODEL not in read_record(folder)["files"]:
        export_onnx(folder)
    program = read_file(folder, MODEL)
    check_onnx(program)
    storage.make_folder(out)
    storage.write_bytes(out / "model.onnx", program)
    try:
        text = script_text(bundle)
    except Refusal as refusal:
        events.note(f"model.onnx comes without a script: {refusal.message}")
        return None
    storage.write_text(out / "predict.py", text)
    return out / "predict.py"


def example_files(bundle: Bundle) -> list[str]:
    """What files that it answers for may be called."""
    return list(INPUTS[bundle.input["name"]].facts.get("named", ["FILE"]))


def can_stand_alone(bundle: Bundle, programs: Programs) -> bool:
    """Whether a stand-alone script of this bundle can be written without exporting first."""
    parts = _decoding(bundle), TASKS[bundle.task["name"]].facts.get(FACT)
    return STANDS_ALONE in programs.rows and None not in parts and not refinements_of(bundle)


def script_text(bundle: Bundle) -> str:
    """The text of predict.py. Refusal where the input or the task has no stand-alone form."""
    from importlib.metadata import version

    task = TASKS[bundle.task["name"]]
    decode, decoding = _part(_decoding(bundle), f"input {bundle.input['name']!r}")
    answer, answering = _part(task.facts.get(FACT), f"task {task.name!r}")
    if refined := refinements_of(bundle):
        raise Refusal(f"it would not refine its answers as this model does ({', '.join(refined)}).")
    modules = list(dict.fromkeys([*decoding, *answering, "skipstone.runtime.script_main"]))
    call = f'if __name__ == "__main__":\n    raise SystemExit(main({decode}, {answer}))\n'
    parts = [*map(_body, modules), call]
    needed = _packages("\n".join(parts))
    header = _HEADER.format(
        version=version("skipstone"), packages=needed, files=" ".join(example_files(bundle))
    )
    text = header + "\n\n".join(parts)
    names = [name for part in parts for name in _defined(part)]
    twice = {name for name in names if names.count(name) > 1}
    assert not twice, f"the script's parts define {sorted(twice)} twice"
    return text


def answers_of_script(folder: Path, sources: Sequence[Inline]) -> list[dict[str, Any]]:
    """What the script says to files, in a process that cannot import skipstone or torch.

    Returns its rows without their paths. DamagedError where it fails.
    """
    with tempfile.TemporaryDirectory() as temporary:
        script = write_standalone(folder, Path(temporary, "script"))
        assert script is not None, "asked only where there is a script"
        files = []
        for at, source in enumerate(sources):
            file = Path(temporary, f"{at:03d}{Path(source.name).suffix}")
            assert isinstance(source.data, bytes)
            file.write_bytes(source.data)
            files.append(str(file))
        process = subprocess.run(
            [sys.executable, "-I", "-c", _ALONE, str(script), "--json", *files],
            input=json.dumps(sys.path),
            capture_output=True,
            text=True,
            check=False,
        )
    if process.returncode != 0:
        ending = (process.stderr or process.stdout).strip().splitlines()[-2:]
        raise DamagedError(f"the stand-alone script fails: {' '.join(ending)}")
    try:
        rows: list[dict[str, Any]] = json.loads(process.stdout)["predictions"]
    except (ValueError, KeyError):
        raise DamagedError("the stand-alone script printed something else than JSON.") from None
    return [{name: value for name, value in row.items() if name != "path"} for row in rows]


#: What the script has not been told to need, it cannot have.
_ALONE = """
import json, runpy, sys
sys.path[:] = json.load(sys.stdin)
for name in ("skipstone", "torch", "torchvision", "timm", "onnx", "openvino", "safetensors"):
    sys.modules[name] = None
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _decoding(bundle: Bundle) -> str | None:
    """What decodes this bundle's files: as its input says (None: nothing alone can), or else its
    entry."""
    usual: str | None = INPUTS[bundle.input["name"]].facts.get(FACT)
    named: str | None = getattr(input_of(bundle), FACT, usual)
    return named


def _part(target: str | None, kind: str) -> tuple[str, list[str]]:
    """The function, and the modules that hold it and what it imports, in order."""
    if target is None:
        raise Refusal(f"the {kind} has no stand-alone form.")
    module, _, function = target.partition(":")
    return function, [*_own_imports(module), module]


def _own_imports(module: str) -> list[str]:
    """Modules of the same package that `module` imports from, those that they need first."""
    found: list[str] = []
    for node in ast.parse(_source(module)).body:
        if _imports_own(node, module):
            assert isinstance(node, ast.ImportFrom)
            assert all(name.asname is None for name in node.names), f"{module} renames an import"
            found += [*_own_imports(str(node.module)), str(node.module)]
    return list(dict.fromkeys(found))


def _imports_own(node: ast.stmt, module: str) -> bool:
    package = module.partition(".")[0]
    return isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == package


def _packages(text: str) -> str:
    """What pip has to install for the script; what is only imported within a function may not be
    needed, and comes in brackets."""
    always: set[str] = {"onnxruntime"}
    sometimes: set[str] = set()
    tree = ast.parse(text)
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names:
            (always if node in tree.body else sometimes).add(_ON_PYPI.get(name, name))
    extra = (
        f"      (some files: {' '.join(sorted(sometimes - always))})" if sometimes - always else ""
    )
    return " ".join(sorted(always)) + extra


_ON_PYPI = {"PIL": "pillow", "pillow_heif": "pillow-heif"}


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"there is no module {module}"
    assert spec.origin is not None, f"{module} has no source"
    return Path(spec.origin).read_text(encoding="utf-8")


def _body(module: str) -> str:
    """A module's text without its docstring, its `__future__` imports and those of our own."""
    source = _source(module)
    gone: set[int] = set()
    for at, node in enumerate(ast.parse(source).body):
        docstring = at == 0 and isinstance(node, ast.Expr)
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if docstring or future or _imports_own(node, module):
            assert node.end_lineno is not None
            gone.update(range(node.lineno, node.end_lineno + 1))
    kept = [line for number, line in enumerate(source.splitlines(), 1) if number not in gone]
    return "\n".join(kept).strip() + "\n"


def _defined(source: str) -> list[str]:
    """Top-level names that a part defines, imports aside."""
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names = (name for name in ast.walk(node) if isinstance(name, ast.Name))
            found += [name.id for name in names if isinstance(name.ctx, ast.Store)]
    return found
