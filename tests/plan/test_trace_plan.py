"""Tests of plans from traces: they stand alone, follow the trace, and are found out when they do not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from planner import pipeline
from planner.errors import InputError
from planner.plan.io import digest, to_json
from planner.plan.types import Plan

ROOT = Path(__file__).parents[2]
TRACE = ROOT / "scenarios" / "traces" / "azure_llm_2023_conv.csv.gz"
SCENARIO = """
kvplan: 1
name: small
models:
  assistant:
    {ref: llama-3.1-8b, engine: vllm@0.24, weights: fp8, parallel: tp1, context_limit: 16Ki, kv_presets: bf16}
traffic:
  chat: {model: assistant, trace: conv.csv.gz, scale: 2, window: {end: 10min}, slo: {ttft_p95: 2s, tpot_p95: 50ms}}
inventory:
  h100:
    {gpu: h100-sxm-80gb, region: r, available: 4 nodes, gpus_per_node: 8, price: $2.95/gpu/h, source: list price}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scenario and its trace."""
    folder = tmp_path_factory.mktemp("traced")
    (folder / "small.yaml").write_text(SCENARIO, encoding="utf-8")
    shutil.copy(TRACE, folder / "conv.csv.gz")
    return folder


@pytest.fixture(scope="module")
def plan(folder: Path) -> Plan:
    """The plan of ten minutes of conversation, twice as dense."""
    return pipeline.plan(pipeline.load(folder / "small.yaml"), file="small.yaml")


def test_a_plan_follows_its_trace(plan: Plan) -> None:
    """Tests rates and tokens against the rows of the file."""
    traffic = plan.scenario.traffic["chat"]
    assert traffic.trace is not None and traffic.trace.facts is not None
    facts = traffic.trace.facts
    assert plan.status == "optimal"
    assert traffic.trace.path == "conv.csv.gz"
    assert traffic.mean_rps == pytest.approx(2 * facts.requests / 600, abs=1e-6)
    assert traffic.peak_rps >= 2 * Fraction(facts.busiest, 60)
    (row,) = [row for row in plan.evidence if row.kind == "trace"]
    assert row.text.startswith("conv.csv.gz x 2: ") and facts.sha256[:12] in row.text


def test_a_plan_stands_alone(plan: Plan, tmp_path: Path) -> None:
    """Tests that a plan is checked without its trace."""
    path = tmp_path / "plan.json"
    path.write_text(to_json(plan), encoding="utf-8")
    assert pipeline.check(path) == []


def _lengths(tree: Any) -> None:
    tree["scenario"]["traffic"]["chat"]["trace"]["facts"]["lengths"][0] = "2 500"


def _count(tree: Any) -> None:
    tree["scenario"]["traffic"]["chat"]["trace"]["facts"]["busiest"] -= 100


def _scale(tree: Any) -> None:
    tree["scenario"]["traffic"]["chat"]["trace"]["scale"] = "3"


def _nonsense(tree: Any) -> None:
    tree["scenario"]["traffic"]["chat"]["trace"]["facts"]["lengths"] = ["x y"]


def _nothing(tree: Any) -> None:
    tree["scenario"]["traffic"]["chat"]["trace"]["facts"] = None


@pytest.mark.parametrize("change", [_lengths, _count, _scale, _nonsense, _nothing])
def test_a_changed_trace_is_found_out(plan: Plan, tmp_path: Path, change: Callable[[Any], None]) -> None:
    """Tests that lengths, counts and scale cannot be changed by hand, even with a fitting hash."""
    tree = json.loads(to_json(plan))
    change(tree)
    tree["hash"] = digest(tree)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(tree), encoding="utf-8")
    assert pipeline.check(path)


def test_a_trace_that_does_not_fit_is_refused_at_its_line(folder: Path) -> None:
    """Tests that a window without requests and a file that is none stand with the others."""
    with pytest.raises(InputError, match=r"small.yaml:\d+:\d+: error: traffic.chat.trace: no request came .*KV714"):
        pipeline.load(folder / "small.yaml", sets=["traffic.chat.window.start=2h", "traffic.chat.window.end=3h"])
    (folder / "empty.csv").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"empty.csv: error: the file is empty.*KV712"):
        pipeline.load(folder / "small.yaml", sets=["traffic.chat.trace=empty.csv"])


def test_a_plan_and_its_scenario_do_not_differ(plan: Plan, folder: Path, tmp_path: Path) -> None:
    """Tests that a plan is compared with its scenario, and another scale found, without the trace at hand."""
    from planner.sweep.compare import diff

    path = tmp_path / "plan.json"
    path.write_text(to_json(plan), encoding="utf-8")
    assert diff(str(path), str(folder / "small.yaml")).equal
    other = folder / "other.yaml"
    other.write_text("extends: small.yaml\ntraffic: {chat: {scale: 12}}\n", encoding="utf-8")
    changed = diff(str(path), str(other))
    assert [edit.path for edit in changed.edits] == ["traffic.chat.scale"]
