"""The documents say what the program does: outputs, examples, links, the worked example."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unicodedata
from fractions import Fraction
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
RENEW = "stale; run `python tests/docs/outputs.py`"


def _load(name: str) -> ModuleType:
    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


outputs = _load("outputs")
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/*.md")})


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", outputs.documents(), ids=_name)
def test_outputs_are_what_the_command_prints(path: Path) -> None:
    """Every output block equals what its command prints now, but for the seconds."""
    text = path.read_text(encoding="utf-8")
    assert "<!-- output: " in text
    assert outputs.masked(text) == outputs.masked(outputs.renewed(text)), RENEW


@pytest.mark.parametrize("folder", outputs.examples(), ids=_name)
def test_examples_give_their_expected_output(folder: Path) -> None:
    """An example's page and the essentials of its plan equal the committed ones."""
    for name, fresh in outputs.expected(folder).items():
        stored = (folder / name).read_text(encoding="utf-8")
        assert outputs.masked(stored) == outputs.masked(fresh), f"{folder.name}/{name} is {RENEW}"


def test_the_mixed_gpu_example_has_the_exact_answer() -> None:
    """The published case costs $4.68/h with one third of a size on the A10G and both GPUs at exactly 100 %."""
    essentials = json.loads((ROOT / "examples/02-mixed-gpus/expected.json").read_text(encoding="utf-8"))
    assert essentials["cost_per_h"] == "4.68"
    used, rates = {}, {"a100-sxm-80gb": (20, 20, 40, 20), "a10g-24gb": (2, 1, 5, 2)}
    sizes = ("short-in-short-out", "short-in-long-out", "long-in-short-out", "long-in-long-out")
    for deployment in essentials["deployments"].values():
        shares = [Fraction(deployment["routing"].get(size, "0")) for size in sizes]
        parts = zip((6, 3, 15, 6), rates[deployment["gpu"]], shares, strict=True)
        used[deployment["gpu"]] = sum((asked * share / rate for asked, rate, share in parts), Fraction(0))
    assert used == {"a100-sxm-80gb": 1, "a10g-24gb": 1}


def test_the_plan_hash_is_stable_between_runs() -> None:
    """Two processes that order sets differently print the same hash, and it is the committed one."""
    code = "import sys; from planner import pipeline; print(pipeline.plan(pipeline.load(sys.argv[1])).hash)"
    args = [sys.executable, "-c", code, "examples/01-first-plan/scenario.yaml"]
    printed = {
        subprocess.run(
            args,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
    page = (ROOT / "examples/01-first-plan/expected.txt").read_text(encoding="utf-8")
    assert printed.pop()[:19] in page


def test_the_worked_example_is_recomputed() -> None:
    """The table of docs/model.md is what the rooms compute, and some of its rows follow from others by hand."""
    text = (ROOT / "docs/model.md").read_text(encoding="utf-8")
    assert outputs.with_worked_example(text) == text, RENEW
    table = dict(re.findall(r"^\| (.+?) \| (.+?) \| .+ \|$", text.partition("<!-- worked example -->")[2], re.M))
    assert table["KV bytes a token on one GPU"] == f"{2 * 80 * (8 // 4) * 128 * 2:,}"
    alpha_s, beta_s, gamma_s = 10.81e-3, 65.2e-6, 26.9e-9
    decode_s = 222.7 * (beta_s + gamma_s * 1366)
    assert f"{decode_s * 1e3:.1f} ms" == table["E[s], d"].partition(", ")[2]
    x, prompt_s = 7.07, 63.1e-3
    gap_s = alpha_s / (1 - x * (prompt_s + decode_s))
    assert 0.5 * 41.7e-3 < gap_s < 41.7e-3 / 1.2
    assert abs(float(table["gpu_time of 18 req/s"].partition(" ")[0]) - 18 / x) < 0.002


def _anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.M)
    return {re.sub(r"[^\w\- ]", "", unicodedata.normalize("NFC", h.lower())).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("path", PAGES, ids=_name)
def test_links_lead_somewhere(path: Path) -> None:
    """Relative links name files that exist, and anchors that those have."""
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        assert found.exists(), f"{_name(path)} links to {target}"
        if anchor:
            assert anchor in _anchors(found.read_text(encoding="utf-8")), f"{_name(path)} links to {target}"


def test_files_that_the_model_page_names_exist() -> None:
    """Sources named in docs/model.md and the decisions are where they are said to be."""
    for path in (ROOT / "docs/model.md", *ROOT.glob("docs/decisions/*.md")):
        for name in re.findall(r"`((?:planner|tests|scenarios)/[\w./-]*)`", path.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{_name(path)} names {name}"


def test_decisions_are_numbered_without_gaps() -> None:
    """Decisions are numbered from 0001, and each title carries its number."""
    pages = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [page.name[:4] for page in pages] == [f"{n:04}" for n in range(1, len(pages) + 1)]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {page.name[:4]}: ")
        assert len(text.split()) < 420, f"{page.name} is longer than half a page"
