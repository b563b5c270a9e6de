"""The network of a plan: which model and input, which head, which options."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from skipstone.bundle.architecture import ComponentConfig
from skipstone.core.errors import DataError, UsageError
from skipstone.core.events import emit_note
from skipstone.core.formatting import to_flag
from skipstone.core.options import get_spec, options_to_json
from skipstone.core.registry import BACKBONES, HEADS, INPUTS, TASKS
from skipstone.core.settings import Settings
from skipstone.core.specs import BackboneSpec, InputSpec, ModelChoice, resolve_target
from skipstone.data.manifest import Manifest
from skipstone.datasets.augmentation import augment_options_type
from skipstone.datasets.loader import Batching, Loader
from skipstone.datasets.options import SplitOptions
from skipstone.inputs.base import DescribesSize, Input, Surveyable
from skipstone.models.build import check_backbone_accepts, choose_head, recommend_options
from skipstone.models.heads.options import HeadChoice
from skipstone.models.text_backbone_options import VectorOptions
from skipstone.tasks.base import Task
from skipstone.text.word_vectors import drop_subword_options, embedding_size_option
from skipstone.training.options import TrainOptions
from skipstone.training.recipe import Recipe

#: Options that limit time or name hardware: where no model was asked for, one that is solved at
#: once fulfils them anyway.
LIMITS = frozenset(
    {"budget", "device", "precision", "checkpoint_every", "workers", "worker_patience"}
)

#: Training rows at most whose boxes decide the shape of a head.
FITTED_ROWS = 500


def choose_input(
    settings: Settings, model: str, weights: str, train_rows: Manifest
) -> tuple[ModelChoice, Input]:
    """The model, and the input with the options that suit it, fitted on the training rows.

    Raises:
        UsageError: the model does not take this data, or an option is out of its range.
        DataError: none of the rows can be read.
    """
    entry = INPUTS[train_rows.input]
    sources = train_rows.list_sources()
    unfitted = _make_input(entry, settings, {})
    survey = unfitted.survey(sources) if isinstance(unfitted, Surveyable) else {}
    choice = _choose_model(entry, model, weights, survey, train_rows)
    task, keep_shape = TASKS[train_rows.task], entry.adapt_to_spatial_targets
    head = settings.make_options(HeadChoice).head
    regions = HEADS[head].regions if head != "auto" else 0
    needs = {"regions": regions} if regions else {}
    if task.input_options or needs:
        wanted = {**choice.input, **task.input_options, **needs}
        choice = dataclasses.replace(choice, input=wanted)
    elif task.spatial_targets and keep_shape:
        choice = resolve_target(keep_shape)(choice)  # targets lie on the input
    _reject_too_large(choice, settings.values_for(entry.options_type()), model)
    input = make_input(train_rows, settings, choice.input)
    if isinstance(input, DescribesSize):  # the user's own size, where one is given
        choice = dataclasses.replace(choice, reason=f"{choice.reason}; {input.describe_size()}")
    return choice, input


def make_input(train_rows: Manifest, settings: Settings, defaults: Mapping[str, Any]) -> Input:
    """The input with the user's options over `defaults`, fitted on the training rows."""
    defaults = drop_subword_options(settings.make_options(VectorOptions), defaults)
    unfitted = _make_input(INPUTS[train_rows.input], settings, defaults)
    return unfitted.fit(train_rows.list_sources())


def is_model_solved(settings: Settings, model: str, weights: str, rows: Manifest) -> bool:
    """Whether the model that `choose_input` would choose for `rows` is solved in closed form."""
    if model != "auto":
        return BACKBONES[model].is_closed_form
    entry = INPUTS[rows.input]
    if entry.baseline is None:  # no model for this input is solved
        return False
    unfitted = _make_input(entry, settings, {})
    survey = unfitted.survey(rows.list_sources()) if isinstance(unfitted, Surveyable) else {}
    return BACKBONES[_choose_model(entry, model, weights, survey, rows).model].is_closed_form


def decide_cross_validation(settings: Settings, *, is_solved: bool) -> bool:
    """Whether the rows get folds: models that are solved do, unless rows are to be held out.

    Raises:
        UsageError: `--folds` for a model that is trained in steps, or with the share of a part.
    """
    shares = sorted({"val_share", "test_share"} & settings.values.keys())
    folds = settings.make_options(SplitOptions).folds
    if "folds" in settings.values and folds and (shares or not is_solved):
        reason = (
            f"{_flags(shares)} holds rows out instead"
            if shares
            else "the model is trained in steps, and its score is of rows that are held out"
        )
        raise UsageError(
            f"--folds {folds} has no effect: {reason}.",
            hint="Leave one of them out." if shares else "Leave it out.",
        )
    return is_solved and folds > 0 and not shares


def _make_input(entry: InputSpec, settings: Settings, defaults: Mapping[str, Any]) -> Input:
    kind = entry.options_type()
    input: Input = entry.load()(None if kind is None else settings.make_options(kind, **defaults))
    return input


def _choose_model(
    input_entry: InputSpec,
    model: str,
    weights: str,
    survey: Mapping[str, Any],
    train_rows: Manifest,
) -> ModelChoice:
    """The model and its weights: the user's, or those that the input's chooser names."""
    emits = input_entry.emits
    if model != "auto" and emits:
        check_backbone_accepts(BACKBONES[model], model, *emits)
    chooser = input_entry.choose_model
    if chooser is not None:
        choice: ModelChoice = resolve_target(chooser)(
            model=model,
            weights=weights,
            state=survey,
            rows=len(train_rows),
            classes=len(train_rows.schema.get("classes", ())),
        )
        return choice
    if model == "auto":
        raise UsageError(
            f"no model is chosen automatically for the input {input_entry.name!r}.",
            hint="Name one: --model NAME. See: skipstone models",
        )
    start = "none" if weights == "auto" else weights
    reason = f"{model} as asked for, " + ("from scratch" if start == "none" else f"from {start}")
    return ModelChoice(model=model, weights=start, input={}, reason=reason)


def _reject_too_large(choice: ModelChoice, values: Mapping[str, Any], model: str) -> None:
    """UsageError where an option of the input exceeds what the model can be built for."""
    for name, most in choice.input_limits.items():
        if values.get(name, most) > most:
            raise UsageError(
                f"{to_flag(name)} {values[name]} is more than {model} can take, which is {most}.",
                hint=f"Use {to_flag(name)} {most}, or less.",
            )


def choose_backbone(
    choice: ModelChoice, head: ComponentConfig, settings: Settings
) -> ComponentConfig:
    """The chosen model with its options: the user's, and those that vectors or the head decide."""
    entry = BACKBONES[choice.model]
    values = {**choice.options, **settings.values_for(entry.options_type())}
    values |= embedding_size_option(
        settings.make_options(VectorOptions), entry, values, weights=choice.weights
    )
    options = recommend_options(entry, choice.model, HEADS[head.name], values)
    args = {"options": options_to_json(options)}
    return ComponentConfig(
        choice.model, {**args, "shape": dict(choice.shape)} if choice.shape else args
    )


def choose_head_part(task: Task, backbone: BackboneSpec, settings: Settings) -> ComponentConfig:
    """The head that the user names, the backbone requires, or the task has; with its options."""
    wanted, required = settings.make_options(HeadChoice).head, backbone.head
    if required is not None and wanted not in ("auto", required):
        raise UsageError(
            f"{backbone.name!r} gives class scores itself, so --head {wanted} has nothing to "
            "learn.",
            hint="Leave --head out, or choose another model: skipstone models",
        )
    part = choose_head(wanted, default_head(task, backbone))
    return with_head_options(part, settings, part.args.get("options", {}))


def default_head(task: Task, backbone: BackboneSpec) -> ComponentConfig:
    """The head that a backbone requires (`head` of its spec), else the task's."""
    part = task.default_head()
    return ComponentConfig(backbone.head or part.name, part.args)


def with_head_options(
    head: ComponentConfig, settings: Settings, defaults: Mapping[str, Any]
) -> ComponentConfig:
    """The head with the user's options over `defaults`."""
    entry = HEADS[head.name]
    options = entry.make_options({**defaults, **settings.values_for(entry.options_type())})
    return ComponentConfig(head.name, {**head.args, "options": options_to_json(options)})


def fit_head_shape(
    head: ComponentConfig, input: Input, task: Task, train_rows: Manifest
) -> ComponentConfig:
    """The head with what it takes from the boxes of the training rows (`HeadSpec.fit_shape`), of
    FITTED_ROWS at equal steps; unreadable ones are skipped."""
    entry = HEADS[head.name]
    if entry.fit_shape is None:
        return head
    step = -(-len(train_rows) // FITTED_ROWS)
    rows = train_rows.take_rows(np.arange(0, len(train_rows), step))
    loader = Loader(rows, input, task, Batching(batch_size=1, seed=0, shuffle=False))
    sides = [np.zeros((0, 2))]
    for row in range(len(rows)):
        with contextlib.suppress(DataError, OSError):
            sample = loader.load_sample(row)
            assert sample.y is not None
            boxes = sample.y["boxes"].numpy().astype(np.float64)
            sides.append((boxes[:, 2:] - boxes[:, :2]) / sample.meta.shape[1::-1])
    options = entry.make_options(head.args.get("options"))
    fitted = resolve_target(entry.fit_shape)(options, np.concatenate(sides))
    return ComponentConfig(
        head.name, {**head.args, "shape": {**head.args.get("shape", {}), **fitted}}
    )


def reject_unsupported_options(
    settings: Settings,
    model: str,
    input_options: Any,
    *,
    notes_only: frozenset[str] = frozenset(),
) -> None:
    """Refuse given options that the model's learner, or the input in its form, does not have.

    Args:
        notes_only: a note says of these options that the learner does not need them.

    Raises:
        UsageError: names the options, and those that the model has.
    """
    entry = BACKBONES[model]
    model_options = _fields(entry.options_type())
    input_fields = [name for name in _effective(input_options) if name not in model_options]
    supported = [*model_options, *input_fields]
    by_steps = unsupported_options(entry)
    of_other_form = set(_fields(type(input_options))) - set(supported)
    rejected = [
        name
        for name in settings.values
        if name in by_steps | of_other_form and name not in supported
    ]
    needless = [name for name in rejected if name in notes_only & by_steps]
    if needless:
        emit_note(f"{model} is solved at once, so {_flags(needless)} changes nothing.")
        rejected = [name for name in rejected if name not in needless]
    if not rejected:
        return
    them = "it" if len(rejected) == 1 else "them"
    reason = f"{model} does not use {them}"
    if by_steps & set(rejected):
        reason = f"{model} is solved at once, not trained in steps"
    raise UsageError(
        f"{_flags(rejected)} would change nothing: {reason}. It takes {_flags(supported)}.",
        hint=f"Leave {them} out, or choose another model: skipstone models",
    )


def reject_ineffective_options(
    settings: Settings, model: str, task_options: Any, recipe: Recipe
) -> None:
    """Refuse given options of the task and of training that have no effect beside the others.

    Raises:
        UsageError: names each, and why.
    """
    given, problems = settings.values, []
    for item in dataclasses.fields(task_options) if dataclasses.is_dataclass(task_options) else ():
        if item.name not in given:
            continue
        if get_spec(item).needs_gradient and unsupported_options(BACKBONES[model]):
            problems.append(
                f"{to_flag(item.name)}, as {model} is solved at once, not trained in steps"
            )
            continue
        problems += [
            f"{to_flag(item.name)} without {to_flag(other)} {value}"
            for other, value in get_spec(item).requires.items()
            if getattr(task_options, other) != value
        ]
    if given.get("unfreeze") == "gradual" and not recipe.freeze_epochs:
        problems.append("--unfreeze gradual without --freeze-epochs")
    if "warmup" in given and recipe.schedule == "one-cycle":
        problems.append("--warmup with --schedule one-cycle, which has a rise of its own")
    if problems:
        raise UsageError(
            f"{'; '.join(problems)}: would change nothing.",
            hint="Leave that out, or give what it belongs to.",
        )


def _effective(options: Any) -> list[str]:
    """The input's options that have an effect, given the others.

    A field may require other options: `option(..., requires={"text_features": "bag"})`.
    """
    return [
        name
        for name in _fields(type(options))
        if all(
            getattr(options, other) == value
            for other, value in get_spec(options.__dataclass_fields__[name]).requires.items()
        )
    ]


def _fields(options: type[Any] | None) -> list[str]:
    if options is None or not dataclasses.is_dataclass(options):
        return []
    return [field.name for field in dataclasses.fields(options)]


def _flags(names: Iterable[str]) -> str:
    return ", ".join(map(to_flag, names))


def unsupported_options(entry: BackboneSpec) -> frozenset[str]:
    """Names of the options that the learner of a backbone does not have."""
    return _options_of_training_steps() if entry.is_closed_form else frozenset()


def _options_of_training_steps() -> frozenset[str]:
    """Names of options of training in steps. The number of threads changes no model, and every
    learner has a seed, so those two are not among them."""
    kinds: list[type[Any]] = [TrainOptions, *(augment_options_type(entry.name) for entry in INPUTS)]
    names = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    return frozenset({"workers", "worker_patience"} | names - {"threads", "seed"})
