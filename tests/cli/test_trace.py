"""Tests of `kvplan trace summarize`: its document in three forms, its plot, and its refusals."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import yaml
from click.testing import CliRunner, Result

from planner.cli.main import kvplan

ROOT = Path(__file__).parents[2]
CONV = str(ROOT / "scenarios" / "traces" / "azure_llm_2023_conv.csv.gz")


def run(*arguments: str) -> Result:
    """The command's result."""
    return CliRunner().invoke(kvplan, ["trace", "summarize", *arguments])


def test_json_has_every_figure() -> None:
    """Tests the keys of the document and some of their values."""
    result = run(CONV, "--format", "json")
    found = json.loads(result.stdout)
    assert set(found) == {
        *("format_version", "file", "format", "columns", "sha256", "bad_rows", "requests", "duration_s", "mean_rps"),
        *("peak_rps", "recommended_window", "interarrival_cv", "input_tokens", "output_tokens", "correlation"),
        *("prefix_share", "in_flight_kv_tokens"),
    }
    assert found["requests"] == 19_366 and found["bad_rows"] == {"count": 0, "shown": []}
    assert found["peak_rps"] == {"10s": 11.2, "1min": 8.7, "10min": 7.56}
    assert set(found["input_tokens"]) == {"mean", "p50", "p90", "p95", "p99", "max"}
    assert found["prefix_share"] is None


def test_yaml_is_a_class_of_the_language() -> None:
    """Tests that the pasted class is read by the scenario language."""
    text = run(CONV, "--format", "yaml").stdout
    (name, pasted), *rest = yaml.safe_load("traffic:\n" + text)["traffic"].items()
    assert name == "azure-llm-2023-conv" and not rest
    assert pasted["peak"] == "8.7 req/s" and pasted["mean"] == "5.530422 req/s"
    assert pasted["input_tokens"] == {"p50": 1020, "p90": 2735, "p95": 4083, "p99": 4142, "max": 14_050}


def test_the_page_shows_bad_rows(tmp_path: Path) -> None:
    """Tests that rows that were left out stand on the page with their lines."""
    log = tmp_path / "log.csv"
    log.write_text("arrival_s,input_tokens,output_tokens\n0,5,5\n1,x,5\n2,5,5\n")
    result = run(str(log))
    assert result.exit_code == 0
    assert "1 rows (33.33%) are wrong" in result.stdout
    assert "line 3: input_tokens: 'x' is not a number" in result.stdout


def test_the_plot_is_a_picture_and_the_document_stays_on_stdout(tmp_path: Path) -> None:
    """Tests that -o FILE.svg adds a picture, and another name takes the document."""
    picture, page = tmp_path / "log.svg", tmp_path / "log.json"
    assert run(CONV, "-o", str(picture)).stdout.startswith(" 19,366 requests")
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    result = run(CONV, "--format", "json", "-o", str(page))
    assert result.stdout == "" and json.loads(page.read_text())["requests"] == 19_366


def test_wrong_input_and_wrong_flags_are_told_apart(tmp_path: Path) -> None:
    """Tests that a bad file is an input mistake and a bad duration a usage mistake."""
    log = tmp_path / "log.csv"
    log.write_text("a,b\n1,2\n")
    assert "KV712" in str(run(str(log)).exception)
    assert run(CONV, "--tpot", "50").exit_code == 2
    assert run(CONV, "-o", CONV).exit_code == 2
