"""Ctrl-C and SIGTERM, where training does not handle them itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from skipstone.commands.base import find_commands
from skipstone.core.storage import write_folder
from skipstone.training.run_manager import watch_signals
from tests.cli.conftest import Run, replace_command


def _interrupted(**_: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", find_commands())
def test_ctrl_c_in_any_command(
    run: Run, monkeypatch: pytest.MonkeyPatch, runs: Path, chess: Path, name: str
) -> None:
    replace_command(monkeypatch, name, _interrupted)
    words = {"train": [chess], "audit": [chess], "evaluate": [runs, chess], "models": []}
    words |= {"predict": [runs, chess], "demo": []}
    done = run(name, *words.get(name, [runs]))
    assert done.code == 130
    assert done.err.startswith("error: Stopped by Ctrl-C")


def test_ctrl_c_in_a_real_process() -> None:
    """A signal while files are read (before training has its own handling of it)."""
    code = (
        "import signal, sys, time\n"
        # A shell's background job starts with Ctrl-C ignored, and children inherit that.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import functools\n"
        "from dataclasses import replace\n"
        "from skipstone.commands import audit\n"
        "from skipstone.cli.main import main\n"
        "@functools.wraps(audit.audit)\n"
        "def act(**_):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(30)\n"
        "audit.COMMAND = replace(audit.COMMAND, function=act)\n"
        "sys.exit(main(['audit', '.']))\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert "Stopped by Ctrl-C" in err
    assert "Traceback" not in err


def test_sigterm_outside_of_training(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`timeout` sends it twice; the training loop's own handling comes first while it runs."""

    def act(**_: Any) -> Any:
        with watch_signals() as stopping:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stopping.signal_number == signal.SIGTERM
        with write_folder(tmp_path / "made") as folder:
            try:
                (folder / "half").touch()
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

    def outer(*_: object) -> None:
        raise AssertionError("nothing of ours heard it")

    replace_command(monkeypatch, "models", act)
    before = signal.signal(signal.SIGTERM, outer)
    try:
        done = run("models", "--json")
        assert signal.getsignal(signal.SIGTERM) is outer
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done.code == 143
    assert done.json["error"] == "Stopped by SIGTERM; no file is left half-written."
    assert list(tmp_path.iterdir()) == []
