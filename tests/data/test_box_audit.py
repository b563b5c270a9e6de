"""What the audit finds in boxes."""

from __future__ import annotations

from pathlib import Path

import pytest

from skipstone.data.read import read_manifest
from skipstone.data.readers.box_audit import audit_boxes, measure_overlap
from tests.box_data import make_scenes, voc_text, write_voc


def test_every_problem_is_named_with_its_photo(tmp_path: Path) -> None:
    root = write_voc(tmp_path, make_scenes(12))
    size = (64, 64)
    planted = {
        "1": [("disc", (40, 40, 10, 20))],  # swapped corners
        "2": [("disc", (10, 10, 80, 80))],  # past the border
        "3": [("disc", (10, 10, 10, 20)), ("square", (5, 5, 30, 30))],  # no area
        "4": [("disc", (10, 10, 40, 40)), ("square", (10, 10, 40, 41))],  # two labels
        "5": [("square", (10, 10, 12, 40))],  # tiny
    }
    for name, objects in planted.items():
        (root / "annotations" / f"{name}.xml").write_text(voc_text(objects, size))
    (root / "annotations" / "6.xml").write_text(voc_text([("disc", (1, 1, 9, 9))], (640, 640)))
    (root / "annotations" / "7.xml").unlink()
    (root / "images" / "8.png").unlink()
    findings, counts = audit_boxes(read_manifest(root))
    named = {(finding.kind, path) for finding in findings for path in finding.paths}
    assert named == {
        ("box_corrected", "images/1.png"),
        ("box_corrected", "images/2.png"),
        ("box_corrected", "images/3.png"),
        ("box_double", "images/4.png"),
        ("box_tiny", "images/5.png"),
        ("boxes_of_other_size", "images/6.png"),
        ("photo_without_boxes", "images/7.png"),
        ("boxes_without_photo", "annotations/8.xml"),
    }
    assert set(counts["boxes"]) == {"disc", "square"}


def test_classes_that_are_not_trained(tmp_path: Path) -> None:
    scenes = make_scenes(4)
    write_voc(tmp_path, scenes, "train/images", "train/annotations")
    write_voc(tmp_path, scenes, "val/images", "val/annotations")
    text = voc_text([("zebra", (1, 1, 9, 9))], (64, 64))
    (tmp_path / "val" / "annotations" / "0.xml").write_text(text)
    findings, _ = audit_boxes(read_manifest(tmp_path))
    assert [finding.kind for finding in findings] == ["box_class_missing"]
    assert "zebra" in findings[0].message


def test_clean_data_has_no_finding(tmp_path: Path) -> None:
    assert audit_boxes(read_manifest(write_voc(tmp_path, make_scenes(8))))[0] == []


def test_overlap() -> None:
    assert measure_overlap([0, 0, 10, 10], [5, 0, 15, 10]) == pytest.approx(1 / 3)
    assert measure_overlap([0, 0, 10, 10], [10, 0, 20, 10]) == 0
