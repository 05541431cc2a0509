"""The exact simplex method."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.solver.simplex import Tableau


def slack_form(rows: list[list[int]], right: list[int]) -> Tableau:
    """rows x <= right with slacks as the first basis."""
    count = len(rows)
    lines = [
        [*row, *(int(i == j) for j in range(count)), value]
        for i, (row, value) in enumerate(zip(rows, right, strict=True))
    ]
    return Tableau(lines, [len(rows[0]) + i for i in range(count)])


def test_a_textbook_program() -> None:
    """Tests max 3x + 5y, x <= 4, 2y <= 12, 3x + 2y <= 18: 36 at (2, 6) (Hillier and Lieberman, Wyndor Glass)."""
    tableau = slack_form([[1, 0], [0, 2], [3, 2]], [4, 12, 18])
    line = tableau.minimize({0: -3, 1: -5})
    assert (tableau.value(0), tableau.value(1)) == (2, 6)
    assert Fraction(line[-1], tableau.den) == 36
    # The shadow prices of the three plants are 0, 3/2 and 1.
    assert [Fraction(line[2 + i], tableau.den) for i in range(3)] == [0, Fraction(3, 2), 1]


def test_cycling_is_broken() -> None:
    """Tests Beale's example, on which the largest-coefficient rule cycles: the optimum is -5/4 (here times 4)."""
    # min -3/4 a + 20 b - 1/2 c + 6 d; 1/4 a - 8 b - c + 9 d <= 0; 1/2 a - 12 b - 1/2 c + 3 d <= 0; c <= 1
    tableau = slack_form([[1, -32, -4, 36], [1, -24, -1, 6], [0, 0, 1, 0]], [0, 0, 1])
    line = tableau.minimize({0: -3, 1: 80, 2: -2, 3: 24})
    assert Fraction(line[-1], tableau.den) == 5


def test_an_unbounded_program_is_refused() -> None:
    """Tests that a program without a least value raises instead of looping."""
    with pytest.raises(ArithmeticError, match="unbounded"):
        slack_form([[-1, 1]], [1]).minimize({0: -1})


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_it_agrees_with_scipy(data: st.DataObject) -> None:
    """Tests the least value of random bounded programs against scipy's linprog."""
    from scipy.optimize import linprog

    columns, count = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    entry = st.integers(0, 6)
    rows = [[data.draw(entry) for _ in range(columns)] for _ in range(count)]
    rows += [[int(i == j) for j in range(columns)] for i in range(columns)]
    right = [data.draw(st.integers(0, 9)) for _ in rows]
    costs = [data.draw(st.integers(-5, 5)) for _ in range(columns)]
    tableau = slack_form(rows, right)
    line = tableau.minimize(dict(enumerate(costs)))
    answer = linprog(costs, A_ub=rows, b_ub=right)
    assert float(-Fraction(line[-1], tableau.den)) == pytest.approx(answer.fun, abs=1e-9)
    for row, value in zip(rows, right, strict=True):
        assert sum(a * tableau.value(j) for j, a in enumerate(row)) <= value
