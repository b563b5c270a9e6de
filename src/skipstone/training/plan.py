"""The plan of a training run, decided completely before anything is written.

    read -> split -> model and fitted input -> task -> head and backbone -> recipe

Training from scratch, fine-tuning and continuing are one plan, with or without a parent: what a
parent changes is in `finetune`.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from skipstone.bundle.architecture import Arch
from skipstone.bundle.locate import resolve_bundle
from skipstone.core import events, storage
from skipstone.core.errors import DataError, Refusal, SkipstoneError, UsageError
from skipstone.core.events import emit_note
from skipstone.core.formatting import relative_path
from skipstone.core.options import options_to_json
from skipstone.core.registry import BACKBONES, HEADS, INPUTS, TASKS
from skipstone.core.settings import Settings
from skipstone.core.specs import ModelChoice
from skipstone.data.manifest import ROLES, Manifest
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.datasets.augmentation import augment_options_type, make_augmentation, make_mixing
from skipstone.datasets.cache import RecordCache
from skipstone.datasets.folds import has_folds
from skipstone.datasets.label_checks import check_train_labels, check_val_tags
from skipstone.datasets.leakage import (
    inherited_roles,
    is_model_path,
    load_training_rows,
    report_inherited_roles,
)
from skipstone.datasets.options import LoadOptions, SplitOptions
from skipstone.datasets.row_scan import RowScan, scan_rows
from skipstone.datasets.splitting import ScanRows, assign_roles
from skipstone.datasets.unreadable import (
    ReadReport,
    UnreadableRow,
    exclude_unreadable,
    read_all_rows,
    to_csv,
)
from skipstone.inputs.augmentation_options import AugmentationOptions
from skipstone.inputs.base import Input, Resizable, make_input_record
from skipstone.models.build import (
    check_backbone_accepts,
    check_head_needs,
    check_regions,
    reject_small_images,
)
from skipstone.models.text_backbone_options import VectorOptions
from skipstone.tasks.base import Task, task_record
from skipstone.text.word_vectors import WordVectors, load_word_vectors
from skipstone.training.finetune import (
    OptionDefaults,
    ParentModel,
    describe_new_classes,
    inherited_head,
    inherited_input,
    inherited_options,
    inherited_schema,
    reject_other_data,
    reject_other_network,
)
from skipstone.training.network_choice import (
    LIMITS,
    choose_backbone,
    choose_head_part,
    choose_input,
    decide_cross_validation,
    fit_head_shape,
    is_model_solved,
    make_input,
    reject_ineffective_options,
    reject_unsupported_options,
)
from skipstone.training.options import TrainOptions
from skipstone.training.precision import choose_device
from skipstone.training.recipe import Recipe, RecipeFacts, resolve_recipe
from skipstone.training.run_directory import RunFolder

#: Rows that predict, before the split, which input will be trained on.
PREVIEW_ROWS = 32


class TrainContext(Protocol):
    """What a model is made for: the rows with their roles, the input and the task."""

    @property
    def manifest(self) -> Manifest: ...
    @property
    def input(self) -> Input: ...
    @property
    def task(self) -> Task: ...
    @property
    def seed(self) -> int: ...
    @property
    def loading(self) -> LoadOptions: ...


@dataclass(frozen=True)
class TrainPlan:
    """Everything that decides a run; two equal plans train the same model. A `TrainContext`.

    Args:
        manifest: with roles.
        weights: "pretrained", "none", a file of weights, or the parent's path.
        reason: why this model, in a sentence.
        loading: how batches are loaded; it changes none of them.
        parent: the model that `train --from` starts with.
        vectors: the word vectors that `train --vectors` starts with.
        others: architectures and inputs that cross-validation compares with this plan's.
        tries_grid: whether options that the user left open are searched for.
    """

    manifest: Manifest
    input: Input
    task: Task
    arch: Arch
    weights: str
    augment: AugmentationOptions
    recipe: Recipe
    reason: str
    seed: int
    loading: LoadOptions
    parent: ParentModel | None = None
    vectors: WordVectors | None = None
    others: tuple[tuple[Arch, Input], ...] = ()
    tries_grid: bool = True

    def with_model(self, arch: Arch, input: Input) -> TrainPlan:
        return replace(self, arch=arch, input=input, others=())

    def hash_files(self) -> dict[str, str]:
        """{path: SHA-256} of files that decide what is learnt: those of options (synonyms,
        vectors), and tables that hold the data, whose rows are known by their number only."""
        paths = {str(Path(path).resolve()) for path in self.augment.source_files}
        if self.manifest.cells is not None:
            tables = set(self.manifest.column_values("path"))
            paths |= {str((self.manifest.root / path).resolve()) for path in tables}
        hashes = {path: storage.file_sha256(Path(path)) for path in sorted(paths)}
        if self.vectors is not None:
            hashes[str(self.vectors.path.resolve())] = self.vectors.matches.sha256
        return hashes

    def to_json(self) -> dict[str, Any]:
        """What `run.json` stores and a later command is compared with."""
        return {
            "data": data_record(self.manifest),
            "input": make_input_record(self.manifest.input, self.input),
            "task": task_record(self.manifest.task, self.task),
            "arch": self.arch.to_json(),
            "weights": self.weights,
            "augment": options_to_json(self.augment),
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
            "from": None if self.parent is None else self.parent.to_json(),
            "vectors": None if self.vectors is None else self.vectors.to_json(),
            "others": [
                {"arch": arch.to_json(), "input": make_input_record(self.manifest.input, input)}
                for arch, input in self.others
            ],
        }


def data_record(manifest: Manifest) -> dict[str, Any]:
    """Which data, JSON-able, so that a later command finds and recognises it."""
    return {
        "root": str(manifest.root.resolve()),
        "reader": manifest.reader,
        "rows": len(manifest),
        "fingerprint": manifest.compute_fingerprint(),
    }


def build_plan(
    data: Path,
    *,
    model: str = "auto",
    weights: str = "auto",
    seed: int,
    settings: Settings,
    parent: ParentModel | None = None,
    cache: RecordCache | None = None,
) -> TrainPlan:
    """Read the data and decide; notes say what was inferred or chosen.

    Args:
        parent: the model to start from, in place of `model` and `weights`.
        cache: gets the records of rows that are decoded before they are split.

    Raises:
        UsageError: names the flag that is wrong, or that would decide what is ambiguous.
        DataError: a file or row of the data cannot be used.
    """
    choose_device(settings.make_options(TrainOptions).device)  # before any file is read
    if parent is not None:
        reject_other_network(parent, model, weights, settings)
    elif model != "auto":
        BACKBONES[model]  # refuses a misspelt name before any file is read
    manifest = _read_manifest(data, settings, parent)

    defaults = OptionDefaults() if parent is None else inherited_options(parent, settings)
    inherited = None if parent is None else inherited_input(parent, settings)

    def choose(rows: Manifest) -> tuple[ModelChoice, Input]:
        return inherited or choose_input(settings, model, weights, rows)

    scan = make_scan(cache, lambda rows: choose(rows)[1])
    manifest = _assign_roles(manifest, settings, model, weights, parent, scan)
    train_rows = manifest.rows_with_role("train")
    choice, input = choose(train_rows)
    task = _make_task(settings, manifest, train_rows, defaults, parent)
    reason = choice.reason + describe_new_classes(parent, task, train_rows)
    for sentence in (reason, *input.fit_notes):
        emit_note(sentence)
    arch = _choose_arch(choice, input, task, train_rows, settings, parent)
    facts = _recipe_facts(choice, arch, input, train_rows, recommended=parent is None)
    plan = TrainPlan(
        manifest=manifest,
        input=input,
        task=task,
        arch=arch,
        weights=choice.weights,
        augment=settings.make_options(augment_options_type(manifest.input), **defaults.augment),
        recipe=resolve_recipe(settings.make_options(TrainOptions, **defaults.recipe), facts),
        reason=reason,
        seed=seed,
        loading=settings.make_options(LoadOptions),
        parent=parent,
        others=_list_others(choice, task, settings, train_rows),
    )
    _check_plan(plan, settings, chosen_for_user=parent is None and model == "auto")
    sources, options = train_rows.list_sources(), settings.make_options(VectorOptions)
    return replace(plan, vectors=load_word_vectors(options, input, sources))


def _read_manifest(data: Path, settings: Settings, parent: ParentModel | None) -> Manifest:
    if parent is None:
        return read_manifest(data, settings.make_options(ReadOptions))
    options = settings.make_options(ReadOptions, task=parent.bundle.task["name"])
    manifest = read_manifest(data, options)
    reject_other_data(parent, data, manifest)
    return manifest


def _assign_roles(
    manifest: Manifest,
    settings: Settings,
    model: str,
    weights: str,
    parent: ParentModel | None,
    scan: ScanRows,
) -> Manifest:
    """The manifest with roles; rows that the parent was made with keep theirs. Rows of a model that
    is solved get folds."""
    if parent is None:
        is_solved = is_model_solved(settings, model, weights, manifest)
    else:
        is_solved = BACKBONES[parent.arch.name].is_closed_form
    cross_validated = decide_cross_validation(settings, is_solved=is_solved)
    origin: object = weights
    roles: dict[int, str] = {}
    if parent is not None:
        origin, roles = parent.path, inherited_roles(parent.path, parent.rows, manifest)
    elif is_model_path(weights):
        roles = inherited_roles(weights, load_training_rows(resolve_bundle(weights)), manifest)
    options = settings.make_options(SplitOptions)
    manifest = assign_roles(
        manifest, options, pinned=roles, scan=scan, cross_validated=cross_validated
    )
    if parent is None:  # a model may be fine-tuned on rows of one label
        check_train_labels(manifest)
    for sentence in manifest.notes:
        emit_note(sentence)
    report_inherited_roles(origin, manifest, roles)
    return manifest


def make_scan(cache: RecordCache | None, choose: Callable[[Manifest], Input]) -> ScanRows:
    """How `assign_roles` scans rows that will be trained on: records go into `cache`.

    The input is known only after the split, so a few rows predict it; a wrong prediction costs a
    second decode and nothing else (`RecordCache.serve`).
    """

    def scan(rows: Manifest) -> list[RowScan]:
        if cache is None or not INPUTS[rows.input].is_inspectable:
            return scan_rows(rows)
        try:
            input = choose(rows.take_rows(np.arange(0, len(rows), -(-len(rows) // PREVIEW_ROWS))))
        except SkipstoneError:  # fitting on all training rows raises it again, if it is so
            return scan_rows(rows)
        cache.set_input(input)
        return scan_rows(rows, input=input, cache=cache)

    return scan


def _make_task(
    settings: Settings,
    manifest: Manifest,
    train_rows: Manifest,
    defaults: OptionDefaults,
    parent: ParentModel | None,
) -> Task:
    """The task with the statistics of the training rows in its schema."""
    entry = TASKS[manifest.task]
    kind = entry.options_type()
    make: Callable[[Any, Mapping[str, Any]], Task] = entry.load()
    options = None if kind is None else settings.make_options(kind, **defaults.task)
    schema = manifest.schema if parent is None else inherited_schema(parent, manifest)
    return make(options, {**schema, **make(options, schema).label_statistics(train_rows)})


def _choose_arch(
    choice: ModelChoice,
    input: Input,
    task: Task,
    train_rows: Manifest,
    settings: Settings,
    parent: ParentModel | None,
) -> Arch:
    if parent is not None:
        return replace(parent.arch, head=inherited_head(parent, settings, task))
    head = choose_head_part(task, BACKBONES[choice.model], settings)
    head = fit_head_shape(head, input, task, train_rows)
    return Arch(choose_backbone(choice, head, settings), head)


def _list_others(
    choice: ModelChoice, task: Task, settings: Settings, train_rows: Manifest
) -> tuple[tuple[Arch, Input], ...]:
    """Of an automatic choice: the other models that cross-validation compares."""
    others = []
    for other in choice.others if has_folds(train_rows) else ():
        head = choose_head_part(task, BACKBONES[other.model], settings)
        input = make_input(train_rows, settings, other.input)
        others.append((Arch(choose_backbone(other, head, settings), head), input))
    return tuple(others)


def _recipe_facts(
    choice: ModelChoice, arch: Arch, input: Input, train_rows: Manifest, *, recommended: bool
) -> RecipeFacts:
    """What the recipe depends on; `recommended`: also the values that suit backbone and head."""
    pretrained = choice.weights != "none"
    backbone, head = BACKBONES[choice.model], HEADS[arch.head.name]
    suited = (
        {**backbone.finetune_recipe, **head.finetune_recipe}
        if pretrained
        else {**backbone.train_recipe, **head.train_recipe}
    )
    if head.output_level == "box":  # such heads have no auxiliary form
        suited.pop("auxiliary_loss", None)
    return RecipeFacts(
        samples=len(train_rows),
        pretrained=pretrained,
        values=sum(array[0].size for array in input.make_example(1).values()),
        is_spatial=TASKS[train_rows.task].spatial_targets,
        recommended=suited if recommended else {},
    )


def _check_plan(plan: TrainPlan, settings: Settings, *, chosen_for_user: bool) -> None:
    """Refuse what does not go together, before a run folder is made.

    Args:
        chosen_for_user: whether the model was chosen automatically.
    """
    model, head = plan.arch.name, plan.arch.head.name
    backbone = BACKBONES[model]
    settings.reject_unused(task=plan.manifest.task, model=model, head=head)
    limits = LIMITS if chosen_for_user else frozenset[str]()
    reject_unsupported_options(settings, model, plan.input.options, notes_only=limits)
    reject_ineffective_options(settings, model, plan.task.options, plan.recipe)
    check_backbone_accepts(backbone, model, plan.input.feature_spec().kind)
    check_head_needs(HEADS[head], backbone, model)
    check_regions(HEADS[head], plan.input.feature_spec())
    make_augmentation(plan.augment, plan.input, plan.task)
    mixing = make_mixing(plan.augment, plan.task, backbone)
    if plan.recipe.feature_cache and mixing is not None:
        raise UsageError(
            "--feature-cache computes frozen stages before samples are mixed, and MixUp or CutMix is on.",
            hint="Leave one of them out.",
        )
    if isinstance(plan.input, Resizable):
        with contextlib.suppress(Refusal):  # images of different sizes
            reject_small_images(plan.arch, plan.input.feature_spec(), plan.input.get_resolution())
    if HEADS[head].regions and (plan.recipe.feature_cache or mixing is not None):
        flag = "--feature-cache" if plan.recipe.feature_cache else "mixing of pictures"
        raise UsageError(
            f"{flag} does not go with --head {head}: each picture's regions are its own.",
            hint="Leave it out.",
        )


def check_input_hashes(plan: TrainPlan, run: RunFolder) -> None:
    """Journal the hashes of the plan's files, or compare them with those of the run's start.

    Raises:
        Refusal: a file has changed since.
    """
    hashes = plan.hash_files()
    at_start = run.decide("files", lambda: {"sha256": hashes})["sha256"]
    for path, digest in hashes.items():
        if at_start.get(path) != digest:
            raise Refusal(
                f"{path} has changed since {relative_path(run.path)} began (sha256 {digest[:12]}, not "
                f"{str(at_start.get(path))[:12]}), so this run cannot be resumed.",
                hint="Put the file back, or start a new run in another folder: --out DIR",
            )


UNREADABLE_CSV = "unreadable.csv"


def exclude_unreadable_rows(plan: TrainPlan, run: RunFolder, cache: RecordCache) -> TrainPlan:
    """The plan without the unreadable rows; `cache` then holds the records of the others.

    The list of rows is journalled first, so that a resumed run trains on the same rows even if
    files have changed.

    Raises:
        DataError: more rows are unreadable than `--max-bad` allows; or, in a resumed run, a file
            that was readable at the start no longer is.
    """
    cache.set_input(plan.input)
    before = run.find_decision("unreadable")
    manifest = plan.manifest
    if before is not None:
        manifest = exclude_unreadable(manifest, before["ids"])
    total = sum(len(plan.manifest.rows_with_role(role)) for role in ROLES)
    allowed = plan.loading.max_unreadable(total) if before is None else 0
    reading = read_all_rows(manifest, plan.input, plan.task, cache=cache, allowed=allowed)
    if before is None:
        _write_list(run, reading.unreadable)
        if len(reading.unreadable) > allowed:
            raise _too_many(plan, run, reading, allowed)
        ids = [bad.id for bad in reading.unreadable]
        before = run.decide("unreadable", lambda: {"ids": ids, "rows": total})
        manifest = exclude_unreadable(manifest, ids)
    elif reading.unreadable:
        raise DataError(
            f"{reading.unreadable[0].reason} It was readable when {relative_path(run.path)} started, so "
            "the run cannot be resumed exactly.",
            hint="Restore the file, or start a new run: --out DIR",
        )
    if before["ids"]:
        events.emit_warning(
            f"{len(before['ids']):,} of {total:,} files are unreadable and left out, listed in "
            f"{relative_path(run.path / UNREADABLE_CSV)}"
        )
        check_val_tags(manifest)
        if plan.parent is None:  # fine-tuning may continue with a single label
            check_train_labels(manifest)
    return replace(plan, manifest=manifest)


def _write_list(run: RunFolder, bad: tuple[UnreadableRow, ...]) -> None:
    if (
        bad or (run.path / UNREADABLE_CSV).exists()
    ):  # an earlier start may have written another list
        storage.write_text(run.path / UNREADABLE_CSV, to_csv(bad))


def _too_many(plan: TrainPlan, run: RunFolder, reading: ReadReport, allowed: int) -> DataError:
    count, complete = len(reading.unreadable), reading.read == reading.total
    total = f"{reading.total:,} files" if complete else f"the first {reading.read:,} files"
    required = f"{-(-count * 1000 // reading.total) / 10:g}%" if complete else "SHARE"
    return DataError(
        f"{count:,} of {total} are unreadable, more than --max-bad {plan.loading.max_bad} allows "
        f"({allowed:,} of {reading.total:,}); listed in {relative_path(run.path / UNREADABLE_CSV)}. The first: "
        f"{reading.unreadable[0].reason}",
        hint=f"To see the problems: skipstone audit {shlex.quote(str(plan.manifest.root))}. To "
        f"train without these files: the same command with --max-bad {required}",
    )
