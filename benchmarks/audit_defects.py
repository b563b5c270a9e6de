"""Defects to plant in a folder of photos, and pictures that resemble each other and are no copies.

Nothing here is shared with what looks for them: Pillow and numpy alone. Every severity is drawn
anew for each picture from the seed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Random = np.random.Generator
Picture = Image.Image


def save(picture: Picture, path: Path, quality: int = 92) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.convert("RGB").save(path, "JPEG", quality=quality)


# --- copies that are not the same bytes ---------------------------------------------------------


def resized(picture: Picture, random: Random) -> Picture:
    """To 35-85 % or 120-200 % of the size; a side may differ by 2 % from the other."""
    scale = random.uniform(0.35, 0.85) if random.random() < 0.7 else random.uniform(1.2, 2.0)
    stretch = random.uniform(0.98, 1.02)
    size = (max(8, round(picture.width * scale * stretch)), max(8, round(picture.height * scale)))
    filters = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
    return picture.resize(size, filters[int(random.integers(3))])


def cropped(picture: Picture, random: Random) -> Picture:
    """5 % of the width and of the height are cut off, shared by chance between the two sides."""
    width, height = picture.size
    left, top = random.uniform(0, 0.05, 2)
    ends = round((0.95 + left) * width), round((0.95 + top) * height)
    return picture.crop((round(left * width), round(top * height), *ends))


def brightened(picture: Picture, random: Random) -> Picture:
    """0.65-0.85 or 1.15-1.4 times as bright; what is too bright is clipped."""
    dark = random.random() < 0.5
    return ImageEnhance.Brightness(picture).enhance(
        random.uniform(0.65, 0.85) if dark else random.uniform(1.15, 1.4)
    )


def mirrored(picture: Picture, random: Random) -> Picture:
    return ImageOps.mirror(picture)


def unchanged(picture: Picture, random: Random) -> Picture:
    return picture


def mixed(picture: Picture, random: Random) -> Picture:
    """Two of crop, brightness and resize; saved at quality 40 as well."""
    steps = [cropped, brightened, resized]
    for number in sorted(random.permutation(3)[:2]):
        picture = steps[number](picture, random)
    return picture


#: name -> (what is done, the JPEG quality it is saved at, from and to)
NEAR: dict[str, tuple[Callable[[Picture, Random], Picture], tuple[int, int]]] = {
    "resize": (resized, (80, 95)),
    "jpeg 40": (unchanged, (40, 40)),
    "crop 5 %": (cropped, (80, 95)),
    "brightness": (brightened, (80, 95)),
    "mirror": (mirrored, (80, 95)),
    "two at once, jpeg 40": (mixed, (40, 40)),
}


def near_copy(kind: str, source: Path, path: Path, random: Random) -> None:
    change, (low, high) = NEAR[kind]
    with Image.open(source) as picture:
        save(change(picture.convert("RGB"), random), path, int(random.integers(low, high + 1)))


# --- files that cannot be read ------------------------------------------------------------------


def damaged(kind: str, data: bytes, random: Random) -> bytes:
    """A photo's bytes, broken."""
    if kind == "empty":
        return b""
    if kind == "truncated":
        return data[: int(len(data) * random.uniform(0.05, 0.98))]
    if kind == "no picture":
        return b"<!DOCTYPE html><title>404</title><p>Not found " + str(random.random()).encode()
    if kind == "overwritten":  # a block that was never written, as after a power cut
        start = int(random.integers(0, 2048))
        return data[:start] + bytes(4096) + data[start + 4096 :]
    if kind == "bomb":
        header = Image.new("1", (8, 8))
        out = io.BytesIO()
        header.save(out, "PNG")
        return _with_png_size(out.getvalue(), 60_000, 60_000)
    raise ValueError(kind)


def _with_png_size(data: bytes, width: int, height: int) -> bytes:
    import zlib

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    chunk = b"IHDR" + size + data[24:29]
    return data[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[33:]


DAMAGE = ("empty", "truncated", "no picture", "overwritten", "bomb")

# --- pictures that are alike and are no copies --------------------------------------------------


def elastic(picture: Picture, random: Random) -> Picture:
    """The next picture of a burst: everything moved a little, each part in its own way.

    A smooth field of shifts (1.5-3 % of the longer side, root mean square), other exposure, grain.
    """
    pixels = np.asarray(picture, np.float32)
    height, width = pixels.shape[:2]
    amount = random.uniform(0.015, 0.03) * max(height, width)
    shifts = []
    for _ in range(2):
        coarse = random.normal(0, 1, (5, 5)).astype(np.float32)
        field = np.asarray(
            Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        )
        shifts.append(field * amount / field.std())
    y, x = np.mgrid[0:height, 0:width]
    rows = np.clip(np.rint(y + shifts[0]), 0, height - 1).astype(int)
    columns = np.clip(np.rint(x + shifts[1]), 0, width - 1).astype(int)
    moved = pixels[rows, columns] * random.uniform(0.92, 1.08)
    moved += random.normal(0, 4, moved.shape)
    return Image.fromarray(np.clip(moved, 0, 255).astype(np.uint8))


def moved(picture: Picture, random: Random) -> Picture:
    """The next picture from a tripod: one thing, a third of the picture wide and high, has moved
    by 4-10 % of the picture; other grain."""
    width, height = picture.size
    wide, high = width // 3, height // 3
    left, top = int(random.integers(wide // 4, wide)), int(random.integers(high // 4, high))
    away = random.uniform(0.04, 0.10, 2) * random.choice([-1, 1], 2) * (width, height)
    thing = picture.crop((left, top, left + wide, top + high))
    shot = picture.copy()
    shot.paste(thing, (max(0, left + round(away[0])), max(0, top + round(away[1]))))
    pixels = np.asarray(shot, np.float32) * random.uniform(0.97, 1.03)
    pixels = pixels + random.normal(0, 3, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def bursts(photos: list[Path], count: int, random: Random) -> Iterator[Picture]:
    """Three pictures a scene: as it is, all of it moving, and one thing moving."""
    for number in random.permutation(len(photos))[: -(-count // 3)]:
        with Image.open(photos[number]) as opened:
            first = opened.convert("RGB")
        yield first
        yield elastic(first, random)
        yield moved(first, random)


def video(frames: list[Path], count: int, random: Random) -> Iterator[Picture]:
    """Frames of a drive, a second apart, as they follow each other."""
    start = int(random.integers(0, max(1, len(frames) - count)))
    for path in frames[start : start + count]:
        with Image.open(path) as opened:
            yield opened.convert("RGB")


def on_white(garments: np.ndarray, count: int, random: Random) -> Iterator[Picture]:
    """Small pictures of garments, enlarged on a white page, as a shop shows them.

    Args:
        garments: uint8 (N, 28, 28), bright on black.
    """
    for number in random.permutation(len(garments))[:count]:
        side = int(random.integers(260, 360))
        item = Image.fromarray(255 - garments[number])
        item = item.resize((side, side), Image.Resampling.BICUBIC)
        page = Image.new("L", (400, 400), 255)
        place = random.integers(0, 400 - side + 1, 2)
        page.paste(item, (int(place[0]), int(place[1])))
        yield ImageOps.colorize(page, tuple(map(int, random.integers(0, 120, 3))), "white")


def blanks(count: int, random: Random) -> Iterator[Picture]:
    """Flat, shaded and grainy pictures: a lens cap, a wall, a white page."""
    for _ in range(count):
        height, width = (int(side) for side in random.integers(200, 500, 2))
        colour = random.choice([random.uniform(0, 20, 3), random.uniform(235, 255, 3)])
        if random.random() < 0.5:
            colour = random.uniform(0, 255, 3)
        pixels = np.broadcast_to(colour, (height, width, 3)).astype(np.float32)
        y, x = np.mgrid[0:height, 0:width]
        if random.random() < 0.5:  # light falls in from a side, or off towards the corners
            angle = random.uniform(0, 2 * np.pi)
            slope = (np.cos(angle) * x / width + np.sin(angle) * y / height) * random.uniform(5, 60)
            pixels = pixels + slope[..., None]
        elif random.random() < 0.5:
            radius = ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2)[..., None]
            pixels = pixels - radius * random.uniform(20, 120)
        pixels = pixels + random.normal(0, random.uniform(0, 5), pixels.shape).astype(np.float32)
        yield Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def digits(images: np.ndarray, count: int, random: Random) -> Iterator[Picture]:
    """scikit-learn's handwritten digits. Args: images: (N, 8, 8), 0..16."""
    for number in random.permutation(len(images))[:count]:
        pixels = np.rint(images[number] * 255 / 16).astype(np.uint8)
        picture = Image.fromarray(pixels)
        if random.random() < 0.5:
            picture = picture.resize((64, 64), Image.Resampling.BICUBIC)
        yield picture


def pictures(files: list[Path], count: int, random: Random) -> Iterator[Picture]:
    """Real ones as they are."""
    for number in random.permutation(len(files))[:count]:
        with Image.open(files[number]) as opened:
            yield opened.convert("RGB")
