"""The candidate table against the formulas evaluated one by one, and its rejections."""

from pathlib import Path

import pytest

from planner import pipeline
from planner.candidates.types import LOAD_UNIT
from planner.catalog.types import Bottleneck
from planner.traffic.lengths import served
from planner.traffic.queueing import capacity, load_per_rps

PROD = Path(__file__).resolve().parents[2] / "scenarios" / "prod.yaml"


def test_loads_are_the_three_rows_of_the_model(prod, prod_table) -> None:
    """gpu_time = x / cap, sequences = 1.2 x held / max_num_seqs, kv = 1.2 x tokens / pool, at the accepted rate."""
    checked = 0
    for candidate in prod_table.candidates[::7]:
        config, timing, memory = candidate.config, candidate.timing, candidate.memory
        tpot, ttft = config.tpot_limit_ns / 1e9, config.ttft_limit_ns / 1e9 or float("inf")
        for k, load in candidate.loads[::2]:
            item = prod_table.items[k]
            part = served(item.lengths, config.context_limit_tokens, prod.traffic[item.class_name].reusable_prefix_ppm)
            carried = capacity(part, timing, tpot, ttft)
            cap = float(carried.cap_rps)
            held = load_per_rps(part, timing, tpot, float(carried.tpot_rps))
            rate = float(item.peak_rps * part.served_share)
            assert load.gpu_time / LOAD_UNIT == pytest.approx(rate / cap, rel=1e-9)
            assert load.sequences / LOAD_UNIT == pytest.approx(1.2 * rate * held.sequences / config.max_batch, rel=1e-9)
            assert load.kv / LOAD_UNIT == pytest.approx(1.2 * rate * held.kv_tokens / memory.pool_tokens, rel=1e-9)
            assert (load.rejected, load.cut_short) == (part.rejected, part.cut_short)
            checked += 1
    assert checked > 50


def test_classes_run_only_where_their_promises_hold(prod, prod_table) -> None:
    """confidence p90 leaves TPOT and TTFT over the 90 % points of the band of a promise to the operating point."""
    for candidate in prod_table.candidates:
        band = candidate.band
        assert band is not None
        for k, _ in candidate.loads:
            slo = prod.traffic[prod_table.items[k].class_name].slo
            if slo.tpot_p95_us:
                assert candidate.config.tpot_limit_ns * band.tpot_p90 <= slo.tpot_p95_us * 1000
            if slo.ttft_p95_us:
                assert 0 < candidate.config.ttft_limit_ns * band.ttft_p90 <= slo.ttft_p95_us * 1000


def test_headroom_and_swing_are_not_multiplied(prod_table) -> None:
    """kv_headroom 10 % needs 1.11, the swing 1.2: the larger stands. 50 % needs 2."""
    import dataclasses

    scenario = pipeline.load(PROD, sets=["reserve.kv_headroom=50%"])
    wide = pipeline.table(scenario)
    narrow = {c.config: dict(c.loads) for c in prod_table.candidates}
    shared = [c for c in wide.candidates if c.config in narrow]
    assert shared
    for candidate in shared:
        for k, load in candidate.loads:
            before = narrow[candidate.config].get(k)
            if before:
                assert load.kv / before.kv == pytest.approx(2 / 1.2, rel=1e-9)
                assert dataclasses.replace(load, kv=0) == dataclasses.replace(before, kv=0)


def test_every_configuration_is_accounted_for(prod_table) -> None:
    """examined = refused + dominated + offered."""
    refused = sum(r.count for r in prod_table.rejections if r.class_name is None)
    assert prod_table.examined == refused + prod_table.dominated + len(prod_table.candidates)


def test_rejections_carry_their_number_and_the_nearest_value(prod_table) -> None:
    """A reader sees what failed, by how much, and what would do."""
    rows = prod_table.rejections
    short = next(
        r for r in rows if r.bottleneck == Bottleneck.CONTEXT and "16Ki" in r.subject and r.class_name == "agents"
    )
    assert "rejects" in short.message and "%" in short.message
    assert short.nearest is not None and "Ki or rejected_at_most" in short.nearest
    heavy = next(r for r in rows if r.bottleneck == Bottleneck.MEMORY and "l40s" in r.subject)
    assert "GiB" in heavy.message and heavy.nearest


@pytest.mark.parametrize("ref", ["qwen3-30b-a3b", "mistral-7b-v0.1", "gpt-oss-20b", "deepseek-v2-lite", "qwen3.5-27b"])
def test_every_kind_of_model_is_timed(ref: str) -> None:
    """Mixtures, windows, latents and recurrent layers have candidates: no rejection speaks of their architecture."""
    weights = "mxfp4" if "oss" in ref else "bf16"
    sets = [
        f"models.assistant.ref={ref}",
        f"models.assistant.weights={weights}",
        "models.assistant.parallel=[tp1, tp2]",
    ]
    table = pipeline.table(pipeline.load(PROD, sets=[*sets, "models.assistant.kv_presets=[bf16]"]))
    assert any(candidate.config.model == "assistant" for candidate in table.candidates)
    assert not [r for r in table.rejections if r.bottleneck == Bottleneck.ARCHITECTURE]


def test_what_is_not_offered_is_replaced_by_what_it_dominated(prod, prod_table) -> None:
    """Without fp8 KV the table is that of a scenario that does not name it: nothing that fp8 stood in for is lost."""
    import dataclasses

    from planner.candidates.table import Evaluations, build_table

    known = Evaluations()
    assert build_table(prod, known) == prod_table
    offered = build_table(prod, known, lambda config: config.model != "assistant" or config.kv_preset != "fp8")
    assert len(known.known) == len(prod.models)
    assistant = dataclasses.replace(prod.models["assistant"], kv_presets=("bf16",))
    written = build_table(dataclasses.replace(prod, models={**prod.models, "assistant": assistant}))
    assert offered.candidates == written.candidates


def test_known_physics_serves_other_stock_and_no_other_promise(prod) -> None:
    """Tests that prices, stock and limits leave a model known, and that a promise of its class does not."""
    import dataclasses

    from planner.candidates.table import Evaluations, build_table

    own = {name: each for name, each in prod.traffic.items() if each.model == "assistant"}
    prod = dataclasses.replace(prod, models={"assistant": prod.models["assistant"]}, traffic=own)
    known = Evaluations()
    base = build_table(prod, known)
    pool = dataclasses.replace(prod.inventory["a100-on-demand"], available_nodes=99, price_micro_per_gpu_h=1)
    assert build_table(dataclasses.replace(prod, inventory={**prod.inventory, pool.name: pool}), known) == base
    assert len(known.known) == 1
    chat = prod.traffic["chat"]
    tight = dataclasses.replace(chat, slo=dataclasses.replace(chat.slo, tpot_p95_us=30_000))
    changed = dataclasses.replace(prod, traffic={**prod.traffic, "chat": tight})
    assert build_table(changed, known) == build_table(changed)
    assert len(known.known) == 2
