"""A user's own augmentation, and the sheet that shows what augmentation makes."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skipstone.core.errors import UsageError
from skipstone.image.contact_sheet import make_sheet_rows, write_contact_sheet
from tests.auditing.picture_rows import augment_for, make_sample


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_augment.py").write_text(
        "import random, numpy, torch\n"
        "def noise(image):\n"
        "    shift = random.randrange(9) + numpy.random.randint(9)\n"
        "    return (image // 2 + torch.randint(0, 99, image.shape) + shift).to(torch.uint8)\n"
        "def floats(image): return image / 255\n"
        "def halves(image): return image[:, ::2]\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "own_augment"


def test_a_users_callable_is_seeded_and_leaves_the_dice_alone(own_module: str) -> None:
    augment = augment_for(28, augment="none", custom=f"{own_module}:noise")
    assert augment is not None
    assert not augment.is_thread_safe
    sample = make_sample(28)
    first = augment(sample, seed=1, epoch=0).x["image"]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1]
    assert torch.equal(augment(sample, seed=1, epoch=0).x["image"], first)
    assert not torch.equal(augment(sample, seed=1, epoch=1).x["image"], first)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no_such_module:f", "cannot be imported"),
        ("own_augment:gone", "no such name"),
        ("own_augment:number", "a int, not callable"),
    ],
)
def test_a_wrong_callable_is_named(own_module: str, path: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        augment_for(28, custom=path)


@pytest.mark.parametrize(("name", "found"), [("floats", "float32"), ("halves", "14")])
def test_a_wrong_result_is_named(own_module: str, name: str, found: str) -> None:
    augment = augment_for(28, augment="none", custom=f"{own_module}:{name}")
    assert augment is not None
    with pytest.raises(UsageError, match=f"own_augment:{name}.*{found}"):
        augment(make_sample(28), seed=0, epoch=0)


@pytest.mark.parametrize(("side", "channels"), [(28, 1), (96, 3)])
def test_the_contact_sheet(side: int, channels: int, tmp_path: Path) -> None:
    augment = augment_for(side, channels)
    sample = make_sample(side, channels)
    rows = make_sheet_rows([(sample, "a very long label " * 9), (sample, "<b>x")], augment, seed=0)
    assert len(rows[0].pictures) == 8
    assert np.array_equal(rows[0].pictures[0], sample.x["image"].numpy())
    assert augment is not None
    assert np.array_equal(rows[1].pictures[3], augment(sample, seed=0, epoch=2).x["image"].numpy())
    path = write_contact_sheet(rows, tmp_path / "sheet.png", "augmented")
    sheet = np.asarray(Image.open(path).convert("RGB"))
    factor = max(1, -(-96 // side))
    record = rows[0].pictures[0]
    record = record.repeat(3 // channels, axis=2).repeat(factor, axis=0).repeat(factor, axis=1)
    cell = side * factor
    top = 8 + 22 * 2
    assert np.array_equal(sheet[top : top + cell, 8 : 8 + cell], record)
    with pytest.raises(UsageError, match="no samples"):
        write_contact_sheet([], path)
