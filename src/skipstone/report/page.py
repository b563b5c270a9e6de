"""The HTML page around a report's sections: head, security policy, contents, footer."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources

from skipstone.report.blocks import Report
from skipstone.report.text_format import escape_html


def render_page(report: Report, contents: Sequence[tuple[str, str]], body: str) -> str:
    """The complete document.

    Its Content-Security-Policy allows only this style sheet and embedded images: no script, no
    request, no form, whatever a file or class name contains.

    Args:
        contents: (anchor, title) of each section.
    """
    style = _style()
    links = "".join(
        f'<li><a href="#{anchor}">{escape_html(title)}</a></li>' for anchor, title in contents
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(style)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape_html(report.title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#part-1">Skip to the result</a>\n'
        f"<header><p>skipstone report</p><h1>{escape_html(report.title)}</h1>"
        f'<p class="subtitle">{escape_html(report.subtitle)}</p></header>\n'
        f'<nav aria-label="Contents"><ol>{links}</ol></nav>\n<main>{body}</main>\n'
        "<footer><p>This page loads no other files and runs no script.</p></footer>\n"
        "</body>\n</html>\n"
    )


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _style() -> str:
    return resources.files("skipstone.report").joinpath("page.css").read_text("utf-8").strip()
