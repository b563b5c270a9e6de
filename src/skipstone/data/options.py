"""What a user may say about how their data is to be read. Free of torch and Arrow."""

from __future__ import annotations

from dataclasses import dataclass, field

from skipstone.errors import UsageError

#: What says where the sources of a table are. That is all of it where no label is asked for.
ASKED = ("path_column", "path_folder", "text_column", "delimiter", "encoding")


@dataclass(frozen=True)
class ReadOptions:
    """Each is None (or empty) until the user says it: then the reader infers it and states so."""

    reader: str | None = field(
        default=None,
        metadata={
            "help": "layout of the data: class-folders, split-folders, mask-folders, "
            "text-folders, table or idx "
            "(or one that a plugin adds)"
        },
    )
    task: str | None = field(
        default=None,
        metadata={
            "help": "classify (one label each), tag (any number of labels) or "
            "segment (a class for each pixel)"
        },
    )
    path_column: str | None = field(
        default=None, metadata={"help": "table: the column that names the files"}
    )
    path_folder: str | None = field(
        default=None,
        metadata={"help": "table: the folder that paths count from (default: the table's own)"},
    )
    text_column: str | None = field(
        default=None, metadata={"help": "table: the column that holds the texts, one a row"}
    )
    label_column: str | None = field(
        default=None, metadata={"help": "table: the column that holds the label, or the labels"}
    )
    label_columns: tuple[str, ...] = field(
        default=(), metadata={"help": "table: the 0/1 columns, one per label, separated by commas"}
    )
    separator: str | None = field(
        default=None, metadata={"help": "table: what separates several labels in one cell"}
    )
    delimiter: str | None = field(
        default=None, metadata={"help": "table: what separates the columns of a CSV file"}
    )
    encoding: str | None = field(
        default=None,
        metadata={"help": "table: how a CSV file's letters are stored, such as cp1252"},
    )
    split_column: str | None = field(
        default=None, metadata={"help": "table: the column with train, validation or test"}
    )
    group_column: str | None = field(
        default=None,
        metadata={"help": "table: the column of what must stay together (patient, scene, author)"},
    )
    images: str | None = field(
        default=None, metadata={"help": "mask folders: the name of the folder with the pictures"}
    )
    masks: str | None = field(
        default=None, metadata={"help": "mask folders: the name of the folder with their masks"}
    )
    classes: str | None = field(
        default=None,
        metadata={
            "help": "mask folders: a CSV with the columns index (or colour), name and ignore; "
            "found by itself where it is called classes.csv and lies beside them"
        },
    )
    class_names: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "mask folders: names for the indices or colours that the masks hold, in "
            "ascending order"
        },
    )
    ignore: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "mask folders: indices, colours (#rrggbb) or classes whose pixels count for "
            "nothing"
        },
    )

    exclude: str | None = field(
        default=None,
        metadata={
            "help": "a text file of rows to leave out, one path a line; skipstone audit writes one",
            "metavar": "FILE",
        },
    )

    #: What becomes of bytes that are no letters of the encoding: "strict" refuses the table,
    #: "replace" goes on (for an audit), "surrogateescape" keeps them (for a source's own bytes).
    bad_bytes: str = field(default="strict", metadata={"hidden": True})

    def __post_init__(self) -> None:
        for name in ("class_names", "ignore"):
            words = getattr(self, name)
            if isinstance(words, str | int):
                words = tuple(part.strip() for part in str(words).split(",") if part.strip())
            object.__setattr__(self, name, tuple(map(str, words)))
        if self.classes is not None and self.class_names:
            raise UsageError(
                "--classes and --class-names are both given, and both name the classes.",
                hint="Give one of the two.",
            )
        columns = self.label_columns
        if isinstance(columns, str):
            columns = tuple(part.strip() for part in columns.split(",") if part.strip())
        object.__setattr__(self, "label_columns", tuple(columns))
        if self.label_column is not None and self.label_columns:
            raise UsageError(
                "--label-column and --label-columns are both given: the first names one column "
                "of labels, the second one 0/1 column per label.",
                hint="Give one of the two.",
            )
        if self.separator == "":
            raise UsageError("--separator is empty.", hint="Give a character such as ';'.")
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise UsageError(
                f"--delimiter {self.delimiter!r} is not one character.",
                hint="Give ',' or ';' or a tab.",
            )
