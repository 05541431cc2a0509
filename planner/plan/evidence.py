"""Where a plan's numbers come from, and what its reader must know: sources and warnings, as data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from planner.candidates import Candidate, CandidateTable, Config
from planner.candidates.confidence import factors
from planner.candidates.losses import losses
from planner.candidates.physics import preset_evidence
from planner.catalog.latency import Calibration
from planner.plan.types import BoundPlan, Deployment, Evidence
from planner.scenario.traffic import TraceUse
from planner.scenario.types import Scenario
from planner.units import MICRO


def evidence(scenario: Scenario, used: Sequence[Deployment], table: CandidateTable) -> tuple[Evidence, ...]:
    """One row a fact that the plan leans on, sorted."""
    rows = {*_catalog_rows(scenario, used), *_preset_rows(scenario, used), *_money_rows(scenario)}
    rows |= set(_measured_rows(scenario, used))
    rows |= {Evidence("trace", name, _trace(use), False) for name, use in _traces(scenario)}
    for deployment in used:
        for candidate in table.candidates:
            if candidate.provider and _same(deployment, candidate.config):
                name = f"{deployment.model} on {deployment.gpu}"
                of_memory = candidate.memory.estimated if candidate.memory else ()
                estimated = any(note not in of_memory for note in candidate.estimated)
                rows.add(Evidence("performance", name, f"{candidate.provider}; {_band(candidate)}", estimated))
                break
    return tuple(sorted(rows, key=lambda row: (row.kind, row.id, row.text)))


def _traces(scenario: Scenario) -> Iterator[tuple[str, TraceUse]]:
    """Classes that are planned from a trace."""
    yield from ((name, traffic.trace) for name, traffic in scenario.traffic.items() if traffic.trace is not None)


def _trace(use: TraceUse) -> str:
    """A trace as a class uses it: what was read, which part, and how it was scaled."""
    facts = use.facts
    assert facts is not None  # a plan's traces have been read
    part = ""
    if use.start_us or use.end_us is not None:
        end = "its end" if use.end_us is None else f"{use.end_us / MICRO:g} s"
        part = f" from {use.start_us / MICRO:g} s to {end}"
    bad = f", {facts.bad_rows:,} bad rows left out" if facts.bad_rows else ""
    kept = f"; lengths rounded to 1/{facts.rounding}" if facts.rounding else ""
    window = f"busiest {use.peak_window_us / MICRO:g} s: {facts.busiest:,} requests"
    read = f"{facts.requests:,} requests in {facts.span_us / MICRO:,.0f} s{part}{bad}"
    scale = f" x {float(use.scale):g}" if use.scale != 1 else ""
    return f"{use.path}{scale}: {read}; {window}{kept}; sha256 {facts.sha256[:12]}"


def _band(candidate: Candidate) -> str:
    """The quantiles of measured over predicted of a provider, and what they rest on."""
    band = candidate.band
    if band is None:
        return "no band"
    tpot = " / ".join(f"{float(factor):.3g}" for factor in (band.tpot_p10, band.tpot_p50, band.tpot_p90))
    ttft = " / ".join(f"{float(factor):.3g}" for factor in (band.ttft_p10, band.ttft_p50, band.ttft_p90))
    return f"measured / predicted p10 / p50 / p90: TPOT {tpot}, TTFT {ttft} ({band.source})"


def _same(deployment: Deployment, config: Config) -> bool:
    """Whether a configuration has the deployment's shape, which is what a latency provider answers for."""
    gpus = deployment.gpus // deployment.replicas
    mine = (deployment.model, deployment.gpu, deployment.weights, deployment.kv_preset, gpus, deployment.parallel)
    theirs = (config.model, config.gpu, config.weights, config.kv_preset, config.gpus, config.parallel)
    return mine == theirs


def _catalog_rows(scenario: Scenario, used: Sequence[Deployment]) -> Iterator[Evidence]:
    for name in sorted({d.model for d in used}):
        model = scenario.models[name]
        if model.facts is not None and model.engine is not None:
            yield Evidence("model", model.facts.id, model.facts.source, bool(model.facts.bound))
            text = f"{model.engine.source}; asked for {model.engine.requested}"
            rules = f"{model.engine.name}@{model.engine.version}"
            yield Evidence("engine", rules, text, model.engine.is_inferred)
        elif model.capacity_path is not None:
            yield Evidence("capacity_table", name, f"{model.capacity_path}: no memory and no latency is planned", False)
    gpus = {pool.gpu.id: pool.gpu for pool in scenario.inventory.values()}
    for gpu_id in sorted({d.gpu for d in used}):
        gpu = gpus[gpu_id]
        note = f"; not checked: {', '.join(gpu.estimated)}" if gpu.estimated else ""
        yield Evidence("gpu", gpu_id, gpu.source + note, gpu.memory_estimated or bool(gpu.estimated))


def _preset_rows(scenario: Scenario, used: Sequence[Deployment]) -> Iterator[Evidence]:
    for deployment in used:
        for route in deployment.routing if deployment.kv_preset else ():
            traffic = scenario.traffic[route.class_name]
            facts = scenario.models[deployment.model].facts
            assert facts is not None
            for text in preset_evidence(deployment.kv_preset, traffic.quality, facts.id, scenario.compression):
                yield Evidence("preset", f"{deployment.kv_preset} for {traffic.name}", text, False)


def _measured_rows(scenario: Scenario, used: Sequence[Deployment]) -> Iterator[Evidence]:
    """The user's runs that correct predictions, for the GPUs in use."""
    for found in _calibrations(scenario, used):
        words = f"{_factor(found)}; {found.source}"
        yield Evidence("performance", f"{found.gpu} with {found.engine}", words, found.tpot.is_borrowed)


def _calibrations(scenario: Scenario, used: Sequence[Deployment]) -> Iterator[Calibration]:
    """What was measured for all models of a GPU and engine in use."""
    gpus = {deployment.gpu for deployment in used}
    return (found for found in scenario.performance.calibrations if found.system is None and found.gpu in gpus)


def _factor(found: Calibration) -> str:
    """Measured over predicted TPOT, with the number of runs."""
    low, middle, high = (f"{float(point):.3g}" for point in (found.tpot.p10, found.tpot.p50, found.tpot.p90))
    runs = "1 run" if found.tpot.n == 1 else f"{found.tpot.n} runs"
    return f"measured / predicted TPOT {middle} ({low} to {high}, {runs})"


def _money_rows(scenario: Scenario) -> Iterator[Evidence]:
    for name, pool in scenario.inventory.items():
        yield Evidence("price", name, pool.source, False)
    for name, limit in scenario.limits.items():
        yield Evidence("limit", name, limit.source, False)


def warnings(scenario: Scenario, used: Sequence[Deployment], bounds: Mapping[str, BoundPlan]) -> tuple[str, ...]:
    """What is carried but not acted on, judged, or estimated; one sentence each, in a fixed order."""
    return tuple(dict.fromkeys(_warnings(scenario, used, bounds)))


def inferred_rules(scenario: Scenario) -> Iterator[str]:
    """Models whose engine release has no rule set of its own, with the one that answers for it."""
    for name, model in sorted(scenario.models.items()):
        engine = model.engine
        if engine is not None and engine.is_inferred:
            asked = engine.requested.partition("@")[2]
            yield f"{name}: rules of {engine.name}@{engine.version} (no newer rule set for {asked})"


def _bound(scenario: Scenario, name: str, bound: BoundPlan) -> str:
    """What the interval of an architecture that is not understood does to the plan."""
    facts = scenario.models[name].facts
    kind = facts.model_type if facts is not None else "its architecture"
    text = f"{name}: {kind} is not understood, planned at the most KV that it may keep"
    low, high = (_cost(scenario, cost) for cost in (bound.low_cost_per_month, bound.high_cost_per_month))
    if not bound.changes_plan:
        same = "the plan is the same" if bound.high_cost_per_month else "there is none either"
        text += f"; at the least {same}"
    elif bound.high_cost_per_month == bound.low_cost_per_month:
        text += f"; at the least the plan is another one of the same cost ({low})"
    else:
        text += f" ({high}); at the least the plan is another one ({low})"
    return text if bound.proved else text + "; not both are proved"


def _cost(scenario: Scenario, amount: str | None) -> str:
    return "no plan" if amount is None else f"{scenario.currency}{Decimal(amount):,.2f} a month"


def _confidence(scenario: Scenario, used: Sequence[Deployment]) -> Iterator[str]:
    """What the promises were widened by where that is a judgement; what was measured stands with its promise."""
    confidence = scenario.reserve.confidence
    if not used and confidence != "p50":
        yield f"confidence {confidence}: promises are divided by that quantile of measured over predicted latency"
    for band in dict.fromkeys(deployment.band for deployment in used if deployment.band is not None):
        tpot, ttft = factors(band, confidence)
        if band.judgement and tpot == ttft == 1:
            yield f"confidence {confidence}: latencies are taken as predicted, no band was measured"
        elif band.judgement:
            factor = f"TPOT x {float(tpot):.3g} and TTFT x {float(ttft):.3g} over the prediction"
            yield f"confidence {confidence}: {factor}; {band.source}"


def _warnings(scenario: Scenario, used: Sequence[Deployment], bounds: Mapping[str, BoundPlan]) -> Iterable[str]:
    physics = any(model.facts is not None for model in scenario.models.values())
    if physics:
        yield from _confidence(scenario, used)
    yield from inferred_rules(scenario)
    for found in _calibrations(scenario, used):
        yield f"latencies of {found.gpu} with {found.engine} are corrected: {_factor(found)}; {found.source}"
    for name in sorted(bounds):
        yield _bound(scenario, name, bounds[name])
    for deployment in used:
        for note in deployment.notes:
            yield f"{deployment.model} on {deployment.gpu}: {note}"
    for name in sorted(scenario.models):
        if scenario.models[name].capacity_path is not None:
            yield f"{name}: capacity from {scenario.models[name].capacity_path}; memory and latency are not planned"
    survived = {loss.where for loss in losses(scenario)}
    spot = sorted(
        name
        for name, pool in scenario.inventory.items()
        if pool.spot and pool.terms is None and not survived & {name, pool.region, pool.zone}
    )
    if spot:
        yield f"not acted on: spot ({', '.join(spot)}) is planned as if it were never reclaimed"
    for name, pool in sorted(scenario.inventory.items()):
        if pool.terms is not None and pool.terms.availability_ppm < 1_000_000:
            there, sure = (f"{ppm / 10_000:g}%" for ppm in (pool.terms.availability_ppm, pool.terms.confidence_ppm))
            yield (
                f"{name}: a node is taken to be there {there} of the time, by itself; as many are counted on as are "
                f"there {sure} of the time; paid while they are there"
            )
    started = scenario.calendar is not None
    slow = sorted(n for n, pool in scenario.inventory.items() if pool.start_up_us is not None and not started)
    if slow:
        yield f"not acted on: start_up ({', '.join(slow)}); all nodes are planned as running"
    if scenario.guardrails:
        yield f"not acted on: guardrails ({', '.join(sorted(scenario.guardrails))}) are checked when plans are compared"
