"""train --show-augmented: what the network will see, as a picture for people."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone.data.samples import Sample
from skipstone.errors import DataError, UsageError
from skipstone.prepare.augment import make_augment
from skipstone.prepare.contact_sheet import contact_sheet, sheet_rows
from skipstone.registry import INPUTS
from skipstone.settings import Settings
from skipstone.train.learner import training_loader
from skipstone.verbs.continued import plan_run
from skipstone.verbs.places import refuse_inside

#: Samples on the sheet.
ROWS = 12


@dataclass(frozen=True)
class AugmentedResult:
    file: Path
    what: str
    exit_code: int = 0

    def to_json(self) -> dict[str, Any]:
        return {"file": str(self.file), "augmentation": self.what}


def show_augmented(
    data: Path,
    file: str | Path,
    *,
    model: str,
    weights: str,
    seed: int,
    settings: dict[str, Any],
    origin: str | Path | None = None,
) -> AugmentedResult:
    """Write a contact sheet: originals beside augmented views of the training part."""
    file = Path(file)
    refuse_inside(file, data, "--show-augmented")
    plan = plan_run(
        data,
        model=model,
        weights=weights,
        seed=seed,
        settings=Settings({**settings, "seed": seed}),
        origin=origin,
    )
    key = INPUTS[plan.manifest.input].facts.get("pixels")
    if key is None:
        raise UsageError(
            f"--show-augmented draws pictures; {plan.manifest.input!r} gives none.",
            hint="Leave it out.",
        )
    fit = plan.manifest.role("fit")
    loader = training_loader(plan)
    labels = fit.column("target")
    step = max(1, len(fit) // ROWS)
    samples: list[tuple[Sample, str]] = []
    for row in dict.fromkeys((*range(0, len(fit), step), *range(len(fit)))):
        if len(samples) == min(ROWS, len(fit)):
            break
        with contextlib.suppress(DataError):  # training lists and leaves out what is unreadable
            name = labels[row] if isinstance(labels[row], str | list) else fit.source(row).path.name
            samples.append((loader.sample(row), str(name)))
    augment = make_augment(plan.augment, plan.input, plan.task)
    size = min(plan.input.example(1)[key].shape[1:3])
    made = None if augment is None else augment.strengths
    what = plan.augment.describe(size, placed=bool(plan.task.places), made=made)
    laid = getattr(plan.task, "laid", None)
    contact_sheet(sheet_rows(samples, augment, seed=seed, key=key, laid=laid), file, what)
    return AugmentedResult(file, what)
