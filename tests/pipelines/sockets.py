"""Run a command and list the sockets that it or any process of it opens.

Python's own are seen by an audit hook, which Python processes below load at their start (not those
with -I); those of native libraries and of every process by strace, where it is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import skipstone

_HOOK = """
import os, sys
_log = os.open(os.environ["SOCKET_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def _hook(event, arguments):
    if event.startswith("socket."):
        os.write(_log, f"{event} {arguments!r}\\n".encode("utf-8", "replace"))
sys.addaudithook(_hook)
os.write(_log, b"loaded\\n")
"""


@dataclass(frozen=True)
class Watched:
    """`processes` Python processes ran; `sockets` are what was opened, a line each."""

    code: int
    out: str
    err: str
    processes: int
    sockets: list[str]


def watched(arguments: list[str], folder: Path, **environment: str) -> Watched:
    """`python ARGUMENTS`, with logs in `folder`."""
    folder.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(_HOOK)
    source = Path(skipstone.__file__).parents[1]
    before = os.environ.get("PYTHONPATH", "")
    paths = [str(folder), str(source), *([before] if before else [])]
    trace = folder / "strace.log"
    prefix = []
    if strace := shutil.which("strace"):
        prefix = [strace, "-f", "-qq", "--seccomp-bpf", "-o", str(trace)]
        prefix += ["-e", "trace=socket,socketpair", "-e", "signal=none"]
    done = subprocess.run(
        [*prefix, sys.executable, *arguments],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "SOCKET_LOG": str(folder / "audit.log"),
            # As after a login. Without, torch and filelock ask the C library who this user is, and
            # that asks the name service of this machine.
            "USER": "somebody",
            "LOGNAME": "somebody",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    lines = (folder / "audit.log").read_text().splitlines()
    sockets = [line for line in lines if line != "loaded"]
    if trace.exists():
        sockets += [line for line in trace.read_text().splitlines() if re.search(r"socket", line)]
    return Watched(done.returncode, done.stdout, done.stderr, lines.count("loaded"), sockets)
