"""The referee's reading of measured rows, on a few made-up lines in the columns of the real file."""

import csv
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[1] / "bench"
PLAIN = {
    "id": "a",
    "silicon_data_source": "source_file=2026-04-06.csv; silicon_concurrency=32; measured=2026-03-25",
    "backend": "vllm",
    "backend_version": "0.19.0",
    "model_path": "MiniMaxAI/MiniMax-M2.5",
    "system": "h200_sxm",
    "mode": "agg",
    "isl": "1024",
    "osl": "1024",
    "gemm_quant_mode": "fp8",
    "batch_size": "32",
    "tp_size": "4",
    "attention_dp_size": "1",
    "moe_tp_size": "4",
    "moe_ep_size": "1",
    "silicon_ttft_ms": "150",
    "silicon_tpot_ms": "12.5",
}


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = spec_from_file_location("silicon_rows", BENCH / "silicon_rows.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def write(path: Path, *changes: dict[str, str]) -> Path:
    file = path / "rows.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(PLAIN))
        writer.writeheader()
        writer.writerows({**PLAIN, **change} for change in changes)
    return file


def test_a_plain_row_is_read_in_seconds_with_the_mean_lengths_of_its_harness(rows: ModuleType, tmp_path: Path) -> None:
    """Lengths uniform in [0.8 L, L] are 0.9 L on average."""
    (row,), left_out = rows.read_rows(write(tmp_path, {}))
    assert not left_out
    assert (row.model, row.gpu, row.weights, row.parallel) == ("minimax-m2.5", "h200-sxm-141gb", "fp8_block", "tp4")
    assert (row.input_tokens, row.output_tokens, row.concurrency) == (922, 922, 32)
    assert (row.ttft_s, row.tpot_s) == pytest.approx((0.150, 0.0125))


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        ({"tp_size": "64", "moe_tp_size": "8", "moe_ep_size": "8"}, "tp8-ep"),
        ({"tp_size": "1", "attention_dp_size": "64", "moe_tp_size": "8", "moe_ep_size": "8"}, "tp1-dp8-ep"),
        ({"tp_size": "4", "attention_dp_size": "4", "moe_tp_size": "1", "moe_ep_size": "16"}, "tp1-dp4-ep"),
        ({"tp_size": "4", "moe_tp_size": "2", "moe_ep_size": "2", "silicon_data_source": "x; concurrency=8"}, "tp4-ep"),
        ({"system": "b200_sxm"}, "tp4-ep"),
    ],
)
def test_multiplied_shapes_are_read_as_the_node_they_are(
    rows: ModuleType, tmp_path: Path, change: dict[str, str], shape: str
) -> None:
    """What one converter multiplied is divided again; other sources are taken at their word."""
    (row,), _ = rows.read_rows(write(tmp_path, change))
    assert row.parallel == shape


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mode": "disagg"}, "split prefill and decode"),
        ({"model_path": "who/knows"}, "unknown to kvplan"),
        ({"system": "gb200", "tp_size": "36", "moe_tp_size": "36"}, "disaggregated fleet"),
        ({"silicon_data_source": "x; gtl_job_id=1"}, "behind a router"),
        (
            {
                "model_path": "deepseek-ai/DeepSeek-R1",
                "backend": "trtllm",
                "silicon_data_source": "x; image=nvcr.io#nvidia/release:1.2.0rc6.post3",
            },
            "speculative decoding",
        ),
    ],
)
def test_rows_left_out_say_why(rows: ModuleType, tmp_path: Path, change: dict[str, str], words: str) -> None:
    """One reason for each row, and none of them is scored."""
    kept, left_out = rows.read_rows(write(tmp_path, change))
    assert not kept
    ((reason, count),) = left_out.items()
    assert words in reason
    assert count == 1


def test_the_same_measurement_counts_once(rows: ModuleType, tmp_path: Path) -> None:
    """Another id and another name of the model, the same figures: one row."""
    model = {"model_path": "deepseek-ai/DeepSeek-R1", "backend": "sglang"}
    kept, left_out = rows.read_rows(
        write(tmp_path, model, {**model, "id": "b", "model_path": "deepseek-ai/DeepSeek-V3"})
    )
    assert len(kept) == 1
    assert sum(left_out.values()) == 1


def test_gpt_oss_is_mxfp4_whatever_the_label(rows: ModuleType, tmp_path: Path) -> None:
    """The file calls it nvfp4."""
    (row,), _ = rows.read_rows(write(tmp_path, {"model_path": "openai/gpt-oss-120b", "gemm_quant_mode": "nvfp4"}))
    assert row.weights == "mxfp4"
