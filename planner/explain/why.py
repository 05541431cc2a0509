"""Why a plan has what it has: the plan without it, and the plan with what was asked for in its place.

Taking a choice away leaves only configurations without it, before dominance: whatever it stood in for is there again.
What was asked for need not be written in the scenario; it is then put there. Where no plan is left the reasons are
those of the candidate table, with their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from planner.candidates import CandidateTable, Config
from planner.errors import InputError
from planner.explain.edits import edited, put
from planner.explain.paths import POOL, REPLICAS, Asked, known_pool
from planner.explain.reasons import Fleet, Instead, Why
from planner.explain.source import Source
from planner.explain.trials import Outcome, Trials
from planner.explain.words import MOST_REFUSALS, fleet
from planner.plan.conflicts import unserved
from planner.scenario.types import Scenario
from planner.solver.program import Program
from planner.units import quote


def why(trials: Trials, asked: Asked) -> Why:
    """Why the plan has what it has: what the next best costs."""
    if asked.word == REPLICAS:
        return _why_replicas(trials, asked)
    if asked.word == POOL:
        return _why_pool(trials, asked)
    field = asked.field
    chosen = sorted({field.of_deployment(each) for each in asked.deployments})

    def other(config: Config) -> bool:
        return config.model != asked.model or field.of_config(config) not in chosen

    left = trials.tables.table(trials.scenario, other)
    if not any(each.config.model == asked.model for each in left.candidates):
        only = f"nothing else that {asked.model} may use serves its traffic"
        gone = Fleet("infeasible", None, None, (), (), (), (only, *_reasons(trials.scenario, left, asked.model)))
        return Why(asked.text, ", ".join(chosen), (Instead(f"without {_listed(chosen)}", gone),))
    found = trials.best(trials.scenario, other)
    shown = fleet(trials.base, found, _if_none(found, trials.scenario, left, asked.model))
    return Why(asked.text, ", ".join(chosen), (Instead(f"without {_listed(chosen)}", shown),))


def _why_replicas(trials: Trials, asked: Asked) -> Why:
    """One replica fewer and one more of the whole model."""
    assert trials.base.plan is not None
    own = [each for each in trials.base.plan.deployments.values() if each.model == asked.model]
    count = sum(each.replicas for each in own)
    rows = []
    for change, least, most in (
        (f"at most {count - 1:,}", None, count - 1),
        (f"at least {count + 1:,}", count + 1, None),
    ):
        limits = trials.scenario.models[asked.model].replicas
        bounds = replace(limits, min=limits.min if least is None else least, max=limits.max if most is None else most)
        if bounds.max is not None and bounds.min > bounds.max:
            why_not = f"models.{asked.model}.replicas does not allow it"
            rows.append(Instead(change, Fleet("infeasible", None, None, (), (), (), (why_not,))))
            continue
        found = trials.best(edited(trials.scenario, [put("models", asked.model, "replicas", value=bounds)]))
        loads = tuple(_loads(asked)) if most is not None and found.status == "infeasible" else ()
        rows.append(Instead(change, fleet(trials.base, found, loads)))
    return Why(asked.text, f"{count:,}", tuple(rows))


def _loads(asked: Asked) -> Iterator[str]:
    """What the replicas of the plan carry: why fewer do not."""
    for each in asked.deployments:
        row = max(each.loads, key=lambda load: load.used_ppm)
        what = row.name.replace("_", " ")
        count = f"{each.replicas:,} replica{'' if each.replicas == 1 else 's'}"
        yield f"{what} of {count} on {each.gpu} is {row.used_ppm / 1e4:.3g}% used"


def _why_pool(trials: Trials, asked: Asked) -> Why:
    """Each pool that the deployments stand in, gone with its contract."""
    names = sorted({name for each in asked.deployments for name in each.pools})
    rows = []
    for name in names:
        gone = put("inventory", name, "available_nodes", value=0) + put("inventory", name, "committed_nodes", value=0)
        found = trials.best(edited(trials.scenario, [gone]))
        paid = trials.scenario.inventory[name].committed_nodes
        rows.append(Instead(f"without {name}{' and its contract' if paid else ''}", fleet(trials.base, found)))
    return Why(asked.text, ", ".join(names), tuple(rows))


def why_not(trials: Trials, source: Source, asked: Asked) -> Why:
    """What the plan would be with what was asked for.

    Raises:
        InputError: the value cannot be read, or is nothing that could be chosen.
    """
    if asked.word == POOL:
        return _why_not_pool(trials, asked)
    if asked.word == "gpu":
        return _why_not_gpu(trials, asked)
    chosen = _chosen(trials, asked)
    scenario = _forced(source, asked)
    table = trials.tables.table(scenario)
    found = trials.best(scenario)
    reasons = _if_none(found, scenario, table, asked.model)
    if asked.word == REPLICAS and found.status == "infeasible" and int(asked.value) < int(chosen.replace(",", "")):
        reasons = tuple(_loads(asked))
    return Why(asked.text, chosen, (Instead(f"with {asked.value}", fleet(trials.base, found, reasons)),))


def _chosen(trials: Trials, asked: Asked) -> str:
    if asked.word == REPLICAS:
        assert trials.base.plan is not None
        own = [each for each in trials.base.plan.deployments.values() if each.model == asked.model]
        return f"{sum(each.replicas for each in own):,}"
    if asked.word == POOL:
        return ", ".join(sorted({name for each in asked.deployments for name in each.pools}))
    return ", ".join(sorted({asked.field.of_deployment(each) for each in asked.deployments}))


def _forced(source: Source, asked: Asked) -> Scenario:
    """The scenario in which the model has no other choice, in the words of overrides."""
    model = f"models.{asked.model}"
    if asked.word in (REPLICAS, "max_batch") and not asked.value.replace("_", "").isdigit():
        message = f"{quote(asked.value)} is no whole number; write it like {asked.model}.{asked.word}=8"
        raise asked.wrong(asked.value_col, message)
    written = {
        REPLICAS: f"{model}.replicas={{min: {asked.value}, max: {asked.value}}}",
        "max_batch": f"{model}.max_batch={{min: {asked.value}, max: {asked.value}}}",
    }
    text = written.get(asked.word) or f"{model}.{asked.field.written}=[{asked.value}]"
    try:
        return source.changed([text])
    except InputError as error:
        raise InputError(
            replace(each, file=asked.flag, line=1, col=asked.value_col) if each.file == "--set" else each
            for each in error.diagnostics
        ) from None


def _why_not_gpu(trials: Trials, asked: Asked) -> Why:
    gpus = tuple(sorted({pool.gpu.id for pool in trials.scenario.inventory.values()}))
    if asked.value not in gpus:
        raise asked.wrong(asked.value_col, f"no pool has {quote(asked.value)}; write one of {', '.join(gpus)}")

    def there(config: Config) -> bool:
        return config.model != asked.model or config.gpu == asked.value

    table = trials.tables.table(trials.scenario, there)
    found = trials.best(trials.scenario, there)
    shown = fleet(trials.base, found, _if_none(found, trials.scenario, table, asked.model, asked.value))
    return Why(asked.text, _chosen(trials, asked), (Instead(f"on {asked.value} only", shown),))


def _why_not_pool(trials: Trials, asked: Asked) -> Why:
    """The model only on nodes like those of a pool, and at least one node of it bought."""
    name = known_pool(asked, trials.scenario)
    if trials.scenario.timed:
        raise asked.wrong(1, "pools of a plan over time are not asked for; `kvplan what-if` plans other stock")
    found = trials.best(trials.scenario, rows=_only_in(trials.scenario, name, asked.model))
    refused = _if_none(found, trials.scenario, trials.tables.table(trials.scenario), asked.model)
    return Why(asked.text, _chosen(trials, asked), (Instead(f"in {name} only", fleet(trials.base, found, refused)),))


def _only_in(scenario: Scenario, name: str, model: str) -> Callable[[Program], Program]:
    def rows(program: Program) -> Program:
        place = next(p for p, pool in enumerate(program.pools) if pool.name == name)
        used = replace(program.pools[place], lower=max(1, program.pools[place].lower))
        columns = tuple(
            replace(c, upper=0) if c.model == model and c.group != used.group else c for c in program.columns
        )
        pools = tuple(used if p == place else pool for p, pool in enumerate(program.pools))
        return replace(program, columns=columns, pools=pools)

    return rows


def _if_none(found: Outcome, scenario: Scenario, table: CandidateTable, model: str, gpu: str = "") -> tuple[str, ...]:
    """Why there is no plan: what the candidate table says; nothing where there is one."""
    return _reasons(scenario, table, model, gpu) if found.status == "infeasible" else ()


def _reasons(scenario: Scenario, table: CandidateTable, model: str, gpu: str = "") -> tuple[str, ...]:
    """Bands that nothing serves, else the commonest refusals of a model's choices, with the nearest value that
    would do."""
    told = [
        f"{each.message}{f' (would do: {each.repair})' if each.repair else ''}"
        for each in unserved(scenario, table)
        if scenario.traffic[each.path.removeprefix("traffic.")].model == model
    ]
    if told:
        return tuple(told)
    own = sorted(
        (each for each in table.rejections if each.model == model and gpu in each.subject),
        key=lambda each: (each.class_name is None, -each.count, each.subject),
    )
    return tuple(
        f"{each.subject}: {each.message}{f' (would do: {each.nearest})' if each.nearest else ''}"
        for each in own[:MOST_REFUSALS]
    )


def _listed(values: list[str]) -> str:
    return " and ".join(values)
