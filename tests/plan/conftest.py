"""Plans of the shipped scenarios as JSON trees, and ways to change one value in them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from planner import pipeline
from planner.candidates import CandidateTable
from planner.plan import check as check_room
from planner.plan.io import to_tree
from planner.scenario.types import Scenario

REPOSITORY = Path(__file__).parents[2]
SCENARIOS = {
    "prod": "scenarios/prod.yaml",
    "first-plan": "examples/01-first-plan/scenario.yaml",
    "mixed-gpus": "examples/02-mixed-gpus/scenario.yaml",
}
NAMED = ("deployments", "pools", "models", "traffic", "inventory", "limits", "guardrails", "places", "seconds")
"""Maps whose keys are names."""

FRACTIONS = ("share", "requests_per_s", "rejected", "cut_short", "used", "limit", "max_concurrency", "max")
FRACTIONS_IN_SCENARIO = ("horizon_h", "peak_rps", "mean_rps")

Tree = dict[str, object]
Steps = tuple[str | int, ...]


@pytest.fixture(scope="session")
def plan_tree() -> Callable[[str], Tree]:
    """The plan of a shipped scenario as the JSON that stands in its file, made once; every caller gets a copy."""
    made: dict[str, Tree] = {}

    def tree(name: str) -> Tree:
        if name not in made:
            plan = pipeline.plan(pipeline.load(REPOSITORY / SCENARIOS[name]))
            made[name] = json.loads(json.dumps(to_tree(plan)))
        return copy.deepcopy(made[name])

    return tree


@pytest.fixture
def remembered_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the candidate table while the embedded scenario is the same: changes elsewhere need no new one."""
    kept: list[tuple[Scenario, CandidateTable]] = []
    real = check_room.build_table

    def build(scenario: Scenario) -> CandidateTable:
        for known, table in kept:
            if known == scenario:
                return table
        table = real(scenario)
        if not kept:
            kept.append((scenario, table))
        return table

    monkeypatch.setattr(check_room, "build_table", build)


def leaves(value: object, steps: Steps = ()) -> Iterator[tuple[Steps, object]]:
    """Every number, text, flag and null of a JSON tree with its path."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, (*steps, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from leaves(each, (*steps, index))
    else:
        yield steps, value


def pattern(steps: Steps) -> str:
    """The path with names and positions replaced by `*`: one for every kind of value."""
    words = []
    for position, step in enumerate(steps):
        above = steps[position - 1] if position else ""
        is_name = above in NAMED and not (above == "models" and len(words) > 2)
        words.append("*" if isinstance(step, int) or is_name else str(step))
    return ".".join(words)


def changed(tree: Tree, steps: Steps, value: object) -> Tree:
    """The tree with one value replaced; only the containers on its path are copied."""
    top = copy.copy(tree)
    at: dict[str | int, object] = top  # type: ignore[assignment]
    for step in steps[:-1]:
        at[step] = copy.copy(at[step])
        at = at[step]  # type: ignore[assignment]
    at[steps[-1]] = value
    return top


def other(steps: Steps, value: object) -> object:
    """Another value of the same type: a tenth more, the other flag, a longer text."""
    if value is None:
        return 7
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + max(1, abs(value) // 10)
    if isinstance(value, float):
        return value * 1.01 + 0.001
    assert isinstance(value, str)
    names = [step for step in steps if isinstance(step, str)]
    if names[-1] in (*FRACTIONS, *FRACTIONS_IN_SCENARIO) or (
        names[-1] in ("per_node", "capacity") and value[0].isdigit()
    ):
        return str(Fraction(value) * Fraction(8, 7) + Fraction(1, 7))
    return value + "x"
