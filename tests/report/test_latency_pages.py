"""Tests of the pages of `kvplan latency`: whole pages with made-up steps, their width, pictures as XML."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from planner.report.latency import latency_text
from planner.report.latency_curve import curve_svg, curve_text, latency_curve

GOLDEN = Path(__file__).with_name("golden_latency")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def goldens() -> ModuleType:
    """The script that renews the goldens."""
    spec = spec_from_file_location("latency_goldens", Path(__file__).with_name("latency_goldens.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(goldens: ModuleType) -> dict[str, str]:
    """Every page as it is now."""
    return dict(goldens.pages())


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.iterdir()))
def test_pages_are_as_committed(pages: dict[str, str], name: str) -> None:
    """Tests whole pages; `python tests/report/latency_goldens.py` renews them."""
    assert pages[name] == (GOLDEN / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("columns", [60, 80, 100, 160])
def test_pages_keep_their_width(goldens: ModuleType, columns: int) -> None:
    """Tests that no line is wider than the terminal (the rows themselves need 86 columns)."""
    answer = goldens.made_up((1, 64, 400))
    for page in (latency_text(answer, columns), curve_text(latency_curve(answer), columns)):
        assert max(map(len, page.splitlines())) <= max(columns, 92)
        assert all(line == line.rstrip() for line in page.splitlines())


def test_the_picture_is_whole(pages: dict[str, str]) -> None:
    """Tests that the SVG is well-formed, has both curves, the promise, and where the pool is full in both panels."""
    root = ElementTree.fromstring(pages["latency-curve.svg"])
    lines = [each.get("class") for each in root.iter(f"{SVG}line")]
    assert len(list(root.iter(f"{SVG}polyline"))) == 2
    assert lines.count("end") == 3
    words = " ".join(each.text or "" for each in root.iter(f"{SVG}text"))
    assert "promise 20 ms" in words and words.count("200 run at once") == 2
    for line in root.iter(f"{SVG}polyline"):
        places = [tuple(map(float, pair.split(","))) for pair in (line.get("points") or "").split()]
        assert [x for x, _ in places] == sorted(x for x, _ in places)


def test_one_batch_is_a_curve_too(goldens: ModuleType) -> None:
    """Tests that a curve of a single batch draws, in both forms."""
    curve = latency_curve(goldens.made_up((1,), None))
    assert "batch 1" in curve_text(curve)
    assert ElementTree.fromstring(curve_svg(curve)) is not None
