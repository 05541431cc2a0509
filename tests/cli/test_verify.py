"""`kvplan verify` from outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def files(kvplan, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """A plan, and the log and metrics of a fleet with slower steps."""
    folder = tmp_path_factory.mktemp("verify")
    plan, fleet, log, metrics = (str(folder / name) for name in ("plan.json", "fleet.json", "log.csv", "metrics.json"))
    assert kvplan("solve", "examples/09-verify/scenario.yaml", "-q", "-o", plan).returncode == 0
    assert kvplan("solve", "examples/09-verify/what-happened.yaml", "-q", "-o", fleet).returncode == 0
    kvplan("simulate", fleet, "--duration", "90s", "--log", log, "--metrics", metrics)
    return plan, log, metrics


def test_all_formats(kvplan, files, tmp_path: Path) -> None:
    """Table, JSON and Markdown name the same cause; exit 5; the calibration is written beside them."""
    plan, log, metrics = files
    measured, page = tmp_path / "measured.csv", tmp_path / "page.md"
    args = ("verify", plan, "--log", log, "--metrics", metrics)
    table = kvplan(*args, "--calibration", str(measured))
    tree = kvplan(*args, "--format", "json")
    markdown = kvplan(*args, "--format", "md", "-o", str(page))
    assert [done.returncode for done in (table, tree, markdown)] == [5, 5, 5]
    assert (markdown.stdout, table.stderr, tree.stderr) == ("", "", "")
    document = json.loads(tree.stdout)
    assert [cause["kind"] for cause in document["causes"]] == ["decode"]
    assert document["outside"] and document["is_explained"]
    for text in (table.stdout, page.read_text(encoding="utf-8")):
        assert "decode is slower than predicted" in text
    assert measured.read_text(encoding="utf-8").startswith("model,gpu,")


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("--log", "/nowhere/log.csv"), 1, "KV711"),
        (("--log", "nobody={log}"), 1, "KV734"),
        (("--log", "{log}", "--metrics", "/nowhere/metrics"), 1, "KV731"),
        (("--log", "{log}", "--metrics", "{log}"), 1, "KV732"),
        (("--log", "{log}", "--log", "{log}"), 2, "given twice"),
        (("--log", "{log}", "--log", "a={log}"), 2, "of which class"),
        (("--log", "{log}", "-o", "{log}"), 2, "is an input"),
        (("--log", "{log}", "-o", "x.csv", "--calibration", "x.csv"), 2, "same file"),
        ((), 2, "--log"),
    ],
)
def test_mistakes(kvplan, files, args: tuple[str, ...], code: int, says: str) -> None:
    """What is wrong is said, and nothing is written."""
    plan, log, _ = files
    done = kvplan("verify", plan, *(arg.format(log=log) for arg in args))
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr


def test_a_plan_from_a_capacity_table(kvplan, files, plan_file: Path) -> None:
    """Such a plan says nothing of latency or memory."""
    done = kvplan("verify", str(plan_file), "--log", files[1])
    assert (done.returncode, done.stdout) == (1, "")
    assert "KV722" in done.stderr
