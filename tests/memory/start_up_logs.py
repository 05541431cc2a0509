"""Start-up logs of engines: their rows, the KV layers of the models in them by hand, and what is predicted for each.

Read by the tests of this folder and by `tests/bench/memory_accuracy.py`; pytest is not needed here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from planner.catalog import load_engine, load_model
from planner.catalog.parallel import Parallel
from planner.catalog.types import BF16_KV, AttentionKv, KvLayer, KvStorage, ModelFacts, StateKv
from planner.memory.block_pool import KvPool, kv_pool
from planner.memory.kv import KvSetup

DATA = Path(__file__).parents[1] / "data"
FP8_KV = KvStorage(8, 8)
FP32_KV = KvStorage(32, 32)
GIB = 2**30


def full(count: int, kv_heads: int, head_dim: int) -> tuple[KvLayer, ...]:
    """Layers of full attention."""
    return (AttentionKv(kv_heads, head_dim, head_dim),) * count


def windowed(count: int, kv_heads: int, head_dim: int, window: int, reach: str = "sliding") -> tuple[KvLayer, ...]:
    """Layers that keep a window or chunk."""
    return (AttentionKv(kv_heads, head_dim, head_dim, reach, window),) * count


def latent(count: int, index_dim: int = 0) -> tuple[KvLayer, ...]:
    """Layers of latent attention: 512 latent and 64 rotary elements, as in every DeepSeek-V2 and its kin."""
    return (AttentionKv(1, 576, 0, rope_dim=64, index_dim=index_dim),) * count


def delta_net(count: int, heads: int, element_bytes: int = 4) -> tuple[KvLayer, ...]:
    """Gated delta nets of Qwen3-Next and later: 16 key heads, all sizes 128, kernel 4."""
    return (StateKv("gdn", heads, 128, 128, 16, 4, element_bytes),) * count


LAYERS: dict[str, tuple[KvLayer, ...]] = {
    "codellama-7b": full(32, 32, 128),
    "deepseek-v2-lite": latent(27),
    "gemma-2-2b": full(13, 4, 256) + windowed(13, 4, 256, 4_096),
    "gemma-2-9b": full(21, 8, 256) + windowed(21, 8, 256, 4_096),
    "gemma-3-27b": full(10, 16, 128) + windowed(52, 16, 128, 1_024),
    "gemma-3-1b": full(4, 1, 256) + windowed(22, 1, 256, 512),
    "gemma-3-4b": full(5, 4, 256) + windowed(29, 4, 256, 1_024),
    "gemma-4-26b-a4b": full(5, 2, 512) + windowed(25, 8, 256, 1_024),
    "gemma-4-31b": full(10, 4, 512) + windowed(50, 16, 256, 1_024),
    "gpt-oss-120b": full(18, 8, 64) + windowed(18, 8, 64, 128),
    "gpt-oss-20b": full(12, 8, 64) + windowed(12, 8, 64, 128),
    "kimi-k2.5": latent(61),
    "kimi-vl-a3b": latent(27),
    "llama-3.1-8b": full(32, 8, 128),
    "llama-3.3-70b-instruct": full(80, 8, 128),
    "llama-4-scout": full(12, 8, 128) + windowed(36, 8, 128, 8_192, "chunked"),
    "mixtral-8x7b": full(32, 8, 128),
    "phi-4": full(40, 10, 128),
    "qwen1.5-moe-a2.7b": full(24, 16, 128),
    "qwen2.5-1.5b": full(28, 2, 128),
    "qwen2.5-72b": full(80, 8, 128),
    "qwen2.5-7b": full(28, 4, 128),
    "qwen3-0.6b": full(28, 8, 128),
    "qwen3-14b": full(40, 8, 128),
    "qwen3-235b-a22b": full(94, 4, 128),
    "qwen3-30b-a3b": full(48, 4, 128),
    "qwen3-4b": full(36, 8, 128),
    "qwen3-8b": full(36, 8, 128),
    "qwen3-next-80b-a3b": full(12, 2, 256) + delta_net(36, 32, 2),
    "qwen3.5-0.8b": full(6, 2, 256) + delta_net(18, 16),
    "qwen3.5-27b": full(16, 4, 256) + delta_net(48, 48),
    "qwen3.6-35b-a3b": full(10, 2, 256) + delta_net(30, 32),
    "tinyllama-1.1b": full(22, 4, 64),
}
"""KV layers of the models in the logs, from their published configs; the order does not matter on one stage."""


def kv_model(layers: tuple[KvLayer, ...], name: str = "by-hand", **changes: Any) -> ModelFacts:
    """A model of which only the KV layers matter."""
    attention = [layer for layer in layers if isinstance(layer, AttentionKv)]
    first = attention[0] if attention else AttentionKv(1, 1, 1)
    facts = ModelFacts(
        id=name,
        model_type="llama",
        layers=len(layers),
        hidden_size=4096,
        heads=128,
        kv_heads=first.kv_heads,
        head_dim=first.key_dim,
        v_head_dim=first.value_dim,
        ffn_size=16_384,
        gated_ffn=True,
        vocab_size=100_000,
        max_context_tokens=1 << 20,
        tied_embeddings=False,
        kv_layers=layers,
        ffn_layers=("dense",) * len(layers),
        kv_lora_rank=512 if first.is_latent else 0,
    )
    return replace(facts, **changes)


def setup_of(model: ModelFacts, engine: str = "vllm@0.19", **changes: Any) -> KvSetup:
    """A setup with the settings that most cases share."""
    given: dict[str, Any] = {
        "storage": BF16_KV,
        "shape": Parallel(),
        "max_model_len": 8_192,
        "max_num_batched_tokens": 8_192,
    } | changes
    return KvSetup(model, load_engine(engine), **given)


@dataclass(frozen=True)
class Log:
    """One start-up log: the fields as logged, None where the log does not print them."""

    catalog_id: str
    engine: str
    version: str
    gpu: str
    tp: int
    kv_dtype: str
    quantization: str
    max_model_len: int
    batched_tokens: int
    utilization: float
    total_gib: float | None
    weights_gib: float | None
    activation_gib: float | None
    non_torch_gib: float | None
    available_gib: float
    kv_tokens: int | None
    blocks: int | None
    concurrency: float | None
    layers: str
    source: str

    @property
    def model(self) -> ModelFacts:
        """The catalog model of the log."""
        return catalog_model(self.catalog_id)

    @property
    def storage(self) -> KvStorage:
        """How the log's KV dtype stores a vector."""
        return storage_of(self.kv_dtype)

    @property
    def is_v0(self) -> bool:
        """Whether the log comes from the older V0 engine."""
        return "V0" in self.version


def storage_of(kv_dtype: str) -> KvStorage:
    """How a logged KV dtype stores a vector."""
    return FP8_KV if kv_dtype.startswith("fp8") else FP32_KV if "float32" in kv_dtype else BF16_KV


def catalog_model(model_id: str) -> ModelFacts:
    """A catalog model that must load."""
    model = load_model(model_id, Path())
    assert isinstance(model, ModelFacts), model
    return model


def read_logs() -> list[Log]:
    """All logs of vLLM whose model the catalog compares weights with, in the order of the data file."""
    return [
        Log(
            catalog_id=row["catalog_id"],
            engine=row["engine"],
            version=row.get("version", ""),
            gpu=row.get("gpu", ""),
            tp=row["tensor_parallel_size"],
            kv_dtype=row["kv_cache_dtype"],
            quantization=row.get("weight_quantization", ""),
            max_model_len=row["max_model_len"],
            batched_tokens=row.get("max_num_batched_tokens", 8192),
            utilization=row.get("gpu_memory_utilization", 0.0),
            total_gib=row.get("gpu_total_gib"),
            weights_gib=row.get("weights_gib"),
            activation_gib=row.get("activation_peak_gib"),
            non_torch_gib=row.get("non_torch_gib"),
            available_gib=row["available_kv_gib"],
            kv_tokens=row.get("kv_tokens"),
            blocks=row.get("num_gpu_blocks"),
            concurrency=row.get("max_concurrency"),
            layers=row["layers"],
            source=row["source"],
        )
        for row in read_rows("kv_engine_logs.json")
        if "catalog_id" in row
    ]


def read_rows(name: str) -> list[dict[str, Any]]:
    """Rows of a file of logs, as they stand there."""
    rows: list[dict[str, Any]] = json.loads((DATA / name).read_text(encoding="utf-8"))["logs"]
    return rows


def all_rows() -> list[dict[str, Any]]:
    """Rows of both files."""
    return [*read_rows("kv_engine_logs.json"), *read_rows("kv_engine_logs_more.json")]


def rule_set(row: dict[str, Any]) -> str:
    """The rule set that answers for the release of the log."""
    release = re.match(r"\d+\.\d+", row.get("version", ""))
    return row.get("engine_as") or (f"vllm@{release.group()}" if release else "vllm@0.19")


def row_setup(row: dict[str, Any], model: ModelFacts, *, engine: str = "", **changes: Any) -> KvSetup:
    """The setup of a log with a model that stands for its own; `engine` takes other rules than those of the log."""
    given = {
        "storage": storage_of(row["kv_cache_dtype"]),
        "shape": Parallel(row["tensor_parallel_size"], dcp=row.get("decode_context_parallel_size", 1)),
        "max_model_len": row.get("max_model_len", 8_192),
        "max_num_batched_tokens": row.get("max_num_batched_tokens", 8_192),
        "recurrent_blocks": row.get("recurrent_blocks"),
        "block_tokens": row.get("block_tokens"),
    }
    return setup_of(model, engine or rule_set(row), **(given | changes))


def row_pools(row: dict[str, Any], setup: KvSetup) -> tuple[KvPool, KvPool] | None:
    """The pools at both ends of what the rounding of the log allows; None where it has no inputs.

    A log that prints blocks and no bytes gives both ends at once.
    """
    gib = row.get("available_kv_gib", row.get("kv_gib_allocated"))
    if row["engine"] == "pegainfer" or row.get("kv_needed_gib_for_max_len"):
        return None
    if gib is None:
        pool = _pool(setup, row["num_gpu_blocks"] * _pool(setup, GIB).block_bytes)
        return pool, pool
    rounding = row.get("gib_rounding", 0.005)
    return _pool(setup, int((gib - rounding) * GIB)), _pool(setup, int((gib + rounding) * GIB))


def _pool(setup: KvSetup, available_bytes: int) -> KvPool:
    pool = kv_pool(setup, available_bytes)
    assert isinstance(pool, KvPool), pool
    return pool
