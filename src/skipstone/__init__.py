"""Labelled data in; a small, fast, proven model out.

    import skipstone

    result = skipstone.train("photos/", epochs=5)
    skipstone.load(result.bundle).predict(["a.jpg"])

The verbs are those of the command line. They are imported on first use, so that importing the
package stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from skipstone.errors import SkipstoneError

__version__ = "0.1.0"

if TYPE_CHECKING:
    from skipstone.api import (
        audit,
        compare,
        demo,
        evaluate,
        export,
        load,
        models,
        predict,
        shrink,
        train,
        verify,
    )

__all__ = [
    "SkipstoneError",
    "__version__",
    "audit",
    "compare",
    "demo",
    "evaluate",
    "export",
    "load",
    "models",
    "predict",
    "shrink",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("skipstone.api"), name)
    raise AttributeError(f"module 'skipstone' has no attribute {name!r}")
