"""Tests of reading the flags of a question."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.calculator.query import GIB, KvQuery, read_query
from planner.catalog.parallel import Parallel


def test_every_flag_is_read() -> None:
    """Tests that each flag lands in its field, in base units."""
    flags = {
        "context": "4Ki, 32Ki,4Ki",
        "batch": "1,16",
        "kv-dtype": "fp8",
        "tp": "4",
        "pp": "2",
        "dcp": "2",
        "engine": "vllm@0.24",
        "gpu": "h100-sxm-80gb",
        "weights-gib": "12.5",
        "gpu-memory-utilization": "0.92",
        "max-model-len": "6_000",
        "max-num-batched-tokens": "8Ki",
        "max-num-seqs": "256",
        "speculative-tokens": "3",
        "mamba-cache": "align",
        "mamba-ssm-cache-dtype": "float32",
        "block-size": "64",
        "available-kv": "61.66GiB",
    }
    query, mistakes = read_query(flags, model="a-model", ep=True, hybrid_manager=False, bound=True)
    assert mistakes == ()
    assert query == KvQuery(
        model="a-model",
        contexts_tokens=(4096, 32768),
        batches=(1, 16),
        kv_dtype="fp8",
        shape=Parallel(4, 2, 1, 2, ep=True),
        engine="vllm@0.24",
        gpu="h100-sxm-80gb",
        weights_bytes=int(12.5 * GIB),
        utilization_ppm=920_000,
        max_model_len=6_000,
        max_num_batched_tokens=8192,
        max_num_seqs=256,
        speculative_tokens=3,
        recurrent_blocks=2,
        state_element_bytes=4,
        hybrid_manager=False,
        block_tokens=64,
        available_kv_bytes=6166 * GIB // 100,
        bound=True,
    )


def test_nothing_given_is_nothing_said() -> None:
    """Tests that no flag means no value, so that defaults can be named as such."""
    assert read_query({}, model="m") == (KvQuery(model="m"), ())


@pytest.mark.parametrize(
    ("flag", "text", "says"),
    [
        ("context", "8k", "8Ki (8,192) or 8_000"),
        ("context", "4Ki,,8Ki", "empty place"),
        ("context", ",".join(map(str, range(1, 66))), "65 values; at most 64"),
        ("context", "99999999999", "too large"),
        ("batch", "0", "at least 1"),
        ("batch", "1.5", "whole number"),
        ("parallel", "tp3x", "no parallel shape"),
        ("parallel", "tp4-dcp3", "3 does not divide 4"),
        ("tp", "0", "at least 1"),
        ("tp", "99999", "too large"),
        ("weights-gib", "12GiB", "counts in GiB"),
        ("weights-gib", "0", "is nothing"),
        ("gpu-memory-utilization", "92%", "like 0.92"),
        ("gpu-memory-utilization", "1.01", "at most 1"),
        ("gpu-memory-utilization", "0", "leaves no memory"),
        ("max-model-len", "-1", "negative"),
        ("max-num-seqs", "many", "whole number"),
        ("mamba-cache", "all", "none of none, align"),
        ("mamba-ssm-cache-dtype", "fp64", "none of auto"),
        ("block-size", "0", "at least 1"),
        ("available-kv", "61", "no unit"),
        ("available-kv", "61 GIB", "GiB"),
        ("available-kv", "0GiB", "is nothing"),
        ("available-kv", "9999999999.5GiB", "more than"),
    ],
)
def test_a_wrong_value_says_what_to_write(flag: str, text: str, says: str) -> None:
    """Tests that a value that cannot be read names its flag and what would do."""
    _, mistakes = read_query({flag: text}, model="m")
    assert [mistake.flag for mistake in mistakes] == [f"--{flag}"]
    assert says in mistakes[0].message


def test_all_mistakes_at_once() -> None:
    """Tests that one wrong flag does not hide another."""
    _, mistakes = read_query({"context": "8k", "batch": "x", "available-kv": "1"}, model="m")
    assert [mistake.flag for mistake in mistakes] == ["--context", "--batch", "--available-kv"]


def test_whole_shape_and_parts_do_not_mix() -> None:
    """Tests that --parallel beside --tp is refused, naming the flag to leave out."""
    _, mistakes = read_query({"parallel": "tp4", "pp": "2"}, model="m", ep=True)
    assert [str(mistake) for mistake in mistakes] == ["--parallel: says the whole shape; leave out --pp, --ep"]


def test_a_log_figure_is_rounded_down_to_bytes() -> None:
    """Tests that 61.66 GiB, no whole number of bytes, is read all the same, and GB is another unit."""
    gib, _ = read_query({"available-kv": "61.66GiB"}, model="m")
    gb, _ = read_query({"available-kv": "61.66GB"}, model="m")
    assert gib.available_kv_bytes == 66_206_920_867  # 61.66 * 1,073,741,824 = 66,206,920,867.84
    assert gb.available_kv_bytes == 61_660_000_000


@given(
    st.dictionaries(st.sampled_from(["context", "batch", "tp", "parallel", "available-kv", "weights-gib"]), st.text())
)
def test_no_text_raises(flags: dict[str, str]) -> None:
    """Tests that any text is read or refused with a sentence."""
    query, mistakes = read_query(flags, model="m")
    assert isinstance(query, KvQuery)
    assert all(mistake.message for mistake in mistakes)
