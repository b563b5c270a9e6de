"""The house's own rules, read from the source: who imports whom, branches on names, sizes."""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import skipstone
from skipstone.core.registry import INPUTS, TASKS

SRC = Path(skipstone.__file__).parent
FILES = sorted(SRC.rglob("*.py"))
ROOT = Path(__file__).parents[1]
TESTS = sorted(path for part in ("tests", "benchmarks") for path in (ROOT / part).rglob("*.py"))

#: Lower to higher, as in docs/architecture.md: a package imports only those before it.
#: `core.settings` and `core.registry` name higher ones as text, which is resolved on first use.
PACKAGES = (
    *("core", "data", "bundle", "inputs", "models", "tasks", "inference", "evaluation"),
    *("datasets", "auditing", "image", "text", "audio", "training", "compression", "report"),
    *("workflows", "commands", "cli", "__main__"),
)

#: Comparisons with a word that is also the name of a task or an input, and why it is none.
NO_NAMES = {
    ("report/tables.py", "text"): "how a column of a table is written",
    (
        "image/augment_factory.py",
        "image",
    ): "what an input emits, and the name of its array",
}


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _package(path: Path) -> str:
    return path.relative_to(SRC).with_suffix("").parts[0]


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    """(package, line) of everything of ours that a file imports, also inside functions."""
    for node in ast.walk(_tree(path)):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            module = node.module or ""
            whole = module == "skipstone"
            modules = [f"skipstone.{a.name}" for a in node.names] if whole else [module]
        for module in modules:
            parts = module.split(".")
            if parts[0] == "skipstone" and len(parts) > 1 and not parts[1].startswith("__"):
                yield parts[1], node.lineno


def test_every_package_has_its_place() -> None:
    packages = {_package(path) for path in FILES} - {"__init__"}
    assert packages == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_only_point_down(package: str) -> None:
    place = {name: number for number, name in enumerate(PACKAGES)}
    found = [
        f"{path.relative_to(SRC)}:{line} imports {other}"
        for path in FILES
        if _package(path) == package
        for other, line in _imports(path)
        if place[other] > place[package]
    ]
    assert found == []


def _compared(path: Path) -> Iterator[tuple[str, int]]:
    """(word, line) of the string literals that a file compares something with."""
    for node in ast.walk(_tree(path)):
        parts: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        for part in parts:
            inside = part.elts if isinstance(part, ast.Tuple | ast.List | ast.Set) else [part]
            for item in inside:
                if isinstance(item, ast.Constant) and isinstance(item.value, str):
                    yield item.value, item.lineno


def test_only_its_package_branches_on_a_name() -> None:
    owners = {entry.name: "tasks" for entry in TASKS} | {entry.name: "inputs" for entry in INPUTS}
    found, excused = [], set()
    for path in FILES:
        for word, line in _compared(path):
            place = (path.relative_to(SRC).as_posix(), word)
            if word in owners and owners[word] != _package(path):
                if place in NO_NAMES:
                    excused.add(place)
                else:
                    found.append(f"{place[0]}:{line} compares with {word!r}")
    assert found == []
    assert excused == set(NO_NAMES), "an excuse that nothing needs any more"


def test_public_names_exist_and_are_explained() -> None:
    assert sorted(skipstone.__all__) == skipstone.__all__
    for name in skipstone.__all__:
        value = getattr(skipstone, name)
        if name != "__version__":
            assert inspect.getdoc(value), f"skipstone.{name} has no docstring"
    assert not hasattr(skipstone, "trian")


def test_no_package_has_the_name_of_a_public_function() -> None:
    for name in set(skipstone.__all__) - {"SkipstoneError", "__version__"}:
        assert inspect.isfunction(getattr(skipstone, name))
        assert not (SRC / name).exists()
        assert not (SRC / f"{name}.py").exists()


def test_every_module_says_what_it_is() -> None:
    empty = [
        str(path.relative_to(SRC))
        for path in FILES
        if path.read_text(encoding="utf-8").strip() and not ast.get_docstring(_tree(path))
    ]
    assert empty == []


def test_files_and_functions_are_short() -> None:
    long = []
    assert len(TESTS) > 100, "where are they?"
    for path in [*FILES, *TESTS]:
        text = path.read_text(encoding="utf-8")
        if (lines := len(text.splitlines())) > 600:
            long.append(f"{path} has {lines} lines")
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > 60:
                    long.append(f"{path}: {node.name} has {length} lines")
                taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                count = sum(argument.arg not in ("self", "cls") for argument in taken)
                if count > 8 and path in FILES:  # a test may ask for many fixtures
                    long.append(f"{path}: {node.name} has {count} parameters")
    assert long == []


#: Modules that read only what they wrote themselves, or that are copied into a script.
_OWN_FILES = {"script_main.py", "openvino_export.py", "demo_images.py"}


def _opens_a_file(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    reads = any(isinstance(word, ast.Constant) and word.value == "rb" for word in call.args)
    return (name.endswith(".read_bytes") and not call.args) or (
        name.rpartition(".")[2] == "open" and reads and name != "gzip.open"
    )


def test_only_regular_files_are_opened() -> None:
    """A pipe blocks and a device has no end, so files are opened by `core.disk`."""
    found = [
        f"{path.relative_to(SRC)}:{node.lineno}"
        for path in FILES
        if path.name not in _OWN_FILES and _package(path) != "core"
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call) and _opens_a_file(node)
    ]
    assert found == []


def test_nothing_unpickles_or_evaluates() -> None:
    """Nothing from a file is ever run; foreign weights have one door."""
    found = []
    for path in FILES:
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None), *(alias.name for alias in node.names)]
                if {"pickle", "dill", "joblib", "shelve", "marshal"} & set(names):
                    found.append(f"{path.relative_to(SRC)}:{node.lineno}")
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                door = path.relative_to(SRC).as_posix() == "models/weights.py"
                if called in ("eval", "exec") or (called == "torch.load" and not door):
                    found.append(f"{path.relative_to(SRC)}:{node.lineno} calls {called}")
    assert found == []


#: Participles and particles say nothing about what a name holds (`found`, `kept`, `told`).
ODD_NAMES = frozenset(
    [
        "told",
        "seen",
        "heard",
        "unheard",
        "shown",
        "kept",
        "beside",
        "apart",
        "meant",
        "found",
        "given",
        "learnt",
        "asked",
        "held",
        "remade",
        "placed",
        "grown",
        "laid",
        "said",
        "meanings",
        "enough",
        "ahead",
        "whole",
        "simple",
        "own",
        "them",
        "few",
        "left",
        "same",
        "besides",
        "aside",
        "doing",
    ]
)
#: One-word functions that the field has.
FIELD_VERBS = frozenset(
    [
        "train",
        "predict",
        "evaluate",
        "shrink",
        "verify",
        "compare",
        "export",
        "audit",
        "demo",
        "ensemble",
        "load",
        "save",
        "fit",
        "softmax",
        "sigmoid",
        "forward",
        "encode",
        "decode",
        "run",
        "step",
        "close",
        "open",
        "main",
        "interval",
        "interpolate",
    ]
)
#: Modules that several packages may have: each is that package's part of one job.
SHARED_STEMS = frozenset(
    [
        "__init__",
        "__main__",
        "base",
        "catalog",
        "options",
        "spec",
        "task",
        "metrics",
        "report",
        "standalone",
        "input",
        "decode",
        "augment",
        "audit",
        "goldens",
        "auto",
        "near_duplicates",
        "model",
    ]
)
FUNCTIONS = [
    (path, node)
    for path in FILES
    for node in ast.walk(_tree(path))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
]


def test_names_are_not_participles() -> None:
    odd = [f"{path}" for path in FILES if path.stem in ODD_NAMES]
    odd += [f"{path}: {node.name}" for path, node in FUNCTIONS if node.name.strip("_") in ODD_NAMES]
    odd += [
        f"{path}:{node.lineno} {node.id}"
        for path in FILES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        if node.id.strip("_") in ODD_NAMES
    ]
    assert len(odd) <= 60, odd


def test_functions_are_named_by_verb_and_object() -> None:
    public = [
        (path, node)
        for path, node in FUNCTIONS
        if not node.name.startswith("_")
        and not any("property" in ast.dump(item) for item in node.decorator_list)
    ]
    short = [
        f"{path}:{node.lineno} {node.name}"
        for path, node in public
        if "_" not in node.name and node.name not in FIELD_VERBS
    ]
    assert len(short) <= 0.1 * len(public), short


def test_a_name_means_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for path in FILES:
        if path.stem not in SHARED_STEMS:
            places.setdefault(path.stem, []).append(str(path))
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(f"class {node.name}", []).append(f"{path}:{node.lineno}")
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_abilities_are_types_and_not_strings() -> None:
    literal = [
        f"{path}:{node.lineno}"
        for path in FILES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id in ("getattr", "hasattr") and len(node.args) > 1
        if isinstance(node.args[1], ast.Constant)
    ]
    facts = [
        f"{path}:{node.lineno}"
        for path in FILES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Attribute) and node.attr == "facts"
    ]
    assert len(literal) <= 5, literal
    assert facts == []


def test_sentences_are_direct() -> None:
    riddle = re.compile(r"\b(is|are|was|were) no (?!longer|more|fewer|less|such)[a-z]+")
    found = [
        f"{path}:{number} {line.strip()}"
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if riddle.search(line)
    ]
    assert len(found) <= 10, found
