"""One label or several in a cell: a separator is used only if the whole column says so.

cat|dog, cat, dog|bird     three cells with one label or several, which recur in other cells
Home &amp; Garden          one label: the semicolon ends an HTML entity
Books | used               in one row of 120: an error that names the flags
['cat', 'dog']             a list, as pandas writes it
"""

from __future__ import annotations

import ast
import re
import unicodedata
from collections import Counter
from html.entities import html5

from skipstone.core.errors import UsageError
from skipstone.data.options import ReadOptions
from skipstone.data.readers.base import is_multi_label
from skipstone.data.readers.columns import Columns

PLURAL_NAMES = frozenset({"labels", "classes", "categories", "targets", "tags"})
#: A separator that the column proves: the share of rows with several labels, and of labels of such
#: rows that recur in other cells, in a column with a plural name and in others.
_MIN_SEVERAL, _SHARE_OF_PLURAL, _SHARE_OF_OTHERS = 0.05, 0.5, 0.75
_ENTITY = re.compile(r"&#?[A-Za-z0-9]{1,31};")
#: An array of numbers or words as numpy writes it.
_ARRAY = re.compile(r"\[\s*(['\"]|-?[0-9])")
#: Two words without a comma, as numpy writes them; Python would join them.
_NO_COMMA = re.compile(r"""['"]\s*['"](?!\s*[,\])}])""")
_CHOICES = '{"choices":'
_LONGEST_LIST = 10_000


def choose_task_of_cells(
    columns: Columns, name: str, options: ReadOptions
) -> tuple[str, str | None]:
    cells = columns.values[name]
    single_label = options.task is not None and not is_multi_label(options.task)
    if any(isinstance(cell, list) for cell in cells):
        if single_label:
            raise UsageError(
                f"{columns.path}: column {name} holds lists of labels, which is --task tag.",
                hint="Use --task tag, or choose a column with one label per row: "
                "--label-column NAME",
            )
        return options.task or "tag", None
    if options.separator is not None:
        if single_label:
            raise UsageError(
                "--separator splits a cell into several labels, which --task classify cannot have.",
                hint="Use --task tag, or omit --separator.",
            )
        return options.task or "tag", options.separator
    if options.task is not None and single_label:
        return options.task, None
    counts = Counter(str(cell) for cell in cells if cell)
    is_plural = name.casefold() in PLURAL_NAMES
    marks = [mark for mark in "|;," if _may_separate(counts, mark)]
    if not marks and is_plural and _may_separate(counts, " "):
        marks = [" "]
    if not marks:
        return options.task or "classify", None
    if len(marks) == 1 and (options.task or _certainly_separates(counts, marks[0], name)):
        return options.task or "tag", marks[0]
    example = next(cell for cell in counts if len(split_labels(cell, marks[0])) > 1)
    raise UsageError(
        f"{columns.path}: cells of {name}, such as {example!r}, contain "
        f"{' and '.join(map(repr, marks))}, which may separate labels.",
        hint=f"If so: --separator '{marks[0]}' (or, if a cell is one label: --task classify)",
    )


def split_labels(cell: str, separator: str) -> list[str]:
    """The labels of a cell, without empty ones. A semicolon that ends an HTML entity (&amp;)
    separates nothing."""
    if separator == ";" and "&" in cell:
        # Cells hold no NUL.
        cell = _ENTITY.sub(lambda word: word[0][:-1] + (";", "\0")[_is_entity(word[0])], cell)
    parts = [part.replace("\0", ";") for part in cell.split(separator)]
    names = (unicodedata.normalize("NFC", part.strip()) for part in parts)
    return list(dict.fromkeys(name for name in names if name))


def _is_entity(word: str) -> bool:
    return word.startswith("&#") or word[1:] in html5


def _may_separate(counts: Counter[str], mark: str) -> bool:
    """Whether `mark` may separate labels: "|" and ";" in any cell, others if at least half of the
    parts that they give occur in several cells."""
    parts = [set(split_labels(cell, mark)) for cell in counts]
    candidates = {part for names in parts if len(names) > 1 for part in names}
    if not candidates or mark in "|;":
        return bool(candidates)
    uses = Counter(part for names in parts for part in names)
    return 2 * sum(uses[part] > 1 for part in candidates) >= len(candidates)


def _certainly_separates(counts: Counter[str], mark: str, name: str) -> bool:
    """Whether the whole column says that `mark` separates labels: cells of one label and of several,
    whose labels recur in other cells. A name of two words (top left, bottom left) has recurring
    words, too, but always two."""
    parts = {cell: set(split_labels(cell, mark)) for cell in counts}
    rows = sum(counts[cell] for cell in counts if len(parts[cell]) > 1)
    if rows < _MIN_SEVERAL * counts.total():
        return False
    is_plural, is_tags = name.casefold() in PLURAL_NAMES, name.casefold() == "tags"
    if len({len(names) for names in parts.values()}) == 1 and not (is_tags and mark in "|;"):
        return False
    uses = Counter(part for names in parts.values() for part in names)
    if mark == " " and len(parts) < 2 * len(uses) and not is_tags:
        return False  # words in hardly more cells than there are words: names of several words
    if mark == "," and not is_plural:
        return False
    candidates = {part for names in parts.values() if len(names) > 1 for part in names}
    share = _SHARE_OF_PLURAL if is_plural else _SHARE_OF_OTHERS
    return sum(uses[part] > 1 for part in candidates) >= share * len(candidates)


def read_lists(columns: Columns, name: str, options: ReadOptions) -> None:
    """Turn cells that are lists as Python or JSON writes them (['a', 'b']) into lists, in a column
    that holds nothing else.

    Raises:
        UsageError: only some cells are lists, or cells are arrays as numpy writes them.
    """
    cells = columns.values[name]
    filled = [(row, cell) for row, cell in enumerate(cells) if isinstance(cell, str) and cell]
    bracketed = [row for row, cell in filled if cell[0] in "[({" and cell[-1] in "])}"]
    if not bracketed or options.separator is not None:
        return
    if any(
        str(cells[row]).startswith(_CHOICES) for row in bracketed
    ):  # Label Studio's, or one word
        columns.values[name] = [_read_choices(cell) for cell in cells]
        return
    lists = {
        row: labels for row in bracketed if (labels := _parse_list(str(cells[row]))) is not None
    }
    if len(lists) == len(filled):
        columns.values[name] = [
            cell if isinstance(cell, list) else lists.get(row, []) for row, cell in enumerate(cells)
        ]
        return
    if not lists and not all(_ARRAY.match(str(cells[row])) for row, _ in filled):
        return
    if options.task is not None and not is_multi_label(options.task):
        return
    row = next(row for row, _ in filled if row not in lists)
    raise UsageError(
        f"{columns.row_location(row)}: {name} holds {str(cells[row])[:60]!r}, "
        + ("but other rows hold lists." if lists else "which is not a list of labels."),
        hint="Write the labels of each row with a separator, such as cat|dog. If a cell is one "
        "label: --task classify",
    )


def _read_choices(cell: str | list[str]) -> list[str]:
    """The labels of a cell as Label Studio exports it: `a`, or `{"choices": ["a", "b"]}`."""
    if isinstance(cell, str) and cell.startswith(_CHOICES):
        return _parse_list(cell[cell.index("[") : -1]) or [cell]
    return [cell] if cell and isinstance(cell, str) else [*cell]


def _parse_list(cell: str) -> list[str] | None:
    """The labels of a list literal; None if the cell is not one."""
    if len(cell) > _LONGEST_LIST or _NO_COMMA.search(cell):
        return None
    try:
        value = ast.literal_eval(cell)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if not isinstance(value, list | tuple | set):
        return None
    if not all(isinstance(item, str | int | float) for item in value):
        return None
    items = sorted(value, key=str) if isinstance(value, set) else value
    return [str(item).strip() for item in items]
