"""import: published weights as a bundle that evaluates, verifies, shrinks and exports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from skipstone.bundle.architecture import Arch, ComponentConfig
from skipstone.bundle.format import WEIGHTS_FILE, Bundle
from skipstone.bundle.output_paths import choose_output_folder, reject_nonempty_folder
from skipstone.core import storage
from skipstone.core.errors import DataError, UsageError
from skipstone.core.formatting import join_command_line, join_limited, relative_path
from skipstone.core.options import options_to_json
from skipstone.core.registry import BACKBONES, HEADS, INPUTS, TASKS
from skipstone.core.results import TableResult
from skipstone.core.settings import Settings
from skipstone.core.versions import package_versions
from skipstone.evaluation.parity import Verification
from skipstone.image.base_input import BaseImageInput
from skipstone.image.input import ImageInput, make_image_input
from skipstone.image.options import ImageOptions
from skipstone.inputs.base import Input, make_input_record
from skipstone.models.build import (
    build_network,
    check_backbone_accepts,
    export_tensors,
    recommend_options,
)
from skipstone.models.checkpoint_loading import State, load_published
from skipstone.models.network import Network
from skipstone.models.weights import (
    load_pretrained_state,
    published_preparation,
    read_weights,
)
from skipstone.tasks.base import Task, task_record
from skipstone.training.finalize import export_and_verify
from skipstone.training.options import TrainOptions
from skipstone.training.recipe import RecipeFacts, resolve_recipe
from skipstone.workflows.run_result import (
    format_result,
    format_verification,
    verification_table_rows,
)

#: Rows that the recipe for training after a later step assumes.
_ASSUMED_ROWS = 10_000
#: The input that weights are imported for.
_INPUT = "image"


@dataclass(frozen=True, kw_only=True, repr=False)
class ImportResult(TableResult):
    """A model of published weights; as a table, the checks of its verification.

    Args:
        network: its name.
        classes: number of classes.
        preparation: what happens to pictures, as a phrase.
        bytes: size of the weights file.
    """

    bundle: Path
    network: str
    classes: int
    preparation: str
    verification: Verification
    bytes: int

    @property
    def exit_code(self) -> int:
        return 0 if self.verification.ok else 1

    def __repr__(self) -> str:
        facts = {
            "network": f"{self.network}, {self.classes:,} classes",
            "input": self.preparation,
            "bundle": self.bundle,
            "verified": format_verification(self.verification),
        }
        return format_result(self, facts)

    def table_rows(self) -> list[dict[str, Any]]:
        return verification_table_rows(self.verification)

    def to_json(self) -> dict[str, Any]:
        return {
            "bundle": str(self.bundle),
            "network": self.network,
            "classes": self.classes,
            "input": self.preparation,
            "verified": self.verification.ok,
            "weights_bytes": self.bytes,
        }


def import_published_weights(
    weights: Path | str,
    *,
    model: str,
    classes: Path,
    task: str = "classify",
    out: Path | None = None,
    mean_and_std: tuple[str | None, str | None] = (None, None),
    settings: Mapping[str, Any] | None = None,
    command: Sequence[str] = (),
) -> ImportResult:
    """A bundle with the network `model` and its published `weights`, classifier included.

    Args:
        mean_and_std: of each channel of pixels in 0..1, each as "0.5,0.5,0.5", instead of a
            `normalize` by name.

    Raises:
        FinishedAlready: the same call wrote that folder before.
        UsageError: the network does not take images, the weights are not those of the whole
            network, its outputs are not those of the published one, or the number of classes
            differs.
        DataError: the file of classes cannot be used.
    """
    values = Settings(settings)
    check_backbone_accepts(BACKBONES[model], model, *INPUTS[_INPUT].emits)
    folder = choose_output_folder(out, default="imported")
    names = read_class_names(classes)
    state, where = _read_state(weights, model)
    source = {"weights": _describe_origin(weights), "model": model, "task": task}
    origin = storage.compute_origin(
        command="import", **source, classes=names, numbers=mean_and_std, settings=values.values
    )
    storage.refuse_finished(folder, origin)
    reject_nonempty_folder(folder)
    input = _make_input(model, values, state, *mean_and_std)
    made_task: Task = TASKS[task].load()(TASKS[task].make_options(), {"classes": names})
    arch = _make_arch(model, made_task, values)
    values.reject_unused(task=task, model=model, head=arch.head.name)
    network = build_network(arch, input)
    _load_whole_network(network, state, input, where, model, f"{len(names):,}")
    bundle = Bundle(
        arch=arch,
        input=make_input_record(_INPUT, input),
        task=task_record(task, made_task),
        lineage=_make_lineage(weights, input, join_command_line(command)),
        tensors=export_tensors(network),
    )
    with storage.write_folder(folder, must_be_new=True, origin=origin) as new:
        bundle.save(new)
        verification = export_and_verify(new)
    return ImportResult(
        bundle=relative_path(folder.absolute()),
        network=arch.name,
        classes=len(names),
        preparation=describe_preparation(input.options),
        verification=verification,
        bytes=(folder / WEIGHTS_FILE).stat().st_size,
    )


def _load_whole_network(
    network: Network, state: State, input: Input, where: str, model: str, classes: str
) -> None:
    """UsageError unless every tensor of the network is loaded, and its outputs are right."""
    example = {name: torch.from_numpy(array) for name, array in input.make_example(2).items()}
    report = load_published(network, state, where=where, example=example)
    absent = (*report.missing_in_model, *report.shape_mismatch)
    if absent:
        raise UsageError(
            f"{where} is not the whole network {model}: {join_limited(absent)} missing."
        )
    if not report.has_classifier:
        reason = report.classifier or "it has no classifier of this network's name"
        raise UsageError(
            f"{where} cannot be imported as {model} with {classes} classes: {reason}.",
            hint="Name the network that the weights belong to (--model), and one class per output.",
        )


def _make_lineage(weights: Path | str, input: BaseImageInput, command: str) -> dict[str, Any]:
    """How the bundle was made, and the recipe of training that a later step may need."""
    values = input.make_example(1)["image"].size
    facts = RecipeFacts(samples=_ASSUMED_ROWS, pretrained=True, values=values)
    return {
        "command": command,
        "seed": 0,
        "imported": _describe_origin(weights),
        "recipe": resolve_recipe(TrainOptions(), facts).to_json(),
        "how": "published weights, imported",
        "versions": package_versions(),
    }


def read_class_names(path: Path) -> list[str]:
    """The lines of a text file. DataError for an empty line, or a name that occurs twice."""
    try:
        text = storage.read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}.") from None
    names = [line.strip() for line in text.rstrip().splitlines()]
    if not any(names):
        raise DataError(f"{path} is empty.", hint="Write one class name per line.")
    if "" in names:
        raise DataError(
            f"{path}, line {names.index('') + 1}, is empty; each is the name of a class."
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        lines = [number for number, name in enumerate(names, 1) if name == twice[0]]
        raise DataError(
            f"{path}: the class {twice[0]!r} is on the lines {' and '.join(map(str, lines[:2]))}.",
            hint="Names of classes have to differ: ImageNet has two cranes, a bird and a machine.",
        )
    return names


def describe_preparation(options: ImageOptions) -> str:
    """What happens to pictures, as a phrase."""
    share = f", {options.crop_share:.1%} of the shorter side" * (options.crop_share < 1)
    how = f"{options.resize}{share}" if options.resize == "crop" else options.resize
    numbers = repr(options.normalize)
    if options.normalize == "fit":
        numbers = "the given mean and deviation"
    return f"{options.size} pixels ({how}, {options.interpolation}), normalised by {numbers}"


def _read_state(weights: Path | str, model: str) -> tuple[State, str]:
    """The tensors, and their source for messages."""
    if weights == "pretrained":
        return load_pretrained_state(model), f"{model}'s pretrained weights"
    if Path(weights).is_dir():
        raise UsageError(
            f"{weights} is a folder; a file of weights is imported.",
            hint="A model of skipstone needs no import: skipstone evaluate MODEL DATA",
        )
    return read_weights(weights), str(weights)


def _describe_origin(weights: Path | str) -> dict[str, str]:
    if weights == "pretrained":
        return {"weights": "pretrained"}
    return {"weights": str(weights), "sha256": storage.file_sha256(Path(weights))}


def _make_input(
    model: str, values: Settings, state: State, mean: str | None, std: str | None
) -> BaseImageInput:
    """The published preparation of pictures under the user's options."""
    stem = next((tensor for tensor in state.values() if tensor.ndim == 4), None)
    channels = 3 if stem is None else int(stem.shape[1])
    published = published_preparation(model)
    if mean is not None or std is not None:
        return _make_measured_input(values, {**published, "channels": channels}, mean, std)
    options = values.make_options(ImageOptions, **{"channels": channels, **published})
    if "normalize" not in {**published, **values.values}:
        raise UsageError(
            f"it is not known how {model}'s weights expect pixels.",
            hint="Say it: --normalize imagenet, half, clip or none; or --mean and --std.",
        )
    if options.normalize == "fit" or options.channels not in (1, 3):
        raise UsageError(
            "imported weights need --channels 1 or 3 and a fixed --normalize: there is no data to "
            "fit them to.",
            hint="Such as: --normalize imagenet",
        )
    return make_image_input(options)


def _make_measured_input(
    values: Settings, defaults: Mapping[str, Any], mean: str | None, std: str | None
) -> BaseImageInput:
    """An input that normalises with these numbers.

    Raises:
        UsageError: one of them is missing or has another number of channels, or --normalize names
            others.
    """
    if "normalize" in values.values:
        raise UsageError("--mean and --std are given, and --normalize too.", hint="Leave one out.")
    options = values.make_options(ImageOptions, **{**defaults, "normalize": "fit"})
    numbers = {"mean": _parse_numbers("--mean", mean), "std": _parse_numbers("--std", std)}
    if options.channels not in (1, 3) or any(
        len(value) != options.channels for value in numbers.values()
    ):
        raise UsageError(
            f"--mean has {len(numbers['mean'])} and --std {len(numbers['std'])} numbers, and the "
            f"network takes {options.channels} channels.",
            hint="One number per channel, 1 or 3: --mean 0.49,0.48,0.45 --std 0.25,0.24,0.26",
        )
    return ImageInput(options, {"channels": options.channels, **numbers})


def _parse_numbers(flag: str, text: str | None) -> list[float]:
    """ "0.5,0.5" as numbers in 0..1, the deviations above 0."""
    try:
        numbers = [float(part) for part in (text or "").split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all((0 if flag == "--mean" else 1e-6) <= each <= 1 for each in numbers):
        raise UsageError(
            f"{flag} {text} is not valid: it takes numbers from 0 to 1, one per channel, with commas "
            "between them.",
            hint="Such as: --mean 0.49,0.48,0.45 --std 0.25,0.24,0.26",
        )
    return numbers


def _make_arch(model: str, task: Task, values: Settings) -> Arch:
    entry = BACKBONES[model]
    usual = task.default_head()
    given = values.values_for(entry.options_type())
    options = recommend_options(entry, model, HEADS[usual.name], given)
    head = options_to_json(HEADS[usual.name].make_options(usual.args.get("options")))
    return Arch(
        ComponentConfig(model, {"options": options_to_json(options)}),
        ComponentConfig(usual.name, {**usual.args, "options": head}),
    )
