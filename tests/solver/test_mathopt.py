"""HiGHS as a backend: bounds that are re-derived, values that are rounded, and a silent standard output."""

from __future__ import annotations

import os

import pytest

from planner.solver.master import Master
from planner.solver.mathopt import MathOpt, _silent_stdout, _whole_bound


@pytest.mark.parametrize(
    ("dual_bound", "coefficients", "expected"),
    [
        (10.0, (1,), 10),
        (10.2, (1,), 11),
        (10.0000001, (1,), 10),  # within the tolerance: nothing is gained
        (4_670_000.0, (3_670_000, 1_010_000), 4_670_000),  # steps of 10,000
        (4_670_001.0, (3_670_000, 1_010_000), 4_680_000),
        (-0.5, (1,), 0),
        (float("-inf"), (1,), None),
    ],
)
def test_bounds_rise_only_in_whole_steps(
    dual_bound: float, coefficients: tuple[int, ...], expected: int | None
) -> None:
    """Tests the bound that is claimed for a float bound: down by the tolerance, then up to a multiple of the step."""
    assert _whole_bound(dual_bound, tuple(enumerate(coefficients))) == expected


def test_a_knapsack_is_solved_and_proved() -> None:
    """Tests min 3 a + 5 b with 4 a + 7 b >= 18: a = 1, b = 2 costs 13, as much as any other choice or less."""
    master = Master()
    a, b = master.variable("a", 0, 9), master.variable("b", 0, 9)
    master.row("cover", [(a, 4), (b, 7)], lower=18)
    answer = MathOpt(master, seed=0).minimize(((a, 3), (b, 5)), hint=None, time_limit_s=10)
    best = min(3 * x + 5 * y for x in range(10) for y in range(10) if 4 * x + 7 * y >= 18)
    assert (answer.status, answer.bound, best) == ("optimal", 13, 13)
    assert 3 * answer.values[a] + 5 * answer.values[b] == 13


def test_an_error_on_a_start_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that an error of HiGHS while it completes a start leads to a solve without one, and any other to an end."""
    master = Master()
    a = master.variable("a", 0, 9)
    master.row("least", [(a, 1)], lower=4)
    backend = MathOpt(master, seed=0)
    true = backend._mathopt.solve

    def fails_on_starts(*arguments: object, **words: object) -> object:
        if words.get("model_params") is not None:
            raise AttributeError("'StatusNotOk' object has no attribute 'canonical_code'")
        return true(*arguments, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(backend._mathopt, "solve", fails_on_starts)
    assert backend.minimize(((a, 1),), hint={a: 7}, time_limit_s=10).values == (4,)
    monkeypatch.setattr(backend._mathopt, "solve", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        backend.minimize(((a, 1),), hint={a: 7}, time_limit_s=10)


def test_what_c_code_prints_goes_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    """Tests that writes to the descriptor of standard output vanish inside, and only there."""
    os.write(1, b"before ")
    with _silent_stdout():
        os.write(1, b"noise ")
    os.write(1, b"after")
    assert capfd.readouterr().out == "before after"
