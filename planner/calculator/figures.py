"""All figures of one model under one setting: rows, budget, pool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from planner.calculator.budget import Weights, stage_budgets
from planner.calculator.layer_steps import layer_steps
from planner.calculator.storage import FLOAT32
from planner.calculator.types import Budget, Figures, Layout, Pool, Row, Step
from planner.catalog.parallel import Parallel
from planner.catalog.types import Bottleneck, EngineRules, GpuFacts, KvStorage, ModelFacts, Refusal
from planner.memory.groups import PoolLayout
from planner.memory.kv import KvSetup, demand, kv_bytes_per_token, logical_bytes, pool_layout, reserved_bytes
from planner.memory.layers import stages_of
from planner.memory.pool import KvPool, kv_pool

MOST_SEQUENCES = 10**9


@dataclass(frozen=True)
class Setting:
    """Everything but the model: what runs it, how, and for what lengths."""

    engine: EngineRules
    gpu: GpuFacts | None
    storage: KvStorage
    kv_dtype: str
    weights: Weights
    shape: Parallel
    contexts_tokens: tuple[int, ...]
    batches: tuple[int, ...]
    max_model_len: int
    max_num_batched_tokens: int
    max_num_seqs: int | None
    utilization_ppm: int | None
    """As asked; None is the engine's own."""
    speculative_tokens: int = 0
    recurrent_blocks: int | None = None
    hybrid_manager: bool = True
    block_tokens: int | None = None
    available_kv_bytes: int | None = None


def kv_setup(model: ModelFacts, setting: Setting) -> KvSetup:
    """The setting as the memory room takes it."""
    return KvSetup(
        model=model,
        engine=setting.engine,
        storage=setting.storage,
        shape=setting.shape,
        max_model_len=setting.max_model_len,
        max_num_batched_tokens=setting.max_num_batched_tokens,
        speculative_tokens=setting.speculative_tokens,
        recurrent_blocks=setting.recurrent_blocks,
        hybrid_manager=setting.hybrid_manager,
        block_tokens=setting.block_tokens,
        gpu=setting.gpu,
    )


def figures(model: ModelFacts, setting: Setting) -> Figures | Refusal:
    """Every figure of one model, or why the shape or the storage does not go with it."""
    if setting.shape.pp > model.layers:
        message = f"{setting.shape} leaves stages without a layer: {model.id} has {model.layers} layers"
        return Refusal(Bottleneck.PARALLEL, message, str(replace(setting.shape, pp=model.layers)))
    setup = kv_setup(model, setting)
    layout = pool_layout(setup)
    if isinstance(layout, Refusal):
        return layout
    budget, pools = _pools(setup, setting)
    if isinstance(budget, Refusal) and budget.bottleneck in (Bottleneck.PARALLEL, Bottleneck.ENGINE):
        return budget
    if isinstance(pools, Refusal):
        return pools
    planned = None if pools is None else pools.planned
    rows = tuple(
        _row(setup, layout, tokens, batch, planned) for tokens in setting.contexts_tokens for batch in setting.batches
    )
    estimated = (
        *(budget.estimated if isinstance(budget, Budget) else ()),
        *(layout.estimated if pools is None else pools.engine.estimated),
    )
    engine_name, drafted = setting.engine.name, setting.speculative_tokens
    return Figures(
        bytes_per_token=kv_bytes_per_token(
            model, setting.storage, setting.shape, engine_name=engine_name, speculative_tokens=drafted
        ),
        distinct_bytes_per_token=kv_bytes_per_token(
            model, setting.storage, Parallel(), engine_name=engine_name, speculative_tokens=drafted
        ),
        held_bytes_per_token=_held(model, setting),
        rows=rows,
        budget=budget,
        pool=None if pools is None else _pool_figures(pools, setup, setting),
        layout=_layout_figures(layout, setup),
        layer_steps=layer_steps(model, setting.storage, setting.shape, engine_name, setting.speculative_tokens),
        estimated=tuple(dict.fromkeys(estimated)),
    )


def _row(setup: KvSetup, layout: PoolLayout, tokens: int, batch: int, pool: KvPool | None) -> Row:
    """One line of the table; lengths above max_model_len are charged as if it were as long."""
    needs = demand(setup)
    stages = layout.stage_request_bytes(tokens, needs)
    stage = stages.index(max(stages))
    return Row(
        context_tokens=tokens,
        batch=batch,
        logical_bytes=batch * logical_bytes(setup, tokens),
        reserved_bytes=batch * reserved_bytes(setup, tokens),
        blocks=tuple((part.request_blocks(tokens, needs), part.stage_block_bytes[stage]) for part in layout.parts),
        fitting_sequences=None if pool is None else most_sequences(pool, tokens),
    )


def most_sequences(pool: KvPool, tokens: int) -> int:
    """Sequences of one length that the pool holds at once."""
    return _largest(lambda count: pool.fits(tokens, count), MOST_SEQUENCES)


def _largest(holds: Callable[[int], bool], limit: int) -> int:
    """The largest number up to the limit for which `holds`; it holds for all smaller ones. 0: for none."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low


@dataclass(frozen=True)
class _Pools:
    """The pool as the engine makes it, and the one that plans count on: without the margin."""

    engine: KvPool
    planned: KvPool
    available_bytes: int


def _pools(setup: KvSetup, setting: Setting) -> tuple[Budget | Refusal | None, _Pools | Refusal | None]:
    """The budget of the stage that binds, and the pools; None where nothing says how much memory there is."""
    if setting.available_kv_bytes is not None:
        pool = kv_pool(setup, setting.available_kv_bytes)
        return None, pool if isinstance(pool, Refusal) else _Pools(pool, pool, setting.available_kv_bytes)
    if setting.gpu is None:
        return None, None
    budgets = _budgets(setup.model, setting, setting.shape)
    if isinstance(budgets, Refusal):
        return _with_nearest(budgets, setup.model, setting), None
    pool = kv_pool(setup, [budget.available_bytes for budget in budgets])
    planned = kv_pool(setup, [budget.available_bytes - budget.margin_bytes for budget in budgets])
    if isinstance(pool, Refusal):
        return budgets[0], pool
    if isinstance(planned, Refusal):
        return budgets[0], planned
    budget = budgets[pool.stage]
    return budget, _Pools(pool, planned, budget.available_bytes)


def _budgets(model: ModelFacts, setting: Setting, shape: Parallel) -> tuple[Budget, ...] | Refusal:
    assert setting.gpu is not None
    return stage_budgets(
        model,
        setting.gpu,
        setting.engine,
        shape,
        setting.weights,
        max_num_seqs=setting.max_num_seqs or 1,
        max_num_batched_tokens=setting.max_num_batched_tokens,
        utilization_ppm=setting.utilization_ppm,
        element_bytes=4 if setting.kv_dtype == FLOAT32 else 2,
        drafts=setting.speculative_tokens > 0,
    )


def _with_nearest(refusal: Refusal, model: ModelFacts, setting: Setting) -> Refusal:
    """Weights that do not fit: the narrowest wider shape at which they do."""
    if refusal.bottleneck is not Bottleneck.MEMORY or refusal.nearest or setting.weights.given_bytes is not None:
        return refusal
    wider = (
        replace(setting.shape, tp=tp) for tp in (2, 4, 8, 16) if tp > setting.shape.tp and not tp % setting.shape.dcp
    )
    fits = next((shape for shape in wider if not isinstance(_budgets(model, setting, shape), Refusal)), None)
    return refusal if fits is None else replace(refusal, nearest=str(fits))


def _pool_figures(pools: _Pools, setup: KvSetup, setting: Setting) -> Pool:
    pool, planned = pools.engine, pools.planned
    asked = max(setting.max_model_len, *setting.contexts_tokens)
    return Pool(
        available_bytes=pools.available_bytes,
        blocks=pool.blocks,
        usable_blocks=pool.usable_blocks,
        block_tokens=pool.block_tokens,
        block_bytes=pool.block_bytes,
        groups=pool.groups,
        printed_tokens=pool.printed_tokens,
        usable_tokens=planned.pool_tokens,
        max_concurrency=pool.max_concurrency,
        state_bytes_per_sequence=pool.state_bytes_per_sequence,
        stage=pool.stage,
        longest_tokens=planned.longest_context(asked),
        longest_asked_tokens=asked,
        longest_starts=pool.fits(setting.max_model_len),
        steps=tuple(Step(label, _counted(formula, pool, setup), f"{value:,}") for label, formula, value in pool.steps),
    )


def _layout_figures(layout: PoolLayout, setup: KvSetup) -> Layout:
    """The first pool's blocks, and the states that all pools charge for one longest sequence."""
    first, needs = layout.parts[0], demand(setup)
    states = [
        kind.request_blocks(setup.max_model_len, needs) * max(part.stage_block_bytes)
        for part in layout.parts
        for kind in part.kinds
        if kind.reach == "state"
    ]
    return Layout(
        block_tokens=first.block_tokens or setup.max_model_len,
        block_bytes=max(first.stage_block_bytes),
        groups=first.groups,
        state_bytes_per_sequence=sum(states),
    )


def _counted(formula: str, pool: KvPool, setup: KvSetup) -> str:
    """The formula with stages as a reader counts them: from 1, and not at all where there is one."""
    where = f" on stage {pool.stage + 1} of {setup.shape.pp}" if setup.shape.pp > 1 else ""
    suffix = f" on stage {pool.stage}"
    return formula.removesuffix(suffix) + where if formula.endswith(suffix) else formula


def _held(model: ModelFacts, setting: Setting) -> int:
    """Bytes of a token over all ranks of one data-parallel group, copies included."""
    stages = stages_of(model, setting.storage, setting.shape, setting.engine.name, setting.speculative_tokens)
    return sum(layer.token_bytes for stage in stages for layer in stage) * setting.shape.tp // setting.shape.dcp
