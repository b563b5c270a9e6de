"""train --show-augmented: write a contact sheet of augmented training samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone.data.samples import Sample
from skipstone.errors import UsageError
from skipstone.prepare.augment import make_augment
from skipstone.prepare.augment_options import AugmentOptions
from skipstone.prepare.contact_sheet import contact_sheet, sheet_rows
from skipstone.prepare.mix import make_mix
from skipstone.registry import INPUTS
from skipstone.settings import Settings
from skipstone.tasks.base import TargetDrawing
from skipstone.train.learner import training_loader
from skipstone.verbs.augmented_texts import augmented_page
from skipstone.verbs.continued import plan_run
from skipstone.verbs.examples import examples
from skipstone.verbs.places import refuse_inside
from skipstone.verbs.plan import Plan
from skipstone.words import command_line


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
    command: Sequence[str] = (),
) -> AugmentedResult:
    """Write training samples and augmented views of them: a contact sheet of images, or a page of
    texts. `command` is the command line, for the page."""
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
    if key is not None:
        return AugmentedResult(file, _sheet(plan, file, key))
    if hasattr(plan.input, "pieces"):
        return AugmentedResult(file, augmented_page(plan, file, command=command_line(command)))
    raise UsageError(
        f"--show-augmented works for images and texts, not for {plan.manifest.input!r}.",
        hint="Leave it out.",
    )


def _sheet(plan: Plan, file: Path, key: str) -> str:
    """Write the contact sheet; returns a description of the augmentation."""
    assert isinstance(plan.augment, AugmentOptions)
    train_rows = plan.manifest.role("fit")
    loader = training_loader(plan)
    labels = train_rows.column("target")

    def load_labelled(row: int) -> tuple[Sample, str]:
        label = labels[row]
        name = label if isinstance(label, str | list) else train_rows.source(row).path.name
        return loader.sample(row), str(name)

    samples = examples(len(train_rows), load_labelled)
    augment = make_augment(plan.augment, plan.input, plan.task)
    size = min(plan.input.example(1)[key].shape[1:3])
    strengths = None if augment is None else augment.strengths
    description = plan.augment.describe(size, placed=bool(plan.task.places), made=strengths)
    draw_targets = plan.task.draw_targets if isinstance(plan.task, TargetDrawing) else None
    mix = make_mix(plan.augment, plan.task)
    rows = sheet_rows(samples, augment, seed=plan.seed, key=key, laid=draw_targets, mix=mix)
    contact_sheet(rows, file, description)
    return description
