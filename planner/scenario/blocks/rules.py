"""Rules of the whole plan: latencies, compression, budget and guardrails."""

from __future__ import annotations

from typing import Annotated

from planner.scenario.blocks.base import Block
from planner.scenario.fields import (
    ONE_OR_MANY,
    AllowedRow,
    Flag,
    LatencyProvider,
    Money,
    PathText,
    Policy,
    Power,
    Pue,
    Text,
    Threshold,
)


class PerformanceBlock(Block):
    """Where latencies come from: a provider, and benchmark results of yours that calibrate it."""

    provider: LatencyProvider | None = None
    """`roofline`: formulas with constants fitted to measured kernels; `silicon`: the kernel tables themselves, with
    the extra `kvplan[silicon]`. The default is roofline."""
    measured: Annotated[tuple[PathText, ...], *ONE_OR_MANY] | None = None
    """Profiles (YAML, written by `kvplan catalog import-latency`) or tables (CSV) of measured latencies: they
    calibrate the provider for their GPU and engine; the default is none."""


class CompressionBlock(Block):
    """Which KV presets may be used, beyond being named in `kv_presets`."""

    policy: Policy | None = None
    """`supported`: confirmed rows of the engine; `allow_published`: other published rows too. Default:
    supported."""
    allow: tuple[AllowedRow, ...] | None = None
    """Single rows that may be used although they are not confirmed, as `id@version`; the default is none."""
    allow_proxy: Flag | None = None
    """Whether evidence by proxy metrics counts; the default is false."""


class BudgetBlock(Block):
    """Hard limits on what is bought."""

    monthly: Money | None = None
    """Most money for a month of 730 h; the default is no limit."""
    total: Money | None = None
    """Most money over the horizon; the default is no limit."""
    power: Power | None = None
    """Most power of all GPUs bought, times `pue`; the default is no limit."""
    pue: Pue | None = None
    """Power usage effectiveness of the data center, a plain number from 1; the default is 1."""


class GuardrailBlock(Block):
    """A threshold for reviews, exactly one of the three: carried and shown, acted on by comparisons only."""

    change_above: Threshold | None = None
    """Monthly cost changes by more than this share."""
    budget_above: Threshold | None = None
    """More than this share of `budget.monthly` is used."""
    cost_above: Money | None = None
    """Monthly cost is above this."""
    message: Text | None = None
    """What to tell the author of the change; the default is nothing."""
