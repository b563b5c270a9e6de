"""Out of memory: batches go through the network in halves, and still make one step.

The gradient stays that of the whole batch (losses are sums over all of its samples). What depends
on the samples that pass together does not: batch norm, and which random numbers dropout draws.
So each halving is written to the journal before it acts, with the step it counts from, and a
resumed run halves at the same step.
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
    """What of a run folder is needed here."""

    def journal(self, kind: str, **facts: Any) -> None: ...

    def entries(self, kind: str | None = None) -> list[dict[str, Any]]: ...


class Unrecorded:
    """A journal for work that is not resumed, such as measuring."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def journal(self, kind: str, **facts: Any) -> None:
        self.lines.append({"kind": kind, **facts})

    def entries(self, kind: str | None = None) -> list[dict[str, Any]]:
        return [line for line in self.lines if kind in (None, line["kind"])]


class MicroBatch:
    """How many samples go through the network at once.

    Args:
        batch_size: of the loader; the size to begin with.
        journal: holds the halvings so far, and gets the next ones.
    """

    def __init__(self, network: nn.Module, batch_size: int, journal: Journal) -> None:
        self._network = network
        self._batch_size = batch_size
        self._journal = journal
        self._kept: list[Tensor] = []

    def size(self, step: int) -> int:
        """The size at this step of the run."""
        halved = [int(e["size"]) for e in self._journal.entries(HALVED) if e["step"] <= step]
        return min([self._batch_size, *halved])

    def parts(self, batches: Sequence[Batch], step: int) -> list[Batch]:
        """The samples of `batches`, in order, at most `size(step)` together."""
        size = self.size(step)
        return [part for batch in batches for part in split(batch, size, self._least())]

    def attempt(self, step: int, work: Callable[[], T]) -> T:
        """`work()`, which asks `parts` what to do; again with halves where memory is used up.

        A failed attempt leaves nothing behind: norm statistics are put back, gradients dropped.

        Raises:
            OutOfMemory: there is nothing left to halve.
        """
        while True:
            self._keep()
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            # Only here are the failed attempt's activations free: its traceback held them.
            self._restore()
            self._halve(step, reason)

    def _halve(self, step: int, reason: str) -> None:
        size, least = self.size(step), self._least()
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
        """Batch norm has no variance of one number."""
        return min(2 if self._trains_norms() else 1, self._batch_size)

    def _keep(self) -> None:
        buffers = list(self._network.buffers())
        if len(self._kept) != len(buffers) or any(
            kept.shape != buffer.shape or kept.device != buffer.device
            for kept, buffer in zip(self._kept, buffers, strict=True)
        ):
            self._kept = [buffer.detach().clone() for buffer in buffers]
            return
        for kept, buffer in zip(self._kept, buffers, strict=True):
            kept.copy_(buffer)

    def _restore(self) -> None:
        with torch.no_grad():
            for kept, buffer in zip(self._kept, self._network.buffers(), strict=True):
                buffer.copy_(kept)
        self._network.zero_grad(set_to_none=True)
        if any(parameter.is_cuda for parameter in self._network.parameters()):
            torch.cuda.empty_cache()


def split(batch: Batch, size: int, least: int = 1) -> list[Batch]:
    """Parts of nearly equal length, at most `size` samples each.

    Where that would leave one with fewer than `least`, the parts are one fewer, and longer.
    """
    count = -(-len(batch) // size)
    if len(batch) // count < least:
        count = max(1, count - 1)
    if count == 1:
        return [batch]
    ends = [len(batch) * number // count for number in range(count + 1)]
    return [_piece(batch, begin, end) for begin, end in pairwise(ends)]


def _piece(batch: Batch, begin: int, end: int) -> Batch:
    def cut(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value[begin:end] for name, value in values.items()}

    return replace(batch, x=cut(batch.x), y=cut(batch.y), meta=batch.meta[begin:end])
