"""Tests that effects are those of each edit alone, and that they add up to the cent."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from planner import pipeline
from planner.plan import io
from planner.plan.diff_types import Diff, WhatIf
from planner.plan.types import Plan
from planner.sweep.compare import diff, what_if

BASE = """\
kvplan: 1
name: measured
models:
  m: {capacity_table: m.csv}
traffic:
  short: {model: m, peak: 3 req/s, mean: 1 req/s}
  long: {model: m, peak: 2 req/s, mean: 1 req/s}
inventory:
  one: {gpu: l40s-48gb, region: north, available: 4 nodes, gpus_per_node: 1, price: $1.553/gpu/h, source: x}
  two: {gpu: a100-sxm-80gb, region: north, available: 3 nodes, gpus_per_node: 2, price: $1.29/gpu/h, source: x}
  paid: {gpu: l40s-48gb, region: north, committed: 1 nodes, gpus_per_node: 1, price: $1.20/gpu/h, source: x}
reserve: {utilization: 95%}
budget: {monthly: $20_000}
guardrails: {step: {change_above: 10%}}
"""
TABLE = """\
gpu,class,requests_per_s
l40s-48gb,short,1
l40s-48gb,long,0.4
a100-sxm-80gb,short,1.5
a100-sxm-80gb,long,1.2
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the base scenario and its table."""
    (tmp_path / "m.csv").write_text(TABLE)
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def compared(folder: Path, head: str, **options: bool) -> Diff:
    """The diff of the base with another text."""
    (folder / "head.yaml").write_text(head)
    return diff(str(folder / "base.yaml"), str(folder / "head.yaml"), **options)


def changed(*pairs: tuple[str, str]) -> str:
    """The base with texts replaced, each of which must stand there."""
    text = BASE
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


def monthly(folder: Path, text: str) -> Decimal | None:
    """The monthly cost of a scenario to the cent, planned on its own; None without a plan."""
    (folder / "alone.yaml").write_text(text)
    plan = pipeline.plan(pipeline.load(folder / "alone.yaml"))
    if plan.totals is None:
        return None
    return Decimal(plan.totals.cost_per_month).quantize(Decimal("0.01"), ROUND_HALF_UP)


EDITS = (
    ("peak: 3 req/s", ("peak: 1.2 req/s", "peak: 2 req/s", "peak: 4.4 req/s", "peak: 6 req/s")),
    ("peak: 2 req/s", ("peak: 1 req/s", "peak: 2.6 req/s", "peak: 3.3 req/s", "peak: 5 req/s")),
    ("mean: 1 req/s}\n  long", ("mean: 0.4 req/s}\n  long", "mean: 1.1 req/s}\n  long")),
    ("available: 4 nodes", ("available: 1 nodes", "available: 2 nodes", "available: 9 nodes")),
    ("available: 3 nodes", ("available: 1 nodes", "available: 6 nodes")),
    ("committed: 1 nodes", ("committed: 2 nodes", "committed: 3 nodes")),
    ("price: $1.553/gpu/h", ("price: $0.9011/gpu/h", "price: $2.107/gpu/h")),
    ("price: $1.29/gpu/h", ("price: $0.771/gpu/h", "price: $3.333/gpu/h", "price: $2.58/node/h")),
    ("utilization: 95%", ("utilization: 80%", "utilization: 100%")),
    ("{utilization: 95%}", ("{utilization: 95%, spare: {nodes: 1}}", "{utilization: 95%, spare: {replicas: 1}}")),
    ("monthly: $20_000", ("monthly: $6_000", "monthly: $90_000")),
    ("change_above: 10%", ("change_above: 30%",)),
    ("name: measured", ("name: measured\nowner: someone",)),
)


def random_head(rng: random.Random) -> tuple[str, list[tuple[str, str]]]:
    """The base with some edits that do not touch the same text, and those edits."""
    chosen = []
    for old, news in rng.sample(EDITS, rng.randint(1, 5)):
        if not any(old in other or other in old for other, _ in chosen):
            chosen.append((old, rng.choice(news)))
    return changed(*chosen), chosen


@pytest.mark.parametrize("block", range(20))
def test_effects_add_up_to_the_cent(block: int, folder: Path) -> None:
    """Tests on 200 random pairs that total = effects + interaction, and that both totals are those of the plans."""
    for seed in range(10 * block, 10 * block + 10):
        head, _ = random_head(random.Random(seed))
        found = compared(folder, head)
        before, after = monthly(folder, BASE), monthly(folder, head)
        assert (found.cost_per_month.base, found.cost_per_month.head) == tuple(
            None if amount is None else str(amount) for amount in (before, after)
        ), seed
        if found.equal or after is None or before is None:
            assert found.interaction_per_month is None
            continue
        assert Decimal(found.cost_per_month.change or "") == after - before
        parts = [row.effect_per_month for row in found.attribution] + [found.interaction_per_month]
        assert all(re.fullmatch(r"-?\d+\.\d\d", part) for part in parts if part is not None), (seed, parts)
        assert sum(Decimal(part) for part in parts if part is not None) == after - before, (seed, parts)


@pytest.mark.parametrize("seed", range(8))
def test_an_effect_is_that_of_the_edit_alone(seed: int, folder: Path) -> None:
    """Tests each row against the base with that one line changed, planned on its own."""
    head, chosen = random_head(random.Random(1_000 + seed))
    found = compared(folder, head)
    base = monthly(folder, BASE)
    assert base is not None
    if found.equal or not chosen:
        return
    alone = []
    for edit in chosen:
        if edit[1] == "price: $2.58/node/h":
            continue  # two GPUs at $1.29: the same in other words
        cost = monthly(folder, changed(edit))
        alone.append(None if cost is None else str(cost - base))
    rows = [row.effect_per_month for row in found.attribution]
    assert sorted(map(str, rows)) == sorted(map(str, alone))


def test_two_edits_that_matter_only_together(folder: Path) -> None:
    """Tests that the interaction carries what neither edit does alone: dearer nodes that only more traffic needs."""
    base = (("peak: 3 req/s", "peak: 1 req/s"), ("peak: 2 req/s", "peak: 0.2 req/s"), ("mean: 1", "mean: 0.1"))
    (folder / "base.yaml").write_text(changed(*base))
    head = changed(("peak: 2 req/s", "peak: 0.2 req/s"), ("mean: 1", "mean: 0.1"), ("$1.553", "$1.253"))
    found = compared(folder, head)
    rows = {row.paths[0]: Decimal(row.effect_per_month or "nan") for row in found.attribution}
    total = Decimal(found.cost_per_month.change or "")
    assert set(rows) == {"traffic.short.peak", "inventory.one.price"}
    assert Decimal(found.interaction_per_month or "") == total - sum(rows.values()) != 0


def test_edits_that_only_make_sense_together_are_one_row(folder: Path) -> None:
    """Tests a new class of a measured model: the class, and the table that must have rows for it."""
    (folder / "new").mkdir()
    (folder / "new/m.csv").write_text(TABLE + "l40s-48gb,mid,2\na100-sxm-80gb,mid,3\n")
    head = changed(
        ("inventory:", "  mid: {model: m, peak: 4 req/s, mean: 1 req/s}\ninventory:"), ("peak: 2", "peak: 3")
    )
    (folder / "new/head.yaml").write_text(head)
    found = diff(str(folder / "base.yaml"), str(folder / "new/head.yaml"))
    assert sorted(sorted(row.paths) for row in found.attribution) == [
        ["models.m.capacity_table", "traffic.mid"],
        ["traffic.long.peak"],
    ]
    assert {edit.path: (edit.before, edit.after) for edit in found.edits} == {
        "models.m.capacity_table": ("m.csv", "m.csv (the file changed)"),
        "traffic.long.peak": ("2 req/s", "3 req/s"),
        "traffic.mid": (None, "{model: m, peak: 4 req/s, mean: 1 req/s}"),
    }


def test_an_edit_that_has_no_plan_alone_says_why(folder: Path) -> None:
    """Tests more traffic than the stock carries, beside the stock that carries it."""
    found = compared(
        folder, changed(("peak: 3 req/s", "peak: 30 req/s"), ("available: 4 nodes", "available: 60 nodes"))
    )
    rows = {row.paths[0]: row for row in found.attribution}
    assert rows["traffic.short.peak"].effect_per_month is None
    assert "no single line stands in the way" in (rows["traffic.short.peak"].infeasible or "")
    assert rows["inventory.one.available"].effect_per_month == "0.00"
    assert found.interaction_per_month == found.cost_per_month.change


def test_other_words_for_the_same_are_no_edits(folder: Path) -> None:
    """Tests units, grouping, defaults written out, comments and order: nothing is listed, nothing is solved twice."""
    head = changed(
        ("peak: 3 req/s", "peak: 180 req/min"),
        ("monthly: $20_000", "monthly: $20000.00"),
        ("{utilization: 95%}", "{kv_headroom: 0%, utilization: 95.0%}   # as before"),
        ("name: measured", "objective: [cost, gpus, quality_loss]\nname: measured"),
    )
    found = compared(folder, head)
    assert (found.equal, found.edits, found.attribution) == (True, (), ())


def test_edits_without_effect_are_listed_and_equal(folder: Path) -> None:
    """Tests an owner and a looser guardrail: edits, but no difference."""
    found = compared(folder, changed(("name: measured", "name: measured\nowner: someone"), ("10%", "20%")))
    assert found.equal
    assert [edit.path for edit in found.edits] == ["guardrails.step.change_above", "owner"]


def test_a_longer_horizon_has_its_effect_where_traffic_grows(folder: Path) -> None:
    """Tests an edit that only matters over time: more months to grow in."""
    growing = changed(("peak: 3 req/s, mean: 1 req/s", "peak: 3 req/s, mean: 1 req/s, growth: 50%/mo")).replace(
        "name: measured", "name: measured\nhorizon: 1mo"
    )
    (folder / "base.yaml").write_text(growing)
    head = growing.replace("horizon: 1mo", "horizon: 2mo").replace("peak: 2 req/s", "peak: 2.6 req/s")
    effects = {row.paths: row.effect_per_month for row in compared(folder, head).attribution}
    assert Decimal(effects["horizon",] or 0) > 0


def test_many_edits_are_tried_by_block(folder: Path) -> None:
    """Tests that more edits than are worth a solve each are tried by entry, and that the diff says so."""
    names = [f"c{k}" for k in range(13)]
    table = "gpu,class,requests_per_s\n" + "".join(f"l40s-48gb,{n},9\na100-sxm-80gb,{n},20\n" for n in names)
    (folder / "m.csv").write_text(table)
    head, _, stock = BASE.partition("traffic:\n")
    stock = stock[stock.index("inventory:") :]
    base, new = (
        head + "traffic:\n" + "".join(f"  {n}: {{model: m, peak: {p} req/s, mean: {m} req/s}}\n" for n in names) + stock
        for p, m in ((1, "0.5"), (2, "0.6"))
    )
    (folder / "base.yaml").write_text(base)
    found = compared(folder, new)
    assert len(found.edits) == 26
    assert [len(row.paths) for row in found.attribution] == [2] * 13
    assert any("26 edits" in note and "13 solves" in note for note in found.notes)
    assert sum(Fraction(row.effect_per_month or 0) for row in found.attribution) + Fraction(
        found.interaction_per_month or 0
    ) == Fraction(found.cost_per_month.change or 0)


def saved(folder: Path, name: str, plan: Plan) -> str:
    """A plan document as a file."""
    path = folder / f"{name}.json"
    path.write_text(io.to_json(io.seal(plan)))
    return str(path)


def documents(folder: Path, head: str) -> tuple[Plan, Plan]:
    """Plans of the base and of another text."""
    (folder / "head.yaml").write_text(head)
    plans = [pipeline.plan(pipeline.load(folder / name), file=name) for name in ("base.yaml", "head.yaml")]
    return plans[0], plans[1]


def test_plan_documents_are_attributed_like_their_files(folder: Path) -> None:
    """Tests plan against plan, plan against scenario and scenario against plan: the same edits and effects."""
    text = changed(("peak: 3 req/s", "peak: 6 req/s"), ("price: $1.29/gpu/h", "price: $1.49/gpu/h"))
    base, head = documents(folder, text)
    files = str(folder / "base.yaml"), str(folder / "head.yaml")
    plans = saved(folder, "base", base), saved(folder, "head", head)
    expected = diff(*files)
    assert len(expected.attribution) == 2
    for sides in ((plans[0], plans[1]), (plans[0], files[1]), (files[0], plans[1])):
        found = diff(*sides)
        assert {(row.paths, row.effect_per_month) for row in found.attribution} == {
            (row.paths, row.effect_per_month) for row in expected.attribution
        }
        assert found.interaction_per_month == expected.interaction_per_month
        assert {edit.path: (edit.before, edit.after) for edit in found.edits} == {
            "traffic.short.peak": ("3 req/s", "6 req/s"),
            "inventory.two.price": ("$1.29/gpu/h", "$1.49/gpu/h"),
        }
        assert {Path(edit.place).name for edit in found.edits} == {"head.yaml:6", "head.yaml:10"}


def test_drift_is_told_apart_from_edits(folder: Path) -> None:
    """Tests a base that an older kvplan made dearer: the difference is the drift's, not the edit's."""
    base, head = documents(folder, changed(("peak: 3 req/s", "peak: 6 req/s")))
    assert base.totals is not None
    dear = str(Fraction(base.totals.cost_per_month) + 100)
    old = replace(
        base,
        run=replace(base.run, kvplan="0.0.9"),
        totals=replace(base.totals, cost_per_month=f"{Decimal(int(Fraction(dear) * 100)) / 100:.2f}"),
    )
    found = diff(saved(folder, "old", old), saved(folder, "head", head))
    assert [(row.kind, row.base, row.effect_per_month) for row in found.drift] == [("version", "0.0.9", "-100.00")]
    assert found.drift_per_month == "-100.00"
    expected = diff(str(folder / "base.yaml"), str(folder / "head.yaml"))
    assert [row.effect_per_month for row in found.attribution] == [row.effect_per_month for row in expected.attribution]
    assert found.interaction_per_month == "0.00"


def test_a_changed_plan_is_refused(folder: Path) -> None:
    """Tests that a plan whose money was edited by hand is not compared."""
    from planner.errors import InputError

    base, head = documents(folder, changed(("peak: 3 req/s", "peak: 6 req/s")))
    path = Path(saved(folder, "head", head))
    assert head.totals is not None
    path.write_text(path.read_text().replace(head.totals.cost_per_month, base.totals.cost_per_month))  # type: ignore[union-attr]
    with pytest.raises(InputError, match="KV807"):
        diff(saved(folder, "base", base), str(path))


def test_an_infeasible_head_says_which_edit(folder: Path) -> None:
    """Tests that conflicts are new, nothing is summed, and the edit that alone has no plan is named."""
    found = compared(folder, changed(("peak: 3 req/s", "peak: 300 req/s"), ("peak: 2 req/s", "peak: 1 req/s")))
    assert (found.head.status, found.cost_per_month.change, found.interaction_per_month) == ("infeasible", None, None)
    assert found.new_conflicts
    assert not found.deployments
    rows = {row.paths[0]: row for row in found.attribution}
    assert rows["traffic.short.peak"].infeasible
    assert rows["traffic.long.peak"].infeasible is None


def test_an_infeasible_base(folder: Path) -> None:
    """Tests that a head that mends the base has no effects to attribute, and that the diff says so."""
    (folder / "base.yaml").write_text(changed(("peak: 3 req/s", "peak: 300 req/s")))
    found = compared(folder, BASE)
    assert found.gone_conflicts
    assert found.attribution == ()
    assert any("the base has no plan" in note for note in found.notes)


def test_attribution_can_be_left_out(folder: Path) -> None:
    """Tests that edits stay listed when nothing is to be solved again."""
    found = compared(folder, changed(("peak: 3 req/s", "peak: 6 req/s")), attribute=False)
    assert [edit.path for edit in found.edits] == ["traffic.short.peak"]
    assert (found.attribution, found.interaction_per_month) == ((), None)


def names_and_costs(document: Diff | WhatIf) -> Sequence[tuple[str, str | None]]:
    """What each case costs."""
    assert isinstance(document, WhatIf)
    return [(case.name, case.diff.cost_per_month.head) for case in document.cases]


def test_what_if_compares_blocks_with_the_file(folder: Path) -> None:
    """Tests one case a block against the same texts planned on their own, overrides on top, and one case as a diff."""
    blocks = "what_if:\n  more: {traffic.short.peak: 6 req/s}\n  cheap: {inventory.*.price: $0.50/gpu/h}\n"
    path = folder / "base.yaml"
    path.write_text(BASE + blocks)
    found = what_if(str(path), ["more", "cheap"])
    assert names_and_costs(found) == [
        ("more", str(monthly(folder, changed(("peak: 3", "peak: 6"))))),
        ("cheap", str(monthly(folder, re.sub(r"\$1\.\d+/gpu", "$0.50/gpu", BASE)))),
    ]
    assert isinstance(found, WhatIf)
    assert [edit.place for edit in found.cases[0].diff.edits] == [f"{path}:16"]
    one = what_if(str(path), sets=["traffic.short.peak=6 req/s"])
    assert isinstance(one, Diff)
    assert one.cost_per_month == found.cases[0].diff.cost_per_month
    assert [edit.place for edit in one.edits] == ["--set"]
    assert one.command == f"kvplan what-if {path} --set 'traffic.short.peak=6 req/s'"
