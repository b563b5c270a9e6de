"""Libraries that change the process they are loaded into are kept from harming it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.small_bundles import exported_small

#: Two models opened, the first closed first; then a signal, after the processor's tiles were used.
_CLOSED_OUT_OF_ORDER = """
import gc, os, signal, sys
import torch
from skipstone.inference.backends.libraries import signal_stack_address
from skipstone.inference.open_model import open_model

first, second = (open_model(sys.argv[1], "openvino-f32") for _ in range(2))
for model in (first, second):
    model.runtime.run(model.input.make_example(1))
del model, first
gc.collect()
del second
gc.collect()
assert signal_stack_address() is None, "a stack of OpenVINO's is left"
torch.ones(64, 64, dtype=torch.bfloat16) @ torch.ones(64, 64, dtype=torch.bfloat16)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(43))
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_after_openvino_reaches_its_handler(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder: Path = exported_small(tmp_path_factory)
    process = subprocess.run(
        [sys.executable, "-c", _CLOSED_OUT_OF_ORDER, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 43, process.stderr
