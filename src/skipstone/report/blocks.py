"""What a report is made of: blocks as data. Tasks return their JSON forms from `sections`.

    {"kind": "table", "title": ..., "columns": [...], "rows": [...]}   <->   Table(...)

A block knows nothing of HTML; `render` knows nothing of tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from skipstone.errors import DamagedError
from skipstone.report.album import PICTURE, Album
from skipstone.report.measures import Figures, Hero, Json, Receipt, finite_or_none
from skipstone.report.variants import Variants

FORMATS = ("text", "percent", "number", "bar", "colour")


@dataclass(frozen=True, slots=True)
class Column:
    """Args:
    format: "percent" takes shares in 0..1; "bar" as well (floats), or counts (whole numbers),
        which are scaled to the column's greatest. "colour" takes #rrggbb.
    """

    name: str
    format: str = "text"

    @property
    def align(self) -> str:
        """Numbers stand below each other by their last digit."""
        return "right" if self.format in ("percent", "number") else "left"


@dataclass(frozen=True, slots=True)
class Table:
    """The first column heads each row; None is a value that does not exist."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    note: str = ""

    @staticmethod
    def from_json(value: Json) -> Table:
        columns = tuple(
            Column(str(column["name"]), str(column.get("format", "text")))
            for column in value["columns"]
        )
        for column in columns:
            if column.format not in FORMATS:
                raise ValueError(f"a column's format is one of {', '.join(FORMATS)}")
        rows = tuple(tuple(row) for row in value["rows"])
        if any(len(row) != len(columns) for row in rows):
            raise ValueError("a row has another number of cells than there are columns")
        return Table(str(value["title"]), columns, rows, str(value.get("note", "")))


@dataclass(frozen=True, slots=True)
class Confusion:
    """matrix[i][j]: how often truth i was answered with j."""

    title: str
    classes: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]

    @staticmethod
    def from_json(value: Json) -> Confusion:
        classes = tuple(map(str, value["classes"]))
        matrix = tuple(tuple(int(cell) for cell in row) for row in value["matrix"])
        if len(matrix) != len(classes) or any(len(row) != len(classes) for row in matrix):
            raise ValueError("the matrix has not one row and one column a class")
        return Confusion(str(value["title"]), classes, matrix)


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers whose confidence lies in (low, high]: their mean confidence, and how many held."""

    low: float
    high: float
    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """`unit` is what was counted. Where units are not independent, no point gets an interval."""

    title: str
    bins: tuple[Bin, ...]
    ece: float | None
    unit: str = "answers"
    independent: bool = True

    @staticmethod
    def from_json(value: Json) -> Reliability:
        bins = tuple(
            Bin(
                float(b["low"]),
                float(b["high"]),
                float(b["confidence"]),
                float(b["accuracy"]),
                int(b["count"]),
            )
            for b in value["bins"]
        )
        return Reliability(
            str(value["title"]),
            bins,
            finite_or_none(value["ece"]),
            str(value.get("unit", "answers")),
            bool(value.get("independent", True)),
        )


@dataclass(frozen=True, slots=True)
class Item:
    """A sample to look at. `picture` is a data URI, or "" where there is none to show; `words` are
    a text in pieces, each with how much the answer hangs on it, from -1 to 1. Where an answer is
    made of several decisions, `about` is the one that probability and words are of."""

    id: int
    name: str
    caption: str
    truth: str
    answer: str
    probability: float
    picture: str = ""
    words: tuple[tuple[str, float], ...] = ()
    about: str = ""


@dataclass(frozen=True, slots=True)
class Gallery:
    """`wide` pictures show several things beside each other, with their caption below."""

    title: str
    items: tuple[Item, ...]
    note: str = ""
    wide: bool = False

    @staticmethod
    def from_json(value: Json) -> Gallery:
        items = tuple(
            Item(
                int(i["id"]),
                str(i["name"]),
                str(i["caption"]),
                str(i["truth"]),
                str(i["answer"]),
                float(i["probability"]),
                str(i.get("picture", "")),
                tuple((str(piece), float(weight)) for piece, weight in i.get("words", ())),
                str(i.get("about", "")),
            )
            for i in value["items"]
        )
        for item in items:
            if item.picture and not PICTURE.fullmatch(item.picture):
                raise ValueError("a picture is no data URI of a JPEG, PNG or WebP")
        note, wide = str(value.get("note", "")), bool(value.get("wide", False))
        return Gallery(str(value["title"]), items, note, wide)


@dataclass(frozen=True, slots=True)
class Series:
    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A point of a chart that has a name, such as the best epoch."""

    x: float
    y: float
    name: str


@dataclass(frozen=True, slots=True)
class Curves:
    """Lines over a common x axis; `log` makes the y axis logarithmic."""

    title: str
    x: str
    series: tuple[Series, ...]
    log: bool = False
    mark: Mark | None = None
    note: str = ""

    @staticmethod
    def from_json(value: Json) -> Curves:
        series = tuple(
            Series(str(s["name"]), tuple((float(x), float(y)) for x, y in s["points"]))
            for s in value["series"]
        )
        mark = value.get("mark")
        return Curves(
            str(value["title"]),
            str(value["x"]),
            series,
            bool(value.get("log", False)),
            None if mark is None else Mark(float(mark["x"]), float(mark["y"]), str(mark["name"])),
            str(value.get("note", "")),
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values; a value is text or a number."""

    title: str
    items: tuple[tuple[str, Any], ...]

    @staticmethod
    def from_json(value: Json) -> Facts:
        return Facts(str(value["title"]), tuple((str(key), item) for key, item in value["items"]))


@dataclass(frozen=True, slots=True)
class Text:
    """Paragraphs, separated by blank lines."""

    title: str
    text: str

    @staticmethod
    def from_json(value: Json) -> Text:
        return Text(str(value["title"]), str(value["text"]))


@dataclass(frozen=True, slots=True)
class Code:
    """Something to copy, such as a command."""

    title: str
    text: str
    note: str = ""

    @staticmethod
    def from_json(value: Json) -> Code:
        return Code(str(value["title"]), str(value["text"]), str(value.get("note", "")))


Block = (
    Table
    | Confusion
    | Reliability
    | Gallery
    | Album
    | Curves
    | Facts
    | Text
    | Code
    | Hero
    | Figures
    | Receipt
    | Variants
)

KINDS: dict[str, type[Block]] = {
    "table": Table,
    "confusion": Confusion,
    "reliability": Reliability,
    "gallery": Gallery,
    "album": Album,
    "curves": Curves,
    "facts": Facts,
    "text": Text,
    "code": Code,
    "hero": Hero,
    "figures": Figures,
    "receipt": Receipt,
    "variants": Variants,
}
_NAMES = {kind: name for name, kind in KINDS.items()}


@dataclass(frozen=True)
class Section:
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Report:
    """Args:
    command: what makes the run again.
    versions: of skipstone and the packages it stands on.
    """

    title: str
    subtitle: str
    command: str
    sections: tuple[Section, ...]
    versions: Mapping[str, str]


def from_json(value: Json) -> Block:
    """The block of a JSON form. DamagedError names the kind and what is wrong with it."""
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise DamagedError(f"a report has no block of kind {kind!r}; it has {', '.join(KINDS)}.")
    try:
        return KINDS[kind].from_json(value)
    except (KeyError, TypeError, ValueError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise DamagedError(f"a report's block of kind {kind!r} cannot be read: {what}.") from error


def to_json(block: Block) -> dict[str, Any]:
    """Plain dicts, lists, strings and numbers, with the block's kind."""
    plain: dict[str, Any] = _plain(asdict(block))
    return {"kind": _NAMES[type(block)], **plain}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
