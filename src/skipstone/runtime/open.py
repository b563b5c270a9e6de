"""Opening a model for answers, in the runtime that the user names or the bundle prefers."""

from __future__ import annotations

from pathlib import Path

from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import bundle_of
from skipstone.errors import DamagedError, UsageError, did_you_mean
from skipstone.registry import RUNTIMES
from skipstone.runtime.base import Runtime
from skipstone.runtime.parts import input_of, network_of, task_of
from skipstone.runtime.predictor import Predictor
from skipstone.runtime.programs import EXPORTS, Program, program_files, read_programs


def open_model(path: Path | str, runtime: str = "auto") -> Predictor:
    """A Predictor for a bundle, a run folder, or `runs/001`.

    Args:
        runtime: "auto" takes the program that the bundle prefers (what shrinking accepted), or
            else torch; or a runtime ("openvino"), or a runtime and a precision ("openvino-bf16").

    Raises:
        UsageError: no model there, or no such program in it; says how to get it.
        DamagedError: a file is not what was written.
    """
    folder = bundle_of(path)
    bundle = Bundle.load(folder)
    made = open_runtime(folder, bundle, runtime)
    return Predictor(input_of(bundle), made, task_of(bundle), dict(bundle.post))


def open_runtime(
    folder: Path, bundle: Bundle, runtime: str = "auto", *, threads: int | None = None
) -> Runtime:
    """The runtime alone: arrays in, arrays out; see `open_model`.

    Args:
        threads: of one run; None leaves it to the library.
    """
    programs = read_programs(folder)
    name = (programs.default or "torch") if runtime == "auto" else runtime
    family, _, precision = name.partition("-")
    if family not in RUNTIMES:
        known = [f"{e.name}-{p}" for e in RUNTIMES for p in e.facts.get("precisions", ())]
        raise UsageError(f"{runtime!r} is no runtime.", hint=did_you_mean(runtime, known))
    entry = RUNTIMES[family]
    if precision and precision not in entry.facts["precisions"]:
        raise UsageError(
            f"{family} does not run in {precision!r}. "
            f"Allowed: {', '.join(entry.facts['precisions'])}."
        )
    if not entry.facts["program"]:
        made: Runtime = entry.load()(bundle, precision or "f32", threads)
        return made
    fitting = [
        row
        for row in programs.rows.values()
        if row.runtime == family and precision in ("", row.precision)
    ]
    if not fitting:
        having = ", ".join(programs.rows) or "none"
        raise UsageError(
            f"{folder} has no program for {name}; it has: {having}.",
            hint=f"Make it: skipstone {'shrink' if precision == 'int8' else 'export'} MODEL"
            + ("" if precision == "int8" else f" --to {entry.facts['export']}"),
        )
    fitting.sort(key=lambda row: row.name != programs.default)
    program: Runtime = entry.load()(fitting[0], program_files(folder, fitting[0]), threads)
    return program


def open_torch(bundle: Bundle, precision: str, threads: int | None) -> Runtime:
    from skipstone.runtime.torch_runtime import TorchRuntime

    return TorchRuntime(network_of(bundle), precision=precision, threads=threads)


def open_onnxruntime(program: Program, files: dict[str, bytes], threads: int | None) -> Runtime:
    from skipstone.runtime.onnx_runtime import OnnxRuntime

    return OnnxRuntime(_file(program, files, "model"), threads=threads)


def open_openvino(program: Program, files: dict[str, bytes], threads: int | None) -> Runtime:
    from skipstone.runtime.openvino_runtime import OpenVinoRuntime

    model, weights = (_file(program, files, role) for role in ("model", "weights"))
    floats = str(program.settings.get("floats", "f32"))
    return OpenVinoRuntime(
        model, weights, precision=program.precision, floats=floats, threads=threads
    )


def _file(program: Program, files: dict[str, bytes], role: str) -> bytes:
    if role not in files:
        raise DamagedError(f"{EXPORTS} names no {role!r} for {program.name}.")
    return files[role]
