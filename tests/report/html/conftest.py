"""Plans and diffs to make pages of, and a headless browser that only sees files."""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from planner import pipeline
from planner.plan.diff_io import parse_diff
from planner.plan.diff_types import Diff, WhatIf, WhatIfCase
from planner.plan.io import read_tree
from planner.plan.types import Plan
from planner.report.html.diff_page import diff_page, what_if_page
from planner.report.html.plan_page import View, plan_page
from planner.report.html.render import render

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

ROOT = Path(__file__).parents[3]
DIFFS = ROOT / "tests/report/data"
AS_OF = date(2026, 12, 1)
HOSTILE = "</script><script>window.hacked=1</script>|`x`<img src=x onerror=window.hacked=2>\u202eevil"


@pytest.fixture(scope="session")
def plan() -> Plan:
    """The plan of the page scenario."""
    return pipeline.plan(pipeline.load(ROOT / "tests/data/scenarios/page.yaml"))


@pytest.fixture(scope="session")
def impossible_plan() -> Plan:
    """The page scenario with a budget that no plan keeps."""
    return pipeline.plan(pipeline.load(ROOT / "tests/data/scenarios/page.yaml", ["budget.monthly=$3_000"]))


@pytest.fixture(scope="session")
def bounded_plan() -> Plan:
    """A plan with the user's corrections, of an architecture that is bounded instead of understood."""
    path = ROOT / "tests/data/scenarios/bounded.yaml"
    return pipeline.plan(pipeline.load(path), None, str(path))


@pytest.fixture(scope="session")
def table_plan() -> Plan:
    """A plan whose models bring capacity tables: no memory, no latency, no presets."""
    return pipeline.plan(pipeline.load(ROOT / "examples/02-mixed-gpus/scenario.yaml"))


@pytest.fixture(scope="session")
def hostile_plan(plan: Plan) -> Plan:
    """The same plan with a name, texts and sources that try to leave their place."""
    pools = {f"{HOSTILE}{name}": pool for name, pool in plan.pools.items()}
    inventory = {f"{HOSTILE}{name}": replace(pool, source=HOSTILE) for name, pool in plan.scenario.inventory.items()}
    scenario = replace(plan.scenario, name=HOSTILE, owner=HOSTILE, inventory=inventory)
    deployments = {f"{HOSTILE}{name}": d for name, d in plan.deployments.items()}
    limits = tuple(replace(row, path=f"{HOSTILE}{row.path}") for row in plan.limits)
    return replace(
        plan, scenario=scenario, pools=pools, deployments=deployments, limits=limits, warnings=(HOSTILE,), hash=HOSTILE
    )


def the_diff(name: str) -> Diff:
    """A committed diff document."""
    path = str(DIFFS / f"diff-{name}.json")
    document = parse_diff(read_tree(path), path)
    assert isinstance(document, Diff)
    return document


def hostile_diff() -> Diff:
    """A diff with names that try to leave their place."""
    diff = the_diff("traffic")
    edits = tuple(replace(edit, path=HOSTILE, before=HOSTILE, after=HOSTILE) for edit in diff.edits)
    rows = tuple(replace(row, paths=(f"{HOSTILE}{i}",)) for i, row in enumerate(diff.attribution))
    pools = tuple(replace(pool, name=f"{HOSTILE}{i}") for i, pool in enumerate(diff.pools))
    head = replace(diff.head, name=HOSTILE, label=HOSTILE)
    return replace(diff, head=head, edits=edits, attribution=rows, pools=pools, notes=(HOSTILE,), command=HOSTILE)


def the_what_if() -> WhatIf:
    """Two what-ifs of one file."""
    first, second = the_diff("traffic"), the_diff("cheaper")
    cases = (WhatIfCase("more", ("traffic.chat.peak=30 req/s",), first), WhatIfCase("cheaper", (), second))
    return WhatIf("1.0", first.base, cases, "kvplan what-if prod.yaml more cheaper")


def html_of(document: Plan | Diff | WhatIf) -> str:
    """The page of a document."""
    if isinstance(document, Plan):
        return render(lambda most: plan_page(document, View(AS_OF, most)))
    if isinstance(document, WhatIf):
        return render(lambda most: what_if_page(document, most))
    return render(lambda most: diff_page(document, most))


@pytest.fixture(scope="session")
def pages(
    plan: Plan, impossible_plan: Plan, table_plan: Plan, hostile_plan: Plan, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Every kind of page as a file, by name."""
    documents: dict[str, Plan | Diff | WhatIf] = {
        "plan": plan,
        "impossible": impossible_plan,
        "capacity-table": table_plan,
        "hostile-plan": hostile_plan,
        "diff": the_diff("traffic"),
        "diff-same": the_diff("same"),
        "diff-infeasible": the_diff("infeasible"),
        "hostile-diff": hostile_diff(),
        "what-if": the_what_if(),
    }
    folder = tmp_path_factory.mktemp("pages")
    files = {}
    for name, document in documents.items():
        files[name] = folder / f"{name}.html"
        files[name].write_text(html_of(document), encoding="utf-8")
    return files


class Browser:
    """A headless Chromium: opens a page as a device would show it, and knows what the page asked for."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, path: Path, *, width: int = 1200, dark: bool = False) -> None:
        """Loads a page at a width and waits for its plots."""
        self.driver.get("about:blank")
        self.requests()
        self.driver.get_log("browser")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.media(dark=dark)
        self.driver.get(path.as_uri())
        deadline = time.monotonic() + 20
        while self.run("return document.documentElement.dataset.plots !== document.documentElement.dataset.drawn"):
            assert time.monotonic() < deadline, "plots are not drawn"
            time.sleep(0.05)

    def media(self, *, dark: bool = False, paper: bool = False) -> None:
        """Asks for light or dark, screen or paper."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": "print" if paper else "screen", "features": features}
        )

    def run(self, script: str) -> object:
        """The value of a script on the page."""
        value: object = self.driver.execute_script(script)
        return value

    def complaints(self) -> list[str]:
        """What the console says, of any level: errors, warnings, blocked resources."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]

    def requests(self) -> set[str]:
        """Addresses that were asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return {url for url in sent if url != "about:blank"}

    def screenshot(self, path: Path) -> None:
        """The whole page as a picture."""
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16_000), "scale": 1}
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        path.write_bytes(base64.b64decode(shot["data"]))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    chromium = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        if os.environ.get("KVPLAN_NEED_BROWSER"):
            pytest.fail("chromium and chromedriver are not installed")
        pytest.skip("needs chromium and chromedriver: apt-get install chromium chromium-driver")
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = Chrome(options=options, service=Service(driver))
    try:
        yield Browser(started)
    finally:
        started.quit()
