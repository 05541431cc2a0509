"""Tests the differences of scenario trees, and which of them make sense alone."""

from __future__ import annotations

import pytest

from planner.scenario.source import Findings, MapNode, parse_text
from planner.scenario.written import flow
from planner.sweep.edits import TreeEdit, applied, by_block, differences, grouped

BASE = """\
kvplan: 1
name: a
traffic:
  chat: {peak: 3 req/s, slo: {tpot_p95: 45ms}}
  old: {peak: 1 req/s}
models:
  m: {weights: [fp8, bf16]}
what_if:
  more: {traffic.chat.peak: 9 req/s}
"""
HEAD = """\
kvplan: 1
name: a
models:
  m: {weights: [bf16]}
  n: {weights: bf16}
traffic:
  chat: {peak: 4 req/s, slo: {tpot_p95: 45ms}}
reserve: {spare: {nodes: 1}}
limits:
  quota: {max: 3}
  racks: {max: 2}
what_if:
  less: {traffic.chat.peak: 1 req/s}
"""


def tree(text: str, name: str = "x.yaml") -> MapNode:
    """The tree of a YAML text."""
    node = parse_text(text, name, Findings())
    assert isinstance(node, MapNode)
    return node


def edits_of(base: str, head: str) -> tuple[TreeEdit, ...]:
    """The differences of two texts."""
    return differences(tree(base, "base.yaml"), tree(head, "head.yaml"), lambda a, b, key: True)


def test_differences_are_leaves_and_whole_entries() -> None:
    """Tests leaves that changed, entries that came and went, and that order and what_if blocks do not count."""
    found = {edit.dotted: (*edit.texts, str(edit.place)) for edit in edits_of(BASE, HEAD)}
    assert found == {
        "traffic.chat.peak": ("3 req/s", "4 req/s", "head.yaml:7"),
        "traffic.old": ("{peak: 1 req/s}", None, "base.yaml:5"),
        "models.m.weights": ("[fp8, bf16]", "[bf16]", "head.yaml:4"),
        "models.n": (None, "{weights: bf16}", "head.yaml:5"),
        "reserve": (None, "{spare: {nodes: 1}}", "head.yaml:8"),
        "limits.quota": (None, "{max: 3}", "head.yaml:10"),
        "limits.racks": (None, "{max: 2}", "head.yaml:11"),
    }


def test_equal_trees_have_no_differences() -> None:
    """Tests that a file has no differences from itself, or from itself in another order."""
    assert edits_of(BASE, BASE) == ()
    assert edits_of("a: 1\nb: {c: 2, d: 3}\n", "b: {d: 3, c: 2}\na: 1\n") == ()


def test_all_differences_applied_make_the_head() -> None:
    """Tests that applying every difference leaves none, in both directions."""
    for old, new in ((BASE, HEAD), (HEAD, BASE)):
        made = applied(tree(old), edits_of(old, new))
        assert differences(made, tree(new), lambda a, b, key: True) == ()


def test_a_map_goes_with_its_last_key() -> None:
    """Tests that removing the only key of a map does not leave an empty map, which the language refuses."""
    base = tree("a: {b: {c: 1}}\nd: 2\n")
    assert flow(applied(base, differences(base, tree("a: {}\nd: 2\n"), lambda a, b, key: True))) == "{d: 2}"


def test_a_file_that_changed_behind_its_name_is_an_edit() -> None:
    """Tests that a capacity table of the same name with other contents is found, and said to be one."""
    text = "models: {m: {capacity_table: m.csv}}\n"
    found = differences(tree(text), tree(text), lambda a, b, key: False)
    assert [(edit.dotted, edit.texts) for edit in found] == [
        ("models.m.capacity_table", ("m.csv", "m.csv (the file changed)"))
    ]


def test_blocks_when_there_are_many() -> None:
    """Tests that edits are tried one by one up to a number, then by entry, then by top-level key."""
    head = "traffic:\n" + "".join(f"  c{k}: {{a: new, b: new}}\n" for k in range(10))
    edits = edits_of(head.replace("new", "old"), head)
    assert [len(by_block(edits, most)) for most in (20, 19, 10, 9)] == [20, 10, 10, 1]


def numbered(count: int) -> tuple[tuple[TreeEdit, ...], ...]:
    """So many units of one edit."""
    base, head = ("".join(f"k{i}: {v}\n" for i in range(count)) for v in (1, 2))
    return tuple((edit,) for edit in edits_of(base, head))


@pytest.mark.parametrize(
    ("rules", "groups"),
    [
        ({}, [["k0"], ["k1"], ["k2"], ["k3"], ["k4"]]),
        ({"k1": {"k3"}}, [["k0"], ["k1", "k3"], ["k2"], ["k4"]]),
        ({"k1": {"k3"}, "k3": {"k1"}, "k0": {"k4"}}, [["k0", "k4"], ["k1", "k3"], ["k2"]]),
        ({"k0": {"k1"}, "k1": {"k2"}, "k2": {"k3"}, "k3": {"k4"}}, [["k0", "k1", "k2", "k3", "k4"]]),
    ],
)
def test_edits_that_need_others_are_tried_with_them(rules: dict[str, set[str]], groups: list[list[str]]) -> None:
    """Tests that each unit is merged with exactly those that it needs, and no others."""

    def is_valid(edits: tuple[TreeEdit, ...]) -> bool:
        names = {edit.dotted for edit in edits}
        return all(rules.get(name, set()) <= names for name in names)

    found = grouped(numbered(5), is_valid)
    assert sorted(sorted(edit.dotted for edit in unit) for unit in found) == groups


def test_few_trials_when_few_edits_need_each_other() -> None:
    """Tests that finding one partner among 64 takes no more than one trial with each other unit."""
    tried = 0

    def is_valid(edits: tuple[TreeEdit, ...]) -> bool:
        nonlocal tried
        tried += 1
        names = {edit.dotted for edit in edits}
        return "k9" not in names or "k50" in names

    assert len(grouped(numbered(64), is_valid)) == 63
    assert tried <= 3 * 64
