"""Tests of the table of GPUs that hold a model."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from planner.calculator.fits import fits
from planner.calculator.inputs import Inputs
from planner.calculator.kv import kv_answer
from planner.calculator.query import KvQuery
from planner.calculator.types import Pool
from planner.catalog.gpus import gpu_ids
from planner.catalog.parallel import Parallel


def test_every_gpu_with_every_shape(inputs: Callable[..., Inputs]) -> None:
    """Tests that all GPUs of the catalog stand there with tp1 to tp8, NVIDIA's first, small ones first."""
    rows = fits(inputs("llama-3.1-70b", context="8Ki")).rows
    assert len(rows) == 4 * len(gpu_ids())
    vendors = [row.gpu.vendor for row in rows]
    assert vendors == sorted(vendors, key=lambda vendor: vendor != "nvidia")
    sizes = [row.gpu.memory_bytes for row in rows if row.gpu.vendor == "nvidia"]
    assert sizes == sorted(sizes)


def test_one_gpu_against_single_answers(inputs: Callable[..., Inputs]) -> None:
    """Tests that each line is what the calculator says of that shape alone."""
    rows = fits(inputs("llama-3.1-70b", context="8Ki,32Ki", gpu="h100-sxm-80gb")).rows
    assert [(str(row.shape), row.fits) for row in rows] == [("tp1", False), ("tp2", True), ("tp4", True), ("tp8", True)]
    assert "needs" in rows[0].reason
    asked = KvQuery("llama-3.1-70b", contexts_tokens=(8192, 32768), gpu="h100-sxm-80gb", shape=Parallel(tp=4))
    answer = kv_answer(asked)
    assert isinstance(answer.figures.pool, Pool)
    assert rows[2].pool_tokens == answer.figures.pool.usable_tokens
    assert rows[2].sequences == tuple((row.context_tokens, row.fitting_sequences) for row in answer.figures.rows)


def test_more_gpus_never_hold_less(inputs: Callable[..., Inputs]) -> None:
    """Tests that a wider shape of the same GPU never has fewer tokens or a shorter longest context."""
    rows = fits(inputs("gemma-3-27b", context="8Ki")).rows
    for narrow, wide in pairwise(rows):
        if narrow.gpu == wide.gpu and narrow.fits:
            assert wide.fits
            assert (wide.longest_context or 0) >= (narrow.longest_context or 0)
            assert (wide.pool_tokens or 0) >= (narrow.pool_tokens or 0)


def test_a_named_shape_stays(inputs: Callable[..., Inputs]) -> None:
    """Tests that --tp 4 asks of that shape alone, and shapes that do not divide say so."""
    rows = fits(inputs("llama-3.1-8b", tp="4")).rows
    assert {str(row.shape) for row in rows} == {"tp4"}
    odd = fits(inputs("qwen2.5-0.5b", gpu="l4-24gb")).rows
    assert "does not divide" in odd[-1].reason
