"""Groups of photos or texts, such as the duplicates that an audit found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skipstone.report.text_format import escape_html, render_name, render_weighted_text

IMAGE_DATA_URI = re.compile(r"data:image/(?:jpeg|png|webp);base64,[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo, or a text.

    Args:
        name: of its file.
        label: from the data.
        note: a remark, or "".
        picture: a data URI, or "" for no image.
        words: a text in pieces, each with a weight; pieces with a weight below 0 are marked.
    """

    name: str
    label: str
    note: str = ""
    picture: str = ""
    words: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class PhotoGroups:
    """Groups of photos; the photos of one group are shown side by side."""

    title: str
    groups: tuple[tuple[Photo, ...], ...]
    note: str = ""

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> PhotoGroups:
        groups = tuple(
            tuple(
                Photo(
                    str(p["name"]),
                    str(p["label"]),
                    str(p["note"]),
                    str(p["picture"]),
                    tuple((str(piece), float(weight)) for piece, weight in p.get("words", ())),
                )
                for p in group
            )
            for group in value["groups"]
        )
        for group in groups:
            if any(
                photo.picture and not IMAGE_DATA_URI.fullmatch(photo.picture) for photo in group
            ):
                raise ValueError("a picture is not a data URI of a JPEG, PNG or WebP")
        return PhotoGroups(str(value["title"]), groups, str(value.get("note", "")))


def render_photo_groups(block: PhotoGroups) -> str:
    """One row of pictures per group."""
    if not block.groups:
        return "<p>None.</p>"
    rows = ("".join(map(_photo, group)) for group in block.groups)
    texts = " texts" if any(photo.words for group in block.groups for photo in group) else ""
    return "".join(f'<ul class="pictures group{texts}">{row}</ul>' for row in rows)


def _photo(photo: Photo) -> str:
    picture = '<span class="missing">no picture</span>'
    if photo.picture:
        alt = escape_html(f"{photo.name}: {photo.label}")
        picture = f'<img src="{escape_html(photo.picture)}" alt="{alt}">'
    if photo.words:
        picture = render_weighted_text(photo.words)
    label = (
        f'<span class="truth"><i>label</i> {render_name(photo.label)}</span>' if photo.label else ""
    )
    note = f'<span class="answer">{escape_html(photo.note)}</span>' if photo.note else ""
    return (
        f"<li><figure>{picture}<figcaption>{label}{note}"
        f'<span class="file" title="{escape_html(photo.name)}">{render_name(photo.name)}</span>'
        "</figcaption></figure></li>"
    )
