"""train --show-augmented for texts: a page with originals, and what training will see of them."""

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

#: Views of each text, and letters of it that are shown.
VIEWS, LETTERS = 4, 600


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

    def views(row: int) -> TextRow:
        source = fit.source(row)
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

    return examples(len(fit), views)


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
