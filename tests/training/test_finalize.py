"""The last evaluation of a training: its rows are those of the plan, or it says that they are not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from skipstone.core import events
from skipstone.core.errors import DataError
from skipstone.data.read import read_manifest
from skipstone.datasets.options import LoadOptions
from skipstone.datasets.splitting import assign_roles
from skipstone.inference.backends.torch_backend import TorchRuntime
from skipstone.inference.predictor import Predictor
from skipstone.inference.restore import restore_input, restore_network, restore_task
from skipstone.training.finalize import score_and_write_bundle
from tests.small_bundles import CLASSES, small_bundle


@pytest.fixture
def context(tmp_path: Path) -> Any:
    for at in range(60):
        path = tmp_path / "pictures" / CLASSES[at % 3] / f"{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((24, 24), 20 + at).convert("RGB").save(path)
    bundle = small_bundle()
    return SimpleNamespace(
        manifest=assign_roles(read_manifest(tmp_path / "pictures")),
        input=restore_input(bundle),
        task=restore_task(bundle),
        seed=0,
        bundle=bundle,
    )


@pytest.mark.parametrize(("deleted", "max_bad"), [(1, "1"), (4, "1"), (99, "1%"), (99, "100%")])
def test_rows_that_vanished_are_counted_or_refused(
    context: Any, tmp_path: Path, deleted: int, max_bad: str
) -> None:
    part = context.manifest.rows_with_role("test")
    for source in part.list_sources()[:deleted]:
        source.path.unlink()
    heard: list[str] = []
    network, context.loading = restore_network(context.bundle), LoadOptions(max_bad=max_bad)

    def score() -> Any:
        with events.use_listener(lambda event: heard.append(getattr(event, "text", ""))):
            return score_and_write_bundle(
                context, network, context.bundle.arch, {}, tmp_path / "bundle"
            )[0]

    if deleted > 1:
        with pytest.raises(DataError, match=r"test rows can no longer be read \(the first: .*png"):
            score()
        assert not (tmp_path / "bundle").exists()
        return
    scores = score()
    assert scores.split.endswith(f"; 1 of {len(part)} rows unreadable")
    assert scores.to_json()["unreadable"] == 1
    assert any("1 of" in text and "no longer be read" in text for text in heard)


@pytest.mark.parametrize("deleted", [1, 99])
def test_rows_that_vanished_before_calibration_are_not_left_out_in_silence(
    context: Any, deleted: int
) -> None:
    val_rows = context.manifest.rows_with_role("val")
    for source in val_rows.list_sources()[:deleted]:
        source.path.unlink()
    predictor = Predictor(
        context.input, TorchRuntime(restore_network(context.bundle)), context.task, {}
    )
    heard: list[str] = []
    count = f"{min(deleted, len(val_rows))} of {len(val_rows)} rows for calibration cannot be read"
    with events.use_listener(lambda event: heard.append(getattr(event, "text", ""))):
        if deleted > 1:
            with pytest.raises(DataError, match=rf"{count}. The first: .*png"):
                predictor.fit_postprocessing(val_rows)
        else:
            assert predictor.fit_postprocessing(val_rows)
            assert any(count in text for text in heard)
