"""Tests of `kvplan latency` from outside: rows, units, formats, files, mistakes, what it loads."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from planner.cli.main import kvplan
from planner.errors import InputError

LLAMA = ("llama-3.1-70b", "--gpu", "h100-sxm-80gb", "--tp", "4", "--weights", "fp8", "--engine", "vllm@0.24")
ASKED = (*LLAMA, "--kv-dtype", "fp8", "--input", "1024", "--output", "512")
ROW_KEYS = {
    "batch", "prefill_ms", "decode_step_ms", "tpot_ms", "ttft_ms", "output_tokens_per_s", "provider", "band",
    "breakdown",
}  # fmt: skip


def _run(*args: str) -> Result:
    return CliRunner().invoke(kvplan, ["latency", *args], standalone_mode=True)


def _rows(*args: str) -> list[dict[str, Any]]:
    done = _run(*args, "--format", "json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert isinstance(rows, list)
    return rows


def test_json_is_a_list_of_rows() -> None:
    """Tests the keys of a row, that parts add up to the step, and that time is in milliseconds."""
    rows = _rows(*ASKED, "--batch", "1,64")
    assert [row["batch"] for row in rows] == [1, 64]
    for row in rows:
        assert row.keys() >= ROW_KEYS
        assert sum(row["breakdown"].values()) == pytest.approx(row["decode_step_ms"], abs=1e-6)
        assert row["breakdown"].keys() >= {"weights", "attention", "all_reduce"}
        assert row["provider"].startswith("roofline")
        assert row["band"]["tpot_p10"] < row["band"]["tpot_p90"]
    assert 8 < rows[0]["tpot_ms"] < 14
    assert rows[0]["tpot_ms"] == pytest.approx(rows[0]["decode_step_ms"])


@pytest.mark.parametrize("shape", [("--tp", "4"), ("--parallel", "tp4")])
def test_both_ways_to_write_the_shape(shape: tuple[str, str]) -> None:
    """Tests that --tp 4 and --parallel tp4 are the same question."""
    flags = ("--gpu", "h100-sxm-80gb", "--input", "1024", "--output", "64", "--batch", "8")
    rows = _rows("llama-3.1-8b", *shape, *flags)
    assert rows[0]["parallel"] == "tp4"
    assert rows[0]["tpot_ms"] == _rows("llama-3.1-8b", "--tp", "4", *flags)[0]["tpot_ms"]


def test_batches_beyond_the_pool_bend() -> None:
    """Tests that users whom the KV pool does not hold wait: tokens/s stay, TTFT grows, and the row says so."""
    flags = ("--gpu", "h100-sxm-80gb", "--input", "4000", "--output", "500", "--batch", "32,200,400")
    few, over, more = _rows("llama-3.1-8b", *flags)
    assert few["waiting"] == 0 and few["held_back_by"] is None
    assert over["waiting"] == 200 - over["running"] > 0
    assert "KV pool" in over["held_back_by"]
    assert more["output_tokens_per_s"] == pytest.approx(over["output_tokens_per_s"])
    assert more["ttft_ms"] > 2 * over["ttft_ms"]
    assert "the KV pool holds" in _run("llama-3.1-8b", *flags).output


def test_a_promise_is_marked() -> None:
    """Tests the mark in the table, the flag in JSON and the sentence that says how far the promise is kept."""
    flags = (*ASKED, "--batch", "1,64,256", "--slo-tpot", "45ms")
    assert [row["keeps_slo"] for row in _rows(*flags)] == [True, True, False]
    page = _run(*flags).output
    assert "TPOT 45 ms: kept up to batch 64" in page
    assert page.count("*") == 2  # the row and the legend


def test_prefix_hits_and_speculation_change_the_figures() -> None:
    """Tests that hits shorten the prefill and accepted drafts the TPOT, and that the page says what was assumed."""
    (plain,) = _rows(*ASKED, "--batch", "16")
    (hit,) = _rows(*ASKED, "--batch", "16", "--prefix-hits", "30%")
    (drafted,) = _rows(*ASKED, "--batch", "16", "--accepted-tokens", "2.4")
    assert hit["prefill_ms"] < plain["prefill_ms"] and hit["decode_step_ms"] == plain["decode_step_ms"]
    assert drafted["tpot_ms"] < plain["tpot_ms"] and drafted["decode_step_ms"] > plain["decode_step_ms"]
    assert {"--speculative-tokens", "--step-overhead"} <= {each["flag"] for each in drafted["defaults"]}


def test_csv_and_markdown() -> None:
    """Tests that CSV has one line a batch under named columns, and Markdown a table with a bold broken promise."""
    done = _run(*ASKED, "--batch", "1,16", "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [line["batch"] for line in lines] == ["1", "16"]
    parts = sum(float(value) for name, value in lines[0].items() if name in PART_COLUMNS)
    assert parts == pytest.approx(float(lines[0]["decode_step_ms"]), abs=1e-6)
    page = _run(*ASKED, "--batch", "1,256", "--format", "md", "--slo-tpot", "45ms").stdout
    assert page.count("\n| ") == 4 and "**" in page


PART_COLUMNS = tuple(
    f"{name}_ms" for name in ("weights", "attention", "experts", "all_reduce", "elementwise", "logits", "overhead")
)


def test_files(tmp_path: Path) -> None:
    """Tests that .json gets the rows and .svg the curve with its promise, each whole, and nothing else is printed."""
    target = tmp_path / "rows.json"
    done = _run(*ASKED, "--batch", "1", "-o", str(target))
    assert (done.exit_code, done.output) == (0, "")
    assert json.loads(target.read_text(encoding="utf-8"))[0]["batch"] == 1
    picture = tmp_path / "curve.svg"
    done = _run(*ASKED, "--slo-tpot", "45ms", "-o", str(picture))
    assert done.exit_code == 0
    text = picture.read_text(encoding="utf-8")
    assert text.startswith("<svg") and text.rstrip().endswith("</svg>")
    assert "promise 45 ms" in text and text.count("<polyline") == 2


def test_the_curve_in_the_terminal() -> None:
    """Tests that both panels and the promise are drawn."""
    page = _run(*ASKED, "--curve", "--slo-tpot", "45ms").stdout
    assert "TPOT ms" in page and "tokens/s" in page and "promise 45 ms" in page
    assert max(map(len, page.splitlines())) <= 100


def test_every_mistake_at_once() -> None:
    """Tests that flags that cannot be read and names that are unknown are told together, without a traceback."""
    done = _run("lama-3.1-8b", "--gpu", "h100", "--input", "8k", "--batch", "0", "--slo-tpot", "45", "--provider", "x")
    assert done.exit_code == 2
    for words in ("--input:", "--batch:", "--output:", "--slo-tpot:", "--provider:", "MODEL:", "--gpu:"):
        assert words in done.output


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--output", "1"), "at least 2"),
        (("--provider", "measured"), "add --measured FILE"),
        (("--speculative-tokens", "3"), "needs --accepted-tokens"),
        (("--accepted-tokens", "5", "--speculative-tokens", "2"), "more than the 3 tokens"),
        (("--prefix-hits", "0.3"), "write it like 0.5%"),
        (("--accepted-tokens", "0.5"), "at least 1"),
        (("--step-overhead", "10%"), "needs --accepted-tokens"),
    ],
)
def test_mistakes_say_what_to_write(flags: tuple[str, ...], says: str) -> None:
    """Tests one sentence a mistake."""
    base = ["llama-3.1-8b", "--gpu", "h100-sxm-80gb", "--input", "1024"]
    done = _run(*base, *(() if "--output" in flags else ("--output", "64")), *flags)
    assert done.exit_code == 2
    assert says in done.output


def test_a_replica_without_latency_is_refused_by_name() -> None:
    """Tests that a GPU of an architecture that nobody measured is refused with what is covered."""
    done = CliRunner().invoke(
        kvplan, ["latency", "llama-3.1-8b", "--gpu", "v100-sxm-32gb", "--input", "64", "--output", "8"]
    )
    error = done.exception
    assert isinstance(error, InputError)
    assert "KV970" in str(error) and "h100-sxm-80gb" in str(error)


def test_weights_that_do_not_fit_are_said() -> None:
    """Tests that a replica that cannot start still gets its times, with the reason on every row."""
    (row,) = _rows("llama-3.1-70b", "--gpu", "h100-sxm-80gb", "--input", "64", "--output", "8", "--batch", "1")
    assert row["misfit"]


DATA = Path(__file__).parents[1] / "data/latency"
SAID = (
    "--model", "llama-3.1-8b", "--gpu", "h100-sxm-80gb", "--engine", "vllm@0.24.0", "--parallel", "tp1", "--weights",
    "bf16", "--kv-dtype", "bf16", "--source", "bench host 3, 2026-11-20",
)  # fmt: skip


def _import(*args: str) -> Result:
    return CliRunner().invoke(kvplan, ["catalog", "import-latency", *args])


def test_import_then_ask(tmp_path: Path) -> None:
    """Tests the way of a user: results become a profile, the profile answers exactly and calibrates the rest."""
    profile = tmp_path / "h100.yaml"
    done = _import(str(DATA / "vllm-appended.json"), str(DATA / "guidellm.json"), *SAID, "-o", str(profile))
    assert (done.exit_code, done.output) == (0, "")
    flags = ("--gpu", "h100-sxm-80gb", "--engine", "vllm@0.24", "--input", "1024", "--output", "256")
    rows = _rows("llama-3.1-8b", *flags, "--batch", "32,48", "--measured", str(profile))
    assert rows[0]["tpot_ms"] == 10.6 and rows[0]["ttft_ms"] == 105
    assert rows[0]["provider"].startswith("measured") and len(rows[0]["measured"]) == 2
    measured, calibrated = (row["tpot_ms"] / row["tpot_uncalibrated_ms"] for row in rows)
    assert rows[1]["calibrated"] and abs(calibrated - 1) > 0.01 and (measured > 1) == (calibrated > 1)
    assert rows[1]["warnings"] == []
    page = _run("llama-3.1-8b", *flags, "--batch", "32,48", "--measured", str(profile)).output
    assert "measured" in page and f"calibrated x {calibrated:.2f}" in page and "without the measured runs" in page


def test_raw_results_are_taken_for_what_is_asked() -> None:
    """Tests that results that do not say their replica are taken as the one asked, and that the page says so."""
    flags = ("--gpu", "h100-sxm-80gb", "--engine", "vllm@0.24", "--input", "1024", "--output", "256")
    (row,) = _rows("llama-3.1-8b", *flags, "--batch", "8", "--measured", str(DATA / "aiperf-c8.json"))
    assert row["tpot_ms"] == 7.4
    assert "does not say its replica: taken as the one that is asked" in row["warnings"][0]


def test_import_mistakes() -> None:
    """Tests that wrong results are told all at once, and that nothing is printed."""
    done = _import(str(DATA / "aiperf-not-streamed.json"), str(DATA / "vllm-not-streamed.json"), *SAID)
    assert isinstance(done.exception, InputError)
    assert str(done.exception).count("KV972") == 2 and done.stdout == ""
    done = _import(str(DATA / "vllm-c32.json"), *SAID, "--slo-tpot", "45")
    assert done.exit_code == 2 and "--slo-tpot" in done.output


def test_nothing_heavy_is_loaded() -> None:
    """Tests that a question without measured files loads no solver, no schema, no rich: it must appear at once."""
    words = ["kvplan", "latency", *ASKED, "--batch", "1"]
    heavy = ("ortools", "torch", "pandas", "scipy", "rich", "pydantic")
    code = (
        "import sys; from planner.cli import main; main.watch_interrupts = lambda: None\n"
        f"sys.argv = {words!r}\n"
        "try: main.main()\n"
        "except SystemExit as end: assert not end.code\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"


def test_an_engine_that_never_evicts_runs_what_fits_to_the_end() -> None:
    """Tests that TensorRT-LLM holds 1,024 + 8,192 tokens for each request where vLLM holds their mean.

    Measured: 3,242 tokens/s, TensorRT-LLM's performance overview, Llama 3.3 70B FP4 on one B200.
    """
    flags = ("--gpu", "b200-sxm-180gb", "--weights", "nvfp4", "--kv-dtype", "fp8", "--batch", "4000")
    asked = ("llama-3.3-70b-instruct", *flags, "--input", "1024", "--output", "8192")
    reserved = _rows(*asked, "--engine", "tensorrt-llm@1.2")[0]
    grown = _rows(*asked, "--engine", "vllm@0.33")[0]
    assert reserved["running"] / grown["running"] == pytest.approx((1024 + 4096) / (1024 + 8192), rel=0.1)
    assert reserved["output_tokens_per_s"] == pytest.approx(3242, rel=0.1)
