"""Small data in every layout that a reader knows, for each task and input that it can give.

A new reader joins by an entry in EXAMPLES; the tests of readers, of inputs and of what goes
together (`tests/cover.py`) go over all of them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.box_data import (
    coco_content,
    make_scenes,
    save_photos,
    table_rows,
    write_voc,
    write_yolo,
)
from tests.mask_data import write_scenes
from tests.photos import (
    CLASSES,
    make_photo,
    save_photo,
    write_class_folder,
    write_idx_folder,
    write_tag_table,
)
from tests.recordings import write_recording_folders, write_recording_table
from tests.text_data import WORDS, rows, write_csv, write_folders

PER_CLASS = 8


def class_folders(root: Path) -> Path:
    return write_class_folder(root / "photos", PER_CLASS)


def split_folders(root: Path) -> Path:
    write_class_folder(root / "photos" / "train", PER_CLASS)
    write_class_folder(root / "photos" / "val", 3, first_seed=500)
    return root / "photos"


def table_of_photos(root: Path) -> Path:
    """A TSV that also says which rows are for what."""
    lines = [["file", "kind", "split"]]
    for kind in CLASSES:
        for number in range(PER_CLASS + 4):
            path = save_photo(make_photo(number, kind), root / "files" / f"{kind}{number}", number)
            split = "train" if number < PER_CLASS else "val" if number < PER_CLASS + 2 else "test"
            lines.append([path.relative_to(root).as_posix(), kind, split])
    with (root / "photos.tsv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t").writerows(lines)
    return root / "photos.tsv"


def table_of_tagged_photos(root: Path) -> Path:
    return write_tag_table(root / "tagged", 3 * PER_CLASS)


def scenes(root: Path) -> Path:
    return write_scenes(root / "scenes", 12)


def voc(root: Path) -> Path:
    return write_voc(root / "voc", make_scenes(24))


def coco(root: Path) -> Path:
    scenes = make_scenes(24)
    save_photos(root / "coco" / "images", scenes)
    (root / "coco" / "boxes.json").write_text(json.dumps(coco_content(scenes)))
    return root / "coco"


def yolo(root: Path) -> Path:
    write_yolo(root / "yolo", make_scenes(24), "images", "labels")
    (root / "yolo" / "data.yaml").write_text("names: [disc, square]\ntrain: images\n")
    return root / "yolo"


def table_of_boxes(root: Path) -> Path:
    scenes = make_scenes(24)
    save_photos(root / "photos", scenes)
    with (root / "boxes.csv").open("w", newline="") as file:
        header = ["path", "label", "xmin", "ymin", "xmax", "ymax"]
        csv.writer(file).writerows([header, *table_rows(scenes)])
    return root / "boxes.csv"


def idx(root: Path) -> Path:
    return write_idx_folder(root / "idx", 3 * PER_CLASS, 9)


def table_of_texts(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    return write_csv(root / "texts.csv", rows(60))


def text_folders(root: Path) -> Path:
    return write_folders(root / "letters", rows(60))


def table_of_tagged_texts(root: Path) -> Path:
    """Parquet with a list of tags a row, some of them empty."""
    tags = list(WORDS)
    texts, found = [], []
    for number, (text, tag) in enumerate(rows(60)):
        also = tags[number % 5] if number % 5 < len(tags) else tag
        texts.append(f"{text} {WORDS[also][0]}")
        found.append([] if number % 10 == 9 else sorted({tag, also}))
    root.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": texts, "tags": found}), root / "texts.parquet")
    return root / "texts.parquet"


def recording_folders(root: Path) -> Path:
    return write_recording_folders(root / "sounds", PER_CLASS)


def recording_splits(root: Path) -> Path:
    write_recording_folders(root / "sounds" / "train", PER_CLASS)
    write_recording_folders(root / "sounds" / "val", 3, first=500)
    return root / "sounds"


def table_of_tagged_recordings(root: Path) -> Path:
    return write_recording_table(root / "sounds", 2 * PER_CLASS)


#: {reader: {(task, input): writes such data below a folder and says where}}.
EXAMPLES: dict[str, dict[tuple[str, str], Callable[[Path], Path]]] = {
    "class-folders": {
        ("classify", "image"): class_folders,
        ("classify", "text"): text_folders,
        ("classify", "audio"): recording_folders,
    },
    "split-folders": {
        ("classify", "image"): split_folders,
        ("classify", "audio"): recording_splits,
    },
    "mask-folders": {("segment", "image"): scenes},
    "voc": {("detect", "image"): voc},
    "coco": {("detect", "image"): coco},
    "yolo": {("detect", "image"): yolo},
    "box-table": {("detect", "image"): table_of_boxes},
    "table": {
        ("classify", "image"): table_of_photos,
        ("tag", "image"): table_of_tagged_photos,
        ("classify", "text"): table_of_texts,
        ("tag", "text"): table_of_tagged_texts,
        ("tag", "audio"): table_of_tagged_recordings,
    },
    "idx": {("classify", "image"): idx},
}


def readers_of(task: str, input: str) -> list[str]:
    """The readers that can give samples of `input` with targets of `task`."""
    return [name for name, kinds in EXAMPLES.items() if (task, input) in kinds]
