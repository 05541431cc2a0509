"""Logs of what happened: columns of all kinds, and what cannot be right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from planner.errors import InputError
from planner.plan.types import Plan
from planner.verify.answers import read_log

HEAD = "arrival_s,input_tokens,output_tokens"


def _log(tmp_path: Path, head: str, *rows: str) -> str:
    path = tmp_path / "log.csv"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("head", "row"),
    [
        (f"{HEAD},ttft_s,e2e_s", "0,100,21,0.5,1.5"),
        (f"{HEAD},ttft_ms,latency_ms", "0,100,21,500,1500"),
        (f"{HEAD},time_to_first_token_ms,tpot_ms", "0,100,21,500,50"),
        (f"{HEAD},E2E Latency (s),inter_token_latency_s", "0,100,21,1.5,0.05"),
    ],
)
def test_any_two_times_are_enough(plan: Plan, tmp_path: Path, head: str, row: str) -> None:
    """TTFT, the whole time, and the time per token: two of them say the third, in the units that their names say."""
    answers = read_log(plan, {"": _log(tmp_path, head, row)}, "plan.json").answers
    assert answers.ttft_s[0] == pytest.approx(0.5)
    assert answers.end_s[0] == pytest.approx(1.5)
    assert answers.tpot_s[0] == pytest.approx(0.05)


def test_aiperf_says_units_beside_values(plan: Plan, tmp_path: Path) -> None:
    """AIPerf's export has {"value": ..., "unit": "ms"}."""
    metrics = {
        "input_sequence_length": {"value": 100, "unit": "tokens"},
        "output_sequence_length": {"value": 21, "unit": "tokens"},
        "time_to_first_token": {"value": 500.0, "unit": "ms"},
        "request_latency": {"value": 1500.0, "unit": "ms"},
    }
    path = tmp_path / "profile.jsonl"
    path.write_text(json.dumps({"metadata": {"request_start_ns": 10**18}, "metrics": metrics}), encoding="utf-8")
    answers = read_log(plan, {"": str(path)}, "plan.json").answers
    assert (answers.ttft_s[0], answers.tpot_s[0]) == pytest.approx((0.5, 0.05))


def test_vllms_benchmark_has_all_gaps(plan: Plan, tmp_path: Path) -> None:
    """`vllm bench serve --save-detailed`: TTFT and the gaps of every answer, in seconds."""
    document = {
        "start_times": [5.0, 7.0], "input_lens": [100, 90], "output_lens": [21, 3],
        "ttfts": [0.5, 0.25], "itls": [[0.05] * 20, [0.1, 0.1]],
    }  # fmt: skip
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    answers = read_log(plan, {"": str(path)}, "plan.json").answers
    assert answers.end_s.tolist() == pytest.approx([1.5, 2.45])


def test_rows_are_sorted_with_all_they_say(plan: Plan, tmp_path: Path) -> None:
    """Latencies stay with their requests; what is empty or no number is nothing, and refused ones have no times."""
    head = f"{HEAD},ttft_s,e2e_s,refused,replica"
    path = _log(tmp_path, head, "9,100,21,0.9,1.9,0,b", "1,100,21,0.1,1.1,0,a", "5,100,21,soon,2,0,c", "7,9,9,1,2,1,d")
    log = read_log(plan, {"": path}, "plan.json")
    assert log.answers.replica.tolist() == ["a", "c", "d", "b"]
    assert np.isnan(log.answers.first_s[1:3]).all()
    assert log.answers.ttft_s[[0, 3]].tolist() == pytest.approx([0.1, 0.9])
    assert any("ttft_s are no numbers" in note for note in log.notes)


@pytest.mark.parametrize(
    ("head", "row", "code", "says"),
    [
        (f"{HEAD},ttft_s,e2e_s", "0,100,20,4500000,4600000", "KV733", "another unit"),
        (f"{HEAD},ttft_s,e2e_s", "0,100,20,450,1.5", "KV733", "times the time of a request"),
        (f"{HEAD},ttft_s,tpot_s,e2e_s", "0,100,21,0.5,50,1.5", "KV733", "times the time of a request"),
    ],
)
def test_wrong_units(plan: Plan, tmp_path: Path, head: str, row: str, code: str, says: str) -> None:
    """Milliseconds in a column of seconds are found out."""
    with pytest.raises(InputError) as caught:
        read_log(plan, {"": _log(tmp_path, head, row)}, "plan.json")
    assert code in str(caught.value)
    assert says in str(caught.value)


def test_a_time_without_a_unit_is_not_read(plan: Plan, tmp_path: Path) -> None:
    """Nobody guesses what `ttft` means."""
    log = read_log(plan, {"": _log(tmp_path, f"{HEAD},ttft", "0,100,20,450")}, "plan.json")
    assert not log.answers.has_times
    assert any("says no unit" in note for note in log.notes)


def test_classes_must_be_the_plans(plan: Plan, tmp_path: Path) -> None:
    """A log of nobody, a log that does not say of whom, and logs of different days."""
    (name,) = plan.scenario.traffic
    traffic = plan.scenario.traffic[name]
    two = replace(
        plan, scenario=replace(plan.scenario, traffic={name: traffic, "other": replace(traffic, name="other")})
    )
    path = _log(tmp_path, HEAD, "0,100,20")
    later = tmp_path / "later.csv"
    later.write_text(f"{HEAD}\n1800000000,100,20\n", encoding="utf-8")
    named = tmp_path / "named.csv"
    named.write_text(f"{HEAD},class\n0,100,20,nobody\n", encoding="utf-8")
    for files, says in (
        ({"nobody": path}, "no traffic class 'nobody'"),
        ({"": path}, "of which class"),
        ({"": str(named)}, "no traffic class 'nobody'"),
        ({name: path, "other": str(later)}, "not of the same time"),
    ):
        with pytest.raises(InputError) as caught:
            read_log(two, files, "plan.json")
        assert "KV734" in str(caught.value)
        assert says in str(caught.value)
