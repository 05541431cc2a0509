"""Tests of the calculator's figures: against start-up logs, against the planner's own memory, and in themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.calculator.kv import kv_answer
from planner.calculator.query import KvQuery
from planner.calculator.types import Budget, KvAnswer, Pool
from planner.catalog.engines import load_engine
from planner.catalog.gpus import load_gpu
from planner.catalog.models import load_model
from planner.catalog.parallel import Parallel
from planner.catalog.types import BF16_KV, Refusal
from planner.errors import InputError
from planner.memory.pool import ReplicaMemory, replica_memory

Ask = Callable[..., KvAnswer]
LOGS = Path(__file__).parents[1] / "data/kv_engine_logs.json"
GIB = 2**30


def _exact_logs() -> list[dict[str, str]]:
    """vLLM logs whose release is known: flags and what was printed."""
    tree = json.loads(LOGS.read_text(encoding="utf-8"))
    rows = tree if isinstance(tree, list) else tree["logs"]
    return [
        row for row in rows if row["engine"] == "vllm" and row.get("version") == "0.19.0" and "available_kv_gib" in row
    ]


@pytest.mark.parametrize("row", _exact_logs(), ids=lambda row: f"{row['model']}-tp{row['tensor_parallel_size']}")
def test_printed_tokens_and_concurrency_of_start_up_logs(ask: Ask, row: dict[str, str]) -> None:
    """Tests that the log's own figures lie inside what its two decimals of available memory allow."""
    kv_dtype = str(row["kv_cache_dtype"])
    found = []
    for shift in ("-0.005", "0.005"):
        available = Fraction(str(row["available_kv_gib"])) + Fraction(shift)
        answer = ask(
            str(row["model"]),
            engine=f"vllm@{row['version']}",
            tp=str(row["tensor_parallel_size"]),
            max_model_len=str(row["max_model_len"]),
            max_num_batched_tokens=str(row["max_num_batched_tokens"]),
            kv_dtype="float32" if "float32" in kv_dtype else kv_dtype.partition("(")[0],
            available_kv=f"{float(available):.4f}GiB",
        )
        pool = answer.figures.pool
        assert isinstance(pool, Pool)
        found.append((pool.printed_tokens, round(float(pool.max_concurrency), 2)))
    assert len(found) == 2
    assert found[0][0] <= int(row["kv_tokens"]) <= found[1][0]
    assert found[0][1] <= float(row["max_concurrency"]) <= found[1][1]


def test_the_log_of_codellama(ask: Ask) -> None:
    """Tests the log of CodeLlama-7b on H100: 61.66 GiB, 126,256 tokens, 15.41 times 8,192."""
    pool = ask("codellama-7b", engine="vllm@0.19", available_kv="61.66GiB", max_model_len="8192").figures.pool
    assert isinstance(pool, Pool)
    assert abs(pool.printed_tokens - 126_256) <= 16
    assert round(float(pool.max_concurrency), 2) == 15.41


def test_recurrent_state_in_half_precision(ask: Ask) -> None:
    """Tests Qwen3-Next as logged: blocks of 544 tokens with a 16-bit state, 242,534 tokens at 64Ki."""
    flags = {"engine": "vllm@0.24", "mamba_ssm_cache_dtype": "float16", "max_model_len": "65536"}
    low, high = (
        ask("qwen3-next-80b-a3b", available_kv=size, **flags).figures.pool for size in ("5.845GiB", "5.855GiB")
    )
    assert isinstance(low, Pool) and isinstance(high, Pool)
    assert low.block_tokens == 544
    assert low.printed_tokens <= 242_534 <= high.printed_tokens
    wide = ask("qwen3-next-80b-a3b", available_kv="5.85GiB", **{**flags, "mamba_ssm_cache_dtype": "float32"})
    assert isinstance(wide.figures.pool, Pool)
    assert wide.figures.pool.block_tokens > 544


def test_a_budget_like_the_log(ask: Ask) -> None:
    """Tests Llama-3.1-8B on H100 at 0.95: the log left 58.11 GiB and printed 476,016 tokens."""
    answer = ask("llama-3.1-8b", engine="vllm@0.19", gpu="h100-sxm-80gb", gpu_memory_utilization="0.95")
    budget = answer.figures.budget
    assert isinstance(budget, Budget)
    assert budget.margin_bytes == 0
    assert abs(budget.available_bytes / GIB - 58.11) < 0.1
    parts = {part.name: part.size_bytes for part in budget.components}
    assert abs(parts["weights_bytes"] / GIB - 14.99) < 0.01
    assert abs(parts["activation_bytes"] / GIB - 1.89) < 0.02
    assert all(part.rule and part.source for part in budget.components)


@pytest.mark.parametrize(
    ("model", "engine", "shape", "gpu"),
    [
        ("llama-3.1-8b", "vllm@0.19", "tp1", "h100-sxm-80gb"),
        ("llama-3.1-70b", "vllm@0.33", "tp4-pp2", "a100-sxm-80gb"),
        ("gemma-3-27b", "vllm@0.24", "tp2", "h100-sxm-80gb"),
        ("llama-3.1-8b", "sglang@0.5", "tp2", "h200-sxm-141gb"),
        ("llama-3.1-8b", "tensorrt-llm@1.2", "tp1", "l40s-48gb"),
        ("deepseek-v3", "vllm@0.24", "tp8", "h200-sxm-141gb"),
    ],
)
def test_plans_and_the_calculator_agree(ask: Ask, model: str, engine: str, shape: str, gpu: str) -> None:
    """Tests that the candidate table's pool is the calculator's usable one, and its parts the same."""
    answer = ask(model, engine=engine, parallel=shape, gpu=gpu, max_model_len="8192")
    facts, rules, card = load_model(model, Path()), load_engine(engine), load_gpu(gpu)
    assert not isinstance(facts, str) and not isinstance(rules, str) and card is not None
    assert answer.max_num_seqs is not None
    memory = replica_memory(
        facts,
        card,
        rules,
        shape=answer.shape,
        weights=answer.weights,
        storage=BF16_KV,
        kv_dtype="auto",
        context_limit_tokens=8192,
        max_num_seqs=answer.max_num_seqs,
        max_num_batched_tokens=answer.max_num_batched_tokens,
        utilization_ppm=None,
    )
    assert isinstance(memory, ReplicaMemory)
    pool, budget = answer.figures.pool, answer.figures.budget
    assert isinstance(pool, Pool) and isinstance(budget, Budget)
    assert pool.usable_tokens == memory.pool_tokens
    assert budget.available_bytes - budget.margin_bytes == memory.available_kv_bytes
    assert answer.figures.bytes_per_token == memory.kv_bytes_per_token


@settings(max_examples=60, deadline=None)
@given(
    model=st.sampled_from(["llama-3.1-8b", "gemma-3-27b", "qwen3-next-80b-a3b", "deepseek-v3", "gpt-oss-20b"]),
    engine=st.sampled_from(["vllm@0.19", "vllm@0.33", "sglang@0.5"]),
    gpu=st.sampled_from(["h100-sxm-80gb", "b200-sxm-180gb"]),
    tp=st.sampled_from([1, 2, 4, 8]),
    context=st.integers(1, 131_072),
    batch=st.integers(1, 512),
)
def test_properties_of_every_answer(model: str, engine: str, gpu: str, tp: int, context: int, batch: int) -> None:
    """Tests that parts add up exactly, logical never exceeds reserved, and ranks hold no less than the whole."""
    query = KvQuery(
        model, contexts_tokens=(context,), batches=(1, batch), engine=engine, gpu=gpu, shape=Parallel(tp=tp)
    )
    try:
        figures = kv_answer(query).figures
    except InputError as error:
        assert "[KV503]" in str(error)
        return
    assert figures.held_bytes_per_token >= figures.distinct_bytes_per_token >= figures.bytes_per_token
    for row in figures.rows:
        assert 0 < row.logical_bytes <= row.reserved_bytes
        assert row.reserved_bytes == row.batch * sum(count * size for count, size in row.blocks)
    if isinstance(figures.budget, Budget):
        parts = sum(part.size_bytes for part in figures.budget.components)
        assert figures.budget.budget_bytes == parts + figures.budget.available_bytes
        assert isinstance(figures.pool, Pool)
        fitting = figures.rows[0].fitting_sequences
        assert fitting is not None
        usable_bytes = figures.pool.available_bytes - figures.budget.margin_bytes
        assert fitting * figures.rows[0].reserved_bytes <= usable_bytes


def test_defaults_are_named(ask: Ask) -> None:
    """Tests that every default is listed with its flag, and contexts are cut at the model's own maximum."""
    answer = ask("llama-3-8b", gpu="h100-sxm-80gb")
    taken = {each.flag: each.value for each in answer.defaults}
    assert taken["--context"] == "4Ki,8Ki"
    assert taken["--max-model-len"] == "8Ki"
    assert taken["--engine"] == answer.engine.requested
    assert taken["--max-num-seqs"] == "1,024"
    assert {"--parallel", "--preset", "--batch", "--weights", "--gpu-memory-utilization"} <= set(taken)
    explicit = ask("llama-3-8b", gpu="h100-sxm-80gb", context="4Ki", batch="1", engine="vllm@0.24", tp="1")
    assert not {"--context", "--batch", "--engine", "--parallel"} & {each.flag for each in explicit.defaults}


def test_contexts_above_the_model_are_counted_and_said(ask: Ask) -> None:
    """Tests that 128Ki of Llama-3-8B (8Ki) is 16 GiB, with a word that the engine refuses it."""
    answer = ask("llama-3-8b", context="128Ki")
    assert answer.figures.rows[0].logical_bytes == 16 * GIB
    assert any("above the 8Ki of llama-3-8b" in word for word in answer.warnings)


def test_without_memory_there_is_no_pool(ask: Ask) -> None:
    """Tests that neither GPU nor size of memory leaves rows alone."""
    figures = ask("llama-3.1-8b").figures
    assert (figures.pool, figures.budget) == (None, None)
    assert [row.fitting_sequences for row in figures.rows] == [None] * 3


def test_too_heavy_names_a_shape_that_does(ask: Ask) -> None:
    """Tests that weights that do not fit leave the rows, and name the narrowest shape that holds them."""
    figures = ask("llama-3.1-70b", gpu="h100-sxm-80gb").figures
    assert isinstance(figures.budget, Refusal)
    assert figures.budget.nearest == "tp2"
    assert figures.pool is None
    assert len(figures.rows) == 3


def test_missing_weights_leave_the_rows(tmp_path: Path) -> None:
    """Tests that a config without what weights need still gives KV, and says how to go on."""
    config = {"model_type": "llama", "num_hidden_layers": 4, "hidden_size": 256, "num_attention_heads": 4}
    tmp_path.joinpath("config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096}))
    answer = kv_answer(KvQuery(str(tmp_path), gpu="h100-sxm-80gb"))
    assert answer.figures.bytes_per_token == 2 * 4 * 4 * 64 * 2
    assert isinstance(answer.figures.budget, Refusal)
    assert "--weights-gib" in answer.figures.budget.message
    given_size = kv_answer(KvQuery(str(tmp_path), gpu="h100-sxm-80gb", weights_bytes=GIB))
    assert isinstance(given_size.figures.pool, Pool)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"model": "llama-3.1-8"}, ["MODEL", "did you mean 'llama-3.1-8b'", "KV417"]),
        ({"engine": "vlm@0.3"}, ["--engine", "vllm@0.33", "KV419"]),
        ({"engine": "vllm@0.1"}, ["--engine", "KV419"]),
        ({"gpu": "H100 SXM"}, ["--gpu", "h100-sxm-80gb", "KV418"]),
        ({"preset": "fp9"}, ["--preset", "did you mean 'fp8'", "KV701"]),
        ({"preset": "nexusquant-max"}, ["--preset", "no engine runs it", "KV701"]),
        ({"preset": "nvfp4", "gpu": "h100-sxm-80gb"}, ["--preset", "compute capability", "KV701"]),
        ({"preset": "int8-per-token-head", "engine": "vllm@0.19"}, ["--preset", "vllm@0.24 does", "KV701"]),
        ({"kv_dtype": "fp7"}, ["--kv-dtype", "has no KV dtype 'fp7'", "KV212"]),
        ({"kv_dtype": "ultraquant_4bit"}, ["--kv-dtype", "not published", "KV212"]),
        ({"kv_dtype": "fp8", "preset": "bf16"}, ["--preset", "leave one out", "KV212"]),
        ({"kv_dtype": "fp8_ds_mla"}, ["MODEL", "no latent attention", "KV417"]),
        ({"weights": "fp5"}, ["--weights", "write one of bf16", "KV502"]),
        ({"parallel": "tp3"}, ["--parallel", "tp3 does not divide llama-3.1-8b", "KV503"]),
        ({"parallel": "tp1-pp33"}, ["--parallel", "without a layer", "nearest: tp1-pp32", "KV503"]),
        ({"weights": "mxfp4", "gpu": "h100-sxm-80gb"}, ["--weights", "no mxfp4 weights", "KV502"]),
    ],
)
def test_wrong_names_are_input_errors(query: Callable[..., KvQuery], flags: dict[str, str], says: list[str]) -> None:
    """Tests that a name without facts is refused with its flag, the nearest that would do, and a code."""
    model = flags.get("model", "llama-3.1-8b")
    rest = {name: text for name, text in flags.items() if name != "model"}
    with pytest.raises(InputError) as caught:
        kv_answer(query(model, **rest))
    for word in says:
        assert word in str(caught.value)


def test_every_unknown_name_at_once(query: Callable[..., KvQuery]) -> None:
    """Tests that model, engine, GPU, weights and preset are all reported together."""
    asked = query("llama-9", engine="x@1", gpu="h100", weights="fp5", preset="fp9")
    with pytest.raises(InputError) as caught:
        kv_answer(asked)
    flags = [diagnostic.file for diagnostic in caught.value.diagnostics]
    assert flags == ["--engine", "--gpu", "--preset", "--weights", "MODEL"]


def test_presets_and_flags_give_the_same_bytes(ask: Ask) -> None:
    """Tests that fp8 by preset and by flag is half of bf16, and per-token-head scales come on top."""
    flags = {"engine": "vllm@0.24"}
    plain = ask("llama-3.1-8b", **flags).figures.bytes_per_token
    assert ask("llama-3.1-8b", preset="fp8", **flags).figures.bytes_per_token == plain // 2
    assert ask("llama-3.1-8b", kv_dtype="fp8", **flags).figures.bytes_per_token == plain // 2
    scaled = 32 * 8 * (128 + 128 + 8)
    assert ask("llama-3.1-8b", preset="int8-per-token-head", **flags).figures.bytes_per_token == scaled
    assert ask("llama-3.1-8b", kv_dtype="int8_per_token_head", **flags).figures.bytes_per_token == scaled
    assert ask("llama-3.1-8b", kv_dtype="float32", **flags).figures.bytes_per_token == plain * 2


def test_hub_ids_and_case(ask: Ask) -> None:
    """Tests that a hub id of the catalog is the catalog's model, in any case."""
    assert ask("meta-llama/llama-3.1-8b-INSTRUCT").figures == ask("llama-3.1-8b").figures


def test_windows_without_the_hybrid_manager(ask: Ask) -> None:
    """Tests that gemma-3-27b is charged for all 62 layers once windows are full attention."""
    row = ask("gemma-3-27b", engine="vllm@0.19", context="32Ki", hybrid="no").figures.rows[0]
    assert row.reserved_bytes == 32_768 * 507_904
    assert row.logical_bytes < row.reserved_bytes
