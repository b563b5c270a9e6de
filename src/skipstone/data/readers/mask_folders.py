"""Pictures and their masks, in two parallel folders.

data/images/1.jpg, data/masks/1.png                     split by us
data/train/images/1.jpg, data/train/masks/1.png         with val and test next to train
data/images/train/1.jpg, data/masks/train/1.png         the same, nested the other way

classes.csv next to the folders maps indices or colours to classes.
"""

from __future__ import annotations

import os
import random
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import pyarrow as pa

from skipstone.core.errors import UsageError
from skipstone.core.formatting import join_limited, natural_sorted, pluralize, quote_path
from skipstone.core.registry import INPUTS, TASKS
from skipstone.core.specs import InputSpec
from skipstone.data.class_tables import find_class_table, ignore_classes
from skipstone.data.input_files import load_conversions, make_skip_check, read_head
from skipstone.data.manifest import Manifest, build_table
from skipstone.data.mask_classes import (
    build_named_class_table,
    check_palettes,
    collect_mask_values,
    infer_class_table,
)
from skipstone.data.mask_files import IGNORE_INDEX, MaskTable, mask_input
from skipstone.data.options import ReadOptions
from skipstone.data.readers.base import MASK_FOLDER_NAMES, PICTURE_FOLDER_NAMES, SPLIT_NAMES
from skipstone.data.readers.scan import has_sources, list_subfolders, scan_files, walk_folders
from skipstone.data.readers.unsupported_layouts import find_foreign_masks, holds_masks

MASK_TARGET_TYPE = pa.struct([("mask", pa.string())])
WITHOUT_MASK = "pictures without a mask"
WITHOUT_PICTURE = "masks without a picture"
OUTSIDE_FOLDERS = "pictures outside the picture and mask folders"
#: The number of mask names that are searched for a common prefix and suffix.
_SAMPLE = 1_000
_MAX_MASKS_PER_PICTURE = 8


@dataclass(frozen=True)
class FolderPair:
    """One split's two folders, relative to the root, with "/"; split is "" without splits."""

    split: str
    images: str
    masks: str


@dataclass
class MatchedMasks:
    """Pictures and masks matched by name.

    Args:
        rows: (split, picture, mask), paths relative to the root.
        lonely, orphans: pictures without a mask, masks without a picture.
        affix: the prefix and suffix that a mask's name adds to the picture's ("", "_mask").
    """

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    unmasked_pictures: list[str] = field(default_factory=list)
    unmatched_masks: list[str] = field(default_factory=list)
    mask_affix: tuple[str, str] = ("", "")
    skipped_pictures: Counter[str] = field(default_factory=Counter)


class MaskFolderReader:
    """images/<picture> and masks/<mask of the same name>"""

    def detect_layout(self, path: Path) -> str | None:
        if not path.is_dir():
            return None
        folder_pairs = find_folder_pairs(path)
        if not folder_pairs:
            return None
        names = join_limited([f"{part.images} and {part.masks}" for part in folder_pairs], 3)
        return f"pictures with masks ({names})"

    def read_manifest(self, path: Path, options: ReadOptions) -> Manifest:
        folder_pairs = _require_folder_pairs(path, options)
        pairs, ignored = match_masks(path, folder_pairs, options.masks or "")
        if not pairs.rows:
            raise _no_match_error(path, folder_pairs[0], pairs)
        table = find_class_table(path, options)
        notes = [_reading_note(folder_pairs, pairs)]
        masks = [mask for _, _, mask in pairs.rows]
        if table is not None:
            check_palettes(path, masks, table)
        else:
            values, names = collect_mask_values(path, masks), options.class_names
            table, more = (
                build_named_class_table(values, path, names, options.ignore)
                if names
                else infer_class_table(values, path)
            )
            notes += more
        table = ignore_classes(table, options.ignore)
        if len(table.names) < 2:
            raise UsageError(
                f"{path}: the masks have {pluralize(len(table.names), 'class', 'classes')} "
                f"({join_limited(table.names) or 'none'}); segmentation needs at least two.",
                hint="The remaining pixels are a class, too: name it background.",
            )
        notes += _class_notes(table)
        notes += _skip_unpaired(pairs, ignored)
        return Manifest(
            build_table(
                {
                    "path": [picture for _, picture, _ in pairs.rows],
                    "split": [split for split, _, _ in pairs.rows],
                    "target": [{"mask": mask} for _, _, mask in pairs.rows],
                },
                MASK_TARGET_TYPE,
            ),
            root=path,
            reader="mask-folders",
            input="image",
            task=_check_task(options),
            schema={
                "classes": list(table.names),
                "colours": [list(colour) for colour in table.colours],
                "masks": table.to_json(),
            },
            notes=tuple(notes),
            skipped_counts={reason: count for reason, count in sorted(ignored.items()) if count},
            unpaired_files={
                WITHOUT_MASK: tuple(pairs.unmasked_pictures),
                WITHOUT_PICTURE: tuple(pairs.unmatched_masks),
            },
        )


def _skip_unpaired(pairs: MatchedMasks, ignored: Counter[str]) -> list[str]:
    """Count the files that have no partner in `ignored`; notes that name some of them."""
    notes = []
    for paths, reason in (
        (pairs.unmasked_pictures, WITHOUT_MASK),
        (pairs.unmatched_masks, WITHOUT_PICTURE),
    ):
        if paths:
            ignored[reason] += len(paths)
            notes.append(
                f"{pluralize(len(paths), reason.split()[0][:-1])} without a "
                f"{reason.split()[-1]} {'is' if len(paths) == 1 else 'are'} skipped "
                f"({join_limited(paths, 3)})."
            )
    return notes


def _check_task(options: ReadOptions) -> str:
    task = options.task or "segment"
    if TASKS[task].target_kind != "masks":
        fitting = [entry.name for entry in TASKS if entry.target_kind == "masks"]
        raise UsageError(
            f"the task {task!r} does not use masks.",
            hint=f"Omit --task, or: --task {' or '.join(fitting)}",
        )
    return task


def find_folder_pairs(
    root: Path, images: str | None = None, masks: str | None = None
) -> list[FolderPair]:
    """The folder pairs at `root`, one per split; empty if there are none.

    A split without a mask folder is included: its pictures then have no masks.
    """
    here = _pair_in(root, images, masks)
    if here is not None:
        return _with_inner_splits(root, here)
    pairs = {folder.name: _pair_in(folder, images, masks) for folder in _split_folders(root)}
    first_pair = next((pair for pair in pairs.values() if pair is not None), None)
    if first_pair is None:
        return []
    folder_pairs = []
    for folder, pair in pairs.items():
        names = (f"{folder}/{name}" for name in pair or first_pair)
        folder_pairs.append(FolderPair(SPLIT_NAMES[folder.casefold()], *names))
    return sorted(folder_pairs, key=lambda part: _ORDER.index(part.split))


_ORDER = ("", "train", "validation", "test")


def _has_pictures(folder: Path, *, recursive: bool = True) -> bool:
    return has_sources(folder, [INPUTS["image"]], recursive=recursive)


def _split_folders(root: Path) -> list[Path]:
    return [folder for folder in list_subfolders(root) if folder.name.casefold() in SPLIT_NAMES]


def _pair_in(
    folder: Path, images: str | None = None, masks: str | None = None
) -> tuple[str, str] | None:
    """Names of the picture folder and the mask folder in `folder`, if there is one of each."""
    names = [child.name for child in list_subfolders(folder)]
    picture_folders = [n for n in names if n.casefold() in PICTURE_FOLDER_NAMES]
    mask_folders = [n for n in names if n.casefold() in MASK_FOLDER_NAMES]
    picture_folders = [n for n in ([images] if images else picture_folders) if n != masks]
    mask_folders = [n for n in ([masks] if masks else mask_folders) if n != images]
    candidates = [name for name in picture_folders if holds_masks(folder / name)]
    picture_folders = [n for n in candidates if _has_pictures(folder / n)] or candidates
    mask_folders = [name for name in mask_folders if holds_masks(folder / name)]
    if not picture_folders or not mask_folders:
        return None
    for candidates, flag in ((picture_folders, "--images"), (mask_folders, "--masks")):
        if len(candidates) > 1:
            raise UsageError(
                f"{folder} holds more than one candidate: {join_limited(candidates)}.",
                hint=f"Choose one: {flag} {quote_path(Path(candidates[0]))}",
            )
    pictures = _find_inner_folder(folder, picture_folders[0], mask_folders[0], [INPUTS["image"]])
    return pictures, _find_inner_folder(folder, mask_folders[0], pictures, [mask_input()])


def _find_inner_folder(root: Path, folder: str, other: str, inputs: list[InputSpec]) -> str:
    """`annotations/trimaps` for `annotations`, if all files are in that one folder below it, and
    `other` has no such folder; else `folder`."""
    while not has_sources(root / folder, inputs, recursive=False):
        inside = [f.name for f in list_subfolders(root / folder) if has_sources(f, inputs)]
        if len(inside) != 1 or inside[0].casefold() in SPLIT_NAMES:
            break
        if (root / other / inside[0]).is_dir():
            break
        folder = f"{folder}/{inside[0]}"
    return folder


def _with_inner_splits(root: Path, pair: tuple[str, str]) -> list[FolderPair]:
    """One pair per split for images/train and masks/train; else a single pair."""
    images, masks = pair
    picture_splits = {
        folder.name.casefold(): folder.name for folder in _split_folders(root / images)
    }
    mask_splits = {folder.name.casefold(): folder.name for folder in _split_folders(root / masks)}
    if not picture_splits.keys() & mask_splits.keys() or _has_pictures(
        root / images, recursive=False
    ):
        return [FolderPair("", images, masks)]
    folder_pairs = [
        FolderPair(
            SPLIT_NAMES[name],
            f"{images}/{folder_name}",
            f"{masks}/{mask_splits.get(name, folder_name)}",
        )
        for name, folder_name in picture_splits.items()
    ]
    return sorted(folder_pairs, key=lambda part: _ORDER.index(part.split))


def _require_folder_pairs(root: Path, options: ReadOptions) -> list[FolderPair]:
    """The pairs with the user's folder names. UsageError if there are none, or two of one split."""
    folder, _ = _split_pattern(options.masks or "")
    images = options.images and _locate_folder(root, options.images, "--images")
    masks = folder and _locate_folder(root, folder, "--masks")
    folder_pairs = find_folder_pairs(root, images or None, masks or None)
    if not folder_pairs:
        raise _no_pair_error(root, images, masks)
    counts = Counter(part.split for part in folder_pairs)
    duplicates = [split for split, count in counts.items() if count > 1]
    if duplicates:
        raise UsageError(
            f"{root} holds two folders of the split {duplicates[0]}.",
            hint="Merge them, or move one of them out of the folder.",
        )
    return folder_pairs


def _split_pattern(masks: str) -> tuple[str, str]:
    """The folder and the pattern of `--masks gtFine/*_labelIds`; either may be empty."""
    folder, _, last = masks.rpartition("/")
    return (folder, last) if "*" in last else (masks, "")


def _locate_folder(root: Path, name: str, flag: str) -> str:
    """The user's folder as a path relative to `root`, or to its split folders.

    It may be given below `root`, as any path to it, or by its name if only one folder has it.
    """
    if not Path(name).is_absolute() and any(
        (place / name).is_dir() for place in (root, *_split_folders(root))
    ):
        return PurePosixPath(Path(name).as_posix()).as_posix()
    if Path(name).is_dir() and Path(name).resolve().is_relative_to(root.resolve()):
        return Path(name).resolve().relative_to(root.resolve()).as_posix()
    folders = [path for inside, _ in walk_folders(root, Counter()) for path in inside]
    word = name.strip("/").casefold()
    matches = [path for path in folders if f"/{path.casefold()}".endswith(f"/{word}")]
    if len(matches) == 1:
        return matches[0]
    close = matches or get_close_matches(name, folders, n=3)
    raise UsageError(
        f"{flag} {name}: {root} holds {'several such folders' if matches else 'no such folder'}.",
        hint=f"Give one of: {join_limited(map(quote_path, map(Path, close or folders)), 8)}.",
    )


def _no_pair_error(root: Path, images: str | None, masks: str | None) -> UsageError:
    """The error if no folder of pictures has a folder of masks; names the folders that there are."""
    files = scan_files(root, [mask_input()]).files
    folders = natural_sorted({str(PurePosixPath(path).parent) for path in files} - {"."})
    places = [root, *_split_folders(root)]
    for name, flag, what in ((images, "--images", "pictures"), (masks, "--masks", "masks")):
        if name and not any(holds_masks(place / name) for place in places):
            return UsageError(
                f"{flag} {name}: {root / name} holds no {what}.",
                hint=f"Folders with pictures are: {join_limited(folders, 8) or 'none'}.",
            )
    return UsageError(
        f"{root} does not hold a folder of pictures and a folder of masks.",
        hint="Their default names are images and masks; name others with --images and --masks. "
        f"Folders with pictures are: {join_limited(folders, 8) or 'none'}.",
    )


def _no_match_error(root: Path, folders: FolderPair, pairs: MatchedMasks) -> UsageError:
    """The error if no mask has the name of a picture."""
    foreign = find_foreign_masks(root / folders.masks)
    if foreign and not pairs.unmatched_masks:
        return UsageError(
            f"{root / folders.masks} holds {pluralize(len(foreign), 'file')} such as {foreign[0]}, a "
            "format of which masks are not read.",
            hint="Save the masks as PNG, one per picture, with the name of the picture.",
        )
    if pairs.skipped_pictures and not pairs.unmasked_pictures:
        (reason, count), *_ = pairs.skipped_pictures.most_common(1)
        return UsageError(
            f"{root / folders.images} holds {count:,} {reason}, and no other pictures.",
            hint=load_conversions([INPUTS["image"]]).get(reason),
        )
    inside = [f"{folders.masks}/{child.name}" for child in list_subfolders(root / folders.masks)]
    inside = [path for path in inside if has_sources(root / path, [mask_input()])]
    hint = "A mask has the name of its picture; all masks may add the same prefix or ending."
    if len(inside) > 1:
        choices = " or ".join(f"--masks {quote_path(Path(path))}" for path in inside[:4])
        hint = f"{hint} If each of these folders holds masks of all pictures, choose one: {choices}"
    else:
        hint = f"{hint} Rename them, or name other folders with --images and --masks."
    return UsageError(
        f"{root}: no picture of {folders.images} has a mask of the same name in {folders.masks} "
        f"({pluralize(len(pairs.unmasked_pictures), 'picture')} such as "
        f"{_first_or_none(pairs.unmasked_pictures)}; "
        f"{pluralize(len(pairs.unmatched_masks), 'mask')} such as "
        f"{_first_or_none(pairs.unmatched_masks)}).",
        hint=hint,
    )


def match_masks(
    root: Path, folder_pairs: list[FolderPair], mask_option: str = ""
) -> tuple[MatchedMasks, Counter[str]]:
    """Match pictures with masks by name; also returns the number of skipped files by reason.

    Args:
        mask_option: `--masks` as the user gave it, which may end in a pattern of names.
    """
    scanned = scan_files(root, [mask_input()])
    find_skip_reason = make_skip_check(INPUTS["image"])
    folder, pattern = _split_pattern(mask_option)
    pairs = MatchedMasks()
    used = 0
    for folders in folder_pairs:
        pictures = _by_stem(scanned.files, folders.images)
        for stem, path in list(pictures.items()):
            if reason := find_skip_reason(path, read_head(root / path)):
                scanned.skipped_counts[reason] += 1
                pairs.skipped_pictures[reason] += 1
                used += 1
                del pictures[stem]
        masks = _by_stem(scanned.files, folders.masks, pattern or "*")
        used += len(pictures) + len(masks)
        if not pictures.keys() & masks.keys():
            pictures = _strip_common_affix(pictures, masks)
            affix = _infer_affix(list(pictures), list(masks))
            if affix is not None:
                pairs.mask_affix = affix
                masks = {_strip_affix(stem, affix): path for stem, path in masks.items()}
            else:
                _reject_several_masks(root, list(pictures), list(masks), folder)
        for stem in natural_sorted(pictures):
            if stem in masks:
                pairs.rows.append((folders.split, pictures[stem], masks[stem]))
            else:
                pairs.unmasked_pictures.append(pictures[stem])
        pairs.unmatched_masks += [
            masks[stem] for stem in natural_sorted(masks) if stem not in pictures
        ]
    scanned.skipped_counts[OUTSIDE_FOLDERS] += len(scanned.files) - used
    return pairs, scanned.skipped_counts


def _by_stem(pictures: list[str], folder: str, pattern: str = "*") -> dict[str, str]:
    """{path below `folder` without its extension: path} of the names that match the pattern."""
    paths: dict[str, str] = {}
    for path in pictures:
        if path.startswith(folder + "/"):
            stem = os.path.splitext(path.removeprefix(folder + "/"))[0]  # noqa: PTH122 - not a Path
            names = (PurePosixPath(stem).name, PurePosixPath(path).name)
            if not any(fnmatchcase(name, pattern) for name in names):
                continue
            if stem in paths:
                raise UsageError(
                    f"{paths[stem]} and {path} differ only in their extension, so matching by name "
                    "is ambiguous.",
                    hint="Keep one of the two.",
                )
            paths[stem] = path
    return paths


def _strip_common_affix(pictures: dict[str, str], masks: dict[str, str]) -> dict[str, str]:
    """The pictures by their names without what all of them share (img_1, 1_leftImg8bit), if masks
    do not contain the whole names."""
    if _count_affixes(pictures, list(masks)) or len(pictures) < 2:
        return pictures
    names = [PurePosixPath(stem).name for stem in pictures]
    before = re.match(r"(.*[_. -])?", _common_prefix(names))
    ending = _common_prefix([name[::-1] for name in names])[::-1]
    after = re.search(r"([_. -].*)?$", ending)
    affix = (before[0] if before else "", after[0] if after else "")
    return {_strip_affix(stem, affix): path for stem, path in pictures.items()}


def _common_prefix(names: list[str]) -> str:
    first, last = min(names), max(names)
    differ = (at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(differ, len(first))]


def _count_affixes(pictures: Iterable[str], masks: list[str]) -> Counter[tuple[str, str]]:
    """How many masks add a (prefix, suffix) to a picture's name, of at most `_SAMPLE` masks.

    A random sample: one program names all masks, so nearly all share the affix or hardly any do, and
    a thousand names estimate the share to within 3 points. Taking every n-th name would fail on
    alternating names (1_left, 1_right).
    """
    picture_names = {PurePosixPath(stem).name for stem in pictures}
    lengths = sorted({len(name) for name in picture_names}, reverse=True)
    if len(masks) > _SAMPLE:
        masks = random.Random(0).sample(masks, _SAMPLE)
    counts: Counter[tuple[str, str]] = Counter()
    for stem in masks:
        name = PurePosixPath(stem).name
        picture = _longest_substring(name, picture_names, lengths)
        if picture is not None:
            before, _, after = name.partition(picture)
            counts[before, after] += 1
    return counts


def _infer_affix(pictures: list[str], masks: list[str]) -> tuple[str, str] | None:
    """The (prefix, suffix) that most masks' names add to a picture's name, or None. A mask with
    another affix stays without a picture."""
    counts = _count_affixes(pictures, masks)
    if not counts:
        return None
    (affix, count) = counts.most_common(1)[0]
    return affix if 2 * count >= min(len(masks), _SAMPLE) else None


def _reject_several_masks(root: Path, pictures: list[str], masks: list[str], folder: str) -> None:
    """UsageError if each picture has several masks, such as 1_color, 1_instances and 1_labels."""
    counts = _count_affixes(pictures, masks).most_common(_MAX_MASKS_PER_PICTURE)
    kinds = [affix for affix, count in counts if 2 * count >= counts[0][1]]
    if len(kinds) < 2 or 2 * len(masks) < 3 * len(pictures):
        return
    patterns = sorted(f"{before}*{after}" for before, after in kinds)
    flags = [f"--masks {shlex.quote(str(PurePosixPath(folder, name)))}" for name in patterns]
    raise UsageError(
        f"{root}: each picture has {len(patterns)} masks: {join_limited(patterns)}. One mask per "
        "picture is read.",
        hint=f"Choose one: {' or '.join(flags)}",
    )


def _longest_substring(name: str, candidates: Set[str], lengths: Sequence[int]) -> str | None:
    """The longest substring of `name` among `candidates`, whose `lengths` are sorted descending."""
    for length in lengths:
        for start in range(len(name) - length + 1):
            if name[start : start + length] in candidates:
                return name[start : start + length]
    return None


def _strip_affix(stem: str, affix: tuple[str, str]) -> str:
    path = PurePosixPath(stem)
    before, after = affix
    name = path.name
    if name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after):
        name = name[len(before) : len(name) - len(after)]
    return str(path.with_name(name)) if str(path.parent) != "." else name


def _reading_note(folder_pairs: list[FolderPair], pairs: MatchedMasks) -> str:
    sizes = Counter(split for split, _, _ in pairs.rows)
    paired = [part for part in folder_pairs if sizes[part.split]]
    names = "; ".join(f"{part.images} with {part.masks}" for part in paired)
    each = ", ".join(f"{sizes[part.split]:,} in {part.split}" for part in paired if part.split)
    before, after = pairs.mask_affix
    named = f"; masks are named {before}<picture>{after}" if before or after else ""
    split = f" ({each})" if each else ""
    return (
        f"Read as pictures with masks: {pluralize(len(pairs.rows), 'pair')}{split}; {names}{named}."
    )


def _class_notes(table: MaskTable) -> list[str]:
    notes = []
    if table.source:
        notes.append(
            f"{pluralize(len(table.names), 'class', 'classes')} from {table.source}: "
            f"{join_limited(table.names, 12)}."
        )
    if ignored := [
        word for word in table.ignored_values if word != str(IGNORE_INDEX) or table.source
    ]:
        notes.append(f"Pixels of {join_limited(ignored)} are ignored.")
    return notes


def _first_or_none(paths: list[str]) -> str:
    return paths[0] if paths else "none"
