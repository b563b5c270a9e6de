"""A user's table of synonyms: CSV or TSV; each row is a word and its synonyms."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from skipstone.core import events
from skipstone.core.disk import read_regular
from skipstone.core.errors import DataError
from skipstone.text.features import decode_utf8
from skipstone.text.ngrams import normalize_text
from skipstone.text.token_spans import split_into_spans

_HEADERS = ("word", "term", "words")


def read_synonyms(path: Path) -> Mapping[str, tuple[str, ...]]:
    """{lowercase word: its synonyms}; several rows of one word are merged.

    Rows apply in one direction: `quick,fast` never replaces "fast". A first row `word,synonym` is a
    header.

    Raises:
        DataError: the file cannot be read, or a row has no synonym; names the row.
    """
    try:
        text = decode_utf8(read_regular(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise DataError(f"{path}, {error}.") from error
    first = text.partition("\n")[0]
    delimiter = max("\t,;", key=first.count)
    synonyms: dict[str, list[str]] = {}
    phrases = 0
    try:
        for cells in (rows := csv.reader(io.StringIO(text), delimiter=delimiter)):
            cells = [cell.strip() for cell in cells]
            if not any(cells) or (rows.line_num == 1 and cells[0].lower() in _HEADERS):
                continue
            word, others = normalize_text(cells[0], True), [cell for cell in cells[1:] if cell]
            if not word or not others:
                raise DataError(
                    f"{path}, row {rows.line_num}: {cells[0]!r} has no synonym.",
                    hint="Write a word and its synonyms: quick,fast,swift",
                )
            if split_into_spans(word)[0] != [word]:
                phrases += 1
                continue
            of_word = synonyms.setdefault(word, [])
            of_word += [other for other in others if other not in of_word]
    except csv.Error as error:
        raise DataError(f"{path} is not a table: {error}.") from error
    if not synonyms:
        raise DataError(f"{path} holds no word with synonyms.", hint="A row: quick,fast,swift")
    if phrases:
        events.emit_warning(
            f"{path}: {phrases:,} rows begin with more than one word and are skipped; "
            f"{len(synonyms):,} words have synonyms."
        )
    return {word: tuple(others) for word, others in synonyms.items()}
