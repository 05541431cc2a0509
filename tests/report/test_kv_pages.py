"""Tests of the pages of `kvplan kv`: whole pages, widths, sums that add up, JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from planner.calculator.kv import kv_answer
from planner.calculator.query import read_query
from planner.calculator.types import KvAnswer
from planner.report.kv import kv_text
from planner.report.kv_explain import explain_text
from planner.report.kv_json import kv_json

KEYS = {
    "available_kv_bytes", "block_bytes", "block_tokens", "bound", "bytes_per_token", "bytes_per_token_replica",
    "bytes_per_token_replica_held", "components", "defaults", "engine", "estimated", "format_version", "gpu",
    "gpu_memory_utilization", "gpus", "groups", "kv_dtype", "longest_context", "max_concurrency",
    "max_concurrency_exact", "max_model_len", "max_num_batched_tokens", "max_num_seqs", "model", "num_gpu_blocks",
    "parallel", "pool_tokens", "preset", "refusal", "rows", "sources", "stage", "state_bytes_per_sequence",
    "usable_tokens", "warnings", "weights",
}  # fmt: skip


def _goldens() -> ModuleType:
    spec = spec_from_file_location("kv_goldens", Path(__file__).with_name("kv_goldens.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Every page as it is now."""
    return dict(_goldens().pages())


@pytest.fixture(scope="module")
def ask() -> Callable[..., KvAnswer]:
    """The answer to a question from flags."""

    def build(model: str, **flags: str) -> KvAnswer:
        query, mistakes = read_query({name.replace("_", "-"): text for name, text in flags.items()}, model=model)
        assert not mistakes
        return kv_answer(query)

    return build


@pytest.mark.parametrize("name", sorted(path.name for path in Path(__file__).parent.glob("golden_kv/kv-*")))
def test_pages_are_as_committed(pages: dict[str, str], name: str) -> None:
    """Tests whole pages; `python tests/report/kv_goldens.py` renews them."""
    assert pages[name] == (Path(__file__).parent / "golden_kv" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("model", ["gemma-3-27b", "qwen3-next-80b-a3b", "deepseek-v3", "llama-4-scout-17b-16e"])
@pytest.mark.parametrize("columns", [60, 80, 100])
def test_pages_keep_their_width(ask: Callable[..., KvAnswer], model: str, columns: int) -> None:
    """Tests that no line is wider than the terminal (numbers themselves need 75 columns)."""
    answer = ask(model, gpu="h200-sxm-141gb", tp="8", batch="1,1024")
    for page in (kv_text(answer, columns), explain_text(answer, columns)):
        assert max(map(len, page.splitlines())) <= max(columns, 78)
        assert all(line == line.rstrip() for line in page.splitlines())


def test_the_sum_on_the_page_adds_up(pages: dict[str, str]) -> None:
    """Tests that the bytes of the page's sum give what is available, read from the page itself."""
    block = pages["kv-windows.txt"].partition("memory of one GPU")[2].partition("KV pool")[0]
    lines = re.findall(r"^ ([-=]|  )? ?(.*?)  +[\d,.]+  +([\d,]{9,})", block, re.M)
    signed = {(sign.strip(), name.strip(" *")): int(size.replace(",", "")) for sign, name, size in lines}
    budget, available = signed["=", "budget"], signed["=", "available for KV"]
    assert signed["", "GPU memory"] - signed["-", "outside the budget"] == budget
    parts = [size for (sign, name), size in signed.items() if sign == "-" and name != "outside the budget"]
    assert len(parts) >= 4
    assert budget - sum(parts) == available


def test_no_page_mixes_units(pages: dict[str, str]) -> None:
    """Tests that GB stands nowhere but beside the published figures that printed it."""
    for name, page in pages.items():
        if name != "kv-published.txt":
            assert not re.search(r"\d ?(GB|MB|kB)\b", page), name


def test_json_has_all_keys_always(ask: Callable[..., KvAnswer]) -> None:
    """Tests that the documented keys are there with and without memory, null where nothing is known."""
    bare = json.loads(kv_json(ask("llama-3.1-8b")))
    assert set(bare) == KEYS
    pool_keys = ("pool_tokens", "usable_tokens", "max_concurrency", "available_kv_bytes", "num_gpu_blocks")
    assert all(bare[key] is None for key in (*pool_keys, "components", "gpu", "refusal", "bound"))
    full = json.loads(kv_json(ask("llama-3.1-8b", gpu="h100-sxm-80gb")))
    assert set(full) == KEYS
    assert all(full[key] is not None for key in (*pool_keys, "components", "gpu"))
    components = full["components"]
    parts = [f"{part}_bytes" for part in ("weights", "activation", "non_torch", "cuda_graph", "other", "available_kv")]
    assert components["budget_bytes"] == sum(components[part] for part in parts)
    assert set(full["sources"]) <= {*components}
    assert all(entry["rule"] and entry["source"] for entry in full["sources"].values())


def test_json_of_the_codellama_log(ask: Callable[..., KvAnswer]) -> None:
    """Tests the figures of the log of CodeLlama-7b in JSON: bytes a token, rows, tokens, concurrency."""
    flags = {"engine": "vllm@0.19", "available_kv": "61.66GiB", "max_model_len": "8192", "context": "8Ki", "batch": "2"}
    tree = json.loads(kv_json(ask("codellama-7b", **flags)))
    assert tree["bytes_per_token"] == 524_288
    assert tree["max_concurrency"] == 15.41
    assert tree["num_gpu_blocks"] == int(61.66 * 2**30) // (16 * 524_288) == 7_892
    assert (tree["pool_tokens"], tree["usable_tokens"]) == (7_892 * 16, 7_891 * 16)  # one block is the null block
    assert tree["rows"] == [
        {
            "context": 8192,
            "batch": 2,
            "logical_bytes": 2 * 8192 * 524_288,
            "reserved_bytes": 2 * 8192 * 524_288,
            "sequences_that_fit": 15,
        }
    ]
    assert tree["engine"]["rules"] == "vllm@0.19" and tree["engine"]["inferred"] is False


def test_replica_figures(ask: Callable[..., KvAnswer]) -> None:
    """Tests Llama-3.1-8B at tp16: 8 KV heads over 16 ranks, so that the ranks hold every byte twice."""
    tree = json.loads(kv_json(ask("llama-3.1-8b", tp="16")))
    assert tree["bytes_per_token"] == 131_072 // 8
    assert tree["bytes_per_token_replica"] == 131_072
    assert tree["bytes_per_token_replica_held"] == 2 * 131_072


def test_inferred_rules_are_said(ask: Callable[..., KvAnswer]) -> None:
    """Tests that vllm@0.20.1 follows the rules of 0.19 and says so on the page and in JSON."""
    answer = ask("llama-3.1-8b", engine="vllm@0.20.1")
    assert "vllm@0.20.1 (rules of 0.19)" in kv_text(answer)
    assert json.loads(kv_json(answer))["engine"]["inferred"] is True


def test_what_does_not_fit_is_said_first(ask: Callable[..., KvAnswer]) -> None:
    """Tests that a pool too small for max_model_len says that the engine will not start, and what would."""
    page = kv_text(ask("llama-2-7b", available_kv="1GiB"))
    assert "note         one sequence of --max-model-len 4Ki does not fit: the engine refuses to start; 2," in page
