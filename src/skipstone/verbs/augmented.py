"""train --show-augmented: what the network will see, as a picture for people."""

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
    """Write a contact sheet of pictures, or a page of texts: originals beside augmented views of
    the training part. `command` is what one would type."""
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
        f"--show-augmented shows pictures and texts; {plan.manifest.input!r} gives neither.",
        hint="Leave it out.",
    )


def _sheet(plan: Plan, file: Path, key: str) -> str:
    """Write the contact sheet; returns what it shows, in a sentence."""
    assert isinstance(plan.augment, AugmentOptions)
    fit = plan.manifest.role("fit")
    loader = training_loader(plan)
    labels = fit.column("target")

    def labelled(row: int) -> tuple[Sample, str]:
        name = labels[row] if isinstance(labels[row], str | list) else fit.source(row).path.name
        return loader.sample(row), str(name)

    samples = examples(len(fit), labelled)
    augment = make_augment(plan.augment, plan.input, plan.task)
    size = min(plan.input.example(1)[key].shape[1:3])
    made = None if augment is None else augment.strengths
    what = plan.augment.describe(size, placed=bool(plan.task.places), made=made)
    laid = plan.task.draw_targets if isinstance(plan.task, TargetDrawing) else None
    mix = make_mix(plan.augment, plan.task)
    rows = sheet_rows(samples, augment, seed=plan.seed, key=key, laid=laid, mix=mix)
    contact_sheet(rows, file, what)
    return what
