"""What requests hold of mixed pools, against the blocks of each length counted one by one."""

from pathlib import Path

import numpy as np
import pytest

from planner import pipeline
from planner.candidates.holdings import Mixed, Reserved, holdings_of
from planner.candidates.settings import memory_of
from planner.candidates.types import Setting, Shape
from planner.catalog.parallel import Parallel
from planner.catalog.types import BF16_KV, Refusal
from planner.compression.policy import Usable
from planner.memory.kv import KvSetup, pool_layout
from planner.traffic.lengths import Band

FIRST = Path(__file__).resolve().parents[2] / "examples" / "01-first-plan" / "scenario.yaml"
BF16 = Usable("bf16", BF16_KV, "auto", 1, False, ())
AT = Setting(2_048, 8_192)
BAND = Band(0, 6_000, 1_000_000, ((700, 600_000), (6_000, 400_000)), ((40, 500_000), (400, 500_000)))


def holdings(ref: str, tp: int = 1, *more: str):
    """Model, GPU, memory and holdings of a catalog model at the setting."""
    scenario = pipeline.load(FIRST, [f"models.helpdesk.ref={ref}", "models.helpdesk.parallel=[tp1, tp2]", *more])
    model, gpu = scenario.models["helpdesk"], scenario.inventory["h100"].gpu
    shape = Shape(gpu, "bf16", Parallel(tp), "bf16")
    memory = memory_of(model, shape, BF16, AT, 32)
    assert not isinstance(memory, Refusal), memory
    return model, gpu, memory, holdings_of(model, shape, BF16, AT, [memory])


def test_full_attention_holds_its_context() -> None:
    """Llama keeps every token in every layer: no rule of its own."""
    assert holdings("llama-3.1-8b")[3] is None


@pytest.mark.parametrize(("ref", "tp"), [("gemma-3-27b", 2), ("mistral-7b-v0.1", 1), ("qwen3.5-27b", 2)])
def test_mean_blocks_are_those_of_every_step(ref: str, tp: int) -> None:
    """Windows and states: the mean over all steps of all pairs, each length by `GroupKind.request_blocks`."""
    model, gpu, memory, mixed = holdings(ref, tp)
    assert isinstance(mixed, Mixed)
    setup = KvSetup(
        model.memory_facts, model.engine, BF16_KV, Parallel(tp), AT.context_tokens, AT.chunk_tokens, gpu=gpu
    )
    layout = pool_layout(setup)
    assert not isinstance(layout, Refusal)
    kinds = layout.parts[0].kinds
    held = steps = 0.0
    for prompt, weight in BAND.prompts:
        for output, share in BAND.outputs:
            lengths = range(prompt + 1, prompt + output)
            held += weight * share * sum(k.request_blocks(n, mixed.while_decoding) for n in lengths for k in kinds)
            steps += weight * share * len(lengths)
    unit = memory.pool_tokens / memory.usable_blocks
    assert mixed.decoding(BAND, AT.context_tokens) == pytest.approx(unit * held / steps, rel=1e-9)
    for prompt in (1, 16, 700, 6_000):
        blocks = sum(kind.request_blocks(prompt, mixed.while_prefilling) for kind in kinds)
        asked = np.array([float(prompt)])
        assert mixed.prefilling(asked, BAND, AT.context_tokens)[0] == pytest.approx(unit * blocks, rel=1e-9)


def test_a_window_spares_most_of_a_long_request() -> None:
    """Gemma-3-27B at 6,000 tokens: 5 of 6 layers keep 1,024, so a request holds a third of its context or so."""
    mixed = holdings("gemma-3-27b", 2)[3]
    long = Band(0, 6_000, 1_000_000, ((6_000, 1_000_000),), ((40, 1_000_000),))
    assert 0.25 < mixed.decoding(long, 8_192) / 6_020 < 0.40
    short = Band(0, 700, 1_000_000, ((700, 1_000_000),), ((40, 1_000_000),))
    assert mixed.decoding(short, 8_192) >= 700


def test_a_state_costs_a_short_request_more_than_its_context() -> None:
    """Qwen3.5-27B keeps three states for each layer of attention: a short request pays for all of them."""
    mixed = holdings("qwen3.5-27b", 2)[3]
    short = Band(0, 100, 1_000_000, ((100, 1_000_000),), ((20, 1_000_000),))
    assert mixed.decoding(short, 8_192) > 3 * 110


def test_a_limit_cuts_what_is_held() -> None:
    """Prompts at the limit are not served, answers end there."""
    mixed = holdings("gemma-3-27b", 2)[3]
    band = Band(0, 9_000, 1_000_000, ((6_000, 500_000), (8_192, 500_000)), ((4_000, 1_000_000),))
    cut = Band(0, 6_000, 1_000_000, ((6_000, 1_000_000),), ((2_192, 1_000_000),))
    assert mixed.decoding(band, 8_192) == pytest.approx(mixed.decoding(cut, 8_192), rel=1e-12)


def test_reserved_answers_are_held_from_the_start() -> None:
    """TensorRT-LLM starts no request that it may have to evict: blocks of the whole request, in every step."""
    held = holdings("llama-3.1-8b", 1, "models.helpdesk.engine=tensorrt-llm@1.2")[3]
    assert isinstance(held, Reserved)
    one = Band(0, 700, 1_000_000, ((700, 1_000_000),), ((400, 1_000_000),))
    blocks = 32 * -(-1_100 // 32)
    assert held.decoding(one, 8_192) == pytest.approx(blocks, rel=1e-3)
    assert held.prefilling(np.array([700.0]), one, 8_192)[0] == pytest.approx(blocks, rel=1e-3)


def test_reserved_answers_weigh_by_the_time_they_run() -> None:
    """While prompts wait every answer counts alike; of those that decode, long answers are there for longer."""
    held = holdings("llama-3.1-8b", 1, "models.helpdesk.engine=tensorrt-llm@1.2")[3]
    blocks = {output: 32 * -(-(700 + output) // 32) for output in (40, 400)}
    running = (39 * blocks[40] + 399 * blocks[400]) / 438
    short = Band(0, 700, 1_000_000, BAND.prompts[:1], BAND.outputs)
    assert held.decoding(short, 8_192) == pytest.approx(running, rel=1e-3)
    waiting = held.prefilling(np.array([700.0]), BAND, 8_192)[0]
    assert waiting == pytest.approx((blocks[40] + blocks[400]) / 2, rel=1e-3)
