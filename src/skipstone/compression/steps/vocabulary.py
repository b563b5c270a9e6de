"""The step `vocabulary`: remove the least important entries from the input and the network.

An entry of a vocabulary (a token, an n-gram) costs its row in the vocabulary and one row in every
embedding table of the network. A removed entry becomes unknown to the input. The importance of an
entry combines how often the training rows contain it and its effect there:

- Networks trained by gradient: put a gate z = 1 between an entry's vector e and the vector u of
  unknown entries, the same gate at all its positions in a text. Closing it changes the norm of the
  outputs f, to first order, by

      d|f|/dz = sum over its positions of (gradient of |f| there) . (e - u)

  and the sum of its square over all texts is the entry's importance. The gates are from Molchanov
  et al. 2019 (arXiv:1906.10771, section 3.1), who prune channels; the norm of the outputs, instead
  of the loss, whose gradient vanishes for texts that are fitted, is from Aljundi et al. 2018
  (arXiv:1711.09601, section 4.1).
- Closed-form networks report the effect of each entry (`EntryEffects`). For a linear one it is
  exact: weight * value; the value includes count and document frequency.

The smaller network is then trained from the labels, or solved again on the remaining entries.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from skipstone.bundle.architecture import Arch, require_single_network
from skipstone.bundle.format import Bundle
from skipstone.compression.options import VocabularyOptions
from skipstone.compression.recover import replace_input, save_step_output, train_recovery
from skipstone.compression.shrink_plan import StepContext
from skipstone.core import events
from skipstone.core.errors import Refusal
from skipstone.core.registry import BACKBONES
from skipstone.data.samples import Batch
from skipstone.datasets.loader import Batching, Loader
from skipstone.inference.restore import restore_input, restore_single_network, restore_task
from skipstone.inputs.base import Input, Vocabulary
from skipstone.models.build import build_network, export_tensors
from skipstone.models.meta_device import on_meta
from skipstone.models.network import Network
from skipstone.training.closed_form import extract_features, solve

BATCH = 64  # texts per batch when effects are measured
_DOING = "the step vocabulary"


@runtime_checkable
class EntryEffects(Protocol):
    """A closed-form backbone that measures the effect of each feature on its outputs."""

    def feature_effects(self, matrix: Any, *, multi_label: bool) -> np.ndarray: ...


class ReducedModel(NamedTuple):
    """A model with fewer entries, before recovery; `bundle` holds its input and tensors."""

    bundle: Bundle
    input: Input
    network: Network


def apply_vocabulary(options: VocabularyOptions, work: StepContext) -> dict[str, Any]:
    """A bundle with a smaller vocabulary, its exports and goldens.

    Raises:
        Refusal: the input has no vocabulary that can be made smaller; the network has no embedding
            of it; the bundle has no training recipe.
    """
    bundle = Bundle.load(work.source)
    input, network, arch = (
        restore_input(bundle),
        restore_single_network(bundle, _DOING),
        _arch(bundle),
    )
    if not isinstance(input, Vocabulary):
        raise Refusal(
            f"the input {bundle.input['name']!r} has no vocabulary to make smaller.",
            hint='Choose another step, such as --plan "prune, int8".',
        )
    entries = input.removable_ids()
    with events.progress_stage("measuring the importance of entries"):
        importance = measure_effects(network, input, bundle, work)
    remaining = choose_entries(importance, options.keep)
    effect_share = kept_effect_share(importance, remaining)
    events.emit_note(
        f"{len(remaining):,} of {len(entries):,} entries remain, with {effect_share:.1%} of the "
        "measured effect."
    )
    reduced = remove_entries(bundle, input, network, remaining + entries.start)
    smaller, recovery = reduced.network, "not again"
    if options.epochs and BACKBONES[arch.name].is_closed_form:
        smaller, arch = _solve_again(reduced, work)
        recovery = "solved again"
    elif options.epochs:
        result = train_recovery(smaller, reduced.bundle, work, epochs=options.epochs, teacher=0.0)
        recovery = f"{result.steps} steps"
    save_step_output(reduced.bundle, arch, reduced.input, smaller, work)
    return {
        "entries": [len(entries), len(remaining)],
        "parameters": [_count_values(network), _count_values(smaller)],
        "effect_kept": effect_share,
        "learnt": recovery,
    }


def choose_entries(found: np.ndarray, keep: float) -> np.ndarray:
    """Indices of the share `keep` of entries with the greatest effects, ascending; at least one.

    Of entries with equal effects the earlier ones are kept.
    """
    count = max(1, round(keep * len(found)))
    return np.sort(np.argsort(-found, kind="stable")[:count])


def kept_effect_share(found: np.ndarray, kept: np.ndarray) -> float:
    """The share of the kept entries in the sum of all effects."""
    total = float(found.sum())
    return float(found[kept].sum()) / total if total > 0 else 1.0


# --- importance of entries ----------------------------------------------------------------------


def measure_effects(
    network: Network, input: Input, bundle: Bundle, work: StepContext
) -> np.ndarray:
    """float64 (entries,): the importance of each entry in the training rows; see the module."""
    assert isinstance(input, Vocabulary)
    task = restore_task(bundle)
    if isinstance(network.backbone, EntryEffects):
        matrix, targets = extract_features(input, task, work.train_rows, bundle.arch.name)
        return np.asarray(network.backbone.feature_effects(matrix, multi_label=targets.ndim == 2))
    entries = input.removable_ids()
    tables = vocabulary_tables(network, _arch(bundle), input)
    layers = [network.get_submodule(name.rpartition(".")[0]) for name in tables]
    if not layers or not all(isinstance(layer, nn.Embedding) for layer in layers):
        raise Refusal("this network has no embedding of its input's vocabulary.")
    batching = Batching(batch_size=BATCH, seed=work.seed, shuffle=False)
    rows = Loader(work.train_rows, input, task, batching)
    importance = np.zeros(entries.stop)
    for batch in rows.iterate_epoch(0):
        for ids, effect in gate_effects(network, layers, batch, input.unknown_id):
            importance += sum_squared_effects(ids, effect, entries.stop)
    return importance[entries.start :]


def gate_effects(
    network: Network, layers: Sequence[nn.Module], batch: Batch, missing: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each embedding: the ids (N, L), and the effect of each position (N, L): the first-order
    change of the norm of a text's outputs if its vector became that of `missing`."""
    calls: list[tuple[Tensor, Tensor, Tensor]] = []

    def hook(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        assert isinstance(layer.weight, Tensor)
        step = (layer.weight[missing] - output).detach()  # (N, L, D)
        offset = torch.zeros_like(output, requires_grad=True)
        calls.append((inputs[0], step, offset))
        return output + offset

    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        outputs = network(batch.x)
    finally:
        for handle in handles:
            handle.remove()
    values = torch.cat([value.float().flatten(1) for value in outputs.values()], dim=1)
    norms = values.norm(dim=1).sum()  # in evaluation mode the texts of a batch are independent
    gradients = torch.autograd.grad(norms, [offset for _, _, offset in calls])
    for (ids, step, _), gradient in zip(calls, gradients, strict=True):
        yield ids.numpy(), (gradient * step).sum(dim=2).double().numpy()


def sum_squared_effects(ids: np.ndarray, effect: np.ndarray, size: int) -> np.ndarray:
    """float64 (size,): per id, the square of the sum of its effects in a text, over all texts."""
    text = np.arange(len(ids))[:, None] * size
    pairs, index = np.unique(ids + text, return_inverse=True)
    of_pair = np.bincount(index.ravel(), effect.ravel(), len(pairs))
    return np.bincount(pairs % size, np.square(of_pair), size)


# --- removal of entries -------------------------------------------------------------------------


def vocabulary_tables(network: Network, arch: Arch, input: Input) -> list[str]:
    """Names of the tensors with a row per id of the input: those that are shorter in a network
    for one entry less."""
    assert isinstance(input, Vocabulary)
    entries = np.arange(input.removable_ids().start, input.removable_ids().stop)
    if len(entries) < 2:
        raise Refusal(f"the vocabulary has {len(entries)} entries; at least 2 are needed.")
    with on_meta():
        shorter = build_network(arch, input.restrict_vocabulary(entries[1:])).state_dict()
    return [
        name for name, value in network.state_dict().items() if value.shape != shorter[name].shape
    ]


def remove_entries(
    bundle: Bundle, input: Input, network: Network, kept: np.ndarray
) -> ReducedModel:
    """The model with only the entries `kept` (ids, ascending).

    Its outputs equal those of `network` if all other entries are unknown.
    """
    assert isinstance(input, Vocabulary)
    smaller_input = input.restrict_vocabulary(kept)
    tensors, entries = network.state_dict(), input.removable_ids()
    tables = vocabulary_tables(network, _arch(bundle), input)
    ids = np.arange(tensors[tables[0]].shape[0] if tables else 0)
    rows = torch.from_numpy(np.concatenate([ids[: entries.start], kept, ids[entries.stop :]]))
    tensors |= {name: tensors[name].index_select(0, rows) for name in tables}
    smaller = build_network(_arch(bundle), smaller_input)
    smaller.load_state_dict(tensors, strict=True)
    smaller.eval()
    bundle = dataclasses.replace(
        replace_input(bundle, smaller_input), tensors=export_tensors(smaller)
    )
    return ReducedModel(bundle, smaller_input, smaller)


def _solve_again(reduced: ReducedModel, work: StepContext) -> tuple[Network, Arch]:
    """The closed-form network of the remaining entries, with the same options."""
    bundle, task = reduced.bundle, restore_task(reduced.bundle)
    with events.progress_stage("solving again"):
        matrix, targets = extract_features(reduced.input, task, work.train_rows, bundle.arch.name)
        classes = len(task.schema["classes"])
        return solve(_arch(bundle), reduced.input, matrix, targets, classes, work.seed)


def _arch(bundle: Bundle) -> Arch:
    return require_single_network(bundle.arch, _DOING)


def _count_values(network: Network) -> int:
    return sum(value.numel() for value in network.state_dict().values())
