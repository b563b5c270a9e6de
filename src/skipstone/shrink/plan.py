"""A plan: the steps that make a model smaller, in order, as data.

    plan = Plan.parse("int8(samples=100)")
    str(plan)                          "int8(samples=100)"
    Plan.from_json(plan.to_json())     the same plan

A step is a name in STEPS and its frozen options. The entry's target is the handler:

    apply(options, work: Work) -> dict      JSON-able facts for the receipt

It reads the bundle `work.source`, which it leaves as it is, and writes a new one into the empty
folder `work.out`.
"""

from __future__ import annotations

import dataclasses
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone import events, storage
from skipstone.bundle.files import read_file, read_record, write_record
from skipstone.data.manifest import Manifest
from skipstone.disk import LEFTOVER
from skipstone.errors import DamagedError, UsageError, did_you_mean
from skipstone.registry import STEPS
from skipstone.settings import Setting, settings_of

_STEP = re.compile(r"\s*([A-Za-z0-9_./-]+)\s*(?:\(([^()]*)\))?\s*")


@dataclass(frozen=True)
class Step:
    """One step: a name in STEPS and an instance of its options (None where it has none)."""

    name: str
    options: Any

    def __str__(self) -> str:
        """As users type it; options at their default are left out."""
        chosen = [
            f"{field.name}={getattr(self.options, field.name)}"
            for field in _fields(self.options)
            if getattr(self.options, field.name) != field.default
        ]
        return f"{self.name}({', '.join(chosen)})" if chosen else self.name

    def to_json(self) -> dict[str, Any]:
        values = {field.name: getattr(self.options, field.name) for field in _fields(self.options)}
        return {"name": self.name, "options": values}


@dataclass(frozen=True)
class Plan:
    """Steps in order."""

    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.steps))

    @property
    def slug(self) -> str:
        """For folder names: the steps' names."""
        return re.sub(r"[^a-z0-9]+", "-", "-".join(step.name for step in self.steps).lower())

    def to_json(self) -> dict[str, Any]:
        return {"steps": [step.to_json() for step in self.steps]}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Plan:
        """Raises UsageError for an unknown step or option, or one after a step that ends a plan;
        DamagedError for what is no plan."""
        try:
            rows = [(str(row["name"]), dict(row["options"])) for row in value["steps"]]
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedError(f"this is no plan of shrink steps: {error!r}.") from None
        return _in_order([Step(name, STEPS[name].make_options(given)) for name, given in rows])

    @staticmethod
    def parse(text: str) -> Plan:
        """Steps separated by commas, options in brackets: "int8" or "int8(samples=100)".

        Raises:
            UsageError: no plan; an unknown step, option or value, with the near ones; or a step
                after one that ends a plan.
        """
        steps, at = [], 0
        while match := _STEP.match(text, at):
            steps.append(_step(match[1], match[2] or ""))
            at = match.end()
            if at == len(text):
                return _in_order(steps)
            if text[at] != ",":
                break
            at += 1
        raise UsageError(
            f"{text!r} is no plan: it cannot be read from {text[at:]!r} on."
            if text.strip()
            else "the plan is empty.",
            hint="Steps are separated by commas, such as int8 or int8(samples=100).",
        )


def _in_order(steps: list[Step]) -> Plan:
    """A plan in which nothing comes after a step whose work would be lost (the fact `ends`)."""
    ending = [step for step in steps if STEPS[step.name].facts.get("ends")]
    if not ending or ending == steps[-1:]:
        return Plan(tuple(steps))
    others = [step for step in steps if step not in ending]
    raise UsageError(
        f"{ending[0].name} has to be the last step: what it makes is lost in any step after it.",
        hint=f'--plan "{Plan((*others, ending[-1]))}"',
    )


def _step(name: str, options: str) -> Step:
    entry = STEPS[name]
    kind = entry.options_type()
    known: dict[str, Setting] = {}
    if kind is not None:
        known = {item.name: item for item in settings_of(kind, "step", name)}
    values: dict[str, Any] = {}
    for part in filter(None, map(str.strip, options.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if key not in known:
            raise UsageError(f"{name} has no option {key!r}.", hint=did_you_mean(key, known))
        if not equals or key in values:
            problem = "is given twice" if key in values else "needs a value"
            raise UsageError(f"{name}: {key} {problem}.", hint=f"Write it as {key}=VALUE, once.")
        try:
            values[key] = known[key].parse(value)
        except ValueError as error:
            raise UsageError(f"{name}: {key}={value}: {error}.") from None
    return Step(name, entry.make_options(values))


def _fields(options: Any) -> tuple[dataclasses.Field[Any], ...]:
    return () if options is None else dataclasses.fields(options)


# --- carrying it out ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """What a step works on.

    Args:
        source: the bundle to start from; it is only read.
        out: an empty folder for the new bundle.
        fit: rows that a step may learn from (ranges, recovery training).
        select: rows that a step may decide on.
        first: the bundle that the plan began with; None where that is `source`.
    """

    source: Path
    out: Path
    fit: Manifest
    select: Manifest
    seed: int = 0
    first: Path | None = None


def carry_out(plan: Plan, work: Work) -> list[dict[str, Any]]:
    """Apply the steps one after the other; returns what each says of itself."""
    facts = []
    with tempfile.TemporaryDirectory(dir=work.out.parent, prefix=LEFTOVER) as between:
        source = work.source
        for number, step in enumerate(plan.steps, 1):
            last = number == len(plan.steps)
            out = work.out if last else storage.make_folder(Path(between, f"{number}-{step.name}"))
            with events.stage(f"step {number} of {len(plan.steps)}: {step}"):
                apply = STEPS[step.name].load()
                part = dataclasses.replace(work, source=source, out=out, first=work.source)
                found = apply(step.options, part)
            facts.append({**step.to_json(), "facts": found})
            source = out
    return facts


def copy_bundle(source: Path, out: Path) -> None:
    """Every listed file of a bundle, compared on the way, into another folder."""
    record = read_record(source)
    for name in record["files"]:
        data = read_file(source, name, record)
        storage.make_folder((out / name).parent)
        storage.write_bytes(out / name, data)
    write_record(out, record)
