"""How ONNX Runtime, OpenVINO and NNCF are imported here: with nothing sent anywhere.

ONNX Runtime (since 1.29, its builds on PyPI) writes a device identifier into the home folder and
uploads what it runs, from the moment it is imported, unless ORT_DISABLE_TELEMETRY is set before.
See "Add POSIX telemetry", github.com/microsoft/onnxruntime/pull/27379.

OpenVINO and NNCF report their use through the package `openvino_telemetry`, unless a file in the
home folder says no. Where that package cannot be imported, both fall back on a stub that does
nothing, so it is made unimportable before either is imported.

Every import of the three in skipstone goes through here.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

_OPENVINO_TELEMETRY = "openvino_telemetry"


def import_onnxruntime() -> Any:
    """The module `onnxruntime`, silent."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    module = importlib.import_module("onnxruntime")
    module.disable_telemetry_events()  # where somebody imported it before us; on Windows, too
    return module


def import_openvino() -> Any:
    """The module `openvino`, silent."""
    _silence_openvino()
    return importlib.import_module("openvino")


def import_nncf() -> Any:
    """The module `nncf`, silent."""
    _silence_openvino()
    return importlib.import_module("nncf")


def _silence_openvino() -> None:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # NNCF imports ONNX Runtime where it is installed
    loaded = sys.modules.get(_OPENVINO_TELEMETRY)
    if loaded is None:
        sys.modules[_OPENVINO_TELEMETRY] = None  # type: ignore[assignment]  # imports now fail
        return
    # Somebody imported it before us: its one class still does the sending for both libraries.
    for name in ("send_event", "send_error", "send_stack_trace", "start_session", "end_session"):
        setattr(loaded.Telemetry, name, lambda *args, **kwargs: None)
