"""Tests of measured runs against predictions: factors, exact matches, and scenarios that carry them."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import pytest

from planner import pipeline
from planner.calculator.calibrate import calibrations, question_of
from planner.calculator.inputs import Inputs, look_up
from planner.calculator.latency import LatencyAnswer, latency
from planner.calculator.latency_query import LatencyQuery
from planner.calculator.query import KvQuery
from planner.calculator.replica import replica_of
from planner.candidates.physics import timed_steps, usable_preset
from planner.candidates.types import Shape
from planner.catalog.latency import Calibration, LatencyRun
from planner.catalog.parallel import Parallel
from planner.catalog.types import Refusal
from planner.errors import InputError
from planner.performance.measured.files import read_runs
from planner.scenario.source import Findings
from planner.scenario.types import Place

ROOT = Path(__file__).parents[2]
USERS = (1, 8, 32, 64, 128)
HEAD = "model,gpu,engine,parallel,weights,kv_dtype,input_tokens,output_tokens,concurrency,tpot_ms,ttft_ms,source"


def _query(**more: object) -> LatencyQuery:
    kv = KvQuery(
        model="llama-3.1-8b",
        contexts_tokens=(1152,),
        batches=USERS,
        kv_dtype="bf16",
        shape=Parallel(1),
        engine="vllm@0.24",
        gpu="h100-sxm-80gb",
    )
    return LatencyQuery(kv, 1024, 256, **more)  # type: ignore[arg-type]


def _answer(query: LatencyQuery) -> LatencyAnswer:
    inputs = look_up(query.kv)
    assert isinstance(inputs, Inputs)
    return latency(query, inputs)


def _table(
    path: Path, tpot: float, ttft: float, said: dict[str, str] | None = None, users: tuple[int, ...] = USERS
) -> Path:
    """A table of runs that took so many times as long as predicted."""
    system = {"model": "llama-3.1-8b", "gpu": "h100-sxm-80gb", "engine": "vllm@0.24.0", "parallel": "tp1"}
    system |= {"weights": "bf16", "kv_dtype": "bf16"} | (said or {})
    rows = [HEAD.split(",")]
    for row in _answer(_query()).rows:
        if row.loop.users in users:
            figures = (f"{row.tpot_s * 1000 * tpot:.6f}", f"{row.ttft_s * 1000 * ttft:.6f}", "bench")
            rows.append([*system.values(), "1024", "256", str(row.loop.users), *figures])
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return path


def _runs(path: Path) -> list[LatencyRun]:
    findings = Findings()
    runs = read_runs(str(path), Place("s.yaml", 1, 1), {}, findings)
    assert findings.items == []
    return runs


def _calibrations(path: Path) -> tuple[Calibration, ...]:
    findings = Findings()
    found = calibrations(_runs(path), "roofline", findings)
    assert findings.items == []
    return found


def test_runs_that_were_predicted_calibrate_nothing(tmp_path: Path) -> None:
    """Tests that measuring exactly what is predicted gives factors of 1 for the replica and for its engine."""
    found = _calibrations(_table(tmp_path / "t.csv", 1.0, 1.0))
    assert [each.system is None for each in found] == [False, True]
    for each in found:
        assert each.ttft is not None
        assert float(each.tpot.p50) == pytest.approx(1, abs=1e-4)
        assert float(each.ttft.p50) == pytest.approx(1, abs=1e-3)
        assert (each.tpot.n, each.tpot.is_borrowed) == (5, False)


def test_slower_steps_do_not_count_twice(tmp_path: Path) -> None:
    """Tests that 25 % longer steps explain 25 % more TPOT, and that TTFT has a factor for what they leave."""
    found = _calibrations(_table(tmp_path / "t.csv", 1.25, 1.25 * 1.5))[0]
    assert float(found.tpot.p50) == pytest.approx(1.25, rel=1e-3)
    assert found.ttft is not None
    assert 1.5 < float(found.ttft.p50) < 1.9  # 20 ms of the server do not scale with the steps


def test_another_model_takes_the_factor_of_its_engine(tmp_path: Path) -> None:
    """Tests that runs of one model correct another one on the same GPU and engine, and say so."""
    measured = (str(_table(tmp_path / "t.csv", 1.25, 1.25)),)
    kv = KvQuery(
        model="qwen3-32b", contexts_tokens=(1152,), batches=(16,), kv_dtype="bf16", engine="vllm@0.24",
        gpu="h100-sxm-80gb", weights="fp8",
    )  # fmt: skip
    row = _answer(LatencyQuery(kv, 1024, 256, measured=measured)).rows[0]
    assert row.uncalibrated is not None
    assert row.tpot_s == pytest.approx(1.25 * row.uncalibrated.tpot_s, rel=1e-3)
    assert "calibrated x 1.25 by 5 measured runs on h100-sxm-80gb with vllm@0.24.0" in row.provider
    assert not row.measured and not row.band.judgement


def test_an_exact_match_is_the_answer(tmp_path: Path) -> None:
    """Tests that a run of exactly what is asked overrides, and that other batches are calibrated by it."""
    path = _table(tmp_path / "t.csv", 1.25, 2.0, users=(32,))
    rows = {row.loop.users: row for row in _answer(_query(measured=(str(path),))).rows}
    (run,) = _runs(path)
    assert run.tpot_us is not None and run.ttft_us is not None
    assert rows[32].tpot_s == pytest.approx(run.tpot_us / 1e6)
    assert rows[32].ttft_s == pytest.approx(run.ttft_us / 1e6)
    assert rows[32].provider.startswith("measured, 1 run")
    assert rows[64].provider.startswith("roofline") and not rows[64].measured
    again = _answer(_query(measured=(str(path),), prefix_hits_ppm=300_000)).rows[2]
    assert not again.measured  # hits were not measured


def test_few_runs_keep_the_providers_width(tmp_path: Path) -> None:
    """Tests that the band of a single run is as wide as that of the provider, around what was measured."""
    own = _answer(_query()).rows[0].band
    band = _answer(_query(measured=(str(_table(tmp_path / "t.csv", 1.25, 1.25, users=(32,))),))).rows[0].band
    assert float(band.tpot_p90) == pytest.approx(float(own.tpot_p90 / own.tpot_p50), abs=1e-4)
    assert band.tpot_p50 == band.ttft_p50 == 1 and band.n == 1


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"gpu": "h200-sxm-141gb"}, "asked is h100-sxm-80gb with vllm@0.24; leave the file out [KV974]"),
        ({"engine": "vllm@0.19"}, "measured on h100-sxm-80gb with vllm@0.19"),
    ],
)
def test_runs_of_elsewhere_are_refused(tmp_path: Path, said: dict[str, str], words: str) -> None:
    """Tests that a file of another GPU or release, which would change nothing, is a mistake."""
    with pytest.raises(InputError) as error:
        _answer(_query(measured=(str(_table(tmp_path / "t.csv", 1.0, 1.0, said)),)))
    assert words in str(error.value)


def test_a_run_is_a_question(tmp_path: Path) -> None:
    """Tests that the question of a run predicts what the run's row predicts, KV cliff included."""
    run = _runs(_table(tmp_path / "t.csv", 1.0, 1.0))[-1]
    inputs = look_up(question_of(run, "roofline").kv)
    assert isinstance(inputs, Inputs)
    loop = replica_of(question_of(run, "roofline"), inputs).loop(run.concurrency)
    assert loop.tpot_s == pytest.approx((run.tpot_us or 0) / 1e6, rel=1e-4)


def _scenario(tmp_path: Path, tpot: float) -> Path:
    path = tmp_path / "s.yaml"
    _table(tmp_path / "measured.csv", tpot, tpot)
    base = ROOT / "examples/01-first-plan/scenario.yaml"
    path.write_text(f"extends: {base}\nperformance: {{measured: measured.csv}}\n", encoding="utf-8")
    return path


def test_a_scenario_plans_with_measured_steps(tmp_path: Path) -> None:
    """Tests that steps measured at twice the prediction double those of the plan, and that candidates say so."""
    slow, plain = (pipeline.load(path) for path in (_scenario(tmp_path, 2.0), BASE))
    model, gpu = plain.models["helpdesk"], plain.inventory["h100"].gpu
    shape = Shape(gpu, "bf16", Parallel(1), "bf16")
    usable = usable_preset(model, shape, plain.compression)
    assert not isinstance(usable, Refusal)
    steps = [timed_steps(model, shape, usable, each.performance) for each in (slow, plain)]
    doubled, bare = (float(step.decode_step_s(32, 1000)) for step in steps if not isinstance(step, Refusal))
    assert doubled == pytest.approx(2 * bare, rel=1e-3)
    providers = {one.provider for one in pipeline.table(slow).candidates if one.config.gpu == gpu.id}
    assert providers and all("calibrated x 2 by 5 measured runs" in one for one in providers)


BASE = ROOT / "examples/01-first-plan/scenario.yaml"


def test_a_plan_carries_its_runs_and_can_be_checked(tmp_path: Path) -> None:
    """Tests that a calibrated plan checks, and that a calibration that does not follow from its runs is found."""
    from planner.plan.io import to_json

    scenario = pipeline.load(_scenario(tmp_path, 1.1))
    assert scenario.performance.measured == ("measured.csv",)
    assert [run.place for run in scenario.performance.runs][:2] == ["measured.csv:2", "measured.csv:3"]
    text = to_json(pipeline.plan(scenario))
    path = tmp_path / "plan.json"
    path.write_text(text, encoding="utf-8")
    assert pipeline.check(path) == []
    median = str(scenario.performance.calibrations[0].tpot.p50)
    path.write_text(text.replace(f'"p50": "{median}"', '"p50": "1"'), encoding="utf-8")
    rows = [finding.row for finding in pipeline.check(path, use_hash=False)]
    assert "scenario.performance.calibrations" in rows


def test_a_scenario_says_where_its_mistake_is(tmp_path: Path) -> None:
    """Tests that a missing file and one that applies to nothing are told at the line of `measured`."""
    path = _scenario(tmp_path, 1.0)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("measured.csv", "nowhere.csv"), encoding="utf-8")
    with pytest.raises(InputError, match=r"s\.yaml:2:\d+: error: cannot read measured latencies .*KV971"):
        pipeline.load(path)
    _table(tmp_path / "measured.csv", 1.0, 1.0, {"gpu": "h200-sxm-141gb"})
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"s\.yaml:2:\d+: .* no model and pool of this scenario .*KV974"):
        pipeline.load(path)


def test_ratios_are_exact_in_the_plan(tmp_path: Path) -> None:
    """Tests that factors are fractions of a millionth, so that plans are the same on every machine."""
    for each in _calibrations(_table(tmp_path / "t.csv", 1.07, 1.2)):
        assert all((point * 10**6).denominator == 1 for point in (each.tpot.p10, each.tpot.p50, each.tpot.p90))
        assert isinstance(each.tpot.p50, Fraction)
