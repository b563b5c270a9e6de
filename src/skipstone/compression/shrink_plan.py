"""A plan: an ordered list of compression steps, as data.

    plan = ShrinkPlan.from_text("int8(samples=100)")
    str(plan)                          "int8(samples=100)", which gives an equal plan

A step is a name in STEPS and its frozen options. The entry's target is the handler:

    apply(options, work: StepContext) -> dict      JSON-able facts for the receipt

It reads the bundle `work.source` and writes a new one into the empty folder `work.out`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone.bundle.files import BUNDLE_JSON, read_bundle_json, read_file, write_bundle_json
from skipstone.compression.options import RecoveryOptions
from skipstone.core import events, storage
from skipstone.core.disk import TEMPORARY_PREFIX
from skipstone.core.errors import DamagedError, UsageError, did_you_mean
from skipstone.core.registry import STEPS
from skipstone.core.settings import Setting, settings_of
from skipstone.data.manifest import Manifest

_STEP = re.compile(r"\s*([A-Za-z0-9_./-]+)\s*(?:\(([^()]*)\))?\s*")


@dataclass(frozen=True)
class Step:
    """One step: a name in STEPS and an instance of its options (None for a step without)."""

    name: str
    options: Any

    def __str__(self) -> str:
        """As users type it, without default values."""
        values = [
            f"{field.name}={getattr(self.options, field.name)}"
            for field in _fields(self.options)
            if getattr(self.options, field.name) != field.default
        ]
        return f"{self.name}({', '.join(values)})" if values else self.name

    def to_json(self) -> dict[str, Any]:
        values = {field.name: getattr(self.options, field.name) for field in _fields(self.options)}
        return {"name": self.name, "options": values}


@dataclass(frozen=True)
class ShrinkPlan:
    """An ordered list of steps."""

    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.steps))

    @property
    def slug(self) -> str:
        """The steps' names, for folder names."""
        return re.sub(r"[^a-z0-9]+", "-", "-".join(step.name for step in self.steps).lower())

    @staticmethod
    def from_text(text: str) -> ShrinkPlan:
        """Steps separated by commas, options in brackets: "int8" or "int8(samples=100)".

        Raises:
            UsageError: not a plan; an unknown step, option or value, with similar names; or a step
                that would discard the output of an earlier one.
        """
        steps, position = [], 0
        while match := _STEP.match(text, position):
            steps.append(_step(match[1], match[2] or ""))
            position = match.end()
            if position == len(text):
                return _in_order(steps)
            if text[position] != ",":
                break
            position += 1
        raise UsageError(
            f"{text!r} is not a plan: it cannot be parsed from {text[position:]!r} on."
            if text.strip()
            else "the plan is empty.",
            hint="Steps are separated by commas, such as int8 or int8(samples=100).",
        )


def _in_order(steps: list[Step]) -> ShrinkPlan:
    """Check that no step discards the output of an earlier one."""
    discarded = _find_discarded(steps)
    if discarded is None:
        return ShrinkPlan(tuple(steps))
    allowed = STEPS[discarded.name].followed_by or ()
    rule = f"may only be followed by {' or '.join(allowed)}" if allowed else "must be the last step"

    def count_followers(step: Step) -> float:
        followers = STEPS[step.name].followed_by
        return math.inf if followers is None else len(followers)

    unique = {step.name: step for step in steps if STEPS[step.name].followed_by is not None}
    free = [step for step in steps if step.name not in unique]
    ordered = [*free, *sorted(unique.values(), key=count_followers, reverse=True)]
    hint = f'--plan "{ShrinkPlan(tuple(ordered))}"'
    raise UsageError(
        f"{discarded.name} {rule}: a later step would discard its output.",
        hint=hint if _find_discarded(ordered) is None else f"Leave {discarded.name} out.",
    )


def _find_discarded(steps: list[Step]) -> Step | None:
    """The first step whose output a later one would discard."""
    for number, step in enumerate(steps, 1):
        allowed = STEPS[step.name].followed_by
        if allowed is not None and any(later.name not in allowed for later in steps[number:]):
            return step
    return None


def _step(name: str, options: str) -> Step:
    entry = STEPS[name]
    kind = entry.options_type()
    settings: dict[str, Setting] = {}
    if kind is not None:
        settings = {item.name: item for item in settings_of(kind, "step", name)}
    values: dict[str, Any] = {}
    for part in filter(None, map(str.strip, options.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if key not in settings:
            raise UsageError(f"{name} has no option {key!r}.", hint=did_you_mean(key, settings))
        if not equals or key in values:
            problem = "is given twice" if key in values else "needs a value"
            raise UsageError(f"{name}: {key} {problem}.", hint=f"Write it as {key}=VALUE, once.")
        try:
            values[key] = settings[key].parse_value(value)
        except ValueError as error:
            raise UsageError(f"{name}: {key}={value}: {error}.") from None
    return Step(name, entry.make_options(values))


def _fields(options: Any) -> tuple[dataclasses.Field[Any], ...]:
    return () if options is None else dataclasses.fields(options)


# --- running a plan -----------------------------------------------------------------------------


@dataclass(frozen=True)
class StepContext:
    """The inputs and the output folder of a step.

    Args:
        source: the bundle to start from, read-only.
        out: an empty folder for the new bundle.
        train_rows: training rows, for ranges and recovery training.
        val_rows: validation rows, for decisions.
        original: the original bundle of the plan; None for `source`.
        augmentation: what the step's options say of it.
        unfinished: where finished steps are kept, so that the same call resumes; None for nowhere.
        post: post-processing that a rehearsal fitted; None to fit it to the validation rows.
    """

    source: Path
    out: Path
    train_rows: Manifest
    val_rows: Manifest
    seed: int = 0
    original: Path | None = None
    augmentation: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    unfinished: Path | None = None
    post: Mapping[str, Any] | None = None


def run_steps(plan: ShrinkPlan, work: StepContext) -> list[dict[str, Any]]:
    """Apply the steps in order; returns name, options and facts of each.

    With `work.unfinished`, each finished step is kept there, and not applied again.
    """
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=work.out.parent, prefix=TEMPORARY_PREFIX) as temporary:
        folder, source = work.unfinished or Path(temporary), work.source
        if work.unfinished is not None:
            _open_unfinished(plan, work)
        for number, step in enumerate(plan.steps, 1):
            out, stored = folder / f"{number}-{step.name}", folder / f"{number}.json"
            if stored.is_file():
                rows.append(_read_step(stored, step))
                source = out
                continue
            with (
                events.progress_stage(f"step {number} of {len(plan.steps)}: {step}"),
                storage.write_folder(out) as new,
            ):
                context = dataclasses.replace(
                    work,
                    source=source,
                    out=new,
                    original=work.source,
                    augmentation=_augmentation(step.options),
                )
                facts = STEPS[step.name].load()(step.options, context)
            rows.append({**step.to_json(), "facts": facts})
            storage.write_json(stored, rows[-1])
            source = out
        copy_bundle(source, work.out)
    return rows


def _open_unfinished(plan: ShrinkPlan, work: StepContext) -> None:
    """Keep what a killed call of the same plan, model, rows and seed finished; remove the rest."""
    assert work.unfinished is not None
    key = {
        "plan": [step.to_json() for step in plan.steps],
        "model": storage.file_sha256(work.source / BUNDLE_JSON),
        "rows": [part.compute_fingerprint() for part in (work.train_rows, work.val_rows)],
        "seed": work.seed,
    }
    stored = work.unfinished / "key.json"
    links = [path for path in work.unfinished.glob("*") if path.is_symlink()]
    if links or not stored.is_file() or storage.read_json(stored) != json.loads(json.dumps(key)):
        shutil.rmtree(work.unfinished, ignore_errors=True)
        storage.write_json(storage.make_folder(work.unfinished) / "key.json", key)
        return
    storage.remove_stale_temporaries(work.unfinished)
    count = len(list(work.unfinished.glob("[0-9]*.json")))
    if count:
        events.emit_note(f"Resuming after step {count} of {len(plan.steps)}.")


def _read_step(stored: Path, step: Step) -> dict[str, Any]:
    row = storage.read_json(stored)
    if not isinstance(row, dict) or row.get("name") != step.name or "facts" not in row:
        raise DamagedError(f"{stored} is damaged.", hint=f"Remove the folder {stored.parent}")
    return row


def _augmentation(options: Any) -> dict[str, Any]:
    """What the user set of a step's `RecoveryOptions`."""
    if not isinstance(options, RecoveryOptions):
        return {}
    values = {field.name: getattr(options, field.name) for field in _fields(RecoveryOptions)}
    return {name: value for name, value in values.items() if value is not None}


def copy_bundle(source: Path, out: Path) -> None:
    """Copy every listed file of a bundle, verifying its hash, into another folder."""
    record = read_bundle_json(source)
    for name in record["files"]:
        data = read_file(source, name, record)
        storage.make_folder((out / name).parent)
        storage.write_bytes(out / name, data)
    write_bundle_json(out, record)
