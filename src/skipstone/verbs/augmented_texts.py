"""train --show-augmented for texts: a page of training texts and augmented views of them."""

from __future__ import annotations

import difflib
from pathlib import Path

from skipstone import storage
from skipstone.data.manifest import Manifest
from skipstone.errors import UsageError
from skipstone.inputs.text_pieces import pieces_of
from skipstone.prepare.augmentation import Augmentation, augmentation_of
from skipstone.report.blocks import Report, Section
from skipstone.report.render import render
from skipstone.report.variants import Marked, TextRow, Variants
from skipstone.verbs.examples import examples
from skipstone.verbs.lineage import versions
from skipstone.verbs.plan import Plan

#: Augmented views per text; characters of each that are shown.
VIEWS, LETTERS = 4, 600


def augmented_page(plan: Plan, file: Path, *, command: str) -> str:
    """Write the page; returns a description of the augmentation.

    Raises:
        UsageError: the name of `file` does not end in .html.
    """
    if file.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            f"--show-augmented {file}: texts are written as an HTML page.",
            hint=f"Use: --show-augmented {file.with_suffix('.html')}",
        )
    augment = augmentation_of(plan.augment, plan.input, plan.task)
    description = plan.augment.describe(0)
    rows = tuple(_rows(plan, augment))
    block = Variants(
        "Training texts, each with its augmented versions of the first epochs",
        rows,
        "Marked words were added; words struck through were removed. MixUp is not shown: it mixes "
        "the texts' vectors.",
    )
    sections = (Section("Augmented texts", (block,)),)
    report = Report("Augmented training texts", description, command, sections, versions())
    storage.write_text(file, render(report))
    return description


def _rows(plan: Plan, augment: Augmentation | None) -> list[TextRow]:
    train_rows: Manifest = plan.manifest.role("fit")
    labels, ids = train_rows.column("target"), train_rows.column("id")

    def augment_row(row: int) -> TextRow:
        source = train_rows.source(row)
        raw = plan.input.decode(source)
        text = raw.value.tobytes().decode()
        texts: list[Marked] = [((text[:LETTERS], 0),)]
        if augment is not None:
            for epoch in range(VIEWS):
                changed = augment.record(raw, id=ids[row], view=0, seed=plan.seed, epoch=epoch)
                texts.append(marked(text, changed.value.tobytes().decode()))
        label = labels[row] if isinstance(labels[row], str) else ", ".join(labels[row])
        name = source.path.name + ("" if source.member is None else f"#{source.member}")
        return TextRow(name, label, tuple(texts))

    return examples(len(train_rows), augment_row)


def marked(before: str, after: str) -> Marked:
    """`after` in pieces, with the pieces removed from `before` at their former positions."""
    old, new = pieces_of(before)[0], pieces_of(after)[0]
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
        if length > LETTERS:
            start.append((" …", 0))
            break
        start.append((piece, mark))
    return tuple(start)
