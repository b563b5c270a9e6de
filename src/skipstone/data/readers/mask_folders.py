"""Pictures and their masks, in two folders side by side.

data/images/1.jpg, data/masks/1.png                     split by us
data/train/images/1.jpg, data/train/masks/1.png         with val and test beside train
data/images/train/1.jpg, data/masks/train/1.png         the same, the other way round

classes.csv beside the folders says which index or colour is which class.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pyarrow as pa

from skipstone.data.fingerprint import in_threads
from skipstone.data.manifest import Manifest, table_of
from skipstone.data.masks import IGNORE, MaskPixels, MaskTable, read_pixels
from skipstone.data.options import ReadOptions
from skipstone.data.readers.base import MASK_WORDS, PICTURE_WORDS, SPLIT_NAMES
from skipstone.data.readers.class_folders import has_pictures, subfolders
from skipstone.data.readers.mask_classes import (
    Found,
    class_table,
    harden,
    inferred_table,
    named_table,
    with_ignored,
)
from skipstone.data.readers.scan import scan
from skipstone.errors import UsageError
from skipstone.registry import TASKS
from skipstone.words import counted, listed, natural_sorted

TARGET_TYPE = pa.struct([("mask", pa.string())])
WITHOUT_MASK = "pictures without a mask"
WITHOUT_PICTURE = "masks without a picture"
ELSEWHERE = "pictures outside the picture and mask folders"
#: Masks whose names are looked into for what all of them have in common.
_SAMPLE = 1_000


@dataclass(frozen=True)
class Part:
    """One split's two folders, relative to the root, with "/"; split is "" where none is given."""

    split: str
    images: str
    masks: str


@dataclass
class Pairs:
    """Pictures and masks by what they share of their names.

    Args:
        rows: (split, picture, mask), paths relative to the root.
        lonely, orphans: pictures without a mask, masks without a picture.
        affix: what a mask's name has before and after the picture's ("", "_mask").
    """

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    lonely: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    affix: tuple[str, str] = ("", "")


class MaskFolders:
    """images/<picture> beside masks/<mask of the same name>"""

    def sniff(self, path: Path) -> str | None:
        if not path.is_dir():
            return None
        found = parts(path)
        if not found:
            return None
        names = listed([f"{part.images} and {part.masks}" for part in found], 3)
        return f"pictures with masks ({names})"

    def read(self, path: Path, options: ReadOptions) -> Manifest:
        found = _parts_as_asked(path, options)
        pairs, ignored = pair_up(path, found)
        if not pairs.rows:
            raise UsageError(
                f"{path}: no picture of {found[0].images} has a mask of the same name in "
                f"{found[0].masks} ({counted(len(pairs.lonely), 'picture')} such as "
                f"{_first(pairs.lonely)}; {counted(len(pairs.orphans), 'mask')} such as "
                f"{_first(pairs.orphans)}).",
                hint="Name the folders, if these are others: --images NAME --masks NAME",
            )
        table = class_table(path, options)
        notes = [_what_was_read(found, pairs)]
        if table is None:
            values, names = _values_in(path, pairs), options.class_names
            table, more = (
                named_table(values, path, names, options.ignore)
                if names
                else inferred_table(values, path)
            )
            notes += more
        table = with_ignored(table, options.ignore)
        if len(table.names) < 2:
            raise UsageError(
                f"{path}: the masks know {counted(len(table.names), 'class', 'classes')} "
                f"({listed(table.names) or 'none'}); telling things apart takes two.",
                hint="Pixels that show nothing else are a class, too: name them background.",
            )
        notes += _class_notes(table)
        for count, what in ((pairs.lonely, WITHOUT_MASK), (pairs.orphans, WITHOUT_PICTURE)):
            if count:
                ignored[what] += len(count)
                notes.append(
                    f"{counted(len(count), what.split()[0][:-1])} without a "
                    f"{what.split()[-1]} {'is' if len(count) == 1 else 'are'} passed over "
                    f"({listed(count, 3)})."
                )
        return Manifest(
            table_of(
                {
                    "path": [picture for _, picture, _ in pairs.rows],
                    "split": [split for split, _, _ in pairs.rows],
                    "target": [{"mask": mask} for _, _, mask in pairs.rows],
                },
                TARGET_TYPE,
            ),
            root=path,
            reader="mask-folders",
            input="image",
            task=_task(options),
            schema={
                "classes": list(table.names),
                "colours": [list(colour) for colour in table.colours],
                "masks": table.to_json(),
            },
            notes=tuple(notes),
            ignored={reason: count for reason, count in sorted(ignored.items()) if count},
            unpaired={WITHOUT_MASK: tuple(pairs.lonely), WITHOUT_PICTURE: tuple(pairs.orphans)},
        )


def _task(options: ReadOptions) -> str:
    task = options.task or "segment"
    if not TASKS[task].facts.get("places"):
        fitting = [entry.name for entry in TASKS if entry.facts.get("places")]
        raise UsageError(
            f"the task {task!r} has no use for masks: they are for tasks whose answers lie on "
            "pictures.",
            hint=f"Leave --task out, or: --task {' or '.join(fitting)}",
        )
    return task


def parts(root: Path, images: str | None = None, masks: str | None = None) -> list[Part]:
    """The pairs of folders that lie at `root`, one a split; empty where there are none.

    A split without a folder of masks belongs to them all the same: its pictures lack theirs.
    """
    here = _pair_in(root, images, masks)
    if here is not None:
        return _with_inner_splits(root, here)
    pairs = {folder.name: _pair_in(folder, images, masks) for folder in _split_folders(root)}
    usual = next((pair for pair in pairs.values() if pair is not None), None)
    if usual is None:
        return []
    found = []
    for folder, pair in pairs.items():
        names = (f"{folder}/{name}" for name in pair or usual)
        found.append(Part(SPLIT_NAMES[folder.casefold()], *names))
    return sorted(found, key=lambda part: _ORDER.index(part.split))


_ORDER = ("", "train", "validation", "test")


def _split_folders(root: Path) -> list[Path]:
    return [folder for folder in subfolders(root) if folder.name.casefold() in SPLIT_NAMES]


def _pair_in(
    folder: Path, images: str | None = None, masks: str | None = None
) -> tuple[str, str] | None:
    """Names of the picture and the mask folder in `folder`, where there is one of each."""
    names = [child.name for child in subfolders(folder)]
    pictures = [n for n in names if (n == images if images else n.casefold() in PICTURE_WORDS)]
    targets = [n for n in names if (n == masks if masks else n.casefold() in MASK_WORDS)]
    targets = [name for name in targets if has_pictures(folder / name)]
    pictures = [name for name in pictures if has_pictures(folder / name)]
    if not pictures or not targets:
        return None
    for found, flag in ((pictures, "--images"), (targets, "--masks")):
        if len(found) > 1:
            raise UsageError(
                f"{folder} holds {listed(found)}, and only one of them can be meant.",
                hint=f"Say which: {flag} {found[0]}",
            )
    return pictures[0], targets[0]


def _with_inner_splits(root: Path, pair: tuple[str, str]) -> list[Part]:
    """images/train beside masks/train: a part a split; else the one part."""
    images, masks = pair
    inner = {folder.name.casefold(): folder.name for folder in _split_folders(root / images)}
    other = {folder.name.casefold(): folder.name for folder in _split_folders(root / masks)}
    if not inner.keys() & other.keys() or has_pictures(root / images, below=False):
        return [Part("", images, masks)]
    found = [
        Part(SPLIT_NAMES[name], f"{images}/{own}", f"{masks}/{other.get(name, own)}")
        for name, own in inner.items()
    ]
    return sorted(found, key=lambda part: _ORDER.index(part.split))


def _parts_as_asked(root: Path, options: ReadOptions) -> list[Part]:
    """`parts`, with the folders that the user names."""
    found = parts(root, options.images, options.masks)
    if not found:
        raise UsageError(
            f"{root} holds no folder of pictures beside a folder of masks.",
            hint="They are called images and masks, or say so: --images NAME --masks NAME",
        )
    twice = [split for split, count in Counter(part.split for part in found).items() if count > 1]
    if twice:
        raise UsageError(
            f"{root} holds two folders that mean the split {twice[0]}.",
            hint="Merge them, or move one of the two out of the folder.",
        )
    return found


def pair_up(root: Path, found: list[Part]) -> tuple[Pairs, Counter[str]]:
    """Match pictures with masks by name; and what was passed over, by reason."""
    scanned = scan(root)
    pairs = Pairs()
    taken = 0
    for part in found:
        pictures = _by_stem(scanned.pictures, part.images)
        masks = _by_stem(scanned.pictures, part.masks)
        taken += len(pictures) + len(masks)
        if not pictures.keys() & masks.keys():
            affix = _affix(list(pictures), list(masks))
            if affix is not None:
                pairs.affix = affix
                masks = {_without(stem, affix): path for stem, path in masks.items()}
        for stem in natural_sorted(pictures):
            if stem in masks:
                pairs.rows.append((part.split, pictures[stem], masks[stem]))
            else:
                pairs.lonely.append(pictures[stem])
        pairs.orphans += [masks[stem] for stem in natural_sorted(masks) if stem not in pictures]
    scanned.ignored[ELSEWHERE] += len(scanned.pictures) - taken
    return pairs, scanned.ignored


def _by_stem(pictures: list[str], folder: str) -> dict[str, str]:
    """{path below `folder` without its extension: path}."""
    found: dict[str, str] = {}
    for path in pictures:
        if path.startswith(folder + "/"):
            stem = os.path.splitext(path.removeprefix(folder + "/"))[0]  # noqa: PTH122 - not a Path
            if stem in found:
                raise UsageError(
                    f"{found[stem]} and {path} differ by their extension alone, so it cannot be "
                    "told which of them a mask or a picture belongs to.",
                    hint="Keep one of the two.",
                )
            found[stem] = path
    return found


def _affix(pictures: list[str], masks: list[str]) -> tuple[str, str] | None:
    """What each mask's name has around a picture's, where it is the same for most of them.

    "Most" is asked of a sample: one program wrote the masks, so nearly all share it or hardly any
    do, and a thousand drawn at random tell a share to 3 points. Every `n`-th one would not do where
    names take turns (1_left, 1_right). A mask that is named otherwise is left without a picture, in
    the sample or not.
    """
    known = {PurePosixPath(stem).name for stem in pictures}
    lengths = sorted({len(name) for name in known}, reverse=True)
    if len(masks) > _SAMPLE:
        masks = random.Random(0).sample(masks, _SAMPLE)
    counts: Counter[tuple[str, str]] = Counter()
    for stem in masks:
        name = PurePosixPath(stem).name
        picture = _longest_inside(name, known, lengths)
        if picture is not None:
            before, _, after = name.partition(picture)
            counts[before, after] += 1
    if not counts:
        return None
    (affix, count) = counts.most_common(1)[0]
    return affix if 2 * count >= len(masks) else None


def _longest_inside(name: str, known: Set[str], lengths: Sequence[int]) -> str | None:
    """The longest part of `name` that is known; of `lengths`, from long to short."""
    for length in lengths:
        for start in range(len(name) - length + 1):
            if name[start : start + length] in known:
                return name[start : start + length]
    return None


def _without(stem: str, affix: tuple[str, str]) -> str:
    path = PurePosixPath(stem)
    before, after = affix
    name = path.name
    if name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after):
        name = name[len(before) : len(name) - len(after)]
    return str(path.with_name(name)) if str(path.parent) != "." else name


def _values_in(root: Path, pairs: Pairs) -> Found:
    """Look into every mask; one that cannot be read is left to the audit and the loader."""

    def look(path: str) -> MaskPixels | str:
        try:
            mask = read_pixels((root / path).read_bytes())
        except (OSError, ValueError) as error:
            return f"{path}: {error}"
        return MaskPixels(mask.kind, mask.values())

    masks = [mask for _, _, mask in pairs.rows]
    folder = (root / masks[0]).parent
    looked = list(in_threads(look, masks, "looking into every mask", unit="masks", threads=4))
    seen = [found for found in looked if isinstance(found, MaskPixels)]
    if not seen:
        raise UsageError(
            f"{root}: none of {counted(len(masks), 'mask')} can be read as a mask; the first: "
            f"{looked[0]}.",
            hint=f"If they show two classes, {harden(folder)}.",
        )
    colours = [mask for mask in seen if mask.kind == "colour"]
    grey = [mask.as_index() for mask in colours]
    if colours and all(mask is not None for mask in grey):  # indices stored in three channels
        seen = [mask for mask in (*seen, *grey) if mask is not None and mask.kind != "colour"]
    values = {int(v) for mask in seen if mask.kind != "colour" for v in mask.pixels}
    hues = {int(v) for mask in seen if mask.kind == "colour" for v in mask.pixels}
    kinds = tuple(sorted({mask.kind for mask in seen}))
    return Found(kinds, tuple(sorted(values)), tuple(sorted(hues)), folder)


def _what_was_read(found: list[Part], pairs: Pairs) -> str:
    sizes = Counter(split for split, _, _ in pairs.rows)
    paired = [part for part in found if sizes[part.split]]
    names = "; ".join(f"{part.images} with {part.masks}" for part in paired)
    each = ", ".join(f"{sizes[part.split]:,} in {part.split}" for part in paired if part.split)
    before, after = pairs.affix
    named = f"; masks are named {before}<picture>{after}" if before or after else ""
    split = f" ({each})" if each else ""
    return (
        f"Read as pictures with masks: {counted(len(pairs.rows), 'pair')}{split}; {names}{named}."
    )


def _class_notes(table: MaskTable) -> list[str]:
    notes = []
    if table.source:
        notes.append(
            f"{counted(len(table.names), 'class', 'classes')} from {table.source}: "
            f"{listed(table.names, 12)}."
        )
    if ignored := [word for word in table.ignored if word != str(IGNORE) or table.source]:
        notes.append(f"Pixels of {listed(ignored)} count for nothing.")
    return notes


def _first(paths: list[str]) -> str:
    return paths[0] if paths else "none"
