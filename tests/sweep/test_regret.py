"""Regret across scenarios by closed forms: one GPU carries one request/s, so fleets and costs are counted by hand."""

from __future__ import annotations

import csv
import io
import json

import pytest

from planner import pipeline
from planner.errors import InputError
from planner.report.regret import regret_csv, regret_json, regret_markdown, regret_text
from planner.sweep.regret import regret
from planner.sweep.regret_types import AS_WRITTEN, Regret

HOURS = 730


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Five requests/s, a cheap pool and a dear one, and what may come."""
    folder = tmp_path_factory.mktemp("regret")
    (folder / "m.csv").write_text("gpu,class,requests_per_s\nl40s-48gb,c,1\n")
    (folder / "scenario.yaml").write_text(
        "kvplan: 1\nname: choices\nmodels:\n  m: {capacity_table: m.csv}\n"
        "traffic:\n  c: {model: m, peak: 5 req/s}\ninventory:\n"
        "  cheap: {gpu: l40s-48gb, region: r, available: 9 nodes, gpus_per_node: 1, price: $1/gpu/h, source: x}\n"
        "  dear: {gpu: l40s-48gb, region: s, available: 9 nodes, gpus_per_node: 1, price: $2/gpu/h, source: x}\n"
        "what_if:\n  busy: {traffic.c.peak: 8 req/s}\n  quiet: {traffic.c.peak: 2 req/s}\n"
        "  scarce: {inventory.cheap.available: 2 nodes}\n  too-much: {traffic.c.peak: 90 req/s}\n"
        "  gone: {inventory.cheap.available: 0 nodes}\n"
        "  monthly: {traffic.c.growth: 5%/mo, horizon: 3mo}\n"
    )
    return str(folder / "scenario.yaml")


@pytest.fixture(scope="module")
def document(file: str) -> Regret:
    """All that may come but too much."""
    return regret(file, ["busy", "quiet", "scarce"])


def found(document: Regret) -> dict[str, list[float | None]]:
    """Regret an hour of every fleet under every scenario, None where it breaks."""
    return {
        row.scenario: [None if c.regret_per_month is None else float(c.regret_per_month) / HOURS for c in row.under]
        for row in document.fleets
    }


def test_every_fleet_under_every_scenario(document: Regret) -> None:
    """Tests the table: 5, 8 and 2 cheap GPUs, and 2 cheap with 3 dear, each at its own cost or broken."""
    assert document.scenarios == (AS_WRITTEN, "busy", "quiet", "scarce")
    assert {row.scenario: row.gpus for row in document.fleets} == {AS_WRITTEN: 5, "busy": 8, "quiet": 2, "scarce": 5}
    assert found(document) == {
        AS_WRITTEN: [0, None, 3, None],
        "busy": [3, 0, 6, None],
        "quiet": [None, None, 0, None],
        "scarce": [3, None, 6, 0],
    }
    assert all(cell.holds == (cell.regret_per_month is not None) for row in document.fleets for cell in row.under)
    broken = [cell for row in document.fleets for cell in row.under if not cell.holds]
    assert all(cell.broken for cell in broken)
    (scarce,) = document.fleets[0].under[3].broken
    assert scarce.path == "inventory.cheap" and scarce.text.startswith("5 nodes of 2 nodes, that replicas stand on")
    (busy,) = document.fleets[0].under[1].broken
    assert (busy.path, busy.times) == ("traffic.c.peak", "1.6") and busy.text.startswith("160% of what the replicas")


def test_the_choice_regrets_least_at_worst(file: str, document: Regret) -> None:
    """Tests that only fleets that hold everywhere are chosen, the one of least largest regret."""
    assert document.choice is None and document.reason.startswith("no fleet holds everywhere")
    able = regret(file, ["busy", "quiet"])
    assert able.choice == "busy"
    assert [row.most_regret_per_month for row in able.fleets] == [None, "4380.00", None]
    assert able.reason == "regrets at most $4,380.00 a month, the least: no other holds everywhere"
    mild = regret(file, ["quiet"], ["traffic.c.peak=3 req/s"])
    assert mild.choice == AS_WRITTEN and mild.sets == ("traffic.c.peak=3 req/s",)
    hopeless = regret(file, ["too-much"])
    assert hopeless.choice == AS_WRITTEN and hopeless.reason.endswith("there is no plan at all for too-much")
    nothing = regret(file, ["too-much"], ["traffic.c.peak=80 req/s"])
    assert (nothing.choice, nothing.reason) == (None, "there is no plan for any of them")


def test_the_pages_say_the_same(document: Regret) -> None:
    """Tests text, Markdown, CSV and JSON against the document."""
    text = regret_text(document)
    assert "choices   4 fleets under 4 scenarios" in text and "the fleet for quiet under busy" in text
    markdown = regret_markdown(document)
    assert "| `busy` | 8 | $5,840.00 | +$2,190.00 | +$0.00 | +$4,380.00 | breaks | - |" in markdown
    rows = list(csv.DictReader(io.StringIO(regret_csv(document))))
    assert len(rows) == 16 and rows[4]["regret_per_month [$]"] == "2190.00" and rows[1]["holds"] == "no"
    assert json.loads(regret_json(document))["fleets"][1]["under"][2]["regret_per_month"] == "4380.00"


def test_many_scenarios_are_counted(file: str) -> None:
    """Tests that a terminal counts the scenarios in which a fleet holds where they are too many for columns."""
    names = ["busy", "quiet", "scarce", "too-much", "gone"]
    text = regret_text(regret(file, names))
    assert "holds under" in text and "3 of 6" in text and "under busy  " not in text
    assert "inventory.cheap: 5 nodes of 0 nodes, that replicas stand on" in " ".join(text.split())


def test_fleets_over_time_are_refused(file: str) -> None:
    """Tests that a scenario whose fleet changes by the month is an error that names it."""
    with pytest.raises(InputError) as caught:
        regret(file, ["monthly"])
    (problem,) = caught.value.diagnostics
    assert problem.code == "KV454" and problem.message.startswith("monthly: ")
    assert pipeline.load(file, (), ["monthly"]).timed
