"""A bundle's lineage: command, data, versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skipstone.core.versions import package_versions

if TYPE_CHECKING:
    from skipstone.training.fit import FitResult
    from skipstone.training.plan import TrainPlan


def make_lineage(
    plan: TrainPlan, command: str, result: FitResult, *, unreadable: int = 0
) -> dict[str, Any]:
    """JSON-able: what is needed to train the model again and to find its data."""
    document = plan.to_json()
    return {
        "command": command,
        "seed": plan.seed,
        "data": document["data"],
        "from": document["from"],
        "unreadable": unreadable,
        "weights": plan.weights,
        "vectors": None if plan.vectors is None else plan.vectors.to_lineage(),
        "augment": document["augment"],
        "recipe": document["recipe"],
        "reason": plan.reason,
        "how": result.how,
        "steps": result.steps,
        "stopped_by": result.stopped_by,
        "micro_batch": result.micro_batch,
        "versions": package_versions(),
    }
