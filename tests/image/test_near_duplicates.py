"""Near duplicates: found through what people do to copies, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from skipstone.data.read import read_manifest
from skipstone.datasets.grouping import Link, group_links
from skipstone.datasets.options import SplitOptions
from skipstone.datasets.splitting import assign_roles
from skipstone.image import candidate_search as finding
from skipstone.image.candidate_search import compute_descriptors, find_candidates
from skipstone.image.inspect_file import inspect_image
from skipstone.image.near_duplicates import find_near_duplicate_images
from skipstone.image.registration import align_pairs
from tests.image.scenes import as_jpeg, copies, scene, thumbnail_of


def _pairs(links: list[Link]) -> set[tuple[int, int]]:
    return {(link.first, link.second) for link in links}


def test_copies_are_found_and_strangers_are_not() -> None:
    thumbs, expected = [], set()
    for seed in range(8):
        picture = scene(seed)
        first = len(thumbs)
        thumbs.append(thumbnail_of(as_jpeg(picture)))
        for number, data in enumerate(copies(picture).values(), 1):
            thumbs.append(thumbnail_of(data))
            expected.add((first, first + number))
    links = find_near_duplicate_images(thumbs)
    found = _pairs(links)
    assert len(expected & found) >= 0.97 * len(expected)
    assert all(a // 8 == b // 8 for a, b in found)
    mirrored = {(link.first, link.second): link.mirrored for link in links}
    assert all(mirrored[0, n] == (n in (6, 7)) for n in range(1, 8) if (0, n) in mirrored)


def test_registration_finds_the_crop_that_was_made() -> None:
    picture = scene(5)
    width, height = picture.size
    box = (0.02 * width, 0.04 * height, 0.97 * width, 0.99 * height)
    whole = thumbnail_of(as_jpeg(picture)).grey
    part = thumbnail_of(as_jpeg(picture.crop(tuple(map(round, box))))).grey  # type: ignore[arg-type]
    found = align_pairs(whole[None], part[None], np.array([[1, 0, 1, 0]]))
    left, top, right, bottom = (round(edge) for edge in box)
    # A position u of the whole (0..1) is (u - low) / (high - low) of the part.
    for place, low, high in ((0, left / width, right / width), (2, top / height, bottom / height)):
        scale = 1 / (high - low)
        assert found.warp[0, place] == pytest.approx(scale, abs=0.004)
        assert found.warp[0, place + 1] == pytest.approx(scale * (1 - 2 * low) - 1, abs=0.006)
    assert found.detail[0] > 0.95
    assert found.mismatch[0] < 0.01
    assert 0.88 < found.overlap[0] < 0.93


def test_mirroring_changes_signs_of_a_description() -> None:
    thumbs = np.stack([thumbnail_of(as_jpeg(scene(seed))).grey for seed in range(3)])
    whole = (0.0, 1.0, 0.0, 1.0)
    signs = finding.MIRROR_SIGNS
    np.testing.assert_allclose(
        compute_descriptors(thumbs[:, :, ::-1], whole),
        compute_descriptors(thumbs, whole) * signs,
        atol=1e-5,
    )


def test_cells_find_what_comparing_all_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    small = []
    for seed in range(150):
        picture = scene(seed, (60, 60))
        for data in (as_jpeg(picture), as_jpeg(picture.crop((2, 1, 59, 58)))):
            small.append(thumbnail_of(data).grey.reshape(32, 3, 32, 3).mean((1, 3)))
    thumbs = np.stack(small)
    pairs = {pair[:2] for pair in find_candidates(thumbs)}
    truth = {(2 * n, 2 * n + 1) for n in range(150)}
    assert truth <= pairs
    monkeypatch.setattr(finding, "_CELLS_FROM", 100)
    assert len(finding._Cells(compute_descriptors(thumbs, finding.WINDOWS[0])).members) == 17
    assert len(truth & {pair[:2] for pair in find_candidates(thumbs)}) >= 147


def _noisy(base: np.ndarray, random: np.random.Generator) -> Image.Image:
    pixels = base + random.normal(0, 3, base.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def test_plain_and_tiny_pictures_are_not_judged() -> None:
    random = np.random.default_rng(0)
    blanks = [_noisy(np.full((200, 150, 3), level), random) for level in range(5, 255, 10)]
    ramp = np.broadcast_to(np.linspace(60, 200, 150)[None, :, None], (200, 150, 3))
    blanks += [_noisy(ramp, random) for _ in range(25)]
    assert find_near_duplicate_images([thumbnail_of(as_jpeg(blank)) for blank in blanks]) == []
    digits = load_digits().images[:120]
    seen = [inspect_image((image * 15.9).astype(np.uint8)[..., None]).content for image in digits]
    assert find_near_duplicate_images(seen) == []
    large = [Image.fromarray((image * 15.9).astype(np.uint8)).resize((64, 64)) for image in digits]
    assert find_near_duplicate_images([thumbnail_of(as_jpeg(picture)) for picture in large]) == []


def test_a_moved_part_makes_another_picture() -> None:
    """A burst: all of it stays where it was, but for one thing."""
    thumbs = []
    for seed in range(8):
        picture, thing = scene(seed), scene(seed + 100, (70, 60))
        for place in ((60, 60), (90, 75)):
            shot = picture.copy()
            shot.paste(thing, place)
            thumbs.append(thumbnail_of(as_jpeg(shot)))
    assert find_near_duplicate_images(thumbs) == []


def test_another_colour_is_another_picture() -> None:
    picture = scene(3)
    red = Image.merge("RGB", (picture.getchannel("R"), *2 * (Image.new("L", picture.size, 60),)))
    blue = Image.merge("RGB", (*2 * (Image.new("L", picture.size, 60),), picture.getchannel("R")))
    assert (
        find_near_duplicate_images([thumbnail_of(as_jpeg(red)), thumbnail_of(as_jpeg(blue))]) == []
    )


def test_rows_without_a_thumbnail_are_passed_over() -> None:
    picture = scene(1)
    one, two = thumbnail_of(as_jpeg(picture)), thumbnail_of(as_jpeg(picture, 50))
    assert _pairs(find_near_duplicate_images([None, one, None, two])) == {(1, 3)}
    assert (
        find_near_duplicate_images([])
        == find_near_duplicate_images([one])
        == find_near_duplicate_images([None, None])
        == []
    )


def _link(first: int, second: int, score: float = 0.99) -> Link:
    return Link(first, second, score, False)


def test_groups_hold_copies_and_links() -> None:
    groups = group_links([_link(0, 3), _link(3, 5)], [[5, 9], [7, 8]], 1000)
    assert groups.groups == ((0, 3, 5, 9), (7, 8))
    assert groups.removed_links == 0


def test_chains_are_tightened_and_true_groups_stay() -> None:
    chain = [_link(n, n + 1, 0.88 if n % 3 == 0 else 0.93) for n in range(60)]
    groups = group_links(chain, [], 1000)
    assert groups.removed_links == 20
    assert max(map(len, groups.groups)) == 3
    # Somewhere else a weak link stays: it chains nothing.
    groups = group_links([*chain, _link(200, 201, 0.88)], [], 1000)
    assert (200, 201) in groups.groups
    # One picture fifty times over is no chain.
    same = [_link(0, n, 0.99) for n in range(1, 50)]
    assert group_links(same, [], 1000).groups == (tuple(range(50)),)
    assert group_links([], [list(range(50))], 1000).groups == (tuple(range(50)),)


def _folder_of_pairs(root: Path) -> None:
    """Two classes of twelve pictures, and of each a copy at quality 40."""
    for seed in range(24):
        folder = root / ("even" if seed % 2 == 0 else "odd")
        folder.mkdir(parents=True, exist_ok=True)
        picture = scene(seed)
        (folder / f"{seed:02d}.jpg").write_bytes(as_jpeg(picture))
        (folder / f"{seed * 7 % 24:02d}-again.jpg").write_bytes(as_jpeg(picture, 40))


def test_near_duplicates_never_straddle_a_split_that_is_made(tmp_path: Path) -> None:
    _folder_of_pairs(tmp_path)
    manifest = read_manifest(tmp_path)
    again = {f"{seed * 7 % 24:02d}-again.jpg": f"{seed:02d}.jpg" for seed in range(24)}
    straddled = {"near": 0, "exact": 0}
    for together in straddled:
        for seed in range(3):
            assigned = assign_roles(manifest, SplitOptions(dedup=together, seed=seed))  # type: ignore[arg-type]
            names = [Path(path).name for path in assigned.column_values("path")]
            role = dict(zip(names, assigned.column_values("role"), strict=True))
            assert {"train", "val", "test"} == set(role.values())
            straddled[together] += sum(role[one] != role[two] for one, two in again.items())
            said = any("48 training rows show the same picture" in note for note in assigned.notes)
            assert said == (together == "near")
    assert straddled["near"] == 0
    assert straddled["exact"] > 10
