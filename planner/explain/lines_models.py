"""Lines of the models: how many replicas and configurations may run, and what the planner may choose from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from planner.attach import preset_names
from planner.catalog.parallel import Parallel
from planner.catalog.types import ModelFacts
from planner.explain.ladders import counts_down, counts_up
from planner.explain.lines import Line, Loosen, Rung, one
from planner.explain.source import Source
from planner.scenario.types import ModelSpec, Scenario
from planner.scenario.written import tokens

MORE_REPLICAS = 1_024
USUAL_WEIGHTS = ("bf16", "fp8", "w4a16")
"""Weight formats that are tried beside the written ones."""


def model_lines(source: Source) -> Iterator[Line]:
    """Bounds of every model, then its choices."""
    for name, model in source.scenario.models.items():
        yield from _bounds(source, name, model)
        if model.facts is not None:
            yield from _choices(source, name, model, model.facts)


def _edited(name: str, **fields: object) -> Loosen:
    def loosened(scenario: Scenario) -> Scenario:
        model = replace(scenario.models[name], **fields)  # type: ignore[arg-type]
        return replace(scenario, models={**scenario.models, name: model})

    return loosened


def _bounds(source: Source, name: str, model: ModelSpec) -> Iterator[Line]:
    path, replicas = f"models.{name}", model.replicas
    if replicas.min:
        at = f"{path}.replicas.min"

        def none(scenario: Scenario) -> Scenario:
            own = scenario.models[name]
            return _edited(name, replicas=replace(own.replicas, min=0))(scenario)

        yield Line(at, "models", str(replicas.min), source.place(at), none, one(at, counts_down(replicas.min)))
    if replicas.max is not None:
        at = f"{path}.replicas.max"

        def endless(scenario: Scenario) -> Scenario:
            own = scenario.models[name]
            return _edited(name, replicas=replace(own.replicas, max=None))(scenario)

        steps = one(at, counts_up(replicas.max, replicas.max + MORE_REPLICAS))
        yield Line(at, "models", str(replicas.max), source.place(at), endless, steps)
    most = model.max_configurations
    if most is not None:
        at = f"{path}.max_configurations"
        steps = one(at, counts_up(most, most + 16))
        yield Line(at, "models", str(most), source.place(at), _edited(name, max_configurations=None), steps)


def _choices(source: Source, name: str, model: ModelSpec, facts: ModelFacts) -> Iterator[Line]:
    path = f"models.{name}"
    longer = _longer(source, model, facts)
    if longer:
        at = f"{path}.context_limit"
        edit = _edited(name, context_limits_tokens=(*model.context_limits_tokens, *longer))
        yield _list(source, at, name, edit, tuple(tokens(limit) for limit in longer))
    wider = _wider(source, model)
    if wider:
        edit = _edited(name, parallel=(*model.parallel, *wider))
        yield _list(source, f"{path}.parallel", name, edit, tuple(str(shape) for shape in wider))
    weights = tuple(each for each in USUAL_WEIGHTS if each not in model.weights)
    if weights:
        edit = _edited(name, weights=(*model.weights, *weights))
        yield _list(source, f"{path}.weights", name, edit, weights)
    presets = tuple(each for each in preset_names().ids if each not in model.kv_presets)
    if presets:
        edit = _edited(name, kv_presets=(*model.kv_presets, *presets))
        yield _list(source, f"{path}.kv_presets", name, edit, presets)


def _list(source: Source, path: str, name: str, loosened: Loosen, more: tuple[str, ...]) -> Line:
    """A list of choices: one more of them, the first that helps; else all."""
    value = source.written(path) or ""
    inner = value.strip("[]")

    def steps() -> tuple[Rung, ...]:
        single = [f"[{inner}, {each}]" for each in more]
        whole = [f"[{inner}, {', '.join(more)}]"] if len(more) > 1 else []
        return tuple(((path, text),) for text in (*single, *whole))

    return Line(path, "models", value, source.place(path), loosened, steps, "choices", name, ordered=False)


def _longer(source: Source, model: ModelSpec, facts: ModelFacts) -> tuple[int, ...]:
    """Context limits above the written ones: doubled until everything fits that the classes may ask."""
    asked = max((_longest(source.scenario, name) for name in _classes(source, model)), default=0)
    found, limit = [], max(model.context_limits_tokens)
    while limit < asked and limit < facts.max_context_tokens:
        limit = min(2 * limit, facts.max_context_tokens)
        found.append(limit)
    return tuple(found)


def _classes(source: Source, model: ModelSpec) -> list[str]:
    return [name for name, traffic in source.scenario.traffic.items() if traffic.model == model.name]


def _longest(scenario: Scenario, name: str) -> int:
    """Tokens of the longest request of a class."""
    traffic = scenario.traffic[name]
    if traffic.trace is not None and traffic.trace.facts is not None:
        from planner.traffic.lengths import class_lengths

        lengths = class_lengths(traffic)
        return 0 if lengths is None else int(lengths.prompts[-1][0] + lengths.outputs[-1][0])
    if traffic.input_tokens is None or traffic.output_tokens is None:
        return 0
    return traffic.input_tokens.max_tokens + traffic.output_tokens.max_tokens


def _wider(source: Source, model: ModelSpec) -> tuple[Parallel, ...]:
    """Tensor-parallel shapes up to the largest node."""
    largest = max(pool.gpus_per_node for pool in source.scenario.inventory.values())
    sizes = (tp for tp in (1, 2, 4, 8) if tp <= largest)
    return tuple(Parallel(tp=tp) for tp in sizes if Parallel(tp=tp) not in model.parallel)
