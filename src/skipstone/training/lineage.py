"""A bundle's lineage: command, data, versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skipstone.core.versions import package_versions

if TYPE_CHECKING:
    from skipstone.training.plan import TrainPlan
    from skipstone.training.train_output import TrainOutput


def make_lineage(
    plan: TrainPlan, command: str, output: TrainOutput, *, unreadable: int = 0
) -> dict[str, Any]:
    """JSON-able: what is needed to train the model again and to find its data."""
    document, result, validation = plan.to_json(), output.result, output.validation
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
        "cross_validation": None if validation is None else validation.to_json(),
        "steps": result.steps,
        "stopped_by": result.stopped_by,
        "micro_batch": result.micro_batch,
        "versions": package_versions(),
    }
