"""What a contact sheet shows of batches that are mixed."""

from __future__ import annotations

import numpy as np
import pytest

from skipstone.data.samples import collate_samples
from skipstone.image.augment_factory import make_image_mixing
from skipstone.image.augment_options import ImageAugmentOptions
from skipstone.image.contact_sheet import draw_sheet, make_sheet_rows
from tests.auditing.picture_rows import FakeTask, make_sample


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_the_contact_sheet_mixes_as_training_does(name: str) -> None:
    """Each view with the row above, and the share written under it."""
    mix = make_image_mixing(ImageAugmentOptions(augment=name), FakeTask())  # type: ignore[arg-type]
    assert mix is not None
    samples = [make_sample(28, number=number) for number in range(3)]
    labelled = [(sample, f"kind {number}") for number, sample in enumerate(samples)]
    plain = make_sheet_rows(labelled, None, seed=5)
    rows = make_sheet_rows(labelled, None, seed=5, mix=mix)
    for epoch in range(7):
        batch, share = mix.mix_with_share(collate_samples(samples), seed=5, epoch=epoch, step=0)
        for number, row in enumerate(rows):
            mixed = batch.x["image"][number].numpy()
            assert np.abs(row.pictures[1 + epoch] - mixed).max() <= 0.5
            assert row.captions[epoch] == f"{share:.0%} + {1 - share:.0%} kind {(number - 1) % 3}"
            assert np.array_equal(row.pictures[0], plain[number].pictures[0])
    pairs = zip(rows[0].pictures, plain[0].pictures, strict=True)
    assert sum(not np.array_equal(*pair) for pair in pairs) >= 3  # some shares are nearly whole
    below = slice(8 + 22 + 4 * 28, 8 + 22 + 4 * 28 + 22)  # the first row's pictures
    drawn, bare = (np.asarray(draw_sheet(some))[below, 8 + 4 * 28 + 24 :] for some in (rows, plain))
    assert drawn.min() < 200
    assert bare.min() == 255
