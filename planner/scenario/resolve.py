"""The door of this room: a scenario file, its layers and overrides, checked and resolved into base units.

All mistakes are collected and raised once. Every `what_if` block is applied and resolved too, so that a
block that nobody has asked for today cannot rot.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TypeVar, cast

from planner.catalog.latency import Performance
from planner.errors import InputError
from planner.scenario import schema
from planner.scenario.calendar import missing, share_of_week
from planner.scenario.checks import Lookup, PresetNames, check
from planner.scenario.defaults import defaults_taken
from planner.scenario.fields import percentile_ppm, suggestion
from planner.scenario.overrides import apply_block, apply_sets, load_tree
from planner.scenario.source import Findings, ListNode, MapNode, Node, TextNode, child, child_map, child_text, walk
from planner.scenario.types import (
    Adjust,
    Budget,
    Calendar,
    CompressionPolicy,
    DraftKind,
    EngineArgs,
    Guardrail,
    Lengths,
    Limit,
    ModelSpec,
    Objective,
    PeriodRate,
    Place,
    Pool,
    PrefixUse,
    QualityFloor,
    ReplicaLimits,
    Reserve,
    Scenario,
    Slo,
    Speculative,
    TraceUse,
    TrafficClass,
)
from planner.scenario.validate import validate
from planner.units import DURATION_UNITS_US, HOUR_US, MICRO, PPM, quote

_T = TypeVar("_T")

DEFAULT_OBJECTIVE: tuple[Objective, ...] = ("cost", "gpus", "quality_loss")
DEFAULT_PEAK_WINDOW_US = DURATION_UNITS_US["min"]
DEFAULT_HORIZON_US = DURATION_UNITS_US["mo"]
SECONDS_PER_DAY = 86_400


def load_scenario(
    path: str | Path,
    sets: Sequence[str] = (),
    what_if: Sequence[str] = (),
    presets: PresetNames | None = None,
) -> Scenario:
    """The scenario of a file, in base units.

    Args:
        path: the YAML file; its name stands in diagnostics as it is given here.
        sets: overrides `PATH=VALUE`, applied last and in order.
        what_if: names of `what_if` blocks of the file, applied in order before `sets`.
        presets: the names of the preset table, which the language itself does not know; None leaves them unchecked.

    Raises:
        InputError: with every mistake of the file, of its parents, of its blocks and of the overrides.
    """
    findings = Findings()
    written = load_tree(str(path), findings)
    if written is None:
        raise InputError(findings.items)
    lookup = Lookup(Path(path).parent, presets)
    root = _apply_named_blocks(written, what_if, str(path), findings)
    root = apply_sets(root, sets, findings)
    scenario = _resolve(root, lookup, findings)
    _check_what_if(written, lookup, findings)
    if findings.items or scenario is None:
        raise InputError(findings.items)
    return scenario


def overridden_tree(path: str, sets: Sequence[str], what_if: Sequence[str], findings: Findings) -> MapNode | None:
    """The tree of a scenario file as `load_scenario` resolves it: parents merged in, blocks and overrides applied."""
    root = load_tree(path, findings)
    if root is None:
        return None
    return apply_sets(_apply_named_blocks(root, what_if, path, findings), sets, findings)


def resolve_tree(root: MapNode, lookup: Lookup, findings: Findings) -> Scenario | None:
    """The scenario of a tree that no file holds as it is, such as a base with some edits of another."""
    return _resolve(root, lookup, findings)


def _apply_named_blocks(root: MapNode, names: Sequence[str], file: str, findings: Findings) -> MapNode:
    """The tree with the named what_if blocks applied."""
    blocks = child_map(root, "what_if")
    for name in names:
        block = blocks[name].node if name in blocks else None
        if isinstance(block, MapNode):
            root = apply_block(root, block, findings)
        else:
            hint = suggestion(name, list(blocks)) if blocks else "the file has none"
            findings.add(Place(file, 0, 0), "KV416", f"there is no what_if block {quote(name)}; {hint}")
    return root


def _check_what_if(written: MapNode, lookup: Lookup, findings: Findings) -> None:
    """Resolves the file with each of its blocks; mistakes that only a block brings are reported at that
    block."""
    blocks = {name: entry for name, entry in child_map(written, "what_if").items() if child_map(entry.node)}
    if not blocks:
        return
    base = Findings()
    _resolve(written, lookup, base)
    known = set(base.items) | set(findings.items)
    for name, entry in blocks.items():
        if not isinstance(entry.node, MapNode):
            continue
        found = Findings()
        changed = apply_block(written, entry.node, found)
        _resolve(changed, lookup, found)
        own_places = _places_below(entry.node)
        for item in (item for item in found.items if item not in known):
            is_own = Place(item.file, item.line, item.col) in own_places
            place = Place(item.file, item.line, item.col) if is_own else entry.key_place
            findings.add(place, item.code, f"what_if {quote(name)}: {item.message}")


def _places_below(node: Node) -> set[Place]:
    """All places of a subtree."""
    places = {node.place}
    if isinstance(node, MapNode):
        for entry in node.entries.values():
            places |= {entry.key_place} | _places_below(entry.node)
    if isinstance(node, ListNode):
        for item in node.items:
            places |= _places_below(item)
    return places


def _resolve(root: MapNode, lookup: Lookup, findings: Findings) -> Scenario | None:
    """The scenario of a tree, or None when anything is wrong with it."""
    before = len(findings.items)
    block = validate(root, findings)
    check(root, lookup, findings)
    if block is None or len(findings.items) > before:
        return None
    return _build(block, root, lookup)


def _build(block: schema.ScenarioBlock, root: MapNode, lookup: Lookup) -> Scenario:
    """The frozen scenario of blocks that have passed every check."""
    calendar = _calendar(block.calendar)
    return Scenario(
        name=block.name,
        owner=block.owner or "",
        horizon_h=Fraction(block.horizon or DEFAULT_HORIZON_US, HOUR_US),
        currency=next(iter(block.inventory.values())).price.currency,
        models={name: _model(name, model, root, lookup) for name, model in block.models.items()},
        traffic={name: _class(name, traffic, calendar, root, lookup) for name, traffic in block.traffic.items()},
        inventory={name: _pool(name, pool, lookup) for name, pool in block.inventory.items()},
        limits={
            name: Limit(name, limit.max, tuple(limit.per_node.items()), limit.source)
            for name, limit in block.limits.items()
        },
        reserve=_reserve(block.reserve or schema.ReserveBlock()),
        compression=_compression(block.compression or schema.CompressionBlock()),
        budget=_budget(block.budget or schema.BudgetBlock()),
        objective=cast("tuple[Objective, ...]", block.objective) if block.objective else DEFAULT_OBJECTIVE,
        guardrails={name: _guardrail(name, guardrail) for name, guardrail in block.guardrails.items()},
        what_if=tuple(block.what_if),
        defaults=defaults_taken(block),
        performance=_performance(block.performance, root, lookup),
        places={".".join(path): entry.place for path, entry in walk(root)},
        calendar=calendar,
    )


def _given(value: _T | None) -> _T:
    """A value that the checks have made sure of."""
    if value is None:
        raise AssertionError("a required value passed the checks without being given")
    return value


def _model(name: str, block: schema.ModelBlock, root: MapNode, lookup: Lookup) -> ModelSpec:
    limits = ReplicaLimits(block.replicas.min, block.replicas.max)
    if block.capacity_table is not None:
        path = lookup.file(_given(child_text(root, "models", name, "capacity_table")))
        return ModelSpec(
            name,
            None,
            None,
            replicas=limits,
            max_configurations=block.max_configurations,
            capacity_path=str(path),
        )
    ref = _given(child_text(root, "models", name, "ref"))
    facts = lookup.model(ref, bound=block.bound)
    engine = lookup.engine(_given(block.engine))
    if isinstance(facts, str) or isinstance(engine, str):
        raise AssertionError(f"models.{name} passed the checks without facts")
    low = lookup.low_facts(ref, facts)
    batch = block.max_batch or schema.BatchRange()
    return ModelSpec(
        name=name,
        facts=facts,
        engine=engine,
        weights=_given(block.weights),
        parallel=_given(block.parallel),
        context_limits_tokens=_given(block.context_limit),
        kv_presets=_given(block.kv_presets),
        max_batch_min=batch.min,
        max_batch_max=batch.max,
        engine_args=_engine_args(block.engine_args or schema.EngineArgsBlock()),
        replicas=limits,
        max_configurations=block.max_configurations,
        adjust=_adjust(block.adjust),
        speculative=_speculative(block.speculative),
        low_facts=low,
    )


def _adjust(block: schema.AdjustBlock | None) -> Adjust | None:
    return None if block is None else Adjust(block.memory or 0, block.decode_time or 0, block.source)


def _speculative(block: schema.SpeculativeBlock | None) -> Speculative | None:
    if block is None:
        return None
    return Speculative(
        draft=cast("DraftKind", block.draft),
        draft_tokens=block.draft_tokens,
        accepted_tokens=block.accepted_tokens,
        step_overhead_ppm=block.step_overhead,
        memory_bytes_per_gpu=block.memory or 0,
        source=block.source,
    )


def _engine_args(block: schema.EngineArgsBlock) -> EngineArgs:
    share = block.gpu_memory_utilization
    budgets = block.max_num_batched_tokens or ()
    return EngineArgs(None if share is None else int(share * PPM), budgets[0] if len(budgets) == 1 else budgets or None)


def _calendar(block: schema.CalendarBlock | None) -> Calendar | None:
    """The week with `rest` spelled out."""
    if block is None:
        return None
    named = [span for spans in block.periods.values() for span in spans]
    return Calendar(block.timezone, tuple((name, spans or missing(named)) for name, spans in block.periods.items()))


def _rates(block: schema.ClassBlock, calendar: Calendar | None) -> tuple[PeriodRate, ...]:
    """The rates of the periods, in the calendar's order."""
    if block.rate is None or calendar is None:
        return ()
    rates = [(name, block.rate[name]) for name, _ in calendar.periods]
    return tuple(PeriodRate(name, r.peak, r.peak if r.mean is None else r.mean) for name, r in rates)


def _class(
    name: str, block: schema.ClassBlock, calendar: Calendar | None, root: MapNode, lookup: Lookup
) -> TrafficClass:
    """A class; one batch a day needs requests / finish_within, and has requests / 24 h as its mean.

    The rates of a trace are read with it, by the pipeline.
    """
    rates = _rates(block, calendar)
    slo, quality = block.slo or schema.SloBlock(), block.quality or schema.QualityBlock()
    trace = None
    if block.trace is not None:
        trace = _trace(block, lookup.file(_given(child_text(root, "traffic", name, "trace"))))
        peak = mean = Fraction(1)
    elif block.requests is not None:
        peak = block.requests * MICRO / _given(slo.finish_within)
        mean = block.requests / SECONDS_PER_DAY
    elif calendar is not None and rates:
        parts = {name: share_of_week(spans) for name, spans in calendar.periods}
        peak = max(rate.peak_rps for rate in rates)
        mean = sum((rate.mean_rps * parts[rate.period] for rate in rates), Fraction(0))
    else:
        peak = _given(block.peak)
        mean = block.mean if block.mean is not None else peak
    prefix = block.prefix or schema.PrefixBlock()
    return TrafficClass(
        name=name,
        model=block.model,
        peak_rps=peak,
        mean_rps=mean,
        input_tokens=_lengths(block.input_tokens),
        output_tokens=_lengths(block.output_tokens),
        reusable_prefix_ppm=prefix.reusable or 0,
        rejected_at_most_ppm=block.rejected_at_most or 0,
        cut_short_at_most_ppm=block.cut_short_at_most or 0,
        quality=QualityFloor(quality.max_accuracy_drop, quality.max_ppl_increase, quality.needs_recall),
        slo=Slo(slo.ttft_p95, slo.tpot_p95, slo.finish_within),
        rates=rates,
        growth_ppm=block.growth if isinstance(block.growth, int) else 0,
        growth_table_ppm=block.growth if isinstance(block.growth, tuple) else (),
        priority=block.priority or 1,
        shed_at_most_ppm=block.when_degraded.shed_at_most if block.when_degraded else 0,
        trace=trace,
        prefix=_prefix(prefix),
    )


def _trace(block: schema.ClassBlock, path: Path) -> TraceUse:
    window = block.window or schema.WindowBlock()
    return TraceUse(
        path=str(path),
        scale=block.scale or Fraction(1),
        peak_window_us=block.peak_window or DEFAULT_PEAK_WINDOW_US,
        start_us=window.start or 0,
        end_us=window.end,
    )


def _prefix(block: schema.PrefixBlock) -> PrefixUse | None:
    """The working set that has to be kept; 0 tokens: the hashes of the trace say how many."""
    if block.working_set is None and block.routing is None:
        return None
    return PrefixUse(block.working_set or 0, "prefix_aware" if block.routing == "prefix_aware" else "random")


def _lengths(percentiles: dict[str, int] | None) -> Lengths | None:
    if percentiles is None:
        return None
    points = sorted((_given(percentile_ppm(key)), tokens) for key, tokens in percentiles.items() if key != "max")
    return Lengths(tuple(points), percentiles["max"])


def _pool(name: str, block: schema.PoolBlock, lookup: Lookup) -> Pool:
    price = block.price.micro if block.price.per == "gpu" else block.price.micro // block.gpus_per_node
    return Pool(
        name=name,
        gpu=_given(lookup.gpu(block.gpu)),
        region=block.region,
        gpus_per_node=block.gpus_per_node,
        committed_nodes=block.committed or 0,
        available_nodes=block.available or 0,
        price_micro_per_gpu_h=price,
        source=block.source,
        spot=block.spot,
        start_up_us=block.start_up,
        term_months=block.term,
        notice_months=block.notice,
    )


def _reserve(block: schema.ReserveBlock) -> Reserve:
    spare = block.spare or schema.SpareBlock()
    return Reserve(
        utilization_ppm=PPM if block.utilization is None else block.utilization,
        kv_headroom_ppm=block.kv_headroom or 0,
        confidence="p90" if block.confidence == "p90" else "p50",
        spare_nodes=spare.nodes or 0,
        spare_replicas=spare.replicas or 0,
        survive=tuple((block.survive or {}).items()),
    )


def _compression(block: schema.CompressionBlock) -> CompressionPolicy:
    return CompressionPolicy(
        policy="allow_published" if block.policy == "allow_published" else "supported",
        allow=block.allow or (),
        allow_proxy=bool(block.allow_proxy),
    )


def _performance(block: schema.PerformanceBlock | None, root: MapNode, lookup: Lookup) -> Performance:
    """The provider, and absolute paths of the measured files: they are read when the scenario is attached."""
    if block is None:
        return Performance()
    node = child(root, "performance", "measured")
    named = node.items if isinstance(node, ListNode) else (node,) if isinstance(node, TextNode) else ()
    files = tuple(str(lookup.file(item)) for item in named if isinstance(item, TextNode))
    return Performance("silicon" if block.provider == "silicon" else "roofline", files)


def _budget(block: schema.BudgetBlock) -> Budget:
    monthly = block.monthly.micro if block.monthly else None
    total = block.total.micro if block.total else None
    return Budget(monthly, block.power, PPM if block.pue is None else int(block.pue * PPM), total)


def _guardrail(name: str, block: schema.GuardrailBlock) -> Guardrail:
    message = block.message or ""
    if block.change_above is not None:
        return Guardrail(name, "change_above", block.change_above, message)
    if block.budget_above is not None:
        return Guardrail(name, "budget_above", block.budget_above, message)
    return Guardrail(name, "cost_above", _given(block.cost_above).micro, message)
