"""What a training run will do, decided completely before anything is written.

data -> manifest with roles -> fitted input, task -> model and weights -> recipe
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skipstone import storage
from skipstone.bundle.arch import Arch, Part
from skipstone.bundle.locate import bundle_of
from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.errors import SkipstoneError, UsageError
from skipstone.events import note
from skipstone.inputs.base import Input, input_record
from skipstone.models.build import check_accepts, check_needs, choose_head, suited_options
from skipstone.models.choice import Choice
from skipstone.models.heads.options import HeadChoice
from skipstone.models.vector_options import VectorOptions
from skipstone.models.word_vectors import WordVectors, vector_size, whole_words, word_vectors
from skipstone.option_types import stored_options
from skipstone.prepare.augment_options import AugmentOptions
from skipstone.prepare.augmentation import augment_options, augmentation_of, mixing_of
from skipstone.prepare.cache import RecordCache
from skipstone.prepare.enough import check_labels_to_learn
from skipstone.prepare.look import Read, look_at
from skipstone.prepare.options import LoadOptions, SplitOptions
from skipstone.prepare.split import Look, assign_roles
from skipstone.prepare.text_augment_options import TextAugmentOptions
from skipstone.registry import BACKBONES, HEADS, INPUTS, TASKS, Entry, resolve_target
from skipstone.settings import Settings
from skipstone.tasks.base import Task, task_record
from skipstone.train.learner import Start
from skipstone.train.options import TrainOptions
from skipstone.train.recipe import Facts, Recipe, resolve
from skipstone.verbs.heard import refuse_idle, refuse_unheard
from skipstone.verbs.lineage import data_record
from skipstone.verbs.seen import named_as_weights, rows_to_keep, say_what_was_kept, seen_by
from skipstone.words import flag

#: Rows by which it is guessed, before the split, which input will be trained on.
GUESSED_FROM = 32


@dataclass(frozen=True)
class Plan:
    """Everything that decides a run; two equal plans train the same model.

    Args:
        manifest: with roles.
        weights: "pretrained", "none", or a file of weights.
        reason: why this model, in a sentence.
        loading: how batches are made, which changes none of them.
        origin: the model whose weights it starts from, for `train --from`.
        vectors: word vectors that it starts with, for `train --vectors`.
    """

    manifest: Manifest
    input: Input
    task: Task
    arch: Arch
    weights: str
    augment: AugmentOptions | TextAugmentOptions
    recipe: Recipe
    reason: str
    seed: int
    loading: LoadOptions
    origin: Start | None = None
    vectors: WordVectors | None = None

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of the files that decide what is learnt: those beside the data, and tables that
        hold it, whose rows have no name but their number."""
        read = {str(Path(path).resolve()) for path in self.augment.files}
        if self.manifest.cells is not None:
            tables = set(self.manifest.column("path"))
            read |= {str((self.manifest.root / path).resolve()) for path in tables}
        found = {path: storage.file_sha256(Path(path)) for path in sorted(read)}
        if self.vectors is not None:
            found[str(self.vectors.path.resolve())] = self.vectors.found.sha256
        return found

    def to_json(self) -> dict[str, Any]:
        """What `run.json` stores and a later command is compared with."""
        return {
            "data": data_record(self.manifest),
            "input": input_record(self.manifest.input, self.input),
            "task": task_record(self.manifest.task, self.task),
            "arch": self.arch.to_json(),
            "weights": self.weights,
            "augment": stored_options(self.augment),
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
            "from": None if self.origin is None else self.origin.to_json(),
            "vectors": None if self.vectors is None else self.vectors.to_json(),
        }


def make_plan(
    data: Path,
    *,
    model: str,
    weights: str,
    seed: int,
    settings: Settings,
    cache: RecordCache | None = None,
) -> Plan:
    """Read the data and decide; what was inferred or chosen is said as notes.

    Args:
        cache: gets the records of rows that have to be looked at before they are split.

    Raises:
        UsageError: naming the flag that is wrong, or that would decide what is ambiguous.
        DataError: a file or row of the data cannot be used.
    """
    if model != "auto":
        BACKBONES[model]  # a misspelt name is refused before any file is read
    look = first_look(cache, lambda rows: _chosen(settings, model, weights, rows)[1])
    manifest = _with_roles(data, settings, look, weights)
    fit, task_entry = manifest.role("fit"), TASKS[manifest.task]
    choice, input = _chosen(settings, model, weights, fit)
    for sentence in (choice.reason, *input.notes):
        note(sentence)
    task = _task(task_entry, settings, manifest, fit)
    backbone = BACKBONES[choice.model]
    head = _head(task, backbone, settings)
    arch = Arch(_backbone(choice, head, settings), head)
    facts = _facts(choice, input, len(fit), placed=bool(task_entry.facts.get("places")))
    recipe = resolve(settings.options(TrainOptions), facts)
    augment = settings.options(augment_options(manifest.input))
    loading = settings.options(LoadOptions)
    settings.check_used(task=manifest.task, model=choice.model, head=head.name)
    refuse_unheard(settings, choice.model, input.options)
    refuse_idle(settings, choice.model, task.options, recipe)
    # What cannot go together is refused here, before a run folder is made.
    check_accepts(backbone, choice.model, input.emits().kind)
    check_needs(HEADS[head.name], backbone, choice.model)
    augmentation_of(augment, input, task)
    mixing_of(augment, task, backbone)
    vectors = word_vectors(settings.options(VectorOptions), input, fit.sources())
    return Plan(
        manifest=manifest,
        input=input,
        task=task,
        arch=arch,
        weights=choice.weights,
        augment=augment,
        recipe=recipe,
        reason=choice.reason,
        seed=seed,
        loading=loading,
        vectors=vectors,
    )


def _with_roles(data: Path, settings: Settings, look: Look, weights: str) -> Manifest:
    manifest = read_manifest(data, settings.options(ReadOptions))
    kept: dict[int, str] = {}
    if named_as_weights(weights):  # its rows have roles already
        kept = rows_to_keep(weights, seen_by(bundle_of(weights)), manifest)
    manifest = assign_roles(manifest, settings.options(SplitOptions), pinned=kept, look=look)
    check_labels_to_learn(manifest)
    for sentence in manifest.notes:
        note(sentence)
    say_what_was_kept(weights, manifest, kept)
    return manifest


def first_look(cache: RecordCache | None, likely: Callable[[Manifest], Input]) -> Look:
    """How `assign_roles` looks at rows that will be trained on: what it decodes goes into `cache`.

    Which input it will be is known only once the rows are split, so it is guessed from a few rows;
    a wrong guess costs a second decode and nothing else (`RecordCache.serve`).
    """

    def look(rows: Manifest) -> list[Read]:
        if cache is None or not INPUTS[rows.input].facts.get("examined"):
            return look_at(rows)
        try:
            input = likely(rows.take(np.arange(0, len(rows), -(-len(rows) // GUESSED_FROM))))
        except SkipstoneError:  # whoever looks at all of them will say it better, if it is so
            return look_at(rows)
        cache.serve(input)
        return look_at(rows, input=input, cache=cache)

    return look


def _chosen(settings: Settings, model: str, weights: str, fit: Manifest) -> tuple[Choice, Input]:
    """The model, and the input fitted as it wants it."""
    entry = INPUTS[fit.input]
    looked = _fitted(entry, settings, {}, fit)
    choice = _choose(entry, model, weights, looked, fit)
    if TASKS[fit.task].facts.get("places") and (placed := entry.facts.get("placed")):
        choice = resolve_target(placed)(choice)  # answers lie on the input
    _check_most(choice, settings.values_for(entry.options_type()), model)
    wanted = whole_words(settings.options(VectorOptions), choice.input)
    return choice, _fitted(entry, settings, wanted, fit) if wanted else looked


def _check_most(choice: Choice, given: Mapping[str, Any], model: str) -> None:
    """UsageError where an option of the input is greater than the model can be built for."""
    for name, most in choice.most.items():
        if given.get(name, most) > most:
            raise UsageError(
                f"{flag(name)} {given[name]} is more than {model} can take, which is {most}.",
                hint=f"Use {flag(name)} {most}, or less.",
            )


def _fitted(entry: Entry, settings: Settings, defaults: Mapping[str, Any], fit: Manifest) -> Input:
    kind = entry.options_type()
    options = None if kind is None else settings.options(kind, **defaults)
    made: Input = entry.load()(options)
    return made.fit(fit.sources())


def _task(entry: Entry, settings: Settings, manifest: Manifest, fit: Manifest) -> Task:
    kind = entry.options_type()
    options = None if kind is None else settings.options(kind)
    make = entry.load()
    counts = make(options, manifest.schema).statistics(fit)
    made: Task = make(options, {**manifest.schema, **counts})
    return made


def _facts(choice: Choice, input: Input, samples: int, *, placed: bool) -> Facts:
    """What the recipe depends on."""
    pretrained = choice.weights != "none"
    return Facts(
        placed=placed,
        samples=samples,
        pretrained=pretrained,
        values=sum(array[0].size for array in input.example(1).values()),
        suited=BACKBONES[choice.model].facts.get("tuning" if pretrained else "recipe", {}),
    )


def _backbone(choice: Choice, head: Part, settings: Settings) -> Part:
    """The chosen model with its options: as the user said, and as vectors or the head want them."""
    entry = BACKBONES[choice.model]
    given = {**choice.options, **settings.values_for(entry.options_type())}
    given |= vector_size(settings.options(VectorOptions), entry, given, weights=choice.weights)
    options = suited_options(entry, choice.model, HEADS[head.name], given)
    args = {"options": stored_options(options)}
    return Part(choice.model, {**args, "shape": dict(choice.shape)} if choice.shape else args)


def _head(task: Task, backbone: Entry, settings: Settings) -> Part:
    """The head asked for, the one that the backbone takes, or the task's; with its options."""
    asked, only = settings.options(HeadChoice).head, backbone.facts.get("head")
    if only is not None and asked not in ("auto", only):
        raise UsageError(
            f"{backbone.name!r} has its answers itself, so --head {asked} has nothing to learn.",
            hint="Leave --head out, or choose another model: skipstone models",
        )
    part = choose_head(asked, usual_head(task, backbone))
    return with_options(part, settings, part.args.get("options", {}))


def usual_head(task: Task, backbone: Entry) -> Part:
    """The head that a backbone takes (the fact `head` of its entry), or else the task's own."""
    part = task.head()
    return Part(backbone.facts.get("head", part.name), part.args)


def with_options(head: Part, settings: Settings, held: Mapping[str, Any]) -> Part:
    """The head with the options `held`, and those that the user gave over them."""
    entry = HEADS[head.name]
    options = entry.make_options({**held, **settings.values_for(entry.options_type())})
    return Part(head.name, {**head.args, "options": stored_options(options)})


def _choose(input_entry: Entry, model: str, weights: str, looked: Input, fit: Manifest) -> Choice:
    """The model and its weights: as the user said, or as the input's chooser says."""
    emits = input_entry.facts.get("emits", ())
    if model != "auto" and emits:
        check_accepts(BACKBONES[model], model, *emits)
    chooser = input_entry.facts.get("chooser")
    state, _ = looked.state()
    if chooser is not None:
        choice: Choice = resolve_target(chooser)(
            model=model,
            weights=weights,
            state=state,
            rows=len(fit),
            classes=len(fit.schema.get("classes", ())),
        )
        return choice
    if model == "auto":
        raise UsageError(
            f"no model is chosen automatically for the input {input_entry.name!r}.",
            hint="Name one: --model NAME. See: skipstone models",
        )
    start = "none" if weights == "auto" else weights
    reason = f"{model} as asked for, " + ("from scratch" if start == "none" else f"from {start}")
    return Choice(model=model, weights=start, input={}, reason=reason)
