"""The pages of builds and searches in a browser: on a phone, a tablet and a desk, in the dark, and in print."""

import itertools

import pytest
from chromium import Chromium, chromium, needs_chromium

from ofa_det.report.run import ReportConfig, report

pytestmark = needs_chromium

WIDTHS_PX = (360, 800, 1400)
LEAST_LETTER_PX = 10.0
LEAST_CONTRAST = 4.5
"""Of text, as WCAG 2.1 (1.4.3, AA) has it."""

TEXTS = """[...document.querySelectorAll('body *')].filter(e =>
  [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim()))"""
SIZES = f"""{TEXTS}.map(e => {{
  const svg = e.ownerSVGElement, scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
  return [e.textContent, scale * parseFloat(getComputedStyle(e).fontSize)];
}})"""
COLOURS = f"""{TEXTS}.map(e => {{
  let behind = e;
  while (getComputedStyle(behind).backgroundColor.match(/, 0\\)$|0\\.\\d+\\)$/)) behind = behind.parentElement;
  const style = getComputedStyle(e);
  return [e.textContent, e.ownerSVGElement ? style.fill : style.color, getComputedStyle(behind).backgroundColor];
}})"""
COLLISIONS = """[...document.querySelectorAll('svg')].flatMap(svg => {
  const boxes = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
  const shared = (p, q, low, high) => Math.min(p[high], q[high]) - Math.max(p[low], q[low]);
  return boxes.flatMap(([a, p], i) => boxes.slice(i + 1)
    .filter(([b, q]) => shared(p, q, 'left', 'right') > 1 && shared(p, q, 'top', 'bottom') > 3)
    .map(([b]) => `${a} on ${b}`));
})"""

LONG_NAMES = """document.querySelectorAll('h1, h2, h3, p, li, dd, figcaption, pre, td.name, .heat th, .legend span')
  .forEach(e => e.append('w'.repeat(90)))"""

# A first column stays in sight, and has to leave some of it to the others.
WIDE_FIRST_COLUMNS = """[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth)
  .flatMap(e => [...e.querySelectorAll('td:first-child')].filter(cell => cell.clientWidth > 0.6 * e.clientWidth))
  .map(cell => cell.textContent)"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


def assert_readable(browser: Chromium, url: str, *titles: str) -> None:
    """Opens a page at every width and looks for what a reader would stumble over."""
    browser.complaints.clear()
    browser.requests.clear()
    for width in WIDTHS_PX:
        browser.resize(width)
        browser.open(url)
        assert browser.run("document.documentElement.scrollWidth <= innerWidth"), width
        small = [(text, size) for text, size in browser.run(SIZES) if size < LEAST_LETTER_PX]
        assert small == [], width
        assert browser.run(COLLISIONS) == [], width
        assert browser.run("[...document.querySelectorAll('.wide img')].every(i => i.clientWidth >= 640)")
        assert browser.run("[...document.images].every(i => i.complete && i.naturalWidth > 0 && i.alt)")
        assert browser.run("[...document.querySelectorAll('svg')].every(s => s.getAttribute('aria-label'))")
    assert browser.run("[...document.querySelectorAll('h2')].map(h => h.textContent)") == list(titles)
    levels = browser.run("[...document.querySelectorAll('h1, h2, h3, h4')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1 == levels.count(1)
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for scheme in ("light", "dark"):
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        weak = [row for row in browser.run(COLOURS) if contrast(row[1], row[2]) < LEAST_CONTRAST]
        assert weak == [], scheme
    browser.call("Emulation.setEmulatedMedia", media="print", features=[])
    browser.resize(680)  # A4 within its margins.
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    assert browser.run(COLLISIONS) == []
    browser.call("Emulation.setEmulatedMedia", media="", features=[])
    for width in WIDTHS_PX:
        browser.resize(width)
        browser.run(LONG_NAMES)
        assert browser.run("document.documentElement.scrollWidth <= innerWidth"), width
        assert browser.run(WIDE_FIRST_COLUMNS) == [], width
    assert browser.complaints == []
    assert set(filter(lambda asked: not asked.startswith("data:"), browser.requests)) == {url}


def contrast(*colours: str) -> float:
    """The contrast of two CSS colours without transparency, as WCAG 2.1 defines it."""
    lights = []
    for colour in colours:
        channels = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_the_page_of_a_build_is_readable_everywhere(built, searched, titles, browser):
    assert_readable(
        browser,
        report(ReportConfig(build=str(built.root))).as_uri(),
        *titles,
    )


def test_the_page_of_a_search_is_readable_everywhere(searched, browser):
    assert_readable(
        browser,
        report(ReportConfig(build=str(searched))).as_uri(),
        "Accuracy against latency",
        "Baselines and what was chosen",
        "How the search went",
        "What the numbers rest on",
    )


def test_both_are_printed(built, searched, browser, tmp_path):
    for number, folder in enumerate((built.root, searched)):
        browser.open(report(ReportConfig(build=str(folder))).as_uri())
        browser.pdf(tmp_path / f"{number}.pdf")
        assert (tmp_path / f"{number}.pdf").read_bytes().startswith(b"%PDF-")
