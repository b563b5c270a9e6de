"""Faults planted in the product: checks that do not see them are worth nothing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from skipstone.core import storage
from skipstone.datasets import workers
from skipstone.training import checkpoint
from skipstone.training import run_manager as keeper_module


def _plant_forgotten_optimizer() -> None:
    keeper_module.restore_optimizer = lambda *_: None  # type: ignore[assignment]


def _plant_rare_saves() -> None:
    save, turn = keeper_module.save_checkpoint, [0]

    def rarely(*given: Any) -> None:
        turn[0] += 1
        if turn[0] % 3 == 1:
            save(*given)

    keeper_module.save_checkpoint = rarely


def _plant_saves_in_place() -> None:
    """One generation, written where it lies."""

    @contextlib.contextmanager
    def write_folder(path: Path) -> Iterator[Path]:
        yield storage.make_folder(path)

    checkpoint.GENERATIONS = ("even", "even")  # type: ignore[assignment]
    storage.write_folder = write_folder  # type: ignore[assignment]


def _plant_orphans() -> None:
    workers._die_with = lambda parent: None
    workers._convert = lambda batch, convert: time.sleep(1000)  # type: ignore[assignment, return-value]


PLANTS: dict[str, Callable[[], None]] = {
    "forgotten optimizer": _plant_forgotten_optimizer,
    "rare saves": _plant_rare_saves,
    "saves in place": _plant_saves_in_place,
    "orphans": _plant_orphans,
}
