"""Why a path is no data set, in one sentence with the next thing to type."""

from __future__ import annotations

import dataclasses
import difflib
import glob
import re
import shlex
from collections import Counter
from pathlib import Path

from skipstone.data.file_types import AVIF, GIF, RAW, SIDECAR, VIDEO, ignored_reason, picture_format
from skipstone.data.options import ReadOptions
from skipstone.data.readers.annotations import boxes_and_outlines
from skipstone.data.readers.base import SPLIT_NAMES
from skipstone.data.readers.class_folders import has_pictures, subfolders
from skipstone.data.readers.columns import TABLE_SUFFIXES
from skipstone.data.readers.scan import first_bytes, scan
from skipstone.data.readers.stray_masks import masks_among
from skipstone.errors import UsageError
from skipstone.registry import READERS, Entry
from skipstone.words import counted, flag, listed, quoted

_MODEL_SUFFIXES = frozenset({".onnx", ".safetensors", ".pt", ".pth", ".bin"})
_TAR = "mkdir {folder} && tar xf {archive} -C {folder}"
_ARCHIVES = {
    ".zip": "unzip {archive} -d {folder}",
    ".7z": "7z x {archive} -o{folder}",
    ".rar": "unrar x {archive} {folder}/",
    **dict.fromkeys((".tar", ".tgz", ".gz", ".xz", ".bz2"), _TAR),
}
_UNPACKERS = {".gz": "gunzip", ".xz": "unxz", ".bz2": "bunzip2"}  # of one file
#: What hands out columns in a form of its own, and how it is asked for a table.
_SHEETS = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), "a workbook"),
    **dict.fromkeys((".pkl", ".pickle"), "a pickle, which is never opened"),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3", ".mdb", ".accdb"), "a database"),
    **dict.fromkeys((".sav", ".dta", ".rds", ".feather"), "a table that is not read"),
}
#: `https://` after `Path` has made one slash of two. One letter alone is a drive of Windows.
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(?=[^/])", re.IGNORECASE)
#: A file whose name is a label and a number; also for sed.
_LABEL_IN_NAME = re.compile(r"([A-Za-z][A-Za-z_ -]*[A-Za-z])[_ (-]*[0-9]+\)?\.[A-Za-z]+")
#: What to do with files that are not read, by why they are passed over.
_INSTEAD = {
    AVIF: "Save them as JPEG first (with ImageMagick: magick mogrify -format jpg *.avif).",
    GIF: "Save them as PNG first (with ImageMagick: magick mogrify -format png *.gif).",
    RAW: "Export them as JPEG, or as TIFF of 16 bits, from the program that shows them.",
    VIDEO: "Take pictures from them first, one a second: ffmpeg -i VIDEO -vf fps=1 %05d.jpg",
}


def check_path(path: str | Path) -> Path:
    """`path`, existing and not a model. UsageError otherwise."""
    root = Path(path).expanduser()
    if (address := as_address(root)) is not None:
        fetch = f"curl -LO {shlex.quote(address)}" if address.startswith("http") else "copy it here"
        name = shlex.quote(address.rstrip("/").rpartition("/")[2])
        raise UsageError(
            f"{address} is an address. Data is read where it lies on this machine; nothing is "
            "fetched.",
            hint=f"Get it first ({fetch}), then: skipstone train {name}",
        )
    if not root.exists():
        raise _missing(root)
    if root.is_dir():
        _refuse_model(root)
    return root


def as_address(path: str | Path) -> str | None:
    """`https://host/file` of a path that is no file but an address; None of others."""
    found = _ADDRESS.match(str(path))
    if found is None or Path(path).exists():
        return None
    return f"{found[1]}://{str(path)[found.end() :]}"


def _missing(root: Path) -> UsageError:
    if glob.has_magic(str(root)):
        return UsageError(
            f"{root} is a pattern that matched nothing here.",
            hint=f"Give the folder that holds the class folders: {before_pattern(root)}",
        )
    parent = root.parent
    while not parent.exists():
        root, parent = parent, parent.parent
    names = {child.name.casefold(): child.name for child in parent.iterdir()}
    near = difflib.get_close_matches(root.name.casefold(), names, n=3, cutoff=0.6)
    if near:
        places = " or ".join(str(parent / names[name]) for name in near)
        hint: str | None = f"Did you mean {places}?"
    else:
        inside = sorted(child.name for child in parent.iterdir() if child.is_dir())
        hint = f"{parent.resolve()} holds: {listed(inside, 8)}." if inside else None
    return UsageError(f"{root} does not exist.", hint=hint)


def before_pattern(root: Path) -> Path:
    """The folder that a pattern begins in."""
    while glob.has_magic(str(root)):
        root = root.parent
    return root


def _refuse_model(root: Path) -> None:
    if (root / "run.json").is_file():
        kind = "a run of skipstone"
    elif (root / "bundle.json").is_file():
        kind = "a model of skipstone"
    elif any((child / "run.json").is_file() for child in subfolders(root)):
        kind = "a folder of runs of skipstone"
    else:
        return
    raise UsageError(
        f"{root} is {kind}, not data.",
        hint="Where a command takes both, the model comes first: skipstone evaluate MODEL DATA.",
    )


def refuse_other_layouts(root: Path, reader: str, options: ReadOptions) -> None:
    """Refuse what the user says of a layout (the fact `takes`) where `reader` reads another one: to
    go on without it would be another data set than they think, such as one without its groups."""
    taken = READERS[reader].facts.get("takes", ())
    flags: list[str] = []
    owners: list[Entry] = []
    for field in dataclasses.fields(options):
        if field.name in taken or getattr(options, field.name) == field.default:
            continue
        if found := [entry for entry in READERS if field.name in entry.facts.get("takes", ())]:
            flags.append(flag(field.name))
            owners += [entry for entry in found if entry not in owners]
    if flags:
        names = [entry.name for entry in owners]
        about = " or ".join(f"{entry.name} ({entry.summary})" for entry in owners)
        raise UsageError(
            f"{' and '.join(flags)} {'is' if len(flags) == 1 else 'are'} about data in the layout "
            f"{' or '.join(names)}; {root} is read as {reader}.",
            hint=f"Leave out what is about another layout, or give {about}. Where this is one that "
            f"was not recognised: --reader {names[0]}",
        )


def only_folder(root: Path) -> Path | None:
    """The one folder in `root` that there is, or that holds pictures; None where there are more,
    or `root` holds pictures or tables of its own."""
    if not root.is_dir() or has_pictures(root, below=False) or _tables(root):
        return None
    folders = subfolders(root)
    inside = [folder for folder in folders if has_pictures(folder)] or folders
    return inside[0] if len(inside) == 1 else None


def folder_of_table(root: Path) -> bool:
    """Whether `root` holds a table, which then is what to give."""
    return root.is_dir() and len(_tables(root)) == 1


def _tables(root: Path) -> list[Path]:
    return [child for child in sorted(root.iterdir()) if child.suffix.lower() in TABLE_SUFFIXES]


def nothing_read(root: Path) -> UsageError:
    """The error for a path that no reader recognised."""
    if refused := boxes_and_outlines(root):
        return refused
    if root.is_file():
        return _no_data_file(root)
    inside = [folder for folder in subfolders(root) if has_pictures(folder)]
    if pairs := masks_among(scan(root).pictures):
        mask, picture = pairs[0]
        return UsageError(
            f"{root} holds pictures beside their masks, such as {picture} beside {mask}, and no "
            "labels.",
            hint="Put the masks in a folder of their own: images/1.jpg, masks/1.png; then: "
            f"skipstone train {quoted(root)}",
        )
    tables = _tables(root)
    if tables and (inside or has_pictures(root, below=False)):
        names = listed(table.name for table in tables)
        return UsageError(
            f"{root} holds pictures without class folders, and {names} beside them.",
            hint=f"If a table has the labels, give it: skipstone train {quoted(tables[0])}",
        )
    splits = [folder for folder in inside if folder.name.casefold() in SPLIT_NAMES]
    if inside and len(splits) == len(inside):
        if tables := [table for folder in inside for table in _tables(folder)]:
            return UsageError(
                f"{root}: pictures without class folders lie beside {listed(map(str, tables))}.",
                hint="If a table has the labels, give it (one table for all parts may say in a "
                f"column which is which): skipstone train {quoted(tables[0])}",
            )
        return UsageError(
            f"{root}: {listed(folder.name for folder in inside)} "
            f"{'holds' if len(inside) == 1 else 'hold'} pictures without class folders, so there "
            "are no labels.",
            hint=_how_to_label(inside[0], root),
        )
    if len(inside) == 1:
        other = quoted(root / f"not-{inside[0].name}")
        return UsageError(
            f"{root} holds one class only ({inside[0].name}); telling things apart takes two.",
            hint=f"Put pictures of something else beside it, in {other}, then: "
            f"skipstone train {quoted(root)}",
        )
    if has_pictures(root, below=False):
        return UsageError(
            f"{root} holds pictures but no class folders, so there are no labels.",
            hint=f"{_names_that_label(root) or _how_to_label(root, root)}. A trained model names "
            f"them without: skipstone predict MODEL {quoted(root)}",
        )
    return _no_pictures(root)


def _names_that_label(root: Path) -> str:
    """What makes a table of names that begin with a label, as cat_1.jpg; "" where they do not."""
    names = [name for name in scan(root).pictures if "/" not in name]
    found = [label[1] for name in names if (label := _LABEL_IN_NAME.fullmatch(name))]
    held = Counter(found).values()
    if len(held) < 2 or min(held) < 2 or len(found) < len(names):
        return ""
    table = quoted(root.with_name(f"{root.resolve().name}.csv"))
    return (
        f"Where names begin with the label, as {names[0]}, make a table of them: (echo path,label; "
        f"ls {quoted(root)} | sed -nE 's/^{_LABEL_IN_NAME.pattern}$/&,\\1/p') > {table}; then: "
        f"skipstone train {table} --path-folder {quoted(root)}"
    )


def _how_to_label(folder: Path, root: Path) -> str:
    return (
        f"Sort them into folders by class, such as {quoted(folder / 'cat')} and "
        f"{quoted(folder / 'dog')}, or list them in a table (CSV) with the columns path and label; "
        f"then: skipstone train {quoted(root)}"
    )


def _no_data_file(path: Path) -> UsageError:
    suffix = path.suffix.lower()
    reason = ignored_reason(path.name, first_bytes(path))
    if reason is not None and reason in _INSTEAD:
        return UsageError(
            f"{path}: {reason.partition(' (')[0]} are not read.", hint=_INSTEAD[reason]
        )
    if picture_format(first_bytes(path)) is not None:
        return UsageError(
            f"{path} is one picture, not a data set.",
            hint=f"For an answer on it: skipstone predict MODEL {quoted(path)}",
        )
    if suffix in _MODEL_SUFFIXES:
        return UsageError(f"{path} is a model's file, not data.", hint="Give the folder of photos.")
    packed = path.with_suffix("")
    if suffix in _UNPACKERS and packed.suffix.lower() in TABLE_SUFFIXES:
        return UsageError(
            f"{path} is a packed table; tables are read unpacked.",
            hint=f"Unpack it: {_UNPACKERS[suffix]} -k {quoted(path)}, then: "
            f"skipstone train {quoted(packed)}",
        )
    if "-ubyte" in path.name:
        return UsageError(
            f"{path} is one file of an IDX data set, which is a folder of them.",
            hint=f"Give that: skipstone train {quoted(path.parent)}",
        )
    if suffix in _ARCHIVES:
        folder = quoted(path.with_name(path.name.removesuffix(".tar.gz").removesuffix(path.suffix)))
        unpack = _ARCHIVES[suffix].format(archive=quoted(path), folder=folder)
        return UsageError(
            f"{path} is an archive; data is read where it lies, unpacked.",
            hint=f"Unpack it: {unpack}, then: skipstone train {folder}",
        )
    if suffix in _SHEETS:
        table = quoted(path.with_suffix(".csv"))
        return UsageError(
            f"{path} is {_SHEETS[suffix]}; tables are CSV, TSV, JSON Lines or Parquet.",
            hint=f"Save its rows as 'CSV UTF-8', then: skipstone train {table}",
        )
    if suffix == ".json":
        lines = quoted(path.with_suffix(".jsonl"))
        return UsageError(
            f"{path} is one JSON text; a table is JSON Lines, one object a line.",
            hint=f"If it is a list of objects: jq -c '.[]' {quoted(path)} > {lines}, then: "
            f"skipstone train {lines}",
        )
    return UsageError(
        f"{path} is no data set.",
        hint="Give a folder with one sub-folder per class, a table (.csv, .tsv, .jsonl, .parquet) "
        "with a path or text column and a label column, or a folder with IDX files.",
    )


def _no_pictures(root: Path) -> UsageError:
    found = scan(root)
    total = sum(found.ignored.values())
    for reason in _INSTEAD:
        if 2 * found.ignored[reason] >= total > 0:
            what = counted(found.ignored[reason], reason.partition("s (")[0].removesuffix("s"))
            return UsageError(
                f"{root} holds {what}, which are not read, and no pictures that are.",
                hint=_INSTEAD[reason],
            )
    what = ", ".join(f"{count:,} {reason}" for reason, count in found.ignored.most_common(3))
    seen = f" ({counted(total, 'file')} passed over: {what})" if total else ""
    hint = "JPEG, PNG, WebP, BMP, TIFF and HEIC are read."
    if found.ignored[SIDECAR] and any(c.suffix.lower() in TABLE_SUFFIXES for c in root.iterdir()):
        hint = "A table is given by its own path, such as photos/labels.csv."
    return UsageError(f"{root} holds no pictures{seen}.", hint=hint)
