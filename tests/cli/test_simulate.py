"""`kvplan simulate` from outside."""

from __future__ import annotations

import json
import xml.dom.minidom
from pathlib import Path

import pytest

MINUTE = ("--duration", "60s")


def test_all_formats_and_files(kvplan, tmp_path: Path) -> None:
    """Table, JSON, Markdown and picture are of the same replay; logs are written beside them."""
    plan = _simulated_plan(kvplan, tmp_path)
    log, metrics, picture = (str(tmp_path / name) for name in ("log.csv", "metrics.prom", "line.svg"))
    table = kvplan("simulate", plan, *MINUTE, "--log", log, "--metrics", metrics)
    tree = kvplan("simulate", plan, *MINUTE, "--format", "json")
    markdown = kvplan("simulate", plan, *MINUTE, "--format", "md")
    drawn = kvplan("simulate", plan, *MINUTE, "-o", picture)
    document = json.loads(tree.stdout)
    assert [done.returncode for done in (table, tree, markdown, drawn)] == [0 if document["kept"] else 7] * 4
    assert [done.stderr for done in (table, tree, markdown, drawn)] == [""] * 4
    verdict = document["verdicts"][0]
    assert verdict["class_name"] in table.stdout and verdict["class_name"] in markdown.stdout
    requests = document["replays"][0]["classes"][0]["requests"]
    assert f"{requests:,}" in table.stdout
    assert len(Path(log).read_text(encoding="utf-8").splitlines()) == requests + 1
    assert "vllm:num_requests_running" in Path(metrics).read_text(encoding="utf-8")
    assert xml.dom.minidom.parse(picture).documentElement.tagName == "svg"
    title = xml.dom.minidom.parse(picture).getElementsByTagName("text")[0].firstChild.data
    assert title.startswith("plan.json: ") and title.endswith("promises held")


def _simulated_plan(kvplan, tmp_path: Path) -> str:
    path = str(tmp_path / "plan.json")
    assert kvplan("solve", "examples/01-first-plan/scenario.yaml", "-q", "-o", path).returncode == 0
    return path


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        ((), 1, "KV722"),  # a plan from a capacity table
        (("--trace", "x.csv"), 2, "which class"),
        (("--duration", "3"), 2, "write one like 30min"),
        (("--router", "best"), 2, "by_length"),
        (("--scale", "0"), 2, "0"),
        (("--log", "/nowhere/x.csv"), 1, "No such file"),
    ],
)
def test_mistakes(kvplan, plan_file: Path, args: tuple[str, ...], code: int, says: str) -> None:
    """What is wrong is said in one line, and nothing is written."""
    done = kvplan("simulate", str(plan_file), *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr


def test_a_broken_promise(kvplan, tmp_path: Path) -> None:
    """A trace of ten times the traffic in bursts fails, and the exit code says so."""
    plan = _simulated_plan(kvplan, tmp_path)
    trace = tmp_path / "burst.csv"
    rows = [f"{number // 200 * 10},1000,100" for number in range(3000)]
    trace.write_text("arrival_s,input_tokens,output_tokens\n" + "\n".join(rows) + "\n", encoding="utf-8")
    done = kvplan("simulate", plan, "--trace", str(trace), "--format", "md")
    assert done.returncode == 7
    assert "FAILED" in done.stdout
