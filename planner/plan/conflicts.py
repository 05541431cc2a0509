"""Why there is no plan, in the user's words."""

from __future__ import annotations

from planner.candidates import CandidateTable, Rejection
from planner.plan.types import Conflict
from planner.scenario.types import Scenario

MOST_REASONS = 4


def unserved(scenario: Scenario, table: CandidateTable) -> tuple[Conflict, ...]:
    """Bands that no configuration may serve: the reasons, commonest first, and the nearest value that would do."""
    served = {k for candidate in table.candidates for k, _ in candidate.loads}
    lost: dict[str, list[str]] = {}
    for demand in table.demands:
        if not served.intersection(demand.items):
            lost.setdefault(demand.class_name, []).append(demand.name)
    return tuple(
        Conflict(
            path=f"traffic.{name}",
            message=f"no configuration of {scenario.traffic[name].model} serves {', '.join(bands)}: "
            + "; ".join(_reasons(table, scenario.traffic[name].model, name)),
            repair=_nearest(table, scenario.traffic[name].model, name),
        )
        for name, bands in sorted(lost.items())
    )


def _relevant(table: CandidateTable, model: str, class_name: str) -> list[Rejection]:
    own = [r for r in table.rejections if r.model == model and r.class_name in (None, class_name)]
    return sorted(own, key=lambda r: (-r.count, r.subject))


def _reasons(table: CandidateTable, model: str, class_name: str) -> list[str]:
    own = _relevant(table, model, class_name)
    texts = [f"{r.subject}: {r.message}" for r in own[:MOST_REASONS]]
    if len(own) > MOST_REASONS:
        texts.append(f"and {len(own) - MOST_REASONS} more reasons (--show-candidates)")
    return texts or ["no pool has a GPU that the scenario's choices fit on"]


def _nearest(table: CandidateTable, model: str, class_name: str) -> str | None:
    own = [r for r in _relevant(table, model, class_name) if r.nearest]
    specific = [r for r in own if r.class_name == class_name] or own
    return specific[0].nearest if specific else None
