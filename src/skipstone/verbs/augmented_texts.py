"""train --show-augmented for texts: a page with originals, and what training will see of them."""

from __future__ import annotations

import contextlib
import difflib
from pathlib import Path

from skipstone import storage
from skipstone.data.manifest import Manifest
from skipstone.errors import DataError, UsageError
from skipstone.inputs.text_pieces import pieces_of
from skipstone.prepare.augmentation import Augmentation, augmentation_of
from skipstone.report.blocks import Report, Section
from skipstone.report.render import render
from skipstone.report.variants import Marked, TextRow, Variants
from skipstone.verbs.lineage import versions
from skipstone.verbs.plan import Plan

#: Texts on the page, views of each, and letters of a text that are shown.
ROWS, VIEWS, LETTERS = 12, 4, 600


def augmented_page(plan: Plan, file: Path, *, command: str) -> str:
    """Write the page; returns what it shows, in a sentence.

    Raises:
        UsageError: `file` is named as something that is no page.
    """
    if file.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            f"--show-augmented {file}: texts are shown as a page.",
            hint=f"Name it so: --show-augmented {file.with_suffix('.html')}",
        )
    augment = augmentation_of(plan.augment, plan.input, plan.task)
    what = plan.augment.describe(0)
    rows = tuple(_rows(plan, augment))
    block = Variants(
        "Training texts, and each as the first epochs see it",
        rows,
        "Marked: what came; struck through: what is gone. What mixes the texts of a batch is done "
        "to vectors and shows in no text.",
    )
    sections = (Section("Augmented texts", (block,)),)
    report = Report("What training sees", what, command, sections, versions())
    storage.write_text(file, render(report))
    return what


def _rows(plan: Plan, augment: Augmentation | None) -> list[TextRow]:
    fit: Manifest = plan.manifest.role("fit")
    labels, ids = fit.column("target"), fit.column("id")
    step = max(1, len(fit) // ROWS)
    found: list[TextRow] = []
    for row in dict.fromkeys((*range(0, len(fit), step), *range(len(fit)))):
        if len(found) == min(ROWS, len(fit)):
            break
        source = fit.source(row)
        with contextlib.suppress(DataError):  # training lists and leaves out what is unreadable
            raw = plan.input.decode(source)
            text = raw.value.tobytes().decode()
            texts: list[Marked] = [((text[:LETTERS], 0),)]
            for epoch in range(VIEWS if augment is not None else 0):
                assert augment is not None
                changed = augment.record(raw, id=ids[row], view=0, seed=plan.seed, epoch=epoch)
                texts.append(marked(text, changed.value.tobytes().decode()))
            label = labels[row] if isinstance(labels[row], str) else ", ".join(labels[row])
            name = f"{source.path.name}" + ("" if source.member is None else f"#{source.member}")
            found.append(TextRow(name, label, tuple(texts)))
    return found


def marked(before: str, after: str) -> Marked:
    """`after` in pieces, with those of `before` that are gone in their place."""
    old, new = pieces_of(before)[0], pieces_of(after)[0]
    found: list[tuple[str, int]] = []
    matcher = difflib.SequenceMatcher(a=old, b=new, autojunk=False)
    for kind, begin, end, first, last in matcher.get_opcodes():
        if kind == "equal":
            found += [(piece, 0) for piece in old[begin:end]]
            continue
        found += [(piece, 0 if piece.isspace() else -1) for piece in old[begin:end]]
        found += [(piece, 0 if piece.isspace() else 1) for piece in new[first:last]]
    shown, letters = [], 0
    for piece, mark in found:
        letters += len(piece)
        if letters > LETTERS:
            shown.append((" …", 0))
            break
        shown.append((piece, mark))
    return tuple(shown)
