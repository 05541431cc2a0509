"""A resolved scenario written back in the scenario language: the same meaning, in one normal form.

Plans carry their scenario in base units and without its file. Comparing a plan with a file, or trying one of its
lines on another scenario, needs the language again; every value is written out, defaults included, so that two
scenarios that mean the same are written the same. What cannot be written exactly is an error, never rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TypeAlias

from planner.scenario import calendar
from planner.scenario.fleet import Running
from planner.scenario.source import Entry, ListNode, MapNode, Node, TextNode
from planner.scenario.traffic import Lengths, TraceUse, TrafficClass
from planner.scenario.types import (
    Adjust,
    Guardrail,
    Limit,
    ModelSpec,
    Place,
    Pool,
    Robust,
    Scenario,
    Speculative,
    SpotTerms,
)
from planner.units import DURATION_UNITS_US, HOUR_US, MICRO, PPM, RATE_UNITS_S

Tree: TypeAlias = "str | list[str] | dict[str, Tree]"

SECONDS_PER_DAY = 86_400
MOST_DECIMALS = 9
_SCALE = 1_000_000_000
_DURATIONS = ("h", "min", "s", "ms", "us")


class UnwritableError(ValueError):
    """A value that the language has no exact words for."""


def written(scenario: Scenario, file: str) -> MapNode:
    """The tree of a scenario. Every value is placed in `file`, from whose folder relative paths count."""
    node = _node(_scenario(scenario), Place(file, 1, 1))
    assert isinstance(node, MapNode)
    return node


def _node(tree: Tree, at: Place) -> Node:
    if isinstance(tree, str):
        return TextNode(tree, True, at)
    if isinstance(tree, list):
        return ListNode(tuple(TextNode(item, True, at) for item in tree), at)
    return MapNode({key: Entry(at, _node(value, at)) for key, value in tree.items()}, at)


def _scenario(scenario: Scenario) -> dict[str, Tree]:
    reserve, compression, budget = scenario.reserve, scenario.compression, scenario.budget
    spare: dict[str, Tree] = (
        {"replicas": str(reserve.spare_replicas)} if reserve.spare_replicas else {"nodes": str(reserve.spare_nodes)}
    )
    spare |= _given(zones=str(reserve.spare_zones) if reserve.spare_zones else None)
    return _given(
        kvplan="1",
        name=scenario.name,
        owner=scenario.owner,
        horizon=duration(int(scenario.horizon_h * HOUR_US)),
        models={name: _model(model) for name, model in scenario.models.items()},
        traffic={name: _class(c, scenario.models[c.model]) for name, c in scenario.traffic.items()},
        calendar=_calendar(scenario),
        inventory={name: _pool(pool, scenario.currency) for name, pool in scenario.inventory.items()},
        current={name: _running(each) for name, each in scenario.current.items()},
        change=_given(
            max_replicas_moved=_optional(scenario.change.max_replicas_moved),
            cost=f"{money(scenario.change.micro_per_replica, scenario.currency)}/replica"
            if scenario.change.micro_per_replica
            else None,
        ),
        limits={name: _limit(limit) for name, limit in scenario.limits.items()},
        reserve={
            "utilization": share(reserve.utilization_ppm),
            "kv_headroom": share(reserve.kv_headroom_ppm),
            "confidence": reserve.confidence,
            "spare": spare,
            **_given(survive={name: "all" if lost is None else _count(lost) for name, lost in reserve.survive}),
        },
        robust=None if scenario.robust is None else _robust(scenario.robust),
        compression=_given(
            policy=compression.policy, allow=list(compression.allow), allow_proxy=_flag(compression.allow_proxy)
        ),
        performance=_given(provider=scenario.performance.provider, measured=list(scenario.performance.measured)),
        budget=_given(
            monthly=None if budget.monthly_micro is None else money(budget.monthly_micro, scenario.currency),
            total=None if budget.total_micro is None else money(budget.total_micro, scenario.currency),
            power=None if budget.power_mw is None else f"{_decimal(Fraction(budget.power_mw, 10**6))}kW",
            pue=_decimal(Fraction(budget.pue_ppm, PPM)),
        ),
        objective=list(scenario.objective),
        guardrails={name: _guardrail(guardrail, scenario.currency) for name, guardrail in scenario.guardrails.items()},
    )


def _given(**parts: Tree | None) -> dict[str, Tree]:
    """The parts that say something: not None, not an empty text, list or map."""
    return {key: part for key, part in parts.items() if part}


def _model(model: ModelSpec) -> dict[str, Tree]:
    replicas = _given(min=str(model.replicas.min), max=_optional(model.replicas.max))
    common = _given(replicas=replicas, max_configurations=_optional(model.max_configurations))
    if model.capacity_path is not None:
        return {"capacity_table": model.capacity_path, **common}
    if model.facts is None or model.engine is None:
        raise UnwritableError(f"models.{model.name} has neither a capacity table nor facts")
    args = model.engine_args
    utilization = args.gpu_memory_utilization_ppm
    return _given(
        ref=model.facts.id,
        engine=model.engine.requested,
        weights=list(model.weights),
        parallel=[str(shape) for shape in model.parallel],
        context_limit=[tokens(limit) for limit in model.context_limits_tokens],
        max_batch=_given(min=str(model.max_batch_min), max=_optional(model.max_batch_max)),
        kv_presets=list(model.kv_presets),
        bound=None if model.low_facts is None else "true",
        adjust=None if model.adjust is None else _adjust(model.adjust),
        speculative=None if model.speculative is None else _speculative(model.speculative),
        engine_args=_given(
            gpu_memory_utilization=None if utilization is None else _decimal(Fraction(utilization, PPM)),
            max_num_batched_tokens=[f"{budget:_}" for budget in args.chunk_budgets],
        ),
        **common,
    )


def _robust(robust: Robust) -> dict[str, Tree]:
    parts = {"traffic": robust.traffic_ppm, "context_tail": robust.context_tail_ppm}
    return {key: f"+{share(ppm)}" for key, ppm in parts.items() if ppm}


def _adjust(adjust: Adjust) -> dict[str, Tree]:
    memory, slower = adjust.memory_bytes_per_gpu, adjust.decode_time_ppm
    return _given(
        memory=f"{memory:_}B/gpu" if memory else None,
        decode_time=share(slower) if slower else None,
        source=adjust.source,
    )


def _speculative(speculative: Speculative) -> dict[str, Tree]:
    memory = speculative.memory_bytes_per_gpu
    return _given(
        draft=speculative.draft,
        draft_tokens=f"{speculative.draft_tokens}",
        accepted_tokens=_decimal(speculative.accepted_tokens),
        step_overhead=share(speculative.step_overhead_ppm),
        memory=f"{memory:_}B/gpu" if memory else None,
        source=speculative.source,
    )


def _calendar(scenario: Scenario) -> dict[str, Tree] | None:
    if scenario.calendar is None:
        return None
    periods: dict[str, Tree] = {name: calendar.written(spans) for name, spans in scenario.calendar.periods}
    return {"timezone": scenario.calendar.timezone, "periods": periods}


def _rates(traffic: TrafficClass) -> dict[str, Tree]:
    """How much is asked: as in a trace, by period, a day or at every hour; how it grows; what a loss may shed of it."""
    rates: dict[str, Tree]
    if traffic.trace is not None:
        rates = _trace(traffic.trace)
    elif traffic.rates:
        rates = {"rate": {r.period: {"peak": rate(r.peak_rps), "mean": rate(r.mean_rps)} for r in traffic.rates}}
    elif traffic.slo.finish_within_us is not None:
        rates = {"requests": f"{_decimal(traffic.mean_rps * SECONDS_PER_DAY)}/day"}
        if (at := traffic.arrives_minute) is not None:
            rates["arrives"] = f"{at // 60:02}:{at % 60:02}"
    else:
        rates = {"peak": rate(traffic.peak_rps), "mean": rate(traffic.mean_rps)}
    if traffic.growth_table_ppm:
        rates["growth"] = [share(ppm) for ppm in traffic.growth_table_ppm]
    elif traffic.growth_ppm:
        rates["growth"] = f"{'-' if traffic.growth_ppm < 0 else ''}{share(abs(traffic.growth_ppm))}/mo"
    if traffic.shed_at_most_ppm:
        rates |= {"priority": str(traffic.priority), "when_degraded": {"shed_at_most": share(traffic.shed_at_most_ppm)}}
    return rates


def _class(traffic: TrafficClass, model: ModelSpec) -> dict[str, Tree]:
    slo, quality, rates = traffic.slo, traffic.quality, _rates(traffic)
    promises = _given(
        ttft_p95=_time(slo.ttft_p95_us), tpot_p95=_time(slo.tpot_p95_us), finish_within=_time(slo.finish_within_us)
    )
    where: dict[str, Tree] = _given(
        regions=list(traffic.regions), latency={region: duration(us) for region, us in traffic.latency_us}
    )
    if model.capacity_path is not None:
        return _given(model=traffic.model, **rates, slo=promises, **where)
    return _given(
        model=traffic.model,
        **rates,
        input_tokens=_lengths(traffic.input_tokens),
        output_tokens=_lengths(traffic.output_tokens),
        prefix=_prefix(traffic),
        rejected_at_most=share(traffic.rejected_at_most_ppm),
        cut_short_at_most=share(traffic.cut_short_at_most_ppm),
        quality=_given(
            max_accuracy_drop=_share(quality.max_accuracy_drop_ppm),
            max_ppl_increase=_share(quality.max_ppl_increase_ppm),
            needs_recall=_flag(quality.needs_recall),
        ),
        slo=promises,
        **where,
    )


def _trace(use: TraceUse) -> dict[str, Tree]:
    window = _given(start=_time(use.start_us or None), end=_time(use.end_us))
    return _given(
        trace=use.path, scale=_decimal(use.scale), peak_window=duration(use.peak_window_us), window=window or None
    )


def _prefix(traffic: TrafficClass) -> dict[str, Tree]:
    prefix = traffic.prefix
    return _given(
        reusable=share(traffic.reusable_prefix_ppm),
        working_set=None if prefix is None else tokens(prefix.working_set_tokens),
        routing=None if prefix is None else prefix.routing,
    )


def _lengths(lengths: Lengths | None) -> dict[str, Tree] | None:
    if lengths is None:
        return None
    points = {f"p{_decimal(Fraction(ppm, 10_000))}": tokens(count) for ppm, count in lengths.percentiles}
    return {**points, "max": tokens(lengths.max_tokens)}


def _pool(pool: Pool, currency: str) -> dict[str, Tree]:
    return _given(
        gpu=pool.gpu.id,
        region=pool.region,
        zone=pool.zone,
        committed=_nodes(pool.committed_nodes),
        available=_nodes(pool.available_nodes),
        gpus_per_node=str(pool.gpus_per_node),
        price=f"{money(pool.price_micro_per_gpu_h, currency)}/gpu/h",
        source=pool.source,
        spot=_flag(pool.spot) if pool.terms is None else _spot(pool.terms),
        start_up=_time(pool.start_up_us),
        term=_months(pool.term_months),
        notice=_months(pool.notice_months),
    )


def _spot(terms: SpotTerms) -> dict[str, Tree]:
    return _given(
        availability=share(terms.availability_ppm),
        confidence=share(terms.confidence_ppm),
        reclaim=_nodes(terms.reclaim_nodes),
    )


def _running(running: Running) -> dict[str, Tree]:
    started: dict[str, Tree] = {}
    if running.weights:
        started = _given(
            weights=running.weights,
            parallel=str(running.parallel),
            context_limit=tokens(running.context_limit_tokens),
            max_batch=f"{running.max_batch:_}",
            kv_preset=running.kv_preset,
            max_num_batched_tokens=_optional(running.max_num_batched_tokens),
        )
    return _given(
        model=running.model, pool=running.pool, replicas=f"{running.replicas:_}", **started, keep=list(running.keep)
    )


def _limit(limit: Limit) -> dict[str, Tree]:
    per_node: dict[str, Tree] = {pool: _decimal(amount) for pool, amount in limit.per_node}
    return {"max": _decimal(limit.max), "per_node": per_node, "source": limit.source}


def _guardrail(guardrail: Guardrail, currency: str) -> dict[str, Tree]:
    is_money = guardrail.kind == "cost_above"
    threshold = money(guardrail.value, currency) if is_money else share(guardrail.value)
    return {guardrail.kind: threshold, **_given(message=guardrail.message)}


def tokens(count: int) -> str:
    """A token count, in Ki where that is whole.

    >>> tokens(32_768), tokens(6_000)
    ('32Ki', '6_000')
    """
    return f"{count // 1024:_}Ki" if count % 1024 == 0 else f"{count:_}"


def duration(us: int) -> str:
    """A duration in the largest unit in which it is whole.

    >>> duration(45_000), duration(6 * HOUR_US), duration(1_500_000)
    ('45ms', '6h', '1_500ms')
    """
    unit = next(unit for unit in _DURATIONS if us % DURATION_UNITS_US[unit] == 0)
    return f"{us // DURATION_UNITS_US[unit]:_}{unit}"


def share(ppm: int) -> str:
    """A share in percent, exact.

    >>> share(5_000), share(1_000_000)
    ('0.5%', '100%')
    """
    return f"{_decimal(Fraction(ppm, 10_000))}%"


def rate(requests_per_s: Fraction) -> str:
    """A rate in the first unit in which it is a short decimal.

    >>> rate(Fraction(15, 2)), rate(Fraction(1, 36))
    ('7.5 req/s', '100 req/h')
    """
    for unit, seconds in RATE_UNITS_S.items():
        if _is_decimal(requests_per_s * seconds):
            return f"{_decimal(requests_per_s * seconds)} {unit}"
    raise UnwritableError(f"{requests_per_s} requests per second have no exact decimal")


def money(micro: int, currency: str) -> str:
    """An amount of money, exact, cents in full.

    >>> money(75_000_000_000, "$"), money(2_284_400, "$"), money(2_100_000, "$")
    ('$75_000', '$2.2844', '$2.10')
    """
    text = _decimal(Fraction(micro, MICRO))
    whole, point, part = text.partition(".")
    return f"{currency}{whole}{point}{part.ljust(2, '0') if point else ''}"


def _is_decimal(value: Fraction) -> bool:
    return (value * _SCALE).denominator == 1


def _decimal(value: Fraction) -> str:
    """A plain decimal, thousands grouped by underscores."""
    if not _is_decimal(value) or value < 0:
        raise UnwritableError(f"{value} has no exact decimal of {MOST_DECIMALS} places")
    whole, part = divmod(int(value * _SCALE), _SCALE)
    digits = f"{part:0{MOST_DECIMALS}d}".rstrip("0")
    return f"{whole:_}.{digits}" if digits else f"{whole:_}"


def _optional(count: int | None) -> str | None:
    return None if count is None else f"{count:_}"


def _share(ppm: int | None) -> str | None:
    return None if ppm is None else share(ppm)


def _time(us: int | None) -> str | None:
    return None if us is None else duration(us)


def _nodes(count: int) -> str | None:
    return _count(count) if count else None


def _count(nodes: int) -> str:
    return f"{nodes:_} node{'' if nodes == 1 else 's'}"


def _months(count: int | None) -> str | None:
    return None if count is None else f"{count}mo"


def _flag(value: bool) -> str:
    return "true" if value else "false"


def flow(node: Node) -> str:
    """A node on one line, as YAML writes it within a line. For people: texts are not quoted.

    >>> place = Place("", 0, 0)
    >>> flow(MapNode({"nodes": Entry(place, TextNode("1", True, place))}, place))
    '{nodes: 1}'
    """
    if isinstance(node, TextNode):
        return node.text
    if isinstance(node, ListNode):
        return f"[{', '.join(_flows(node.items))}]"
    return f"{{{', '.join(f'{key}: {flow(entry.node)}' for key, entry in node.entries.items())}}}"


def _flows(nodes: Sequence[Node]) -> list[str]:
    return [flow(node) for node in nodes]
