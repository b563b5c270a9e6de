"""`--show-augmented`: a picture of augmented training samples.

One row per sample: the original, then seven augmented views. If batches are mixed (MixUp, CutMix),
each view is mixed with the row above, as with its neighbour in a batch.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from skipstone.core import storage
from skipstone.core.errors import UsageError
from skipstone.data.samples import Sample, collate_samples
from skipstone.datasets.mixing import ImageMixing
from skipstone.image.augment import ImageAugmentation
from skipstone.image.mosaic import MosaicMixing
from skipstone.image.preview import to_display

VIEWS = 7
_MIN_SIDE = 96  # smaller pictures are enlarged by an integer factor
_GAP = 8
_TEXT = 22
_PAPER, _INK, _FAINT = (255, 255, 255), (32, 36, 42), (120, 128, 138)


#: (uint8 (H, W, C), a sample's targets) -> uint8 (H, W, 3)
DrawTargets = Callable[[np.ndarray, Mapping[str, Any]], np.ndarray]


@dataclass(frozen=True, slots=True)
class SheetRow:
    """A sample as uint8 (H, W, C): the original, then its augmented views. `captions`: the shares
    of which a view is mixed."""

    label: str
    pictures: tuple[np.ndarray, ...]
    captions: tuple[str, ...] = ()


def make_sheet_rows(
    samples: Sequence[tuple[Sample, str]],
    augment: ImageAugmentation | None,
    *,
    seed: int,
    views: int = VIEWS,
    key: str = "image",
    draw_targets: DrawTargets | None = None,
    mix: ImageMixing | MosaicMixing | None = None,
) -> list[SheetRow]:
    """A row per (sample, label): the sample, and its views in epochs 0, 1, ...

    Args:
        draw_targets: draws a sample's targets on its picture.
        mix: mixes batches; here all samples are one batch.
    """
    originals = [sample for sample, _ in samples]
    epochs = [_augment(originals, augment, mix, seed=seed, epoch=epoch) for epoch in range(views)]
    rows = []
    for number, (sample, label) in enumerate(samples):
        record = sample.x[key].numpy()
        pictures = []
        for view in (sample, *(augmented[number] for augmented, _ in epochs)):
            picture = to_display(_round(view.x[key].numpy(), record), like=record)
            pictures.append(
                draw_targets(picture, view.y or {}) if draw_targets is not None else picture
            )
        above = samples[number - 1][1]
        captions = [
            "" if share is None else f"{share:.0%} + {1 - share:.0%} {above}" for _, share in epochs
        ]
        rows.append(SheetRow(label, tuple(pictures), tuple(captions)))
    return rows


def _augment(
    samples: Sequence[Sample],
    augment: ImageAugmentation | None,
    mix: ImageMixing | MosaicMixing | None,
    *,
    seed: int,
    epoch: int,
) -> tuple[list[Sample], float | None]:
    """The samples as augmented in `epoch` and mixed as one batch, and each one's own share."""
    augmented = [s if augment is None else augment(s, seed=seed, epoch=epoch) for s in samples]
    if mix is None or not augmented:
        return augmented, None
    batch, share = mix.mix_with_share(
        collate_samples(augmented, mix.ragged), seed=seed, epoch=epoch, step=0
    )
    mixed = []
    for row, sample in enumerate(augmented):
        moved = {name: batch.y[name][row] for name in mix.ragged}
        x = {**sample.x, mix.key: batch.x[mix.key][row]}
        mixed.append(replace(sample, x=x, y={**sample.y, **moved} if sample.y else sample.y))
    return mixed, share


def _round(picture: np.ndarray, like: np.ndarray) -> np.ndarray:
    """8-bit pictures are mixed in float32."""
    return np.rint(picture).astype(np.uint8) if like.dtype == np.uint8 else picture


def write_contact_sheet(rows: Sequence[SheetRow], path: Path, title: str = "") -> Path:
    """Write `rows` as one PNG, labels under the originals, and return its path."""
    if not rows:
        raise UsageError("no samples to show on a contact sheet.")
    stream = io.BytesIO()
    draw_sheet(rows, title).save(stream, "PNG")
    storage.write_bytes(path, stream.getvalue())
    return path


def draw_sheet(rows: Sequence[SheetRow], title: str = "") -> Image.Image:
    side = max(max(picture.shape[:2]) for row in rows for picture in row.pictures)
    factor = max(1, -(-_MIN_SIDE // side))
    cell = side * factor
    columns = max(len(row.pictures) for row in rows)
    # a wider gap after the original
    width = 4 * _GAP + columns * (cell + _GAP)
    top = _GAP + _TEXT * (2 if title else 1)
    sheet = Image.new("RGB", (width, top + len(rows) * (cell + _TEXT + _GAP)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    if title:
        draw.text((_GAP, _GAP), _shorten(draw, title, width - 2 * _GAP, font), _INK, font)
    draw.text((_GAP, top - _TEXT + 2), "original", _FAINT, font)
    heading = "augmented as in training"
    if any(caption for row in rows for caption in row.captions):
        heading += ", mixed with the row above as with its neighbour in a batch"
    draw.text((_left(1, cell), top - _TEXT + 2), heading, _FAINT, font)
    for number, row in enumerate(rows):
        y = top + number * (cell + _TEXT + _GAP)
        for column, pixels in enumerate(row.pictures):
            sheet.paste(_enlarge(pixels, factor), (_left(column, cell), y))
        for column, text in enumerate((row.label, *row.captions)):
            ink = _FAINT if column else _INK
            place = (_left(column, cell), y + cell + 2)
            draw.text(place, _shorten(draw, text, cell, font), ink, font)
    return sheet


def _left(column: int, cell: int) -> int:
    return _GAP + column * (cell + _GAP) + (2 * _GAP if column else 0)


def _enlarge(pixels: np.ndarray, factor: int) -> Image.Image:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    size = (image.width * factor, image.height * factor)
    return image.resize(size, Image.Resampling.NEAREST).convert("RGB")


def _shorten(
    draw: ImageDraw.ImageDraw,
    text: str,
    width: int,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> str:
    """`text` in one line, shortened with … to `width` pixels."""
    text = " ".join(text.split())
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(text + "…", font) > width:
        text = text[:-1]
    return text + "…"
