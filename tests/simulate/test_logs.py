"""Logs of a replay are what other tools read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from planner import pipeline
from planner.simulate.logs import COLUMNS, metrics_json, metrics_text, requests_csv, requests_jsonl
from planner.simulate.replay import Run
from planner.simulate.session import Question, simulate
from planner.traffic.trace import read_trace

SCENARIO = Path(__file__).parents[1] / "data/scenarios/page.yaml"


@pytest.fixture(scope="module")
def run() -> Run:
    """A replay of the page scenario."""
    return simulate(pipeline.plan(pipeline.load(SCENARIO)), Question(seconds=60), "plan.json").runs[0]


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_a_request_log_is_a_trace(run: Run, tmp_path: Path, name: str) -> None:
    """What was logged can be replayed: the same lengths in the same order."""
    path = tmp_path / name
    path.write_text(requests_csv(run) if name.endswith("csv") else requests_jsonl(run), encoding="utf-8")
    trace = read_trace(path)
    expected = sorted(
        (round(one.arrival_s, 6), one.prompt_tokens, one.output_tokens) for requests in run.requests for one in requests
    )
    assert trace.requests == len(expected)
    assert trace.input_tokens.sum() == sum(prompt for _, prompt, _ in expected)
    assert requests_csv(run).splitlines()[0] == ",".join(COLUMNS)


def test_metrics_add_up(run: Run) -> None:
    """Counters over all replicas are the run's totals, buckets are cumulative, and the last is the count."""
    text = metrics_text(run)
    values = re.findall(r"^(vllm:\w+)\{(.*)\} (\S+)$", text, re.MULTILINE)
    served = [one for requests in run.requests for one in requests if not one.refused]
    tokens = sum(float(value) for name, _, value in values if name == "vllm:generation_tokens_total")
    counted = sum(float(value) for name, _, value in values if name == "vllm:time_to_first_token_seconds_count")
    assert (tokens, counted) == (sum(one.emitted_tokens for one in served), len(served))
    for instance in {labels for name, labels, _ in values if name == "vllm:time_to_first_token_seconds_count"}:
        buckets = [
            float(value)
            for name, labels, value in values
            if name == "vllm:time_to_first_token_seconds_bucket" and labels.startswith(instance)
        ]
        assert buckets == sorted(buckets)


def test_range_queries(run: Run) -> None:
    """The same series as Prometheus answers a range query."""
    tree = json.loads(metrics_json(run))
    assert tree["data"]["resultType"] == "matrix"
    names = {row["metric"]["__name__"] for row in tree["data"]["result"]}
    assert {"vllm:kv_cache_usage_perc", "vllm:num_preemptions_total", "vllm:e2e_request_latency_seconds_count"} <= names
