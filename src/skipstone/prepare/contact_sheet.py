"""`--show-augmented`: a picture of what training sees, to be looked at before it starts.

One row a sample: the record as it is, then seven views of it as augmentation would change it. Where
batches are mixed, each view is mixed with the row above, as with its neighbour in a batch.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from skipstone import storage
from skipstone.data.samples import Sample, collate
from skipstone.errors import UsageError
from skipstone.inputs.shown import shown
from skipstone.prepare.augment import Augment
from skipstone.prepare.mix import Mix

VIEWS = 7
_LEAST_SIDE = 96  # tiny pictures are enlarged by a whole factor, so that pixels stay visible
_GAP = 8
_TEXT = 22
_PAPER, _INK, _FAINT = (255, 255, 255), (32, 36, 42), (120, 128, 138)


#: (uint8 (H, W, C), a sample's targets) -> uint8 (H, W, 3)
Laid = Callable[[np.ndarray, Mapping[str, Any]], np.ndarray]


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One sample as uint8 (H, W, C): the record first, then its augmented views; `captions` say
    what a view is mixed of."""

    label: str
    pictures: tuple[np.ndarray, ...]
    captions: tuple[str, ...] = ()


def sheet_rows(
    samples: Sequence[tuple[Sample, str]],
    augment: Augment | None,
    *,
    seed: int,
    views: int = VIEWS,
    key: str = "image",
    laid: Laid | None = None,
    mix: Mix | None = None,
) -> list[SheetRow]:
    """Each (sample, label), and beside it what training will see in epochs 0, 1, ...

    Args:
        laid: lays a sample's targets over its picture, where they lie on it.
        mix: what mixes batches; here the rows are one.
    """
    originals = [sample for sample, _ in samples]
    epochs = [_seen(originals, augment, mix, seed=seed, epoch=epoch) for epoch in range(views)]
    rows = []
    for number, (sample, label) in enumerate(samples):
        record = sample.x[key].numpy()
        pictures = []
        for view in (sample, *(seen[number] for seen, _ in epochs)):
            picture = shown(_typed(view.x[key].numpy(), record), like=record)
            pictures.append(laid(picture, view.y or {}) if laid is not None else picture)
        above = samples[number - 1][1]
        captions = [
            "" if share is None else f"{share:.0%} + {1 - share:.0%} {above}" for _, share in epochs
        ]
        rows.append(SheetRow(label, tuple(pictures), tuple(captions)))
    return rows


def _seen(
    samples: Sequence[Sample], augment: Augment | None, mix: Mix | None, *, seed: int, epoch: int
) -> tuple[list[Sample], float | None]:
    """The samples as `epoch` changes them; mixed as one batch, with the share that each keeps."""
    seen = [s if augment is None else augment(s, seed=seed, epoch=epoch) for s in samples]
    if mix is None or not seen:
        return seen, None
    batch, share = mix.shared(collate(seen), seed=seed, epoch=epoch, step=0)
    pictures = batch.x[mix.key]
    mixed = [replace(s, x={**s.x, mix.key: p}) for s, p in zip(seen, pictures, strict=True)]
    return mixed, share


def _typed(picture: np.ndarray, like: np.ndarray) -> np.ndarray:
    """8-bit pictures that were mixed in float32 are shown as what they would round to."""
    return np.rint(picture).astype(np.uint8) if like.dtype == np.uint8 else picture


def contact_sheet(rows: Sequence[SheetRow], path: Path, title: str = "") -> Path:
    """Write `rows` as one PNG, labels under the originals, and return its path."""
    if not rows:
        raise UsageError("there are no samples to show on a contact sheet.")
    stream = io.BytesIO()
    draw_sheet(rows, title).save(stream, "PNG")
    storage.write_bytes(path, stream.getvalue())
    return path


def draw_sheet(rows: Sequence[SheetRow], title: str = "") -> Image.Image:
    side = max(max(picture.shape[:2]) for row in rows for picture in row.pictures)
    factor = max(1, -(-_LEAST_SIDE // side))
    cell = side * factor
    columns = max(len(row.pictures) for row in rows)
    # The original stands apart from its views.
    width = 4 * _GAP + columns * (cell + _GAP)
    top = _GAP + _TEXT * (2 if title else 1)
    sheet = Image.new("RGB", (width, top + len(rows) * (cell + _TEXT + _GAP)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    if title:
        draw.text((_GAP, _GAP), _fitted(draw, title, width - 2 * _GAP, font), _INK, font)
    draw.text((_GAP, top - _TEXT + 2), "as it is", _FAINT, font)
    seen = "as training sees it"
    if any(caption for row in rows for caption in row.captions):
        seen += ", mixed with the row above as with a neighbour in its batch"
    draw.text((_left(1, cell), top - _TEXT + 2), seen, _FAINT, font)
    for number, row in enumerate(rows):
        y = top + number * (cell + _TEXT + _GAP)
        for column, pixels in enumerate(row.pictures):
            sheet.paste(_enlarged(pixels, factor), (_left(column, cell), y))
        for column, text in enumerate((row.label, *row.captions)):
            ink = _FAINT if column else _INK
            place = (_left(column, cell), y + cell + 2)
            draw.text(place, _fitted(draw, text, cell, font), ink, font)
    return sheet


def _left(column: int, cell: int) -> int:
    return _GAP + column * (cell + _GAP) + (2 * _GAP if column else 0)


def _enlarged(pixels: np.ndarray, factor: int) -> Image.Image:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    size = (image.width * factor, image.height * factor)
    return image.resize(size, Image.Resampling.NEAREST).convert("RGB")


def _fitted(
    draw: ImageDraw.ImageDraw,
    text: str,
    width: int,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> str:
    """`text` in one line, cut with dots where it is wider than `width` pixels."""
    text = " ".join(text.split())
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(text + "…", font) > width:
        text = text[:-1]
    return text + "…"
