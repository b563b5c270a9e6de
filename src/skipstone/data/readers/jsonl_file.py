"""JSON Lines as named columns: one object per line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skipstone.core.errors import DataError

SUFFIXES = frozenset({".jsonl", ".ndjson"})
_SURROGATES = re.compile("[\ud800-\udfff]")


def read_jsonl(
    path: Path, errors: str = "strict"
) -> tuple[dict[str, list[Any]], list[int], dict[str, str]]:
    """({name: values}, the line of each record, {name: type} of columns that hold objects).

    A key that a record lacks is None there. Values are as JSON gives them. A lone surrogate escape
    (a truncated emoji leaves "\\ud83d") stays a surrogate, unless `errors` is "replace".

    Args:
        errors: Python's error handler for invalid bytes.

    Raises:
        DataError: a line is not UTF-8, or not a JSON object; names the line.
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
                    record = _replace_surrogates(record)
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}, line {number}, byte {error.start + 1}: "
                    f"0x{line[error.start]:02x} is not valid UTF-8.",
                    hint="Save the file as UTF-8.",
                ) from error
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}, line {number} is not valid JSON: {error}.") from error
            if not isinstance(record, dict):
                raise DataError(
                    f"{path}, line {number} holds {type(record).__name__}, not an object.",
                    hint='Example of a line: {"text": "...", "label": "..."}.',
                )
            yield number, record


def _replace_surrogates(value: Any) -> Any:
    """The value with U+FFFD for each lone surrogate."""
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, list):
        return [_replace_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {
            _replace_surrogates(name): _replace_surrogates(item) for name, item in value.items()
        }
    return value


def _is_nested(value: Any) -> bool:
    if isinstance(value, list):
        return any(isinstance(item, dict | list) for item in value)
    return isinstance(value, dict)
