"""Real start-up logs, and what of them every memory test needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from planner.catalog import load_model
from planner.catalog.types import BF16_KV, KvStorage, ModelFacts

LOGS = Path(__file__).parents[1] / "data" / "kv_engine_logs.json"
FP8_KV = KvStorage(8, 8)
FP32_KV = KvStorage(32, 32)


@dataclass(frozen=True)
class Log:
    """One start-up log of vLLM: the fields as logged, None where the log does not print them."""

    catalog_id: str
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

    @property
    def model(self) -> ModelFacts:
        """The catalog model of the log."""
        return catalog_model(self.catalog_id)

    @property
    def storage(self) -> KvStorage:
        """How the log's KV dtype stores a vector."""
        return FP8_KV if self.kv_dtype == "fp8" else FP32_KV if "float32" in self.kv_dtype else BF16_KV

    @property
    def is_v0(self) -> bool:
        """Whether the log comes from the older V0 engine."""
        return "V0" in self.version


def catalog_model(model_id: str) -> ModelFacts:
    """A catalog model that must load."""
    model = load_model(model_id, Path())
    assert isinstance(model, ModelFacts), model
    return model


def read_logs() -> list[Log]:
    """All logs of the data file, in its order."""
    return [
        Log(
            catalog_id=row["catalog_id"],
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
        )
        for row in json.loads(LOGS.read_text(encoding="utf-8"))["logs"]
    ]


@pytest.fixture(scope="session")
def facts() -> Callable[[str], ModelFacts]:
    """Loads a catalog model that must exist."""
    return catalog_model


@pytest.fixture(scope="session")
def logs() -> list[Log]:
    """Every log of the data file."""
    return read_logs()
