"""The options for reading a data set. Imports neither torch nor Arrow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from skipstone.core.errors import UsageError
from skipstone.core.options import option

#: The options that locate the sources of a table. Prediction needs no labels and has only these.
TABLE_SOURCE_OPTIONS = (
    *("path_column", "path_folder", "text_column"),
    *("delimiter", "encoding", "quoting"),
)


BoxFormat = Literal["corners", "size", "centre"]
BoxFrame = Literal["shown", "stored"]


@dataclass(frozen=True, slots=True)
class ColumnRef:
    """The column of a table file whose cells are its members, and how to read the file."""

    column: str
    delimiter: str | None = None
    encoding: str | None = None
    quoting: str | None = None


@dataclass(frozen=True)
class ReadOptions:
    """None (or empty) means that the reader infers the value and states it in a note."""

    reader: str | None = option(
        None,
        help="layout of the data: class-folders, split-folders, mask-folders, coco, yolo, voc, table, "
        "box-table or idx (or a plugin's)",
    )
    task: str | None = option(
        None,
        help="classify (one label per sample), tag (any number of labels), segment (one class per "
        "pixel) or detect (boxes)",
    )
    input: str | None = option(
        None,
        help="class folders, split folders, table: which files to read if there are several kinds: "
        "image, text or audio (or a plugin's)",
    )
    path_column: str | None = option(
        None, help="table, box table: the column with the paths of the files"
    )
    path_folder: str | None = option(
        None, help="table, box table: the folder that paths are relative to (default: the table's)"
    )
    text_column: str | None = option(None, help="table: the column with the texts, one per row")
    label_column: str | None = option(
        None, help="table, box table: the column with the label or labels"
    )
    label_columns: tuple[str, ...] = option(
        (), help="table: the 0/1 columns, one per label, comma-separated"
    )
    separator: str | None = option(None, help="table: the separator of several labels in one cell")
    delimiter: str | None = option(
        None, help="table, box table: the column delimiter of a CSV file"
    )
    encoding: str | None = option(
        None, help="table, box table: the character encoding of a CSV file, such as cp1252"
    )
    split_column: str | None = option(
        None, help="table, box table: the column with train, validation or test"
    )
    quoting: str | None = option(
        None,
        choices=("double", "none"),
        help="table, box table: double if quotation marks enclose cells of a CSV file, none if they are letters",
    )
    group_column: str | None = option(
        None, help="table: the group column (patient, scene, author); a group is never split"
    )
    images: str | None = option(None, help="mask folders: the folder with the pictures")
    masks: str | None = option(
        None,
        help="mask folders: the folder with the masks, such as annotations/trimaps; a pattern may "
        "follow it: gtFine/*_labelIds",
    )
    classes: str | None = option(
        None,
        help="mask folders: a CSV with the columns index (or colour), name and ignore (default: "
        "classes.csv next to the folders, if it exists)",
    )
    class_names: tuple[str, ...] = option(
        (),
        help="mask folders, yolo: names of the indices or colours in the masks, in ascending order; "
        "names of the classes 0, 1, ... of YOLO files",
    )
    ignore: tuple[str, ...] = option(
        (), help="mask folders: indices, colours (#rrggbb) or classes whose pixels are ignored"
    )
    box_format: BoxFormat | None = option(
        None,
        help="box table: the four numbers are two 'corners', a corner and the 'size', or the "
        "'centre' and the size (default: as the columns are named)",
    )
    box_frame: BoxFrame | None = option(
        None,
        help="coco, yolo, voc, box table: boxes of photos with an EXIF orientation are those of the "
        "photo as it is 'shown', or as it is 'stored'",
    )

    exclude: str | None = option(
        None,
        metavar="FILE",
        help="a text file of rows to drop, one path per line; skipstone audit writes one",
    )

    #: How to handle bytes that the encoding does not allow, as Python names it: "strict" rejects
    #: the table, "replace" is for an audit, "surrogateescape" keeps a source's original bytes.
    bad_bytes: str = option("strict", is_hidden=True)

    def __post_init__(self) -> None:
        for name in ("class_names", "ignore"):
            words = getattr(self, name)
            if isinstance(words, str | int):
                words = tuple(part.strip() for part in str(words).split(",") if part.strip())
            object.__setattr__(self, name, tuple(map(str, words)))
        if self.classes is not None and self.class_names:
            raise UsageError(
                "--classes and --class-names both name the classes.",
                hint="Give one of the two.",
            )
        columns = self.label_columns
        if isinstance(columns, str):
            columns = tuple(part.strip() for part in columns.split(",") if part.strip())
        object.__setattr__(self, "label_columns", tuple(columns))
        if self.label_column is not None and self.label_columns:
            raise UsageError(
                "--label-column and --label-columns exclude each other: the first names one "
                "column of labels, the second one 0/1 column per label.",
                hint="Give one of the two.",
            )
        for name in ("separator", "delimiter"):
            if getattr(self, name) == "\\t":  # a tab as one can type it
                object.__setattr__(self, name, "\t")
        if self.separator == "":
            raise UsageError("--separator is empty.", hint="Give a character such as ';'.")
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise UsageError(
                f"--delimiter {self.delimiter!r} is not one character.",
                hint="Give ',' or ';' or '\\t' for a tab.",
            )
