"""A bundle's lineage: command, data, versions."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skipstone.training.fit import FitResult
    from skipstone.training.plan import TrainPlan

_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "pillow",
    "onnx",
    "onnxruntime",
    "openvino",
    "nncf",
    "tokenizers",
    "transformers",
)


def package_versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Versions of skipstone, Python and those of the packages that are installed; by default of all
    that affect a model."""
    installed = {"skipstone": importlib.metadata.version("skipstone")}
    installed["python"] = platform.python_version()
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed


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
