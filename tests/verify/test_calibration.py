"""What was measured becomes a file that the next plan is made with."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner import pipeline
from planner.errors import InputError
from planner.performance.measured.files import read_runs
from planner.plan.types import Plan
from planner.scenario.source import Findings
from planner.scenario.types import Place

SCENARIO = Path(__file__).parents[1] / "data/scenarios/verify.yaml"


def test_the_next_plan_is_made_with_it(plan: Plan, planted, looked_back, tmp_path: Path) -> None:
    """The factor of all steps is what the scenario's provider is corrected by."""
    answer = looked_back(planted("decode"))
    path = tmp_path / "measured.csv"
    path.write_text(pipeline.calibration(plan, answer, "plan.json"), encoding="utf-8")
    findings = Findings()
    (run,) = read_runs(str(path), Place("x.yaml", 1, 1), {}, findings)
    assert not findings.items
    assert run.system.gpu == "l40s-48gb"
    scenario = tmp_path / "scenario.yaml"
    text = SCENARIO.read_text(encoding="utf-8")
    scenario.write_text(f"{text}\nperformance: {{measured: [{path}]}}\n", encoding="utf-8")
    (calibration, *_) = pipeline.load(scenario).performance.calibrations
    assert float(calibration.tpot.p50) == pytest.approx(answer.speeds[0].factor, rel=0.02)


def test_nothing_to_calibrate_with(plan: Plan, planted, looked_back) -> None:
    """Without times of requests no speed was measured."""
    answer = looked_back(planted())
    with pytest.raises(InputError, match="KV735"):
        pipeline.calibration(plan, type(answer)(answer.verification, ()), "plan.json")
