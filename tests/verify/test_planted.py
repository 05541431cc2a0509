"""Planted errors: the look back names each of them, alone, by its size."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.plan.types import Plan
from planner.simulate.logs import metrics_json, requests_csv
from planner.verify.session import Question, verify

SIZES = {"decode": 1.2, "prefix_hits": 0.0, "traffic": 2.0, "outputs": 1.5, "prompts": 1.5, "kv_pool": 0.5}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("error", SIZES)
def test_a_planted_error_is_named(planted, looked_back, error: str, seed: int) -> None:
    """The right cause, no other one, its factor within a tenth; put in, it explains every figure that is off."""
    found = looked_back(planted(error, seed), ".json" if seed % 2 else ".prom").verification
    assert [cause.kind for cause in found.causes] == [error]
    assert found.causes[0].factor == pytest.approx(SIZES[error], rel=0.1)
    assert found.is_outside
    assert found.is_explained


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_wrong(planted, looked_back, seed: int) -> None:
    """A fleet that is as planned is within all bands, and nothing is made up."""
    found = looked_back(planted("", seed)).verification
    assert not found.causes
    assert not found.is_outside
    assert all(row.factor is None or 0.8 < row.factor < 1.25 for row in found.rows)


def test_the_speed_is_measured_whatever_the_load(planted, looked_back) -> None:
    """Twice the traffic and no hits leave the speed of all steps at 1; slower decode does not."""
    speeds = {error: looked_back(planted(error)).speeds[0].factor for error in ("traffic", "prefix_hits", "decode")}
    assert speeds["traffic"] == pytest.approx(1.0, abs=0.03)
    assert speeds["prefix_hits"] == pytest.approx(1.0, abs=0.03)
    assert 1.1 < speeds["decode"] < 1.25


@pytest.mark.parametrize("error", ["decode", "traffic", "prefix_hits"])
def test_a_log_that_does_not_say_who_answered(plan: Plan, planted, tmp_path: Path, error: str) -> None:
    """Without deployments and replicas, replicas count as equally loaded, and the cause is still the right one."""
    log, metrics = tmp_path / "log.csv", tmp_path / "metrics.json"
    run = planted(error)
    rows = [line.split(",") for line in requests_csv(run).splitlines()]
    log.write_text("".join(",".join(row[3:]) + "\n" for row in rows), encoding="utf-8")
    metrics.write_text(metrics_json(run), encoding="utf-8")
    found = verify(plan, Question({"": str(log)}, str(metrics)), "plan.json").verification
    assert [cause.kind for cause in found.causes] == [error]
    assert found.causes[0].factor == pytest.approx(SIZES[error], rel=0.1)


def test_a_log_alone(plan: Plan, planted, tmp_path: Path) -> None:
    """Without metrics speed and traffic are still told apart, and what is not compared is said."""
    log = tmp_path / "log.csv"
    log.write_text(requests_csv(planted("decode")), encoding="utf-8")
    found = verify(plan, Question({"questions": str(log)}), "plan.json").verification
    assert [cause.kind for cause in found.causes] == ["decode"]
    assert "kv_use" not in {row.quantity for row in found.rows}
    assert any("without metrics" in note for note in found.notes)


@pytest.mark.parametrize("error", ["", "decode", "traffic"])
def test_a_log_without_latencies(plan: Plan, planted, tmp_path: Path, error: str) -> None:
    """Lengths alone, as many services log: latencies and speed come from the means of the metrics."""
    log, metrics = tmp_path / "log.csv", tmp_path / "metrics.json"
    run = planted(error)
    rows = [line.split(",") for line in requests_csv(run).splitlines()]
    log.write_text("".join(",".join(row[3:6]) + "\n" for row in rows), encoding="utf-8")
    metrics.write_text(metrics_json(run), encoding="utf-8")
    found = verify(plan, Question({"": str(log)}, str(metrics)), "plan.json").verification
    assert [cause.kind for cause in found.causes] == ([error] if error else [])
    assert {"ttft_mean", "tpot_mean"} <= {row.quantity for row in found.rows}
    if error == "decode":
        assert found.causes[0].factor == pytest.approx(1.2, rel=0.1)
