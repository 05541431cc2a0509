"""Packing replicas into nodes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.solver.packing import counts_suffice, fits, patterns

SIZES = st.lists(st.tuples(st.integers(1, 8), st.integers(0, 6)), max_size=4)


@pytest.mark.parametrize(
    ("sizes", "unit", "nodes", "expected"),
    [
        ([(8, 3)], 8, 3, True),
        ([(8, 3)], 8, 2, False),
        ([(3, 2)], 4, 1, False),  # 6 GPUs in 4
        ([(3, 2), (1, 2)], 4, 2, True),  # 3 + 1 twice
        ([(3, 2), (2, 1)], 4, 2, False),  # 8 GPUs in 8, but 2 does not go next to 3
        ([(5, 1), (3, 1)], 8, 1, True),
        ([(5, 2)], 8, 1, False),
        ([(9, 1)], 8, 4, False),  # a replica never spans nodes
        ([], 8, 0, True),
        ([(4, 0)], 8, 0, True),
        ([(3, 100), (5, 100)], 8, 100, True),
        ([(3, 100), (5, 101)], 8, 100, False),
        ([(3, 400)], 8, 200, True),
        ([(3, 400)], 8, 199, False),
    ],
)
def test_fits(sizes: list[tuple[int, int]], unit: int, nodes: int, *, expected: bool) -> None:
    """Tests cases whose answer can be counted by hand."""
    assert fits(sizes, unit, nodes) is expected


def test_greedy_packing_is_not_enough() -> None:
    """Tests 4, 4, 3, 3, 3, 3: first-fit decreasing takes three nodes of 10 (4+4, 3+3+3, 3), twice 4+3+3 takes two."""
    assert fits([(4, 2), (3, 4)], 10, 2)
    assert not fits([(4, 2), (3, 4), (1, 1)], 10, 2)


@given(SIZES, st.integers(1, 8), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_one_more_node_never_hurts(sizes: list[tuple[int, int]], unit: int, nodes: int) -> None:
    """Tests that what fits into n nodes fits into n + 1, and that its GPUs fit by count."""
    if fits(sizes, unit, nodes):
        assert fits(sizes, unit, nodes + 1)
        assert sum(size * count for size, count in sizes) <= unit * nodes


@given(st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1), st.integers(0, 6))
@settings(max_examples=60, deadline=None)
def test_powers_of_two_are_counted(sizes: list[int], nodes: int) -> None:
    """Tests that counting GPUs is exact for 1, 2, 4 and 8 GPUs in nodes of 8."""
    assert counts_suffice(sizes, 8)
    assert fits([(size, 1) for size in sizes], 8, nodes) == (sum(sizes) <= 8 * nodes)


@given(st.sets(st.integers(1, 8), min_size=1, max_size=3), st.integers(1, 8))
@settings(max_examples=80, deadline=None)
def test_patterns_are_maximal(sizes: set[int], unit: int) -> None:
    """Tests that no replica of any size fits beside a pattern, and that no pattern overfills the node."""
    for pattern in patterns(sizes, unit):
        used = sum(size * count for size, count in zip(sorted(sizes), pattern, strict=True))
        assert used <= unit < used + min(sizes)
