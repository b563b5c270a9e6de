"""A bundle comes back as it was, or says which file is not what was written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from skipstone.bundle import files
from skipstone.bundle.files import add_files, read_bundle_json, read_file
from skipstone.bundle.format import Bundle
from skipstone.core import disk
from skipstone.core.errors import DamagedError, UsageError
from skipstone.core.registry import BACKBONES
from skipstone.core.specs import BackboneSpec
from tests.small_bundles import replace_file, reseal, small_bundle


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle().save(tmp_path_factory.mktemp("saved") / "bundle")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "bundle"))


def test_a_bundle_comes_back_as_it_was(saved: Path) -> None:
    made, read = small_bundle(), Bundle.load(saved)
    assert read.arch == made.arch
    for name in ("input", "task", "post", "lineage", "metrics"):
        assert getattr(read, name) == json.loads(json.dumps(getattr(made, name)))
    assert made.tensors
    assert read.tensors.keys() == made.tensors.keys()
    for name, tensor in made.tensors.items():
        np.testing.assert_array_equal(read.tensors[name], tensor)
        assert read.tensors[name].dtype == tensor.dtype


def test_arrays_of_an_input_are_stored_too(tmp_path: Path) -> None:
    bundle = small_bundle()
    bundle.input_arrays = {"vocabulary": np.arange(7)}
    read = Bundle.load(bundle.save(tmp_path / "bundle"))
    np.testing.assert_array_equal(read.input_arrays["vocabulary"], np.arange(7))


def test_the_same_bundle_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    again = small_bundle().save(tmp_path / "again")
    for name in ("bundle.json", "weights.safetensors"):
        assert (again / name).read_bytes() == (saved / name).read_bytes()


@pytest.mark.parametrize("name", ["bundle.json", "weights.safetensors"])
@pytest.mark.parametrize("place", [0.0, 0.001, 0.3, 0.5, 0.999])
def test_one_flipped_bit_is_found_and_named(folder: Path, name: str, place: float) -> None:
    path = folder / name
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 4
    path.write_bytes(data)
    with pytest.raises(DamagedError, match=name):
        Bundle.load(folder)


@pytest.mark.parametrize("name", ["bundle.json", "weights.safetensors"])
@pytest.mark.parametrize("kept", [0, 8, 1000])
def test_a_cut_file_is_found_and_named(folder: Path, name: str, kept: int) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DamagedError, match=name):
        Bundle.load(folder)


@pytest.mark.parametrize("name", ["bundle.json", "weights.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(DamagedError, match=name):
        Bundle.load(folder)


def test_a_damaged_block_is_named_by_its_place(folder: Path) -> None:
    data = np.random.default_rng(0).bytes(3 * files.CRC_BLOCK_BYTES - 5)
    add_files(folder, {"exports/big.bin": data})
    assert read_file(folder, "exports/big.bin") == data
    changed = bytearray(data)
    changed[files.CRC_BLOCK_BYTES + 17] ^= 1
    (folder / "exports/big.bin").write_bytes(changed)
    with pytest.raises(DamagedError, match=r"block 2 of 3 \(bytes 1,048,576 to 2,097,151\)"):
        read_file(folder, "exports/big.bin")


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/passwd", "a/../../b", "a//b", "C:\\x", "./a", ""]
)
def test_names_outside_the_folder_are_refused(folder: Path, name: str) -> None:
    reseal(folder, lambda record: record["files"].update({name: {"bytes": 1, "sha256": "0"}}))
    with pytest.raises(DamagedError, match="not inside the bundle"):
        Bundle.load(folder)


def test_links_are_refused(folder: Path, tmp_path: Path) -> None:
    weights = folder / "weights.safetensors"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedError, match="symbolic link"):
        Bundle.load(folder)


def test_a_linked_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    add_files(folder, {"exports/a.bin": b"abc"})
    (folder / "exports").rename(tmp_path / "exports")
    (folder / "exports").symlink_to(tmp_path / "exports")
    with pytest.raises(DamagedError, match="symbolic link"):
        read_file(folder, "exports/a.bin")


def test_a_file_that_is_not_listed_is_not_opened(folder: Path) -> None:
    (folder / "extra.bin").write_bytes(b"abc")
    with pytest.raises(DamagedError, match="not among the files"):
        read_file(folder, "extra.bin")


def test_a_newer_format_asks_for_an_upgrade(folder: Path) -> None:
    reseal(folder, lambda record: record.update(format=files.BUNDLE_FORMAT + 1))
    with pytest.raises(UsageError, match="Upgrade"):
        Bundle.load(folder)


def test_an_older_format_is_refused(folder: Path) -> None:
    reseal(folder, lambda record: record.update(format=1))
    with pytest.raises(UsageError, match="bundle format 1; this skipstone reads only 3") as caught:
        Bundle.load(folder)
    assert "Train the model again" in str(caught.value.hint)


def test_weights_that_are_no_safetensors_file_are_refused(folder: Path) -> None:
    replace_file(folder, "weights.safetensors", b"\x80\x04pickle" * 100)
    with pytest.raises(DamagedError, match=r"weights\.safetensors is not a valid safetensors"):
        Bundle.load(folder)


def test_a_missing_part_is_damage(folder: Path) -> None:
    reseal(folder, lambda record: record.pop("task"))
    with pytest.raises(DamagedError, match="task"):
        Bundle.load(folder)


def test_a_missing_plugin_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    BACKBONES.register(BackboneSpec("mynet", "m:build", distribution="my-nets", accepts=("image",)))
    try:
        bundle = small_bundle()
        arch = bundle.arch
        bundle.arch = type(arch)(type(arch.backbone)("mynet", {}), arch.head)
        bundle.save(tmp_path / "bundle")
        assert read_bundle_json(tmp_path / "bundle")["plugins"] == {"mynet": "my-nets"}
        Bundle.load(tmp_path / "bundle")
    finally:
        BACKBONES.unregister("mynet")
    with pytest.raises(UsageError, match="pip install my-nets"):
        Bundle.load(tmp_path / "bundle")


def test_adding_files_survives_every_failing_operation(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails, the bundle is whole: with the old file, without it, or with the new one."""
    old, new = b"old", b"new"
    add_files(folder, {"exports/p.bin": old})
    outcomes = set()
    for allowed in range(100):
        count = 0

        def fault(operation: str, path: Path, allowed: int = allowed) -> None:
            nonlocal count
            count += operation != "read"
            if operation != "read" and count > allowed:
                raise OSError(5, "Input/output error")

        monkeypatch.setattr(disk, "fault", fault)
        try:
            add_files(folder, {"exports/p.bin": new})
            done = True
        except OSError:
            done = False
        monkeypatch.setattr(disk, "fault", None)
        record = read_bundle_json(folder)
        Bundle.load(folder)
        listed = "exports/p.bin" in record["files"]
        outcomes.add(read_file(folder, "exports/p.bin") if listed else None)
        if done:
            break
        add_files(folder, {"exports/p.bin": old})
    assert done
    assert outcomes == {old, None, new}
