"""Pages as a browser shows them: silent, offline, complete, readable, and reachable with the keyboard."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Browser

pytest.importorskip("altair", reason="needs the report extra")
pytest.importorskip("selenium", reason="needs selenium")

NAMES = (
    "plan", "impossible", "capacity-table", "hostile-plan", "diff", "diff-same", "diff-infeasible", "hostile-diff",
    "what-if",
)  # fmt: skip

CONTRAST = """
const parse = text => { const m = text.match(/[\\d.]+/g).map(Number); return m.length > 3 ? m : [...m, 1]; };
const linear = v => v / 255 <= .04045 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
const light = c => .2126 * linear(c[0]) + .7152 * linear(c[1]) + .0722 * linear(c[2]);
const below = element => {
  for (let e = element; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor);
    if (c[3] > 0) return c;
  }
  throw new Error('nothing below');
};
const bad = new Set();
let looked = 0;
for (const e of document.querySelectorAll('body *')) {
  if (e.closest('svg') && e.tagName !== 'text') continue;
  if (e.closest('script') || !e.getClientRects().length) continue;
  if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
  const style = getComputedStyle(e);
  const a = light(parse(e.tagName === 'text' ? style.fill : style.color));
  const b = light(below(e.closest('svg')?.parentElement ?? e));
  const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  looked += 1;
  if (ratio < 4.5) bad.add(`${e.tagName}.${e.className.baseVal ?? e.className}: ${ratio.toFixed(2)}`);
}
return [looked > 20, ...bad];
"""


@pytest.mark.parametrize("name", NAMES)
def test_pages_are_silent_offline_and_complete(browser: Browser, pages: dict[str, Path], name: str) -> None:
    """A page asks for nothing but itself, says nothing on the console, and draws every plot that it names."""
    browser.open(pages[name])
    assert browser.complaints() == []
    assert browser.requests() == {pages[name].as_uri()}
    plots = browser.run(
        "return [...document.querySelectorAll('.plot')].map(p => [p.id,"
        " p.querySelectorAll('svg [role^=graphics]').length, p.getBoundingClientRect().height,"
        " p.closest('section').querySelectorAll('table').length])"
    )
    assert isinstance(plots, list)
    for plot, marks, height, tables in plots:
        assert marks > 0 and height > 40 and tables > 0, plot
    assert browser.run("return window.hacked") is None
    assert browser.run("return document.querySelectorAll('img, iframe, link, object, input').length") == 0


def test_a_plan_has_every_plot(browser: Browser, pages: dict[str, Path]) -> None:
    """Memory, cost by pool and model, headroom, latency, presets and ratios are drawn, with as many bars as rows."""
    browser.open(pages["plan"])
    drawn = browser.run("return [...document.querySelectorAll('.plot')].map(p => p.id)")
    assert isinstance(drawn, list)
    wanted = {
        "chart-memory", "chart-pools", "chart-models", "chart-headroom", "chart-latency", "chart-presets",
        "chart-ratio-1",
    }  # fmt: skip
    assert wanted <= set(drawn)
    for plot in ("headroom", "latency"):
        marks = browser.run(
            f"return document.querySelectorAll('#chart-{plot} .mark-rect.role-mark path, "
            f"#chart-{plot} .mark-symbol.role-mark path').length"
        )
        rows = browser.run(f"return document.querySelectorAll('#{plot} tbody tr').length")
        assert marks == rows


def test_a_diff_has_every_plot(browser: Browser, pages: dict[str, Path]) -> None:
    """Attribution, pools and margins are drawn."""
    browser.open(pages["diff"])
    drawn = browser.run("return [...document.querySelectorAll('.plot svg')].map(s => s.closest('.plot').id)")
    assert drawn == ["chart-attribution", "chart-pools", "chart-margins"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", ["plan", "hostile-plan", "diff", "diff-infeasible"])
def test_pages_fit_and_can_be_read(browser: Browser, pages: dict[str, Path], name: str, width: int, dark: bool) -> None:
    """No page is wider than its screen, no plot leaves it, and every text has a contrast of 4.5 or more."""
    browser.open(pages[name], width=width, dark=dark)
    folder = os.environ.get("KVPLAN_SCREENSHOTS")
    if folder:
        browser.screenshot(Path(folder) / f"{name}-{width}-{'dark' if dark else 'light'}.png")
    assert browser.run("return document.documentElement.scrollWidth") == width
    beyond = browser.run(
        "return [...document.querySelectorAll('.plot svg')]"
        ".filter(s => s.getBoundingClientRect().right > innerWidth + 1).map(s => s.closest('.plot').id)"
    )
    assert beyond == []
    assert browser.run(CONTRAST) == [True]
    background = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(13, 17, 23)" if dark else "rgb(255, 255, 255)")


@pytest.mark.parametrize("name", ["plan", "diff"])
def test_the_keyboard_reaches_everything(browser: Browser, pages: dict[str, Path], name: str) -> None:
    """Tab goes from the skip link through every link and every table that can scroll, and leaves the page."""
    from selenium.webdriver.common.keys import Keys

    browser.open(pages[name], width=390)
    count = browser.run("return document.querySelectorAll('a[href], [tabindex=\"0\"]').length")
    assert isinstance(count, int) and count > 10
    seen = []
    for _ in range(count):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        seen.append(
            browser.run(
                "const e = document.activeElement, s = getComputedStyle(e);"
                "return [e.getAttribute('href') ?? e.getAttribute('aria-label'), s.outlineStyle !== 'none']"
            )
        )
    assert [visible for _, visible in seen] == [True] * count  # type: ignore[misc]
    expected = browser.run(
        "return [...document.querySelectorAll('a[href], [tabindex=\"0\"]')]"
        ".map(e => e.getAttribute('href') ?? e.getAttribute('aria-label'))"
    )
    assert [target for target, _ in seen] == expected  # type: ignore[misc]


def test_paper_is_light_and_shows_whole_tables(browser: Browser, pages: dict[str, Path]) -> None:
    """Printed from a dark screen, a page is black on white, without navigation, and no table scrolls."""
    browser.open(pages["plan"], dark=True)
    browser.media(dark=True, paper=True)
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("return getComputedStyle(document.querySelector('nav')).display") == "none"
    hidden = browser.run(
        "return [...document.querySelectorAll('.scroll')]"
        ".filter(s => getComputedStyle(s).overflowX !== 'visible').length"
    )
    assert hidden == 0
    pdf = browser.driver.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert isinstance(pdf, str) and len(pdf) > 50_000
    browser.media()


def test_tooltips_say_the_numbers_of_the_table(browser: Browser, pages: dict[str, Path]) -> None:
    """Pointing at a bar of a hostile plan shows its text as text."""
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    browser.open(pages["hostile-plan"])
    bar = browser.driver.find_element(By.CSS_SELECTOR, "#chart-memory .mark-rect.role-mark path")
    browser.run("document.getElementById('chart-memory').scrollIntoView({block: 'center', behavior: 'instant'})")
    ActionChains(browser.driver).move_to_element(bar).perform()
    shown = browser.run("return document.getElementById('vg-tooltip-element').innerText")
    assert isinstance(shown, str) and "GiB" in shown and "<script>" in shown
    cells = browser.run("return [...document.querySelectorAll('#memory td')].map(c => c.innerText)")
    assert isinstance(cells, list) and any(cell and cell in shown for cell in cells)
    assert browser.run("return document.querySelectorAll('#vg-tooltip-element script, img').length") == 0
    assert browser.run("return window.hacked") is None
    assert browser.complaints() == []


def test_a_script_that_is_not_the_pages_own_does_not_run(
    browser: Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    """The policy stops a script that someone writes into the file, and any connection."""
    text = pages["diff"].read_text(encoding="utf-8")
    changed = tmp_path / "changed.html"
    changed.write_text(text.replace("<footer>", "<script>window.hacked=1</script><footer>"), encoding="utf-8")
    browser.open(changed)
    assert browser.run("return window.hacked") is None
    assert any("Content Security Policy" in line for line in browser.complaints())
    outcome = browser.driver.execute_async_script(
        "const done = arguments[0]; fetch('http://127.0.0.1:9/').then(() => done('went'), () => done('stopped'))"
    )
    assert outcome == "stopped"
    assert any("connect" in line.lower() for line in browser.complaints())
