"""How OpenVINO and NNCF are imported here: with nothing sent anywhere.

Both report their use over the network through the package `openvino_telemetry`, and do so unless
a file in the home folder says no. Where that package cannot be imported, both fall back on a stub
that does nothing, so it is made unimportable before either is imported.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

_TELEMETRY = "openvino_telemetry"


def import_openvino() -> Any:
    """The module `openvino`, silent."""
    _silence()
    return importlib.import_module("openvino")


def import_nncf() -> Any:
    """The module `nncf`, silent."""
    _silence()
    return importlib.import_module("nncf")


def _silence() -> None:
    loaded = sys.modules.get(_TELEMETRY)
    if loaded is None:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # imports of it now fail
        return
    # Somebody imported it before us: its one class still does the sending for both libraries.
    for name in ("send_event", "send_error", "send_stack_trace", "start_session", "end_session"):
        setattr(loaded.Telemetry, name, lambda *args, **kwargs: None)
