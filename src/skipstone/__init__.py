"""Labelled data in; a small, fast, proven model out.

    import skipstone

    result = skipstone.train("photos/", epochs=5)
    skipstone.load(result.bundle).predict(["a.jpg"])

The functions are the commands of the command line, with its flags as keywords. They are imported
on first use, so that importing the package stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from skipstone.core.errors import SkipstoneError

__version__ = "0.2.0"

if TYPE_CHECKING:
    from skipstone.commands.audit import audit
    from skipstone.commands.compare import compare
    from skipstone.commands.demo import demo
    from skipstone.commands.ensemble import ensemble
    from skipstone.commands.evaluate import evaluate
    from skipstone.commands.export import export
    from skipstone.commands.import_weights import import_weights
    from skipstone.commands.load import load
    from skipstone.commands.models import list_models
    from skipstone.commands.predict import predict
    from skipstone.commands.shrink import shrink
    from skipstone.commands.train import train
    from skipstone.commands.verify import verify

__all__ = [
    "SkipstoneError",
    "__version__",
    "audit",
    "compare",
    "demo",
    "ensemble",
    "evaluate",
    "export",
    "import_weights",
    "list_models",
    "load",
    "predict",
    "shrink",
    "train",
    "verify",
]

#: Modules of `skipstone.commands` whose function has another name.
_MODULES = {"list_models": "models"}


def __getattr__(name: str) -> Any:
    if name in ("SkipstoneError", "__version__") or name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"skipstone.commands.{_MODULES.get(name, name)}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return __all__
