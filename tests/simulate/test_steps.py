"""The table of step times says what the provider says."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.catalog import load_engine, load_gpu, load_model
from planner.catalog.parallel import Parallel
from planner.catalog.types import Refusal
from planner.performance.provider import StepModel, StepRequest
from planner.performance.step_model import step_model
from planner.simulate.pool import PoolRules
from planner.simulate.replica import Replica, ReplicaRules
from planner.simulate.request import Request
from planner.simulate.steps import StepTable


@pytest.fixture(scope="module")
def provider() -> StepModel:
    """Llama-3.1-70B in fp8 on four H100."""
    llama, h100 = load_model("llama-3.1-70b", Path()), load_gpu("h100-sxm-80gb")
    found = step_model(StepRequest(llama, h100, load_engine("vllm@0.24"), Parallel(4), "fp8"))
    assert not isinstance(found, Refusal)
    return found


@pytest.mark.parametrize(
    ("batch", "context", "chunk", "cached"),
    [(1, 500, 0, 0), (37, 1_234, 777, 0), (100, 3_000, 5_000, 3_000), (0, 0, 8_192, 9_000), (256, 20_000, 100, 17)],
)
def test_interpolation_follows_the_provider(
    provider: StepModel, batch: int, context: int, chunk: int, cached: int
) -> None:
    """Between the points of the grid the table is within 1 % of the provider."""
    table = StepTable(provider, 32_768, 8_192)
    seconds = table.decode_s(batch, context) if batch else 0.0
    if chunk:
        seconds += table.beside_s(batch, chunk) + table.attention_s(chunk, cached)
    assert seconds == pytest.approx(float(provider.mixed_step_s(batch, context, chunk, cached)), rel=0.01)


@pytest.mark.parametrize("batch", [1, 16, 64, 200])
def test_steady_tpot_is_the_providers(provider: StepModel, batch: int) -> None:
    """A full batch that only decodes gains a token every step of the provider, within 3 %."""
    prompt, output = 2_000, 600
    rules = ReplicaRules(batch, 8_192, 32_768, PoolRules(16, 10**6))
    replica = Replica(rules, StepTable(provider, 32_768, 8_192))
    requests = [Request(number, 0, 0.0, prompt, output) for number in range(batch)]
    for request in requests:
        replica.arrive(request, 0.0)
    replica.advance(float("inf"))
    last = requests[-1]
    tpot_s = (last.end_s - last.first_s) / (output - 1)
    assert tpot_s == pytest.approx(float(provider.decode_step_s(batch, prompt + output / 2)), rel=0.03)
