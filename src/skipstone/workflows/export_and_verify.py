"""export and verify: write a model's files for deployment; check that its programs agree."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone.bundle.files import BUNDLE_JSON
from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import resolve_bundle
from skipstone.bundle.output_paths import (
    choose_output_folder,
    find_training_data,
    reject_nonempty_folder,
)
from skipstone.core import events, storage
from skipstone.core.results import TableResult
from skipstone.evaluation.parity import SCRIPT, Verification
from skipstone.evaluation.parity import verify as verify_bundle
from skipstone.inference.export.onnx_export import export_argmax, export_onnx
from skipstone.inference.export.openvino_export import convert_onnx_to_ir, export_openvino
from skipstone.inference.export.script import (
    example_file_names,
    explain_missing_script,
    write_openvino,
    write_standalone,
)
from skipstone.inference.programs import Programs, read_programs
from skipstone.inference.restore import input_dependent_postprocessing
from skipstone.report.text_format import format_bytes
from skipstone.workflows.run_result import (
    format_result,
    format_verification,
    verification_table_rows,
)

#: Values of `export --to` and the runtime whose programs they write.
_RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}


@dataclass(frozen=True)
class ExportResult(TableResult):
    """The result of `export`.

    Args:
        files: size in bytes by name.
        next_command: how to predict with the files; None if there is no script.
        left_out: parts of the model that `predict` uses and none of the files contains.
    """

    folder: Path
    files: dict[str, int]
    next_command: str | None
    left_out: tuple[str, ...] = ()
    exit_code: int = 0

    def __repr__(self) -> str:
        sizes = {name: format_bytes(count) for name, count in self.files.items()}
        return format_result(
            self, {"folder": self.folder, **sizes, "left out": ", ".join(self.left_out)}
        )

    def table_rows(self) -> list[dict[str, Any]]:
        return [{"file": name, "bytes": count} for name, count in self.files.items()]

    def to_json(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "files": self.files,
            "left_out": list(self.left_out),
        }


def export(
    model: Path, *, to: str = "auto", out: str | Path | None = None, argmax: bool = False
) -> ExportResult:
    """Write a model's files for deployment into a new folder, with a script that predicts.

    "auto" is the format of the bundle's default program: of a shrunk model its INT8 program alone.
    "onnx" writes model.onnx (classes and preprocessing in its metadata), for a script that needs
    numpy, Pillow and onnxruntime; "openvino" writes one IR per precision, and a script that needs
    openvino. With `argmax` it is one float32 program whose outputs are class indices instead of
    logits. Post-processing that reads the input again (a CRF) is in none of them; a warning says so,
    as it does if the default INT8 program is not among the files. Without `out` the folder is made in
    the current one, or next to the training data if the current one is the data.

    Raises:
        FinishedAlready: the same call wrote that folder before.
    """
    bundle = resolve_bundle(model)
    programs = read_programs(bundle)
    alone = to == "auto"
    if alone:
        to = "openvino" if _has_own_weights(programs) and not argmax else "onnx"
    folder = choose_output_folder(out, default=f"export-{to}", data=find_training_data(bundle))
    model_hash = storage.file_sha256(bundle / BUNDLE_JSON)
    origin = storage.compute_origin(
        command="export", model=model_hash, to=to, alone=alone, argmax=argmax
    )
    storage.refuse_finished(folder, origin)
    reject_nonempty_folder(folder)
    left_out = (
        *_missing_refinements(Bundle.load(bundle)),
        *_missing_default(model, programs, to, argmax),
    )
    script = None
    if argmax:
        _write_argmax(bundle, folder, to, origin)
    else:
        if not any(row.runtime == _RUNTIMES[to] for row in programs.by_name.values()):
            (export_onnx if to == "onnx" else export_openvino)(bundle)
            programs = read_programs(bundle)
        names = [row.name for row in programs.by_name.values() if row.runtime == _RUNTIMES[to]]
        with storage.write_folder(folder, must_be_new=True, origin=origin) as new:
            if to == "onnx":
                script = write_standalone(bundle, new)
            else:
                script = write_openvino(bundle, new, [programs.default] if alone else names)
    file = example_file_names(Bundle.load(bundle))[0]
    command = None if script is None else shlex.join(["python", str(folder / script.name), file])
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    return ExportResult(folder, files, command, left_out)


def _has_own_weights(programs: Programs) -> bool:
    """Whether the default program's weights are in no float32 program, as those of INT8."""
    floats = [row.files for row in programs.by_name.values() if row.precision == "f32"]
    return bool(programs.default) and programs.by_name[programs.default].files not in floats


def _missing_refinements(bundle: Bundle) -> tuple[str, ...]:
    """Post-processing that reads the input again, which no export does; with a warning."""
    steps = input_dependent_postprocessing(bundle)
    if steps:
        arrays = ", ".join(sorted(set().union(*steps.values())))
        events.emit_warning(
            f"This model's metrics include post-processing that reads the {arrays} again "
            f"({', '.join(steps)}). The exported files do not do this."
        )
    return tuple(steps)


def _missing_default(model: Path, programs: Programs, to: str, argmax: bool) -> tuple[str, ...]:
    """The bundle's default program if none of the files contains its weights; with a warning.

    A bfloat16 mode uses the files of its float32 program, so it is contained in them.
    """
    if not _has_own_weights(programs):
        return ()
    default = programs.by_name[programs.default]
    if not argmax and default.runtime == _RUNTIMES[to]:
        return ()
    targets = [target for target, runtime in _RUNTIMES.items() if runtime == default.runtime]
    command = ["skipstone", "export", str(model), "--to"]
    events.emit_warning(
        f"The model's default program is {default.name}; its size, speed and metrics are of that "
        "program. The exported files are float32."
        + "".join(f" To export {default.name}: {shlex.join([*command, way])}" for way in targets)
    )
    return (default.name,)


def _write_argmax(bundle: Path, folder: Path, to: str, origin: str) -> None:
    program = export_argmax(bundle)
    events.emit_note(
        "The program comes without a script: predict.py computes shares of classes from logits, and "
        "with --argmax the outputs are class indices. Without --argmax there is a script."
    )
    with storage.write_folder(folder, must_be_new=True, origin=origin) as new:
        if to == "onnx":
            storage.write_bytes(new / "model.onnx", program)
        else:
            xml, weights = convert_onnx_to_ir(program)
            storage.write_bytes(new / "model.xml", xml)
            storage.write_bytes(new / "model.bin", weights)


@dataclass(frozen=True)
class VerifyResult(TableResult):
    """The result of `verify`."""

    verification: Verification

    @property
    def exit_code(self) -> int:
        return 0 if self.verification.ok else 1

    def __repr__(self) -> str:
        checks = {row["name"]: row["problem"] or "ok" for row in self.verification.rows}
        return format_result(self, {**checks, "verified": format_verification(self.verification)})

    def table_rows(self) -> list[dict[str, Any]]:
        return verification_table_rows(self.verification)

    def to_json(self) -> dict[str, Any]:
        return self.verification.to_json()


def verify(model: Path) -> VerifyResult:
    """Predict the goldens again from raw bytes, in a new process, with every runtime."""
    result = VerifyResult(verify_bundle(model))
    if result.verification.ok and all(row["name"] != SCRIPT for row in result.verification.rows):
        reason = explain_missing_script(Bundle.load(resolve_bundle(model)))
        events.emit_note(
            f"No stand-alone script is checked: {reason or 'the bundle has no exported program'}."
        )
    return result
