"""Plans that are replayed whole: streams, routers, lost nodes, verdicts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from planner import pipeline
from planner.errors import InputError
from planner.plan.types import Plan
from planner.simulate.replay import Run
from planner.simulate.session import Answer, Question, simulate

SCENARIO = Path(__file__).parents[1] / "data/scenarios/page.yaml"

SHORT = Question(seconds=120)


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The plan of the page scenario: three deployments, two pools, two classes."""
    return pipeline.plan(pipeline.load(SCENARIO))


@pytest.fixture(scope="module")
def answer(plan: Plan) -> Answer:
    """Its replay."""
    return pipeline.simulate(plan, replace(SHORT, seconds=200), "plan.json")


def _requests(run: Run) -> list[tuple[float, ...]]:
    return [(one.arrival_s, one.first_s, one.end_s, one.site) for requests in run.requests for one in requests]


def test_every_promise_has_a_verdict(plan: Plan, answer: Answer) -> None:
    """What the plan promises is what the replay judges, and the plan's own figure stands beside it."""
    found = {(verdict.class_name, verdict.metric): verdict for verdict in answer.simulation.verdicts}
    for deployment in plan.deployments.values():
        for promise in deployment.promises:
            verdict = found[promise.class_name, promise.metric]
            assert (verdict.limit, verdict.kept) == (promise.limit_us, verdict.margin_ppm >= 0)
            assert verdict.predicted >= promise.predicted_us


def test_nothing_is_lost_in_a_fleet(answer: Answer) -> None:
    """Tokens out are tokens asked for, blocks taken are blocks given back, and everyone was answered."""
    (run,) = answer.runs
    requests = [one for requests in run.requests for one in requests]
    replicas = [replica for own in run.replicas.values() for replica in own]
    assert all(one.emitted_tokens == one.output_tokens for one in requests if not one.refused)
    assert sum(replica.totals.output_tokens for replica in replicas) == sum(one.emitted_tokens for one in requests)
    assert all(replica.pool.taken_blocks == replica.pool.returned_blocks for replica in replicas)
    assert all(replica.load == 0 for replica in replicas)


def test_littles_law_on_a_fleet(answer: Answer) -> None:
    """Requests in the fleet, as the replicas saw them every ten seconds, are rate x mean time."""
    (replayed,) = answer.simulation.replays
    seen = sum(site.replicas * (site.running_mean + site.waiting_mean) for site in replayed.sites)
    assert seen == pytest.approx(sum(result.in_system for result in replayed.classes), rel=0.1)


def test_the_same_seed_replays_the_same(plan: Plan, answer: Answer) -> None:
    """Chance comes from the seed alone."""
    again = simulate(plan, replace(SHORT, seeds=(1, 2), seconds=200), "plan.json")
    assert _requests(again.runs[0]) == _requests(answer.runs[0]) != _requests(again.runs[1])


def test_routing_follows_bands(plan: Plan, answer: Answer) -> None:
    """By length, a prompt is answered where the plan sends its band."""
    (run,) = answer.runs
    for stream, requests in zip(run.streams, run.requests, strict=True):
        for request in requests:
            intervals = run.fleet.routing[stream.class_name]
            band = next(one for one in intervals if one.to_tokens is None or request.prompt_tokens <= one.to_tokens)
            assert run.sites[request.site] in {name for name, _ in band.shares}


@pytest.mark.parametrize("policy", ["random", "least_loaded", "prefix_aware"])
def test_other_routers_serve_everyone(plan: Plan, policy: str) -> None:
    """Whoever chooses the replica, nobody is refused that it could serve."""
    found = simulate(plan, replace(SHORT, policy=policy), "plan.json")  # type: ignore[arg-type]
    assert sum(result.refused for result in found.simulation.replays[0].classes) == 0


def test_a_lost_node(plan: Plan) -> None:
    """Requests of a lost node begin again elsewhere; nobody is lost while a replica is left."""
    found = simulate(plan, replace(SHORT, fail="node", seconds=200), "plan.json")
    (replayed,) = found.simulation.replays
    assert "lost at" in replayed.failure
    assert sum(result.retries for result in replayed.classes) > 0
    (run,) = found.runs
    assert all(one.refused or one.emitted_tokens == one.output_tokens for requests in run.requests for one in requests)


def test_prompts_beyond_the_plan_fail_its_promise(plan: Plan, tmp_path: Path) -> None:
    """A trace with longer prompts than the context limit is refused in part, and that is a failed promise."""
    name = min(plan.scenario.traffic)
    limit = max(deployment.context_limit_tokens for deployment in plan.deployments.values())
    trace = tmp_path / "long.csv"
    rows = [f"{second},{limit + 1 if second % 2 else 100},20" for second in range(60)]
    trace.write_text("arrival_s,input_tokens,output_tokens\n" + "\n".join(rows) + "\n", encoding="utf-8")
    found = simulate(plan, replace(SHORT, traces={name: str(trace)}), "plan.json").simulation
    (verdict,) = [one for one in found.verdicts if (one.class_name, one.metric) == (name, "rejected")]
    assert (verdict.measured, verdict.kept) == (500_000, False)
    assert found.traces[name]
    assert not found.kept


def _with_traffic(plan: Plan, times: int) -> Plan:
    """The plan with so many times the requests on the same replicas."""
    deployments = {
        name: replace(
            deployment,
            routing=tuple(replace(r, requests_per_s=r.requests_per_s * times) for r in deployment.routing),
        )
        for name, deployment in plan.deployments.items()
    }
    return replace(plan, deployments=deployments)


def test_more_traffic_than_planned_fails(plan: Plan) -> None:
    """Four times the peak breaks promises that the peak keeps."""
    assert not simulate(_with_traffic(plan, 4), SHORT, "plan.json").simulation.kept


@pytest.mark.parametrize(
    ("question", "code"),
    [
        (Question({"nobody": "x.csv"}), "KV721"),  # no such class
        (Question(fail="nowhere/1"), "KV724"),  # no such node
    ],
)
def test_wrong_questions(plan: Plan, question: Question, code: str) -> None:
    """What is not in the plan is named, with what is."""
    with pytest.raises(InputError, match=code):
        simulate(plan, question, "plan.json")


def test_a_plan_without_deployments_cannot_be_replayed(plan: Plan) -> None:
    """An infeasible plan says so."""
    capacity = {name: replace(model, facts=None) for name, model in plan.scenario.models.items()}
    empty = replace(plan, deployments={}, scenario=replace(plan.scenario, models=capacity))
    with pytest.raises(InputError, match="KV722"):
        simulate(empty, SHORT, "plan.json")


def test_too_many_requests(plan: Plan) -> None:
    """A rate that no replay ends with is refused before it begins."""
    with pytest.raises(InputError, match="KV723"):
        simulate(_with_traffic(plan, 10**6), SHORT, "plan.json")


def test_a_spare_node_takes_over(plan: Plan) -> None:
    """With an idle node and a stated start-up time the lost replicas stand again, empty, and serve."""
    inventory = {
        name: replace(pool, start_up_us=20_000_000, available_nodes=pool.available_nodes + 1)
        for name, pool in plan.scenario.inventory.items()
    }
    pools = {name: replace(pool, nodes=pool.nodes + 1) if pool.nodes else pool for name, pool in plan.pools.items()}
    spared = replace(plan, pools=pools, scenario=replace(plan.scenario, inventory=inventory))
    (run,) = simulate(spared, replace(SHORT, fail="node", seconds=200), "plan.json").runs
    assert run.failure is not None
    assert run.failure.back_s == pytest.approx(run.failure.at_s + 20)
    late = [replica for own in run.replicas.values() for replica in own if replica.started_s > 0]
    assert late and all(replica.totals.steps > 0 for replica in late)
    assert "back at" in simulate(spared, replace(SHORT, fail="node"), "plan.json").simulation.replays[0].failure


def test_why_a_lost_node_is_not_replaced(plan: Plan) -> None:
    """No idle node, or none whose start-up time is known."""
    failure = simulate(plan, replace(SHORT, fail="node"), "plan.json").simulation.replays[0].failure
    assert "not replaced: " in failure


def test_a_plan_that_was_changed_by_hand(plan: Plan) -> None:
    """More replicas than the nodes hold, or a shape of no model, is a mistake in the plan and not a crash."""
    name = next(iter(plan.deployments))
    first = plan.deployments[name]
    for broken in (
        replace(first, parallel="tp64"),
        replace(first, kv_preset="nothing"),
        replace(first, replicas=900, gpus=900, pools=dict.fromkeys(first.pools, 900)),
    ):
        with pytest.raises(InputError, match="KV726"):
            simulate(replace(plan, deployments={**plan.deployments, name: broken}), SHORT, "plan.json")
