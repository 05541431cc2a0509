"""Tests the comparison of two plan documents: equality, money to the cent, what changes, margins and guardrails."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner import pipeline
from planner.errors import InputError
from planner.plan import diff_io, io
from planner.plan.diff_changes import money_change
from planner.plan.diff_types import Diff
from planner.plan.types import Deployment, LimitRow, Plan, PoolPlan
from planner.scenario.types import Guardrail

Tree = dict[str, object]


@pytest.fixture(scope="session")
def plan(plan_tree: Callable[[str], Tree]) -> Plan:
    """The plan of the first example: physics, promises, one model."""
    return io.parse(plan_tree("prod"), "plan.json")


def with_cost(plan: Plan, monthly: str) -> Plan:
    """The same plan at another price."""
    assert plan.totals is not None
    return replace(plan, hash=monthly, totals=replace(plan.totals, cost_per_month=monthly))


def without_plan(plan: Plan) -> Plan:
    """The scenario's plan if there were none."""
    from planner.plan.types import Conflict

    conflict = Conflict("budget.monthly", "without this line there is a plan", None)
    return replace(
        plan, hash="none", status="infeasible", totals=None, deployments={}, pools={}, limits=(), models={},
        conflicts=(conflict,),
    )  # fmt: skip


def test_a_plan_equals_itself(plan: Plan) -> None:
    """Tests that nothing is listed for equal plans, so that no page can show a phantom change."""
    found = pipeline.diff(plan, plan)
    assert found.equal
    assert found.cost_per_month.change == "0.00"
    for name in ("deployments", "pools", "rollout", "margins", "unit_costs", "attribution", "guardrails", "notes"):
        assert getattr(found, name) == (), name


def test_run_and_words_make_no_difference(plan: Plan) -> None:
    """Tests that times, versions of Python and an owner are no difference."""
    other = replace(
        plan, hash="x", run=replace(plan.run, seconds={"solve": 9.0}), scenario=replace(plan.scenario, owner="other")
    )
    assert pipeline.diff(plan, other).equal


def test_changes_that_net_to_the_same_total_are_shown(plan: Plan) -> None:
    """Tests that equal totals do not hide deployments that moved."""
    name, deployment = next(iter(plan.deployments.items()))
    moved = replace(deployment, kv_preset="fp8")
    found = pipeline.diff(plan, replace(plan, hash="x", deployments={**plan.deployments, name: moved}))
    assert not found.equal
    assert found.cost_per_month.change == "0.00"
    assert [
        (change.name, [field.field for field in change.fields]) for change in found.deployments if change.fields
    ] == [(name, ["kv_preset"])]


def test_a_margin_alone_is_a_difference(plan: Plan) -> None:
    """Tests that a plan that only came closer to a promise is not equal."""
    row = plan.limits[0]
    nearer = replace(row, used=row.used * Fraction(101, 100))
    found = pipeline.diff(plan, replace(plan, hash="x", limits=(nearer, *plan.limits[1:])))
    assert not found.equal
    assert found.margins[0].path == row.path


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_money_is_rounded_once_and_adds_up(base: int, head: int) -> None:
    """Tests that head - base = change on what is shown, whatever stands beyond the cent."""
    found = money_change(f"{base // 10**6}.{base % 10**6:06d}", f"{head // 10**6}.{head % 10**6:06d}")
    assert Fraction(found.head or 0) - Fraction(found.base or 0) == Fraction(found.change or 0)
    assert abs(Fraction(found.base or 0) - Fraction(base, 10**6)) <= Fraction(1, 200)
    if Fraction(found.base or 0):
        exact = Fraction(found.change or 0) / Fraction(found.base or 0) * 10**6
        assert abs(exact - (found.percent_ppm or 0)) <= Fraction(1, 2)
    else:
        assert found.percent_ppm is None


def test_committed_and_usage_are_the_whole_cost(plan: Plan) -> None:
    """Tests that the two kinds of money add up, and that committed money is nodes x GPUs x price x 730 h."""
    found = pipeline.diff(plan, with_cost(plan, "49523.204"))
    fixed, usage = (Fraction(part.head or 0) for part in (found.committed_per_month, found.usage_per_month))
    assert fixed + usage == Fraction(found.cost_per_month.head or 0)
    assert fixed == 2 * 8 * Fraction("2.95") * 730


def test_a_side_without_a_plan(plan: Plan) -> None:
    """Tests that an infeasible head shows its conflicts and no half of a table, and the other way round."""
    bad = without_plan(plan)
    found = pipeline.diff(plan, bad)
    assert (found.cost_per_month.base, found.cost_per_month.head) == (plan.totals.cost_per_month, None)
    assert (found.deployments, found.pools, found.margins, found.rollout) == ((), (), (), ())
    assert (found.new_conflicts, found.gone_conflicts) == (bad.conflicts, ())
    assert {row.crossed for row in found.guardrails} == {"unknown"}
    back = pipeline.diff(bad, plan)
    assert (back.new_conflicts, back.gone_conflicts) == ((), bad.conflicts)
    assert {row.name: row.crossed for row in back.guardrails} == {"ceiling": "no", "step": "unknown"}
    assert pipeline.diff(bad, bad).equal


def test_a_cheaper_plan_that_ate_the_margin_says_so(plan: Plan) -> None:
    """Tests that a note names the promise that lost room, and that a dearer plan has no such note."""
    path = "traffic.chat.slo.tpot_p95"
    tight = tuple(
        replace(row, used=row.limit * Fraction(99, 100), slack_ppm=10_000) if row.path == path else row
        for row in plan.limits
    )
    cheap = pipeline.diff(plan, replace(with_cost(plan, "40000.00"), limits=tight))
    assert any("less room" in note and path in note for note in cheap.notes)
    assert cheap.margins[0].path == path
    assert (cheap.margins[0].what, cheap.margins[0].worse, cheap.margins[0].head_slack_ppm) == ("slo", True, 10_000)
    assert not pipeline.diff(plan, replace(with_cost(plan, "60000.00"), limits=tight)).notes


def test_quality_and_free_gpus_are_margins(plan: Plan) -> None:
    """Tests the worst loss on a class's way against its floor, and busy GPUs against those bought."""
    name, deployment = next(
        (name, each) for name, each in plan.deployments.items() if any(r.class_name == "chat" for r in each.routing)
    )
    lossy = replace(deployment, routing=tuple(replace(route, loss_ppm=20_000) for route in deployment.routing))
    found = pipeline.diff(plan, replace(plan, hash="x", deployments={**plan.deployments, name: lossy}))
    rows = {row.path: row for row in found.margins}
    quality = rows["traffic.chat.quality.max_accuracy_drop"]
    assert (quality.base_used, quality.head_used, quality.head_limit, quality.unit) == (0, 2, 3, "%")
    assert (quality.base_slack_ppm, quality.head_slack_ppm, quality.worse) == (1_000_000, 333_333, True)
    assert (rows["gpus.busy"].head_used, rows["gpus.busy"].head_limit) == (plan.totals.gpus_busy, plan.totals.gpus)
    assert rows["models.assistant.load"].what == "spare"


def guarded(plan: Plan, *guardrails: Guardrail) -> Plan:
    """The plan of a scenario with these guardrails."""
    return replace(plan, scenario=replace(plan.scenario, guardrails={g.name: g for g in guardrails}))


STEP = Guardrail("step", "change_above", 100_000, "ask finance")
CEILING = Guardrail("ceiling", "budget_above", 900_000, "")
CAP = Guardrail("cap", "cost_above", 60_000_000_000, "")


@pytest.mark.parametrize(
    ("guardrail", "before", "after", "crossed"),
    [
        (STEP, "100.00", "110.00", "no"),  # exactly the threshold is not above it
        (STEP, "100.00", "110.01", "by_this_change"),
        (STEP, "100.00", "89.99", "by_this_change"),  # in either direction
        (STEP, "0.00", "1.00", "by_this_change"),
        (STEP, "0.00", "0.00", "no"),
        (CEILING, "67500.00", "67500.01", "by_this_change"),  # 90 % of 75,000
        (CEILING, "67400.00", "67500.00", "no"),
        (CEILING, "68000.00", "69000.00", "already"),
        (CEILING, "68000.00", "60000.00", "no"),
        (CAP, "60000.00", "60000.01", "by_this_change"),
        (CAP, "60000.01", "61000.00", "already"),
        (CAP, "70000.00", "60000.00", "no"),
    ],
)
def test_guardrails(guardrail: Guardrail, before: str, after: str, crossed: str, plan: Plan) -> None:
    """Tests the three kinds at, above and below their thresholds, and what was exceeded before."""
    base, head = (guarded(with_cost(plan, cost), guardrail) for cost in (before, after))
    found = pipeline.diff(base, head)
    if found.equal:
        assert crossed in ("no", "already")
        return
    assert [(row.name, row.side, row.crossed) for row in found.guardrails] == [(guardrail.name, "head", crossed)]
    assert found.budget.crossed == (("ceiling",) if (guardrail, crossed) == (CEILING, "by_this_change") else ())


def test_a_guardrail_cannot_be_removed_by_what_it_guards(plan: Plan) -> None:
    """Tests that a head that drops, loosens or re-bases a guardrail is judged by the base's too."""
    base = guarded(with_cost(plan, "50000.00"), STEP, CEILING)
    dear = with_cost(plan, "70000.00")
    for head in (
        guarded(dear),
        guarded(dear, replace(STEP, value=900_000), replace(CEILING, value=990_000)),
    ):
        rows = {(row.name, row.side): row.crossed for row in pipeline.diff(base, head).guardrails}
        assert rows[("step", "base")] == rows[("ceiling", "base")] == "by_this_change"
    raised = guarded(dear, STEP, CEILING)
    raised = replace(
        raised, scenario=replace(raised.scenario, budget=replace(raised.scenario.budget, monthly_micro=10**12))
    )
    rows = {(row.name, row.side): row.crossed for row in pipeline.diff(base, raised).guardrails}
    assert (rows[("ceiling", "head")], rows[("ceiling", "base")]) == ("no", "by_this_change")
    tightened = {row.side for row in pipeline.diff(base, guarded(dear, replace(STEP, value=1), CEILING)).guardrails}
    assert tightened == {"head"}


def test_deployments_are_matched_by_what_they_run(plan: Plan) -> None:
    """Tests that a renumbered deployment is the same, and that only what truly changed is listed."""
    deployments = dict(plan.deployments)
    names = [name for name in deployments if name.startswith("assistant-")]
    swapped = {**deployments, names[0]: deployments[names[1]], names[1]: deployments[names[0]]}
    found = pipeline.diff(plan, replace(plan, hash="x", deployments=swapped))
    assert {change.kind for change in found.deployments} == {"same"}
    del swapped[names[0]]
    found = pipeline.diff(plan, replace(plan, hash="y", deployments=swapped))
    assert sorted(change.kind for change in found.deployments) == ["removed", *["same"] * (len(deployments) - 1)]


def test_documents_are_read_back(plan: Plan) -> None:
    """Tests that a document is what its JSON says, and valid against the schema."""
    document = pipeline.diff(plan, with_cost(plan, "40000.00"))
    tree = json.loads(diff_io.diff_json(document))
    assert diff_io.parse_diff(tree, "diff.json") == document
    jsonschema.Draft202012Validator(diff_io.diff_schema()).validate(tree)
    assert diff_io.is_diff(tree)
    assert not diff_io.is_diff(io.to_tree(plan))


def test_a_later_minor_version_is_read_and_another_major_refused(plan: Plan) -> None:
    """Tests unknown keys in 1.x, and 2.0."""
    tree = json.loads(diff_io.diff_json(pipeline.diff(plan, plan)))
    later = {**tree, "format_version": "1.7", "weather": "fine"}
    assert isinstance(diff_io.parse_diff(later, "diff.json"), Diff)
    with pytest.raises(InputError, match="KV804"):
        diff_io.parse_diff({**tree, "format_version": "2.0"}, "diff.json")
    with pytest.raises(InputError, match="KV805"):
        diff_io.parse_diff({**tree, "currency": None}, "diff.json")


def test_the_schema_file_is_fresh() -> None:
    """Tests that the schema is the one of the records: `python -m planner.plan.diff_io` renews it."""
    assert diff_io.SCHEMA_FILE.read_text(encoding="utf-8") == diff_io.diff_schema_text()


@pytest.mark.parametrize("name", ["traffic", "cheaper", "infeasible", "same"])
def test_fixtures_of_the_pages_are_diffs(name: str) -> None:
    """Tests that the documents that the pages' tests show are documents of this version."""
    path = Path(__file__).parents[1] / "report/data" / f"diff-{name}.json"
    assert isinstance(diff_io.parse_diff(json.loads(path.read_text(encoding="utf-8")), str(path)), Diff)


def large(plan: Plan, count: int, replicas: int) -> Plan:
    """A plan of many deployments of one model, as many as an organization has."""
    pattern: Deployment = next(iter(plan.deployments.values()))
    pool: PoolPlan = plan.pools["h100-reserved"]
    nodes = count * replicas
    deployments = {
        f"assistant-{k}": replace(
            pattern, max_batch=8 + k, replicas=replicas, gpus=4 * replicas, pools={"h100-reserved": replicas}
        )
        for k in range(count)
    }
    limits = tuple(
        LimitRow(f"limits.quota-{k}", Fraction(replicas), Fraction(100), "", 10_000, False) for k in range(count)
    )
    pools = {**plan.pools, "h100-reserved": replace(pool, nodes=nodes, nodes_offered=2 * nodes)}
    return replace(plan, hash=str(replicas), deployments=deployments, limits=limits, pools=pools)


def test_three_hundred_deployments_are_compared_at_once(plan: Plan) -> None:
    """Tests that a large diff takes no more than a few seconds, most of it linear."""
    start = time.perf_counter()
    found = pipeline.diff(large(plan, 300, 6), large(plan, 300, 7))
    assert time.perf_counter() - start < 5
    assert len(found.deployments) == 300
    assert {change.kind for change in found.deployments} == {"changed"}
