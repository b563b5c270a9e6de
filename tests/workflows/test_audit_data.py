"""The verb: a page, a record and a list that a person edits; and the data stays as it is."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from skipstone.core.errors import UsageError
from skipstone.data.exclude import read_exclude_list
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.workflows import audit_data as verb
from skipstone.workflows.audit_data import AuditResult, audit
from tests.cli.conftest import Run, run
from tests.image.scenes import as_jpeg, copies, scene
from tests.small_bundles import small_bundle

__all__ = ["run"]


def _messy(root: Path) -> dict[str, str]:
    """A folder with one of everything; {what: path}."""
    for split, first, count in (("train", 0, 12), ("test", 50, 4)):
        for number in range(count):
            folder = root / split / ("hat", "shoe")[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:02d}.jpg").write_bytes(as_jpeg(scene(first + number)))
    hat, shoe = root / "train/hat", root / "train/shoe"
    data = (hat / "00.jpg").read_bytes()
    planted = {
        "cut": (hat / "cut.jpg", data[: len(data) // 2]),
        "empty": (hat / "empty.jpg", b""),
        "again": (hat / "zz-again.jpg", (hat / "02.jpg").read_bytes()),
        "other": (shoe / "other #1.jpg", (hat / "04.jpg").read_bytes()),
        "leak": (hat / "leak.jpg", (root / "test/hat/00.jpg").read_bytes()),
        "near": (hat / "zz-near.jpg", copies(scene(6))["crop"]),
        "near leak": (shoe / "near-leak.jpg", copies(scene(51))["quality"]),
        "near other": (shoe / "near-other.jpg", copies(scene(8))["mirror"]),
    }
    for path, content in planted.values():
        path.write_bytes(content)
    return {what: str(path.relative_to(root)) for what, (path, _) in planted.items()}


def _hash(folder: Path) -> str:
    """Of every name, every byte, and every time of change."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(f"{path.relative_to(folder)} {path.stat().st_mtime_ns}".encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], AuditResult]:
    root = tmp_path_factory.mktemp("messy")
    photos = root / "my photos"
    planted = _messy(photos)
    before = _hash(photos)
    result = audit(photos, out=root / "audit", command=["skipstone", "audit", "my photos"])
    assert _hash(photos) == before
    return photos, planted, result


def test_everything_that_was_planted_is_found(
    messy: tuple[Path, dict[str, str], AuditResult],
) -> None:
    _, planted, result = messy
    found = {finding.kind: set(finding.paths) for finding in result.audit.findings}
    assert found["truncated"] == {planted["cut"]}
    assert found["empty_file"] == {planted["empty"]}
    assert found["duplicate"] == {"train/hat/02.jpg", planted["again"]}
    assert found["duplicate_with_other_label"] == {"train/hat/04.jpg", planted["other"]}
    assert found["duplicate_across_splits"] == {"test/hat/00.jpg", planted["leak"]}
    assert found["near_duplicate"] == {"train/hat/06.jpg", planted["near"]}
    assert found["near_duplicate_across_splits"] == {"test/shoe/01.jpg", planted["near leak"]}
    assert found["near_duplicate_with_other_label"] == {"train/hat/08.jpg", planted["near other"]}
    assert result.audit.counts["near_duplicates"] == 6


def test_the_list_leaves_out_what_it_should_and_training_obeys(
    messy: tuple[Path, dict[str, str], AuditResult], tmp_path: Path
) -> None:
    photos, planted, result = messy
    listed = result.files["exclude"]
    manifest = read_manifest(photos, ReadOptions(exclude=str(listed)))
    gone = set(read_manifest(photos).column_values("path")) - set(manifest.column_values("path"))
    assert gone == {
        *(planted[what] for what in ("cut", "empty", "again", "other", "leak", "near leak")),
        "train/hat/04.jpg",
    }
    again = audit(photos, settings={"exclude": str(listed)})
    assert {finding.kind for finding in again.audit.findings} == {
        *("near_duplicate", "near_duplicate_with_other_label", "tiny_class")
    }
    # What is a matter of judgement stands there as a comment: a person takes the # away.
    text = listed.read_text()
    assert f"#{planted['near other']}\n" in text
    edited = tmp_path / "mine.txt"
    edited.write_text(text.replace(f"#{planted['near other']}", planted["near other"]))
    kept = read_manifest(photos, ReadOptions(exclude=str(edited))).column_values("path")
    assert planted["near other"] not in kept
    assert "train/hat/08.jpg" in kept


def test_an_edited_list_stays_and_what_is_left_out_stays_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "audit"
    for number in range(4):
        folder = photos / ("hat", "shoe")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(as_jpeg(scene(number, (48, 48))))
    data = (photos / "hat/0.jpg").read_bytes()
    (photos / "hat/cut.jpg").write_bytes(data[: len(data) // 2])
    listed = audit(photos, out=out).files["exclude"]
    for _ in range(2):  # a list as an audit wrote it may go on
        assert read_exclude_list(listed) == ["hat/cut.jpg"]
        again = audit(photos, out=out, settings={"exclude": str(listed)})
        assert "truncated" not in {finding.kind for finding in again.audit.findings}

    listed.write_text(listed.read_text() + "shoe/1.jpg\n")
    edited = listed.read_bytes()
    other = audit(photos, out=tmp_path / "other", settings={"exclude": str(listed)})
    assert read_exclude_list(other.files["exclude"]) == ["hat/cut.jpg", "shoe/1.jpg"]
    monkeypatch.setattr(verb, "read_manifest", None)  # refused before any work
    for exclude in (None, str(listed)):
        with pytest.raises(UsageError, match="was edited, so it is not overwritten"):
            audit(photos, out=out, settings={"exclude": exclude})
    assert listed.read_bytes() == edited


def test_the_page_shows_the_pictures(messy: tuple[Path, dict[str, str], AuditResult]) -> None:
    photos, planted, result = messy
    page = result.files["page"].read_text()
    pictures = re.findall(r'src="data:image/jpeg;base64,', page)
    findings, sheet = page.split(">Samples of each class</h2>")
    assert findings.count('src="data:image/jpeg;base64,') == 12  # six groups of two
    assert len(pictures) > 12
    assert '<span class="missing">' not in sheet
    for path in planted.values():
        assert path in page
    assert "<script" not in page
    assert "skipstone audit &#x27;my photos&#x27;" in page
    assert "mirrored" in page
    assert result.files["json"].parent == photos.parent / "audit"


def test_a_clean_audit_shows_samples_of_each_class_and_sizes(
    photo_folder: Path, tmp_path: Path
) -> None:
    result = audit(photo_folder, out=tmp_path / "audit")
    assert not result.audit.findings
    page = result.files["page"].read_text()
    _, sheet = page.split(">Samples of each class</h2>")
    titles = re.findall(r"<h3>(\w+)</h3><ul", sheet)
    assert titles == sorted(result.audit.counts["classes"]["train"])
    assert sheet.count("<img src=") == 8 * len(titles)
    sizes = result.audit.counts["histograms"]["size in pixels"]
    assert sum(sizes.values()) == result.audit.counts["rows"]
    assert "Rows by size in pixels" in page
    assert next(iter(sizes)) in page


def test_a_model_doubts_labels(tmp_path: Path, run: Run) -> None:
    """Two kinds of picture that any network tells apart, and three labels exchanged."""
    photos = tmp_path / "photos"
    wrong = set()
    for number in range(60):
        kind = number % 2
        picture = scene(number, (40, 40)).convert("L").point(lambda v, k=kind: v // 3 + 150 * k)
        flipped = number in (7, 20, 33)
        folder = photos / ("dark", "light")[kind ^ flipped]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:02d}.jpg").write_bytes(as_jpeg(picture.convert("RGB")))
        wrong |= {f"{folder.name}/{number:02d}.jpg"} if flipped else set()
    small_bundle().save(tmp_path / "model")
    done = run("audit", photos, "--model", tmp_path / "model", "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    doubted = [f for f in done.json["findings"] if f["kind"] == "suspicious_label"]
    assert len(doubted) == 1
    assert set(doubted[0]["paths"]) == wrong
    assert all("looks like" in note for note in doubted[0]["notes"])
    listed = (tmp_path / "out" / "exclude.txt").read_text()
    assert all(f"#{path}\n" in listed for path in wrong)
    assert "looks like" in run("audit", photos, "--model", tmp_path / "model").out


def test_tags_are_doubted_one_by_one(tag_table: Path, tmp_path: Path) -> None:
    small_bundle().save(tmp_path / "model")
    found = audit(tag_table, model=tmp_path / "model").audit
    assert all(f.kind in ("suspicious_label", "near_duplicate") for f in found.findings)


def test_what_is_refused(run: Run, photo_folder: Path, tmp_path: Path) -> None:
    done = run("audit", photo_folder, "--out", photo_folder / "audit")
    assert done.code == 2
    assert "nothing is written there" in done.err
    assert run("audit", photo_folder, "--model", tmp_path / "none").code == 2
    small_bundle().save(tmp_path / "model")
    with pytest.raises(UsageError, match="swapped"):
        audit(tmp_path / "model", model=photo_folder)


def test_containers_are_audited(idx_folder: Path, tmp_path: Path) -> None:
    result = audit(idx_folder, out=tmp_path / "audit")
    assert result.files["page"].is_file()
    assert result.audit.counts["unreadable"] == 0


def test_an_audit_without_a_model_needs_no_torch(photo_folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from skipstone.workflows.audit_data import audit; "
        f"audit(Path({str(photo_folder)!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
