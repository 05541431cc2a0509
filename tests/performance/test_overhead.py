"""The engine's own time a step."""

import numpy as np

from planner.performance.overhead import NO_OVERHEAD, EngineOverhead, engine_overhead


def test_overhead_is_a_constant_and_a_term_a_sequence() -> None:
    """1 ms a step and 10 us a sequence, for numbers and arrays."""
    overhead = EngineOverhead(1e-3, 1e-5, 1, 0.0, 0.0)
    assert np.allclose(overhead.seconds(np.array([0.0, 100.0])), [1e-3, 2e-3])


def test_fitted_constants_help_and_are_small() -> None:
    """No engine spends more than 5 ms a step or 0.1 ms a sequence, and the fit never made its rows worse."""
    for name in ("vllm", "sglang", "tensorrt-llm"):
        overhead = engine_overhead(name)
        assert 0 <= overhead.per_step_s < 5e-3
        assert 0 <= overhead.per_sequence_s < 1e-4
        assert overhead.n > 50
        assert overhead.mape_after <= overhead.mape_before


def test_an_engine_without_rows_has_none() -> None:
    """Nothing is guessed for it."""
    assert engine_overhead("llamafile") is NO_OVERHEAD
