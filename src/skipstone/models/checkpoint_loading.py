"""Loads a foreign state dict into a network, by published names.

Input channels are adapted, the classifier is loaded where it fits, and a report says which tensors
matched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from skipstone.core import events
from skipstone.core.errors import DataError, UsageError
from skipstone.models.network import Network

State = dict[str, Tensor]

#: The least fraction of the backbone's tensors that has to match.
MIN_MATCHED = 0.9
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
        adapted: a sentence on how the first convolution's channels were adapted, or "".
    """

    matched: tuple[str, ...]
    unmatched_in_file: tuple[str, ...]
    missing_in_model: tuple[str, ...]
    shape_mismatch: tuple[str, ...]
    fraction_of_backbone: float
    classifier: str = ""
    adapted: str = ""


#: Stores a report; returns where, for messages.
ReportWriter = Callable[[WeightReport], str]


def load_published(
    network: Network,
    state: Mapping[str, Tensor],
    *,
    where: str,
    classifier_problem: str = "",
    write_report: ReportWriter | None = None,
) -> WeightReport:
    """Load a backbone's tensors by their published names, and the classifier where it fits.

    Prefixes (``module.``, ``model.``, ``backbone.``) are stripped. A first convolution with other
    input channels is adapted by `adapt_channels`. Nothing is loaded when this raises.

    Args:
        where: the weights' source, for messages.
        classifier_problem: a sentence on why the classifier does not fit; it is not loaded
            then.
        write_report: as in `load_weights`.

    Raises:
        UsageError: less than 90 % of the backbone's tensors matched; names the first mismatches.
        DataError: a tensor holds numbers that are not finite.
    """
    backbone = network.backbone.published_module()
    expected = backbone.state_dict()
    prefix = network.backbone.published_prefix
    renamed = {_strip_prefixes(name, expected, prefix): tensor for name, tensor in state.items()}
    classifier = network.backbone.classifier
    loaded, mismatched, adapted = _match_tensors(expected, renamed, where)
    # older torchvision files lack these counters, which do not affect the outputs
    counted = [name for name in expected if not name.endswith("num_batches_tracked")]
    head: State = {}
    reason = classifier_problem
    if not classifier_problem:
        head, reason = _head_tensors(network, renamed, classifier)
    report = WeightReport(
        matched=tuple(loaded),
        unmatched_in_file=tuple(
            name for name in renamed if name not in expected and not _is_of_head(name, classifier)
        ),
        missing_in_model=tuple(name for name in counted if name not in renamed),
        shape_mismatch=tuple(mismatched),
        fraction_of_backbone=sum(name in loaded for name in counted) / len(counted),
        classifier=reason,
        adapted=adapted,
    )
    place = "" if write_report is None else write_report(report)
    if report.fraction_of_backbone < MIN_MATCHED:
        raise UsageError(
            _format_error(report, where, len(counted), place),
            hint="Choose the --model that these weights belong to, or --weights none.",
        )
    backbone.load_state_dict(loaded, strict=False)
    if head:
        network.head.load_state_dict(head, strict=False)
    events.emit_note(_format_report(report, where, len(counted), place))
    return report


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


def _strip_prefixes(name: str, expected: Mapping[str, Tensor], prefix: str) -> str:
    """The name without `prefix` and the prefixes of training scripts, unless it is expected."""
    if prefix and name not in expected:
        name = name.removeprefix(f"{prefix}.")
    while name not in expected and (match := _PREFIXES.match(name)):
        name = name[match.end() :]
    return name


def _is_of_head(name: str, classifier: str) -> bool:
    return name.startswith((f"{classifier}.", "head.", "front."))


def _head_tensors(
    network: Network, state: Mapping[str, Tensor], classifier: str
) -> tuple[State, str]:
    """The file's final linear layer under the head's names, if it has as many classes."""
    linears = [n for n, module in network.head.named_modules() if isinstance(module, nn.Linear)]
    layer = classifier if f"{classifier}.weight" in state else "head.linear"
    weight, bias = state.get(f"{layer}.weight"), state.get(f"{layer}.bias")
    if len(linears) != 1 or weight is None or bias is None:
        return {}, ""
    linear = network.head.get_submodule(linears[0])
    assert isinstance(linear, nn.Linear)
    if weight.shape != linear.weight.shape:
        return {}, f"its classifier of {weight.shape[0]} classes ignored, the new one starts fresh"
    tensors = {f"{linears[0]}.weight": weight, f"{linears[0]}.bias": bias}
    return tensors, f"its classifier of {weight.shape[0]} classes loaded too"


def _format_error(report: WeightReport, where: str, total: int, place: str) -> str:
    parts = [
        f"{where} does not fit: {report.fraction_of_backbone:.0%} of the backbone's {total} "
        f"tensors matched, and {MIN_MATCHED:.0%} are needed"
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
