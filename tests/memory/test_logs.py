"""Start-up logs: pool sizes and concurrency from the bytes that the log prints, within its own rounding."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.catalog import load_model
from planner.catalog.parallel import Parallel
from planner.memory.kv import kv_bytes_per_token, reserved_bytes

GIB = 2**30

WITHOUT_INPUTS = {
    "pegainfer-project/pegainfer#422": "another engine: only its bytes a token are compared",
    "vllm-project/vllm#34076": "no tokens: refused to start, so the needed bytes and the longest length are compared",
}


@pytest.fixture(scope="session")
def setup_of_row(rows_of, by_hand):
    """Makes the setup of a log."""
    return lambda row, **changes: rows_of.row_setup(row, by_hand(row["layers"]), **changes)


@pytest.fixture(scope="session")
def pools_of(rows_of, setup_of_row):
    """Makes the pools of a log at both ends of what its rounding allows; none where it has no inputs."""
    return lambda row: rows_of.row_pools(row, setup_of_row(row))


def test_the_files_hold_all_logs(log_rows):
    """47 logs of the first file and 22 of the second; exactly the listed ones lack inputs."""
    assert len(log_rows) == 47 + 22
    lacking = {
        row["source"] for row in log_rows if row["engine"] == "pegainfer" or row.get("pipeline_parallel_size", 1) > 1
    }
    assert lacking == set(WITHOUT_INPUTS)


def test_printed_tokens(log_rows, pools_of):
    """Printed tokens lie within the rounding of the printed bytes, on every log that prints them."""
    checked = []
    for row in log_rows:
        pools = pools_of(row)
        if pools is None or "kv_tokens" not in row:
            continue
        low, high = (pool.printed_tokens for pool in pools)
        assert low <= row["kv_tokens"] <= high, (row["source"], row["model"], low, high)
        checked.append(row["engine"])
    assert len(checked) == 62
    assert checked.count("sglang") == 3
    assert checked.count("tensorrt-llm") == 6


def test_the_intervals_are_narrow(log_rows, pools_of):
    """The rounding of a log allows at most 1 % between the ends, so meeting it says something."""
    for row in log_rows:
        pools = pools_of(row)
        if pools is None or row.get("available_kv_gib", 10) < 5:
            continue
        low, high = (pool.printed_tokens for pool in pools)
        assert high - low <= max(0.01 * high, pools[0].block_tokens * 16), row["source"]


def test_blocks(log_rows, pools_of):
    """Block counts lie within the rounding, for the older engine without null block or groups too."""
    checked = 0
    for row in log_rows:
        pools = pools_of(row)
        if pools is None or "num_gpu_blocks" not in row:
            continue
        low, high = (pool.blocks for pool in pools)
        assert low <= row["num_gpu_blocks"] <= high, row["source"]
        checked += 1
    assert checked == 7


def test_concurrency(log_rows, pools_of):
    """Printed concurrency lies within its own two decimals and those of the bytes."""
    checked = 0
    for row in log_rows:
        pools = pools_of(row)
        if pools is None or "max_concurrency" not in row:
            continue
        low, high = (float(pool.max_concurrency) for pool in pools)
        assert low - 0.005 <= row["max_concurrency"] <= high + 0.005, (row["source"], low, high)
        checked += 1
    assert checked == 52


def test_block_sizes(log_rows, pools_of):
    """Logged sizes of enlarged attention blocks are met."""
    sizes = {
        row["model"]: (row["attention_block_tokens"], pools_of(row)[0].block_tokens)
        for row in log_rows
        if "attention_block_tokens" in row
    }
    assert len(sizes) == 3
    assert all(logged == ours for logged, ours in sizes.values())


def test_another_engine(log_rows, by_hand, stored_as):
    """pegainfer keeps the same bytes a token: 86,160 tokens of Qwen3-4B are 11.832 GiB."""
    row = next(row for row in log_rows if row["engine"] == "pegainfer")
    size = kv_bytes_per_token(by_hand(row["layers"]), stored_as(row["kv_cache_dtype"]), Parallel())
    assert row["kv_tokens"] * size / GIB == pytest.approx(row["kv_gib_allocated"], abs=0.001)


def longest(setup, available_bytes):
    """The longest context whose reserved bytes the engine's own check lets pass."""
    fitting = 0
    for power in range(20, -1, -1):
        if reserved_bytes(setup, fitting + 2**power) <= available_bytes:
            fitting += 2**power
    return fitting


@pytest.mark.parametrize("source", ["vllm-project/vllm#34076", "32 GB, vLLM 0.20.1"])
def test_refused_starts(log_rows, setup_of_row, source):
    """Servers that refused to start printed the bytes that one request needs and the longest length that fits.

    vllm#34076 is a fault of that release, which divides one stage's memory by the whole model: so pp 1 stands here.
    """
    row = next(row for row in log_rows if row["source"].endswith(source))
    setup = setup_of_row(row)
    needed = reserved_bytes(setup, row["max_model_len"]) / GIB
    assert needed == pytest.approx(row["kv_needed_gib_for_max_len"], abs=0.005)
    low, high = (longest(setup, int((row["available_kv_gib"] + end) * GIB)) for end in (-0.05, 0.05))
    assert low <= row["estimated_max_len"] <= high
    rounding = 0.005 if row["available_kv_gib"] > 1 else 0.05  # 0.6 is printed with one decimal
    low, high = (longest(setup, int((row["available_kv_gib"] + end) * GIB)) for end in (-rounding, rounding))
    assert low <= row["estimated_max_len"] <= high


def test_catalog_has_the_layers(log_rows, by_hand):
    """Models that the catalog knows, by the log's own name or ours, keep exactly the layers written by hand."""
    known = set()
    for row in log_rows:
        found = [load_model(name, Path()) for name in (row["model"], row["layers"])]
        for model in found:
            if isinstance(model, str):
                continue
            expected = by_hand(row["layers"]).kv_layers
            assert sorted(map(repr, model.kv_layers)) == sorted(map(repr, expected)), (row["model"], model.id)
            known.add(row["layers"])
    assert len(known) >= 25
