"""Which replica a run was measured on: what was said of it, checked against the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from fractions import Fraction
from pathlib import Path

from planner.catalog import gpu_ids, load_engine, load_gpu, load_model
from planner.catalog.latency import LatencyRun, System
from planner.catalog.parallel import parse_parallel
from planner.catalog.types import ModelFacts
from planner.performance.measured.names import kv_name
from planner.performance.measured.raw import RawRun
from planner.scenario.types import Place
from planner.scenario.weights import WEIGHTS
from planner.units import MAX_REQUESTS_PER_S, quote

NEEDED = {
    "model": "llama-3.3-70b-instruct",
    "gpu": "h100-sxm-80gb",
    "engine": "vllm@0.24.0",
    "parallel": "tp4",
    "weights": "fp8",
    "kv_dtype": "fp8",
}
"""What a run must say of its replica, with examples."""

MOST_MS = 10_000_000.0
MOST_COUNT = 2**31


def system_of(said: Mapping[str, str], base_dir: Path) -> System | list[str]:
    """The replica, or a sentence for everything that is missing or wrong. Model paths count from `base_dir`."""
    wrong = [f"{key} is not said; write it like {key}: {value}" for key, value in NEEDED.items() if not said.get(key)]
    given = {key: said[key].strip() for key in NEEDED if said.get(key)}
    model = load_model(given["model"], base_dir) if "model" in given else ""
    if isinstance(model, str) and model:
        wrong.append(model)
    if "gpu" in given and load_gpu(given["gpu"].lower()) is None:
        near = get_close_matches(given["gpu"].lower(), gpu_ids(), n=1, cutoff=0.4)
        hint = f"did you mean {quote(near[0])}?" if near else "`kvplan catalog list gpus` has them all"
        wrong.append(f"no GPU {quote(given['gpu'])}; {hint}")
    if "engine" in given:
        engine = load_engine(given["engine"])
        if isinstance(engine, str):
            wrong.append(engine)
    shape = parse_parallel(given["parallel"]) if "parallel" in given else None
    if isinstance(shape, str):
        wrong.append(shape)
    weights = given.get("weights", "").lower()
    if weights and weights not in WEIGHTS:
        wrong.append(f"no weight format {quote(weights)}; write one of {', '.join(WEIGHTS)}")
    if wrong or isinstance(model, str):
        return wrong
    return System(
        model=model_name(model, given["model"], base_dir),
        gpu=given["gpu"].lower(),
        engine=given["engine"],
        parallel=str(shape),
        weights=weights,
        kv_dtype=kv_name(given["kv_dtype"]),
    )


def model_name(facts: ModelFacts, ref: str, base_dir: Path) -> str:
    """The catalog's id of a model, or the absolute path of one that it does not have."""
    known = load_model(facts.id, Path())
    return facts.id if not isinstance(known, str) and known == facts else str((base_dir / ref).absolute())


def other_model(served_name: str, system: System) -> str | None:
    """The catalog's id that a served name stands for, where it is not the model that was said; else None.

    Names that nobody knows prove nothing, and fine-tunes of one architecture take the same time.
    """
    told = load_model(served_name, Path()) if "/" in served_name or served_name else ""
    meant = load_model(system.model, Path())
    if isinstance(told, str) or isinstance(meant, str) or _shape(told) == _shape(meant):
        return None
    return told.id


def _shape(facts: ModelFacts) -> ModelFacts:
    return replace(facts, id="", source="", note="", native_weights="", max_context_tokens=0)


def as_run(raw: RawRun, system: System, place: Place, source: str) -> LatencyRun | str:
    """The run in base units, or a sentence on figures that cannot be."""
    counts = (raw.input_tokens, raw.output_tokens, raw.concurrency)
    times = [value for value in (raw.tpot_ms, raw.ttft_ms) if value is not None]
    if not all(0 < value < MOST_COUNT for value in counts) or raw.output_tokens < 1.5:
        return "lengths and concurrency must be above 0, and answers longer than one token"
    if not all(0 < value < MOST_MS for value in times):
        return "latencies must be above 0"
    rate = raw.output_tokens_per_s
    if not 1 <= raw.accepted_tokens <= 100 or (rate is not None and not 0 < rate < MAX_REQUESTS_PER_S):
        return "accepted tokens a step are 1 to 100, and tokens/s above 0"
    return LatencyRun(
        system=system,
        input_tokens=max(1, round(raw.input_tokens)),
        output_tokens=max(2, round(raw.output_tokens)),
        concurrency=max(1, round(raw.concurrency)),
        tpot_us=None if raw.tpot_ms is None else max(1, round(raw.tpot_ms * 1000)),
        ttft_us=None if raw.ttft_ms is None else max(1, round(raw.ttft_ms * 1000)),
        output_tokens_per_s=None if rate is None else Fraction(round(rate * 1000), 1000),
        is_closed_loop=raw.is_closed_loop,
        accepted_tokens=Fraction(round(raw.accepted_tokens * 1000), 1000),
        max_num_batched_tokens=None,
        slo_tpot_us=None,
        slo_ttft_us=None,
        harness=raw.harness,
        source=source,
        place=str(place),
    )
