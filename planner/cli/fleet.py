"""`solve --as-is` and `solve --near`: the fleet that runs, and the one that a plan stays close to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from planner.cli.output import say_error
from planner.errors import Diagnostic, InputError

if TYPE_CHECKING:
    from planner.scenario.types import Scenario


def check_options(as_is: bool, near: str | None, locks: bool, certify: bool) -> None:
    """Refuses what has no meaning together.

    Raises:
        UsageError: says what to leave out.
    """
    if as_is and near:
        raise click.UsageError("--as-is decides nothing but the routing: leave out --near")
    if as_is and certify:
        raise click.UsageError("--as-is decides nothing but the routing: leave out --certify")
    if (as_is or near) and locks:
        raise click.UsageError("a lock file is of the scenario's own plan: leave out --as-is and --near")


def with_fleet(scenario: Scenario, file: str, as_is: bool, near: str | None) -> Scenario:
    """The scenario as it is, or near the fleet of a plan.

    Raises:
        InputError: no fleet runs, the plan cannot be read, or it runs nothing.
    """
    if as_is:
        if not scenario.current:
            message = "--as-is judges the running fleet, and no 'current' says what runs; add it to the scenario"
            raise InputError([Diagnostic(file, 0, 0, "KV464", message)])
        from planner import pipeline

        return pipeline.fixed(scenario, scenario.current)
    return scenario if near is None else _near(scenario, near)


def _near(scenario: Scenario, file: str) -> Scenario:
    from planner.plan.io import digest, parse, read_tree
    from planner.plan.moves import fleet_of
    from planner.plan.sane import readable

    tree = read_tree(file)
    readable(tree, file)
    plan = parse(tree, file)
    if plan.hash != digest(tree):
        message = "the plan does not fit its hash: it was changed by hand; solve it again (`kvplan check` says where)"
        raise InputError([Diagnostic(file, 0, 0, "KV807", message)])
    fleet = fleet_of(plan)
    if not fleet:
        message = "the plan runs nothing, so there is nothing to stay near to; give one with deployments"
        raise InputError([Diagnostic(file, 0, 0, "KV808", message)])
    known = {
        name: each for name, each in fleet.items() if each.model in scenario.models and each.pool in scenario.inventory
    }
    lost = sum(each.replicas for name, each in fleet.items() if name not in known)
    if lost:
        say_error(f"kvplan: {file} runs {lost} replicas of models or in pools that are gone; they count for no move")
    return replace(scenario, near=known)
