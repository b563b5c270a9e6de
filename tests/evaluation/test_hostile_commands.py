"""Commands that train again from a stranger's model, on texts and on pictures: what its files name
outside of themselves is neither imported nor opened, unless this command names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from skipstone.bundle.format import Bundle
from skipstone.compression.recover import make_train_loader, recovery_recipe
from skipstone.compression.shrink_plan import StepContext
from skipstone.core.errors import SkipstoneError, UsageError
from skipstone.core.settings import Settings
from skipstone.data.read import read_manifest
from skipstone.datasets.splitting import assign_roles
from skipstone.training.finetune import load_parent
from skipstone.training.options import TrainOptions
from skipstone.training.plan import build_plan
from skipstone.training.recipe import RecipeFacts, resolve_recipe
from tests.evaluation.hostile import change_record, write_canary
from tests.evaluation.watch import watching
from tests.small_bundles import CLASSES, write_small
from tests.small_texts import write_small_text
from tests.text_data import rows, write_csv

KINDS = ("texts", "pictures")


def _stranger(folder: Path, kind: str) -> tuple[Path, Path]:
    """A stranger's bundle, and the user's own data for it."""
    if kind == "texts":
        return write_small_text(folder / "bundle", "textcnn"), write_csv(
            folder / "texts.csv", rows(60)
        )
    for at in range(24):
        path = folder / "pictures" / CLASSES[at % 3] / f"{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((24, 24), 20 + at).convert("RGB").save(path)
    return write_small(folder / "bundle"), folder / "pictures"


def _plant(folder: Path, **augment: Any) -> None:
    recipe = resolve_recipe(TrainOptions(batch_size=8), RecipeFacts(samples=24)).to_json()
    change_record(folder, lambda record: record["lineage"].update(augment=augment, recipe=recipe))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", ["subprocess:getoutput", "planted:run", "os:system"])
@pytest.mark.parametrize("command", ["train --from", "shrink"])
def test_a_stored_callable_is_not_imported(
    kind: str, target: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, data = _stranger(tmp_path, kind)
    canary = write_canary(tmp_path / "canary")
    (tmp_path / "planted.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    _plant(bundle, custom=target)
    with watching(tmp_path, canary) as watch, pytest.raises(UsageError) as refusal:
        _train_again(command, bundle, data, {})
    assert watch.found == []
    named = f"--custom {target}" if command != "shrink" else f'--plan "STEP(custom={target})"'
    assert f"If you trust it: {named}" in str(refusal.value.hint)


@pytest.mark.parametrize("command", ["train --from", "shrink"])
def test_a_stored_table_is_not_opened(command: str, tmp_path: Path) -> None:
    bundle, data = _stranger(tmp_path, "texts")
    canary = write_canary(tmp_path / "canary")
    _plant(bundle, synonym_table=str(canary / "secret.bin"))
    with watching(tmp_path, canary) as watch, pytest.raises(UsageError, match="--synonym-table"):
        _train_again(command, bundle, data, {})
    assert watch.found == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", ["train --from", "shrink"])
def test_what_the_user_names_counts(kind: str, command: str, tmp_path: Path) -> None:
    bundle, data = _stranger(tmp_path, kind)
    _plant(bundle, custom="subprocess:getoutput")
    _train_again(command, bundle, data, {"augment": "none"})
    own = "tests.evaluation.test_hostile_commands:unchanged"
    _train_again(command, bundle, data, {"custom": own})


def unchanged(value: Any) -> Any:
    return value


@pytest.mark.parametrize(
    "augment", [{"augment": 3}, {"flip": "x"}, {"custom": ["os", "system"]}, {"nothing": 1}]
)
@pytest.mark.parametrize("command", ["train --from", "shrink"])
def test_a_stored_augmentation_of_other_types_is_refused(
    augment: dict[str, Any], command: str, tmp_path: Path
) -> None:
    bundle, data = _stranger(tmp_path, "pictures")
    _plant(bundle, **augment)
    with pytest.raises(SkipstoneError, match=next(iter(augment))):
        _train_again(command, bundle, data, {})


def _train_again(command: str, bundle: Path, data: Path, typed: dict[str, Any]) -> None:
    """As far as the augmentation is made and an epoch of rows is loaded."""
    if command == "train --from":
        settings = Settings({**typed, "seed": 0, "epochs": 1})
        build_plan(data, seed=0, settings=settings, parent=load_parent(bundle))
        return
    manifest = assign_roles(read_manifest(data))
    parts = [manifest.rows_with_role(role) for role in ("train", "val")]
    stored = Bundle.load(bundle)
    work = StepContext(bundle, bundle.parent / "new", *parts, augmentation=typed)
    loader = make_train_loader(stored, work, recovery_recipe(stored, epochs=1, seed=0))
    assert list(loader.iterate_epoch(0))
