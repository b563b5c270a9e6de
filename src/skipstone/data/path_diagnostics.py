"""Why a path is not a data set: one sentence, and a hint with the command to run."""

from __future__ import annotations

import dataclasses
import difflib
import glob
import re
import shlex
from pathlib import Path

from skipstone.core.errors import UsageError
from skipstone.core.formatting import join_limited, pluralize, quote_path, to_flag
from skipstone.core.registry import READERS
from skipstone.core.specs import ReaderSpec, resolve_target
from skipstone.data.hint_commands import (
    choose_training_part,
    join_part_tables,
    make_table_of_names,
    rename_texts,
)
from skipstone.data.input_files import (
    list_file_inputs,
    list_main_inputs,
    load_conversions,
    make_skip_check,
    read_head,
)
from skipstone.data.options import ReadOptions
from skipstone.data.readers.annotation_files import unsupported_annotation_error
from skipstone.data.readers.base import SPLIT_NAMES
from skipstone.data.readers.columns import TABLE_SUFFIXES
from skipstone.data.readers.scan import FileScan, has_sources, list_subfolders, scan_files

_MODEL_SUFFIXES = frozenset({".onnx", ".safetensors", ".pt", ".pth", ".bin"})
_TAR = "mkdir {folder} && tar xf {archive} -C {folder}"
_ARCHIVES = {
    ".zip": "unzip {archive} -d {folder}",
    ".7z": "7z x {archive} -o{folder}",
    ".rar": "unrar x {archive} {folder}/",
    **dict.fromkeys((".tar", ".tgz", ".gz", ".xz", ".bz2"), _TAR),
}
_UNPACKERS = {".gz": "gunzip", ".xz": "unxz", ".bz2": "bunzip2"}  # of one file
#: Table formats that are not supported.
_SHEETS = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), "a workbook"),
    **dict.fromkeys((".pkl", ".pickle"), "a pickle, which is unsafe to open"),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3", ".mdb", ".accdb"), "a database"),
    **dict.fromkeys((".sav", ".dta", ".rds", ".feather"), "a table in an unsupported format"),
}
#: A URL; `Path` turns its `//` into `/`. A scheme of one letter would be a drive of Windows.
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(?=[^/])", re.IGNORECASE)


def check_data_path(path: str | Path) -> Path:
    """`path`, if it exists and is not a model. UsageError otherwise."""
    root = Path(path).expanduser()
    if (address := parse_url(root)) is not None:
        fetch = f"curl -LO {shlex.quote(address)}" if address.startswith("http") else "copy it here"
        name = shlex.quote(address.rstrip("/").rpartition("/")[2])
        raise UsageError(
            f"{address} is a URL. skipstone reads local files only and does not download.",
            hint=f"Download it first ({fetch}), then: skipstone train {name}",
        )
    if not root.exists():
        raise _missing_path_error(root)
    if root.is_dir():
        _refuse_model(root)
    return root


def parse_url(path: str | Path) -> str | None:
    """The URL `https://host/file` that `path` stands for; None if it is not a URL."""
    match = _ADDRESS.match(str(path))
    if match is None or Path(path).exists():
        return None
    return f"{match[1]}://{str(path)[match.end() :]}"


def _missing_path_error(root: Path) -> UsageError:
    if glob.has_magic(str(root)):
        return UsageError(
            f"no file matches the pattern {root}.",
            hint=f"Give the folder that holds the class folders: {folder_before_pattern(root)}",
        )
    parent = root.parent
    while not parent.exists():
        root, parent = parent, parent.parent
    names = {child.name.casefold(): child.name for child in parent.iterdir()}
    near = difflib.get_close_matches(root.name.casefold(), names, n=3, cutoff=0.6)
    if near:
        similar = " or ".join(str(parent / names[name]) for name in near)
        hint: str | None = f"Did you mean {similar}?"
    else:
        inside = sorted(child.name for child in parent.iterdir() if child.is_dir())
        hint = f"{parent.resolve()} holds: {join_limited(inside, 8)}." if inside else None
    return UsageError(f"{root} does not exist.", hint=hint)


def folder_before_pattern(root: Path) -> Path:
    """The deepest folder of a glob pattern without wildcards."""
    while glob.has_magic(str(root)):
        root = root.parent
    return root


def _refuse_model(root: Path) -> None:
    if (root / "run.json").is_file():
        kind = "a run of skipstone"
    elif (root / "bundle.json").is_file():
        kind = "a model of skipstone"
    elif any((child / "run.json").is_file() for child in list_subfolders(root)):
        kind = "a folder of runs of skipstone"
    else:
        return
    raise UsageError(
        f"{root} is {kind}, not data.",
        hint="The model comes before the data: skipstone evaluate MODEL DATA.",
    )


def reject_options_of_other_layouts(root: Path, reader: str, options: ReadOptions) -> None:
    """Reject options of a layout (`own_options` of its spec) that `reader` does not read. To ignore them
    would silently give another data set, such as one without its groups."""
    taken = READERS[reader].own_options
    flags: list[str] = []
    owners: list[ReaderSpec] = []
    for field in dataclasses.fields(options):
        if field.name in taken or getattr(options, field.name) == field.default:
            continue
        if readers := [entry for entry in READERS if field.name in entry.own_options]:
            flags.append(to_flag(field.name))
            owners += [entry for entry in readers if entry not in owners]
    if flags:
        names = [entry.name for entry in owners]
        layouts = " or ".join(f"{entry.name} ({entry.summary})" for entry in owners)
        raise UsageError(
            f"{' and '.join(flags)} {'applies' if len(flags) == 1 else 'apply'} only to the layout "
            f"{' or '.join(names)}; {root} is read as {reader}.",
            hint=f"Omit {'it' if len(flags) == 1 else 'them'}, or give {layouts}. If this layout "
            f"was not recognised: --reader {names[0]}",
        )


def find_wrapped_folder(root: Path) -> Path | None:
    """The only folder in `root`, or the only one with files of an input; None if there are more,
    or if `root` itself holds such files or tables."""
    if not root.is_dir() or has_sources(root, recursive=False) or _tables(root):
        return None
    folders = list_subfolders(root)
    inside = [folder for folder in folders if has_sources(folder)] or folders
    return inside[0] if len(inside) == 1 else None


def has_single_table(root: Path) -> bool:
    """Whether `root` holds exactly one table."""
    return root.is_dir() and len(_tables(root)) == 1


def _tables(root: Path) -> list[Path]:
    return [child for child in sorted(root.iterdir()) if child.suffix.lower() in TABLE_SUFFIXES]


def no_reader_error(root: Path) -> UsageError:
    """The error for a path that no reader recognised."""
    if annotation_error := unsupported_annotation_error(root):
        return annotation_error
    if root.is_file():
        return _not_data_file_error(root)
    scan = scan_files(root, list_file_inputs())
    skipped = sum(scan.skipped_counts.values())
    if not scan.files or (scan.input.is_sidecar and len(scan.files) <= skipped):
        return _no_files_error(root, scan_files(root, list_main_inputs()[:1]))
    noun, inputs = scan.input.noun, [scan.input]
    if scan.input.reject_layout is not None:
        resolve_target(scan.input.reject_layout)(root, [("", name) for name in scan.files], None)
    inside = [folder for folder in list_subfolders(root) if has_sources(folder, inputs)]
    is_flat = has_sources(root, inputs, recursive=False)
    tables = _tables(root)
    if tables and (inside or is_flat):
        listed = join_limited(table.name for table in tables)
        return UsageError(
            f"{root} holds {noun}s without class folders, and the table {listed}.",
            hint=f"If a table has the labels, give it: skipstone train "
            f"{quote_path(choose_training_part(tables))}",
        )
    splits = [folder for folder in inside if folder.name.casefold() in SPLIT_NAMES]
    if inside and len(splits) == len(inside):
        part = choose_training_part(inside)
        if tables := [table for folder in inside for table in _tables(folder)]:
            return UsageError(
                f"{root} holds {noun}s without class folders, and {join_limited(map(str, tables))}.",
                hint=join_part_tables(root, tables)
                or "If a table has the labels, give it (one table can describe all splits, with "
                f"a split column): skipstone train {quote_path(choose_training_part(tables))}",
            )
        names = [file.removeprefix(f"{part.name}/") for file in scan.files]
        names = [name for name in names if "/" not in name]
        return UsageError(
            f"{root}: {join_limited(folder.name for folder in inside)} "
            f"{'holds' if len(inside) == 1 else 'hold'} {noun}s without class folders and without "
            "labels.",
            hint=make_table_of_names(part, names) or _hint_add_labels(part, root),
        )
    if len(inside) == 1:
        other = quote_path(root / f"not-{inside[0].name}")
        return UsageError(
            f"{root} holds only one class ({inside[0].name}); classification needs at least two.",
            hint=f"Put {noun}s of something else in {other}, then: skipstone train "
            f"{quote_path(root)}",
        )
    names = [name for name in scan.files if "/" not in name]
    how = make_table_of_names(root, names) or _hint_add_labels(root, root)
    return UsageError(
        f"{root} holds {noun}s but no class folders, so labels are missing.",
        hint=f"{how}. To predict with a trained model: skipstone predict MODEL {quote_path(root)}",
    )


def _hint_add_labels(folder: Path, root: Path) -> str:
    return (
        f"Sort them into folders by class, such as {quote_path(folder / 'cat')} and "
        f"{quote_path(folder / 'dog')}, or list them in a table (CSV) with the columns path and label; "
        f"then: skipstone train {quote_path(root)}"
    )


def _not_data_file_error(path: Path) -> UsageError:
    suffix = path.suffix.lower()
    for spec in list_main_inputs():
        reason = make_skip_check(spec)(path.name, read_head(path))
        if reason is None:
            return UsageError(
                f"{path} is one {spec.noun}, not a data set.",
                hint=f"To predict it: skipstone predict MODEL {quote_path(path)}",
            )
        if how := load_conversions([spec]).get(reason):
            kind = reason.partition(" (")[0]
            return UsageError(f"{path}: {kind} are not supported.", hint=how)
    if suffix in _MODEL_SUFFIXES:
        return UsageError(f"{path} is a model file, not data.", hint="Give the data set's folder.")
    packed = path.with_suffix("")
    if suffix in _UNPACKERS and packed.suffix.lower() in TABLE_SUFFIXES:
        return UsageError(
            f"{path} is a compressed table; compressed tables are not supported.",
            hint=f"Unpack it: {_UNPACKERS[suffix]} -k {quote_path(path)}, then: "
            f"skipstone train {quote_path(packed)}",
        )
    if "-ubyte" in path.name:
        return UsageError(
            f"{path} is one file of an IDX data set; give the folder that holds all of them.",
            hint=f"Run: skipstone train {quote_path(path.parent)}",
        )
    if suffix in _ARCHIVES:
        folder = quote_path(
            path.with_name(path.name.removesuffix(".tar.gz").removesuffix(path.suffix))
        )
        unpack = _ARCHIVES[suffix].format(archive=quote_path(path), folder=folder)
        return UsageError(
            f"{path} is an archive; archives are not supported.",
            hint=f"Unpack it: {unpack}, then: skipstone train {folder}",
        )
    if suffix in _SHEETS:
        table = quote_path(path.with_suffix(".csv"))
        return UsageError(
            f"{path} is {_SHEETS[suffix]}; tables are CSV, TSV, JSON Lines or Parquet.",
            hint=f"Save its rows as 'CSV UTF-8', then: skipstone train {table}",
        )
    if suffix == ".json":
        lines = quote_path(path.with_suffix(".jsonl"))
        return UsageError(
            f"{path} is one JSON document; a table is JSON Lines, one object per line.",
            hint="If it is a list of objects: python3 -c 'import json, sys; [print(json.dumps(row)) "
            f"for row in json.load(sys.stdin)]' < {quote_path(path)} > {lines}; then: skipstone "
            f"train {lines}",
        )
    return UsageError(
        f"{path} is not a data set.",
        hint="Give a folder with one subfolder per class, a table (.csv, .tsv, .jsonl, .parquet) "
        "with a path or text column and a label column, or a folder with IDX files.",
    )


def _no_files_error(root: Path, scan: FileScan) -> UsageError:
    if tables := _tables(root) or [
        table
        for folder in list_subfolders(root)
        for inner in (folder, *list_subfolders(folder))
        for table in _tables(inner)
    ]:
        names = join_limited(table.relative_to(root).as_posix() for table in tables)
        return UsageError(
            f"{root} holds {pluralize(len(tables), 'table')} ({names}); a table is given by its path.",
            hint=f"Give it: skipstone train {quote_path(choose_training_part(tables))}",
        )
    texts, rename = rename_texts(root)
    if texts:
        return UsageError(
            f"{root} holds {texts}; a folder of texts holds .txt files.",
            hint=f"Copy and rename them: {rename}",
        )
    inputs = list_main_inputs()
    total = sum(scan.skipped_counts.values())
    for reason, how in load_conversions(inputs).items():
        if 2 * scan.skipped_counts[reason] >= total > 0:
            count = pluralize(
                scan.skipped_counts[reason], reason.partition("s (")[0].removesuffix("s")
            )
            return UsageError(
                f"{root} holds {count}, which are not supported, and no supported "
                f"{scan.input.noun}s.",
                hint=how,
            )
    reasons = ", ".join(
        f"{count:,} {reason}" for reason, count in scan.skipped_counts.most_common(3)
    )
    details = f" ({pluralize(total, 'file')} skipped: {reasons})" if total else ""
    formats = [spec.formats or ", ".join(spec.suffixes) for spec in inputs]
    hint = f"Supported formats: {'; '.join(formats)}."
    nouns = " and no ".join(f"{spec.noun}s" for spec in inputs)
    return UsageError(f"{root} holds no {nouns}{details}.", hint=hint)
