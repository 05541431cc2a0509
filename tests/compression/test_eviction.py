"""Token eviction: which tokens stay, and that the others have no weight at all."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

try:
    import torch

    from planner.compression.codecs_checks import attention_weights, sample
    from planner.compression.codecs_data import EvictionRule
    from planner.compression.eviction import attention_bias, importance, keep_mask
except ModuleNotFoundError as missing:
    if missing.name != "torch":
        raise
    pytest.skip("the codecs need torch: pip install 'kvplan[validate]'", allow_module_level=True)


@settings(max_examples=60, deadline=None)
@given(tokens=st.integers(1, 400), percent=st.integers(1, 95), seed=st.integers(0, 99))
def test_kept_tokens_are_counted_and_the_window_stays(tokens: int, percent: int, seed: int) -> None:
    """The number is the formula's; the first token and the last 32 are always among them."""
    rule = EvictionRule(Fraction(percent, 100))
    keep = keep_mask(sample(2, tokens, 64, seed=seed), rule)
    assert int(keep.sum()) == rule.kept_tokens(tokens)
    assert bool(keep[0]) and bool(keep[-32:].all())


def test_best_scored_tokens_stay() -> None:
    """Tokens whose keys look like the last ones are kept before the others."""
    generator = torch.Generator().manual_seed(1)
    key = torch.randn(2, 200, 64, generator=generator) * 0.1
    key[:, -32:, 0] = 4
    wanted = [20, 77, 140]
    key[:, wanted, 0] = 4
    keep = keep_mask(key, EvictionRule(Fraction(98, 100)))
    assert keep.nonzero().flatten().tolist() == [0, *wanted, *range(168, 200)]


def test_importance_is_the_attention_of_the_last_keys() -> None:
    """Each of the last 32 keys spreads weight 1; a loop over heads and queries gives the same."""
    key = sample(2, 50, 64)
    scores = importance(key)
    assert float(scores.sum()) == pytest.approx(32, rel=1e-5)
    slow = torch.zeros(50)
    for head in range(2):
        for query in key[head, -32:]:
            slow += torch.softmax(key[head] @ query / 8, dim=0) / 2
    assert torch.allclose(scores, slow, atol=1e-4)


def test_evicted_tokens_have_weight_zero_and_zeroed_ones_do_not() -> None:
    """Masked attention equals attention over the kept tokens alone; zeroed keys would still draw weight."""
    key, value, query = sample(2, 120, 64), sample(2, 120, 64, seed=1), sample(2, 3, 64, seed=2) / 10
    keep = keep_mask(key, EvictionRule(Fraction(60, 100)))
    weights = attention_weights(query, key, keep)
    assert float(weights[..., ~keep].abs().max()) == 0
    alone = attention_weights(query, key[:, keep], keep[keep]) @ value[:, keep]
    assert torch.allclose(weights @ value, alone, atol=1e-5)
    zeroed = attention_weights(query, key * keep[:, None], torch.ones_like(keep))
    assert float(zeroed[..., ~keep].sum()) > 0.01


def test_equal_scores_keep_the_earlier_tokens() -> None:
    """A constant key scores all tokens alike: the mask is still the same everywhere."""
    keep = keep_mask(torch.ones(1, 100, 64), EvictionRule(Fraction(50, 100)))
    assert keep.nonzero().flatten().tolist() == [*range(35), *range(68, 100)]


def test_bias_is_minus_infinity_in_every_float() -> None:
    """Half precision too: a large negative number would not be exactly no weight there."""
    keep = torch.tensor([True, False])
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        assert attention_bias(keep, dtype).tolist() == [0, -float("inf")]
