"""SKIPSTONE_STRICT_SKIPS=1 makes a skip that nobody expects a failure of the session."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_TESTS = {
    "expected": "import pytest\ndef test_a(): pytest.skip('needs SKIPSTONE_DATA')",
    "unexpected": "import pytest\ndef test_a(): pytest.skip('it is Tuesday')",
    "marked": "import pytest\n@pytest.mark.skip(reason='later')\ndef test_a(): pass",
    "module": "import pytest\npytest.importorskip('no_such_module_at_all')\ndef test_a(): pass",
    "xfail": "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_a(): assert 0",
}


@pytest.mark.parametrize(
    ("kind", "strict", "code"),
    [
        ("expected", "1", 0),
        ("xfail", "1", 0),
        ("unexpected", "0", 0),
        ("unexpected", "1", 1),
        ("marked", "1", 1),
        ("module", "1", 1),
    ],
)
def test_unexpected_skips_fail(tmp_path: Path, kind: str, strict: str, code: int) -> None:
    here = Path(__file__).parent
    for name in ("__init__.py", "conftest.py", "photos.py"):
        (tmp_path / "tests").mkdir(exist_ok=True)
        shutil.copy(here / name, tmp_path / "tests" / name)
    (tmp_path / "tests" / "test_one.py").write_text(_TESTS[kind])
    (tmp_path / "tests" / "test_two.py").write_text("def test_b(): pass")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=tmp_path,
        env={**os.environ, "SKIPSTONE_STRICT_SKIPS": strict, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout
    assert ("skips that nobody expects" in done.stdout) == bool(code)
