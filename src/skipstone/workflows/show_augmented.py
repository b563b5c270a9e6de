"""train --show-augmented: a contact sheet of augmented images, or a page of augmented texts."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from skipstone.bundle.output_paths import reject_path_inside_data
from skipstone.core import storage
from skipstone.core.errors import DataError, UsageError
from skipstone.core.formatting import join_command_line
from skipstone.core.registry import INPUTS
from skipstone.core.settings import Settings
from skipstone.core.versions import package_versions
from skipstone.data.samples import Sample
from skipstone.datasets.augmentation import Augmentation, make_augmentation
from skipstone.image.augment_factory import make_image_augmentation, make_image_mixing
from skipstone.image.augment_options import ImageAugmentOptions
from skipstone.image.contact_sheet import (
    VIEWS,
    SheetRow,
    make_sheet_rows,
    write_contact_sheet,
)
from skipstone.inputs.base import Playable, TokenSplitter
from skipstone.report.blocks import MarkedText, Report, Section, TextRow, TextVariants
from skipstone.report.render import render_report
from skipstone.tasks.base import TargetDrawing
from skipstone.text.text_augment_options import TextAugmentOptions
from skipstone.text.token_spans import split_into_spans
from skipstone.training.finetune import load_parent
from skipstone.training.learner import training_loader
from skipstone.training.plan import TrainPlan, build_plan

#: Training rows that are shown.
SHOWN_ROWS = 12
#: Augmented views per text; characters of each that are shown.
VIEWS_PER_TEXT, MAX_CHARACTERS = 4, 600

T = TypeVar("T")


@dataclass(frozen=True)
class AugmentedResult:
    """The result of `write_augmented_samples`: the file, and a description of the augmentation."""

    file: Path
    description: str
    exit_code: int = 0

    def to_json(self) -> dict[str, Any]:
        return {"file": str(self.file), "augmentation": self.description}


def write_augmented_samples(
    data: Path,
    file: str | Path,
    *,
    model: str,
    weights: str,
    seed: int,
    settings: dict[str, Any],
    origin: str | Path | None = None,
    command: Sequence[str] = (),
) -> AugmentedResult:
    """Write training samples and augmented views of them: a contact sheet of images, or a page of
    texts. `command` is the command line, for the page."""
    file = Path(file)
    reject_path_inside_data(file, data, "--show-augmented")
    plan = build_plan(
        data,
        model=model,
        weights=weights,
        seed=seed,
        settings=Settings({**settings, "seed": seed}),
        parent=None if origin is None else load_parent(origin),
    )
    key = INPUTS[plan.manifest.input].display_array
    if key is not None:
        return AugmentedResult(file, _write_contact_sheet(plan, file, key))
    if isinstance(plan.input, TokenSplitter):
        return AugmentedResult(
            file, _write_text_page(plan, file, command=join_command_line(command))
        )
    if isinstance(plan.input, Playable):
        return AugmentedResult(file, _write_sound_sheet(plan, plan.input, file))
    raise UsageError(
        f"--show-augmented works for images, recordings and texts, not for {plan.manifest.input!r}.",
        hint="Leave it out.",
    )


def _write_contact_sheet(plan: TrainPlan, file: Path, key: str) -> str:
    """Write the contact sheet; returns a description of the augmentation."""
    assert isinstance(plan.augment, ImageAugmentOptions)
    train_rows = plan.manifest.rows_with_role("train")
    loader = training_loader(plan)
    labels = train_rows.column_values("target")

    def load_labelled(row: int) -> tuple[Sample, str]:
        label = labels[row]
        name = label if isinstance(label, str | list) else train_rows.source_at(row).path.name
        return loader.load_sample(row), str(name)

    samples = _sample_rows(len(train_rows), load_labelled)
    augment = make_image_augmentation(plan.augment, plan.input, plan.task)
    size = min(plan.input.make_example(1)[key].shape[1:3])
    strengths = None if augment is None else augment.strengths
    description = plan.augment.describe_operations(
        size, is_spatial=bool(plan.task.spatial_targets), used_strengths=strengths
    )
    draw_targets = plan.task.draw_targets if isinstance(plan.task, TargetDrawing) else None
    mix = make_image_mixing(plan.augment, plan.task)
    rows = make_sheet_rows(
        samples, augment, seed=plan.seed, key=key, draw_targets=draw_targets, mix=mix
    )
    write_contact_sheet(rows, file, description)
    return description


def _write_sound_sheet(plan: TrainPlan, player: Playable, file: Path) -> str:
    """Write a contact sheet of spectrograms; returns a description of the augmentation."""
    train_rows = plan.manifest.rows_with_role("train")
    labels, ids = train_rows.column_values("target"), train_rows.column_values("id")
    augment = make_augmentation(plan.augment, plan.input, plan.task)

    def draw_row(row: int) -> SheetRow:
        raw = plan.input.decode(train_rows.source_at(row))
        views = [raw]
        for epoch in range(VIEWS if augment is not None else 0):
            assert augment is not None
            views.append(
                augment.augment_record(raw, id=ids[row], view=0, seed=plan.seed, epoch=epoch)
            )
        label = labels[row] if isinstance(labels[row], str) else ", ".join(labels[row])
        return SheetRow(label, tuple(player.draw_record(view.value) for view in views))

    description = plan.augment.describe_operations(0)
    write_contact_sheet(_sample_rows(len(train_rows), draw_row), file, description)
    return description


# --- texts ---------------------------------------------------------------------------------------


def _write_text_page(plan: TrainPlan, file: Path, *, command: str) -> str:
    """Write the page; returns a description of the augmentation.

    Raises:
        UsageError: the name of `file` does not end in .html.
    """
    if file.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            f"--show-augmented {file}: texts are written as an HTML page.",
            hint=f"Use: --show-augmented {file.with_suffix('.html')}",
        )
    assert isinstance(plan.augment, TextAugmentOptions)
    augment = make_augmentation(plan.augment, plan.input, plan.task)
    description = plan.augment.describe_operations(0)
    rows = tuple(_text_rows(plan, augment))
    block = TextVariants(
        "Training texts, each with its augmented versions of the first epochs",
        rows,
        "Marked words were added; words struck through were removed. MixUp is not shown: it mixes "
        "the texts' vectors.",
    )
    sections = (Section("Augmented texts", (block,)),)
    report = Report("Augmented training texts", description, command, sections, package_versions())
    storage.write_text(file, render_report(report))
    return description


def _text_rows(plan: TrainPlan, augment: Augmentation | None) -> list[TextRow]:
    train_rows = plan.manifest.rows_with_role("train")
    labels, ids = train_rows.column_values("target"), train_rows.column_values("id")

    def augment_row(row: int) -> TextRow:
        source = train_rows.source_at(row)
        raw = plan.input.decode(source)
        text = raw.value.tobytes().decode()
        texts: list[MarkedText] = [((text[:MAX_CHARACTERS], 0),)]
        if augment is not None:
            for epoch in range(VIEWS_PER_TEXT):
                changed = augment.augment_record(
                    raw, id=ids[row], view=0, seed=plan.seed, epoch=epoch
                )
                texts.append(_mark_differences(text, changed.value.tobytes().decode()))
        label = labels[row] if isinstance(labels[row], str) else ", ".join(labels[row])
        name = source.path.name + ("" if source.member is None else f"#{source.member}")
        return TextRow(name, label, tuple(texts))

    return _sample_rows(len(train_rows), augment_row)


def _mark_differences(before: str, after: str) -> MarkedText:
    """`after` in pieces, with the pieces removed from `before` at their former positions."""
    old, new = split_into_spans(before)[0], split_into_spans(after)[0]
    pieces: list[tuple[str, int]] = []
    matcher = difflib.SequenceMatcher(a=old, b=new, autojunk=False)
    for kind, begin, end, first, last in matcher.get_opcodes():
        if kind == "equal":
            pieces += [(piece, 0) for piece in old[begin:end]]
            continue
        pieces += [(piece, 0 if piece.isspace() else -1) for piece in old[begin:end]]
        pieces += [(piece, 0 if piece.isspace() else 1) for piece in new[first:last]]
    start, length = [], 0
    for piece, mark in pieces:
        length += len(piece)
        if length > MAX_CHARACTERS:
            start.append((" …", 0))
            break
        start.append((piece, mark))
    return tuple(start)


def _sample_rows(count: int, make: Callable[[int], T]) -> list[T]:
    """`make(row)` for ROWS evenly spaced positions among `count` rows.

    An unreadable row (DataError) is replaced by another; training reports and skips those.
    """
    limit, step = min(SHOWN_ROWS, count), max(1, count // SHOWN_ROWS)
    made: list[T] = []
    for row in dict.fromkeys((*range(0, count, step), *range(count))):
        if len(made) == limit:
            break
        with contextlib.suppress(DataError):
            made.append(make(row))
    return made
