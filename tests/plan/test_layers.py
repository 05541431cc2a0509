"""Layers as runs: the document is short, and reading it gives back the same records."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog import load_model
from planner.errors import InputError
from planner.plan.check import check_tree
from planner.plan.layers import MOST_LAYERS, with_runs, without_runs

Tree = dict[str, object]
MakeTree = Callable[[str], Tree]

LAYERS = st.lists(st.sampled_from([None, "dense", "moe", {"kv_heads": 8}, {"kind": "gdn"}]), max_size=60)


def tree_of(kv: object, ffn: object) -> Tree:
    """As much of a plan document as these functions look at."""
    facts = {"id": "m", "kv_layers": kv, "ffn_layers": ffn, "draft_layers": []}
    return {"scenario": {"models": {"m": {"facts": facts, "low_facts": None}, "table": {"facts": None}}}, "hash": ""}


@settings(max_examples=60, deadline=None)
@given(kv=LAYERS, ffn=LAYERS)
def test_runs_and_back(kv: list[object], ffn: list[object]) -> None:
    """Any list of layers survives; no two neighboring runs are equal, and counts add up."""
    tree = with_runs(json.loads(json.dumps(tree_of(kv, ffn))))
    before = json.dumps(tree)
    runs = tree["scenario"]["models"]["m"]["facts"]["kv_layers"]
    assert sum(run["count"] for run in runs) == len(kv)
    assert all(one["layer"] != two["layer"] for one, two in pairwise(runs))
    assert without_runs(tree) == tree_of(kv, ffn)
    assert json.dumps(tree) == before


def test_llama_is_one_run(plan_tree: MakeTree) -> None:
    """The 80 layers of Llama-3.3-70B stand as one run of 8 heads of 128, and the plan file stays small."""
    tree = plan_tree("prod")
    facts = tree["scenario"]["models"]["assistant"]["facts"]  # type: ignore[index]
    (run,) = facts["kv_layers"]
    assert (run["count"], run["layer"]["kv_heads"], run["layer"]["key_dim"]) == (80, 8, 128)
    assert facts["ffn_layers"] == [{"count": 80, "layer": "dense"}]
    assert len(json.dumps(facts)) < 2_000


def test_a_hybrid_takes_few_lines() -> None:
    """Gemma-3-27B has 10 full layers of 62, one after each five windows: 21 runs."""
    facts = load_model("gemma-3-27b", Path())
    assert not isinstance(facts, str)
    layers = [str(layer) for layer in facts.kv_layers]
    tree = with_runs(tree_of(layers, []))
    runs = tree["scenario"]["models"]["m"]["facts"]["kv_layers"]  # type: ignore[index]
    assert [run["count"] for run in runs] == [5, 1] * 10 + [2]


HOSTILE: dict[str, object] = {
    "no run": [3],
    "a list": [[1, None]],
    "a count of text": [{"count": "80", "layer": None}],
    "a flag as a count": [{"count": True, "layer": None}],
    "no layer": [{"count": 80}],
    "a negative count": [{"count": -1, "layer": None}],
    "no layers": [{"count": 0, "layer": None}],
    "more layers than memory": [{"count": 10**12, "layer": None}],
    "many runs": [{"count": MOST_LAYERS, "layer": None}, {"count": 1, "layer": None}],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_runs_are_refused(case: str, plan_tree: MakeTree) -> None:
    """What is no run, or would fill memory, is refused by name."""
    tree = plan_tree("first-plan")
    tree["scenario"]["models"]["helpdesk"]["facts"]["kv_layers"] = HOSTILE[case]  # type: ignore[index]
    with pytest.raises(InputError, match="kv_layers"):
        check_tree(tree, "plan.json")


@pytest.mark.parametrize(
    "odd", [None, 3, "x", [], {"models": 3}, {"models": {"m": 3}}, {"models": {"m": {"facts": 3}}}]
)
def test_odd_documents_pass_through(odd: object) -> None:
    """What has no layers to look at is left to the reader of the document."""
    assert without_runs({"scenario": odd}) == {"scenario": odd}
