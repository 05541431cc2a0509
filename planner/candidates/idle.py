"""A configuration that runs and may serve nothing: it keeps no promise, yet its replicas stand on nodes."""

from __future__ import annotations

from planner.candidates.physics import shape_physics, usable_preset
from planner.candidates.settings import memory_of, settings, utilization_ppm
from planner.candidates.types import LOAD_UNIT, Candidate, Config, Shape
from planner.catalog.types import Refusal
from planner.scenario.types import ModelSpec, Scenario


def idle_candidate(
    scenario: Scenario, model: ModelSpec, shape: Shape, contexts_tokens: tuple[float, ...]
) -> Candidate | None:
    """The candidate of the one setting of a model, without items; None where it does not even start.

    It is operated at no promise: its operating TPOT and TTFT are 0.
    """
    usable = usable_preset(model, shape, scenario.compression)
    if isinstance(usable, Refusal):
        return None
    physics = shape_physics(model, shape, usable, scenario.performance, contexts_tokens)
    (setting,) = settings(model, shape.gpu)
    memory = memory_of(model, shape, usable, setting, model.max_batch_min)
    if isinstance(physics, Refusal) or isinstance(memory, Refusal):
        return None
    return Candidate(
        config=Config(
            model=model.name,
            gpu=shape.gpu.id,
            gpus=shape.parallel.gpus,
            weights=shape.weights,
            kv_preset=shape.preset,
            context_limit_tokens=setting.context_tokens,
            max_batch=model.max_batch_min,
            max_num_batched_tokens=setting.chunk_tokens,
            parallel=str(shape.parallel),
        ),
        unit=LOAD_UNIT,
        capacity=LOAD_UNIT // 1_000_000 * scenario.reserve.utilization_ppm,
        utilization_ppm=utilization_ppm(model),
        memory=memory,
        timing=physics.timings[setting.chunk_tokens],
        loads=(),
        provider=physics.provider,
        band=physics.band,
        fit_mean_error=physics.fit.mean_error,
        fit_max_error=physics.fit.max_error,
        estimated=tuple(dict.fromkeys((*physics.estimated, *memory.estimated))),
        cautions=usable.warnings,
        debt=usable.debt,
    )
