"""The page of the candidate table: choices without a latency, adjustments and borrowed rules stand on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from planner import pipeline
from planner.report.candidates import MOST_MEMORY_ROWS, candidates_json, candidates_text

DATA = Path(__file__).parents[1] / "data/scenarios"


@pytest.fixture(scope="module")
def page(untimed: None) -> str:
    """The page of what has memory and no latency."""
    scenario = pipeline.load(DATA / "memory-only.yaml", ["models.hybrid.kv_presets=[bf16, fp8]"])
    return candidates_text(scenario, pipeline.table(scenario), 140)


def test_a_line_has_weights_tokens_and_contexts(page: str) -> None:
    """DeepSeek-V3 in fp8 over eight H200: about 671 GB of weights, 32Ki four times as often as 128Ki."""
    (line,) = [line for line in page.splitlines() if line.startswith("h200") and " tp8  " in line and " fp8 " in line]
    words = line.split()
    weights_gib = float(words[5])
    assert 671e9 / 2**30 / 8 < weights_gib < 1.05 * 671e9 / 2**30 / 8
    at_32ki, at_128ki = (float(words[i].rstrip("x,")) for i in (9, 11))
    assert (words[8], words[10]) == ("32Ki", "128Ki")
    assert at_32ki == pytest.approx(4 * at_128ki, rel=0.01)
    assert int(words[7].replace(",", "")) == pytest.approx(at_128ki * 131_072, rel=0.01)


def test_a_long_table_is_capped(page: str) -> None:
    """24 choices of the hybrid: the first lines, and how many more there are."""
    start = page.index(" hybrid: 24 choices")
    part = page[start : page.index(" oss:", start)]
    assert sum(line.startswith(("h100", "h200")) for line in part.splitlines()) == MOST_MEMORY_ROWS
    assert f" and {24 - MOST_MEMORY_ROWS} more (--format json has all)" in part


def test_no_empty_tables(page: str) -> None:
    """A model without candidates says so, and has no table head over nothing."""
    assert " deepseek: no candidates\n" in page
    assert page.count("max req/s\n") == 1  # the table of the one model with candidates


def test_json_has_every_row(untimed: None) -> None:
    """The JSON document holds all rows, with exact concurrency as a fraction."""
    table = pipeline.table(pipeline.load(DATA / "memory-only.yaml"))
    tree = json.loads(candidates_json(table))
    assert len(tree["memory_only"]) == len(table.memory_only) > 40
    row = tree["memory_only"][0]
    assert row["reason"] and "/" in row["max_concurrency"] and row["weights_bytes"] > 2**30


def test_assumptions_and_borrowed_rules_stand_below() -> None:
    """What the user corrected, with its source, and whose rules answer for the release."""
    scenario = pipeline.load(DATA / "bounded.yaml")
    text = candidates_text(scenario, pipeline.table(scenario), 140)
    assert "models.assistant.adjust.memory: 1.50 GiB less for KV on each GPU (1,610,612,736 B) (bench 2026-11)" in text
    assert "models.assistant.adjust.decode_time: decode steps take 5% longer than predicted (bench 2026-11)" in text
    assert "assistant: rules of vllm@0.19 (no newer rule set for 0.20.1)" in text
