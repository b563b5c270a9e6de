"""Samples as HTML figures: galleries of mistakes, groups such as duplicates, augmented texts."""

from __future__ import annotations

from collections.abc import Sequence

from skipstone.report.blocks import (
    Gallery,
    GalleryItem,
    Photo,
    PhotoGroups,
    TextRow,
    TextVariants,
)
from skipstone.report.text_format import (
    escape_html,
    format_percent,
    render_name,
    render_weighted_text,
)

_LEGEND = (
    '<p class="note legend-words"><mark class="for s3">words</mark> speak for the prediction, '
    '<mark class="against s3">words</mark> against it; the darker, the more.</p>'
)


def render_gallery(block: Gallery) -> str:
    return render_gallery_items(block.items, wide=block.wide)


def render_gallery_items(items: Sequence[GalleryItem], *, wide: bool = False) -> str:
    """One figure per sample, and a legend for marked words."""
    if not items:
        return "<p>None.</p>"
    if wide:
        return f'<ul class="pictures wide">{"".join(map(_wide_item, items))}</ul>'
    texts = " texts" if any(item.words for item in items) else ""
    legend = _LEGEND if any(weight for item in items for _, weight in item.words) else ""
    return f'{legend}<ul class="pictures{texts}">{"".join(map(_item, items))}</ul>'


def _item(item: GalleryItem) -> str:
    truth = "" if item.truth_probability is None else _probability(item.truth_probability)
    about = ""
    if item.about:
        about = f'</span><span class="answer"><i>most confident</i> {render_name(item.about)}'
    return _figure(
        _content(item, f"{item.name}: {item.caption}"),
        f'<span class="truth"><i>true</i> {render_name(item.truth)}{truth}</span>'
        f'<span class="answer"><i>predicted</i> {render_name(item.answer)}'
        f"{about}{_probability(item.probability)}</span>",
        item.name,
        item.link,
    )


def _wide_item(item: GalleryItem) -> str:
    """A sample whose picture shows the true and the predicted mask; the caption has its metrics."""
    return _figure(
        _content(item, f"{item.name}: {item.caption}; true {item.truth}, predicted {item.answer}"),
        f'<span class="truth">{render_name(item.caption)}</span>',
        item.name,
        item.link,
    )


def _probability(share: float) -> str:
    return f" <b>{format_percent(share)}</b>"


def _content(sample: GalleryItem | Photo, alt: str) -> str:
    """A text, or a picture that a click enlarges."""
    if sample.words:
        return render_weighted_text(sample.words)
    if not sample.picture:
        return '<span class="missing">no picture</span>'
    player = ""
    if isinstance(sample, GalleryItem) and sample.sound:
        player = f'<audio controls preload="none" src="{escape_html(sample.sound)}"></audio>'
    return (
        '<label><input type="checkbox" class="zoom" aria-label="enlarge">'
        f'<img src="{escape_html(sample.picture)}" alt="{escape_html(alt)}"></label>{player}'
    )


def _figure(content: str, caption: str, name: str, link: str = "") -> str:
    """A sample; its name leads to its file."""
    title = render_name(name)
    if link:
        title = f'<a href="{escape_html(link)}">{title}</a>'
    return (
        f"<li><figure>{content}<figcaption>{caption}"
        f'<span class="file" title="{escape_html(name)}">{title}</span></figcaption></figure></li>'
    )


def render_photo_groups(block: PhotoGroups) -> str:
    """One row of pictures per group."""
    if not block.groups:
        return "<p>None.</p>"
    rows = ("".join(map(_photo, group)) for group in block.groups)
    texts = " texts" if any(photo.words for group in block.groups for photo in group) else ""
    return "".join(f'<ul class="pictures group{texts}">{row}</ul>' for row in rows)


def _photo(photo: Photo) -> str:
    label = (
        f'<span class="truth"><i>label</i> {render_name(photo.label)}</span>' if photo.label else ""
    )
    note = f'<span class="answer">{escape_html(photo.note)}</span>' if photo.note else ""
    return _figure(_content(photo, f"{photo.name}: {photo.label}"), label + note, photo.name)


def render_text_variants(block: TextVariants) -> str:
    """Each text, with its variants below."""
    if not block.rows:
        return "<p>None.</p>"
    return f'<ul class="pictures wide texts">{"".join(map(_row, block.rows))}</ul>'


def _row(row: TextRow) -> str:
    texts = "".join(
        f'<p class="words" dir="auto">{"".join(map(_piece, text))}</p>' for text in row.texts
    )
    label = f'<span class="truth"><i>label</i> {render_name(row.label)}</span>'
    return _figure(texts, label, row.name)


def _piece(marked: tuple[str, int]) -> str:
    piece, mark = marked
    if not mark:
        return escape_html(piece)
    if mark > 0:
        return f'<mark class="for s3">{escape_html(piece)}</mark>'
    return f'<del><mark class="against s1">{escape_html(piece)}</mark></del>'
