"""train --from: go on from a model, with new photos or new classes.

The input, the model and the recipe are the model's own, where no flag says otherwise; its head
keeps the rows of the classes that it knows. Rows that it was trained on keep their role, so that
the claim holds nothing that it has seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skipstone.bundle.arch import Arch, Part, one_network
from skipstone.bundle.files import read_record
from skipstone.bundle.format import WEIGHTS, Bundle
from skipstone.bundle.locate import bundle_of
from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.errors import UsageError
from skipstone.events import note, warn
from skipstone.inputs.base import Input
from skipstone.models.build import choose_head
from skipstone.models.grow import grow
from skipstone.models.heads.options import HeadChoice
from skipstone.models.network import Network
from skipstone.models.vector_options import VectorOptions
from skipstone.prepare.augmentation import augment_options, augmentation_of, mixing_of
from skipstone.prepare.cache import RecordCache
from skipstone.prepare.options import LoadOptions, SplitOptions
from skipstone.prepare.split import assign_roles, labels_of
from skipstone.registry import BACKBONES, INPUTS, TASKS
from skipstone.runtime.parts import input_of, task_of
from skipstone.settings import Settings
from skipstone.tasks.base import ExtendableClasses, Task
from skipstone.train.options import TrainOptions
from skipstone.train.recipe import Facts, resolve
from skipstone.verbs.heard import refuse_idle, refuse_unheard
from skipstone.verbs.plan import Plan, first_look, make_plan, usual_head, with_options
from skipstone.verbs.seen import Seen, rows_to_keep, say_what_was_kept, seen_by
from skipstone.words import counted, flag, listed, shortest

#: Of a recipe: what ends a training, and what belongs to a machine or a command.
_LENGTH = ("epochs", "steps", "budget")
_NOT_INHERITED = ("seed", "device", "threads", "checkpoint_every")


@dataclass(frozen=True)
class Origin:
    """The model that a run goes on from.

    Args:
        path: as the user named it.
        weights: sha256 of its weights file.
        seen: the rows that it was made with.
    """

    path: Path
    bundle: Bundle
    weights: str
    seen: Seen

    @property
    def arch(self) -> Arch:
        """Refusal where the model is an ensemble."""
        return one_network(self.bundle.arch, "--from")

    def to_json(self) -> dict[str, Any]:
        """For the identity of a run and the lineage of its bundle."""
        return {
            "model": str(self.path),
            "weights": self.weights,
            "command": self.bundle.lineage.get("command", ""),
            "data": self.bundle.lineage.get("data", {}),
        }

    def start(self, network: Network, task: Task) -> None:
        """Its weights in `network`, whose head answers for `task`."""
        known, wanted = _rows(task_of(self.bundle)), _rows(task)
        grow(network, self.bundle.tensors, known=known, wanted=wanted, where=str(self.path))


def open_origin(path: str | Path) -> Origin:
    """UsageError where there is no model; DamagedError where it is not as it was written."""
    folder = bundle_of(path)
    return Origin(
        shortest(Path(path).absolute()),
        Bundle.load(folder),
        str(read_record(folder)["files"][WEIGHTS]["sha256"]),
        seen_by(folder),
    )


def plan_run(
    data: Path,
    *,
    model: str,
    weights: str,
    seed: int,
    settings: Settings,
    origin: str | Path | None = None,
    cache: RecordCache | None = None,
) -> Plan:
    """`make_plan`, or the plan to go on from the model `origin`."""
    if origin is None:
        return make_plan(
            data, model=model, weights=weights, seed=seed, settings=settings, cache=cache
        )
    found = open_origin(origin)
    _check_flags(found, model, weights, settings)
    return continued_plan(data, found, seed=seed, settings=settings, cache=cache)


def continued_plan(
    data: Path,
    origin: Origin,
    *,
    seed: int,
    settings: Settings,
    cache: RecordCache | None = None,
) -> Plan:
    """What `make_plan` decides, by what `origin` is.

    Raises:
        UsageError: the data is of another kind, or a flag asks for another network.
    """
    bundle = origin.bundle
    read = settings.options(ReadOptions, task=bundle.task["name"])
    manifest = read_manifest(data, read)
    _check_kind(origin, data, manifest)
    input = _input(origin, settings)
    pinned = rows_to_keep(origin.path, origin.seen, manifest)
    look = first_look(cache, lambda rows: input)
    manifest = assign_roles(manifest, settings.options(SplitOptions), pinned=pinned, look=look)
    for sentence in manifest.notes:
        note(sentence)
    say_what_was_kept(origin.path, manifest, pinned)
    fit = manifest.role("fit")
    task = _task(origin, settings, manifest, fit)
    head = _head(origin, settings, task)
    values = sum(array[0].size for array in input.example(1).values())
    facts = Facts(samples=len(fit), pretrained=True, values=values, placed=bool(task.places))
    recipe = resolve(settings.options(TrainOptions, **_recipe_of(bundle, settings)), facts)
    augment = settings.options(
        augment_options(manifest.input), **_plain(bundle.lineage.get("augment", {}))
    )
    loading = settings.options(LoadOptions)
    name = origin.arch.name
    settings.check_used(task=manifest.task, model=name, head=head.name)
    refuse_idle(settings, name, task.options, recipe)
    augmentation_of(augment, input, task)
    mixing_of(augment, task, BACKBONES[name])
    reason = f"{name} of {origin.path} goes on{_classes_added(origin, task, fit)}"
    note(reason)
    return Plan(
        manifest=manifest,
        input=input,
        task=task,
        arch=replace(origin.arch, head=head),
        weights=str(origin.path),
        augment=augment,
        recipe=recipe,
        reason=reason,
        seed=seed,
        loading=loading,
        origin=origin,
    )


def _check_flags(origin: Origin, model: str, weights: str, settings: Settings) -> None:
    """Flags that ask for another network than the model's."""
    part = origin.arch.backbone
    if (vectors := settings.options(VectorOptions).vectors) is not None:
        raise UsageError(
            f"--from {origin.path} goes on with that model's vectors, and --vectors {vectors} says "
            "others.",
            hint="Give one of the two.",
        )
    if weights != "auto":
        raise UsageError(
            f"--from {origin.path} starts with that model's weights, and --weights {weights} says "
            "others.",
            hint="Give one of the two.",
        )
    if model not in ("auto", part.name):
        raise UsageError(
            f"--from {origin.path} goes on with its {part.name}; --model {model} is another.",
            hint=f"Leave --model out, or start a new one: --model {model} without --from.",
        )
    entry = BACKBONES[part.name]
    if entry.facts.get("learner", "gradient") != "gradient":
        raise UsageError(
            f"{origin.path} is a {part.name}, which is solved anew from all of its data: there is "
            "nothing to go on from.",
            hint="Train on the old and the new data together, without --from.",
        )
    held = part.args.get("options", {})
    given = settings.values_for(entry.options_type())
    for name, value in given.items():
        if name in held and _plain(value) != held[name]:
            raise UsageError(
                f"{flag(name)} {value} makes another network than {origin.path}, which has "
                f"{flag(name)} {held[name]}.",
                hint=f"Leave {flag(name)} out, or train anew without --from.",
            )


def _check_kind(origin: Origin, data: Path, manifest: Manifest) -> None:
    has = (origin.bundle.input["name"], origin.bundle.task["name"])
    found = (manifest.input, manifest.task)
    if has != found:
        raise UsageError(
            f"{origin.path} is for {has[0]} and {has[1]}, but {data} is {found[0]} data for "
            f"{found[1]}: they do not go together.",
            hint="Give data of the same kind, or train anew without --from.",
        )


def _task(origin: Origin, settings: Settings, manifest: Manifest, fit: Manifest) -> Task:
    entry, before = TASKS[manifest.task], task_of(origin.bundle)
    own = {name: value for name, value in before.schema.items() if name in manifest.schema}
    schema = manifest.schema
    if isinstance(before, ExtendableClasses):
        schema = before.with_new_classes(schema)
    elif own != dict(schema):
        raise UsageError(
            f"the task {manifest.task!r} goes on with the very labels of {origin.path} only; this "
            f"data has others ({_short(schema)}, not {_short(own)}).",
            hint="Train anew without --from.",
        )
    make, kind = entry.load(), entry.options_type()
    options = (
        None if kind is None else settings.options(kind, **_plain(origin.bundle.task["options"]))
    )
    made: Task = make(options, {**schema, **make(entry.make_options(), schema).statistics(fit)})
    return made


def _input(origin: Origin, settings: Settings) -> Input:
    """The model's input with what it has learnt, by which the network's weights are to be read: a
    vocabulary that was learnt anew would give every row of an embedding to another word.

    Raises:
        UsageError: a flag changes what was learnt, or nothing.
    """
    held, own = origin.bundle.input, input_of(origin.bundle)
    refuse_unheard(settings, origin.arch.backbone.name, own.options)
    entry = INPUTS[held["name"]]
    given = settings.values_for(entry.options_type())
    changed = {
        name: value for name, value in given.items() if _plain(value) != held["options"].get(name)
    }
    for name, value in changed.items():
        if not type(own.options).__dataclass_fields__[name].metadata.get("later"):
            raise UsageError(
                f"{flag(name)} {value} reads the data otherwise than {origin.path} has learnt to, "
                f"which has {flag(name)} {held['options'].get(name) or 'none'}.",
                hint=f"Leave {flag(name)} out, or train anew without --from.",
            )
    if not changed:
        return own
    options = entry.make_options({**held["options"], **changed})
    made: Input = entry.load()(options, held["state"], dict(origin.bundle.input_arrays))
    return made


def _head(origin: Origin, settings: Settings, task: Task) -> Part:
    """The model's head with the shape that the task now has."""
    held = origin.arch.head
    asked = settings.options(HeadChoice, head=held.name).head
    backbone = BACKBONES[origin.arch.name]
    part = choose_head(held.name, usual_head(task, backbone))
    if asked not in ("auto", part.name):
        raise UsageError(
            f"--from {origin.path} goes on with its head {held.name}; --head {asked} is another.",
            hint="Leave --head out, or train anew without --from.",
        )
    return with_options(part, settings, held.args.get("options", {}))


def _recipe_of(bundle: Bundle, settings: Settings) -> dict[str, Any]:
    """The recipe that the model was made with, as options of training."""
    known = {field.name for field in dataclasses.fields(TrainOptions)}
    recipe = {
        name: value
        for name, value in _plain(bundle.lineage.get("recipe", {})).items()
        if name in known and name not in _NOT_INHERITED
    }
    if any(name in settings.values for name in _LENGTH):
        for name in (*_LENGTH, "ema"):  # the average reaches back over a share of the length
            recipe.pop(name, None)
    return recipe


def _classes_added(origin: Origin, task: Task, fit: Manifest) -> str:
    """What is new and what is not there, for the reason and a warning."""
    known, wanted = _rows(task_of(origin.bundle)), _rows(task)
    added = [name for name in wanted if name not in known]
    held = {label for target in fit.column("target") for label in labels_of(target)}
    absent = [name for name in known if name not in held]
    if absent and wanted:
        warn(
            f"No training row has {listed(absent)}: the model keeps "
            f"{'it' if len(absent) == 1 else 'them'}, but may forget. Old photos beside the new "
            "ones keep them in mind."
        )
    return (
        f", with {counted(len(added), 'new class', 'new classes')} ({listed(added)})"
        if added
        else ""
    )


def _rows(task: Task) -> list[str]:
    return list(task.class_names()) if isinstance(task, ExtendableClasses) else []


def _plain(value: Any) -> Any:
    """Lists of JSON as the tuples that options hold, at the top of a dict."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _short(schema: Mapping[str, Any]) -> str:
    return listed(map(str, schema.get("classes", [schema])))
