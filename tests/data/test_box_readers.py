"""COCO, YOLO and tables of boxes, as tools export them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_masks

from skipstone.core.errors import DataError, UsageError
from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.data.readers.box_rows import WITHOUT_BOXES, WITHOUT_PHOTO
from skipstone.data.readers.coco import read_box
from tests.box_data import (
    Scene,
    coco_content,
    make_scenes,
    save_photos,
    table_rows,
    write_voc,
    write_yolo,
    yolo_text,
)

NAMES = "names: [disc, square]\n"


def check_boxes(manifest: Manifest, scenes: Mapping[str, Scene], atol: float = 1e-4) -> None:
    """The rows are these scenes, in any order."""
    rows = dict(zip(manifest.column_values("path"), manifest.column_values("target"), strict=True))
    assert {Path(path).stem for path in rows} == set(scenes)
    for path, target in rows.items():
        objects = scenes[Path(path).stem].objects
        assert [item["label"] for item in target] == [label for label, _ in objects]
        boxes = np.array([item["box"] for item in target])
        np.testing.assert_allclose(boxes, [box for _, box in objects], atol=atol)


def write_coco(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_table(path: Path, header: list[str], rows: list[list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


# --- COCO -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "photos", "prefix"),
    [
        ("annotations/instances_{}.json", "{}", ""),
        ("{}/_annotations.coco.json", "{}", ""),
        ("{}.json", "images/{}", "C:\\other machine\\{}\\"),
        ("annotations/{}.json", "images", "images/"),
        ("instances_{}2017.json", "{}2017", ""),
    ],
)
def test_coco_files_per_split(tmp_path: Path, file: str, photos: str, prefix: str) -> None:
    scenes = make_scenes(6)
    parts = {"train": dict(list(scenes.items())[:4]), "val": dict(list(scenes.items())[4:])}
    for split, part in parts.items():
        save_photos(tmp_path / photos.format(split), part)
        content = coco_content(part, prefix=prefix.format(split))
        write_coco(tmp_path / file.format(split), content)
    manifest = read_manifest(tmp_path)
    assert (manifest.reader, manifest.task) == ("coco", "detect")
    check_boxes(manifest, scenes)
    assert dict(manifest.schema) == {"classes": ["disc", "square"]}
    splits = manifest.column_values("split")
    assert (splits.count("train"), splits.count("validation")) == (4, 2)
    assert any("category never" in note for note in manifest.notes)


def test_photos_of_one_name_in_two_splits(tmp_path: Path) -> None:
    """The file's name or folder says which photo is meant."""
    for split in ("train2017", "val2017"):
        save_photos(tmp_path / split, make_scenes(2))
        content = coco_content(make_scenes(2))
        write_coco(tmp_path / "annotations" / f"instances_{split}.json", content)
    manifest = read_manifest(tmp_path)
    assert manifest.column_values("path")[0] == "train2017/0.png"
    assert manifest.column_values("split") == ["train", "train", "validation", "validation"]


def test_the_file_itself_is_data(tmp_path: Path) -> None:
    scenes = make_scenes(3)
    save_photos(tmp_path / "images", scenes)
    write_coco(tmp_path / "result.json", coco_content(scenes))
    write_coco(tmp_path / "older.json", coco_content(scenes))
    check_boxes(read_manifest(tmp_path / "result.json"), scenes)
    with pytest.raises(UsageError, match="both describe"):
        read_manifest(tmp_path)


def test_coco_negatives_crowds_and_missing_photos(tmp_path: Path) -> None:
    scenes = make_scenes(3)
    save_photos(tmp_path, scenes)
    content = coco_content(scenes)
    content["images"].append({"id": 1000, "file_name": "gone.png", "width": 9, "height": 9})
    content["annotations"] = [row for row in content["annotations"] if row["image_id"] != 7]
    content["annotations"][0]["iscrowd"] = 1
    write_coco(tmp_path / "a.json", content)
    manifest = read_manifest(tmp_path)
    targets = manifest.column_values("target")
    assert targets[0] == []
    assert targets[1][0]["crowd"] is True
    assert manifest.unpaired_files[WITHOUT_PHOTO] == ("gone.png",)


def test_shapes_without_a_bbox_give_their_box() -> None:
    """Polygons and runs, compressed or not, as pycocotools decodes them."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = np.zeros((17, 23), np.uint8)
        y, x = rng.integers(0, 10, 2)
        mask[y : y + rng.integers(1, 7), x : x + rng.integers(1, 12)] = 1
        mask &= (rng.random(mask.shape) < 0.8).astype(np.uint8)
        if not mask.any():
            continue
        runs = coco_masks.encode(np.asfortranarray(mask))
        rows, columns = np.nonzero(mask)
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        text = {"size": list(runs["size"]), "counts": runs["counts"].decode()}
        assert read_box({"segmentation": text}) == tuple(expected)
        flat = mask.flatten(order="F")
        changes = np.flatnonzero(np.diff(np.concatenate([[0], flat]))).tolist()
        counts = np.diff([0, *changes, flat.size]).tolist()
        assert read_box({"segmentation": {"size": [17, 23], "counts": counts}}) == tuple(expected)
    polygon = [[5, 1, 9, 4, 2, 8.5]]
    assert read_box({"segmentation": polygon, "bbox": []}) == (2, 1, 9, 8.5)
    assert read_box({}) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][0].update(category_id=99), "has the category 99"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2]), "neither a bbox"),
        (lambda c: c["annotations"][0].update(image_id=5000), "of images that are not listed"),
        (lambda c: c["categories"][1].update(name="disc"), "different names"),
        (lambda c: c["images"][0].pop("file_name"), "has no file_name"),
    ],
)
def test_coco_errors_name_the_file(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    scenes = make_scenes(2)
    save_photos(tmp_path, scenes)
    content = coco_content(scenes)
    change(content)
    write_coco(tmp_path / "a.json", content)
    with pytest.raises(DataError, match=rf"a\.json.*{message}"):
        read_manifest(tmp_path)


# --- YOLO -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", ["images/{} labels/{}", "{}/images {}/labels", "{} {}"])
def test_yolo_folders(tmp_path: Path, inner: str) -> None:
    scenes = make_scenes(6)
    parts = {"train": dict(list(scenes.items())[:4]), "val": dict(list(scenes.items())[4:])}
    for split, part in parts.items():
        photos, labels = inner.format(split, split).split()
        write_yolo(tmp_path, part, photos, labels)
    (tmp_path / "data.yaml").write_text(f"{NAMES}train: x\nval: y\nnc: 2\n")
    manifest = read_manifest(tmp_path)
    assert (manifest.reader, manifest.task) == ("yolo", "detect")
    check_boxes(manifest, scenes)
    assert manifest.column_values("split").count("validation") == 2


def test_lists_of_photos_are_splits(tmp_path: Path) -> None:
    scenes = make_scenes(4)
    write_yolo(tmp_path, scenes, "images", "labels")
    (tmp_path / "train.txt").write_text("".join(f"./images/{n}.png\n" for n in "012"))
    (tmp_path / "val.txt").write_text("/home/me/data/images/3.png\n")
    (tmp_path / "data.yaml").write_text(
        "names: {0: disc, 1: square}\ntrain: train.txt\nval: val.txt"
    )
    manifest = read_manifest(tmp_path)
    check_boxes(manifest, scenes)
    splits = dict(zip(manifest.column_values("path"), manifest.column_values("split"), strict=True))
    assert splits["images/3.png"] == "validation"
    assert splits["images/0.png"] == "train"


@pytest.mark.parametrize("file", ["classes.txt", "obj.names"])
def test_names_of_classes_without_yaml(tmp_path: Path, file: str) -> None:
    scenes = make_scenes(3)
    write_yolo(tmp_path, scenes, "obj", "obj")
    with pytest.raises(UsageError, match="number the classes") as caught:
        read_manifest(tmp_path)
    assert "--class-names" in str(caught.value.hint)
    check_boxes(read_manifest(tmp_path, ReadOptions(class_names=("disc", "square"))), scenes)
    (tmp_path / file).write_text("disc\nsquare\n")
    check_boxes(read_manifest(tmp_path), scenes)


def test_outlines_negatives_and_photos_without_a_file(tmp_path: Path) -> None:
    scenes = make_scenes(4)
    write_yolo(tmp_path, scenes, "images", "labels")
    (tmp_path / "data.yaml").write_text(NAMES + "train: images\n")
    (tmp_path / "labels" / "0.txt").write_text("0 0.25 0.25 0.5 0.25 0.5 0.75 0.3 0.5\n")
    (tmp_path / "labels" / "1.txt").write_text("")
    (tmp_path / "labels" / "2.txt").unlink()
    manifest = read_manifest(tmp_path)
    targets = dict(
        zip(manifest.column_values("path"), manifest.column_values("target"), strict=True)
    )
    assert [item["box"] for item in targets["images/0.png"]] == [[16, 16, 32, 48]]
    assert targets["images/1.png"] == []
    assert manifest.unpaired_files[WITHOUT_BOXES] == ("images/2.png",)
    assert any("empty .txt file" in note for note in manifest.notes)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.1", "is not a class, then x"),
        ("7 0.5 0.5 0.1 0.1", "class 7 has no name"),
        ("0 0.5 0.5 0.1 x", "is not numbers"),
    ],
)
def test_yolo_errors_name_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    scenes = make_scenes(2)
    write_yolo(tmp_path, scenes, "images", "labels")
    (tmp_path / "data.yaml").write_text(NAMES + "train: images\n")
    (tmp_path / "labels" / "1.txt").write_text(f"{yolo_text(scenes['1'])}\n{line}\n")
    with pytest.raises(DataError, match=rf"1\.txt, line \d: .*{message}"):
        read_manifest(tmp_path)


# --- tables ---------------------------------------------------------------------------------------


def to_size(box: list[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def to_centre(box: list[float]) -> list[float]:
    return [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, *to_size(box)[2:]]


@pytest.mark.parametrize(
    ("names", "convert"),
    [
        ("xmin,ymin,xmax,ymax", list),
        ("x_min,y_min,x_max,y_max", list),
        ("Left,Top,Width,Height", to_size),
        ("bbox_x,bbox_y,bbox_width,bbox_height", to_size),
        ("x_center,y_center,width,height", to_centre),
        ("cx,cy,w,h", to_centre),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 1 / 64])
def test_columns_say_what_the_numbers_are(
    tmp_path: Path, names: str, convert: Callable[[list[float]], list[float]], scale: float
) -> None:
    scenes = make_scenes(5)
    save_photos(tmp_path / "photos", scenes)
    rows = [
        [path, label, *(value * scale for value in convert(box))]
        for path, label, *box in table_rows(scenes)
    ]
    table = write_table(tmp_path / "boxes.csv", ["path", "label", *names.split(",")], rows)
    manifest = read_manifest(table)
    assert (manifest.reader, manifest.task) == ("box-table", "detect")
    check_boxes(manifest, scenes)


def test_names_that_leave_it_open_are_asked_for(tmp_path: Path) -> None:
    scenes = make_scenes(3)
    save_photos(tmp_path / "photos", scenes)
    rows = [[path, label, *to_size(box)] for path, label, *box in table_rows(scenes)]
    table = write_table(tmp_path / "b.csv", ["file", "class", "x", "y", "w", "h"], rows)
    with pytest.raises(UsageError, match="may be a corner or the centre") as caught:
        read_manifest(table)
    assert "--box-format" in str(caught.value.hint)
    check_boxes(read_manifest(table, ReadOptions(box_format="size")), scenes)


def test_rows_without_numbers_are_negatives_and_splits_are_read(tmp_path: Path) -> None:
    scenes = make_scenes(3)
    save_photos(tmp_path / "photos", {**scenes, "empty": scenes["0"]})
    rows = [[*row, "train"] for row in table_rows(scenes)]
    rows.append(["photos/empty.png", "", "", "", "", "", "val"])
    header = ["path", "label", "xmin", "ymin", "xmax", "ymax", "split"]
    manifest = read_manifest(write_table(tmp_path / "b.csv", header, rows))
    assert manifest.column_values("target")[-1] == []
    assert manifest.column_values("split")[-1] == "validation"
    rows.append([*rows[0][:-1], "val"])
    with pytest.raises(DataError, match="is in two splits"):
        read_manifest(write_table(tmp_path / "b.csv", header, rows))


def test_errors_name_the_row(tmp_path: Path) -> None:
    scenes = make_scenes(2)
    save_photos(tmp_path / "photos", scenes)
    rows = table_rows(scenes)
    rows[1][3] = "ten"
    header = ["path", "label", "xmin", "ymin", "xmax", "ymax"]
    with pytest.raises(DataError, match=r"b\.csv, line 3: .*is not a box of four numbers"):
        read_manifest(write_table(tmp_path / "b.csv", header, rows))


# --- several at once ------------------------------------------------------------------------------


def test_two_formats_are_refused_with_the_flag_that_decides(tmp_path: Path) -> None:
    scenes = make_scenes(3)
    write_voc(tmp_path, scenes)
    write_coco(tmp_path / "all.json", coco_content(scenes))
    with pytest.raises(UsageError, match="matches 2 layouts") as caught:
        read_manifest(tmp_path)
    assert "--reader coco" in str(caught.value.hint)
    assert "--reader voc" in str(caught.value.hint)
    for reader in ("coco", "voc"):
        check_boxes(read_manifest(tmp_path, ReadOptions(reader=reader)), scenes)
