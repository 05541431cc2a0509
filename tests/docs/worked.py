"""The worked example of docs/model.md, computed from the rooms' own functions."""

from __future__ import annotations

from pathlib import Path

from planner import pipeline
from planner.candidates.confidence import factors, operating_ns
from planner.candidates.demand import SEQUENCE_MARGIN, kv_margin
from planner.candidates.items import demand_items
from planner.candidates.physics import shape_physics, usable_preset
from planner.candidates.settings import memory_of
from planner.candidates.types import Setting, Shape
from planner.catalog.parallel import Parallel
from planner.catalog.types import Refusal
from planner.traffic.lengths import served
from planner.traffic.queueing import capacity_of, load_of, p95_ttft_of, workload

ROOT = Path(__file__).parents[2]
CHUNK_TOKENS, CONTEXT_TOKENS, SEQUENCES = 8_192, 16_384, 96


def rows() -> list[tuple[str, str, str]]:
    """(quantity, value, where it comes from) in the order of the page."""
    scenario = pipeline.load(ROOT / "scenarios/prod.yaml")
    model, gpu = scenario.models["assistant"], scenario.inventory["h100-reserved"].gpu
    shape = Shape(gpu, "fp8", Parallel(4), "bf16")
    usable = usable_preset(model, shape, scenario.compression)
    assert not isinstance(usable, Refusal)
    physics = shape_physics(model, shape, usable, scenario.performance)
    assert not isinstance(physics, Refusal)
    memory = memory_of(model, shape, physics.usable, Setting(CHUNK_TOKENS, CONTEXT_TOKENS), SEQUENCES)
    assert not isinstance(memory, Refusal)
    timing, fit = physics.timings[CHUNK_TOKENS], physics.fit
    item = next(k for k in demand_items(scenario)[0] if k.class_name == "chat" and k.weight_ppm == 1_000_000)
    assert item.band is not None
    part = served(item.band, CONTEXT_TOKENS, 0)
    slo = scenario.traffic["chat"].slo
    assert slo.tpot_p95_us and slo.ttft_p95_us
    tpot_factor, ttft_factor = factors(physics.band, scenario.reserve.confidence)
    tpot_s = operating_ns(slo.tpot_p95_us, tpot_factor) / 1e9
    ttft_s = operating_ns(slo.ttft_p95_us, ttft_factor) / 1e9
    work = workload(part, timing)
    cap = capacity_of(work, tpot_s, ttft_s)
    x = float(cap.cap_rps)
    held = load_of(work, tpot_s, cap.tpot_rps)
    rate = float(item.peak_rps)
    sequences = SEQUENCE_MARGIN * rate * float(held.sequences) / SEQUENCES
    kv = kv_margin(scenario.reserve) * rate * float(held.kv_tokens) / memory.pool_tokens
    return [
        ("KV bytes a token on one GPU", f"{memory.kv_bytes_per_token:,}", "80 layers * 8 / 4 KV heads * 2 * 128 * 2 B"),
        ("weights on one GPU", _gib(memory.weights_bytes), "memory.md"),
        ("activation peak", _gib(memory.activation_bytes), "memory.md, T = 8,192, R = 96"),
        ("KV pool on one GPU", _gib(memory.available_kv_bytes), "0.92 of 79.19 GiB less all that"),
        ("pool tokens", f"{memory.pool_tokens:,}", f"{memory.usable_blocks:,} blocks of 16"),
        ("alpha", f"{timing.alpha_s * 1e3:.2f} ms", "fit of the roofline"),
        ("beta", f"{timing.beta_s * 1e6:.1f} us a sequence", "fit"),
        ("gamma", f"{timing.gamma_s_per_token * 1e9:.1f} ns a token", "fit"),
        ("fit error", f"{fit.mean_error:.1%} mean, {fit.max_error:.1%} worst", "fit"),
        ("sigma", f"{timing.sigma_s_per_token * 1e6:.1f} us a prompt token", "section 4"),
        ("E[P], E[O]", f"{part.mean_prompt_tokens:.0f}, {part.mean_output_tokens:.0f} tokens", "section 1"),
        ("m", f"{part.resident_tokens:.0f} tokens", "section 5"),
        ("E[s], d", f"{work.prefill_s * 1e3:.1f} ms, {work.decode_s * 1e3:.1f} ms", "section 5"),
        (
            "T, F",
            f"{tpot_s * 1e3:.1f} ms, {ttft_s * 1e3:.0f} ms",
            f"45 ms / {float(tpot_factor):.2f}, 1 s / {float(ttft_factor):.2f}",
        ),
        ("cap by TPOT", f"{float(cap.tpot_rps):.2f} req/s", "section 5"),
        ("cap by TTFT", f"{float(cap.ttft_rps):.2f} req/s", "section 5, with its 0.9"),
        ("cap", f"{x:.2f} req/s", "the smaller one"),
        ("p95 TTFT at cap", f"{float(p95_ttft_of(work, x)) * 1e3:.0f} ms", "below F"),
        ("gpu_time of 18 req/s", f"{rate / x:.3f} replicas", "18 / cap"),
        ("sequences of 18 req/s", f"{sequences:.3f} replicas", "1.2 * 18 * (E[O] T + E[h]) / 96"),
        ("kv of 18 req/s", f"{kv:.3f} replicas", "1.2 * 18 * tokens a request/s / pool tokens"),
    ]


def table() -> str:
    """The rows as a Markdown table."""
    lines = ["| quantity | value | from |", "| --- | --- | --- |", *(f"| {a} | {b} | {c} |" for a, b, c in rows())]
    return "\n".join(lines) + "\n"


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.2f} GiB"
