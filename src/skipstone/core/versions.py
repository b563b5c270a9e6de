"""Versions of the packages that affect a model."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
from collections.abc import Sequence

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
