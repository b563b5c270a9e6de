"""What the documentation says is true: its commands run, its snippets run, its names exist."""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import typing
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

import skipstone
from benchmarks.__main__ import BENCHMARKS
from skipstone.cli.main import main
from skipstone.commands.base import find_commands
from tests.docs.conftest import Trained
from tests.docs.pages import (
    PAGES,
    QUESTIONS,
    QUESTIONS_ZH,
    ROOT,
    Command,
    benchmarks,
    blocks,
    commands,
    flags,
    inline_code,
    links,
    name_of,
    read_page,
    tables,
)
from tests.test_house import PACKAGES

COMMANDS = list(find_commands())
#: Pages that show nothing to run.
NOTHING_TO_RUN = {"CONTRIBUTING.md", "docs/architecture.md"}
#: What a block may be: run as commands, run as Python, checked as shell lines, or shown only.
LANGUAGES = {"console", "python", "sh", "text"}
#: Folders that the docs name and that a reader of them makes.
MADE_BY_USERS = ("exported/", "shipped/")

each_page = pytest.mark.parametrize("page", [*PAGES, *QUESTIONS, *QUESTIONS_ZH], ids=name_of)


def say(*words: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `skipstone WORDS`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(words))
    return code, out.getvalue(), err.getvalue()


def run_command(command: Command) -> str:
    """Run one line of a console block; returns its standard output."""
    program, *words = shlex.split(command.text)
    if program == "skipstone":
        code, out, err = say(*words)
    else:
        assert program == "python", f"line {command.line}: what is {program}?"
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
        code, out, err = done.returncode, done.stdout, done.stderr
    assert code == command.code, f"line {command.line}: {command.text}\n{out}\n{err}"
    return out


#: The front page is run with every test, the others, which take minutes in all, with the proof.
RUN = [
    pytest.param(page, id=name_of(page), marks=[pytest.mark.proof] if number else [])
    for number, page in enumerate(page for page in PAGES if name_of(page) not in NOTHING_TO_RUN)
]


@pytest.mark.parametrize("page", RUN)
def test_everything_that_a_page_shows_runs(page: Path, workplace: Path) -> None:
    text = read_page(page)
    shown = [block for block in blocks(text) if block.language in ("console", "python")]
    assert shown, "nothing to run: is it a page for NOTHING_TO_RUN?"
    outputs: dict[str, str] = {}
    for block in shown:
        if block.language == "python":
            code = compile(block.text, f"{name_of(page)}, line {block.line}", "exec")
            with contextlib.redirect_stdout(io.StringIO()):
                exec(code, {"__name__": "__main__"})
            continue
        for command in commands(block):
            if command.text not in outputs:  # shown twice, run once
                outputs[command.text] = run_command(command)
    for table in tables(text):
        if table[0][:2] == ["verb", "keys of `--json`"]:
            check_json_keys(table, outputs)


def check_json_keys(table: list[list[str]], outputs: dict[str, str]) -> None:
    """Each row names the keys of what that verb printed on this page, no more and no fewer."""
    printed = {
        words.split()[1]: json.loads(out) for words, out in outputs.items() if "--json" in words
    }
    assert {re.sub("`", "", row[0]) for row in table[1:]} == set(printed)
    for row in table[1:]:
        keys = re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", row[1]))
        assert set(keys) == set(printed[row[0].strip("`")]), row[0]


def test_train_prints_the_keys_that_are_documented(trained: Trained) -> None:
    text = read_page(ROOT / "docs" / "commands.md")
    (keys,) = [
        table for table in tables(text) if table[0][:1] == ["key of `skipstone train --json`"]
    ]
    named = {key for row in keys[1:] for key in re.findall(r"`(\w+)`", row[0])}
    assert named == set(trained.answer.value)


@each_page
def test_blocks_are_of_a_kind_that_is_checked(page: Path) -> None:
    text = read_page(page)
    for block in blocks(text):
        assert block.language in LANGUAGES, f"line {block.line}: {block.language!r}"
    if name_of(page) in NOTHING_TO_RUN:
        assert not {block.language for block in blocks(text)} & {"console", "python"}


@each_page
def test_shell_lines_can_be_typed(page: Path) -> None:
    """`make` targets exist, and files that are named do."""
    text = read_page(page)
    lines = [
        line.partition("#")[0].strip()
        for block in blocks(text)
        if block.language == "sh"
        for line in block.text.splitlines()
    ]
    lines += [code for code in inline_code(text) if code.startswith("make ")]
    for line in filter(None, lines):
        program, *words = [word for word in shlex.split(line) if not re.match("[A-Z_]+=", word)]
        if program == "make":
            done = subprocess.run(
                ["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{line}: {done.stderr}"
        elif program == "pip":
            assert words[0] == "install"
            for flag, file in pairwise(words):
                assert flag != "-c" or (ROOT / file).is_file()
        elif program == ".venv/bin/python":
            check_python_line(words)
        else:
            assert (program, words) == ("pre-commit", ["install"]), f"what is {line!r}?"


def check_python_line(words: list[str]) -> None:
    assert words[0] == "-m"
    if words[1] == "benchmarks":
        return  # test_benchmarks_can_be_started
    assert words[1] == "pytest"
    markers = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for flag, value in pairwise(words[2:]):
        assert flag != "-m" or f'"{value}:' in markers, value


@each_page
def test_benchmarks_can_be_started(page: Path) -> None:
    """The benchmark that is named is there, and its own parser takes what follows."""
    for line in benchmarks(read_page(page)):
        name, *given = shlex.split(line) or ["--smoke"]
        if name != "--smoke":
            assert name in BENCHMARKS, line
            importlib.import_module(BENCHMARKS[name]).parser().parse_args(given)


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(read_page(page)):
        if re.match(r"https?://", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", read_page(target), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}


@each_page
def test_files_that_are_named_exist(page: Path) -> None:
    for code in inline_code(read_page(page)):
        own = code.startswith(("src/", "tests/", "docs/", "benchmarks/"))
        module = re.fullmatch(r"\w+/[\w/]+\.py", code) and not code.startswith(MADE_BY_USERS)
        if own or module or code in ("constraints.txt", "pyproject.toml"):
            places = (ROOT / code, ROOT / "src" / "skipstone" / code)
            assert any(place.exists() for place in places), code


def help_of(verb: str) -> str:
    code, out, _ = say(verb, "--help-all")
    assert code == 0
    return out


@pytest.fixture(scope="module")
def flags_of() -> dict[str, set[str]]:
    found = {verb: set(re.findall(r"--[a-z][a-z0-9-]*", help_of(verb))) for verb in COMMANDS}
    return {verb: known | {"--help", "--help-all"} for verb, known in found.items()}


@each_page
def test_flags_exist(page: Path, flags_of: dict[str, set[str]]) -> None:
    known = {"--version"}.union(*flags_of.values())
    assert flags(read_page(page)) <= known
    for table in tables(read_page(page)):
        title = re.fullmatch(r"flag of `(\w+)`", table[0][0])
        if title:
            for row in table[1:]:
                named = set(re.findall(r"--[a-z][a-z0-9-]*", row[0]))
                assert named, row
                assert named <= flags_of[title[1]], row


@each_page
def test_commands_and_python_names_exist(page: Path) -> None:
    for code in inline_code(read_page(page)):
        verb = re.match(r"skipstone ([a-z]+)\b", code)
        assert not verb or verb[1] in COMMANDS, code
        name = re.match(r"skipstone\.(\w+)\(", code)
        assert not name or name[1] in skipstone.__all__, code


def test_every_command_is_explained() -> None:
    text = read_page(ROOT / "docs" / "commands.md")
    (rows,) = [table for table in tables(text) if table[0] == ["command", "what it does"]]
    assert [row[0].strip("`") for row in rows[1:]] == COMMANDS


def test_every_page_can_be_found_from_the_front_page() -> None:
    front = set(links(read_page(ROOT / "README.md")))
    assert {name_of(page) for page in PAGES} - {"README.md"} <= front


@pytest.mark.parametrize("kind", ["run", "bundle"])
def test_a_folder_holds_what_is_drawn(kind: str, trained: Trained) -> None:
    """Blocks ```text run and ```text bundle name a file or folder at the start of each line."""
    folder = trained.run if kind == "run" else trained.run / "bundle"
    drawn = [
        block
        for block in blocks(read_page(ROOT / "docs" / "architecture.md"))
        if block.words == kind
    ]
    assert drawn
    for block in drawn:
        names = [line.split()[0] for line in block.text.splitlines() if not line.startswith(" ")]
        for name in names:
            assert (folder / name).exists(), name
        tops = {name.partition("/")[0] for name in names}
        assert {path.name for path in folder.iterdir()} <= tops


def package_rows() -> list[list[str]]:
    """The table of packages in docs/architecture.md, without its header."""
    text = read_page(ROOT / "docs" / "architecture.md")
    (table,) = [table for table in tables(text) if table[0][0] == "Package"]
    return table[1:]


def packages_of(row: list[str]) -> list[str]:
    return re.findall(r"`(\w+)/?`", row[0])


def test_the_architecture_lists_the_packages_in_import_order() -> None:
    listed = [package for row in package_rows() for package in packages_of(row)]
    assert listed == list(PACKAGES)


def test_the_architecture_names_calls_that_exist() -> None:
    """The functions and classes of the last column are defined in their package."""
    source = Path(skipstone.__file__).parent
    for row in package_rows():
        files = [
            file
            for package in packages_of(row)
            for file in (source / f"{package}.py", *(source / package).rglob("*.py"))
        ]
        code = "\n".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
        defined = set(re.findall(r"^ *(?:def|class) (\w+)", code, re.MULTILINE))
        called = re.findall(r"(\w+)\(", " ".join(re.findall(r"`([^`]+)`", row[2])))
        assert called, row
        assert set(called) <= defined, set(called) - defined


def return_type(function: Callable[..., object]) -> type:
    """The class of a function's results."""
    kind: type = names_of(function.__module__)[function.__annotations__["return"]]
    return kind


def type_hints(kind: type) -> dict[str, Any]:
    modules = [base.__module__ for base in kind.__mro__ if base.__module__ != "builtins"]
    names = {key: value for module in modules for key, value in names_of(module).items()}
    return typing.get_type_hints(kind, localns=names)


def names_of(module: str) -> dict[str, Any]:
    """What a module's type hints may name, also what it imports only for type checkers."""
    names = dict(vars(importlib.import_module(module)))
    source = Path(names["__file__"]).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            imported = vars(importlib.import_module(node.module or ""))
            names |= {alias.name: imported.get(alias.name) for alias in node.names}
    return names


def test_results_have_the_attributes_that_are_documented() -> None:
    (table,) = [
        table
        for table in tables(read_page(ROOT / "docs" / "python.md"))
        if table[0] == ["function", "returns"]
    ]
    named = set()
    for row in table[1:]:
        function = re.match(r"`skipstone\.(\w+)\(", row[0])
        assert function, row
        named.add(function[1])
        for chain in re.findall(r"`\.([\w.]+)", row[1]):
            made = getattr(skipstone, function[1])
            kind = return_type(made)
            for attribute in chain.split("."):
                assert attribute in dir(kind) or attribute in type_hints(kind), row
                kind = type_hints(kind).get(attribute)
    assert named == set(skipstone.__all__) - {"SkipstoneError", "__version__"}


def test_the_docs_name_no_machine() -> None:
    for page in PAGES:
        text = read_page(page)
        assert not re.search(r"/tmp/|/home/|/root/|/Users/|[A-Z]:\\", text), name_of(page)


def test_pre_commit_runs_what_make_lint_runs() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = [hook["entry"] for repo in config["repos"] for hook in repo["hooks"]]
    lint = subprocess.run(
        ["make", "-n", "lint"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for entry in entries:
        assert f"/{entry}" in lint, entry
        assert shutil.which(entry.split()[0], path=str(Path(sys.executable).parent)) is not None
