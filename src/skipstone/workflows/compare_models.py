"""compare: models side by side, in accuracy, size and latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone.bundle.architecture import Arch, ComponentConfig
from skipstone.bundle.files import BUNDLE_JSON
from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import resolve_bundle
from skipstone.bundle.output_paths import choose_output_folder
from skipstone.compression.latency import (
    BenchmarkResult,
    default_threads,
    interleaved_benchmark,
    make_timed_call,
)
from skipstone.compression.receipt import measure_sizes
from skipstone.compression.receipt_format import interval_bounds
from skipstone.core import events, storage
from skipstone.core.errors import DamagedError, SkipstoneError, UsageError, did_you_mean
from skipstone.core.formatting import join_command_line, pluralize, to_flag
from skipstone.core.options import options_to_json
from skipstone.core.registry import BACKBONES, INPUTS, TASKS
from skipstone.core.results import TableResult
from skipstone.core.settings import Settings
from skipstone.core.specs import InputSpec
from skipstone.core.strict_json import JsonFields
from skipstone.core.versions import package_versions
from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.datasets.leakage import warn_of_leakage
from skipstone.datasets.options import count_allowed
from skipstone.evaluation.intervals import Estimate, interval, paired_difference
from skipstone.evaluation.scores import limit_unreadable
from skipstone.inference.backends.torch_backend import TorchRuntime
from skipstone.inference.golden_outputs import Goldens, compare_outputs
from skipstone.inference.open_model import open_runtime
from skipstone.inference.predictor import Evaluation, Predictor, Runtime
from skipstone.inference.programs import (
    exceeded_tolerances,
    needs_reference_outputs,
    read_programs,
)
from skipstone.inference.restore import restore_input, restore_network, restore_task
from skipstone.inputs.base import make_input_record
from skipstone.models.build import build_network, export_tensors
from skipstone.models.profile import profile_network
from skipstone.report.blocks import Block, Column, Report, Section, TableBlock, Text
from skipstone.report.render import render_report
from skipstone.report.text_format import format_bytes, format_count, format_percent
from skipstone.tasks.base import Task, headline_metric, task_record
from skipstone.training.network_choice import default_head
from skipstone.workflows.run_result import format_result

CLASS_COUNT = 10
COMPARE_PAGE = "compare.html"
#: Time for the choice of each model's runtime.
CHOICE_SECONDS = 1.0


def _input_for(kind: str) -> InputSpec:
    """The input that emits this kind. UsageError if there is none."""
    for entry in INPUTS:
        if kind in entry.emits:
            return entry
    return INPUTS[kind]


def make_untrained_bundle(name: str, *, size: int | None = None, channels: int = 3) -> Bundle:
    """A bundle in memory for CLASSES classes, with weights drawn with seed 0.

    Args:
        size: of its images in pixels; None for the model's default size.

    Raises:
        UsageError: unknown model, or one whose input must be fitted first (a vocabulary).
    """
    import torch

    entry = BACKBONES[name]
    options = entry.make_options()
    kind = entry.accepts[0]
    input_entry = _input_for(kind)
    wanted = {"size": size or entry.input_size or 224, "channels": channels}
    wanted |= entry.input_options
    options_type = input_entry.options_type()
    known = {} if options_type is None else options_type.__dataclass_fields__
    make = input_entry.load()
    input_options = input_entry.make_options({k: v for k, v in wanted.items() if k in known})
    input = make(input_options)
    state, arrays = input.get_state()
    try:
        make(input_options, state, dict(arrays)).feature_spec()
    except SkipstoneError:
        raise UsageError(
            f"{name} cannot be used untrained: its size depends on the data (its vocabulary).",
            hint=f"Train it and compare the runs: skipstone train DATA --model {name}",
        ) from None
    task_entry = next(iter(TASKS))
    schema = {"classes": [f"class {number}" for number in range(CLASS_COUNT)]}
    task = task_entry.load()(task_entry.make_options(), schema)
    arch = Arch(
        ComponentConfig(name, {"options": options_to_json(options)}), default_head(task, entry)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(arch, input)
    return Bundle(
        arch=arch,
        input=make_input_record(input_entry.name, input),
        task=task_record(task_entry.name, task),
        lineage={"untrained": name},
        tensors=export_tensors(network),
        input_arrays=dict(arrays),
    )


@dataclass(frozen=True)
class ModelRow(JsonFields):
    """One model.

    Args:
        runtime: the fastest of its runtimes that give the predictions of training on this machine;
            it is scored and timed.
        metric: the headline metric's name; None for an untrained model.
        accuracy: its value, on `scored_on`.
        difference: this minus the first model, in points, paired on shared rows; None without
            --data.
        parameters, macs: of the network, for one sample; INT8 does not change them.
        activation_bytes: memory that one sample needs while training.
        bytes: size of the files that the runtime needs.
        latency: {"median_ms", "p10_ms", "p90_ms"}.
    """

    name: str
    runtime: str
    metric: str | None
    accuracy: Estimate | None
    scored_on: str | None
    difference: Estimate | None
    parameters: int
    macs: int
    activation_bytes: int
    bytes: int
    latency: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        values = super().to_json()
        return {**values, **values.pop("latency")}


@dataclass(frozen=True)
class CompareResult(TableResult):
    """The result of `compare`.

    Args:
        rows: one per model, in the order of the arguments.
        threads: used for all latencies (batch 1, interleaved runs).
        page: the written page; None without `out`.
    """

    rows: list[ModelRow]
    threads: int
    page: Path | None = None
    exit_code: int = 0

    def __repr__(self) -> str:
        rows = {}
        for row in self.rows:
            score = (
                ""
                if row.accuracy is None
                else f"{row.metric} {format_percent(row.accuracy.value)}, "
            )
            rows[row.name] = f"{score}{row.latency['median_ms']:.2f} ms, {format_bytes(row.bytes)}"
        return format_result(self, rows)

    def table_rows(self) -> list[dict[str, Any]]:
        """Estimates as their value."""
        return [
            {
                name: value.get("value") if isinstance(value, dict) else value
                for name, value in row.items()
            }
            for row in self.to_json()["models"]
        ]

    def to_json(self) -> dict[str, Any]:
        return {"models": [row.to_json() for row in self.rows], "threads": self.threads}


@dataclass(frozen=True)
class _Model:
    name: str
    bundle: Bundle
    folder: Path | None  # None for an untrained one
    runtime: str = "torch-f32"

    def open(self, threads: int | None = None) -> Runtime:
        if self.folder is None:
            return TorchRuntime(restore_network(self.bundle), threads=threads)
        return open_runtime(self.folder, self.bundle, self.runtime, threads=threads)


def compare(
    models: Sequence[str],
    *,
    data: str | Path | None = None,
    seed: int = 0,
    latency_seconds: float = 8.0,
    out: str | Path | None = None,
    max_bad: str | None = None,
    settings: dict[str, Any] | None = None,
) -> CompareResult:
    """Models side by side; trained ones on `data`, or else by their stored metrics.

    Args:
        models: runs, bundles, or names of untrained models (see: skipstone models).
        out: a folder for the page compare.html.
        max_bad: rows of `data` that may be unreadable, as `LoadOptions.max_bad`; None for any.
        settings: how `data` is read (`choose_text_column`, `masks`, ...).

    Raises:
        DataError: more rows of `data` than `max_bad` cannot be read.
        UsageError: unknown model; or settings for reading data without `data`.
    """
    all_settings = Settings(settings)
    options = all_settings.make_options(ReadOptions)
    all_settings.reject_unknown_for_command("compare")
    if all_settings.values and data is None:
        flags = ", ".join(map(to_flag, all_settings.values))
        raise UsageError(f"{flags} needs --data.", hint="Name the data: --data DATA")
    page = None if out is None else choose_output_folder(out, default="compare") / COMPARE_PAGE
    opened = [_find(name) for name in models]
    manifest = None if data is None else _read(Path(data), options)
    scores = _score_all(opened, manifest, str(data), seed, max_bad)
    timed = _time_all(opened, seed, latency_seconds)
    rows = []
    latencies = {row.pop("name"): row for row in timed.to_json()["rows"]}
    for number, model in enumerate(opened):
        metric, estimate, where, difference = scores[number]
        cost = profile_network(
            restore_network(model.bundle), restore_input(model.bundle).make_example(1)
        )
        rows.append(
            ModelRow(
                name=model.name,
                runtime=model.runtime,
                metric=metric,
                accuracy=estimate,
                scored_on=where,
                difference=difference,
                parameters=cost.parameters,
                macs=cost.macs,
                activation_bytes=cost.activation_bytes,
                bytes=_bytes(model),
                latency=latencies[str(number)],
            )
        )
    result = CompareResult(rows, timed.threads, page)
    if page is not None:
        storage.make_folder(page.parent)
        storage.write_text(page, render_report(build_page(result)))
    return result


def build_page(result: CompareResult) -> Report:
    """The rows as a report, the fastest model first."""
    columns = (
        *(Column("model"), Column("runtime"), Column("score", "estimate")),
        *(Column("difference to the first, points"), Column("latency"), Column("files")),
        *(Column("parameters"), Column("MACs")),
    )
    rows = tuple(
        (
            row.name,
            row.runtime,
            row.accuracy and [row.accuracy.value, row.accuracy.low, row.accuracy.high],
            row.difference
            and f"{row.difference.value:+.2f} ({row.difference.low:+.2f} to "
            f"{row.difference.high:+.2f})",
            "{median_ms:.2f} ms ({p10_ms:.2f} to {p90_ms:.2f})".format(**row.latency),
            format_bytes(row.bytes),
            format_count(row.parameters),
            format_count(row.macs),
        )
        for row in sorted(result.rows, key=lambda row: row.latency["median_ms"])
    )
    note = (
        f"Latency: one prediction, {result.threads} threads, interleaved rounds, median (10th to 90th "
        "percentile). Of each model the fastest runtime that gives the predictions of training."
    )
    scored = sorted({f"{row.name}: {row.scored_on}" for row in result.rows if row.scored_on})
    blocks: list[Block] = [TableBlock("Side by side, fastest first", columns, rows, note)]
    if scored:
        blocks.append(Text("Scored on", "\n\n".join(scored)))
    names = [row.name for row in result.rows]
    return Report(
        "Comparison",
        pluralize(len(names), "model"),
        join_command_line(["skipstone", "compare", *names]),
        (Section("Result", tuple(blocks)),),
        package_versions(),
    )


def _find(name: str) -> _Model:
    path = Path(name)
    if not path.exists():
        if name in BACKBONES or f"{name.partition('/')[0]}/*" in BACKBONES:
            return _Model(name, make_untrained_bundle(name), None)
        if "/" in name:
            resolve_bundle(path)  # raises an error that names similar paths
        hint = did_you_mean(name, BACKBONES.entry_names())
        raise UsageError(
            f"{name!r} is neither a run, nor a bundle, nor a model.",
            hint=f"{hint} See: skipstone models".strip(),
        )
    folder = resolve_bundle(path)
    bundle = Bundle.load(folder)
    return _Model(name, bundle, folder, _choose_runtime(folder, bundle))


def _choose_runtime(folder: Path, bundle: Bundle) -> str:
    """The fastest of the bundle's programs and the network in torch; only programs that give the
    predictions of the goldens on this machine. INT8, where it is the default, replaces the float
    ones: it is another model."""
    programs = read_programs(folder)
    default = programs.by_name.get(programs.default)
    if default is not None and needs_reference_outputs(folder, default):
        return default.name
    names = ["torch-f32"]
    if programs.by_name:
        goldens = Goldens.load(folder)
        for program in programs.by_name.values():
            measured, _, _ = compare_outputs(goldens, open_runtime(folder, bundle, program.name))
            if not exceeded_tolerances(measured, program.tolerance):
                names.append(program.name)
    example, threads = restore_input(bundle).make_example(1), default_threads()
    calls = {
        name: make_timed_call(open_runtime(folder, bundle, name, threads=threads), example)
        for name in names
    }
    if len(calls) == 1:
        return names[0]
    return interleaved_benchmark(calls, seconds=CHOICE_SECONDS, threads=threads).fastest_of(*names)


#: (metric, value, scored on, paired difference to the first model).
_Score = tuple[str | None, Estimate | None, str | None, Estimate | None]


def _read(data: Path, options: ReadOptions) -> Manifest:
    manifest = read_manifest(data, options)
    for sentence in manifest.notes:
        events.emit_note(sentence)
    if splits := sorted({word for word in manifest.column_values("split") if word}):
        events.emit_note(f"Scoring all splits ({' + '.join(splits)}).")
    return manifest


def _score_all(
    models: list[_Model], manifest: Manifest | None, data: str, seed: int, max_bad: str | None
) -> list[_Score]:
    """The score of each model on the manifest; without one, the stored scores."""
    if manifest is None:
        return [_stored_score(model) for model in models]
    first: tuple[Task, Evaluation] | None = None
    rows: list[_Score] = []
    for model in models:
        if model.folder is None:
            rows.append((None, None, None, None))
            continue
        task, evaluation = _evaluate(model, manifest, max_bad)
        metric = headline_metric(task)
        value = interval(metric, evaluation.records, task, evaluation.groups, seed)
        difference = None
        if first is not None and first[0].headline == task.headline:
            difference = _difference(first, (task, evaluation), seed)
        first = first or (task, evaluation)
        rows.append((metric.name, value, data, difference))
    return rows


def _stored_score(model: _Model) -> _Score:
    """The metric stored in the bundle: from training, or of the program that shrink made."""
    stored = model.bundle.metrics
    if model.folder is None or not stored:
        return None, None, None, None
    name = restore_task(model.bundle).headline
    where = " by ".join(str(stored[key]) for key in ("split", "runtime") if stored.get(key))
    try:
        figure = stored["metrics"][name]
        return name, Estimate(figure["value"], *interval_bounds(figure), figure["n"]), where, None
    except (KeyError, TypeError):
        raise DamagedError(
            f"{model.folder / BUNDLE_JSON} lacks the metric {name} with its interval."
        ) from None


def _evaluate(model: _Model, manifest: Manifest, max_bad: str | None) -> tuple[Task, Evaluation]:
    task = restore_task(model.bundle)
    predictor = Predictor(restore_input(model.bundle), model.open(), task, dict(model.bundle.post))
    evaluation = predictor.evaluate(manifest)
    limit_unreadable(evaluation, len(manifest), count_allowed(max_bad, len(manifest)))
    if lost := evaluation.failures:
        events.emit_warning(
            f"{len(lost):,} of {len(manifest):,} rows of {manifest.root} cannot be read and are not "
            f"scored. The first: {lost[0].name}: {lost[0].error}"
        )
    if model.folder is not None:
        warn_of_leakage(model.name, model.folder, manifest, evaluation.rows)
    if not evaluation.records:
        raise UsageError(
            f"no row of {manifest.root} has a label that {model.name} knows.",
            hint="Labels match by name. Without --data, compare shows the stored metrics.",
        )
    return task, evaluation


def _difference(
    one: tuple[Task, Evaluation], another: tuple[Task, Evaluation], seed: int
) -> Estimate | None:
    """another - one in points, on the rows that both have scored; None if there are none.

    Each is scored by its own task, because classes or their order may differ.
    """
    (first_task, first), (task, other) = one, another
    shared = {record["id"] for record in first.records} & {record["id"] for record in other.records}
    if not shared:
        return None
    if set(first_task.schema.get("classes", ())) != set(task.schema.get("classes", ())):
        events.emit_note("The two models have different classes; each is scored with its own.")
    if len(shared) < max(len(first.records), len(other.records)):
        events.emit_note(
            f"The difference is on the {len(shared):,} rows that both models can score."
        )
    records_and_groups = [
        (record, group)
        for record, group in zip(other.records, other.groups, strict=True)
        if record["id"] in shared
    ]
    before = [record for record in first.records if record["id"] in shared]
    gap = paired_difference(
        headline_metric(task),
        [record for record, _ in records_and_groups],
        before,
        task,
        [group for _, group in records_and_groups],
        seed,
        task_b=first_task,
    )
    return Estimate(100 * gap.value, 100 * gap.low, 100 * gap.high, gap.n)


def _time_all(models: list[_Model], seed: int, seconds: float) -> BenchmarkResult:
    """Latencies of all models, measured in interleaved rounds; keys are their numbers."""
    threads = default_threads()
    calls = {
        str(number): make_timed_call(
            model.open(threads), restore_input(model.bundle).make_example(1)
        )
        for number, model in enumerate(models)
    }
    return interleaved_benchmark(calls, seconds=seconds, threads=threads, seed=seed)


def _bytes(model: _Model) -> int:
    if model.folder is None:
        return sum(int(tensor.nbytes) for tensor in model.bundle.tensors.values())
    sizes = measure_sizes(model.folder)
    if model.runtime in sizes["programs"]:
        return int(sizes["programs"][model.runtime] + sizes["input"][1])
    return int(sizes["float32_weights"] + sizes["input"][1])
