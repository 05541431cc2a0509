"""The document: one file without a single address in it, checked for size.

Scripts run only if their digest stands in the page's own security policy; no connection, frame, form or picture is
allowed by it. Every text is escaped by the template, after characters that act on a reader were written out.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import cast

from planner.report.html.blocks import Page
from planner.report.printable import printable

MOST_BYTES = 2_000_000
"""Size of a page; tables are cut shorter, and say so, until it fits."""

ROWS = (400, 150, 60, 20)
"""Rows of a table, in the order of what is tried."""

FOLDER = Path(__file__).resolve().parent


def render(page_of: Callable[[int], Page]) -> str:
    """The smallest cut of a page that fits, tried with ever fewer rows a table."""
    text = ""
    for most_rows in ROWS:
        text = document(page_of(most_rows))
        if len(text.encode()) <= MOST_BYTES:
            break
    return text


def document(page: Page) -> str:
    """The page as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(FOLDER)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["shown"] = printable
    environment.filters["words"] = _words
    charts = [chart for section in page.sections for chart in section.charts]
    specs = {chart.id: chart.spec for chart in charts}
    scripts = [_bundle(), _own("page.js")] if charts else [_own("page.js")]
    text = environment.get_template("page.html.j2").render(
        page=page,
        style=_own("page.css"),
        specs=_inert(specs),
        scripts=scripts,
        policy=_policy(scripts),
        charts=len(charts),
    )
    return text.rstrip() + "\n"


def _words(text: str) -> list[tuple[str, bool]]:
    """Parts of a text, and whether each stood between backticks."""
    return [(part, position % 2 == 1) for position, part in enumerate(printable(text).split("`"))]


def _inert(tree: object) -> str:
    """JSON that can stand in a script element: nothing in it closes the element or opens a comment."""
    text = json.dumps(tree, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(scripts: list[str]) -> str:
    digests = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    return f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as Altair's own inline pages carry them.

    Its few control characters stand in strings, where their escapes mean the same.
    """
    import vl_convert

    whole = cast(
        "Callable[[], str]", vl_convert.javascript_bundle
    )  # its stub asks for a snippet, which may be left out
    script = printable(whole())
    if "</script" in script.lower() or "<!--" in script:
        raise ValueError("the plot library cannot stand in a page")
    return script


@cache
def _own(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
