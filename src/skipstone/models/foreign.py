"""A state dict from elsewhere into a network: by published names, with channels adapted, the
classifier where it fits, and a sentence on what found its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from skipstone import events
from skipstone.errors import DataError, UsageError
from skipstone.models.network import Network

State = dict[str, Tensor]

#: Less of a backbone than this would be another network's weights.
ENOUGH = 0.9
#: What training scripts put before the names of a state dict.
_PREFIXES = re.compile(r"^(_orig_mod\.|module\.|model\.|backbone\.|net\.)")


@dataclass(frozen=True, kw_only=True)
class WeightReport:
    """What became of an import.

    Args:
        matched: names of the backbone's tensors that were loaded.
        unmatched_in_file: names in the file (without prefix) that the backbone has no place for.
        missing_in_model: names of the backbone that the file does not have; they stay fresh.
        shape_mismatch: sentences, one a tensor.
        fraction_of_backbone: matched / all of the backbone's tensors.
        classifier: what became of the file's final linear layer, as a sentence, or "".
        adapted: how the first convolution's channels were adapted, as a sentence, or "".
    """

    matched: tuple[str, ...]
    unmatched_in_file: tuple[str, ...]
    missing_in_model: tuple[str, ...]
    shape_mismatch: tuple[str, ...]
    fraction_of_backbone: float
    classifier: str = ""
    adapted: str = ""


#: Gets what became of an import and keeps it; returns where all its names are, for messages.
Listing = Callable[[WeightReport], str]


def load_foreign(
    network: Network,
    state: Mapping[str, Tensor],
    *,
    where: str,
    strange: str = "",
    listing: Listing | None = None,
) -> WeightReport:
    """Load a backbone's tensors by their published names, and the classifier where it fits.

    Prefixes (``module.``, ``model.``, ``backbone.``) are stripped. A first convolution for other
    channels is adapted by `adapt_channels`. Nothing is loaded when this raises.

    Args:
        where: what the weights are called in messages.
        strange: why the classifier is not for this network, as a sentence; it is not loaded then.
        listing: as in `load_weights`.

    Raises:
        UsageError: less than 90 % of the backbone's tensors matched; names the first that did not.
        DataError: a tensor holds numbers that are not finite.
    """
    backbone = network.backbone.published()
    expected = backbone.state_dict()
    whole = getattr(backbone, "base_model_prefix", "")  # what transformers' larger models call it
    given = {_stripped(name, expected, whole): tensor for name, tensor in state.items()}
    classifier = network.backbone.classifier
    loaded, mismatched, adapted = _fitting(expected, given, where)
    # a counter that torchvision's older files lack, and nothing depends on
    counted = [name for name in expected if not name.endswith("num_batches_tracked")]
    head, said = ({}, strange) if strange else _head_tensors(network, given, classifier)
    report = WeightReport(
        matched=tuple(loaded),
        unmatched_in_file=tuple(
            name for name in given if name not in expected and not _of_head(name, classifier)
        ),
        missing_in_model=tuple(name for name in counted if name not in given),
        shape_mismatch=tuple(mismatched),
        fraction_of_backbone=sum(name in loaded for name in counted) / len(counted),
        classifier=said,
        adapted=adapted,
    )
    place = "" if listing is None else listing(report)
    if report.fraction_of_backbone < ENOUGH:
        raise UsageError(
            _refusal(report, where, len(counted), place),
            hint="Choose the --model that these weights belong to, or --weights none.",
        )
    backbone.load_state_dict(loaded, strict=False)
    if head:
        network.head.load_state_dict(head, strict=False)
    events.note(_statement(report, where, len(counted), place))
    return report


def _fitting(
    expected: Mapping[str, Tensor], given: Mapping[str, Tensor], where: str
) -> tuple[State, list[str], str]:
    """(tensors that have their place, a sentence for each of another shape, what was adapted)."""
    loaded: State = {}
    mismatched, adapted = [], ""
    first = next((name for name, tensor in expected.items() if tensor.dim() == 4), None)
    for name, target in expected.items():
        if name not in given:
            continue
        tensor = given[name]
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

    To one channel: the sum, so a grey picture gives what it gave as R = G = B. To more: repeated
    in turn and scaled by I / C, so that activations keep their size (as timm does).
    """
    inputs = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    repeats = -(-channels // inputs)
    return weight.repeat(1, repeats, 1, 1)[:, :channels] * (inputs / channels)


def _differs_in_channels(tensor: Tensor, target: Tensor) -> bool:
    same = tensor.dim() == 4 and tensor.shape[0] == target.shape[0]
    same = same and tensor.shape[2:] == target.shape[2:]
    return same and tensor.shape[1] != target.shape[1]


def _stripped(name: str, expected: Mapping[str, Tensor], whole: str = "") -> str:
    """The name without what training scripts, or `whole`, put before it; a name that fits is left
    alone."""
    if whole and name not in expected:
        name = name.removeprefix(f"{whole}.")
    while name not in expected and (match := _PREFIXES.match(name)):
        name = name[match.end() :]
    return name


def _of_head(name: str, classifier: str) -> bool:
    return name.startswith((f"{classifier}.", "head.", "front."))


def _head_tensors(
    network: Network, given: Mapping[str, Tensor], classifier: str
) -> tuple[State, str]:
    """The file's final linear layer under the head's names, where it has as many classes."""
    linears = [n for n, module in network.head.named_modules() if isinstance(module, nn.Linear)]
    published_as = classifier if f"{classifier}.weight" in given else "head.linear"
    theirs = {part: given.get(f"{published_as}.{part}") for part in ("weight", "bias")}
    weight, bias = theirs["weight"], theirs["bias"]
    if len(linears) != 1 or weight is None or bias is None:
        return {}, ""
    own = network.head.get_submodule(linears[0])
    assert isinstance(own, nn.Linear)
    if weight.shape != own.weight.shape:
        return {}, f"its classifier of {weight.shape[0]} classes ignored, ours starts fresh"
    parts = {f"{linears[0]}.weight": weight, f"{linears[0]}.bias": bias}
    return parts, f"its classifier of {weight.shape[0]} classes loaded too"


def _refusal(report: WeightReport, where: str, total: int, place: str) -> str:
    parts = [
        f"{where} does not fit: {report.fraction_of_backbone:.0%} of the backbone's {total} "
        f"tensors matched, and {ENOUGH:.0%} are needed"
    ]
    parts += _lists(report, place, ("unmatched in the file", "missing from it"))
    return "; ".join(parts) + "."


def _statement(report: WeightReport, where: str, total: int, place: str) -> str:
    count = round(report.fraction_of_backbone * total)
    parts = [f"loaded {where}: {count} of the backbone's {total} tensors"]
    parts += _lists(report, place, ("unused", "missing"))
    parts += [sentence for sentence in (report.adapted, report.classifier) if sentence]
    return "; ".join(parts)


def _lists(report: WeightReport, place: str, words: tuple[str, str]) -> list[str]:
    """What found no place, each kind's first names; `place` has them all."""
    kinds = (report.unmatched_in_file, report.missing_in_model, report.shape_mismatch)
    found = zip((*words, "of another shape"), kinds, strict=True)
    return [f"{what}: {_first(names, place)}" for what, names in found if names]


def _first(names: Sequence[str], place: str, count: int = 5) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more + (f" (all in {place})" if more and place else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
