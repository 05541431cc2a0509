"""Tests the order of a change: new before old, no replica lost while there is room, and the GPUs held meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.plan import io
from planner.plan.diff_types import RolloutStep
from planner.plan.rollout import rollout
from planner.plan.types import Plan

Tree = dict[str, object]
Shape = tuple[int, int, int]
"""Batch size (which tells configurations apart), GPUs of a replica, replicas."""

NODE = 8


@pytest.fixture(scope="session")
def pattern(plan_tree: Callable[[str], Tree]) -> Plan:
    """A real plan, whose pieces the others are made of."""
    return io.parse(plan_tree("prod"), "plan.json")


def made(pattern: Plan, nodes: int, offered: int, *shapes: Shape) -> Plan:
    """A plan of one model on one pool of eight-GPU nodes."""
    deployment = pattern.deployments["assistant-1"]
    deployments = {
        f"assistant-{k}": replace(
            deployment, max_batch=batch, gpus=gpus * count, replicas=count, pools={"h100-reserved": count},
            parallel=f"tp{gpus}",
        )
        for k, (batch, gpus, count) in enumerate(shapes, start=1)
    }  # fmt: skip
    pool = replace(pattern.pools["h100-reserved"], nodes=nodes, nodes_offered=offered)
    totals = pattern.totals
    assert totals is not None
    return replace(
        pattern, deployments=deployments, pools={"h100-reserved": pool}, totals=replace(totals, gpus=nodes * NODE)
    )


def actions(steps: tuple[RolloutStep, ...]) -> list[tuple[str, int]]:
    """Which steps are taken, on how many."""
    return [(step.action, step.count) for step in steps if step.action != "shift"]


@pytest.mark.parametrize(
    ("base", "head", "expected", "extra"),
    [
        # growth: nodes, then replicas; nothing stops
        ((1, 9, (8, 4, 2)), (2, 9, (8, 4, 3)), [("buy", 1), ("start", 1)], 0),
        # shrinking: replicas, then nodes
        ((2, 9, (8, 4, 3)), (1, 9, (8, 4, 2)), [("stop", 1), ("release", 1)], 0),
        # another configuration with room for all of it beside the old one
        ((2, 9, (8, 4, 2)), (2, 9, (9, 4, 2)), [("start", 2), ("stop", 2)], 0),
        # full nodes, but a pool that offers more: one node held for a time
        ((1, 9, (8, 4, 2)), (1, 9, (9, 4, 2)), [("buy", 1), ("start", 2), ("stop", 2), ("release", 1)], 8),
        # room for one of four: in rounds, without another node and without losing one
        ((2, 9, (8, 4, 3)), (2, 9, (9, 4, 3)), [("start", 3), ("stop", 3)], 0),
        # full nodes and nothing more to have: one replica down at a time
        ((1, 1, (8, 4, 2)), (1, 1, (9, 4, 2)), [("restart", 1), ("start", 2), ("stop", 2)], 0),
        # eight GPUs in one piece where two halves run: the half that is stopped first cannot be avoided
        ((1, 1, (8, 4, 2)), (1, 1, (9, 8, 1)), [("restart", 2), ("start", 1), ("stop", 2)], 0),
    ],
)
def test_orders(
    base: tuple[object, ...], head: tuple[object, ...], expected: list[tuple[str, int]], extra: int, pattern: Plan
) -> None:
    """Tests the order and the GPUs held beyond the larger plan, for each way in which room can be short."""
    steps, peak = rollout(made(pattern, *base), made(pattern, *head))  # type: ignore[arg-type]
    assert actions(steps) == expected
    assert peak == extra
    assert [step.order for step in steps] == list(range(1, len(steps) + 1))


def test_rounds_are_said(pattern: Plan) -> None:
    """Tests that replicas that come a few at a time say in how many rounds."""
    steps, _ = rollout(made(pattern, 2, 2, (8, 4, 3)), made(pattern, 2, 2, (9, 4, 3)))
    assert any("3 replicas" in step.text and "in 3 rounds" in step.text for step in steps)


def test_moving_to_other_nodes_holds_both(pattern: Plan) -> None:
    """Tests that two pools are held at once while a model moves between them."""
    base = made(pattern, 3, 3, (8, 4, 6))
    moved = replace(base.deployments["assistant-1"], gpu="a100-sxm-80gb", region="finland", gpus_per_node=4,
                    pools={"a100-on-demand": 6})  # fmt: skip
    new = {"a100-on-demand": replace(pattern.pools["a100-on-demand"], nodes=6, nodes_offered=8)}
    empty = {"h100-reserved": replace(base.pools["h100-reserved"], nodes=0)}
    assert base.totals is not None
    head = replace(base, deployments={"assistant": moved}, pools={**empty, **new})
    steps, peak = rollout(base, head)
    assert actions(steps) == [("buy", 6), ("start", 6), ("stop", 6), ("release", 3)]
    assert peak == 24


def test_a_pool_with_other_nodes_is_another_pool(pattern: Plan) -> None:
    """Tests that nodes of eight GPUs under the same name do not become nodes of four: they go, the others come."""
    base = made(pattern, 1, 3, (8, 4, 2))
    smaller = replace(base.scenario.inventory["h100-reserved"], gpus_per_node=4)
    moved = replace(base.deployments["assistant-1"], gpus_per_node=4)
    head = replace(
        base, deployments={"assistant-1": moved},
        pools={"h100-reserved": replace(base.pools["h100-reserved"], nodes=2)},
        scenario=replace(base.scenario, inventory={**base.scenario.inventory, "h100-reserved": smaller}),
    )  # fmt: skip
    steps, peak = rollout(base, head)
    assert actions(steps) == [("buy", 2), ("start", 2), ("stop", 2), ("release", 1)]
    assert peak == 8


SHAPES = st.lists(
    st.tuples(st.integers(8, 12), st.sampled_from((1, 2, 4, 8)), st.integers(1, 6)),
    min_size=1, max_size=4, unique_by=lambda shape: shape[:2],
)  # fmt: skip


def needed(shapes: list[Shape]) -> int:
    """Nodes that these replicas fill when the largest come first: powers of two leave no gaps."""
    return -(-sum(gpus * count for _, gpus, count in shapes) // NODE)


@settings(max_examples=150, deadline=None)
@given(SHAPES, SHAPES, st.integers(0, 3), st.integers(0, 4))
def test_every_change_comes_to_its_end(pattern: Plan, old: list[Shape], new: list[Shape], idle: int, more: int) -> None:
    """Tests on random changes that starts and stops are the differences, that nothing goes down while the pool could
    lend the nodes, and that no more nodes are held than it offers, but for those that stand apart."""
    nodes = needed(old) + idle, needed(new)
    offered = max(nodes) + more
    steps, peak = rollout(made(pattern, nodes[0], offered, *old), made(pattern, nodes[1], offered, *new))
    before, after = ({shape[:2]: shape[2] for shape in shapes} for shapes in (old, new))
    starts = sum(max(0, count - before.get(key, 0)) for key, count in after.items())
    stops = sum(max(0, count - after.get(key, 0)) for key, count in before.items())
    counted = {action: sum(step.count for step in steps if step.action == action) for action in ("start", "stop")}
    assert counted == {"start": starts, "stop": stops}
    down = sum(step.replicas_down for step in steps)
    if more >= needed(new) + 1:
        assert down == 0
    order = [step.action for step in steps]
    for first, later in (("buy", "start"), ("start", "stop"), ("stop", "release")):
        if first in order and later in order:
            assert len(order) - 1 - order[::-1].index(first) < order.index(later)
    assert 0 <= peak <= (more + (1 if down else 0)) * NODE
    assert not steps or steps[-1].extra_gpus in (0, peak)
