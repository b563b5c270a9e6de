"""The blocks of a report, as data. Tasks return their JSON forms from `sections`.

    {"kind": "table", "title": ..., "columns": [...], "rows": [...]}   <->   Table(...)

Blocks are independent of HTML, and `render` is independent of tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from skipstone.core.errors import DamagedError
from skipstone.report.image_groups import IMAGE_DATA_URI, PhotoGroups
from skipstone.report.measures import (
    HeadlineMetric,
    Json,
    MetricTable,
    ReceiptBlock,
    finite_or_none,
)
from skipstone.report.variants import TextVariants

COLUMN_FORMATS = ("text", "percent", "number", "bar", "colour")


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column.

    Args:
        format: "percent" takes shares in 0..1; "bar" takes shares (floats) or counts (integers),
            which are scaled to the column's greatest; "colour" takes #rrggbb.
    """

    name: str
    format: str = "text"

    @property
    def align(self) -> str:
        """Numbers are right-aligned."""
        return "right" if self.format in ("percent", "number") else "left"


@dataclass(frozen=True, slots=True)
class TableBlock:
    """Rows of cells. The first cell is the row's header; None is a missing value."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    note: str = ""

    @staticmethod
    def from_json(value: Json) -> TableBlock:
        columns = tuple(
            Column(str(column["name"]), str(column.get("format", "text")))
            for column in value["columns"]
        )
        for column in columns:
            if column.format not in COLUMN_FORMATS:
                raise ValueError(f"a column's format is one of {', '.join(COLUMN_FORMATS)}")
        rows = tuple(tuple(row) for row in value["rows"])
        if any(len(row) != len(columns) for row in rows):
            raise ValueError("a row's number of cells differs from the number of columns")
        return TableBlock(str(value["title"]), columns, rows, str(value.get("note", "")))


@dataclass(frozen=True, slots=True)
class Confusion:
    """A confusion matrix: matrix[i][j] is how often class i was predicted as class j."""

    note: ClassVar[str] = ""
    title: str
    classes: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]

    @staticmethod
    def from_json(value: Json) -> Confusion:
        classes = tuple(map(str, value["classes"]))
        matrix = tuple(tuple(int(cell) for cell in row) for row in value["matrix"])
        if len(matrix) != len(classes) or any(len(row) != len(classes) for row in matrix):
            raise ValueError("the matrix needs one row and one column per class")
        return Confusion(str(value["title"]), classes, matrix)


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Predictions with confidence in (low, high]: their mean confidence and their accuracy."""

    low: float
    high: float
    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True, slots=True)
class ReliabilityDiagram:
    """A reliability diagram.

    Args:
        expected_calibration_error: expected calibration error.
        unit: what was counted.
        independent: whether the units are independent; if not, points get no interval.
    """

    note: ClassVar[str] = ""
    title: str
    bins: tuple[ReliabilityBin, ...]
    ece: float | None
    unit: str = "answers"
    independent: bool = True

    @staticmethod
    def from_json(value: Json) -> ReliabilityDiagram:
        bins = tuple(
            ReliabilityBin(
                float(b["low"]),
                float(b["high"]),
                float(b["confidence"]),
                float(b["accuracy"]),
                int(b["count"]),
            )
            for b in value["bins"]
        )
        return ReliabilityDiagram(
            str(value["title"]),
            bins,
            finite_or_none(value["ece"]),
            str(value.get("unit", "answers")),
            bool(value.get("independent", True)),
        )


@dataclass(frozen=True, slots=True)
class GalleryItem:
    """A sample in a gallery.

    Args:
        picture: a data URI, or "" for no image.
        words: a text in pieces, each with its importance for the prediction, from -1 to 1.
        about: for several decisions per sample (tags), the one that `probability` and `words`
            belong to.
    """

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
    """Samples with their true and predicted labels. A `wide` image shows several views side by
    side, with its caption below."""

    title: str
    items: tuple[GalleryItem, ...]
    note: str = ""
    wide: bool = False

    @staticmethod
    def from_json(value: Json) -> Gallery:
        items = tuple(
            GalleryItem(
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
            if item.picture and not IMAGE_DATA_URI.fullmatch(item.picture):
                raise ValueError("a picture is not a data URI of a JPEG, PNG or WebP")
        note, wide = str(value.get("note", "")), bool(value.get("wide", False))
        return Gallery(str(value["title"]), items, note, wide)


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Annotation:
    """A labelled point of a chart, such as the best epoch."""

    x: float
    y: float
    name: str


@dataclass(frozen=True, slots=True)
class Curves:
    """Lines over a common x axis. `log` makes the y axis logarithmic."""

    title: str
    x: str
    series: tuple[Series, ...]
    log: bool = False
    mark: Annotation | None = None
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
            None
            if mark is None
            else Annotation(float(mark["x"]), float(mark["y"]), str(mark["name"])),
            str(value.get("note", "")),
        )


@dataclass(frozen=True, slots=True)
class FactList:
    """Names with values, which are text or numbers."""

    note: ClassVar[str] = ""
    title: str
    items: tuple[tuple[str, Any], ...]

    @staticmethod
    def from_json(value: Json) -> FactList:
        return FactList(
            str(value["title"]), tuple((str(key), item) for key, item in value["items"])
        )


@dataclass(frozen=True, slots=True)
class Text:
    """Paragraphs, separated by blank lines."""

    note: ClassVar[str] = ""
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
    TableBlock
    | Confusion
    | ReliabilityDiagram
    | Gallery
    | PhotoGroups
    | Curves
    | FactList
    | Text
    | Code
    | HeadlineMetric
    | MetricTable
    | ReceiptBlock
    | TextVariants
)

BLOCK_TYPES: dict[str, type[Block]] = {
    "table": TableBlock,
    "confusion": Confusion,
    "reliability": ReliabilityDiagram,
    "gallery": Gallery,
    "album": PhotoGroups,
    "curves": Curves,
    "facts": FactList,
    "text": Text,
    "code": Code,
    "hero": HeadlineMetric,
    "figures": MetricTable,
    "receipt": ReceiptBlock,
    "variants": TextVariants,
}
KIND_OF = {block_type: kind for kind, block_type in BLOCK_TYPES.items()}


@dataclass(frozen=True)
class Section:
    """A titled part of the report."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Report:
    """A whole report.

    Args:
        command: the command line that repeats the run.
        versions: of skipstone and the packages it depends on.
    """

    title: str
    subtitle: str
    command: str
    sections: tuple[Section, ...]
    versions: Mapping[str, str]


def block_from_json(value: Json) -> Block:
    """The block from its JSON form. DamagedError names its kind and what is wrong with it."""
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if not isinstance(kind, str) or kind not in BLOCK_TYPES:
        raise DamagedError(
            f"unknown kind of report block {kind!r}; known: {', '.join(BLOCK_TYPES)}."
        )
    try:
        return BLOCK_TYPES[kind].from_json(value)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise DamagedError(f"report block of kind {kind!r} cannot be read: {reason}.") from error


def block_to_json(block: Block) -> dict[str, Any]:
    """The JSON form: dicts, lists, strings and numbers, with the block's kind."""
    plain: dict[str, Any] = _plain(asdict(block))
    return {"kind": KIND_OF[type(block)], **plain}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
