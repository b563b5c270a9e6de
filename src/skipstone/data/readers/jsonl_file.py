"""JSON Lines as named columns: one object a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skipstone.errors import DataError

SUFFIXES = frozenset({".jsonl", ".ndjson"})
_HALVES = re.compile("[\ud800-\udfff]")


def read_jsonl(
    path: Path, errors: str = "strict"
) -> tuple[dict[str, list[Any]], list[int], dict[str, str]]:
    """({name: values}, the line of each record, {name: type} of columns that hold objects).

    A key that a record lacks is None there. Values are as JSON gives them. `errors` is what becomes
    of bytes that are no letters, as Python names it. An escape that is half a letter (an emoji that
    was cut leaves "\\ud83d") stays a surrogate, unless such bytes are replaced.

    Raises:
        DataError: a line is no UTF-8 or no JSON object; names it.
    """
    records = list(_records(path, errors))
    names = dict.fromkeys(name for _, record in records for name in record)
    values = {name: [record.get(name) for _, record in records] for name in names}
    nested = {name: "objects" for name in names if any(_is_nested(value) for value in values[name])}
    return (
        {name: values[name] for name in names if name not in nested},
        [line for line, _ in records],
        nested,
    )


def _records(path: Path, errors: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    with file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8", errors).strip()
                if not text:
                    continue
                record = json.loads(text)
                if errors == "replace" and "\\u" in text:
                    record = _replaced(record)
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}, line {number}, byte {error.start + 1}: "
                    f"0x{line[error.start]:02x} is no UTF-8.",
                    hint="Save the file as UTF-8.",
                ) from error
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}, line {number} is no JSON: {error}.") from error
            if not isinstance(record, dict):
                raise DataError(
                    f"{path}, line {number} holds {type(record).__name__}, not an object.",
                    hint='A line looks like {"text": "...", "label": "..."}.',
                )
            yield number, record


def _replaced(value: Any) -> Any:
    """The same with U+FFFD for each half of a letter."""
    if isinstance(value, str):
        return _HALVES.sub("\ufffd", value)
    if isinstance(value, list):
        return [_replaced(item) for item in value]
    if isinstance(value, dict):
        return {_replaced(name): _replaced(item) for name, item in value.items()}
    return value


def _is_nested(value: Any) -> bool:
    if isinstance(value, list):
        return any(isinstance(item, dict | list) for item in value)
    return isinstance(value, dict)
