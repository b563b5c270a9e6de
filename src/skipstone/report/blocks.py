"""The blocks of a report, as data. Tasks return their JSON forms from `sections`.

    {"kind": "table", "title": ..., "columns": [...], "rows": [...]}   <->   Table(...)

Blocks are independent of HTML, and `render` is independent of tasks.
"""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, ClassVar

from skipstone.core.errors import DamagedError

Json = Mapping[str, Any]
IMAGE_DATA_URI = re.compile(r"data:image/(?:jpeg|png|webp);base64,[A-Za-z0-9+/]+={0,2}")
SOUND_DATA_URI = re.compile(r"data:audio/wav;base64,[A-Za-z0-9+/]+={0,2}")
#: A link to a sample's own file, relative to the page, so that it cannot name another scheme.
FILE_LINK = re.compile(r"\.{1,2}/[A-Za-z0-9%._~/-]*")
STATES = ("good", "neutral", "bad")


@dataclass(frozen=True, slots=True)
class MetricValue:
    """A metric with its 95 % interval over `n` samples."""

    title: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    higher_is_better: bool = True

    @property
    def is_share(self) -> bool:
        """Whether to show it in percent: a metric where higher is better, with values in 0..1."""
        numbers = [v for v in (self.value, self.low, self.high) if v is not None]
        return self.higher_is_better and all(0 <= v <= 1 for v in numbers)


@dataclass(frozen=True, slots=True)
class HeadlineMetric:
    """The headline metric.

    Args:
        split: description of the rows behind it.
        verdict: how far the value can be trusted.
        state: "good", "neutral" or "bad", for the colour.
        label: the state in a few words, or "".
        sentences: the verdict for people; `command` carries out the last one.
        majority: name and value of always predicting the most frequent class; None if unknown.
    """

    title: ClassVar[str] = ""
    note: ClassVar[str] = ""
    figure: MetricValue
    split: str
    seed: int
    verdict: str = ""
    state: str = "neutral"
    label: str = ""
    sentences: tuple[str, ...] = ()
    command: str = ""
    majority: tuple[str, float] | None = None

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"a state is one of {', '.join(STATES)}")


@dataclass(frozen=True, slots=True)
class MetricTable:
    """All metrics in one table."""

    title: str
    items: tuple[MetricValue, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class MeasuredValue:
    """A measured value with its interval; low and high are None for an exact value."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """One line of a receipt.

    Args:
        unit: "percent" (of shares), "bytes", "ms" or "number".
        words: the difference as text: "−0.4 points (−1.1 to 0.3)".
        good: True for an improvement, False for a loss, None for neither.
    """

    name: str
    unit: str
    before: MeasuredValue | None
    after: MeasuredValue | None
    words: str = ""
    good: bool | None = None


@dataclass(frozen=True, slots=True)
class ReceiptBlock:
    """The model's accuracy, size and latency before and after a change, with intervals."""

    title: str
    verdict: str
    accepted: bool
    rows: tuple[ReceiptRow, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo, or a text.

    Args:
        name: of its file.
        label: from the data.
        note: a remark, or "".
        picture: a data URI, or "" for no image.
        words: a text in pieces, each with a weight; pieces with a weight below 0 are marked.
    """

    name: str
    label: str
    note: str = ""
    picture: str = ""
    words: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class PhotoGroups:
    """Groups of photos; the photos of one group are shown side by side."""

    title: str
    groups: tuple[tuple[Photo, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        for group in self.groups:
            check_pictures(group)


#: A text in pieces: 1 for an added piece, -1 for a removed one, 0 for an unchanged one.
MarkedText = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class TextRow:
    """A text and its variants.

    Args:
        texts: the original first.
    """

    name: str
    label: str
    texts: tuple[MarkedText, ...]


@dataclass(frozen=True, slots=True)
class TextVariants:
    """Texts, each with its variants."""

    title: str
    rows: tuple[TextRow, ...]
    note: str = ""


COLUMN_FORMATS = ("text", "percent", "number", "bar", "colour", "proportion", "estimate")


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column.

    Args:
        format: "percent" takes shares in 0..1; "bar" takes shares (floats) or counts (integers),
            which are scaled to the column's greatest; "colour" takes #rrggbb; "proportion" takes
            [number, total] and "estimate" [share, low, high]: both are shown with their interval.
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

    def __post_init__(self) -> None:
        for column in self.columns:
            if column.format not in COLUMN_FORMATS:
                raise ValueError(f"a column's format is one of {', '.join(COLUMN_FORMATS)}")
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError("a row's number of cells differs from the number of columns")


@dataclass(frozen=True, slots=True)
class GalleryItem:
    """A sample in a gallery.

    Args:
        truth_probability: probability of the true class; None if it is not one number.
        link: to its own file, relative to the page, or "".
        picture: a data URI, or "" for no image.
        sound: a data URI of a recording, or "".
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
    truth_probability: float | None = None
    link: str = ""
    picture: str = ""
    sound: str = ""
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

    def __post_init__(self) -> None:
        check_pictures(self.items)


@dataclass(frozen=True, slots=True)
class ConfusionCell:
    """Samples of one kind of mistake: class number `truth` predicted as class number `answer`."""

    truth: int
    answer: int
    items: tuple[GalleryItem, ...]

    def __post_init__(self) -> None:
        check_pictures(self.items)

    @property
    def anchor(self) -> str:
        return f"cell-{self.truth}-{self.answer}"


@dataclass(frozen=True, slots=True)
class Confusion:
    """A confusion matrix: matrix[i][j] is how often class i was predicted as class j; `cells` are
    samples of its mistakes. `unit` is what it counts if that is not the samples ("pixels")."""

    note: ClassVar[str] = ""
    title: str
    classes: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]
    cells: tuple[ConfusionCell, ...] = ()
    unit: str = ""

    def __post_init__(self) -> None:
        count = len(self.classes)
        if len(self.matrix) != count or any(len(row) != count for row in self.matrix):
            raise ValueError("the matrix needs one row and one column per class")
        if any(not (0 <= cell.truth < count > cell.answer >= 0) for cell in self.cells):
            raise ValueError("a cell is not in the matrix")


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

    title: str
    bins: tuple[ReliabilityBin, ...]
    ece: float | None
    unit: str = "answers"
    independent: bool = True
    note: str = ""


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


@dataclass(frozen=True, slots=True)
class FactList:
    """Names with values, which are text or numbers."""

    note: ClassVar[str] = ""
    title: str
    items: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Text:
    """Paragraphs, separated by blank lines."""

    note: ClassVar[str] = ""
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """Something to copy, such as a command."""

    title: str
    text: str
    note: str = ""


def check_pictures(items: Iterable[GalleryItem | Photo]) -> None:
    """ValueError for a picture or link that could lead anywhere but to a sample's file."""
    for item in items:
        if isinstance(item, GalleryItem) and item.link and not FILE_LINK.fullmatch(item.link):
            raise ValueError("a link is not a relative path")
        if (
            isinstance(item, GalleryItem)
            and item.sound
            and not SOUND_DATA_URI.fullmatch(item.sound)
        ):
            raise ValueError("a sound is not a data URI of a WAV file")
        if item.picture and not IMAGE_DATA_URI.fullmatch(item.picture):
            raise ValueError("a picture is not a data URI of a JPEG, PNG or WebP")


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
    """A titled part of the report; what is `folded` is for experts, and opened by a click."""

    title: str
    blocks: tuple[Block, ...]
    folded: tuple[Block, ...] = ()


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
        block: Block = _read_value(BLOCK_TYPES[kind], value)
        return block
    except (KeyError, TypeError, ValueError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise DamagedError(f"report block of kind {kind!r} cannot be read: {reason}.") from error


def _read_value(kind: Any, value: Any) -> Any:
    """A value of JSON as the annotated type `kind`; NaN and infinity, which JSON lacks, are None
    where that is allowed."""
    members = typing.get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        values = {
            field.name: _read_value(hints[field.name], value[field.name])
            for field in fields(kind)
            if field.default is MISSING or field.name in value
        }
        return kind(**values)
    if typing.get_origin(kind) is tuple:
        items = members[:1] * len(value) if members[-1] is ... else members
        return tuple(_read_value(*pair) for pair in zip(items, value, strict=True))
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        is_missing = value is None or (isinstance(value, float) and not math.isfinite(value))
        return None if is_missing else _read_value(members[0], value)
    return value if kind is Any else kind(value)
