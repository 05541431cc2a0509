"""What is left after a loss: replicas, how they serve what may not be shed, and what is shed."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from planner.candidates import CandidateTable
from planner.candidates.losses import Loss, losses
from planner.plan.running import Moment, Names, Rerouted, load_rows, routes
from planner.plan.types import AfterLoss, LeftDeployment
from planner.scenario.types import Scenario


def after_losses(scenario: Scenario, table: CandidateTable, moment: Moment, names: Names) -> tuple[AfterLoss, ...]:
    """One record a loss, in the order of `planner.candidates.losses`."""
    return tuple(
        _after(table, moment, loss, rerouted, names)
        for loss, rerouted in zip(losses(scenario), moment.losses, strict=True)
    )


def lost_text(loss: Loss) -> str:
    """What is gone, in words.

    >>> lost_text(Loss("h100-spot", 2)), lost_text(Loss("eu-west", None))
    ('2 nodes of h100-spot', 'all of eu-west')
    """
    if loss.nodes is None:
        return f"all of {loss.where}"
    return f"{loss.nodes} node{'' if loss.nodes == 1 else 's'} of {loss.where}"


def _after(table: CandidateTable, moment: Moment, loss: Loss, rerouted: Rerouted, names: Names) -> AfterLoss:
    left = {}
    for part, shares in zip(moment.placed, rerouted.shares, strict=True):
        config = part.candidate.config
        replicas = part.replicas - loss.replicas(part.group, config.gpus, part.replicas)
        then = replace(part, replicas=replicas, shares=shares)
        name = names[config, part.group.name]
        left[name] = LeftDeployment(replicas, load_rows(table.items, then, replicas), routes(table.items, then))
    shed: dict[str, Fraction] = {}
    for k, share in rerouted.shed:
        item = table.items[k]
        part_of_class = share * Fraction(item.weight_ppm, 1_000_000)
        shed[item.class_name] = shed.get(item.class_name, Fraction(0)) + part_of_class
    items = {table.items[k].name: share for k, share in rerouted.shed}
    waiting = {table.items[k].name: share for k, share in rerouted.waiting}
    return AfterLoss(loss.path, lost_text(loss), dict(sorted(left.items())), dict(sorted(shed.items())), items, waiting)
