"""The physics of one shape (GPU, weights, parallelism, preset): its timing, and what its preset is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from planner.candidates.settings import chunk_budgets
from planner.candidates.types import Shape
from planner.catalog.latency import Performance
from planner.catalog.types import Refusal
from planner.compression.policy import FloorVerdict, Usable, floor, judge
from planner.compression.table import load_presets
from planner.performance.fit import (
    FIT_CONTEXTS_TOKENS,
    ONE_FIT_MEAN_ERROR,
    AffineFit,
    StepGrid,
    affine_fit,
    fit_around,
    prefill_cost,
    step_grid,
)
from planner.performance.measured.calibrate import calibrated
from planner.performance.provider import LatencyBand, StepModel, StepRequest
from planner.performance.speculation import NO_SPECULATION, Speculation
from planner.performance.step_model import step_model
from planner.scenario.traffic import QualityFloor
from planner.scenario.types import CompressionPolicy, ModelSpec, Scenario
from planner.traffic.queueing import ReplicaTiming


@dataclass(frozen=True)
class ShapePhysics:
    """Everything about a shape that does not depend on context limit, batch size or promise.

    `timings` has one entry for each chunk budget: only what prompts cost differs between them. `grid` is there where
    one affine step for all batches is too coarse; each operating promise then has a fit of its own.
    """

    timings: Mapping[int, ReplicaTiming]
    fit: AffineFit
    grid: StepGrid | None
    usable: Usable
    provider: str
    band: LatencyBand
    estimated: tuple[str, ...]

    @property
    def idle_s(self) -> float:
        """The step of a replica with next to nothing to do."""
        return self.fit.alpha_s if self.grid is None else float(self.grid.seconds.min())

    def fit_at(self, tpot_ns: int) -> AffineFit:
        """The affine step of a replica that is operated at a promise."""
        own = fit_around(self.grid, tpot_ns / 1e9) if self.grid is not None else None
        return own or self.fit

    def timing_at(self, chunk_tokens: int, tpot_ns: int) -> ReplicaTiming:
        """The timing of a replica with a chunk budget that is operated at a promise."""
        fit, timing = self.fit_at(tpot_ns), self.timings[chunk_tokens]
        return replace(timing, alpha_s=fit.alpha_s, beta_s=fit.beta_s, gamma_s_per_token=fit.gamma_s_per_token)


def usable_preset(model: ModelSpec, shape: Shape, policy: CompressionPolicy) -> Usable | Refusal:
    """How a shape stores KV, or why the engine, the GPU or the policy does not have its preset."""
    assert model.facts is not None and model.engine is not None
    preset = load_presets()[shape.preset]
    return judge(preset, engine=model.engine, gpu=shape.gpu, model=model.facts, policy=policy, weights=shape.weights)


def timed_steps(model: ModelSpec, shape: Shape, usable: Usable, performance: Performance) -> StepModel | Refusal:
    """The steps of a shape, or why there is no latency for it.

    They are those of the scenario's provider, corrected by the user's measured runs where there are any.
    `adjust.decode_time` makes every decode step longer.
    """
    assert model.facts is not None and model.engine is not None
    adjusted_ppm = model.adjust.decode_time_ppm if model.adjust else 0
    # Whoever writes `bound: true` asks for the upper bound as it stands; the roofline itself refuses bounds.
    facts = replace(model.facts, bound="", unsupported=()) if model.facts.bound else model.facts
    # Kernels that were not measured are timed as 16-bit ones: a gain in decode time is never credited unpublished.
    request = StepRequest(
        facts,
        shape.gpu,
        model.engine,
        shape.parallel,
        shape.weights,
        kv_dtype=usable.flag,
        kv_bytes_per_element=Fraction(2),
        decode_time_factor=usable.decode_time_factor * (1 + Fraction(adjusted_ppm, 1_000_000)),
    )
    step = step_model(request, performance.provider)
    return step if isinstance(step, Refusal) else calibrated(step, request, performance.calibrations)


def shape_physics(
    model: ModelSpec,
    shape: Shape,
    usable: Usable,
    performance: Performance,
    contexts_tokens: Sequence[float] = FIT_CONTEXTS_TOKENS,
) -> ShapePhysics | Refusal:
    """What the queueing forms need of a shape's steps, or why there is no latency for it.

    `contexts_tokens` are mean contexts of the model's requests, over which steps that bend are fitted.
    """
    assert model.facts is not None
    step = timed_steps(model, shape, usable, performance)
    if isinstance(step, Refusal):
        return step
    speculation = speculation_of(model)
    fit = affine_fit(step, speculation)
    grid = step_grid(step, speculation, contexts_tokens) if fit.mean_error > ONE_FIT_MEAN_ERROR else None
    timings = {budget: _timing(fit, step, budget, speculation) for budget in chunk_budgets(model, shape.gpu)}
    doubt = (
        (f"{model.facts.model_type} is not understood: timed as dense layers with full attention",)
        if model.facts.bound
        else ()
    )
    return ShapePhysics(timings, fit, grid, usable, step.provider, step.band, (*step.estimated, *doubt))


def speculation_of(model: ModelSpec) -> Speculation:
    """Drafted and kept tokens of a model's steps."""
    wanted = model.speculative
    if wanted is None:
        return NO_SPECULATION
    return Speculation(wanted.draft_tokens, float(wanted.accepted_tokens), wanted.step_overhead_ppm / 1_000_000)


def _timing(fit: AffineFit, step: StepModel, chunk_tokens: int, speculation: Speculation) -> ReplicaTiming:
    """The fitted step, and prompts in chunks of a budget."""
    cost = prefill_cost(step, chunk_tokens)
    return ReplicaTiming(
        alpha_s=fit.alpha_s,
        beta_s=fit.beta_s,
        gamma_s_per_token=fit.gamma_s_per_token,
        sigma_s_per_token=cost.sigma_s_per_token,
        attention_fixed_s=cost.attention.fixed_s,
        attention_s_per_token2=cost.attention.s_per_token2,
        attention_ramp_tokens=cost.attention.ramp_tokens,
        chunk_tokens=chunk_tokens,
        tokens_per_step=speculation.accepted_tokens,
        tokens_variance=speculation.token_variance,
        draft_tokens=speculation.drafted_tokens,
    )


def quality_of(scenario: Scenario, model: ModelSpec, preset: str, wanted: QualityFloor) -> FloorVerdict:
    """The verdict of a preset on a class's floor."""
    assert model.facts is not None
    return floor(load_presets()[preset], wanted, model_id=model.facts.id, policy=scenario.compression)


def preset_evidence(preset: str, wanted: QualityFloor, model_id: str, policy: CompressionPolicy) -> tuple[str, ...]:
    """What a preset's quality rests on for a class."""
    row = load_presets()[preset]
    return (*floor(row, wanted, model_id=model_id, policy=policy).evidence, f"bytes: {row.ratio_evidence}")
