"""What is kept free, the band in which a plan must hold, and the week that rates and nodes follow."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from planner.scenario.blocks.base import Block
from planner.scenario.fields import (
    Confidence,
    Count,
    HeadroomShare,
    Increase,
    KeyName,
    LostNodes,
    PeriodSpans,
    SpareZones,
    Text,
    UtilizationShare,
)


class SpareBlock(Block):
    """What must be left over: nodes or replicas, not both; zones beside either. Each is a promise of its own."""

    nodes: Count | None = None
    """Nodes beyond those that replicas need, in every group of pools in use."""
    replicas: Count | None = None
    """Replicas of each deployment that may be lost while the promises still hold."""
    zones: SpareZones | None = None
    """Zones that may be lost, each with all nodes of all models at once: 1 keeps all promises whichever zone goes.
    Every pool then names its `zone`."""


class CalendarBlock(Block):
    """The week, cut into periods with rates of their own: nodes that are rented by the hour come and go with them."""

    timezone: Text
    """Time zone of the hours below; for readers, since every week has the same hours."""
    periods: Annotated[dict[KeyName, PeriodSpans], Field(min_length=1)]
    """Parts of the week, by name, such as `Mon-Fri 08:00-20:00, Sat 10:00-14:00`, or `rest` for all other hours. Every
    hour belongs to exactly one period."""


class ReserveBlock(Block):
    """What is kept free for the things that the numbers do not know."""

    utilization: UtilizationShare | None = None
    """Largest share of each capacity that may be used; the default is 100%."""
    kv_headroom: HeadroomShare | None = None
    """Share of the KV cache that is kept free; the default is 0%."""
    confidence: Confidence | None = None
    """Quantile of measured over predicted latency that the promises must survive; the default is p50."""
    spare: SpareBlock | None = None
    """Spare nodes or replicas; the default is {nodes: 0}."""
    survive: Annotated[dict[KeyName, LostNodes], Field(min_length=1)] | None = None
    """Losses, one at a time, after which the rest keeps all promises: nodes of a pool (`1 node`), or `all` of a pool, a
    zone or a region, by its name; the default is none."""


class RobustBlock(Block):
    """How far traffic may be off, upwards: the plan keeps every promise up to there. At least one of both."""

    traffic: Increase | None = None
    """How much more of every class may come than its rates say; the default is +0%."""
    context_tail: Increase | None = None
    """How much longer long prompts may be than written: p99 and the maximum by so much, the median not at all; the
    default is +0%."""
