"""The scenario file as written: one frozen block a map, every key with its type and meaning.

The blocks stand in `planner.scenario.blocks`. The JSON Schema for editors and docs/scenario.md are generated from
these classes (`planner.scenario.describe`), with the docstring under each key as its description. Relations between
keys are checked in `planner.scenario.checks`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from planner.scenario.blocks.base import Block
from planner.scenario.blocks.fleet import ChangeBlock, RunningBlock
from planner.scenario.blocks.inventory import LimitBlock, PoolBlock
from planner.scenario.blocks.models import ModelBlock
from planner.scenario.blocks.reserve import CalendarBlock, ReserveBlock, RobustBlock
from planner.scenario.blocks.rules import BudgetBlock, CompressionBlock, GuardrailBlock, PerformanceBlock
from planner.scenario.blocks.traffic import ClassBlock
from planner.scenario.fields import (
    ONE_OR_MANY,
    Duration,
    FormatVersion,
    KeyName,
    Name,
    ObjectiveName,
    PathText,
    Text,
)


class ScenarioBlock(Block):
    """A whole scenario."""

    kvplan: FormatVersion
    """Version of the scenario language."""
    name: Name
    """Name of the scenario."""
    extends: PathText | None = None
    """One parent file, relative to this one: maps are merged key by key, lists and single values are
    replaced."""
    owner: Text | None = None
    """Who answers for the scenario; the default is nobody."""
    horizon: Duration | None = None
    """Time that totals are given for; a month is 730 h; the default is 1mo."""
    models: Annotated[dict[KeyName, ModelBlock], Field(min_length=1)]
    """The models, by name."""
    traffic: Annotated[dict[KeyName, ClassBlock], Field(min_length=1)]
    """The traffic classes, by name."""
    inventory: Annotated[dict[KeyName, PoolBlock], Field(min_length=1)]
    """The pools of GPU nodes, by name."""
    current: Annotated[dict[KeyName, RunningBlock], Field(min_length=1)] | None = None
    """The fleet that runs today, by name; the default is none."""
    change: ChangeBlock | None = None
    """What may be done to the running fleet, and what it costs."""
    calendar: CalendarBlock | None = None
    """Periods of the week; without it the peak counts at every hour."""
    limits: dict[KeyName, LimitBlock] = Field(default_factory=dict)
    """Quotas and other linear limits over nodes, by name."""
    reserve: ReserveBlock | None = None
    """What is kept free."""
    robust: RobustBlock | None = None
    """How far traffic may be off; the plan says what that costs. The default is not at all."""
    compression: CompressionBlock | None = None
    """Which KV presets may be used."""
    performance: PerformanceBlock | None = None
    """Where latencies come from."""
    budget: BudgetBlock | None = None
    """Hard limits on money and power."""
    objective: Annotated[tuple[ObjectiveName, ...], *ONE_OR_MANY] | None = None
    """What is minimized, in this order; the default is [cost, gpus, quality_loss]."""
    guardrails: dict[KeyName, GuardrailBlock] = Field(default_factory=dict)
    """Thresholds for reviews, by name."""
    what_if: dict[KeyName, Annotated[dict[str, object], Field(min_length=1)]] = Field(default_factory=dict)
    """Named sets of overrides, each PATH: VALUE; `*` in a path matches one level."""
