"""The documentation as data: its code blocks, tables, links and flags."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Every page that a reader may open, the front page first.
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
#: Questions and answers in English, and in Chinese under the same names; both have a contents page.
QUESTIONS = tuple(sorted((ROOT / "docs" / "questions").glob("*.md")))
QUESTIONS_ZH = tuple(sorted((ROOT / "docs" / "questions" / "zh").glob("*.md")))

_FENCE = re.compile(r"^```(\S*)[ \t]*(.*)$")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the words behind it, its text, and the line it begins at."""

    language: str
    words: str
    text: str
    line: int


@dataclass(frozen=True)
class Command:
    """A line of a console block, without its prompt. `code` is the exit code that it announces."""

    text: str
    code: int
    line: int


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def read_page(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    found: list[Block] = []
    lines: list[str] = []
    opened: tuple[str, str, int] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None and fence:
            opened, lines = (fence[1], fence[2], number), []
        elif opened is not None and line == "```":
            found.append(Block(opened[0], opened[1], "\n".join(lines) + "\n", opened[2]))
            opened = None
        else:
            lines.append(line)
    assert opened is None, f"the block from line {opened[2]} on is never closed" if opened else ""
    return found


def commands(block: Block) -> Iterator[Command]:
    """The commands of a console block; a trailing comment `# exit code 1` says what they return."""
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        assert line.startswith("$ "), f"line {number}: only commands ($ ...) in console blocks"
        words, _, comment = line[2:].partition("#")
        code = re.search(r"exit code (\d+)", comment)
        yield Command(words.strip(), int(code[1]) if code else 0, number)


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    kept, inside = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            inside = not inside
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def inline_code(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(text))


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", prose(text))


def tables(text: str) -> Iterator[list[list[str]]]:
    """Rows of cells, the header first, without the line of dashes."""
    rows: list[list[str]] = []
    for line in [*prose(text).splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))])
        elif rows:
            yield [rows[0], *rows[2:]]
            rows = []


def benchmarks(text: str) -> list[str]:
    """What follows `python -m benchmarks` wherever a page has it, in a block or in a sentence."""
    return re.findall(r"-m benchmarks\b([^`\n#]*)", text)


def flags(text: str) -> set[str]:
    """Flags of skipstone's own commands."""
    own = (code for code in inline_code(text) if not benchmarks(code))
    return {flag for code in own for flag in re.findall(r"--[a-z][a-z0-9-]*", code)}
