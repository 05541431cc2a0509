"""Steps of wide shapes: data, pipeline, context and expert parallelism, and other engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planner.catalog import load_engine, load_gpu, load_model
from planner.catalog.parallel import Parallel
from planner.catalog.types import EngineRules, ModelFacts, StateKv
from planner.performance.provider import StepRequest
from planner.performance.roofline.build import roofline
from planner.performance.roofline.collective import (
    AllReduceConstants,
    TransferConstants,
    all_reduce_s,
    elementwise_s,
    transfer_s,
)
from planner.performance.roofline.recurrent import RecurrentConstants, recurrent_s
from planner.performance.roofline.step import RooflineStepModel


def _step(
    model: str, shape: Parallel, weights: str, gpu: str = "h200-sxm-141gb", engine: str = "vllm@0.24"
) -> RooflineStepModel:
    facts, card, rules = load_model(model, Path()), load_gpu(gpu), load_engine(engine)
    assert isinstance(facts, ModelFacts)
    assert isinstance(rules, EngineRules)
    assert card is not None
    step = roofline(StepRequest(facts, card, rules, shape, weights))
    assert isinstance(step, RooflineStepModel), step
    return step


def test_data_parallel_ranks_share_the_sequences() -> None:
    """A dense model on two independent ranks decodes 2 b sequences as one rank decodes b."""
    one, two = _step("llama-3.1-8b", Parallel(), "bf16"), _step("llama-3.1-8b", Parallel(dp=2), "bf16")
    assert float(two.decode_step_s(64, 2000)) == pytest.approx(float(one.decode_step_s(32, 2000)), rel=1e-12)
    assert two.prefill_s(5000, 0, 2048) == pytest.approx(one.prefill_s(5000, 0, 2048), rel=1e-12)
    assert float(two.decode_step_s(1, 2000)) == pytest.approx(float(one.decode_step_s(1, 2000)), rel=1e-12)


def test_data_parallel_ranks_meet_in_the_experts() -> None:
    """Attention of eight data-parallel ranks halves no latent, yet each rank's experts see every token."""
    wide, narrow = (
        _step("deepseek-v3", shape, "fp8", engine="sglang@0.5.14")
        for shape in (Parallel(1, dp=8, ep=True), Parallel(8, ep=True))
    )
    parts, alone = wide.breakdown(256, 4000), narrow.breakdown(256, 4000)
    assert float(parts["experts"]) == pytest.approx(float(alone["experts"]), rel=1e-12)
    assert float(parts["attention"]) < float(alone["attention"])  # a latent is held once, not on every rank of tp
    assert float(parts["weights"]) > float(alone["weights"])  # and attention's matrices are whole


def test_a_pipeline_turns_once_a_step() -> None:
    """Two stages of one GPU hold half of the weights each and work on half of the sequences: the turn takes what one
    GPU would take for half of the batch, and the hop."""
    one, two = _step("llama-3.1-8b", Parallel(), "bf16"), _step("llama-3.1-8b", Parallel(pp=2), "bf16")
    hop_s = float(two.decode_step_s(64, 2000) - one.decode_step_s(32, 2000))
    assert 0 < hop_s < 100e-6
    assert two.prefill_s(4096) == pytest.approx(one.prefill_s(4096), rel=0.01)
    # Four chunks follow each other: the last one passes both stages, the others only hold up the first.
    chunked = two.prefill_s(8192, 0, 2048)
    assert 0.55 * one.prefill_s(8192, 0, 2048) < chunked < 0.7 * one.prefill_s(8192, 0, 2048)


def test_context_parallel_ranks_share_the_tokens() -> None:
    """Eight ranks of four KV heads hold each head twice; with dcp2 they hold half of its tokens instead."""
    plain = _step("qwen3-235b-a22b-fp8", Parallel(8), "fp8")
    shared = _step("qwen3-235b-a22b-fp8", Parallel(8, dcp=2), "fp8")
    long_s = float(plain.breakdown(64, 32_000)["attention"]), float(shared.breakdown(64, 32_000)["attention"])
    assert long_s[1] / long_s[0] == pytest.approx(0.5, abs=0.05)
    assert float(shared.breakdown(64, 32_000)["all_reduce"]) > float(plain.breakdown(64, 32_000)["all_reduce"])


def test_windows_end_what_a_step_reads() -> None:
    """Gemma 3: five of six layers look back 1,024 tokens, so from 1,024 tokens on a step grows by a sixth or so of what
    it would grow without windows; gpt-oss with 128 in every other layer by half."""
    for name, weights, share in (("gemma-3-27b", "bf16", 10 / 62), ("gpt-oss-120b", "mxfp4", 18 / 36)):
        step = _step(name, Parallel(2), weights)
        attention = [float(step.breakdown(64, context)["attention"]) for context in (2000, 4000, 8000)]
        assert attention[2] - attention[1] == pytest.approx(2 * (attention[1] - attention[0]), rel=0.01)
        facts = load_model(name, Path())
        assert isinstance(facts, ModelFacts)
        every_layer_s = 64 * 4000 * facts.layers * 2 * facts.kv_heads / 2 * facts.head_dim * 2 / 4.8e12
        assert attention[2] - attention[1] == pytest.approx(share * every_layer_s, rel=0.25)


def test_recurrent_layers_do_not_grow_with_the_context() -> None:
    """Qwen3.5 keeps a state in three of four layers: its step grows with the context in 16 of 64 layers only."""
    step = _step("qwen3.5-27b", Parallel(), "bf16")
    grown_s = float(step.decode_step_s(32, 20_000) - step.decode_step_s(32, 10_000))
    read_s = 32 * 10_000 * 16 * 2 * 4 * 256 * 2 / 4.8e12
    assert grown_s == pytest.approx(read_s, rel=0.25)


def test_a_state_by_hand() -> None:
    """Decoding reads and writes a state, a scan has its own rate, and each has its launch."""
    kind = StateKv("gdn", 32, 128, 128, 16, 4, 4)
    constants = RecurrentConstants(0.5, 5e-6, 0.25, 20e-6)
    state, inputs = 32 * 128 * 128 * 4, 2 * (2 * 32 * 128 + 2 * 16 * 128)
    decode = 5e-6 + 10 * (2 * state + inputs) / (0.5 * 4.8e12)
    scan = 20e-6 + 1000 * (2 * inputs + 2 * state / 64) / (0.25 * 4.8e12)
    assert float(recurrent_s(10, 0, kind, 1, constants, 4.8e12)) == pytest.approx(decode, rel=1e-12)
    assert float(recurrent_s(10, 1000, kind, 1, constants, 4.8e12)) == pytest.approx(decode + scan, rel=1e-12)
    assert float(recurrent_s(0, 0, kind, 1, constants, 4.8e12)) == 0.0


def test_collectives_by_hand() -> None:
    """An all-reduce takes the faster protocol, a transfer its latency and wire time, other kernels their bytes."""
    constants = AllReduceConstants(5e-6, 0.5, 30e-6, 0.8)
    small, large = all_reduce_s(np.array([16e3, 64e6]), 4, constants, 450e9)
    assert small == pytest.approx(5e-6 + 1.5 * 16e3 / 225e9, rel=1e-12)
    assert large == pytest.approx(30e-6 + 1.5 * 64e6 / 360e9, rel=1e-12)
    assert float(transfer_s(np.array(1e6), TransferConstants(8e-6, 0.5), 450e9)) == pytest.approx(8e-6 + 1e6 / 225e9)
    assert float(elementwise_s(np.array(8e6), 4e12)) == pytest.approx(2e-6 + 8e6 / 3.2e12)


@pytest.mark.parametrize("engine", ["vllm@0.24", "sglang@0.5.14", "tensorrt-llm@1.2"])
def test_every_engine_has_its_own_constants(engine: str) -> None:
    """70B in fp8 on four H200 differs by engine, by less than half: kernels differ, silicon does not."""
    times = {
        name: float(_step("llama-3.1-70b", Parallel(4), "fp8", engine=name).decode_step_s(32, 4000))
        for name in ("vllm@0.24", engine)
    }
    assert 0.5 < times[engine] / times["vllm@0.24"] < 1.5
    assert len(set(times.values())) == len(times)
