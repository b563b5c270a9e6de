"""Loads a foreign state dict into a network, by published names.

Input channels are adapted, the classifier is loaded where it fits, and a report says which tensors
matched.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from skipstone.core import events
from skipstone.core.errors import DataError, UsageError
from skipstone.models.backbone import Backbone
from skipstone.models.network import Network

State = dict[str, Tensor]

#: The least fraction of the backbone's tensors that has to match.
MIN_MATCHED = 0.9
#: Equal networks differ by rounding only, relative to the largest output.
MAX_DIFFERENCE = 1e-3
#: Prefixes that training scripts add to the names of a state dict.
_PREFIXES = re.compile(r"^(_orig_mod\.|module\.|model\.|backbone\.|net\.)")


@dataclass(frozen=True, kw_only=True)
class WeightReport:
    """Which tensors of a checkpoint were loaded.

    Args:
        matched: names of the backbone's tensors that were loaded.
        unmatched_in_file: names in the file (without prefix) that the backbone does not have.
        missing_in_model: names of the backbone that the file does not have; they stay fresh.
        shape_mismatch: one sentence per tensor.
        fraction_of_backbone: matched / all of the backbone's tensors.
        classifier: a sentence on whether the file's final linear layer was loaded, or "".
        has_classifier: whether it was.
        adapted: a sentence on how the first convolution's channels were adapted, or "".
    """

    matched: tuple[str, ...]
    unmatched_in_file: tuple[str, ...]
    missing_in_model: tuple[str, ...]
    shape_mismatch: tuple[str, ...]
    fraction_of_backbone: float
    classifier: str = ""
    has_classifier: bool = False
    adapted: str = ""


#: Stores a report; returns where, for messages.
ReportWriter = Callable[[WeightReport], str]


def load_published(
    network: Network,
    state: Mapping[str, Tensor],
    *,
    where: str,
    example: Mapping[str, Tensor],
    of_skipstone: bool = False,
    classifier_problem: str = "",
    write_report: ReportWriter | None = None,
) -> WeightReport:
    """Load a backbone's tensors by their published names, and the classifier where it fits.

    Prefixes (``module.``, ``model.``, ``backbone.``) are stripped. A first convolution with other
    input channels is adapted by `adapt_channels`. Nothing is loaded when this raises.

    A foreign classifier is loaded only if the network then gives the outputs of the published
    one: a classifier of the same shape may belong behind another pooling, or behind layers that
    this network lacks.

    Args:
        where: the weights' source, for messages.
        example: generated inputs of the network, on which the outputs are compared.
        of_skipstone: whether `state` is of a network of skipstone.
        classifier_problem: a sentence on why its classifier does not fit and is not loaded.
        write_report: as in `load_weights`.

    Raises:
        UsageError: less than 90 % of the backbone's tensors matched; names the first mismatches.
        DataError: a tensor holds numbers that are not finite.
    """
    backbone = network.backbone.published_module()
    expected = backbone.state_dict()
    renamed = _rename_tensors(network.backbone, state)
    loaded, mismatched, adapted = _match_tensors(expected, renamed, where)
    layer = "head.linear" if of_skipstone else network.backbone.classifier_name
    ignored = tuple(name for name in renamed if of_skipstone and name.startswith("front."))
    report = _report_matches(
        expected, renamed, loaded, elsewhere=(f"{layer}.weight", f"{layer}.bias", *ignored)
    )
    report = dataclasses.replace(report, shape_mismatch=tuple(mismatched), adapted=adapted)
    total = len(_without_counters(expected))
    if report.fraction_of_backbone < MIN_MATCHED:
        place = "" if write_report is None else write_report(report)
        raise UsageError(
            _format_error(report, where, total, place),
            hint="Choose the --model that these weights belong to, or --weights none.",
        )
    backbone.load_state_dict(loaded, strict=False)
    head, reason = _head_tensors(network, renamed, layer)
    if head and not classifier_problem and not of_skipstone:
        classifier_problem = _compare_outputs(network, head, renamed, example, where)
    if has_classifier := bool(head) and not classifier_problem:
        network.head.load_state_dict(head, strict=False)
    verdict = classifier_problem or reason
    report = dataclasses.replace(report, classifier=verdict, has_classifier=has_classifier)
    place = "" if write_report is None else write_report(report)
    events.emit_note(_format_report(report, where, total, place))
    return report


def _report_matches(
    expected: Mapping[str, Tensor], state: State, loaded: State, elsewhere: tuple[str, ...]
) -> WeightReport:
    """What matched; names of `elsewhere` are loaded into other parts of the network."""
    counted = _without_counters(expected)
    known = {*expected, *elsewhere}
    return WeightReport(
        matched=tuple(loaded),
        unmatched_in_file=tuple(name for name in state if name not in known),
        missing_in_model=tuple(name for name in counted if name not in state),
        shape_mismatch=(),
        fraction_of_backbone=sum(name in loaded for name in counted) / len(counted),
    )


def _without_counters(names: Iterable[str]) -> list[str]:
    """Names without counters, which older torchvision files lack and outputs do not depend on."""
    return [name for name in names if not name.endswith("num_batches_tracked")]


def _compare_outputs(
    network: Network,
    head: State,
    state: Mapping[str, Tensor],
    example: Mapping[str, Tensor],
    where: str,
) -> str:
    """ "" if the network with the file's classifier has the outputs of the published network, else
    a sentence. The network is left as it is."""
    count = next(iter(head.values())).shape[0]
    start = f"its classifier of {count} classes starts fresh, because"
    published = network.backbone.published_network(count)
    if published is None:
        return f"{start} other layers may come before it in the network that was published"
    target = published.module.state_dict()
    tensors, _, _ = _match_tensors(target, state, where)
    missing = [name for name in _without_counters(target) if name not in tensors]
    if missing:
        return f"{start} {published.name} has {missing[0]}, and the file does not"
    published.module.load_state_dict(tensors, strict=False)
    published.module.eval()
    twin = copy.deepcopy(network).eval()
    twin.head.load_state_dict(head, strict=False)
    with torch.no_grad():
        arrays = twin.front(dict(example))
        logits = twin.predict_arrays(arrays).get("logits")
        theirs = published.compute_logits(arrays)
    if logits is None or logits.shape != theirs.shape:
        return f"{start} this network has other outputs than {published.name}"
    difference = float((logits - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12))
    if difference <= MAX_DIFFERENCE:
        return ""
    size = f"by {difference:.0%}" if math.isfinite(difference) else "and are not finite"
    return f"{start} with these options the outputs differ from {published.name} {size}"


def _match_tensors(
    expected: Mapping[str, Tensor], state: Mapping[str, Tensor], where: str
) -> tuple[State, list[str], str]:
    """(matching tensors, a sentence for each of another shape, a sentence on adapted channels)."""
    loaded: State = {}
    mismatched, adapted = [], ""
    first = next((name for name, tensor in expected.items() if tensor.dim() == 4), None)
    for name, target in expected.items():
        if name not in state:
            continue
        tensor = state[name]
        if name == first and _differs_in_channels(tensor, target):
            adapted = f"first layer adapted from {tensor.shape[1]} to {target.shape[1]} channels"
            tensor = adapt_channels(tensor, target.shape[1])
        if tensor.shape != target.shape:
            mismatched.append(f"{name} is {_shape(tensor)}, not {_shape(target)}")
            continue
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DataError(f"{where}: {name} holds numbers that are not finite.")
        loaded[name] = tensor.to(target.dtype)
    return loaded, mismatched, adapted


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """A convolution's weights for another number of input channels: (O, I, h, w) -> (O, C, h, w).

    To one channel: the sum, so a grey image gives the same output as with R = G = B. To more:
    repeated in turn and scaled by I / C, so that activations keep their scale (as timm does).
    """
    inputs = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    repeats = -(-channels // inputs)
    return weight.repeat(1, repeats, 1, 1)[:, :channels] * (inputs / channels)


def _differs_in_channels(tensor: Tensor, target: Tensor) -> bool:
    if tensor.dim() != 4 or tensor.shape[1] == target.shape[1]:
        return False
    return tensor.shape[0] == target.shape[0] and tensor.shape[2:] == target.shape[2:]


def _rename_tensors(backbone: Backbone, state: Mapping[str, Tensor]) -> State:
    """The tensors under the names of the backbone, as far as it knows them."""
    expected = backbone.published_module().state_dict()
    renamed: State = {}
    for name, tensor in state.items():
        stripped = _strip_prefixes(name, expected, backbone.published_prefix)
        renamed[backbone.translate_name(stripped)] = tensor
    return renamed


def _strip_prefixes(name: str, expected: Mapping[str, Tensor], prefix: str) -> str:
    """The name without `prefix` and the prefixes of training scripts, unless it is expected."""
    if prefix and name not in expected:
        name = name.removeprefix(f"{prefix}.")
    while name not in expected and (match := _PREFIXES.match(name)):
        name = name[match.end() :]
    return name


def _head_tensors(network: Network, state: Mapping[str, Tensor], layer: str) -> tuple[State, str]:
    """The file's final linear `layer` under the head's names, if it has as many classes."""
    linears = [n for n, module in network.head.named_modules() if isinstance(module, nn.Linear)]
    weight = state.get(f"{layer}.weight")
    if len(linears) != 1 or weight is None or weight.ndim not in (2, 4):
        return {}, ""
    weight = weight.flatten(1)  # a few networks have a 1x1 convolution: (K, C, 1, 1)
    bias = state.get(f"{layer}.bias", weight.new_zeros(len(weight)))
    linear = network.head.get_submodule(linears[0])
    assert isinstance(linear, nn.Linear)
    if weight.shape != linear.weight.shape or bias.shape != linear.bias.shape:
        return {}, f"its classifier of {weight.shape[0]} classes ignored, the new one starts fresh"
    tensors = {f"{linears[0]}.weight": weight, f"{linears[0]}.bias": bias}
    return tensors, f"its classifier of {weight.shape[0]} classes loaded too"


def _format_error(report: WeightReport, where: str, total: int, place: str) -> str:
    parts = [
        f"cannot load {where}: {report.fraction_of_backbone:.0%} of the backbone's {total} tensors "
        f"match, and {MIN_MATCHED:.0%} are needed"
    ]
    parts += _format_names(report, place, ("unmatched in the file", "missing from it"))
    return "; ".join(parts) + "."


def _format_report(report: WeightReport, where: str, total: int, place: str) -> str:
    count = round(report.fraction_of_backbone * total)
    parts = [f"loaded {where}: {count} of the backbone's {total} tensors"]
    parts += _format_names(report, place, ("unused", "missing"))
    parts += [sentence for sentence in (report.adapted, report.classifier) if sentence]
    return "; ".join(parts)


def _format_names(report: WeightReport, place: str, labels: tuple[str, str]) -> list[str]:
    """The first names of each kind of mismatch; `place` has all names."""
    kinds = (report.unmatched_in_file, report.missing_in_model, report.shape_mismatch)
    pairs = zip((*labels, "of another shape"), kinds, strict=True)
    return [f"{label}: {_first_names(names, place)}" for label, names in pairs if names]


def _first_names(names: Sequence[str], place: str, count: int = 5) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more + (f" (all in {place})" if more and place else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
