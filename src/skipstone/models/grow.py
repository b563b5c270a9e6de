"""A network that goes on from another's weights, with rows of its head for new classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from skipstone.errors import DamagedError, UsageError
from skipstone.models.build import load_tensors
from skipstone.models.network import Network


def grow(
    network: Network,
    tensors: Mapping[str, np.ndarray],
    *,
    known: Sequence[str],
    wanted: Sequence[str],
    where: str,
) -> None:
    """Load `tensors` into `network`; rows of its head are matched by the names of their classes.

    A class that is in `wanted` and not in `known` keeps the row that the fresh network has for it.
    Everything else is loaded as it is, strictly.

    Args:
        tensors: by state-dict name, of a network with the same architecture for `known`.
        known: the names of their head's rows, in order.
        wanted: the names of this network's.
        where: what the tensors are called in messages.

    Raises:
        UsageError: the head cannot grow, or a tensor does not fit this network.
    """
    own = network.state_dict()
    merged = dict(tensors)
    if list(known) != list(wanted):
        rows = [f"head.{name}" for name in network.head.named_rows()]
        if not rows:
            raise UsageError(
                f"the head of {where} has no rows by class, so it cannot learn other ones than "
                f"its own ({', '.join(known)}).",
                hint=f"Train anew, from its backbone: --weights {where}",
            )
        place = {name: row for row, name in enumerate(wanted)}
        kept = [(row, place[name]) for row, name in enumerate(known) if name in place]
        theirs, ours = ([pair[side] for pair in kept] for side in (0, 1))
        for name in rows:
            if name not in tensors or len(tensors[name]) != len(known):
                raise UsageError(f"{where}: {name} does not hold a row for each of its classes.")
            fresh = own[name].detach().cpu().numpy().copy()
            fresh[ours] = tensors[name][theirs]
            merged[name] = fresh
    try:
        load_tensors(network, merged, where=where)
    except DamagedError as error:
        raise UsageError(
            f"{error.message} A flag changes what its weights were made for.",
            hint="Leave it out, or train anew without --from.",
        ) from error
