"""Why a preset may be planned on in a scenario, or not: for every model, GPU, weight format and class."""

from __future__ import annotations

from dataclasses import dataclass

from planner.candidates.physics import quality_of, usable_preset
from planner.candidates.types import Shape
from planner.catalog.parallel import Parallel
from planner.catalog.types import Refusal
from planner.compression.table import Preset
from planner.scenario.types import ModelSpec, Scenario


@dataclass(frozen=True)
class ClassVerdict:
    """Whether a class's floors are met, and the loss that counts."""

    class_name: str
    eligible: bool
    reason: str
    nearest: str | None
    loss_ppm: int
    loss_flag: str | None


@dataclass(frozen=True)
class Eligibility:
    """A preset for one model on one GPU with one weight format."""

    model: str
    gpu: str
    weights: str
    eligible: bool
    hypothetical: bool
    reason: str
    nearest: str | None
    offered: bool
    """Whether the scenario's `kv_presets` name it."""


def eligibility(
    scenario: Scenario, preset: Preset
) -> tuple[tuple[Eligibility, ...], dict[str, tuple[ClassVerdict, ...]]]:
    """(rows by model, GPU and weights; verdicts of the classes by model). Capacity tables have no presets."""
    rows, classes = [], {}
    gpus = {pool.gpu.id: pool.gpu for _, pool in sorted(scenario.inventory.items())}
    for name, model in sorted(scenario.models.items()):
        if model.facts is None:
            continue
        classes[name] = tuple(_classes(scenario, model, preset))
        for _, gpu in sorted(gpus.items()):
            for weights in model.weights:
                verdict = usable_preset(model, Shape(gpu, weights, Parallel(), preset.id), scenario.compression)
                refused = isinstance(verdict, Refusal)
                reason = verdict.message if isinstance(verdict, Refusal) else "; ".join(verdict.debt)
                nearest = verdict.nearest if isinstance(verdict, Refusal) else None
                supposed = not isinstance(verdict, Refusal) and verdict.hypothetical
                offered = preset.id in model.kv_presets
                rows.append(Eligibility(name, gpu.id, weights, not refused, supposed, reason, nearest, offered))
    return tuple(rows), classes


def _classes(scenario: Scenario, model: ModelSpec, preset: Preset) -> list[ClassVerdict]:
    found = []
    for name, traffic in sorted(scenario.traffic.items()):
        if traffic.model == model.name:
            verdict = quality_of(scenario, model, preset.id, traffic.quality)
            refusal = verdict.refusal
            found.append(
                ClassVerdict(
                    name, verdict.ok, refusal.message if refusal else "", refusal.nearest if refusal else None,
                    verdict.loss_ppm, verdict.loss_flag,
                )
            )  # fmt: skip
    return found
