"""Export to ONNX: one file for any batch size, with classes and preprocessing as metadata."""

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

import numpy as np
import torch
from torch import Tensor, nn

from skipstone.bundle.files import read_bundle_json
from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import resolve_bundle
from skipstone.core.errors import Refusal, UsageError
from skipstone.inference.backends.onnx_backend import OnnxRuntime
from skipstone.inference.golden_outputs import Goldens, predict_goldens
from skipstone.inference.programs import Program, add_program, float32_tolerance
from skipstone.inference.restore import restore_input, restore_network, restore_task
from skipstone.inputs.base import DynamicAxis, Input
from skipstone.models.layers import OnnxTranslations
from skipstone.tasks.base import GraphDecoding

ONNX_OPSET = 20
ONNX_FILE = "exports/onnx/model.onnx"
#: Bytes of one protobuf message; the export is a single file.
MAX_ONNX_BYTES = 2**31 - 1
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
        UsageError: the bundle has no goldens to verify the program on.
        Refusal: the network does not export, or the program's outputs differ from the network's.
    """
    folder = resolve_bundle(path)
    bundle = Bundle.load(folder)
    input = restore_input(bundle)
    example = {name: torch.from_numpy(value) for name, value in input.make_example(2).items()}
    data = onnx_bytes(
        restore_network(bundle), example, program_metadata(folder, input), input.dynamic_axes
    )
    program = Program("onnxruntime-f32", "onnxruntime", "f32", {"model": ONNX_FILE})
    add_program(folder, program, {"model": data}, OnnxRuntime(data))
    return folder / ONNX_FILE


def program_metadata(folder: Path, input: Input) -> dict[str, str]:
    """The program's metadata: input, task, post-processing and architecture of its bundle."""
    record = read_bundle_json(folder)
    facts = {name: record[name] for name in _METADATA} | {"spec": input.decode_spec}
    return {f"skipstone.{name}": json.dumps(facts[name], sort_keys=True) for name in facts}


def onnx_bytes(
    network: nn.Module,
    example: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    free: Mapping[str, Mapping[int, DynamicAxis]] | None = None,
) -> bytes:
    """A network as one ONNX file that passes `onnx.checker`.

    Args:
        network: dict of batched tensors -> dict of batched tensors; it is set to evaluation mode.
        example: inputs by name, batch 2 (torch.export treats sizes 0 and 1 as constants).
        free: other dynamic axes, by input.

    Raises:
        Refusal: the network cannot be traced, or does not fit one file.
    """
    import onnx

    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # the exporter may import ONNX Runtime
    network = network.eval()
    example = _enlarge_dynamic_axes(example, free or {})
    with torch.no_grad():
        outputs = list(network(dict(example)))
    inputs = list(example)
    if both := set(inputs) & set(outputs):
        names = ", ".join(sorted(both))
        raise Refusal(f"in ONNX an input and an output cannot share a name: {names}.")
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
                opset_version=ONNX_OPSET,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # torch.export raises many types for what it cannot trace
            raise Refusal(f"this network does not export to ONNX: {error}") from error
    assert exported is not None
    model = exported.model_proto
    fold_constant_resizes(model)
    _strip(model)
    model.producer_name = "skipstone"
    for name, value in metadata.items():
        model.metadata_props.add(key=name, value=value)
    if model.ByteSize() > MAX_ONNX_BYTES:
        raise Refusal(
            f"the network has {model.ByteSize():,} bytes; one ONNX file holds at most {MAX_ONNX_BYTES:,}."
        )
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


@contextlib.contextmanager
def _out_of_place(network: nn.Module) -> Iterator[None]:
    """Turn off in-place activations inside the block. torch.export retraces each of them at every
    stage, which takes a third of the time of an export with dynamic sides."""
    inplace = [module for module in network.modules() if vars(module).get("inplace")]
    for module in inplace:
        vars(module)["inplace"] = False
    try:
        yield
    finally:
        for module in inplace:
            vars(module)["inplace"] = True


def fold_constant_resizes(model: Any) -> None:
    """Replace each Resize of constants by its result.

    Vision transformers resize their position table to the grid of the image. OpenVINO has no
    bicubic antialiased Resize (its results differ by 1 %), and the table is the same for every
    image.
    """
    import onnxruntime
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if all(name in constants for name in node.input if name):
            constants.update(node.output)
            nodes.append(node)
    resized = [node.output[0] for node in nodes if node.op_type == "Resize"]
    if not resized:
        return
    outputs = [helper.make_empty_tensor_value_info(name) for name in resized]
    part = helper.make_graph(nodes, "constants", [], outputs, list(graph.initializer))
    _remove_unread(part)
    opset = {"opset_imports": list(model.opset_import), "ir_version": model.ir_version}
    session = onnxruntime.InferenceSession(helper.make_model(part, **opset).SerializeToString())
    values = session.run(resized, {})
    for node in [node for node in graph.node if node.output[0] in resized]:
        graph.node.remove(node)
    for name, value in zip(resized, values, strict=True):
        graph.initializer.append(numpy_helper.from_array(value, name))
    _remove_unread(graph)


def _remove_unread(graph: Any) -> None:
    """Remove the nodes and constants that nothing reads."""
    needed = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in needed]:
        graph.initializer.remove(tensor)


def _operators(network: nn.Module) -> dict[Any, Any]:
    """Translations of custom operators, from the modules that define `onnx_operators()`."""
    translations: dict[Any, Any] = {}
    for module in network.modules():
        if isinstance(module, OnnxTranslations):
            translations |= module.onnx_operators()
    return translations


def _enlarge_dynamic_axes(
    example: Mapping[str, Tensor], free: Mapping[str, Mapping[int, DynamicAxis]]
) -> dict[str, Tensor]:
    """The example with at least two multiples along each dynamic axis. With one, the deepest
    feature map would have side 1, which torch.export treats as a constant."""
    enlarged = dict(example)
    for name, axes in free.items():
        for axis, (_, multiple, most) in axes.items():
            short = enlarged[name].shape[axis] < 2 * multiple
            if short and (most is None or most >= 2 * multiple):
                enlarged[name] = torch.cat([enlarged[name], enlarged[name]], dim=axis)
    return enlarged


def _axes(free: Mapping[int, DynamicAxis]) -> dict[int, Any]:
    """The dynamic axes of an input, as torch.export takes them."""
    axes: dict[int, Any] = {0: torch.export.Dim("batch")}
    for axis, (name, multiple, most) in free.items():
        most = None if most is None else most // multiple
        size = torch.export.Dim(name if multiple == 1 else f"{name}_in_{multiple}s", max=most)
        axes[axis] = size if multiple == 1 else multiple * size
    return axes


def _strip(model: Any) -> None:
    """Remove the exporter's metadata: stack traces with paths of this machine."""
    from onnx import GraphProto

    del model.metadata_props[:]
    graphs = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        graph.doc_string = ""
        del graph.metadata_props[:]
        values = [*graph.value_info]
        if isinstance(graph, GraphProto):  # a function has no values of its own
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
    """Silence the exporter, which prints its progress and its own deprecation warnings."""
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


#: Share of pixels that may differ: where two classes tie, rounding decides.
MAX_NEAR_TIES = 1e-3


class ArgmaxWrapper(nn.Module):
    """A network followed by the layer that turns logits into class indices."""

    def __init__(self, network: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self.network, self.layer = network, layer

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        indices: dict[str, Tensor] = self.layer(self.network(x))
        return indices


def export_argmax(folder: Path) -> bytes:
    """A bundle's network as a float32 ONNX file whose outputs are class indices.

    Verified on the goldens: it gives the same classes as the network's stored outputs.

    Raises:
        UsageError: this task cannot compute its predictions inside a graph.
        Refusal: the network does not export, or the program predicts other classes.
    """
    bundle = Bundle.load(folder)
    task, input = restore_task(bundle), restore_input(bundle)
    if not isinstance(task, GraphDecoding):
        raise UsageError(
            f"--argmax exports a class index for each pixel; the task {task.name!r} has none.",
            hint="Leave it out: the outputs are logits, one per class.",
        )
    layer = task.decoding_layer()
    network = ArgmaxWrapper(restore_network(bundle), layer).eval()
    example = {name: torch.from_numpy(value) for name, value in input.make_example(2).items()}
    data = onnx_bytes(network, example, program_metadata(folder, input), input.dynamic_axes)
    _check_on_goldens(folder, layer, data)
    return data


def _check_on_goldens(folder: Path, layer: nn.Module, data: bytes) -> None:
    goldens, exact = Goldens.load(folder), float32_tolerance(read_bundle_json(folder))
    allowed = MAX_NEAR_TIES if exact.share is None else exact.share
    predictor = goldens.make_predictor(OnnxRuntime(data))
    outputs = predict_goldens(predictor, goldens.sources, batch_size=len(goldens.sources)).outputs
    stored = {name: torch.from_numpy(value) for name, value in goldens.outputs.items()}
    for name, expected in layer(stored).items():
        share = float(np.mean(expected.numpy() != outputs[name]))
        if share > allowed:
            raise Refusal(
                f"the exported program differs from the model in {share:.2%} of {name!r}."
            )
