"""Groups of replicas that log, metrics and plan tell apart alike: single deployments, or all of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.errors import Diagnostic, InputError
from planner.plan.types import Plan
from planner.verify.answers import Answers
from planner.verify.exposition import Series
from planner.verify.metrics import INSTANCE, Metrics


@dataclass(frozen=True)
class Group:
    """Replicas that are compared together."""

    name: str
    model: str
    served_name: str
    deployments: tuple[str, ...]
    replicas: int
    classes: tuple[str, ...]

    def answers(self, answers: Answers) -> Answers:
        """The requests that the group answered."""
        if len(self.deployments) == 1 and bool((answers.deployment == self.deployments[0]).any()):
            return answers.where(answers.deployment == self.deployments[0])
        numbers = [answers.classes.index(name) for name in self.classes]
        return answers.where(np.isin(answers.class_of, numbers))

    def series(self, metrics: Metrics, *, alone: bool) -> Metrics:
        """The group's part of the metrics; `alone` is the only model of the plan."""
        if any(deployment_of(one, self.deployments) for one in metrics.series):
            return metrics.chosen(lambda one: deployment_of(one, self.deployments) is not None)
        return metrics if alone else metrics.chosen(lambda one: one.label("model_name") == self.served_name)


def deployment_of(series: Series, deployments: Sequence[str]) -> str | None:
    """The deployment whose name a replica's begins with, as in `chat-h100/0`."""
    for label in ("deployment", *INSTANCE):
        value = series.label(label)
        for name in deployments:
            if value == name or value.startswith(f"{name}/"):
                return name
    return None


def groups(plan: Plan, answers: Answers, metrics: Metrics | None, served_names: dict[str, str]) -> tuple[Group, ...]:
    """One group a deployment where everything says which of them answered, else one a model.

    Args:
        plan: with deployments.
        answers: of the log.
        metrics: of all replicas.
        served_names: models of the plan by the names that servers know them by.
    """
    found = []
    for model in sorted({deployment.model for deployment in plan.deployments.values()}):
        names = tuple(sorted(name for name, one in plan.deployments.items() if one.model == model and one.memory))
        classes = tuple(name for name in answers.classes if plan.scenario.traffic[name].model == model)
        if not names or not classes:
            continue
        own = answers.where(np.isin(answers.class_of, [answers.classes.index(name) for name in classes]))
        if not own.count:
            continue
        parts: list[tuple[str, tuple[str, ...]]] = [(name, (name,)) for name in names]
        if len(names) > 1 and not _are_told_apart(own, metrics, names):
            parts = [(model, names)]
        for title, members in parts:
            replicas = sum(plan.deployments[name].replicas for name in members)
            found.append(Group(title, model, served_names.get(model, model), members, replicas, classes))
    return tuple(found)


def _are_told_apart(answers: Answers, metrics: Metrics | None, names: Sequence[str]) -> bool:
    logged = bool(np.isin(answers.deployment[np.isfinite(answers.first_s)], names).all()) and answers.has_times
    if metrics is None or not logged:
        return logged
    return {deployment_of(one, names) for one in metrics.series} >= set(names)


def served_names(plan: Plan, metrics: Metrics) -> dict[str, str]:
    """How the servers call the plan's models: by name, by reference, or the only one there is.

    Raises:
        InputError: none of the metrics' models is one of the plan's (KV734).
    """
    told = metrics.models()
    models = [name for name, model in sorted(plan.scenario.models.items()) if model.facts is not None]
    found = {}
    for model in models:
        facts = plan.scenario.models[model].facts
        ids = {model.lower(), facts.id.lower() if facts else ""}
        match = next((name for name in told if name.lower() in ids or name.lower().rpartition("/")[2] in ids), None)
        if match is not None:
            found[model] = match
    if len(models) == 1 and len(told) == 1:
        found = {models[0]: told[0]}
    if told and not found:
        text = f"these are metrics of {', '.join(told)}; the plan has {', '.join(models)}"
        raise InputError(
            [Diagnostic(metrics.path, 0, 0, "KV734", f"{text}; serve it under that name, or cut the rest")]
        )
    return found
