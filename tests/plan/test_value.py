"""Plans on unproved presets: marked, with their debt and what they cost if wrong; and what compression saves."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from planner import pipeline
from planner.plan.check import check_tree
from planner.plan.io import to_json
from planner.plan.types import Plan
from planner.report.text import plan_text

SCENARIO = Path(__file__).parents[1] / "data/scenarios/hypothetical.yaml"


@cache
def solved(*sets: str, value: bool = True) -> Plan:
    """A plan of the scenario."""
    return pipeline.plan(pipeline.load(SCENARIO, sets), pipeline.Options(preset_value=value))


def tree() -> dict[str, Any]:
    """The hypothetical plan as JSON."""
    found: dict[str, Any] = json.loads(to_json(solved()))
    return found


def test_an_allowed_preset_makes_the_plan_hypothetical_with_its_debt() -> None:
    """It runs kivi-2bit, says so, and lists the kernel, the bytes, the quality and the time that nobody showed."""
    plan = solved()
    assert plan.status == "optimal" and plan.hypothetical
    assert {deployment.kv_preset for deployment in plan.deployments.values()} == {"kivi-2bit"}
    debt = "\n".join(plan.evidence_debt)
    for words in ("a kernel of vllm", "bytes on the GPU", "quality on llama-3.3-70b-instruct", "time of a decode step"):
        assert words in debt
    page = plan_text(plan)
    assert "OPTIMAL, proved, HYPOTHETICAL" in page and "if it does not hold" in page


def test_the_cost_of_being_wrong_is_a_second_plan_with_supported_presets() -> None:
    """The same scenario without `allow` is solved by itself and costs what the plan says."""
    plan = solved()
    supported = solved("compression.allow=[]")
    assert supported.totals is not None and plan.totals is not None and plan.if_wrong is not None
    assert not supported.hypothetical and supported.if_wrong is None and supported.evidence_debt == ()
    assert plan.if_wrong.cost_per_month == supported.totals.cost_per_month
    more = float(supported.totals.cost_per_month) - float(plan.totals.cost_per_month)
    assert float(plan.if_wrong.more_per_month or 0) == more > 0


def test_what_a_preset_saves_is_a_second_plan_with_16_bit_kv() -> None:
    """Cost without compression, the saving, and the loss at which a unit of kept quality costs the same."""
    plan, plain = solved("compression.allow=[]"), solved("models.writer.kv_presets=[bf16]")
    assert plain.totals is not None and plan.totals is not None
    (value,) = plan.preset_value
    assert value.presets == ("fp8",) and value.cost_without_per_month == plain.totals.cost_per_month
    with_it, without = float(plan.totals.cost_per_month), float(plain.totals.cost_per_month)
    assert float(value.saves_per_month or 0) == without - with_it > 0
    assert value.stops_paying_ppm == int((1 - with_it / without) * 1_000_000)
    assert plain.preset_value == ()


def test_plain_solve_does_not_solve_twice() -> None:
    """Without the flag and without `allow` nothing is solved again."""
    plan = solved("compression.allow=[]", value=False)
    assert plan.preset_value == () and "second solves" not in plan.run.seconds


def test_what_is_never_selected_stays_out_even_by_name() -> None:
    """A superseded claim is refused with every reason, whoever names it."""
    plan = solved('compression.allow=["nexusquant-max@0.4.0"]')
    sentence = "nexusquant-max@0.4.0: no engine runs it; GPU-resident ratio 1.0x; claim superseded"
    assert any(choice.message == sentence for choice in plan.rejected)
    assert not plan.hypothetical


def test_the_prefill_of_one_longest_request_stays_free() -> None:
    """32Ki tokens at 16 bits are 2,048 blocks of 16 tokens, kept beside the pool for compressed requests."""
    (deployment,) = solved().deployments.values()
    assert deployment.memory is not None
    assert deployment.memory.prefill_blocks == 32_768 // 16
    assert deployment.memory.pool_tokens == deployment.memory.usable_blocks * 16


def test_an_infeasible_scenario_says_how_much_smaller_kv_would_have_to_be() -> None:
    """128Ki of a 70B beside fp8 weights on one H100: 40 GiB where 2 GiB are left, far above what is confirmed."""
    plan = solved("models.writer.context_limit=[128Ki]", "models.writer.parallel=[tp1]", "compression.allow=[]")
    assert plan.status == "infeasible"
    message = plan.conflicts[0].message
    assert "h100-sxm-80gb tp1 fp8 needs 19.9x KV compression; the best confirmed is " in message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("hypothetical",), False),
        (("evidence_debt",), []),
        (("if_wrong",), None),
        (("if_wrong", "more_per_month"), "0.00"),
        (("if_wrong", "cost_per_month"), "1.00"),
        (("if_wrong", "cost_per_month"), "nothing"),
        (("preset_value", 0, "saves_per_month"), "1.00"),
        (("preset_value", 0, "stops_paying_ppm"), 999_999),
        (("preset_value", 0, "loss_ppm"), 0),
        (("preset_value", 0, "presets"), ["fp8"]),
        (("preset_value", 0, "cost_without_per_month"), "1.00"),
        (("preset_value", 0, "model"), "nobody"),
    ],
    ids=str,
)
def test_a_planted_value_is_found(path: tuple[str | int, ...], value: object) -> None:
    """Everything that follows from the second solves is derived again, and what cannot be is bounded."""
    planted: Any = copy.deepcopy(tree())
    at = planted
    for key in path[:-1]:
        at = at[key]
    assert at[path[-1]] != value
    at[path[-1]] = value
    assert check_tree(planted, "plan.json", use_hash=False)[1]


def test_the_plan_holds_as_it_is() -> None:
    """The check accepts what was solved."""
    assert check_tree(tree(), "plan.json")[1] == []
