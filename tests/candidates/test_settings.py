"""Chunk budgets as a choice: memory, the cost of prompts and the names of configurations."""

from dataclasses import replace
from pathlib import Path

import pytest

from planner import pipeline
from planner.candidates.settings import chunk_budgets, memory_of
from planner.candidates.table import build_table
from planner.candidates.types import ROW_NAMES, Setting, Shape
from planner.catalog.parallel import Parallel
from planner.catalog.types import BF16_KV, Bottleneck, Refusal
from planner.compression.policy import Usable

ROOT = Path(__file__).resolve().parents[2]
FIRST = ROOT / "examples" / "01-first-plan" / "scenario.yaml"


def load(value: str):
    """The first example with chunk budgets."""
    scenario = pipeline.load(FIRST)
    (name,) = scenario.models
    return pipeline.load(FIRST, sets=[f"models.{name}.engine_args={{max_num_batched_tokens: {value}}}"])


def test_a_list_offers_what_each_of_its_values_offers() -> None:
    """The table of a list is the union of the tables of its values, less what another budget dominates."""
    both, small, large = (build_table(load(value)) for value in ("[2048, 8192]", "2048", "8192"))
    budgets = {c.config.max_num_batched_tokens: c for table in (small, large) for c in table.candidates}
    assert set(budgets) == {2048, 8192}
    assert both.examined == small.examined + large.examined
    single = {replace(c.config, names_chunk=False): c.loads for table in (small, large) for c in table.candidates}
    for candidate in both.candidates:
        config = candidate.config
        # Sums over other columns round elsewhere: integers of 10^12 units agree to a few.
        alone = single[replace(config, names_chunk=False)]
        for (item, found), (same, expected) in zip(candidate.loads, alone, strict=True):
            assert item == same
            assert [found.amount(row) for row in ROW_NAMES] == pytest.approx(
                [expected.amount(row) for row in ROW_NAMES]
            )
        assert f"/chunk{config.max_num_batched_tokens}/" in config.name


def test_names_carry_a_budget_only_where_it_is_a_choice() -> None:
    """Plans of one budget keep the names, and so the ties, that they had."""
    assert all("chunk" not in candidate.config.name for candidate in build_table(load("4096")).candidates)


def test_a_larger_chunk_takes_activations_from_kv_and_serves_prompts_no_slower() -> None:
    """16,384 tokens a step leave less KV than 2,048; a prompt's D P / C shrinks, its marginal cost hardly moves."""
    scenario = load("[2048, 16384]")
    (model,) = scenario.models.values()
    gpu = next(iter(scenario.inventory.values())).gpu
    assert chunk_budgets(model, gpu) == (2_048, 16_384)
    shape, usable = _shape(model, gpu)
    small, large = (memory_of(model, shape, usable, Setting(chunk, 4_096), 64) for chunk in (2_048, 16_384))
    assert not isinstance(small, Refusal) and not isinstance(large, Refusal)
    assert large.activation_bytes > small.activation_bytes
    assert large.pool_tokens < small.pool_tokens
    by_chunk = {c.config.max_num_batched_tokens: c.timing for c in build_table(scenario).candidates}
    assert all(timing.chunk_tokens == chunk for chunk, timing in by_chunk.items())


def test_vllm_wants_a_token_for_every_sequence() -> None:
    """vLLM refuses max_num_batched_tokens below max_num_seqs; other engines do not."""
    scenario = load("64")
    (model,) = scenario.models.values()
    gpu = next(iter(scenario.inventory.values())).gpu
    shape, usable = _shape(model, gpu)
    refused = memory_of(model, shape, usable, Setting(64, 4_096), 128)
    assert isinstance(refused, Refusal)
    assert (refused.bottleneck, refused.nearest) == (Bottleneck.ENGINE, "max_num_batched_tokens 128")
    assert not isinstance(memory_of(model, shape, usable, Setting(64, 4_096), 64), Refusal)


@pytest.mark.parametrize(("written", "stored"), [("4096", 4096), ("[4096]", 4096), ("[8192, 2048]", (8192, 2048))])
def test_one_value_is_fixed_and_several_are_a_choice(written: str, stored: object) -> None:
    """A list of one is that one, as plan documents have always stored it."""
    (model,) = load(written).models.values()
    assert model.engine_args.max_num_batched_tokens == stored


def _shape(model, gpu):
    usable = Usable("bf16", BF16_KV, "auto", 1, False, ())
    return Shape(gpu, model.weights[0], Parallel(max(s.tp for s in model.parallel)), "bf16"), usable
