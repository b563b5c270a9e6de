"""Out of memory: batches go through the network in halves, and still make one step.

The gradient stays that of the whole batch (losses are sums over all of its samples). What depends
on the samples that pass together does not: batch norm, and which random numbers dropout draws.
So each halving is journalled first, with its step, and a resumed run halves at the same step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from skipstone.core import events
from skipstone.core.errors import OutOfMemory, is_out_of_memory
from skipstone.data.samples import Batch

T = TypeVar("T")
#: Kind of the journal's lines.
HALVED = "out of memory"


class Journal(Protocol):
    """What is needed of a run folder."""

    def journal(self, kind: str, **facts: Any) -> None: ...

    def entries(self, kind: str | None = None) -> list[dict[str, Any]]: ...


class MemoryJournal:
    """A journal for work that is not resumed, such as measuring."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def journal(self, kind: str, **facts: Any) -> None:
        self.lines.append({"kind": kind, **facts})

    def entries(self, kind: str | None = None) -> list[dict[str, Any]]:
        return [line for line in self.lines if kind in (None, line["kind"])]


class MicroBatch:
    """How many samples one forward pass has.

    Args:
        batch_size: of the loader; the initial size.
        journal: has the halvings so far, and gets new ones.
    """

    def __init__(self, network: nn.Module, batch_size: int, journal: Journal) -> None:
        self._network = network
        self._batch_size = batch_size
        self._journal = journal
        self._buffers: list[Tensor] = []

    def size_at(self, step: int) -> int:
        """The size at this step of the run."""
        halved = [int(e["size"]) for e in self._journal.entries(HALVED) if e["step"] <= step]
        return min([self._batch_size, *halved])

    def split_batches(self, batches: Sequence[Batch], step: int) -> list[Batch]:
        """The samples of `batches`, in order, in batches of at most `size_at(step)`."""
        size = self.size_at(step)
        return [part for batch in batches for part in split_batch(batch, size, self._least())]

    def run_with_backoff(self, step: int, work: Callable[[], T]) -> T:
        """`work()`, which calls `split_batches`; repeated with half the size when out of memory.

        A failed attempt has no effect: norm statistics are restored and gradients dropped.

        Raises:
            OutOfMemory: the size cannot be halved again.
        """
        while True:
            self._back_up()
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            # The activations of the failed attempt are free only here: its traceback held them.
            self._restore()
            self._halve(step, reason)

    def _halve(self, step: int, reason: str) -> None:
        size, least = self.size_at(step), self._least()
        if size <= least:
            samples = "1 sample" if size == 1 else f"{size} samples"
            raise OutOfMemory(
                f"memory is used up at step {step + 1:,}, with {samples} at a time ({reason}).",
                hint="Try a smaller --size or a smaller --model.",
            )
        half = max(least, size // 2)
        self._journal.journal(HALVED, step=step, size=half, reason=reason)
        norms = ", but batch norm sees fewer samples at once, so its statistics change with it"
        events.emit_warning(
            f"Out of memory at step {step + 1:,}: batches of {self._batch_size} go through in "
            f"parts of {half} from here on. Each step still learns from all {self._batch_size}"
            f"{norms if self._trains_norms() else ''}."
        )

    def _trains_norms(self) -> bool:
        return any(isinstance(m, _BatchNorm) and m.training for m in self._network.modules())

    def _least(self) -> int:
        """2 if batch norm is trained: one number has no variance."""
        return min(2 if self._trains_norms() else 1, self._batch_size)

    def _back_up(self) -> None:
        buffers = list(self._network.buffers())
        if len(self._buffers) != len(buffers) or any(
            backup.shape != buffer.shape or backup.device != buffer.device
            for backup, buffer in zip(self._buffers, buffers, strict=True)
        ):
            self._buffers = [buffer.detach().clone() for buffer in buffers]
            return
        for backup, buffer in zip(self._buffers, buffers, strict=True):
            backup.copy_(buffer)

    def _restore(self) -> None:
        with torch.no_grad():
            for backup, buffer in zip(self._buffers, self._network.buffers(), strict=True):
                buffer.copy_(backup)
        self._network.zero_grad(set_to_none=True)
        if any(parameter.is_cuda for parameter in self._network.parameters()):
            torch.cuda.empty_cache()


def split_batch(batch: Batch, size: int, least: int = 1) -> list[Batch]:
    """Parts of nearly equal length, at most `size` samples each.

    If one would have fewer than `least`, there is one part fewer, and they are longer.
    """
    count = -(-len(batch) // size)
    if len(batch) // count < least:
        count = max(1, count - 1)
    if count == 1:
        return [batch]
    ends = [len(batch) * number // count for number in range(count + 1)]
    return [_slice_batch(batch, begin, end) for begin, end in pairwise(ends)]


def _slice_batch(batch: Batch, begin: int, end: int) -> Batch:
    def slice_all(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value[begin:end] for name, value in values.items()}

    return replace(batch, x=slice_all(batch.x), y=slice_all(batch.y), meta=batch.meta[begin:end])
