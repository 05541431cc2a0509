"""Adjustments and bounded architectures in plans: stated, derived again, and found when a hand changes them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from planner import pipeline
from planner.errors import InputError
from planner.plan.check import check_tree
from planner.plan.io import parse, to_tree
from planner.plan.rows import broken_rows
from planner.plan.types import BoundPlan
from planner.report.text import plan_text

SCENARIO = Path(__file__).parents[1] / "data/scenarios/bounded.yaml"
LONG = (
    "models.assistant.ref=../models/not-understood-hybrid/config.json",
    "models.assistant.context_limit=32Ki",
    "traffic.chat.input_tokens={p50: 8_000, p95: 16_000, max: 24_000}",
    "traffic.chat.slo={ttft_p95: 60s, tpot_p95: 200ms}",
    "inventory.l40s.gpus_per_node=1",
    "inventory.l40s.available=20 nodes",
)
"""A hybrid of which three layers of four may keep nothing, on prompts that fill the KV pool."""

Tree = dict[str, object]


@pytest.fixture(scope="module")
def made() -> Callable[[tuple[str, ...]], Tree]:
    """Plans of the bounded scenario as JSON, made once; every caller gets a copy."""
    known: dict[tuple[str, ...], Tree] = {}

    def tree(sets: tuple[str, ...] = ()) -> Tree:
        if sets not in known:
            known[sets] = json.loads(json.dumps(to_tree(pipeline.plan(pipeline.load(SCENARIO, sets)))))
        return copy.deepcopy(known[sets])

    return tree


def rows(tree: Tree) -> list[str]:
    """What the check finds without the hash."""
    try:
        return [finding.row for finding in check_tree(tree, "plan.json", use_hash=False)[1]]
    except InputError as error:
        return [diagnostic.message for diagnostic in error.diagnostics]


def test_a_plan_states_its_assumptions(made: Callable[..., Tree]) -> None:
    """Each adjustment with its scenario line, its size and its source; KV has that much less."""
    tree = made()
    assert [(row["path"], row["source"]) for row in tree["assumptions"]] == [  # type: ignore[attr-defined]
        ("models.assistant.adjust.memory", "bench 2026-11"),
        ("models.assistant.adjust.decode_time", "bench 2026-11"),
    ]
    memory = tree["deployments"]["assistant"]["memory"]  # type: ignore[index]
    assert memory["extra_bytes"] == 1_610_612_736
    parts = ("weights", "activation", "non_torch", "cuda_graph", "extra", "available_kv")
    in_budget = sum(memory[f"{part}_bytes"] for part in parts)
    assert memory["budget_bytes"] in (in_budget, in_budget - memory["cuda_graph_bytes"])
    assert "1.50 GiB less for KV" in tree["assumptions"][0]["text"]  # type: ignore[index]
    assert "5% longer" in tree["assumptions"][1]["text"]  # type: ignore[index]


def test_the_page_shows_assumptions_rules_and_bounds() -> None:
    """What the user corrected, whose rules answered, and what is only bounded stands on the page."""
    text = plan_text(pipeline.plan(pipeline.load(SCENARIO)), 200, verbose=True)
    assert "models.assistant.adjust.decode_time: decode steps take 5% longer than predicted (bench 2026-11)" in text
    assert "assistant: rules of vllm@0.19 (no newer rule set for 0.20.1)" in text
    assert (
        "novelformer is not understood, planned at the most KV that it may keep; at the least the plan is the" in text
    )
    assert "adjusted" in text and "1.50 GiB" in text


def test_a_bound_that_changes_nothing(made: Callable[..., Tree]) -> None:
    """Windows help nothing at 8Ki and one GPU: both ends cost the same, and the plan says so."""
    tree = made()
    assert tree["bounds"] == {
        "assistant": {
            "low_cost_per_month": tree["totals"]["cost_per_month"],  # type: ignore[index]
            "high_cost_per_month": tree["totals"]["cost_per_month"],  # type: ignore[index]
            "changes_plan": False,
            "proved": True,
        }
    }
    assert rows(tree) == []


def test_a_bound_that_changes_the_plan(made: Callable[..., Tree]) -> None:
    """Where KV binds, four times the pool needs fewer nodes; the plan at the lower end is what a plain one costs."""
    tree = made(LONG)
    bound = tree["bounds"]["assistant"]  # type: ignore[index]
    assert bound["changes_plan"] and bound["proved"]
    assert float(bound["low_cost_per_month"]) < float(bound["high_cost_per_month"])
    assert bound["high_cost_per_month"] == tree["totals"]["cost_per_month"]  # type: ignore[index]
    warned = [line for line in tree["warnings"] if "novelhybrid is not understood" in line]  # type: ignore[attr-defined]
    assert f"${float(bound['low_cost_per_month']):,.2f} a month" in warned[0]
    assert f"${float(bound['high_cost_per_month']):,.2f} a month" in warned[0]
    assert rows(tree) == []


def test_without_a_plan_at_the_upper_end_the_lower_one_is_named(made: Callable[..., Tree]) -> None:
    """A stock that suffices at the lower end alone: infeasible, and the plan says that the interval decides it."""
    at_lower_end = float(made(LONG)["bounds"]["assistant"]["low_cost_per_month"])  # type: ignore[index]
    nodes = round(at_lower_end / (0.92 * 730))
    tree = made((*LONG[:-1], f"inventory.l40s.available={nodes} nodes"))
    assert tree["status"] == "infeasible"
    bound = tree["bounds"]["assistant"]  # type: ignore[index]
    assert (bound["high_cost_per_month"], bound["changes_plan"]) == (None, True)
    assert float(bound["low_cost_per_month"]) == pytest.approx(at_lower_end)
    assert any("no plan" in line for line in tree["warnings"])  # type: ignore[attr-defined]
    assert rows(tree) == []


CHANGES: dict[tuple[str | int, ...], object] = {
    ("assumptions", 0, "text"): "0 GiB",
    ("assumptions", 0, "path"): "models.other.adjust.memory",
    ("assumptions", 1, "source"): "nobody",
    ("assumptions",): [],
    ("bounds",): {},
    ("bounds", "assistant", "high_cost_per_month"): "1.00",
    ("bounds", "assistant", "low_cost_per_month"): "99999999.00",
    ("bounds", "assistant", "low_cost_per_month", ""): None,
    ("scenario", "models", "assistant", "adjust", "memory_bytes_per_gpu"): 1_610_612_737,
    ("scenario", "models", "assistant", "adjust", "decode_time_ppm"): 50_001,
    ("scenario", "models", "assistant", "adjust", "source"): "bench 2026-12",
    ("scenario", "models", "assistant", "adjust"): None,
    ("scenario", "models", "assistant", "memory_at"): "low",
    ("scenario", "models", "assistant", "low_facts"): None,
    ("scenario", "models", "assistant", "low_facts", "hidden_size"): 4_095,
    ("scenario", "models", "assistant", "low_facts", "bound"): "high",
    ("scenario", "models", "assistant", "facts", "bound"): "",
    ("scenario", "models", "assistant", "facts", "kv_layers", 0, "count"): 31,
    ("scenario", "models", "assistant", "facts", "kv_layers", 0, "layer", "kv_heads"): 4,
    ("scenario", "models", "assistant", "parallel", 0, "pp"): 2,
    ("scenario", "models", "assistant", "parallel", 0, "dcp"): 3,
    ("scenario", "models", "assistant", "parallel", 0, "ep"): True,
    ("scenario", "models", "assistant", "parallel", 0, "dp"): 4_097,
    ("scenario", "models", "assistant", "engine", "version"): "0.24",
    ("scenario", "models", "assistant", "engine", "requested"): "vllm@0.24",
    ("deployments", "assistant", "parallel"): "tp1-dp1-ep",
    ("deployments", "assistant", "memory", "printed_tokens"): 1,
    ("deployments", "assistant", "memory", "extra_bytes"): 0,
    ("deployments", "assistant", "memory", "stage"): 1,
    ("deployments", "assistant", "memory", "state_bytes_per_sequence"): 4_096,
}


@pytest.mark.parametrize("steps", CHANGES, ids=lambda steps: ".".join(map(str, steps)))
def test_a_changed_value_is_found(steps: tuple[str | int, ...], made: Callable[..., Tree]) -> None:
    """Every value that adjustments, bounds, shapes and runs of layers brought is derived again."""
    tree = made(LONG)
    steps_taken = tuple(step for step in steps if step != "")
    at: object = tree
    for step in steps_taken[:-1]:
        at = at[step]  # type: ignore[index]
    assert at[steps_taken[-1]] != CHANGES[steps]  # type: ignore[index]
    at[steps_taken[-1]] = CHANGES[steps]  # type: ignore[index]
    assert rows(tree), steps


BAD_BOUNDS: dict[str, tuple[dict[str, BoundPlan], str]] = {
    "missing": ({}, "bounds.assistant"),
    "of a model that is not bounded": (
        {"assistant": BoundPlan("1.00", "2.00", True, True), "other": BoundPlan("1.00", "2.00", True, True)},
        "bounds.other",
    ),
    "another cost": ({"assistant": BoundPlan("1.00", "2.00", True, True)}, "bounds.assistant.high_cost_per_month"),
    "less KV costs more": (
        {"assistant": BoundPlan("9000000.00", "", True, True)},
        "bounds.assistant.low_cost_per_month",
    ),
    "no money": ({"assistant": BoundPlan("1/0", "", True, True)}, "bounds.assistant.low_cost_per_month"),
    "no plan with less KV": ({"assistant": BoundPlan(None, "", True, True)}, "bounds.assistant.low_cost_per_month"),
    "another cost without a change": (
        {"assistant": BoundPlan("1.00", "", False, True)},
        "bounds.assistant.changes_plan",
    ),
}
"""Bounds that no pair of plans has; an empty upper cost stands for the one of the plan."""


@pytest.mark.parametrize("case", BAD_BOUNDS)
def test_rows_of_bounds(case: str, made: Callable[..., Tree]) -> None:
    """The rows find what the comparison with a derived document would find by its sentences alone."""
    plan = parse(made(LONG), "plan.json")
    assert plan.totals is not None and broken_rows(plan) == []
    bounds, row = BAD_BOUNDS[case]
    cost = plan.totals.cost_per_month
    filled = {name: replace(b, high_cost_per_month=b.high_cost_per_month or cost) for name, b in bounds.items()}
    assert row in [found for found, _, _ in broken_rows(replace(plan, bounds=filled))]


def test_nothing_is_proved_of_a_plan_that_is_not(made: Callable[..., Tree]) -> None:
    """A plan that the clock cut short proves no bound."""
    plan = parse(made(LONG), "plan.json")
    found = broken_rows(replace(plan, status="feasible"))
    assert "bounds.assistant.proved" in [row for row, _, _ in found]


@pytest.mark.parametrize("key", ["changes_plan", "proved"])
def test_what_only_a_solver_could_tell_is_in_the_hash(key: str, made: Callable[..., Tree]) -> None:
    """Whether another plan stands at the lower end needs a solver: the hash keeps it."""
    tree = made()
    tree["bounds"]["assistant"][key] = not tree["bounds"]["assistant"][key]  # type: ignore[index]
    assert [finding.row for finding in check_tree(tree, "plan.json")[1]][-1] == "hash"


def test_more_adjusted_never_costs_less() -> None:
    """Costs do not fall as memory is taken away or decode steps grow."""
    costs = []
    for memory, slower in (("1GiB", "1%"), ("12GiB", "1%"), ("12GiB", "60%"), ("18GiB", "60%")):
        adjust = f"models.assistant.adjust={{memory: {memory}/gpu, decode_time: {slower}, source: x}}"
        plan = pipeline.plan(pipeline.load(SCENARIO, [*LONG, adjust]))
        costs.append(float(plan.totals.cost_per_month) if plan.totals else float("inf"))
    assert costs == sorted(costs) and costs[0] < costs[-1]
