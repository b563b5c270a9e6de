"""No row that a model was made with passes for one that it has not seen."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from skipstone.bundle.format import Bundle
from skipstone.core import events
from skipstone.core.errors import DamagedError, DataError, Refusal
from skipstone.core.settings import Settings
from skipstone.data.fingerprint import add_content_digests
from skipstone.data.manifest import Manifest, build_table, save_manifest
from skipstone.data.read import read_manifest
from skipstone.datasets.leakage import (
    TrainingRows,
    load_training_rows,
    match_roles,
    save_ancestor_rows,
    warn_of_leakage,
)
from skipstone.datasets.splitting import assign_roles
from skipstone.training.plan import TrainPlan, build_plan, check_input_hashes
from skipstone.training.run_directory import RunFolder
from skipstone.workflows.shrink_model import load_training_manifest
from tests.evaluation.watch import watching
from tests.photos import make_photo, save_photo, write_class_folder, write_idx_folder
from tests.small_bundles import small_bundle
from tests.text_data import rows, write_csv


def manifest_of(root: Path, roles: dict[str, str]) -> Manifest:
    """A row a file; its class is its folder."""
    paths = list(roles)
    table = build_table(
        {"path": paths, "target": [Path(p).parent.name for p in paths]}, pa.string()
    )
    made = Manifest(table, root, "class_folders", "image", "classify", {"classes": ["a", "b"]})
    return made.with_column("role", list(roles.values()))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return small_bundle()


def write_run(
    folder: Path, bundle: Bundle, rows: Manifest | None, *before: Path, **lineage: Any
) -> Path:
    """A run folder as far as it matters here, of a model that goes on from the runs `before`;
    returns its bundle."""
    replace(bundle, lineage={"command": "test", **lineage}).save(folder / "bundle")
    if before:
        save_ancestor_rows(before, folder)
    if rows is not None:
        save_manifest(rows, folder / "manifest.parquet")
    return folder / "bundle"


def test_rows_of_all_models_before_it_are_known(tmp_path: Path, bundle: Bundle) -> None:
    """The first one was trained on what the last run, two models later, has not got."""
    photos = tmp_path / "photos"
    first = manifest_of(photos, {"a/1": "train", "a/2": "test", "a/3": "unreadable"})
    second = manifest_of(photos, {"b/1": "val", "a/2": "train"})
    third = manifest_of(photos, {"b/2": "test", "a/1": "test"})
    write_run(tmp_path / "001", bundle, first)
    write_run(tmp_path / "002", bundle, second, tmp_path / "001")
    write_run(tmp_path / "003", bundle, third, tmp_path / "002")
    write_run(
        tmp_path / "004",
        bundle,
        manifest_of(photos, {"b/9": "test"}),
        tmp_path / "001",
        tmp_path / "002",
    )
    shutil.rmtree(tmp_path / "001")  # the later ones hold its rows
    seen = load_training_rows(tmp_path / "003/bundle")
    assert not seen.gap
    asked = manifest_of(photos, dict.fromkeys(("a/1", "a/2", "a/3", "b/1", "b/2", "b/3"), ""))
    # of several roles the one by which the model knows most of a row
    assert match_roles(seen, asked) == {0: "train", 1: "train", 3: "val", 4: "test"}
    assert match_roles(load_training_rows(tmp_path / "004/bundle"), asked) == {
        0: "train",
        1: "train",
        3: "val",
    }


def test_where_the_trail_is_lost_is_said(tmp_path: Path, bundle: Bundle) -> None:
    given = manifest_of(tmp_path, {"a/1": "train"})
    alone = write_run(tmp_path / "003", bundle, None)
    assert load_training_rows(alone).gap.endswith("003/bundle is not in its run folder")
    later = write_run(tmp_path / "004", bundle, given, alone)
    assert load_training_rows(later).gap.endswith("003/bundle is not in its run folder")
    lost = write_run(tmp_path / "005", bundle, given, **{"from": {"model": "runs/001"}})
    assert load_training_rows(lost).gap.endswith("005/bundle are not stored")


@pytest.mark.parametrize("kind", ["from", "weights", "members"])
def test_a_model_that_a_bundle_names_is_not_opened(
    tmp_path: Path, bundle: Bundle, kind: str
) -> None:
    (canary := tmp_path / "canary").mkdir()
    (canary / "bundle.json").write_text("{}")
    (inside := tmp_path / "inside").mkdir()
    model: Any = {"model": str(canary), "weights": None}
    lineage = {"from": model, "weights": str(canary), "members": [model]}
    later = write_run(
        inside / "001", bundle, manifest_of(inside, {"a/1": "train"}), **{kind: lineage[kind]}
    )
    with watching(inside, canary) as watch:
        load_training_rows(later)
    assert watch.found == []


def test_rows_behind_a_link_are_refused(tmp_path: Path, bundle: Bundle) -> None:
    given = manifest_of(tmp_path, {"a/1": "train"})
    write_run(tmp_path / "001", bundle, given)
    later = write_run(tmp_path / "002", bundle, None)
    (tmp_path / "002/manifest.parquet").symlink_to(tmp_path / "001/manifest.parquet")
    with pytest.raises(DamagedError, match="is a link"):
        load_training_rows(later)


def test_files_are_the_same_by_their_place_or_where_they_have_moved_to(tmp_path: Path) -> None:
    before = manifest_of(tmp_path / "photos", {"cats/a/1": "train", "cats/a/2": "val"})
    seen = TrainingRows((before,))
    inside = manifest_of(tmp_path / "photos/cats", {"a/1": "", "a/9": ""})
    assert match_roles(seen, inside) == {0: "train"}
    beside = manifest_of(tmp_path / "tables", {"../photos/cats/a/2": ""})
    assert match_roles(seen, beside) == {0: "val"}
    moved = manifest_of(tmp_path / "copy", {"cats/a/1": "", "cats/b/2": ""})
    assert match_roles(seen, moved) == {}
    assert match_roles(seen, moved, moved=True) == {0: "train"}
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    linked = manifest_of(tmp_path / "link", {"cats/a/1": ""})
    assert match_roles(seen, linked) == {0: "train"}


def test_rows_of_a_table_are_known_by_what_they_hold(tmp_path: Path, bundle: Bundle) -> None:
    """New rows come first, so that each number is another row's."""
    texts = rows(12)
    before = assign_roles(read_manifest(write_csv(tmp_path / "texts.csv", texts)))
    model = write_run(tmp_path / "001", bundle, add_content_digests(before))
    assert load_training_manifest(model, None).column_values("role") == before.column_values("role")
    write_csv(tmp_path / "texts.csv", [("quite another one", "colour"), *texts])
    now = read_manifest(tmp_path / "texts.csv")
    kept = match_roles(load_training_rows(model), now)
    assert kept == {row + 1: role for row, role in enumerate(before.column_values("role"))}
    with pytest.raises(DataError, match=r"texts\.csv was changed: 12 rows differ from"):
        load_training_manifest(model, None)


def test_a_table_is_held_to_what_it_was_while_a_run_is_unfinished(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "texts.csv", texts := rows(12))

    def plan() -> TrainPlan:
        settings = Settings({"seed": 0})
        return build_plan(data, model="naive-bayes", weights="auto", seed=0, settings=settings)

    with RunFolder(tmp_path / "run") as run:
        check_input_hashes(plan(), run)
        check_input_hashes(plan(), run)
        write_csv(data, [(texts[0][0] + " indeed", texts[0][1]), *texts[1:]])
        with pytest.raises(Refusal, match=r"texts\.csv has changed since"):
            check_input_hashes(plan(), run)


def heard(call: Any) -> list[str]:
    found: list[str] = []
    with events.use_listener(lambda event: found.append(getattr(event, "text", ""))):
        call()
    return [" ".join(text.split()) for text in found if text]


def test_a_score_on_rows_that_it_was_made_with_is_warned_of(tmp_path: Path, bundle: Bundle) -> None:
    given = manifest_of(tmp_path, {"a/1": "train", "a/2": "train", "b/1": "val", "b/2": "test"})
    model = write_run(tmp_path / "001", bundle, given)
    (said,) = heard(lambda: warn_of_leakage("runs/001", model, given, [0, 1, 2, 3]))
    assert said.startswith(
        "Leakage: runs/001 was made with 3 of the 4 rows that it is scored on (2 trained on and 1 "
        "validated on), so these metrics are too high."
    )
    (said,) = heard(lambda: warn_of_leakage("runs/001", model, given, [0]))
    assert "made with the 1 row that" in said
    assert heard(lambda: warn_of_leakage("runs/001", model, given, [3])) == []
    alone = write_run(tmp_path / "elsewhere", bundle, None)
    assert heard(lambda: warn_of_leakage("elsewhere", alone, given, [0])) == []


def test_copies_of_training_rows_are_recognised_by_their_bytes(
    tmp_path: Path, bundle: Bundle
) -> None:
    """In another folder, under another name and label, as rows of a table, and in an IDX file."""
    write_class_folder(tmp_path / "photos", 6)
    before = assign_roles(read_manifest(tmp_path / "photos"))
    model = write_run(tmp_path / "001", bundle, add_content_digests(before))
    names, roles = before.column_values("path"), before.column_values("role")
    for number, name in enumerate(names):
        copy = tmp_path / "copies" / ("even", "odd")[number % 2] / f"{number}.jpg"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "photos" / name, copy)
    save_photo(make_photo(77, "disc"), tmp_path / "copies/odd/new")
    paths = sorted(path.relative_to(tmp_path) for path in (tmp_path / "copies").rglob("*.jpg"))
    lines = [f"{path},{path.parts[1]}" for path in paths]
    (tmp_path / "copies.csv").write_text("\n".join(["path,label", *lines]))
    for data in (tmp_path / "copies", tmp_path / "copies.csv"):
        copies = read_manifest(data)
        kept = match_roles(load_training_rows(model), copies)
        assert len(copies) == len(names) + 1
        assert sorted(kept.values()) == sorted(roles)
        assert {
            copies.column_values("path")[row].rpartition("/")[2]: role for row, role in kept.items()
        } == {f"{number}.jpg": role for number, role in enumerate(roles)}
        (said,) = heard(lambda: warn_of_leakage("runs/001", model, copies, [*kept]))  # noqa: B023
        assert said.startswith(
            f"Leakage: runs/001 was made with {len(roles) - roles.count('test')}"
        )


def test_members_of_a_container_are_recognised_by_their_pixels(
    tmp_path: Path, bundle: Bundle
) -> None:
    before = assign_roles(read_manifest(write_idx_folder(tmp_path / "idx", 40, 12)))
    model = write_run(tmp_path / "001", bundle, add_content_digests(before))
    shutil.copytree(tmp_path / "idx", tmp_path / "elsewhere")
    assert len(match_roles(load_training_rows(model), read_manifest(tmp_path / "elsewhere"))) == 52


def test_weights_of_a_run_keep_the_roles_of_its_rows(
    flat_photo_folder: Path, tmp_path: Path, bundle: Bundle
) -> None:
    """Another seed would deal its training rows to the new test rows."""

    def plan(seed: int, **how: str) -> Any:
        settings = Settings({"seed": seed, "dedup": "exact"})
        given = {"model": "resnet20", "weights": "none", **how}
        return build_plan(flat_photo_folder, seed=seed, settings=settings, **given)

    first = plan(0).manifest
    write_run(tmp_path / "001", bundle, first)
    other, kept = plan(5).manifest, plan(5, weights=str(tmp_path / "001")).manifest
    assert other.column_values("role") != first.column_values("role")
    assert kept.column_values("role") == first.column_values("role")
