"""The step `int8`: post-training quantization by NNCF on the bundle's OpenVINO graph.

Jacob et al. 2018 (arXiv:1712.05877): weights and activations become 8-bit integers, each tensor
(each output channel, for weights) with a scale of its own. What is found here is how to get a fast
program, not only a small one; measured with efficientnet_lite0 on AMX and VNNI:

- The ONNX importer leaves depthwise weights as Constant -> Reshape, where NNCF takes another axis
  for the channels and the plugin cannot use INT8. Folding constants first cures it. On the
  *quantized* graph the same pass would unpack the 8-bit weights, so it runs on the float one only.
- Recurrent layers stay in floating point: NNCF has no form for RNN and for GRU as torch has it, and
  what it makes of an LSTM the plugin does not load. What is around them (the table of vectors,
  linear layers) becomes INT8, and how many stay is said.
- One scale for a whole activation, not one a channel, is what the plugin's kernels take.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from skipstone import events
from skipstone.bundle.format import Bundle
from skipstone.data.manifest import Manifest
from skipstone.errors import DataError, Refusal, SkipstoneError
from skipstone.runtime.export_openvino import export_openvino, ir_bytes, read_onnx
from skipstone.runtime.libraries import import_nncf, import_openvino, loading_plugins
from skipstone.runtime.open import open_model
from skipstone.runtime.openvino_runtime import OpenVinoRuntime
from skipstone.runtime.openvino_stem import keep_stem_exact, stem_names
from skipstone.runtime.predictor import Predictor
from skipstone.runtime.programs import Program, add_program, read_programs
from skipstone.shrink.options import Int8
from skipstone.shrink.plan import Work, copy_bundle

Arrays = dict[str, np.ndarray]  # one sample's inputs by name, without the batch dimension
#: Bytes of calibration samples that are held at once, about.
HELD = 2 << 30
NAME = "openvino-int8"
FILES = {"model": "exports/openvino-int8/model.xml", "weights": "exports/openvino-int8/model.bin"}

#: Operations that have weights, as the IR calls them.
_WEIGHTED = {
    *("MatMul", "Convolution", "GroupConvolution", "ConvolutionBackpropData", "Gather"),
    *("GroupConvolutionBackpropData", "RNNSequence", "LSTMSequence", "GRUSequence"),
}


def apply(options: Int8, work: Work) -> dict[str, Any]:
    """A copy of the bundle with the program "openvino-int8", which answers by default.

    Raises:
        UsageError: the bundle has no goldens to prove a program on.
        DataError: no training file can be read.
        Refusal: NNCF cannot quantize this network.
    """
    copy_bundle(work.source, work.out)
    if "openvino-f32" not in read_programs(work.out).rows:
        export_openvino(work.out)
    predictor = open_model(work.out, "torch")
    model = read_onnx(work.out)
    recurrent = recurrent_names(model)
    samples = calibration(predictor, work.fit, options.samples, work.seed)
    with events.stage("quantizing"):
        exact = predictor.input.emits().exact
        voted = len(Bundle.load(work.out).arch.networks) > 1
        xml, weights = quantize(model, samples, options, exact=exact, voted=voted)
    settings = {"floats": options.floats}
    program = Program(NAME, "openvino", "int8", FILES, settings)
    # one thread, so that verify finds the same order of sums on a machine with more
    runtime = OpenVinoRuntime(xml, weights, precision="int8", floats=options.floats, threads=1)
    program = add_program(
        work.out, program, {"model": xml, "weights": weights}, runtime, default=True
    )
    facts = {"calibration_samples": len(samples), "layers": program.measured["facts"]["layers"]}
    if not recurrent:
        return facts
    one = len(recurrent) == 1
    events.note(
        f"{'A recurrent layer stays' if one else f'{len(recurrent)} recurrent layers stay'} in "
        f"floating point, where most of the time goes: INT8 is what is around "
        f"{'it' if one else 'them'}."
    )
    return {**facts, "recurrent_in_floating_point": len(recurrent)}


def calibration(predictor: Predictor, fit: Manifest, count: int, seed: int) -> list[Arrays]:
    """Inputs of up to `count` rows, drawn by `seed`, as the Predictor gives them to a runtime; of
    large pictures fewer, as they are held together.

    Unreadable files are passed over.
    """
    sources = fit.sources()
    order = np.random.default_rng(seed).permutation(len(sources))
    found: list[Arrays] = []
    size = 0
    with events.stage("reading for calibration", total=count, unit="samples") as advance:
        for row in order:
            if len(found) == count or size >= HELD:
                break
            with contextlib.suppress(DataError):
                found.append(predictor.encode(sources[row])[0])
                size += sum(array.nbytes for array in found[-1].values())
                advance()
    if not found:
        raise DataError(f"none of the {len(sources)} training files under {fit.root} can be read.")
    if size >= HELD and len(found) < min(count, len(sources)):
        events.note(
            f"INT8 ranges are measured on {len(found):,} of {min(count, len(sources)):,} samples, "
            f"which fill {size / (1 << 30):.1f} GiB."
        )
    return found


def quantize(
    model: Any,
    samples: Sequence[Arrays],
    options: Int8,
    *,
    exact: bool = False,
    voted: bool = False,
) -> tuple[bytes, bytes]:
    """A float openvino.Model, which is changed, to the files of an INT8 program.

    Args:
        samples: what ranges are measured on.
        exact: leave everything up to and with the first convolution in float32, because 8 bits
            cannot hold what the pictures do.
        voted: leave what comes behind the last weights in floating point: an ensemble adds up
            probabilities there, whose logarithms 8 bits cannot hold.
    """
    import_openvino()
    nncf = import_nncf()
    from nncf.quantization import advanced_parameters as advanced
    from openvino.passes import ConstantFolding, Manager

    folding = Manager()
    folding.register_pass(ConstantFolding())
    folding.run_passes(model)
    preset = {"performance": "PERFORMANCE", "mixed": "MIXED"}[options.preset]
    with _quiet(), loading_plugins():
        nncf.set_log_level(logging.ERROR)
        try:
            quantized = nncf.quantize(
                model,
                nncf.Dataset(samples, _as_batch),
                subset_size=len(samples),
                preset=nncf.QuantizationPreset[preset],
                model_type=nncf.ModelType.TRANSFORMER if attends(model) else None,
                ignored_scope=nncf.IgnoredScope(
                    names=[
                        *recurrent_names(model),
                        *(stem_names(model) if exact else []),
                        *(vote_names(model) if voted else []),
                    ]
                ),
                advanced_parameters=advanced.AdvancedQuantizationParameters(
                    activations_quantization_params=advanced.QuantizationParameters(
                        per_channel=False
                    ),
                    # the guard against overflow halves the range of weights; processors with
                    # VNNI or AMX need none, and older ones are held to the goldens by `verify`
                    overflow_fix=advanced.OverflowFix.DISABLE,
                ),
            )
        except Exception as error:  # NNCF raises many kinds for graphs that it cannot take
            raise Refusal(f"NNCF cannot quantize this network: {error}") from error
    xml, weights = ir_bytes(quantized)
    compact = compact_xml(xml)
    if exact:
        xml, compact = keep_stem_exact(xml), keep_stem_exact(compact)
    _require_equal((xml, compact), weights, samples, options)
    return compact, weights


def attends(model: Any) -> bool:
    """Whether an openvino.Model holds attention: a product of activations reads a softmax.

    NNCF then leaves the scores in floating point and moves what is large from activations into
    weights (Xiao et al. 2023, SmoothQuant, arXiv:2211.10438).
    """
    scores = [node for node in model.get_ops() if node.get_type_name() == "Softmax"]
    readers = [
        reader.get_node() for node in scores for reader in node.output(0).get_target_inputs()
    ]
    # rows without a single score become zeros on the way
    chosen = [node for node in readers if node.get_type_name() == "Select"]
    readers += [
        reader.get_node() for node in chosen for reader in node.output(0).get_target_inputs()
    ]
    return any(node.get_type_name() == "MatMul" for node in readers)


def recurrent_names(model: Any) -> list[str]:
    """Names of an openvino.Model's recurrent layers, one a direction."""
    kinds = ("RNNSequence", "LSTMSequence", "GRUSequence")
    return [op.get_friendly_name() for op in model.get_ops() if op.get_type_name() in kinds]


def vote_names(model: Any) -> list[str]:
    """Names of the operations of an openvino.Model that no layer with weights comes behind."""
    before: set[str] = set()
    behind: list[str] = []
    for node in reversed(model.get_ordered_ops()):
        name = node.get_friendly_name()
        if name in before or node.get_type_name() in _WEIGHTED:
            sources = [value.get_source_output().get_node() for value in node.inputs()]
            before |= {source.get_friendly_name() for source in sources}
        elif node.get_type_name() not in ("Constant", "Parameter", "Result"):
            behind.append(name)
    return behind


def _as_batch(sample: Arrays) -> Arrays:
    """What NNCF is given of a sample, when it asks for it."""
    return {name: _spanning(value)[None] for name, value in sample.items()}


def _spanning(value: np.ndarray) -> np.ndarray:
    """The same array, with the least and greatest value of its type among 8-bit ones.

    NNCF averages the extremes of samples, which puts white at about 250 and clips what is whiter.
    Two numbers in a corner of each sample make the range of the input exact.
    """
    if value.dtype != np.uint8 or value.ndim < 3 or value.size < 16:
        return value
    value = value.copy()
    value[0, 0], value[0, -1] = 0, 255
    return value


def compact_xml(xml: bytes) -> bytes:
    """An IR's .xml without what only people read: layers' names, notes, indentation.

    The names of the program's inputs and outputs stay. For efficientnet_lite0 the file shrinks
    from 349 to 275 KB.
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
    programs: tuple[bytes, bytes], weights: bytes, samples: Sequence[Arrays], options: Int8
) -> None:
    """Both programs answer the same bits, one sample at a time and several at once."""
    shapes = {name: value.shape for name, value in samples[0].items()}
    some = [s for s in samples if {name: value.shape for name, value in s.items()} == shapes][:4]
    batch = {name: np.stack([sample[name] for sample in some]) for name in some[0]}
    one = {name: value[:1] for name, value in batch.items()}
    before, after = (
        OpenVinoRuntime(xml, weights, precision="int8", floats=options.floats) for xml in programs
    )
    for arrays in (one, batch):
        old, new = before.run(arrays), after.run(arrays)
        if not _same(old, new):
            raise SkipstoneError("stripping names changed the answers of the INT8 program.")


def _same(old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray]) -> bool:
    return old.keys() == new.keys() and all(
        np.array_equal(old[name], new[name], equal_nan=True) for name in old
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """NNCF draws progress bars of its own and warns of torch; nobody asked."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
