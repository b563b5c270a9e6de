"""What only a parent changes in a plan: `train --from` a model, with new samples or new classes.

The input, the network and the recipe are the parent's, where no flag says otherwise; its head
keeps the rows of the classes that it knows. Rows that the parent was trained on keep their role,
so that it is tested on none of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skipstone.bundle.architecture import Arch, ComponentConfig, require_single_network
from skipstone.bundle.files import read_bundle_json
from skipstone.bundle.format import WEIGHTS_FILE, Bundle
from skipstone.bundle.locate import resolve_bundle
from skipstone.core.errors import UsageError
from skipstone.core.events import emit_warning
from skipstone.core.formatting import join_limited, pluralize, relative_path, to_flag
from skipstone.core.options import get_spec
from skipstone.core.registry import BACKBONES, INPUTS
from skipstone.core.settings import Settings
from skipstone.core.specs import ModelChoice
from skipstone.data.manifest import Manifest
from skipstone.datasets.augmentation import stored_augmentation
from skipstone.datasets.leakage import TrainingRows, load_training_rows
from skipstone.datasets.splitting import get_labels
from skipstone.inference.restore import restore_input, restore_task
from skipstone.inputs.base import Input
from skipstone.models.build import choose_head
from skipstone.models.heads.options import HeadChoice
from skipstone.models.network import Network
from skipstone.models.text_backbone_options import VectorOptions
from skipstone.models.weights import extend_classes
from skipstone.tasks.base import ExtendableClasses, Task
from skipstone.training.network_choice import (
    default_head,
    reject_unsupported_options,
    with_head_options,
)
from skipstone.training.options import TrainOptions

#: Options of a recipe that end a training, and those that belong to a machine or a command.
_LENGTH = ("epochs", "steps", "budget")
_NOT_INHERITED = ("seed", "device", "threads", "checkpoint_every")


@dataclass(frozen=True)
class ParentModel:
    """The model that a run starts from.

    Args:
        path: as the user named it.
        weights: SHA-256 of its weights file.
        rows: that it was made with.
    """

    path: Path
    bundle: Bundle
    weights: str
    rows: TrainingRows

    @property
    def arch(self) -> Arch:
        """Refusal for an ensemble."""
        return require_single_network(self.bundle.arch, "--from")

    def to_json(self) -> dict[str, Any]:
        """For the identity of a run and the lineage of its bundle."""
        return {
            "model": str(self.path),
            "weights": self.weights,
            "command": self.bundle.lineage.get("command", ""),
            "data": self.bundle.lineage.get("data", {}),
        }

    def load_weights(self, network: Network, task: Task) -> None:
        """Its weights into `network`, whose head is for `task`."""
        known, wanted = _class_names(restore_task(self.bundle)), _class_names(task)
        extend_classes(
            network,
            self.bundle.tensors,
            old_classes=known,
            new_classes=wanted,
            where=str(self.path),
        )


@dataclass(frozen=True)
class OptionDefaults:
    """Values of options that the user's go over; of a parent, those that it was trained with."""

    task: Mapping[str, Any] = field(default_factory=dict)
    augment: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)


def load_parent(path: str | Path) -> ParentModel:
    """UsageError for a missing model; DamagedError where it is not as it was written."""
    folder = resolve_bundle(path)
    return ParentModel(
        relative_path(Path(path).absolute()),
        Bundle.load(folder),
        str(read_bundle_json(folder)["files"][WEIGHTS_FILE]["sha256"]),
        load_training_rows(folder),
    )


def reject_other_network(parent: ParentModel, model: str, weights: str, settings: Settings) -> None:
    """UsageError for flags that ask for another network than the parent's."""
    part = parent.arch.backbone
    if (vectors := settings.make_options(VectorOptions).vectors) is not None:
        raise UsageError(
            f"--from {parent.path} keeps that model's vectors, and --vectors {vectors} names "
            "others.",
            hint="Give one of the two.",
        )
    if weights != "auto":
        raise UsageError(
            f"--from {parent.path} starts with that model's weights, and --weights {weights} names "
            "others.",
            hint="Give one of the two.",
        )
    if model not in ("auto", part.name):
        raise UsageError(
            f"--from {parent.path} keeps its network, {part.name}; --model {model} is another.",
            hint=f"Leave --model out, or start a new one: --model {model} without --from.",
        )
    entry = BACKBONES[part.name]
    if entry.is_closed_form:
        raise UsageError(
            f"{parent.path} is a {part.name}, which is always solved from all of its data: it "
            "cannot be fine-tuned.",
            hint="Train on the old and the new data together, without --from.",
        )
    parent_options = part.args.get("options", {})
    for name, value in settings.values_for(entry.options_type()).items():
        if name in parent_options and _tuples(value) != parent_options[name]:
            raise UsageError(
                f"{to_flag(name)} {value} makes another network than {parent.path}, which has "
                f"{to_flag(name)} {parent_options[name]}.",
                hint=f"Leave {to_flag(name)} out, or train a new model without --from.",
            )


def reject_other_data(parent: ParentModel, data: Path, manifest: Manifest) -> None:
    """UsageError for data of another input or task than the parent's."""
    input, task = parent.bundle.input["name"], parent.bundle.task["name"]
    if (input, task) != (manifest.input, manifest.task):
        raise UsageError(
            f"{parent.path} is for {input} and {task}, but {data} is {manifest.input} data for "
            f"{manifest.task}: they do not go together.",
            hint="Give data of the same kind, or train a new model without --from.",
        )


def inherited_input(parent: ParentModel, settings: Settings) -> tuple[ModelChoice, Input]:
    """The parent's model, and its input with the fitted state, by which its weights are to be read:
    in a new vocabulary, each row of an embedding would be another word's.

    Raises:
        UsageError: a flag contradicts the fitted state, or has no effect.
    """
    record, input, name = parent.bundle.input, restore_input(parent.bundle), parent.arch.name
    reject_unsupported_options(settings, name, input.options)
    entry = INPUTS[record["name"]]
    changed = {
        option: value
        for option, value in settings.values_for(entry.options_type()).items()
        if _tuples(value) != record["options"].get(option)
    }
    for option, value in changed.items():
        if not get_spec(type(input.options).__dataclass_fields__[option]).keeps_fit:
            raise UsageError(
                f"{to_flag(option)} {value} reads the data otherwise than {parent.path}, "
                f"which has {to_flag(option)} {record['options'].get(option) or 'none'}.",
                hint=f"Leave {to_flag(option)} out, or train a new model without --from.",
            )
    if changed:
        options = entry.make_options({**record["options"], **changed})
        input = entry.load()(options, record["state"], dict(parent.bundle.input_arrays))
    reason = f"{name} of {parent.path} is fine-tuned"
    return ModelChoice(model=name, weights=str(parent.path), input={}, reason=reason), input


def inherited_schema(parent: ParentModel, manifest: Manifest) -> Mapping[str, Any]:
    """The parent's classes with those that the data adds.

    Raises:
        UsageError: the task cannot add classes, and the data has others.
    """
    task = restore_task(parent.bundle)
    if isinstance(task, ExtendableClasses):
        return task.with_new_classes(manifest.schema)
    known = {name: value for name, value in task.schema.items() if name in manifest.schema}
    if known != dict(manifest.schema):
        raise UsageError(
            f"the task {manifest.task!r} can be fine-tuned on the labels of {parent.path} only; "
            f"this data has others ({_list_classes(manifest.schema)}, not {_list_classes(known)}).",
            hint="Train a new model without --from.",
        )
    return manifest.schema


def inherited_head(parent: ParentModel, settings: Settings, task: Task) -> ComponentConfig:
    """The parent's head with the shape that the task now has."""
    head = parent.arch.head
    wanted = settings.make_options(HeadChoice, head=head.name).head
    part = choose_head(head.name, default_head(task, BACKBONES[parent.arch.name]))
    if wanted not in ("auto", part.name):
        raise UsageError(
            f"--from {parent.path} keeps its head, {head.name}; --head {wanted} is another.",
            hint="Leave --head out, or train a new model without --from.",
        )
    shape = {**head.args.get("shape", {}), **part.args.get("shape", {})}
    part = ComponentConfig(part.name, {**part.args, "shape": shape})
    return with_head_options(part, settings, head.args.get("options", {}))


def inherited_options(parent: ParentModel, settings: Settings) -> OptionDefaults:
    """Options of the task, the augmentation and the recipe that the parent was made with."""
    known = {option.name for option in dataclasses.fields(TrainOptions)}
    recipe = {
        name: value
        for name, value in _tuples(parent.bundle.lineage.get("recipe", {})).items()
        if name in known and name not in _NOT_INHERITED
    }
    if any(name in settings.values for name in _LENGTH):
        for name in (*_LENGTH, "ema"):  # the average reaches back over a share of the length
            recipe.pop(name, None)
    return OptionDefaults(
        task=_tuples(parent.bundle.task["options"]),
        augment=stored_augmentation(
            parent.bundle.input["name"],
            _tuples(parent.bundle.lineage.get("augment", {})),
            settings.values,
            parent.path,
        ),
        recipe=recipe,
    )


def describe_new_classes(parent: ParentModel | None, task: Task, train_rows: Manifest) -> str:
    """ ", with 1 new class (owl)", for the reason; "" without. Warns of classes without rows."""
    if parent is None:
        return ""
    known, wanted = _class_names(restore_task(parent.bundle)), _class_names(task)
    added = [name for name in wanted if name not in known]
    labels = {
        label for target in train_rows.column_values("target") for label in get_labels(target)
    }
    absent = [name for name in known if name not in labels]
    if absent and wanted:
        emit_warning(
            f"No training row has {join_limited(absent)}: the model keeps "
            f"{'it' if len(absent) == 1 else 'them'}, but may forget. Train on old samples beside "
            "the new ones to prevent that."
        )
    if not added:
        return ""
    return f", with {pluralize(len(added), 'new class', 'new classes')} ({join_limited(added)})"


def _class_names(task: Task) -> list[str]:
    return list(task.class_names()) if isinstance(task, ExtendableClasses) else []


def _tuples(value: Any) -> Any:
    """A value of JSON with tuples for lists, as options hold them, at the top of a dict."""
    if isinstance(value, Mapping):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _list_classes(schema: Mapping[str, Any]) -> str:
    return join_limited(map(str, schema.get("classes", [schema])))
