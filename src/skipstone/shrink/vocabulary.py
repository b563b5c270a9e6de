"""The step `vocabulary`: words that matter least leave the input, and the network their rows.

An entry of a vocabulary (a token, an n-gram) costs its place in the input and one row in every
table of the network that is looked up by it. Taken away, it is to the input what it never saw. How
much an entry matters is how often the fit rows use it and what it does there, in one figure:

- A network learnt by gradient: put a gate z = 1 between an entry's vector e and that of the unknown
  one, u, the same for all its places in a text. Closing it moves the answers: the length of the
  outputs f changes, to first order, by

      d|f|/dz = sum over its places of (gradient of |f| there) . (e - u)

  and the sum of its square over all texts is the entry's importance. Gates are those of Molchanov
  et al. 2019 (arXiv:1906.10771, section 3.1), who prune channels; outputs instead of the loss,
  whose gradient vanishes where a text is fitted, are those of Aljundi et al. 2018
  (arXiv:1711.09601, section 4.1).
- A network found in closed form says itself how far each entry moves its answers (`effects`); for
  a linear one that is exact: weight * value, whose value holds count and document frequency.

The rest learns again from the labels, or is solved again on what is left.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

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
from skipstone.train.learner import features_of, solve

BATCH = 64  # texts whose effects are measured together
_DOING = "the step vocabulary"


class Cut(NamedTuple):
    """A model that knows fewer entries, before it learns again: `bundle` holds its input and
    tensors."""

    bundle: Bundle
    input: Input
    network: Network


def apply(options: VocabularyOptions, work: Work) -> dict[str, Any]:
    """A bundle whose input knows fewer entries, its exports and goldens.

    Raises:
        Refusal: the input has no vocabulary, or none that can be taken apart; the network looks
            nothing up by it; the model does not say how it was trained.
    """
    bundle = Bundle.load(work.source)
    input, network, arch = input_of(bundle), one_network_of(bundle, _DOING), _arch(bundle)
    if not isinstance(input, Vocabulary):
        raise Refusal(
            f"the input {bundle.input['name']!r} has no vocabulary that could be made smaller.",
            hint='Choose another step, such as --plan "prune, int8".',
        )
    known = input.entries()
    with events.stage("finding the entries that matter least"):
        found = effects(network, input, bundle, work)
    kept = choose(found, options.keep)
    events.note(
        f"{len(kept):,} of {len(known):,} entries stay, with "
        f"{share_kept(found, kept):.1%} of the measured effect."
    )
    narrow = cut(bundle, input, network, kept + known.start)
    narrowed, learnt = narrow.network, "not again"
    if options.epochs and "solver" in BACKBONES[arch.name].facts:
        narrowed, arch = _solved(narrow, work)
        learnt = "solved again"
    elif options.epochs:
        result = recover(narrowed, narrow.bundle, work, epochs=options.epochs, teacher=0.0)
        learnt = f"{result.steps} steps"
    save_remade(narrow.bundle, arch, narrow.input, narrowed, work)
    return {
        "entries": [len(known), len(kept)],
        "parameters": [_numbers(network), _numbers(narrowed)],
        "effect_kept": share_kept(found, kept),
        "learnt": learnt,
    }


def choose(found: np.ndarray, keep: float) -> np.ndarray:
    """Places of the entries with the greatest effects, ascending: the share `keep`, at least one.

    Where effects are equal the earlier entries stay.
    """
    count = max(1, round(keep * len(found)))
    return np.sort(np.argsort(-found, kind="stable")[:count])


def share_kept(found: np.ndarray, kept: np.ndarray) -> float:
    """Of all effects, as a share."""
    total = float(found.sum())
    return float(found[kept].sum()) / total if total > 0 else 1.0


# --- how much an entry matters ------------------------------------------------------------------


def effects(network: Network, input: Input, bundle: Bundle, work: Work) -> np.ndarray:
    """float64 (entries,): what each entry does in the fit rows; see the module's text."""
    assert isinstance(input, Vocabulary)
    task = task_of(bundle)
    if hasattr(network.backbone, "effects"):
        matrix, targets = features_of(input, task, work.fit, bundle.arch.name)
        solved: Any = network.backbone
        return np.asarray(solved.effects(matrix, several=targets.ndim == 2))
    known = input.entries()
    tables = tables_of(network, _arch(bundle), input)
    layers = [network.get_submodule(name.rpartition(".")[0]) for name in tables]
    if not layers or not all(isinstance(layer, nn.Embedding) for layer in layers):
        raise Refusal("this network looks nothing up by its input's vocabulary.")
    batching = Batching(batch_size=BATCH, seed=work.seed, shuffle=False)
    rows = Loader(work.fit, input, task, batching)
    found = np.zeros(known.stop)
    for batch in rows.epoch(0):
        for ids, effect in gates(network, layers, batch, input.missing):
            found += squares(ids, effect, known.stop)
    return found[known.start :]


def gates(
    network: Network, layers: Sequence[nn.Module], batch: Batch, missing: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each table that is looked up: the ids (N, L), and what each place does (N, L): the change
    of the length of a text's outputs, to first order, were its vector that of `missing`."""
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def hook(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        assert isinstance(layer.weight, Tensor)
        step = (layer.weight[missing] - output).detach()  # (N, L, D)
        moved = torch.zeros_like(output, requires_grad=True)
        seen.append((inputs[0], step, moved))
        return output + moved

    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        outputs = network(batch.x)
    finally:
        for handle in handles:
            handle.remove()
    numbers = torch.cat([value.float().flatten(1) for value in outputs.values()], dim=1)
    lengths = numbers.norm(dim=1).sum()  # texts do not meet in a network that is evaluated
    gradients = torch.autograd.grad(lengths, [moved for _, _, moved in seen])
    for (ids, step, _), gradient in zip(seen, gradients, strict=True):
        yield ids.numpy(), (gradient * step).sum(dim=2).double().numpy()


def squares(ids: np.ndarray, effect: np.ndarray, size: int) -> np.ndarray:
    """float64 (size,): by id, the squared sum of its effects in a text, summed over texts."""
    text = np.arange(len(ids))[:, None] * size
    pairs, place = np.unique(ids + text, return_inverse=True)
    of_pair = np.bincount(place.ravel(), effect.ravel(), len(pairs))
    return np.bincount(pairs % size, np.square(of_pair), size)


# --- taking entries away ------------------------------------------------------------------------


def tables_of(network: Network, arch: Arch, input: Input) -> list[str]:
    """Names of the tensors with a row for each id of the input: those that an input with one entry
    less would make shorter."""
    assert isinstance(input, Vocabulary)
    known = np.arange(input.entries().start, input.entries().stop)
    if len(known) < 2:
        raise Refusal(f"the vocabulary has {len(known)} entries; there is nothing to take away.")
    with on_meta():
        shorter = build_network(arch, input.narrowed(known[1:])).state_dict()
    return [
        name for name, value in network.state_dict().items() if value.shape != shorter[name].shape
    ]


def cut(bundle: Bundle, input: Input, network: Network, kept: np.ndarray) -> Cut:
    """The model that knows only the entries `kept` (ids, ascending).

    Its answers are those of `network` where all else is unknown.
    """
    assert isinstance(input, Vocabulary)
    narrowed = input.narrowed(kept)
    tensors, known = network.state_dict(), input.entries()
    tables = tables_of(network, _arch(bundle), input)
    ids = np.arange(tensors[tables[0]].shape[0] if tables else 0)
    rows = torch.from_numpy(np.concatenate([ids[: known.start], kept, ids[known.stop :]]))
    tensors |= {name: tensors[name].index_select(0, rows) for name in tables}
    made = build_network(_arch(bundle), narrowed)
    made.load_state_dict(tensors, strict=True)
    made.eval()
    smaller = dataclasses.replace(with_input(bundle, narrowed), tensors=network_tensors(made))
    return Cut(smaller, narrowed, made)


def _solved(narrow: Cut, work: Work) -> tuple[Network, Arch]:
    """The network solved on the entries that stay, with the options of the one before."""
    bundle, task = narrow.bundle, task_of(narrow.bundle)
    with events.stage("solving again"):
        matrix, targets = features_of(narrow.input, task, work.fit, bundle.arch.name)
        classes = len(task.schema["classes"])
        return solve(_arch(bundle), narrow.input, matrix, targets, classes, work.seed)


def _arch(bundle: Bundle) -> Arch:
    return one_network(bundle.arch, _DOING)


def _numbers(network: Network) -> int:
    return sum(value.numel() for value in network.state_dict().values())
