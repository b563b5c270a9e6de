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

from skipstone import events
from skipstone.bundle.arch import Arch, one_network
from skipstone.bundle.format import Bundle
from skipstone.data.samples import Batch
from skipstone.errors import Refusal
from skipstone.inputs.base import Input, Vocabulary
from skipstone.models.build import build_network, network_tensors
from skipstone.models.meta import on_meta
from skipstone.models.network import Network
from skipstone.prepare.loader import Batching, Loader
from skipstone.registry import BACKBONES
from skipstone.runtime.parts import input_of, one_network_of, task_of
from skipstone.shrink.options import VocabularyOptions
from skipstone.shrink.plan import Work
from skipstone.shrink.recover import recover
from skipstone.shrink.remade import save_remade, with_input
from skipstone.train.learner import extract_features, solve

BATCH = 64  # texts per batch when effects are measured
_DOING = "the step vocabulary"


@runtime_checkable
class EntryEffects(Protocol):
    """A closed-form backbone that measures the effect of each feature on its outputs."""

    def effects(self, matrix: Any, *, several: bool) -> np.ndarray: ...


class Cut(NamedTuple):
    """A model with fewer entries, before recovery; `bundle` holds its input and tensors."""

    bundle: Bundle
    input: Input
    network: Network


def apply(options: VocabularyOptions, work: Work) -> dict[str, Any]:
    """A bundle with a smaller vocabulary, its exports and goldens.

    Raises:
        Refusal: the input has no vocabulary that can be made smaller; the network has no embedding
            of it; the bundle has no training recipe.
    """
    bundle = Bundle.load(work.source)
    input, network, arch = input_of(bundle), one_network_of(bundle, _DOING), _arch(bundle)
    if not isinstance(input, Vocabulary):
        raise Refusal(
            f"the input {bundle.input['name']!r} has no vocabulary to make smaller.",
            hint='Choose another step, such as --plan "prune, int8".',
        )
    entries = input.entries()
    with events.stage("measuring the importance of entries"):
        importance = effects(network, input, bundle, work)
    remaining = choose(importance, options.keep)
    effect_share = share_kept(importance, remaining)
    events.note(
        f"{len(remaining):,} of {len(entries):,} entries remain, with {effect_share:.1%} of the "
        "measured effect."
    )
    reduced = cut(bundle, input, network, remaining + entries.start)
    smaller, recovery = reduced.network, "not again"
    if options.epochs and "solver" in BACKBONES[arch.name].facts:
        smaller, arch = _solve_again(reduced, work)
        recovery = "solved again"
    elif options.epochs:
        result = recover(smaller, reduced.bundle, work, epochs=options.epochs, teacher=0.0)
        recovery = f"{result.steps} steps"
    save_remade(reduced.bundle, arch, reduced.input, smaller, work)
    return {
        "entries": [len(entries), len(remaining)],
        "parameters": [_count_values(network), _count_values(smaller)],
        "effect_kept": effect_share,
        "learnt": recovery,
    }


def choose(found: np.ndarray, keep: float) -> np.ndarray:
    """Indices of the share `keep` of entries with the greatest effects, ascending; at least one.

    Of entries with equal effects the earlier ones are kept.
    """
    count = max(1, round(keep * len(found)))
    return np.sort(np.argsort(-found, kind="stable")[:count])


def share_kept(found: np.ndarray, kept: np.ndarray) -> float:
    """The share of the kept entries in the sum of all effects."""
    total = float(found.sum())
    return float(found[kept].sum()) / total if total > 0 else 1.0


# --- importance of entries ----------------------------------------------------------------------


def effects(network: Network, input: Input, bundle: Bundle, work: Work) -> np.ndarray:
    """float64 (entries,): the importance of each entry in the training rows; see the module."""
    assert isinstance(input, Vocabulary)
    task = task_of(bundle)
    if isinstance(network.backbone, EntryEffects):
        matrix, targets = extract_features(input, task, work.fit, bundle.arch.name)
        return np.asarray(network.backbone.effects(matrix, several=targets.ndim == 2))
    entries = input.entries()
    tables = tables_of(network, _arch(bundle), input)
    layers = [network.get_submodule(name.rpartition(".")[0]) for name in tables]
    if not layers or not all(isinstance(layer, nn.Embedding) for layer in layers):
        raise Refusal("this network has no embedding of its input's vocabulary.")
    batching = Batching(batch_size=BATCH, seed=work.seed, shuffle=False)
    rows = Loader(work.fit, input, task, batching)
    importance = np.zeros(entries.stop)
    for batch in rows.epoch(0):
        for ids, effect in gates(network, layers, batch, input.missing):
            importance += squares(ids, effect, entries.stop)
    return importance[entries.start :]


def gates(
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


def squares(ids: np.ndarray, effect: np.ndarray, size: int) -> np.ndarray:
    """float64 (size,): per id, the square of the sum of its effects in a text, over all texts."""
    text = np.arange(len(ids))[:, None] * size
    pairs, index = np.unique(ids + text, return_inverse=True)
    of_pair = np.bincount(index.ravel(), effect.ravel(), len(pairs))
    return np.bincount(pairs % size, np.square(of_pair), size)


# --- removal of entries -------------------------------------------------------------------------


def tables_of(network: Network, arch: Arch, input: Input) -> list[str]:
    """Names of the tensors with a row per id of the input: those that are shorter in a network
    for one entry less."""
    assert isinstance(input, Vocabulary)
    entries = np.arange(input.entries().start, input.entries().stop)
    if len(entries) < 2:
        raise Refusal(f"the vocabulary has {len(entries)} entries; at least 2 are needed.")
    with on_meta():
        shorter = build_network(arch, input.narrowed(entries[1:])).state_dict()
    return [
        name for name, value in network.state_dict().items() if value.shape != shorter[name].shape
    ]


def cut(bundle: Bundle, input: Input, network: Network, kept: np.ndarray) -> Cut:
    """The model with only the entries `kept` (ids, ascending).

    Its outputs equal those of `network` if all other entries are unknown.
    """
    assert isinstance(input, Vocabulary)
    smaller_input = input.narrowed(kept)
    tensors, entries = network.state_dict(), input.entries()
    tables = tables_of(network, _arch(bundle), input)
    ids = np.arange(tensors[tables[0]].shape[0] if tables else 0)
    rows = torch.from_numpy(np.concatenate([ids[: entries.start], kept, ids[entries.stop :]]))
    tensors |= {name: tensors[name].index_select(0, rows) for name in tables}
    smaller = build_network(_arch(bundle), smaller_input)
    smaller.load_state_dict(tensors, strict=True)
    smaller.eval()
    bundle = dataclasses.replace(
        with_input(bundle, smaller_input), tensors=network_tensors(smaller)
    )
    return Cut(bundle, smaller_input, smaller)


def _solve_again(reduced: Cut, work: Work) -> tuple[Network, Arch]:
    """The closed-form network of the remaining entries, with the same options."""
    bundle, task = reduced.bundle, task_of(reduced.bundle)
    with events.stage("solving again"):
        matrix, targets = extract_features(reduced.input, task, work.fit, bundle.arch.name)
        classes = len(task.schema["classes"])
        return solve(_arch(bundle), reduced.input, matrix, targets, classes, work.seed)


def _arch(bundle: Bundle) -> Arch:
    return one_network(bundle.arch, _DOING)


def _count_values(network: Network) -> int:
    return sum(value.numel() for value in network.state_dict().values())
