"""export and verify: what leaves the house, and the proof that it answers the same."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone import events, storage
from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import bundle_of
from skipstone.proof.parity import Verification
from skipstone.proof.parity import verify as verify_bundle
from skipstone.report.words import size
from skipstone.runtime.export_answering import answering_onnx
from skipstone.runtime.export_onnx import export_onnx
from skipstone.runtime.export_openvino import export_openvino, ir_of_onnx
from skipstone.runtime.parts import refinements_of
from skipstone.runtime.programs import Programs, program_files, read_programs
from skipstone.runtime.standalone import example_files, write_standalone
from skipstone.verbs.places import known_data, output_folder, refuse_filled
from skipstone.verbs.told import told, verdict

#: Whose programs `export --to` writes.
_RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}


@dataclass(frozen=True)
class ExportResult:
    folder: Path
    files: dict[str, int]  # name -> bytes
    next_command: str | None
    left_out: tuple[str, ...] = ()  # of what answers in `predict`: no file does this
    exit_code: int = 0

    def __repr__(self) -> str:
        sizes = {name: size(count) for name, count in self.files.items()}
        return told(self, {"folder": self.folder, **sizes, "left out": ", ".join(self.left_out)})

    def to_json(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "files": self.files,
            "left_out": list(self.left_out),
        }


def export(
    model: Path, *, to: str = "onnx", out: str | Path | None = None, argmax: bool = False
) -> ExportResult:
    """Write the shippable files of a model into a new folder.

    "onnx" gives model.onnx (classes and preprocessing in its metadata) and predict.py, a script
    that needs numpy, Pillow and onnxruntime; "openvino" gives one IR a precision. With `argmax`
    it is one float32 program whose outputs are class numbers instead of logits. Refinements that
    look at the input once more (a CRF) are in none of them, and that is said; so is an INT8 program
    that answers by default and is not among them. Without `out` it is a folder in the current one,
    or beside the training data where that is the current one.
    """
    bundle = bundle_of(model)
    folder = output_folder(out, default=f"export-{to}", data=known_data(bundle))
    refuse_filled(folder)
    programs = read_programs(bundle)
    left_out = (*_left_out(Bundle.load(bundle)), *_default_left_out(model, programs, to, argmax))
    if argmax:
        _write_answering(bundle, folder, to)
        command = None
    elif to == "onnx":
        if not any(row.runtime == "onnxruntime" for row in programs.rows.values()):
            export_onnx(bundle)
        with storage.write_folder(folder, fresh=True) as new:
            script = write_standalone(bundle, new)
        file = example_files(Bundle.load(bundle))[0]
        words = [] if script is None else ["python", str(folder / script.name), file]
        command = shlex.join(words) or None
    else:
        if not any(row.runtime == "openvino" for row in programs.rows.values()):
            export_openvino(bundle)
        _write_openvino(bundle, folder)
        command = None
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    return ExportResult(folder, files, command, left_out)


def _left_out(bundle: Bundle) -> tuple[str, ...]:
    """Post-processing that looks at the input once more, which no program does. It is said."""
    found = refinements_of(bundle)
    if found:
        arrays = ", ".join(sorted(set().union(*found.values())))
        events.warn(
            f"This model refines what the network answers by the {arrays} ({', '.join(found)}), "
            "and was scored so. What is exported does not: its answers are those before that."
        )
    return tuple(found)


def _default_left_out(model: Path, programs: Programs, to: str, argmax: bool) -> tuple[str, ...]:
    """The program that answers by default, where its numbers are in none of the files. It is said.

    A mode (bfloat16) of a float32 program has that one's files.
    """
    if not programs.default:
        return ()
    default = programs.rows[programs.default]
    floats = [row.files for row in programs.rows.values() if row.precision == "f32"]
    shipped = not argmax and default.runtime == _RUNTIMES[to]
    if shipped or default.files in floats:
        return ()
    ways = [way for way, runtime in _RUNTIMES.items() if runtime == default.runtime]
    command = ["skipstone", "export", str(model), "--to"]
    events.warn(
        f"This model answers by {default.name}, and its size, speed and figures are that program's."
        " What is exported is float32."
        + "".join(f" To ship {default.name}: {shlex.join([*command, way])}" for way in ways)
    )
    return (default.name,)


def _write_answering(bundle: Path, folder: Path, to: str) -> None:
    program = answering_onnx(bundle)
    with storage.write_folder(folder, fresh=True) as new:
        if to == "onnx":
            storage.write_bytes(new / "model.onnx", program)
        else:
            xml, weights = ir_of_onnx(program)
            storage.write_bytes(new / "model.xml", xml)
            storage.write_bytes(new / "model.bin", weights)


def _write_openvino(bundle: Path, folder: Path) -> None:
    """Each OpenVINO program as its own pair of files, checked against the bundle's list."""
    written: set[str] = set()
    with storage.write_folder(folder, fresh=True) as new:
        for program in read_programs(bundle).rows.values():
            if program.runtime != "openvino":
                continue
            stem = "model-int8" if program.precision == "int8" else "model"
            if stem in written:  # bfloat16 is a mode of the float32 program
                continue
            written.add(stem)
            files = program_files(bundle, program)
            storage.write_bytes(new / f"{stem}.xml", files["model"])
            storage.write_bytes(new / f"{stem}.bin", files["weights"])


@dataclass(frozen=True)
class VerifyResult:
    verification: Verification

    @property
    def exit_code(self) -> int:
        return 0 if self.verification.ok else 1

    def __repr__(self) -> str:
        checks = {row["name"]: row["problem"] or "ok" for row in self.verification.rows}
        return told(self, {**checks, "answers as trained": verdict(self.verification)})

    def to_json(self) -> dict[str, Any]:
        return self.verification.to_json()


def verify(model: Path) -> VerifyResult:
    """Answer the goldens again, in a fresh process, from raw bytes, by every runtime."""
    return VerifyResult(verify_bundle(model))
