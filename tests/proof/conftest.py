from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.small_bundles import exported_small


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle with goldens and every program; read-only by agreement."""
    return exported_small(tmp_path_factory)


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(exported, tmp_path / "copied"))
