"""Classes that are planned from a trace replay that one."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner import pipeline
from planner.errors import InputError
from planner.plan.types import Plan
from planner.simulate.session import Question, simulate

SCENARIO = """
kvplan: 1
name: traced
models:
  m: {{ref: llama-3.1-8b, engine: vllm@0.24, weights: bf16, parallel: tp1, context_limit: 8Ki, kv_presets: bf16}}
traffic:
  c: {{model: m, trace: log.csv, scale: 2, window: {{start: 10s, end: 70s}}, peak_window: 10s,
       slo: {{ttft_p95: 1s, tpot_p95: 40ms}}}}
inventory:
  h100: {{gpu: h100-sxm-80gb, region: r, available: 8 nodes, gpus_per_node: 1, price: $3/gpu/h, source: "s"}}
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan from a minute of a log of four requests a second, played twice as fast."""
    folder = tmp_path_factory.mktemp("traced")
    rows = [f"{number / 4},{100 + number % 900},{20 + number % 50}" for number in range(400)]
    (folder / "log.csv").write_text("arrival_s,input_tokens,output_tokens\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (folder / "scenario.yaml").write_text(SCENARIO.format(), encoding="utf-8")
    return pipeline.plan(pipeline.load(folder / "scenario.yaml"))


def test_the_window_at_its_scale_is_replayed(plan: Plan) -> None:
    """Requests of one minute in half of the time, with the lengths of the log."""
    answer = simulate(plan, Question(), "plan.json")
    (stream,) = answer.runs[0].streams
    assert len(stream.arrival_s) == 240
    assert stream.end_s == pytest.approx(30, abs=0.5)
    assert stream.prompt_tokens[0] == 140
    assert answer.simulation.traces == {"c": plan.scenario.traffic["c"].trace.facts.sha256}
    assert answer.simulation.kept


def test_certain_replays_are_played_once(plan: Plan) -> None:
    """Without chance every seed would say the same."""
    assert len(simulate(plan, Question(seeds=(1, 2, 3)), "plan.json").runs) == 1
    assert len(simulate(plan, Question(seeds=(1, 2), policy="random"), "plan.json").runs) == 2


def test_its_lengths_can_be_generated_too(plan: Plan) -> None:
    """With `generate` requests come at random, at the planned peak, with pairs of lengths of the log."""
    (stream,) = simulate(plan, Question(generate=True, seconds=60), "plan.json").runs[0].streams
    assert not stream.sha256
    assert len(stream.arrival_s) == pytest.approx(60 * float(plan.scenario.traffic["c"].peak_rps), rel=0.25)
    pairs = {(100 + number % 900, 20 + number % 50) for number in range(400)}
    assert set(zip(stream.prompt_tokens.tolist(), stream.output_tokens.tolist(), strict=True)) <= pairs


@pytest.mark.parametrize(
    ("text", "says"), [(None, "is not there"), ("arrival_s,input_tokens,output_tokens\n1,2,3\n", "is not the trace")]
)
def test_a_trace_that_changed_is_refused(plan: Plan, text: str | None, says: str) -> None:
    """What is replayed is what was planned from, byte for byte."""
    place = plan.run.places["traffic.c.trace.file"]
    path = Path(place.rpartition(":")[0])
    kept = path.read_bytes()
    try:
        path.unlink()
        if text is not None:
            path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=says):
            simulate(plan, Question(), "plan.json")
    finally:
        path.write_bytes(kept)
