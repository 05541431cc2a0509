"""From blocks that have passed every check to the frozen scenario in base units."""

from __future__ import annotations

from fractions import Fraction
from typing import cast

from planner.catalog.latency import Performance
from planner.scenario.blocks.fleet import ChangeBlock
from planner.scenario.blocks.inventory import PoolBlock, SpotBlock
from planner.scenario.blocks.reserve import CalendarBlock, ReserveBlock, RobustBlock, SpareBlock
from planner.scenario.blocks.rules import BudgetBlock, CompressionBlock, GuardrailBlock, PerformanceBlock
from planner.scenario.build_fleet import build_change, build_running
from planner.scenario.build_models import build_model
from planner.scenario.build_traffic import build_class
from planner.scenario.calendar import missing
from planner.scenario.checks import Lookup
from planner.scenario.defaults import defaults_taken
from planner.scenario.given import given
from planner.scenario.schema import ScenarioBlock
from planner.scenario.source import ListNode, MapNode, TextNode, child, walk
from planner.scenario.types import (
    Budget,
    Calendar,
    CompressionPolicy,
    Guardrail,
    Limit,
    Objective,
    Pool,
    Reserve,
    Robust,
    Scenario,
    SpotTerms,
)
from planner.units import DURATION_UNITS_US, HOUR_US, PPM

DEFAULT_OBJECTIVE: tuple[Objective, ...] = ("cost", "gpus", "quality_loss")
DEFAULT_HORIZON_US = DURATION_UNITS_US["mo"]


def build_scenario(block: ScenarioBlock, root: MapNode, lookup: Lookup) -> Scenario:
    """The frozen scenario of blocks that have passed every check."""
    calendar = _calendar(block.calendar)
    return Scenario(
        name=block.name,
        owner=block.owner or "",
        horizon_h=Fraction(block.horizon or DEFAULT_HORIZON_US, HOUR_US),
        currency=next(iter(block.inventory.values())).price.currency,
        models={name: build_model(name, model, root, lookup) for name, model in block.models.items()},
        traffic={name: build_class(name, traffic, calendar, root, lookup) for name, traffic in block.traffic.items()},
        inventory={name: _pool(name, pool, lookup) for name, pool in block.inventory.items()},
        limits={
            name: Limit(name, limit.max, tuple(limit.per_node.items()), limit.source)
            for name, limit in block.limits.items()
        },
        reserve=_reserve(block.reserve or ReserveBlock()),
        compression=_compression(block.compression or CompressionBlock()),
        budget=_budget(block.budget or BudgetBlock()),
        objective=cast("tuple[Objective, ...]", block.objective) if block.objective else DEFAULT_OBJECTIVE,
        guardrails={name: _guardrail(name, guardrail) for name, guardrail in block.guardrails.items()},
        what_if=tuple(block.what_if),
        defaults=defaults_taken(block),
        performance=_performance(block.performance, root, lookup),
        places={".".join(path): entry.place for path, entry in walk(root)},
        calendar=calendar,
        current={name: build_running(name, running) for name, running in (block.current or {}).items()},
        change=build_change(block.change or ChangeBlock()),
        robust=_robust(block.robust or RobustBlock()),
    )


def _calendar(block: CalendarBlock | None) -> Calendar | None:
    """The week with `rest` spelled out."""
    if block is None:
        return None
    named = [span for spans in block.periods.values() for span in spans]
    return Calendar(block.timezone, tuple((name, spans or missing(named)) for name, spans in block.periods.items()))


def _pool(name: str, block: PoolBlock, lookup: Lookup) -> Pool:
    price = block.price.micro if block.price.per == "gpu" else block.price.micro // block.gpus_per_node
    return Pool(
        name=name,
        gpu=given(lookup.gpu(block.gpu)),
        region=block.region,
        gpus_per_node=block.gpus_per_node,
        committed_nodes=block.committed or 0,
        available_nodes=block.available or 0,
        price_micro_per_gpu_h=price,
        source=block.source,
        spot=block.spot is not None,
        start_up_us=block.start_up,
        term_months=block.term,
        notice_months=block.notice,
        zone=block.zone or "",
        terms=_spot_terms(block.spot),
    )


def _spot_terms(block: SpotBlock | None) -> SpotTerms | None:
    """None where `spot: true` says no more than that."""
    if block is None or not block.model_fields_set:
        return None
    terms = SpotTerms()
    return SpotTerms(
        availability_ppm=block.availability or terms.availability_ppm,
        confidence_ppm=block.confidence or terms.confidence_ppm,
        reclaim_nodes=block.reclaim or 0,
    )


def _reserve(block: ReserveBlock) -> Reserve:
    spare = block.spare or SpareBlock()
    return Reserve(
        utilization_ppm=PPM if block.utilization is None else block.utilization,
        kv_headroom_ppm=block.kv_headroom or 0,
        confidence="p90" if block.confidence == "p90" else "p50",
        spare_nodes=spare.nodes or 0,
        spare_replicas=spare.replicas or 0,
        spare_zones=spare.zones or 0,
        survive=tuple((block.survive or {}).items()),
    )


def _robust(block: RobustBlock) -> Robust | None:
    """The band; none where nothing may be off."""
    robust = Robust(block.traffic or 0, block.context_tail or 0)
    return robust if robust.traffic_ppm or robust.context_tail_ppm else None


def _compression(block: CompressionBlock) -> CompressionPolicy:
    return CompressionPolicy(
        policy="allow_published" if block.policy == "allow_published" else "supported",
        allow=block.allow or (),
        allow_proxy=bool(block.allow_proxy),
    )


def _performance(block: PerformanceBlock | None, root: MapNode, lookup: Lookup) -> Performance:
    """The provider, and absolute paths of the measured files: they are read when the scenario is attached."""
    if block is None:
        return Performance()
    node = child(root, "performance", "measured")
    named = node.items if isinstance(node, ListNode) else (node,) if isinstance(node, TextNode) else ()
    files = tuple(str(lookup.file(item)) for item in named if isinstance(item, TextNode))
    return Performance("silicon" if block.provider == "silicon" else "roofline", files)


def _budget(block: BudgetBlock) -> Budget:
    monthly = block.monthly.micro if block.monthly else None
    total = block.total.micro if block.total else None
    return Budget(monthly, block.power, PPM if block.pue is None else int(block.pue * PPM), total)


def _guardrail(name: str, block: GuardrailBlock) -> Guardrail:
    message = block.message or ""
    if block.change_above is not None:
        return Guardrail(name, "change_above", block.change_above, message)
    if block.budget_above is not None:
        return Guardrail(name, "budget_above", block.budget_above, message)
    return Guardrail(name, "cost_above", given(block.cost_above).micro, message)
