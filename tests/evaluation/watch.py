"""Watches what a process does while it handles a file that somebody else wrote.

Two ways, because each sees what the other cannot: an audit hook sees what Python executes, imports
and opens; inotify sees whoever opens or reads a canary, C++ included.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import site
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import skipstone
from skipstone.core.disk import TEMPORARY_PREFIX

_IN_ACCESS, _IN_OPEN = 0x1, 0x20
_STARTING = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.startfile",
    "pty.spawn",
)
_NEVER = ("pickle.find_class", "socket.connect", "socket.bind", "urllib.Request")

_active: list[Watch] = []
_hooked = False
_busy = threading.local()


class Watch:
    """What was done against the rules, in `found`.

    Args:
        inside: the folder that may be read, besides Python's own.
        canary: a folder that nobody may touch.
    """

    def __init__(self, inside: Path, canary: Path) -> None:
        self.found: list[str] = []
        self._canary = str(canary.resolve())
        roots = {
            sys.prefix,
            sys.base_prefix,
            *site.getsitepackages(),
            *sysconfig.get_paths().values(),
        }
        roots |= {str(Path(skipstone.__file__).parent), str(Path(__file__).parents[1])}
        self._code = tuple(str(Path(root).resolve()) for root in roots)
        scratch = str(Path(tempfile.gettempdir(), TEMPORARY_PREFIX))  # for the script
        system = (
            "/proc",
            "/sys",
            "/dev/null",
            "/dev/urandom",
            "/etc/localtime",
            "/usr/lib",
            "/lib",
        )
        own = os.environ["SKIPSTONE_CACHE"]  # what was measured on this machine
        self._files = (*self._code, str(inside.resolve()), str(inside), scratch, own, *system)

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "exec":
            name = arguments[0].co_filename
            if not name.startswith((*self._code, "<frozen", "<string>", "<__array_function__")):
                self.found.append(f"executed code of {name}")
        elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.fsdecode(arguments[0])
            if Path(path).is_absolute() and not os.path.realpath(path).startswith(self._files):
                self.found.append(f"opened {path}")
        elif event in _STARTING and str(arguments[0]) != sys.executable:
            self.found.append(f"started {arguments[0]}")
        elif event == "ctypes.dlopen":
            library = arguments[0]  # None: this process
            if library is not None and not str(library).startswith(self._code):
                self.found.append(f"loaded {library}")
        elif event in _NEVER:
            self.found.append(f"{event} {arguments[:2]}")


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _active and not getattr(_busy, "now", False):
        _busy.now = True  # what the watch does itself, in this thread, is not heard
        try:
            _active[-1].heard(event, arguments)
        finally:
            _busy.now = False


@contextlib.contextmanager
def watching(inside: Path, canary: Path) -> Iterator[Watch]:
    """Hear everything from here on. Reading or opening anything in `canary` is found, too."""
    global _hooked
    if not _hooked:
        sys.addaudithook(_hear)  # for good: Python has no way to take one out
        _hooked = True
    watch = Watch(inside, canary)
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert descriptor >= 0, "inotify is needed"
    for path in (canary, *canary.iterdir()):
        added = libc.inotify_add_watch(descriptor, os.fsencode(path), _IN_OPEN | _IN_ACCESS)
        assert added >= 0, f"cannot watch {path}"
    _active.append(watch)
    try:
        yield watch
    finally:
        _active.remove(watch)
        with contextlib.suppress(BlockingIOError):
            if os.read(descriptor, 1 << 16):
                watch.found.append("something in the canary's folder was opened or read")
        os.close(descriptor)
