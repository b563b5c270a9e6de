"""The members of an ensemble: open them, check that they match, and join their data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skipstone.bundle.architecture import MAX_MEMBERS, Arch, EnsembleArch, MemberConfig
from skipstone.bundle.files import read_bundle_json
from skipstone.bundle.format import WEIGHTS_FILE, Bundle
from skipstone.bundle.locate import resolve_bundle
from skipstone.core import events
from skipstone.core.errors import Refusal, UsageError
from skipstone.core.formatting import join_limited
from skipstone.data.fingerprint import CELL_DIGEST
from skipstone.data.manifest import Manifest
from skipstone.datasets.unreadable import UNREADABLE
from skipstone.inference.backends.torch_backend import TorchRuntime
from skipstone.inference.restore import restore_input, restore_task
from skipstone.inputs.base import Input, inputs_are_equal
from skipstone.inputs.multi_input import MultiInput
from skipstone.models.averaging import AveragingEnsemble, build_ensemble, merge_member_tensors
from skipstone.models.build import load_tensors
from skipstone.tasks.base import Task
from skipstone.workflows.shrink_model import load_training_manifest

#: A row gets the first of these roles that any member has it in, so that no training row of one
#: member is used to score the ensemble.
_ROLES = ("train", UNREADABLE, "val", "test")


@dataclass(frozen=True)
class EnsembleMember:
    """A member of an ensemble, opened; `path` is the one that the user passed."""

    path: str
    folder: Path
    bundle: Bundle
    input: Input
    task: Task
    manifest: Manifest
    sha256: str

    @property
    def arch(self) -> Arch:
        if not isinstance(self.bundle.arch, Arch):
            raise Refusal(
                f"{self.path} is already an {self.bundle.arch.name}.",
                hint="Name the models that it was made of.",
            )
        return self.bundle.arch


@dataclass(frozen=True)
class EnsembleContext:
    """What the members share (a `train.plan.TrainContext`), and the ensemble's architecture."""

    manifest: Manifest
    input: Input
    task: Task
    seed: int
    arch: EnsembleArch


def open_members(models: list[str], data: Path | None) -> list[EnsembleMember]:
    """Open the models and check that task, input and classes are the same."""
    if not 2 <= len(models) <= MAX_MEMBERS:
        raise UsageError(
            f"an ensemble needs 2 to {MAX_MEMBERS} models; named: {len(models)}.",
            hint="For example: skipstone ensemble runs/001 runs/002",
        )
    parts = [_open(model, data) for model in models]
    first = parts[0]
    for number, other in enumerate(parts[1:], 1):
        twin = next((each for each in parts[:number] if each.sha256 == other.sha256), None)
        if twin is not None:
            raise UsageError(f"{twin.path} and {other.path} are the same model.")
        for kind in ("task", "input"):
            one, two = (getattr(part.bundle, kind)["name"] for part in (first, other))
            if one != two:
                raise UsageError(
                    f"{first.path} and {other.path} have different {kind}s: {one} and {two}."
                )
        if _classes(first) != _classes(other):
            raise UsageError(
                f"{first.path} and {other.path} differ in their classes or the order of them: "
                f"{join_limited(_classes(first), 4)} and {join_limited(_classes(other), 4)}.",
                hint="Train them on the same data.",
            )
    return parts


def _open(model: str, data: Path | None) -> EnsembleMember:
    folder = resolve_bundle(model)
    bundle = Bundle.load(folder)
    sha256 = str(read_bundle_json(folder)["files"][WEIGHTS_FILE]["sha256"])
    manifest = load_training_manifest(folder, data)
    return EnsembleMember(
        model, folder, bundle, restore_input(bundle), restore_task(bundle), manifest, sha256
    )


def _classes(part: EnsembleMember) -> list[str]:
    return list(map(str, part.task.schema.get("classes", ())))


def join_members(parts: Sequence[EnsembleMember], seed: int) -> EnsembleContext:
    """Inputs, rows and architecture of the ensemble, before its network is built."""
    inputs: list[Input] = []
    members: list[MemberConfig] = []
    for part in parts:
        number = next(
            (n for n, input in enumerate(inputs) if inputs_are_equal(input, part.input)), None
        )
        if number is None:
            number = len(inputs)
            inputs.append(part.input)
        temperature = float(part.bundle.post.get("temperature", 1.0))
        members.append(MemberConfig(part.arch, number, temperature))
    task = parts[0].task
    if task.activation is None:
        raise Refusal(f"predictions of the task {task.name!r} cannot be averaged.")
    if len(inputs) > 1 and task.spatial_targets:
        raise Refusal(
            "masks and boxes can be averaged only if all members use the same input, but these "
            "preprocess theirs differently.",
            hint="Train them with the same input options, such as --size.",
        )
    input = MultiInput(inputs) if len(inputs) > 1 else inputs[0]
    ensemble = EnsembleArch(tuple(members), task.activation)
    return EnsembleContext(_join_roles(parts), input, task, seed, ensemble)


def _join_roles(parts: Sequence[EnsembleMember]) -> Manifest:
    """The rows, each in the first of _ROLES that a member has it in."""
    first = parts[0].manifest
    for other in parts[1:]:
        columns_of = [set(part.table.column_names) for part in (first, other.manifest)]
        shared = {"path", "member", "target", CELL_DIGEST}.intersection(*columns_of)
        if any(not first.table[name].equals(other.manifest.table[name]) for name in shared):
            raise UsageError(
                f"{parts[0].path} and {other.path} were trained on different data, so it is "
                "unknown which rows are new to both.",
                hint="Train them on the same data, read with the same options.",
            )
    columns = [part.manifest.column_values("role") for part in parts]
    roles = [min(each, key=_rank) for each in zip(*columns, strict=True)]
    manifest = first.with_column("role", roles)
    for role, title in (("test", "test"), ("val", "validation")):
        most, count = max(column.count(role) for column in columns), roles.count(role)
        if count == most:
            continue
        events.emit_note(
            f"The members' data was split differently: {count:,} {title} rows remain, of up to "
            f"{most:,}. Members trained with the same --split-seed keep all of them."
        )
    if not roles.count("val"):
        raise UsageError(
            "no validation row remains: each is a training or test row of some member.",
            hint="Train the members with the same --split-seed.",
        )
    return manifest


def _rank(role: str) -> int:
    return _ROLES.index(role) if role in _ROLES else len(_ROLES)


def build_ensemble_network(
    joint: EnsembleContext, parts: Sequence[EnsembleMember]
) -> AveragingEnsemble:
    """The network with its members' weights. Refusal if their outputs cannot be averaged."""
    network = build_ensemble(joint.arch, joint.input)
    tensors = merge_member_tensors(joint.arch, [part.bundle.tensors for part in parts])
    load_tensors(network, tensors, where="the ensemble")
    network.eval()
    TorchRuntime(network).run(joint.input.make_example(1))
    return network
