"""Open a model for prediction, in the runtime that the user names or the bundle prefers."""

from __future__ import annotations

from pathlib import Path

from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import resolve_bundle
from skipstone.core.errors import DamagedError, UsageError, did_you_mean
from skipstone.core.registry import RUNTIMES
from skipstone.inference.predictor import Predictor, Runtime
from skipstone.inference.programs import EXPORTS_JSON, Program, load_program_files, read_programs
from skipstone.inference.restore import restore_input, restore_network, restore_task


def open_model(path: Path | str, runtime: str = "auto") -> Predictor:
    """A Predictor for a bundle, a run folder, or `runs/001`.

    Args:
        runtime: "auto" takes the bundle's default program (the one that shrinking accepted), or
            else torch; or a runtime ("openvino"), or a runtime and a precision ("openvino-bf16").

    Raises:
        UsageError: `path` is not a model, or lacks that program; says how to make it.
        DamagedError: a file was changed since it was written.
    """
    folder = resolve_bundle(path)
    bundle = Bundle.load(folder)
    opened = open_runtime(folder, bundle, runtime)
    return Predictor(restore_input(bundle), opened, restore_task(bundle), dict(bundle.post))


def open_runtime(
    folder: Path, bundle: Bundle, runtime: str = "auto", *, threads: int | None = None
) -> Runtime:
    """The runtime alone: arrays in, arrays out; see `open_model`.

    Args:
        threads: for one run; None for the library's default.
    """
    programs = read_programs(folder)
    name = (programs.default or "torch") if runtime == "auto" else runtime
    family, _, precision = name.partition("-")
    if family not in RUNTIMES:
        known = [f"{e.name}-{p}" for e in RUNTIMES for p in e.precisions]
        raise UsageError(f"unknown runtime {runtime!r}.", hint=did_you_mean(runtime, known))
    entry = RUNTIMES[family]
    if precision and precision not in entry.precisions:
        raise UsageError(
            f"{family} does not run in {precision!r}. Allowed: {', '.join(entry.precisions)}."
        )
    if not entry.needs_program:
        network: Runtime = entry.load()(bundle, precision or "f32", threads)
        return network
    matches = [
        row
        for row in programs.by_name.values()
        if row.runtime == family and precision in ("", row.precision)
    ]
    if not matches:
        available = ", ".join(programs.by_name) or "none"
        raise UsageError(
            f"{folder} has no program for {name}; it has: {available}.",
            hint=f"Make it: skipstone {'shrink' if precision == 'int8' else 'export'} MODEL"
            + ("" if precision == "int8" else f" --to {entry.export_format}"),
        )
    row = min(matches, key=lambda row: row.name != programs.default)
    program: Runtime = entry.load()(row, load_program_files(folder, row), threads)
    return program


def open_torch(bundle: Bundle, precision: str, threads: int | None) -> Runtime:
    from skipstone.inference.backends.torch_backend import TorchRuntime

    return TorchRuntime(restore_network(bundle), precision=precision, threads=threads)


def open_onnxruntime(program: Program, files: dict[str, bytes], threads: int | None) -> Runtime:
    from skipstone.inference.backends.onnx_backend import OnnxRuntime

    return OnnxRuntime(_file(program, files, "model"), threads=threads)


def open_openvino(program: Program, files: dict[str, bytes], threads: int | None) -> Runtime:
    from skipstone.inference.backends.openvino_backend import OpenVinoRuntime

    model, weights = (_file(program, files, role) for role in ("model", "weights"))
    floats = str(program.settings.get("floats", "f32"))
    return OpenVinoRuntime(
        model, weights, precision=program.precision, floats=floats, threads=threads
    )


def _file(program: Program, files: dict[str, bytes], role: str) -> bytes:
    if role not in files:
        raise DamagedError(f"{EXPORTS_JSON} lacks the {role!r} file of {program.name}.")
    return files[role]
