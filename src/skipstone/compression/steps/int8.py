"""The step `int8`: post-training quantization by NNCF on the bundle's OpenVINO graph.

Jacob et al. 2018 (arXiv:1712.05877): weights and activations become 8-bit integers, each tensor
(for weights, each output channel) with its own scale. For a program that is fast, not only small
(measured with efficientnet_lite0 on AMX and VNNI):

- The ONNX importer leaves depthwise weights as Constant -> Reshape. NNCF then takes the wrong axis
  for the channels, and the plugin cannot use INT8. So constants are folded first, but only in the
  float graph: in the *quantized* graph the same pass would unpack the 8-bit weights.
- Recurrent layers stay in floating point: NNCF does not support RNN and torch's form of GRU, and
  the plugin does not load NNCF's LSTM. The layers around them (embedding, linear) become INT8; a
  note states how many layers stay.
- Activations have one scale per tensor, as the plugin's kernels require, not one per channel.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from skipstone.bundle.format import Bundle
from skipstone.compression.options import Int8Options
from skipstone.compression.shrink_plan import StepContext, copy_bundle
from skipstone.core import events
from skipstone.core.errors import DataError, Refusal, SkipstoneError
from skipstone.core.registry import HEADS
from skipstone.data.manifest import Manifest
from skipstone.inference.backends.libraries import (
    disable_signal_stack_after,
    import_nncf,
    import_openvino,
)
from skipstone.inference.backends.openvino_backend import OpenVinoRuntime
from skipstone.inference.export.openvino_export import (
    export_openvino,
    list_stem_names,
    list_tail_names,
    load_onnx_as_openvino,
    mark_stem_precise,
    mark_tail_precise,
    serialize_ir,
)
from skipstone.inference.open_model import open_model
from skipstone.inference.predictor import Predictor
from skipstone.inference.programs import Program, add_program, read_programs

Arrays = dict[str, np.ndarray]  # one sample's inputs by name, without the batch dimension
#: Bytes of calibration samples in memory, approximately.
MAX_SAMPLE_BYTES = 2 << 30
NAME = "openvino-int8"
FILES = {"model": "exports/openvino-int8/model.xml", "weights": "exports/openvino-int8/model.bin"}


def apply_int8(options: Int8Options, work: StepContext) -> dict[str, Any]:
    """A copy of the bundle with the program "openvino-int8" as its default.

    Raises:
        UsageError: the bundle has no goldens to verify a program with.
        DataError: no training file can be read.
        Refusal: NNCF cannot quantize this network.
    """
    copy_bundle(work.source, work.out)
    if "openvino-f32" not in read_programs(work.out).by_name:
        export_openvino(work.out)
    predictor = open_model(work.out, "torch")
    model = load_onnx_as_openvino(work.out)
    recurrent = recurrent_op_names(model)
    samples = load_calibration_samples(predictor, work.train_rows, options.samples, work.seed)
    exact = predictor.input.feature_spec().requires_float32
    networks = Bundle.load(work.out).arch.networks
    decodes = any(HEADS[network.head.name].decodes_boxes for network in networks)
    xml, weights = quantize_model(
        *(model, samples, options), exact_stem=exact, float_tail=decodes or len(networks) > 1
    )
    if decodes:
        xml = mark_tail_precise(xml)
    settings = {"floats": options.floats}
    program = Program(NAME, "openvino", "int8", FILES, settings)
    # one thread, so that sums have the same order in verify on any machine
    runtime = OpenVinoRuntime(xml, weights, precision="int8", floats=options.floats, threads=1)
    program = add_program(
        work.out, program, {"model": xml, "weights": weights}, runtime, default=True
    )
    facts = {"calibration_samples": len(samples), "layers": program.measured["facts"]["layers"]}
    if not recurrent:
        return facts
    one = len(recurrent) == 1
    events.emit_note(
        f"{'A recurrent layer stays' if one else f'{len(recurrent)} recurrent layers stay'} in "
        f"floating point and {'takes' if one else 'take'} most of the time; the layers around "
        f"{'it' if one else 'them'} become INT8."
    )
    return {**facts, "recurrent_in_floating_point": len(recurrent)}


def load_calibration_samples(
    predictor: Predictor, train_rows: Manifest, count: int, seed: int
) -> list[Arrays]:
    """Inputs of up to `count` random rows, as the Predictor gives them to a runtime; fewer if they
    fill HELD bytes.

    Unreadable files are skipped.
    """
    sources = train_rows.list_sources()
    order = np.random.default_rng(seed).permutation(len(sources))
    samples: list[Arrays] = []
    size = 0
    with events.progress_stage("reading for calibration", total=count, unit="samples") as advance:
        for row in order:
            if len(samples) == count or size >= MAX_SAMPLE_BYTES:
                break
            with contextlib.suppress(DataError):
                samples.append(predictor.encode(sources[row])[0])
                size += sum(array.nbytes for array in samples[-1].values())
                advance()
    if not samples:
        raise DataError(
            f"none of the {len(sources)} training files under {train_rows.root} can be read."
        )
    if size >= MAX_SAMPLE_BYTES and len(samples) < min(count, len(sources)):
        events.emit_note(
            f"INT8 ranges are measured on {len(samples):,} of {min(count, len(sources)):,} "
            f"samples, which fill {size / (1 << 30):.1f} GiB."
        )
    return samples


def quantize_model(
    model: Any,
    samples: Sequence[Arrays],
    options: Int8Options,
    *,
    exact_stem: bool = False,
    float_tail: bool = False,
) -> tuple[bytes, bytes]:
    """The files (.xml, .bin) of an INT8 program from a float openvino.Model, which is modified.

    Args:
        samples: inputs to measure ranges on.
        exact_stem: keep all up to the first convolution, and it, in float32, for images of more than 8
            bits.
        float_tail: keep what follows the last weights in floating point: an ensemble averages
            probabilities there, a detector decodes boxes, and 8 bits are too few.
    """
    import_openvino()
    nncf = import_nncf()
    from nncf.quantization import advanced_parameters as advanced
    from openvino.passes import ConstantFolding, Manager

    folding = Manager()
    folding.register_pass(ConstantFolding())
    folding.run_passes(model)
    preset = {"performance": "PERFORMANCE", "mixed": "MIXED"}[options.preset]
    with _counted_batches(len(samples)) as to_batch, _quiet(), disable_signal_stack_after():
        nncf.set_log_level(logging.ERROR)
        try:
            quantized = nncf.quantize(
                model,
                nncf.Dataset(samples, to_batch),
                subset_size=len(samples),
                preset=nncf.QuantizationPreset[preset],
                model_type=nncf.ModelType.TRANSFORMER if has_attention(model) else None,
                ignored_scope=nncf.IgnoredScope(
                    names=[
                        *recurrent_op_names(model),
                        *(list_stem_names(model) if exact_stem else []),
                        *(list_tail_names(model) if float_tail else []),
                    ]
                ),
                advanced_parameters=advanced.AdvancedQuantizationParameters(
                    activations_quantization_params=advanced.QuantizationParameters(
                        per_channel=False
                    ),
                    # the overflow fix halves the range of weights; processors with VNNI or AMX
                    # do not need it, and `verify` checks older ones
                    overflow_fix=advanced.OverflowFix.DISABLE,
                ),
            )
        except Exception as error:  # NNCF raises many types for graphs that it does not support
            raise Refusal(f"NNCF cannot quantize this network: {error}") from error
    xml, weights = serialize_ir(quantized)
    compact = compact_xml(xml)
    if exact_stem:
        xml, compact = mark_stem_precise(xml), mark_stem_precise(compact)
    _require_equal((xml, compact), weights, samples, options)
    return compact, weights


def has_attention(model: Any) -> bool:
    """Whether an openvino.Model has attention: a matrix product reads a softmax.

    NNCF then keeps the scores in floating point and moves outliers from activations into weights
    (Xiao et al. 2023, SmoothQuant, arXiv:2211.10438).
    """
    scores = [node for node in model.get_ops() if node.get_type_name() == "Softmax"]
    readers = [
        reader.get_node() for node in scores for reader in node.output(0).get_target_inputs()
    ]
    # a Select may zero rows that are masked entirely
    selects = [node for node in readers if node.get_type_name() == "Select"]
    readers += [
        reader.get_node() for node in selects for reader in node.output(0).get_target_inputs()
    ]
    return any(node.get_type_name() == "MatMul" for node in readers)


def recurrent_op_names(model: Any) -> list[str]:
    """Names of an openvino.Model's recurrent layers, one per direction."""
    kinds = ("RNNSequence", "LSTMSequence", "GRUSequence")
    return [op.get_friendly_name() for op in model.get_ops() if op.get_type_name() in kinds]


@contextlib.contextmanager
def _counted_batches(count: int) -> Iterator[Callable[[Arrays], Arrays]]:
    """`_as_batch`, with the progress of the first `count` samples; later passes read them again."""
    with events.progress_stage("quantizing", total=count, unit="samples") as advance:
        remaining = iter(range(count))

        def to_batch(sample: Arrays) -> Arrays:
            if next(remaining, None) is not None:
                advance()
            return _as_batch(sample)

        yield to_batch


def _as_batch(sample: Arrays) -> Arrays:
    """A sample as a batch of one for NNCF."""
    return {name: _with_full_range(value)[None] for name, value in sample.items()}


def _with_full_range(value: np.ndarray) -> np.ndarray:
    """An 8-bit image with 0 and 255 in a corner, so that the measured range of the input is exact.

    NNCF averages the extremes of samples, which would clip at about 250.
    """
    if value.dtype != np.uint8 or value.ndim < 3 or value.size < 16:
        return value
    value = value.copy()
    value[0, 0], value[0, -1] = 0, 255
    return value


def compact_xml(xml: bytes) -> bytes:
    """An IR's .xml without names of layers, rt_info and indentation (349 -> 275 KB for
    efficientnet_lite0). The names of inputs and outputs stay.
    """
    root = ET.fromstring(xml)
    results = {layer.attrib["id"] for layer in root.iter("layer") if layer.get("type") == "Result"}
    ends = {
        (edge.attrib["from-layer"], edge.attrib["from-port"])
        for edge in root.iter("edge")
        if edge.attrib["to-layer"] in results
    }
    for layer in root.iter("layer"):
        if layer.get("type") not in ("Parameter", "Result"):
            layer.set("name", f"n{layer.attrib['id']}")
            for port in layer.iterfind("output/port"):
                if (layer.attrib["id"], port.attrib["id"]) not in ends:
                    port.attrib.pop("names", None)
    for element in list(root.iter()):
        for child in element.findall("rt_info"):
            element.remove(child)
        element.text = (element.text or "").strip()
        element.tail = None
    text: str = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0"?>{text}'.encode()


def _require_equal(
    programs: tuple[bytes, bytes], weights: bytes, samples: Sequence[Arrays], options: Int8Options
) -> None:
    """Check that both programs have bit-identical outputs, for a batch of one and of several."""
    shapes = {name: value.shape for name, value in samples[0].items()}
    first = [s for s in samples if {name: value.shape for name, value in s.items()} == shapes][:4]
    batch = {name: np.stack([sample[name] for sample in first]) for name in first[0]}
    one = {name: value[:1] for name, value in batch.items()}
    before, after = (
        OpenVinoRuntime(xml, weights, precision="int8", floats=options.floats) for xml in programs
    )
    for arrays in (one, batch):
        old, new = before.run(arrays), after.run(arrays)
        if not _is_equal(old, new):
            raise SkipstoneError("removing names changed the outputs of the INT8 program.")


def _is_equal(old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray]) -> bool:
    return old.keys() == new.keys() and all(
        np.array_equal(old[name], new[name], equal_nan=True) for name in old
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress NNCF's progress bars and warnings."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
