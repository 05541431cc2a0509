"""The files that a scenario is read from: none of them may be overwritten by what is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from planner.errors import InputError

if TYPE_CHECKING:
    from planner.plan.types import Plan
    from planner.scenario.types import Scenario


def files_of(scenario: Scenario, file: str) -> set[str]:
    """The file, those that it extends, capacity tables, and configurations of models."""
    found = {file, *(place.file for place in scenario.places.values())}
    for name, model in scenario.models.items():
        beside = [model.capacity_path] if model.capacity_path else []
        beside += [model.facts.id] if model.facts else []
        places = {place.file for path, place in scenario.places.items() if path.startswith(f"models.{name}.")}
        found |= {str(Path(place).parent / each) for place in places | {file} for each in beside}
    return found


def files_of_side(side: str) -> set[str]:
    """The files of one side of a comparison: a plan or revision is itself, a scenario all that it is read from."""
    from planner import pipeline

    if not Path(side).is_file():
        return set()
    try:
        return files_of(pipeline.load(side), side)
    except InputError:
        # A plan document, or mistakes that the comparison reports for both sides at once.
        return {side}


def files_of_plan(plan: Plan) -> set[str]:
    """The files of the scenario that a plan was made from, as the plan names them."""
    places = {place.rpartition(":")[0] for place in plan.run.places.values()}
    return {plan.run.file, *places} - {""}
