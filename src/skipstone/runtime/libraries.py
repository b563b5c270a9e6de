"""How ONNX Runtime, OpenVINO and NNCF are imported here: with nothing sent anywhere.

ONNX Runtime (since 1.29, its builds on PyPI) writes a device identifier into the home folder and
uploads what it runs, from the moment it is imported, unless ORT_DISABLE_TELEMETRY is set before.
See "Add POSIX telemetry", github.com/microsoft/onnxruntime/pull/27379.

OpenVINO and NNCF report their use through the package `openvino_telemetry`, unless a file in the
home folder says no. Where that package cannot be imported, both fall back on a stub that does
nothing, so it is made unimportable before either is imported.

Every import of the three in skipstone goes through here.

Each CPU plugin of OpenVINO also gives the thread that loads it a stack for signal handlers, and on
its end puts back the one it found. Where plugins do not end in the reverse order of their begin,
one that was unmapped is put back, and the next signal (Ctrl-C, SIGTERM, a worker's end) crashes the
process. So the stack is given up after each loading: handlers run on the ordinary one.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import sys
from collections.abc import Iterator
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


class _SignalStack(ctypes.Structure):
    """stack_t of sigaltstack(2) on Linux."""

    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


_DISABLE = 2  # SS_DISABLE


def signal_stack() -> int | None:
    """Where this thread's stack for signal handlers lies; None where it has none."""
    found = _SignalStack()
    if sys.platform != "linux" or ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found)):
        return None
    return None if found.flags & _DISABLE else found.sp


@contextlib.contextmanager
def loading_plugins() -> Iterator[None]:
    """Around whatever makes OpenVINO load its CPU plugin; see the top of this file."""
    try:
        yield
    finally:
        if signal_stack() is not None:
            ctypes.CDLL(None).sigaltstack(ctypes.byref(_SignalStack(None, _DISABLE, 0)), None)


def _silence_openvino() -> None:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # NNCF imports ONNX Runtime where it is installed
    loaded = sys.modules.get(_OPENVINO_TELEMETRY)
    if loaded is None:
        sys.modules[_OPENVINO_TELEMETRY] = None  # type: ignore[assignment]  # imports now fail
        return
    # Somebody imported it before us: its one class still does the sending for both libraries.
    for name in ("send_event", "send_error", "send_stack_trace", "start_session", "end_session"):
        setattr(loaded.Telemetry, name, lambda *args, **kwargs: None)
