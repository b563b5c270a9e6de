"""Labelled data in; a small, fast, proven model out.

    import skipstone

    result = skipstone.train("photos/", epochs=5)
    skipstone.load(result.bundle).predict(["a.jpg"])

The verbs are those of the command line. They are imported on first use, so that importing the
package stays fast.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

from skipstone.errors import SkipstoneError

__version__ = "0.1.0"

if TYPE_CHECKING:
    from skipstone.api import (
        audit,
        compare,
        demo,
        ensemble,
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
    "ensemble",
    "evaluate",
    "export",
    "load",
    "models",
    "predict",
    "shrink",
    "train",
    "verify",
]


_VERBS = [name for name in __all__ if name not in ("SkipstoneError", "__version__")]


class _Package(types.ModuleType):
    """Three verbs (train, shrink, models) are called as the rooms that do their work. Importing
    such a room would put its module in the verb's place; here the verb keeps it."""


def _verb(name: str) -> property:
    def get(_: types.ModuleType) -> Any:
        return getattr(importlib.import_module("skipstone.api"), name)

    def put(_: types.ModuleType, room: types.ModuleType) -> None:
        """The import system binds a room's module here; `sys.modules` has it anyway."""

    return property(get, put)


for _name in _VERBS:
    setattr(_Package, _name, _verb(_name))
sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return __all__
