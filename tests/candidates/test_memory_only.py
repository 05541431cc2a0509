"""Choices without a latency keep their memory: rows against start-up logs, refusals that name both."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from planner import pipeline
from planner.candidates import CandidateTable, MemoryRow
from planner.catalog.types import Bottleneck

ROOT = Path(__file__).resolve().parents[2]
SCENARIO = ROOT / "tests/data/scenarios/memory-only.yaml"
SMALL = ROOT / "tests/data/scenarios/small.yaml"
pytestmark = pytest.mark.usefixtures("untimed")
LOGS = json.loads((ROOT / "tests/data/kv_engine_logs.json").read_text())["logs"]


@pytest.fixture(scope="module")
def table(untimed: None) -> CandidateTable:
    """The table of models, weights and shapes that have no latency."""
    return pipeline.table(pipeline.load(SCENARIO))


def rows_of(table: CandidateTable, model: str, **wanted: object) -> list[MemoryRow]:
    """Memory rows of a model with these values."""
    return [
        row
        for row in table.memory_only
        if row.model == model and all(getattr(row, name) == value for name, value in wanted.items())
    ]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("deepseek", "mixture-of-experts"),
        ("oss", "mixture-of-experts"),
        ("qwen-moe", "mixture-of-experts"),
        ("gemma", "sliding-window"),
        ("hybrid", "recurrent layers"),
    ],
)
def test_what_has_no_latency_has_memory_and_says_so(table: CandidateTable, model: str, words: str) -> None:
    """DeepSeek-V3, gpt-oss-120b, Qwen3-30B-A3B, Gemma-3-27B and a hybrid: memory rows, refused for latency alone."""
    rows = rows_of(table, model)
    assert rows and all(row.weights_bytes > 0 and row.max_concurrency >= 1 and words in row.reason for row in rows)
    refused = [r for r in table.rejections if r.model == model and "memory fits" in r.message]
    assert refused
    for rejection in refused:
        assert rejection.bottleneck is Bottleneck.ARCHITECTURE and words in rejection.message
        gpu = rejection.subject.split()[2]
        most = max(row.printed_tokens for row in rows if row.gpu == gpu)
        assert f"memory fits: {most:,} tokens at " in rejection.message
    assert not [c for c in table.candidates if c.config.model == model]


@pytest.mark.parametrize("logged", ["google/gemma-3-27b-it", "Qwen/Qwen3-30B-A3B"])
def test_rows_hold_what_the_engine_logged(logged: str, tmp_path: Path) -> None:
    """vLLM 0.19 start-up logs on H100 at 8Ki: weights and free memory within 0.5 GiB, tokens a GiB within 0.2 %."""
    log = next(x for x in LOGS if x["model"] == logged and x["tensor_parallel_size"] == 1 and x["version"] == "0.19.0")
    sets = [
        f"models.assistant.ref={logged}",
        "models.assistant.engine=vllm@0.19",
        "models.assistant.engine_args={gpu_memory_utilization: 0.95, max_num_batched_tokens: 8192}",
        "inventory.l40s.gpu=h100-sxm-80gb",
    ]
    (row,) = pipeline.table(pipeline.load(SMALL, sets)).memory_only
    assert (row.parallel, row.max_batch, row.context_limit_tokens) == ("tp1", 1024, 8192)
    assert row.weights_bytes / 2**30 == pytest.approx(log["weights_gib"], abs=0.5)
    assert row.available_kv_bytes / 2**30 == pytest.approx(log["available_kv_gib"], abs=0.5)
    a_gib = row.printed_tokens * 2**30 / row.available_kv_bytes
    assert a_gib == pytest.approx(log["kv_tokens"] / log["available_kv_gib"], rel=0.002)
    concurrency_of_a_token = row.max_concurrency / row.printed_tokens
    assert float(concurrency_of_a_token) == pytest.approx(log["max_concurrency"] / log["kv_tokens"], rel=0.002)


@pytest.mark.parametrize(
    "shape",
    ["tp2-pp2", "tp2-dp2"],
)
def test_shapes_without_a_latency_have_memory(table: CandidateTable, shape: str) -> None:
    """Pipelines and data parallel replicas are refused by name, tp1 of the same model is offered."""
    (row,) = rows_of(table, "pipeline", parallel=shape, gpu="h100-sxm-80gb")
    assert f"not timed yet: {shape}" in row.reason
    own = [r for r in table.rejections if r.model == "pipeline" and shape in r.subject and "h100" in r.subject]
    assert [(r.bottleneck, r.nearest) for r in own] == [(Bottleneck.PARALLEL, "tp2")]
    assert {c.config.parallel for c in table.candidates} == {"tp1"}


def test_a_pipeline_halves_the_layers_and_data_parallelism_does_not(table: CandidateTable) -> None:
    """Llama-3.1-8B over four GPUs: 16 of 32 layers a stage give twice the tokens of the same memory that dp2 gives."""
    pipe, data = (rows_of(table, "pipeline", parallel=s, gpu="h100-sxm-80gb")[0] for s in ("tp2-pp2", "tp2-dp2"))
    for row, bytes_per_token in ((pipe, 16 * 4 * 2 * 128 * 2), (data, 32 * 4 * 2 * 128 * 2)):
        assert row.pool_tokens * bytes_per_token == pytest.approx(row.available_kv_bytes, rel=0.001)


def test_a_replica_stands_in_one_node(table: CandidateTable) -> None:
    """tp16-dcp2 is 16 GPUs: refused with the size of the largest node, and without a memory row."""
    own = [r for r in table.rejections if r.model == "pipeline" and "tp16-dcp2 needs 16 GPUs" in r.message]
    assert {(r.message.rsplit(" ", 1)[1], r.nearest) for r in own} == {("4", "tp4"), ("8", "tp8")}
    assert not rows_of(table, "pipeline", parallel="tp16-dcp2")


def test_where_memory_fails_too_both_are_named(table: CandidateTable) -> None:
    """tp3 divides neither the heads nor the measured all-reduce; a pool that is too small says so."""
    (tp3,) = [r for r in table.rejections if r.model == "pipeline" and "tp3" in r.subject and "h100" in r.subject]
    assert "tp3 does not divide llama-3.1-8b" in tp3.message and "latency: all-reduce was measured" in tp3.message
    tight = pipeline.load(SCENARIO, ["models.gemma.parallel=tp1", "models.gemma.adjust={memory: 20GiB/gpu, source: x}"])
    own = [r for r in pipeline.table(tight).rejections if r.model == "gemma" and "h100" in r.subject]
    assert [r.message.partition(":")[0] for r in own] == ["memory does not fit"]
    assert "sliding-window" in own[0].message and own[0].nearest


def test_every_configuration_is_counted_once(table: CandidateTable) -> None:
    """examined = refused + dominated + offered, with refusals for latency split by context limit."""
    refused = sum(r.count for r in table.rejections if r.class_name is None)
    assert table.examined == refused + table.dominated + len(table.candidates)


def test_the_largest_batch_that_starts_is_shown() -> None:
    """A row stands at the largest max_num_seqs of the scenario's range, which costs the most activation memory."""
    rows = [
        row
        for most in (64, 512)
        for row in pipeline.table(pipeline.load(SCENARIO, [f"models.hybrid.max_batch={{max: {most}}}"])).memory_only
        if (row.model, row.gpu, row.parallel, row.weights) == ("hybrid", "h200-sxm-141gb", "tp1", "bf16")
        and row.context_limit_tokens == 32_768
    ]
    assert [row.max_batch for row in rows] == [64, 512]
    assert rows[0].available_kv_bytes >= rows[1].available_kv_bytes


def test_an_adjustment_takes_exactly_its_bytes_and_time() -> None:
    """3 GiB less for KV to the byte, and every part of the decode step 12 % longer; prefill is not touched."""
    plain, adjusted = (
        pipeline.table(pipeline.load(SMALL, sets)).candidates[0]
        for sets in ([], ["models.assistant.adjust={memory: 3GiB/gpu, decode_time: 12%, source: bench}"])
    )
    assert plain.memory is not None and adjusted.memory is not None
    assert plain.memory.available_kv_bytes - adjusted.memory.available_kv_bytes == 3 * 2**30
    assert (plain.memory.extra_bytes, adjusted.memory.extra_bytes) == (0, 3 * 2**30)
    assert plain.timing is not None and adjusted.timing is not None
    for part in ("alpha_s", "beta_s", "gamma_s_per_token"):
        assert getattr(adjusted.timing, part) == pytest.approx(1.12 * getattr(plain.timing, part), rel=1e-9)
    assert adjusted.timing.sigma_s_per_token == pytest.approx(plain.timing.sigma_s_per_token, rel=1e-12)


def test_a_bounded_model_is_counted_at_its_upper_end() -> None:
    """Eight layers of full attention and 24 that may keep nothing: four times the tokens a byte at the lower end."""
    scenario = pipeline.load(
        ROOT / "tests/data/scenarios/bounded.yaml",
        ["models.assistant.ref=../models/not-understood-hybrid/config.json"],
    )
    low = replace(scenario, models={"assistant": replace(scenario.models["assistant"], memory_at="low")})
    high, least = (pipeline.table(each).candidates[0] for each in (scenario, low))
    assert high.memory is not None and least.memory is not None
    each_byte = [Fraction(m.pool_tokens, m.available_kv_bytes) for m in (least.memory, high.memory)]
    assert float(each_byte[0] / each_byte[1]) == pytest.approx(4, rel=0.001)
    assert least.memory.available_kv_bytes >= high.memory.available_kv_bytes
    assert any("novelhybrid is not understood" in note for note in high.estimated)
    assert high.timing == least.timing
