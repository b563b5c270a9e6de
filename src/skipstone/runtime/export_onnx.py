"""Export to ONNX: one file, any batch size, with classes and preprocessing in its metadata."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.bundle.files import read_record
from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import bundle_of
from skipstone.errors import Refusal
from skipstone.inputs.base import FreeAxis, Input
from skipstone.runtime.onnx_runtime import OnnxRuntime
from skipstone.runtime.parts import input_of, network_of
from skipstone.runtime.programs import Program, add_program

OPSET = 20
MODEL = "exports/onnx/model.onnx"
#: A protobuf message holds less than 2 GiB, and we keep to one file.
LARGEST = 2**31 - 1
_METADATA = ("input", "task", "post", "arch")


class _Positional(nn.Module):
    """The network with inputs and outputs in a fixed order instead of by name."""

    def __init__(self, network: nn.Module, inputs: list[str], outputs: list[str]) -> None:
        super().__init__()
        self.network, self.inputs, self.outputs = network, inputs, outputs

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        outputs = self.network(dict(zip(self.inputs, arrays, strict=True)))
        return tuple(outputs[name] for name in self.outputs)


def export_onnx(path: Path | str) -> Path:
    """Add the program "onnxruntime-f32" to a bundle and return its file.

    Raises:
        UsageError: the bundle has no goldens to prove it on.
        Refusal: the network does not export, or the program answers otherwise than the network.
    """
    folder = bundle_of(path)
    bundle = Bundle.load(folder)
    input = input_of(bundle)
    example = {name: torch.from_numpy(value) for name, value in input.example(2).items()}
    free = getattr(input, "free_axes", {})
    data = onnx_bytes(network_of(bundle), example, program_facts(folder, input), free)
    program = Program("onnxruntime-f32", "onnxruntime", "f32", {"model": MODEL})
    add_program(folder, program, {"model": data}, OnnxRuntime(data))
    return folder / MODEL


def program_facts(folder: Path, input: Input) -> dict[str, str]:
    """What a program's metadata tells of its bundle."""
    record = read_record(folder)
    facts = {name: record[name] for name in _METADATA} | {"spec": getattr(input, "spec", None)}
    return {f"skipstone.{name}": json.dumps(facts[name], sort_keys=True) for name in facts}


def onnx_bytes(
    network: nn.Module,
    example: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    free: Mapping[str, Mapping[int, FreeAxis]] | None = None,
) -> bytes:
    """A network as one ONNX file, checked.

    Args:
        network: dict of batched tensors -> dict of batched tensors; evaluation mode is set.
        example: inputs by name, batch 2 (torch.export would take batches of 0 and 1 as fixed).
        free: further axes of any size, by input.
    """
    import onnx

    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # the exporter may import ONNX Runtime
    network = network.eval()
    example = _roomy(example, free or {})
    with torch.no_grad():
        outputs = list(network(dict(example)))
    inputs = list(example)
    if both := set(inputs) & set(outputs):
        raise Refusal(f"ONNX cannot name an input and an output alike: {', '.join(sorted(both))}.")
    dynamic = tuple(_axes((free or {}).get(name, {})) for name in inputs)
    with _quiet(), _out_of_place(network):
        try:
            exported = torch.onnx.export(
                _Positional(network, inputs, outputs).eval(),
                tuple(example.values()),
                dynamo=True,
                dynamic_shapes=(dynamic,),
                custom_translation_table=_operators(network),
                input_names=inputs,
                output_names=outputs,
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # torch.export raises many kinds for what it cannot trace
            raise Refusal(f"this network does not export to ONNX: {error}") from error
    assert exported is not None
    model = exported.model_proto
    _strip(model)
    model.producer_name = "skipstone"
    for name, value in metadata.items():
        model.metadata_props.add(key=name, value=value)
    if model.ByteSize() > LARGEST:
        raise Refusal(
            f"the network has {model.ByteSize():,} bytes; one ONNX file holds up to {LARGEST:,}."
        )
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


@contextlib.contextmanager
def _out_of_place(network: nn.Module) -> Iterator[None]:
    """Activations that overwrite their input do so no more: torch.export traces each of them anew
    at every stage, which is a third of the time that an export with free sides takes."""
    overwriting = [module for module in network.modules() if getattr(module, "inplace", False)]
    for module in overwriting:
        vars(module)["inplace"] = False
    try:
        yield
    finally:
        for module in overwriting:
            vars(module)["inplace"] = True


def _operators(network: nn.Module) -> dict[Any, Any]:
    """How to write operators that modules bring: those that say so have `onnx_operators()`."""
    found: dict[Any, Any] = {}
    for module in network.modules():
        found |= getattr(module, "onnx_operators", dict)()
    return found


def _roomy(
    example: Mapping[str, Tensor], free: Mapping[str, Mapping[int, FreeAxis]]
) -> dict[str, Tensor]:
    """The example with two multiples or more along each free axis: of one, a deep map has a side of
    1, which torch.export would take as fixed."""
    found = dict(example)
    for name, axes in free.items():
        for axis, (_, multiple, most) in axes.items():
            short = found[name].shape[axis] < 2 * multiple
            if short and (most is None or most >= 2 * multiple):
                found[name] = torch.cat([found[name], found[name]], dim=axis)
    return found


def _axes(free: Mapping[int, FreeAxis]) -> dict[int, Any]:
    """The axes of an input that may have any size."""
    axes: dict[int, Any] = {0: torch.export.Dim("batch")}
    for axis, (name, multiple, most) in free.items():
        most = None if most is None else most // multiple
        size = torch.export.Dim(name if multiple == 1 else f"{name}_in_{multiple}s", max=most)
        axes[axis] = size if multiple == 1 else multiple * size
    return axes


def _strip(model: Any) -> None:
    """Remove notes of the exporter: stack traces with the paths of this machine."""
    del model.metadata_props[:]
    graphs = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        graph.doc_string = ""
        del graph.metadata_props[:]
        values = [*graph.value_info]
        if hasattr(graph, "initializer"):
            values += [*graph.input, *graph.output, *graph.initializer]
        for item in (*values, *graph.node):
            item.doc_string = ""
            del item.metadata_props[:]
        for node in graph.node:
            for attribute in node.attribute:
                graphs += [attribute.g] if attribute.HasField("g") else []
                graphs += attribute.graphs


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress and warns of its own deprecations; nobody asked."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    before = [logger.level for logger in loggers]
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
