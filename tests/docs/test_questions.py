"""docs/questions: the snippets run, and the Chinese pages show what the English ones show."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from skipstone.workflows import train_model
from tests.docs.conftest import Trained, write_workplace
from tests.docs.pages import (
    QUESTIONS,
    QUESTIONS_ZH,
    Block,
    Command,
    blocks,
    commands,
    links,
    name_of,
    read_page,
    tables,
)
from tests.docs.test_docs import run_command

PAGES = [page for page in QUESTIONS if page.name != "README.md"]
each_question = pytest.mark.parametrize("page", PAGES, ids=name_of)

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


class PlanIsReady(BaseException):
    """`train` has read the data and accepted every flag."""


@pytest.fixture(scope="module")
def shared_workplace(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("questions")
    write_workplace(root, trained)
    return root


def shown_blocks(page: Path, language: str) -> list[Block]:
    return [block for block in blocks(read_page(page)) if block.language == language]


def skipstone_commands(page: Path) -> Iterator[Command]:
    for block in shown_blocks(page, "console"):
        yield from commands(block)


def runs_skipstone(block: Block) -> bool:
    return "import skipstone" in block.text


@each_question
def test_pytorch_snippets_print_what_the_page_shows(page: Path) -> None:
    """The blocks of a page share their names. A block `text output` below a snippet is what it
    prints; of `text measured`, numbers depend on the machine, and only the words are compared."""
    following: list[Block | None] = [*blocks(read_page(page)), None]
    names: dict[str, Any] = {"__name__": "__main__"}
    found = False
    for block, after in pairwise(following):
        if block is None or block.language != "python" or runs_skipstone(block):
            continue
        found, printed = True, io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block.text, f"{name_of(page)}, line {block.line}", "exec"), names)
        if after is not None and after.words in ("output", "measured"):
            check_output(printed.getvalue(), after)
    assert found, "no snippet in plain PyTorch"


def check_output(printed: str, block: Block) -> None:
    """The same words, and unless they are measured the same numbers but for the last digit."""
    where = f"line {block.line}: printed was\n{printed}"
    assert _NUMBER.sub("#", printed).split() == _NUMBER.sub("#", block.text).split(), where
    if block.words == "output":
        numbers = [float(n) for n in _NUMBER.findall(printed)]
        expected = [float(n) for n in _NUMBER.findall(block.text)]
        assert numbers == pytest.approx(expected, rel=0.02, abs=0.002), where


@pytest.mark.proof
@each_question
def test_train_accepts_what_the_page_types(
    page: Path, shared_workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the run folder: data read, model chosen, every flag accepted."""

    def stop(root: Path, plan: Mapping[str, Any]) -> None:
        raise PlanIsReady

    monkeypatch.chdir(shared_workplace)
    monkeypatch.setattr(train_model, "open_or_resume", stop)
    for command in skipstone_commands(page):
        if command.text.startswith("skipstone train") and "--show-augmented" not in command.text:
            with pytest.raises(PlanIsReady):
                run_command(command)


@pytest.mark.proof
def test_other_commands_and_snippets_run(
    shared_workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command once, however many pages show it."""
    monkeypatch.chdir(shared_workplace)
    finished = set()
    for page in PAGES:
        for command in skipstone_commands(page):
            is_plan = command.text.startswith("skipstone train")
            if command.text not in finished and (not is_plan or "--show-aug" in command.text):
                run_command(command)
                finished.add(command.text)
        for block in filter(runs_skipstone, shown_blocks(page, "python")):
            if block.text not in finished:
                with contextlib.redirect_stdout(io.StringIO()):
                    exec(compile(block.text, f"{name_of(page)}, line {block.line}", "exec"), {})
                finished.add(block.text)
    assert finished


def test_every_question_is_in_both_languages() -> None:
    assert len(PAGES) == 34
    assert [page.name for page in QUESTIONS] == [page.name for page in QUESTIONS_ZH]


@each_question
def test_the_chinese_page_shows_the_same(page: Path) -> None:
    """Code, figures, and the numbers of its tables."""
    english, chinese = read_page(page), read_page(page.parent / "zh" / page.name)
    assert [(b.language, b.words, b.text) for b in blocks(english)] == [
        (b.language, b.words, b.text) for b in blocks(chinese)
    ]
    assert figures(chinese) == [f"../{figure}" for figure in figures(english)]
    assert table_numbers(chinese) == table_numbers(english)
    assert re.search("[\u4e00-\u9fff]{4}", chinese), "it is not Chinese"


def figures(text: str) -> list[str]:
    return re.findall(r"!\[[^\]]+\]\(([^)]+\.svg)\)", text)


def table_numbers(text: str) -> list[list[list[str]]]:
    """The numbers of each row of each table, in their order."""
    return [[sorted(_NUMBER.findall(" ".join(row))) for row in table] for table in tables(text)]


@pytest.mark.parametrize("contents", [QUESTIONS[0].parent, QUESTIONS_ZH[0].parent])
def test_the_contents_list_every_question_once(contents: Path) -> None:
    listed = [link for link in links(read_page(contents / "README.md")) if "/" not in link]
    assert sorted(link.partition("#")[0] for link in listed) == [page.name for page in PAGES]


def test_figures_are_small_and_used() -> None:
    used = {name for page in PAGES for name in figures(read_page(page))}
    folder = QUESTIONS[0].parent
    for figure in (folder / "figures").iterdir():
        assert figure.relative_to(folder).as_posix() in used, figure.name
        assert figure.stat().st_size < 30_000
