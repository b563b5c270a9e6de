"""Tests marked `own_process` run in a Python of their own.

They fork and train in the child, and torch's autograd refuses that once its threads have been
started, as an export in an earlier test of the same process does.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

#: Set in such a process.
INSIDE = "SKIPSTONE_TEST_OWN_PROCESS"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run the test by its name in a new process; its output is ours."""
    if pyfuncitem.get_closest_marker("own_process") is None or INSIDE in os.environ:
        return None
    arguments = ["-q", "-p", "no:cacheprovider", "-m", "", "-rP", pyfuncitem.nodeid]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=pyfuncitem.config.rootpath,
        env={**os.environ, INSIDE: "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    return True
