"""Import ONNX Runtime, OpenVINO and NNCF with their telemetry disabled.

ONNX Runtime (PyPI builds since 1.29) writes a device identifier into the home folder and uploads
usage data as soon as it is imported, unless ORT_DISABLE_TELEMETRY is set before.
See "Add POSIX telemetry", github.com/microsoft/onnxruntime/pull/27379.

OpenVINO and NNCF report usage through the package `openvino_telemetry`, unless a file in the home
folder opts out. If that package cannot be imported, both fall back on a stub that does nothing, so
it is made unimportable first.

Every import of the three in skipstone goes through this module.

OpenVINO's CPU plugin also installs an alternate signal stack (sigaltstack) in the thread that loads
it, and restores the previous one when it is destroyed. If plugins are not destroyed in reverse
order, an unmapped stack is restored, and the next signal (Ctrl-C, SIGTERM, a worker's exit) crashes
the process. So the alternate stack is disabled after each load: handlers run on the normal stack.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import math
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skipstone.core.errors import DamagedError

_OPENVINO_TELEMETRY = "openvino_telemetry"


def import_onnxruntime() -> Any:
    """The module `onnxruntime`, without telemetry."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    module = importlib.import_module("onnxruntime")
    module.disable_telemetry_events()  # needed if it was imported before, and on Windows
    return module


def import_openvino() -> Any:
    """The module `openvino`, without telemetry."""
    _silence_openvino()
    return importlib.import_module("openvino")


def import_nncf() -> Any:
    """The module `nncf`, without telemetry."""
    _silence_openvino()
    return importlib.import_module("nncf")


class _SignalStack(ctypes.Structure):
    """stack_t of sigaltstack(2) on Linux."""

    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


_DISABLE = 2  # SS_DISABLE


def signal_stack_address() -> int | None:
    """Address of this thread's alternate signal stack; None if it has none."""
    stack = _SignalStack()
    if sys.platform != "linux" or ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)):
        return None
    return None if stack.flags & _DISABLE else stack.sp


@contextlib.contextmanager
def disable_signal_stack_after() -> Iterator[None]:
    """Wrap whatever makes OpenVINO load its CPU plugin; see the module's docstring."""
    try:
        yield
    finally:
        if signal_stack_address() is not None:
            ctypes.CDLL(None).sigaltstack(ctypes.byref(_SignalStack(None, _DISABLE, 0)), None)


#: Bytes that one answer of a program may take beyond what the process has: at most half of the
#: machine's memory. A program from a stranger may compute how large its arrays are.
MAX_ANSWER_BYTES = min(8 << 30, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)


class _MemoryLimit:
    """The soft limit of the address space, while any thread runs a program."""

    def __init__(self) -> None:
        self._lock, self._depth, self._previous = threading.Lock(), 0, (0, 0)
        self._size, self._read_at = 0, -math.inf

    def begin(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth > 1:
                return
            if time.monotonic() - self._read_at > 1:  # reading it costs as much as a small answer
                pages = int(Path("/proc/self/statm").read_text().split()[0])
                self._size = pages * os.sysconf("SC_PAGE_SIZE")
                self._read_at = time.monotonic()
            self._previous = soft, hard = resource.getrlimit(resource.RLIMIT_AS)
            limits = [self._size + MAX_ANSWER_BYTES, soft, hard]
            lowest = min(limit for limit in limits if limit != resource.RLIM_INFINITY)
            resource.setrlimit(resource.RLIMIT_AS, (lowest, hard))

    def end(self) -> None:
        with self._lock:
            self._depth -= 1
            if not self._depth:
                resource.setrlimit(resource.RLIMIT_AS, self._previous)


_limit = _MemoryLimit()


@contextlib.contextmanager
def limit_memory() -> Iterator[None]:
    """Run a program's code with at most MAX_ANSWER_BYTES more; beyond, its runtime fails with an
    error, or this is a DamagedError. No limit where the system has none (macOS).

    The limit is that of the process, so other threads share it; the previous one is restored when
    the last program has ended. A subprocess per answer would cost more than a small network."""
    if sys.platform != "linux":
        yield
        return
    _limit.begin()
    try:
        yield
    except MemoryError as error:
        raise DamagedError(
            f"the program asks for more memory than the {MAX_ANSWER_BYTES:,} bytes of one answer."
        ) from error
    finally:
        _limit.end()


def _silence_openvino() -> None:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # NNCF imports ONNX Runtime where it is installed
    loaded = sys.modules.get(_OPENVINO_TELEMETRY)
    if loaded is None:
        sys.modules[_OPENVINO_TELEMETRY] = None  # type: ignore[assignment]  # imports now fail
        return
    # It was imported before: one class of it sends for both libraries.
    for name in ("send_event", "send_error", "send_stack_trace", "start_session", "end_session"):
        setattr(loaded.Telemetry, name, lambda *args, **kwargs: None)
