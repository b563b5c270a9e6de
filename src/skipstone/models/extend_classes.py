"""Initialises a network from one with other classes, row by row of the head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from skipstone.core.errors import DamagedError, UsageError
from skipstone.models.build import load_tensors
from skipstone.models.network import Network


def extend_classes(
    network: Network,
    tensors: Mapping[str, np.ndarray],
    *,
    old_classes: Sequence[str],
    new_classes: Sequence[str],
    where: str,
) -> None:
    """Load `tensors` into `network`; rows of the head are matched by class name.

    A class in `new_classes` but not in `old_classes` keeps its row of the fresh network. All other tensors
    are loaded strictly.

    Args:
        tensors: by state-dict name, of a network with the same architecture for `old_classes`.
        old_classes: the class of each row of the tensors' head.
        new_classes: the class of each row of this network's head.
        where: the tensors' source, for messages.

    Raises:
        UsageError: the head has no rows per class, or a tensor does not fit this network.
    """
    fresh = network.state_dict()
    merged = dict(tensors)
    if list(old_classes) != list(new_classes):
        rows = [f"head.{name}" for name in network.head.class_parameter_names()]
        if not rows:
            raise UsageError(
                f"the head of {where} has no rows per class, so its classes ({', '.join(old_classes)}) "
                "cannot change.",
                hint=f"Train a new head on its backbone: --weights {where}",
            )
        new_row = {name: row for row, name in enumerate(new_classes)}
        old_rows = [row for row, name in enumerate(old_classes) if name in new_row]
        new_rows = [new_row[old_classes[row]] for row in old_rows]
        for name in rows:
            if name not in tensors or len(tensors[name]) != len(old_classes):
                raise UsageError(f"{where}: {name} does not hold a row for each of its classes.")
            values = fresh[name].detach().cpu().numpy().copy()
            values[new_rows] = tensors[name][old_rows]
            merged[name] = values
    try:
        load_tensors(network, merged, where=where)
    except DamagedError as error:
        raise UsageError(
            f"{error.message} A flag changes the architecture of its weights.",
            hint="Omit that flag, or train from scratch without --from.",
        ) from error
