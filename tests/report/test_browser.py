"""The page in a browser: quiet, whole, readable and inert, on a phone and on a desk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from skipstone.report.build_report import build_training_report
from skipstone.report.render import render_report
from tests.report.stories import names, receipt, story

pytestmark = pytest.mark.browser

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS = (390, 1280)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if program is None:
        pytest.skip("needs chromium")
    with playwright.sync_playwright() as api:
        started = api.chromium.launch(executable_path=program, args=_FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    files = {}
    for name, classes, hostile in (("few", 3, False), ("hostile", 14, True), ("many", 200, False)):
        told = replace(story(classes, hostile=hostile), receipts=[receipt()])
        files[name] = folder / f"{name}.html"
        files[name].write_text(render_report(build_training_report(told)), "utf-8")
    return files


class Opened:
    """A page and all that happened while it was opened."""

    def __init__(self, browser: Any, file: Path, width: int, scheme: str = "light") -> None:
        size = {"width": width, "height": 900}
        self.context = browser.new_context(viewport=size, color_scheme=scheme)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.trouble: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.trouble.append(message.text))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("dialog", self._dialog)
        self.page.goto(file.as_uri(), wait_until="load")

    def _dialog(self, dialog: Any) -> None:
        self.trouble.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def js(self, script: str) -> Any:
        return self.page.evaluate(script)

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["few", "hostile", "many"])
def test_the_page_is_quiet_whole_and_fits(
    browser: Any, pages: dict[str, Path], name: str, width: int
) -> None:
    with Opened(browser, pages[name], width) as opened:
        assert opened.trouble == []
        assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
        assert sum(url.startswith("file:") for url in opened.requests) == 1
        pictures = opened.js("[...document.images].map(i => i.complete && i.naturalWidth > 0)")
        assert pictures
        assert all(pictures)
        assert opened.js("document.documentElement.scrollWidth") <= width
        beyond = opened.js(
            """[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll')
               && !e.closest('.skip, .file') && e.getBoundingClientRect().right > innerWidth + 1
               ).map(e => e.outerHTML.slice(0, 80))"""
        )
        assert beyond == []


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_names_do_nothing_and_are_seen(
    browser: Any, pages: dict[str, Path], width: int
) -> None:
    with Opened(browser, pages["hostile"], width) as opened:
        assert opened.js("document.scripts.length") == 0
        assert opened.js("document.querySelectorAll('[onerror], [onload], iframe').length") == 0
        assert opened.js("document.querySelectorAll('img:not([src^=\"data:image/\"])').length") == 0
        shown = opened.js("document.querySelector('main').textContent")
        for name in (r"\x1b[31mescape\x1b[0m", r"gnp.\u202eexe", "[/red][bold]markup[/bold]"):
            assert name in shown
        assert '<img src=x onerror="alert(1)">' in shown
        assert opened.js("document.title").startswith("<img src=x")
        opened.page.mouse.move(width / 2, 450)
        assert opened.trouble == []


def test_a_script_would_not_run(browser: Any, pages: dict[str, Path], tmp_path: Path) -> None:
    """The policy holds even where escaping would fail; this also shows that `trouble` is seen."""
    broken = tmp_path / "broken.html"
    html = pages["few"].read_text("utf-8")
    injected = "<script>alert(1)</script><img src=https://example.invalid/x onerror=alert(2)>"
    broken.write_text(html.replace("<footer>", injected + "<footer>"), "utf-8")
    with Opened(browser, broken, 1280) as opened:
        assert not [text for text in opened.trouble if text.startswith("dialog")]
        assert len([text for text in opened.trouble if "Content Security Policy" in text]) >= 2


@pytest.mark.parametrize("width", WIDTHS)
def test_200_classes_can_be_read(browser: Any, pages: dict[str, Path], width: int) -> None:
    with Opened(browser, pages["many"], width) as opened:
        for where in ("thead th:not(.corner)", "tbody th"):
            labels = opened.js(
                f"[...document.querySelectorAll('.heat {where}')].map(e => e.textContent)"
            )
            assert labels == names(200)
        sizes = opened.js(
            """[...document.querySelectorAll('.heat th, .heat td, .tall th, .tall td')]
               .map(e => parseFloat(getComputedStyle(e).fontSize))"""
        )
        assert min(sizes) >= 11
        # Scrolled to the end in both directions, the headers stay inside the window.
        scrolled = opened.js(
            """(() => { const box = document.querySelector('.matrix');
               box.scrollTo(box.scrollWidth, box.scrollHeight);
               const b = box.getBoundingClientRect(), last = s => {
                 const r = [...box.querySelectorAll(s)].at(-1).getBoundingClientRect();
                 return r.left >= b.left - 1 && r.right <= b.right + 1
                     && r.top >= b.top - 1 && r.bottom <= b.bottom + 1; };
               return [box.scrollLeft > 0, box.scrollTop > 0, last('thead th'),
                       last('tbody th'), last('td')]; })()"""
        )
        assert scrolled == [True] * 5


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_large_and_dark_enough(
    browser: Any, pages: dict[str, Path], scheme: str, width: int
) -> None:
    """At least 11 px as shown (drawings are scaled), and a contrast of 4.5 (WCAG 2.2, 1.4.3)."""
    with Opened(browser, pages["hostile"], width, scheme) as opened:
        small = opened.js(
            """[...document.querySelectorAll('svg text')].filter(e => {
                 const m = e.getScreenCTM(); const s = Math.hypot(m.a, m.b);
                 return s * parseFloat(getComputedStyle(e).fontSize) < 11;
               }).map(e => e.textContent)"""
        )
        assert small == []
        assert opened.js(_FAINT) == []


_FAINT = """(() => {
  const parse = c => { const n = c.match(/[\\d.]+/g).map(Number);
    return [n[0], n[1], n[2], n[3] ?? 1]; };
  const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3]));
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v / 12.92
    : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const ground = e => { const layers = []; for (; e; e = e.parentElement)
    layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]); };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), faint = [];
  for (let n; n = walker.nextNode();) {
    const e = n.parentElement;
    if (!n.textContent.trim() || e.closest('svg') || !e.checkVisibility()) continue;
    const under = ground(e), ink = over(parse(getComputedStyle(e).color), under);
    const [a, b] = [light(ink), light(under)].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) faint.push(n.textContent.slice(0, 40) + ' .' + e.className);
  }
  return faint;
})()"""


def test_the_page_can_be_used_by_keyboard_and_ear(browser: Any, pages: dict[str, Path]) -> None:
    with Opened(browser, pages["few"], 1280) as opened:
        assert opened.js("document.documentElement.lang") == "en"
        assert opened.js("[...document.images].every(i => i.alt)")
        assert opened.js(
            "[...document.querySelectorAll('svg')]"
            ".every(s => s.ariaLabel || s.getAttribute('aria-hidden'))"
        )
        assert opened.js("[...document.querySelectorAll('th')].every(t => t.scope)")
        assert opened.js("document.querySelectorAll('h1').length") == 1
        levels = opened.js(
            "[...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))"
        )
        assert all(after - before <= 1 for before, after in pairwise(levels))
        links = opened.js("[...document.querySelectorAll('nav a')].map(a => a.hash)")
        assert links
        assert all(opened.js(f"!!document.querySelector('{link}')") for link in links)
        boxes = "[...document.querySelectorAll('.scroll')]"
        assert opened.js(f"{boxes}.every(b => b.tabIndex == 0 && b.ariaLabel)")
