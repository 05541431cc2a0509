"""Defaults that a scenario takes: everything that the user left out, as the plan shows it."""

from __future__ import annotations

from planner.scenario.blocks.models import BatchRange, EngineArgsBlock, ModelBlock
from planner.scenario.blocks.reserve import ReserveBlock
from planner.scenario.blocks.rules import BudgetBlock, CompressionBlock
from planner.scenario.blocks.traffic import ClassBlock, PrefixBlock
from planner.scenario.schema import ScenarioBlock


def defaults_taken(block: ScenarioBlock) -> tuple[tuple[str, str], ...]:
    """Every default that was taken, as (path, text), in the order of the language."""
    taken: list[tuple[str, str, bool]] = [
        ("owner", "nobody", block.owner is None),
        ("horizon", "1mo", block.horizon is None),
        ("objective", "[cost, gpus, quality_loss]", block.objective is None),
    ]
    for name, model in block.models.items():
        taken += _model_defaults(f"models.{name}", model)
    for name, traffic in block.traffic.items():
        if not block.models[traffic.model].capacity_table:
            taken += _class_defaults(f"traffic.{name}", traffic)
        elif traffic.requests is None and traffic.rate is None:
            taken.append((f"traffic.{name}.mean", "the peak", traffic.mean is None))
    for name, pool in block.inventory.items():
        if pool.spot is not None and pool.spot.model_fields_set:
            taken += [
                (f"inventory.{name}.spot.availability", "100%", pool.spot.availability is None),
                (f"inventory.{name}.spot.confidence", "99%", pool.spot.confidence is None),
                (f"inventory.{name}.spot.reclaim", "0 nodes", pool.spot.reclaim is None),
            ]
    reserve, budget = block.reserve or ReserveBlock(), block.budget or BudgetBlock()
    compression = block.compression or CompressionBlock()
    taken += [
        ("reserve.utilization", "100%", reserve.utilization is None),
        ("reserve.kv_headroom", "0%", reserve.kv_headroom is None),
        ("reserve.confidence", "p50", reserve.confidence is None),
        ("reserve.spare", "{nodes: 0}", reserve.spare is None),
        ("performance.provider", "roofline", block.performance is None or block.performance.provider is None),
        ("compression.policy", "supported", compression.policy is None),
        ("compression.allow", "[]", compression.allow is None),
        ("compression.allow_proxy", "false", compression.allow_proxy is None),
        ("budget.monthly", "no limit", budget.monthly is None),
        ("budget.power", "no limit", budget.power is None),
        ("budget.pue", "1", budget.pue is None),
    ]
    return tuple((path, text) for path, text, is_taken in taken if is_taken)


def _model_defaults(path: str, model: ModelBlock) -> list[tuple[str, str, bool]]:
    args = model.engine_args or EngineArgsBlock()
    taken = [
        (f"{path}.replicas.min", "0", "min" not in model.replicas.model_fields_set),
        (f"{path}.max_configurations", "unlimited", model.max_configurations is None),
    ]
    if model.capacity_table:
        return taken
    batch = model.max_batch or BatchRange()
    return [
        (f"{path}.max_batch.min", "1", "min" not in batch.model_fields_set),
        (f"{path}.max_batch.max", "the engine's default", batch.max is None),
        (
            f"{path}.engine_args.gpu_memory_utilization",
            "the engine's default",
            args.gpu_memory_utilization is None,
        ),
        (
            f"{path}.engine_args.max_num_batched_tokens",
            "the engine's default",
            args.max_num_batched_tokens is None,
        ),
        *taken,
    ]


def _class_defaults(path: str, traffic: ClassBlock) -> list[tuple[str, str, bool]]:
    prefix, traced = traffic.prefix or PrefixBlock(), traffic.trace is not None
    return [
        (f"{path}.scale", "1", traced and traffic.scale is None),
        (f"{path}.peak_window", "1min", traced and traffic.peak_window is None),
        (f"{path}.window", "the whole trace", traced and traffic.window is None),
        (f"{path}.prefix.reusable", "0%", prefix.reusable is None and not traced),
        (f"{path}.prefix.routing", "random", prefix.working_set is not None and prefix.routing is None),
        (f"{path}.rejected_at_most", "0%", traffic.rejected_at_most is None),
        (f"{path}.cut_short_at_most", "0%", traffic.cut_short_at_most is None),
        (f"{path}.quality", "no floor", traffic.quality is None),
        (f"{path}.priority", "1", traffic.priority is None and traffic.when_degraded is not None),
    ]
