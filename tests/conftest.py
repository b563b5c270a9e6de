"""Data sets that every room's tests may use. They are generated once a session and read-only by
agreement: a test that changes one copies it first."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.photos import write_class_folder, write_idx_folder, write_tag_table

#: Before torch is imported. Networks as small as these are faster on one thread, their numbers are
#: the same on any machine, and workers, and what they start, share the processors.
os.environ["OMP_NUM_THREADS"] = "1"
#: What a session measures is forgotten with it, and what the user's commands measured is not read.
_measurements = tempfile.TemporaryDirectory(prefix="skipstone-measurements-")
os.environ["SKIPSTONE_CACHE"] = _measurements.name

#: Why a test may be skipped where everything is meant to run (SKIPSTONE_STRICT_SKIPS=1, as
#: `.ci/run` sets it). Any other skip there fails the session: it would hide a test that never runs.
EXPECTED_SKIPS = (
    r"needs SKIPSTONE_DATA",  # real data sets are not part of the repository
    r"needs chromium",  # which `.ci/run` installs where it may (as root)
    r"needs CUDA",
    r"needs a second file system",
    r"needs a processor with (native )?bf(loat)?16",
)
_unexpected: list[str] = []


def _is_expected(reason: str) -> bool:
    if "chromium" in reason and os.geteuid() == 0:
        return False
    return any(re.search(pattern, reason) for pattern in EXPECTED_SKIPS)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect skips that nobody expects. An expected failure (xfail) is no skip."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not _is_expected(reason):
            _unexpected.append(f"{report.nodeid}: {reason}")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A module that skips itself as a whole is a skip, too."""
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not _is_expected(reason):
            _unexpected.append(f"{report.nodeid}: {reason}")


#: Rooms whose files take longest. They come first, so that workers end at about the same time.
LONGEST = ("plugin", "pipelines", "docs", "train", "shrink", "verbs", "runtime", "proof")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def turn(item: pytest.Item) -> int:
        room = item.path.relative_to(Path(__file__).parent).parts[0]
        return LONGEST.index(room) if room in LONGEST else len(LONGEST)

    items.sort(key=turn)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if os.environ.get("SKIPSTONE_STRICT_SKIPS") == "1" and _unexpected and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get("SKIPSTONE_STRICT_SKIPS") == "1" and _unexpected:
        terminalreporter.section("skips that nobody expects", red=True)
        for line in _unexpected:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/<class>/ with 12 and validation/<class>/ with 4 photos of 3 classes, 40x48 px: JPEG,
    PNG, WebP, RGBA, EXIF-turned, palette and grey."""
    root = tmp_path_factory.mktemp("photos")
    write_class_folder(root / "train", 12)
    write_class_folder(root / "validation", 4, first_seed=500)
    return root


@pytest.fixture(scope="session")
def flat_photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """<class>/ with 20 photos of each of 3 classes, without splits."""
    return write_class_folder(tmp_path_factory.mktemp("flat"), 20)


@pytest.fixture(scope="session")
def tag_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV (path, tags) of 36 pictures 96x32 px, each with one to three tags split by "|"."""
    return write_tag_table(tmp_path_factory.mktemp("tags"))


@pytest.fixture(scope="session")
def idx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train (48) and t10k (18) as packed IDX files: grey, 20 high, 16 wide, labels 0, 1, 2."""
    return write_idx_folder(tmp_path_factory.mktemp("idx"))


@pytest.fixture(scope="session")
def short_races() -> Iterator[None]:
    """Real measurements of latency, but shorter than a person would want."""
    from skipstone.compression import apply_plan as shrink
    from skipstone.compression import latency
    from skipstone.workflows import compare_models as compare

    def short(calls: Any, *, seconds: float, **options: Any) -> Any:
        return latency.interleaved_benchmark(calls, seconds=min(seconds, 0.3), **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shrink, "interleaved_benchmark", short)
        patch.setattr(compare, "interleaved_benchmark", short)
        yield


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle with goldens and every program; read-only by agreement."""
    from tests.small_bundles import exported_small  # brings torch, which many tests need not

    return exported_small(tmp_path_factory)


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(exported, tmp_path / "copied"))


@pytest.fixture
def real_data(request: pytest.FixtureRequest) -> Path:
    """The folder of real data sets. Tests that use it carry the marker `real_data`."""
    assert request.node.get_closest_marker("real_data"), "mark the test with real_data"
    folder = os.environ.get("SKIPSTONE_DATA")
    if not folder:
        pytest.skip("needs SKIPSTONE_DATA")
    path = Path(folder)
    assert path.is_dir(), f"SKIPSTONE_DATA={folder} is no folder"
    return path.resolve()
