"""demo --task text: which package of Python's standard library a docstring is from.

The library lies on every machine that runs this, so nothing is downloaded. Its files are parsed,
never imported.
"""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from skipstone.verbs.demos import Demonstration

#: Packages with many docstrings, and little to confuse them with.
PACKAGES = ("asyncio", "ctypes", "email", "http", "logging", "multiprocessing", "unittest", "xml")
SHORTEST = 4  # words


def write_docstrings(new: Path) -> None:
    """A file a docstring, in a folder a package."""
    library = Path(sysconfig.get_paths()["stdlib"])
    seen: set[str] = set()
    for package in PACKAGES:
        place = new / package
        place.mkdir()
        for file in sorted((library / package).rglob("*.py")):
            for text in _docstrings(file):
                if text not in seen and len(text.split()) >= SHORTEST:
                    seen.add(text)
                    (place / f"{len(seen):04d}.txt").write_text(text, encoding="utf-8")


def _docstrings(file: Path) -> Iterator[str]:
    """First paragraphs of the docstrings of a module's functions and classes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):  # files that test the parser are no docstrings
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            text = ast.get_docstring(node)
            if text:
                yield " ".join(text.split("\n\n")[0].split())


DOCSTRINGS = Demonstration(
    folder="docstrings",
    title="Docstrings of Python's standard library, by package",
    figure="accuracy on held-out docstrings",
    write=write_docstrings,
    pick=lambda data: [sorted((data / package).iterdir())[0] for package in PACKAGES],
    next="skipstone train texts.csv    (a column of texts and one of labels)",
)
