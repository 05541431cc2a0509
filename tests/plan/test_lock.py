"""Locks: what they hold, what they notice, and what they do not take for a change."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from planner import pipeline
from planner.errors import InputError
from planner.plan.lock import Lock, inputs_lock, lock_path, mismatches, read_lock, scenario_path, to_json, with_plan

ROOT = Path(__file__).parents[2]
FIRST = ROOT / "examples/01-first-plan/scenario.yaml"


@pytest.fixture(scope="module")
def text() -> str:
    """The first example, as a file to edit."""
    return FIRST.read_text(encoding="utf-8")


def _lock(tmp_path: Path, text: str) -> Lock:
    path = tmp_path / "scenario.yaml"
    path.write_text(text, encoding="utf-8")
    return inputs_lock(pipeline.load(path))


def _what(old: Lock, new: Lock) -> list[str]:
    return [mismatch.what for mismatch in mismatches(old, new)]


def test_comments_order_and_place_are_no_change(tmp_path: Path, text: str) -> None:
    """Comments, blank lines, spelling of a number and the file's name leave the lock as it is."""
    moved = "# moved\n\n" + text.replace("p95: 2_500", "p95: 2500").replace("peak: 12 req/s", "peak: 720 req/min")
    assert moved.count("720") == 1
    assert mismatches(inputs_lock(pipeline.load(FIRST)), _lock(tmp_path, moved)) == ()


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ("peak: 12 req/s", "peak: 13 req/s", ["input traffic.questions"]),
        ("context_limit: 8Ki", "context_limit: 16Ki", ["input models.helpdesk"]),
        ("owner: you", "owner: me", ["input owner"]),
        ("available: 4 nodes", "available: 5 nodes", ["input inventory.h100"]),
        ("price: $2.95/gpu/h", "price: $2.96/gpu/h", ["input inventory.h100", "price of h100"]),
        (
            "gpu: l40s-48gb",
            "gpu: l4-24gb",
            ["input inventory.l40s", "catalog, gpus l4-24gb", "catalog, gpus l40s-48gb"],
        ),
        (
            "engine: vllm@0.24",
            "engine: vllm@0.33",
            ["input models.helpdesk", "catalog, engines vllm@0.24", "catalog, engines vllm@0.33"],
        ),
        (
            "kv_presets: [bf16, fp8]",
            "kv_presets: [bf16]",
            ["input models.helpdesk", "catalog, presets fp8@vllm-0.19"],
        ),
    ],
)
def test_every_edit_is_named(tmp_path: Path, text: str, before: str, after: str, what: list[str]) -> None:
    """An edit is found in the block where it stands, and nowhere else."""
    assert text.count(before) == 1
    assert _what(_lock(tmp_path, text), _lock(tmp_path, text.replace(before, after))) == what


def test_facts_are_told_from_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fact of the catalog that changed is the catalog's mismatch: the blocks that name it stay equal."""
    scenario = pipeline.load(FIRST)
    pool = scenario.inventory["h100"]
    hotter = replace(pool, gpu=replace(pool.gpu, tdp_w=701))
    changed = replace(scenario, inventory={**scenario.inventory, "h100": hotter})
    assert _what(inputs_lock(scenario), inputs_lock(changed)) == ["catalog, gpus h100-sxm-80gb"]
    model = scenario.models["helpdesk"]
    assert model.engine is not None and model.facts is not None
    for other, what in (
        (replace(model, engine=replace(model.engine, block_tokens=32)), "catalog, engines vllm@0.24"),
        (replace(model, facts=replace(model.facts, layers=33)), "catalog, models llama-3.1-8b"),
    ):
        changed = replace(scenario, models={"helpdesk": other})
        assert _what(inputs_lock(scenario), inputs_lock(changed)) == [what]
    before = inputs_lock(scenario)
    monkeypatch.setattr("planner.plan.lock.catalog_version", lambda: "2027-01-01/abc")
    assert _what(before, inputs_lock(scenario)) == ["catalog"]


def test_another_result_is_a_mismatch() -> None:
    """Equal inputs with another plan differ in the result only; without a plan nothing is compared."""
    scenario = pipeline.load(FIRST)
    held = inputs_lock(scenario)
    plan = pipeline.plan(scenario)
    assert plan.totals is not None
    done = with_plan(held, plan)
    other = with_plan(held, replace(plan, hash="sha256:" + "0" * 64))
    assert mismatches(done, held) == ()
    (found,) = mismatches(done, other)
    assert found.what == "result"
    assert str(found).startswith("result: locked optimal, 2153.50 a month, 1 GPUs (sha256:")


def test_a_lock_is_read_back_and_its_own_edits_are_found(tmp_path: Path) -> None:
    """Writing and reading gives the same lock; a hand that edits one hash is found by the other."""
    held = inputs_lock(pipeline.load(FIRST))
    path = tmp_path / "x.lock.json"
    path.write_text(to_json(held))
    assert read_lock(str(path)) == held
    tree = json.loads(to_json(held))
    tree["unknown_key_of_1_1"], tree["format_version"] = True, "1.1"
    path.write_text(json.dumps(tree))
    assert mismatches(read_lock(str(path)), held) == ()
    tree["input_hash"] = "sha256:" + "1" * 64
    path.write_text(json.dumps(tree))
    assert _what(read_lock(str(path)), held) == ["the lock's own input hash"]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "cannot be read"),
        ("{", "is not JSON"),
        ("[]", "holds no JSON object"),
        ('{"format_version": "2.0"}', "lock format '2.0' is not understood: this kvplan reads 1.x"),
        ('{"format_version": "1.0"}', "this is not a lock: scenario"),
    ],
)
def test_what_is_no_lock_is_refused(tmp_path: Path, content: str | None, part: str) -> None:
    """A missing, broken, newer or foreign file is KV810 with what to do."""
    path = tmp_path / "a.yaml.lock.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError) as raised:
        read_lock(str(path))
    assert part in str(raised.value) and "[KV810]" in str(raised.value)


def test_paths() -> None:
    """A lock stands beside its scenario, under the scenario's full name."""
    assert scenario_path(lock_path("a/b.yml")) == "a/b.yml"
