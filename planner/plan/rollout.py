"""In which order a plan becomes another one, and how many GPUs are held meanwhile.

New nodes first, then new replicas in the room that is free, then traffic, then old replicas, then old nodes. A
replica that keeps its configuration is never touched. Where there is no room for all new replicas at once, they come
in rounds: when a part f of a model's new replicas runs, a part f of its old ones may stop, because a mixture of f
parts of the new plan and 1 - f of the old one serves the same mixture of their peaks (every load row is linear). Where
not even one fits, nodes are held for a time if a pool still offers some; else replicas go down before their successors
start, and the step says how many.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from planner.plan.diff_changes import CONFIG_FIELDS
from planner.plan.diff_types import RolloutStep
from planner.plan.types import Deployment, Plan
from planner.scenario.types import NodeKind

Group = NodeKind
"""Pools that replicas cannot tell apart."""

Key = tuple[object, ...]
"""What a replica is started with."""


@dataclass
class _Nodes:
    """The nodes of one group: which replicas run where. Nodes are found by their free GPUs, replicas by their key."""

    size: int
    free: list[int] = field(default_factory=list)
    running: dict[Key, list[int]] = field(default_factory=dict)
    by_free: dict[int, list[int]] = field(default_factory=dict)
    """Nodes that had so many GPUs free when they were entered; those that have not any more are dropped when met."""

    def add(self, count: int) -> None:
        for _ in range(count):
            self.free.append(0)
            self._set_free(len(self.free) - 1, self.size)

    def _set_free(self, node: int, gpus: int) -> None:
        self.free[node] = gpus
        self.by_free.setdefault(gpus, []).append(node)

    def has_room(self, gpus: int) -> bool:
        """Whether a replica of so many GPUs fits on some node."""
        return self._fullest(gpus) is not None

    def _fullest(self, gpus: int) -> int | None:
        for left in range(gpus, self.size + 1):
            nodes = self.by_free.get(left, [])
            while nodes and self.free[nodes[-1]] != left:
                nodes.pop()
            if nodes:
                return nodes[-1]
        return None

    def start(self, key: Key, gpus: int) -> bool:
        """Starts a replica on the fullest node that has room; False if none has."""
        node = self._fullest(gpus)
        if node is None:
            return False
        self._set_free(node, self.free[node] - gpus)
        self.running.setdefault(key, []).append(node)
        return True

    def stop(self, key: Key, gpus: int) -> None:
        """Stops the replica on the emptiest node, so that nodes empty out."""
        nodes = self.running[key]
        node = max(nodes, key=lambda each: (self.free[each], each))
        nodes.remove(node)
        self._set_free(node, self.free[node] + gpus)


@dataclass
class _Task:
    """Replicas of one configuration that must start, or stop."""

    name: str
    what: str
    model: str
    group: Group
    key: Key
    gpus: int
    total: int
    done: int = 0
    rounds: int = 0

    @property
    def left(self) -> int:
        return self.total - self.done


@dataclass
class _Rollout:
    """The state of the change while it is played through."""

    nodes: dict[Group, _Nodes]
    offered: dict[Group, int]
    starts: list[_Task]
    stops: list[_Task]
    gpus_of: dict[Key, int]
    held: dict[Group, int] = field(default_factory=dict)
    down: dict[str, int] = field(default_factory=dict)

    def play(self) -> None:
        """Rounds until everything runs that must; each does the gentlest thing that makes progress."""
        while True:
            self._start_what_fits()
            stopped = self._stop_replaced()
            waiting = [task for task in self.starts if task.left]
            if not waiting:
                return
            if stopped or self._fits(waiting) or self._hold_a_node(waiting[0]):
                continue
            if not self._take_down(waiting[0]):
                self._repack(waiting[0])

    def _fits(self, waiting: list[_Task]) -> bool:
        return any(self.nodes[task.group].has_room(task.gpus) for task in waiting)

    def _start_what_fits(self) -> None:
        for task in self.starts:
            before = task.done
            while task.left and self.nodes[task.group].start(task.key, task.gpus):
                task.done += 1
            task.rounds += task.done > before

    def _stop_replaced(self) -> bool:
        """Stops what the started replicas stand in for: the same part of a model's old ones as of its new ones runs."""
        stopped = False
        for task in self.stops:
            stopped |= self._stop(task, int(self._part(task.model) * task.total) - task.done)
        return stopped

    def _part(self, model: str) -> Fraction:
        """How much of a model's new replicas runs, in GPUs."""
        own = [task for task in self.starts if task.model == model]
        total = sum(task.total * task.gpus for task in own)
        return Fraction(sum(task.done * task.gpus for task in own), total) if total else Fraction(1)

    def _stop(self, task: _Task, count: int) -> bool:
        for _ in range(count):
            self.nodes[task.group].stop(task.key, task.gpus)
        task.done += max(0, count)
        return count > 0

    def _hold_a_node(self, task: _Task) -> bool:
        """One more node for a time, where a pool still offers one."""
        nodes = self.nodes[task.group]
        if len(nodes.free) >= self.offered[task.group]:
            return False
        nodes.add(1)
        self.held[task.group] = self.held.get(task.group, 0) + 1
        return True

    def _take_down(self, task: _Task) -> bool:
        """Stops one old replica before its successor runs: of the same model if it has one there, else of another."""
        own = [old for old in self.stops if old.left and old.group == task.group]
        own.sort(key=lambda old: (old.model != task.model, -old.gpus))
        if own:
            self._stop(own[0], 1)
            model = own[0].model
            part = self._part(model)
            missing = sum(old.done - int(part * old.total) for old in self.stops if old.model == model)
            self.down[model] = max(self.down.get(model, 0), missing)
        return bool(own)

    def _repack(self, task: _Task) -> None:
        """Free GPUs are scattered over nodes by replicas that stay: they are moved together, one after another."""
        nodes = self.nodes[task.group]
        sizes = {key: key_gpus for key, key_gpus in self.gpus_of.items() if nodes.running.get(key)}
        counts = {key: len(where) for key, where in nodes.running.items()}
        number = len(nodes.free)
        nodes = self.nodes[task.group] = _Nodes(nodes.size)
        nodes.add(number)
        for key in sorted(sizes, key=lambda each: (-sizes[each], str(each))):
            for _ in range(counts[key]):
                nodes.start(key, sizes[key])
        self.down[task.model] = max(self.down.get(task.model, 0), 1)
        if not nodes.start(task.key, task.gpus):
            nodes.add(1)  # the replicas of the base that stay and the head do not fit together: a node for a time
            self.held[task.group] = self.held.get(task.group, 0) + 1
            nodes.start(task.key, task.gpus)
        task.done += 1


def rollout(base: Plan, head: Plan) -> tuple[tuple[RolloutStep, ...], int]:
    """The steps, and the most GPUs that are held at once beyond the larger of the two plans."""
    state = _prepared(base, head)
    state.play()
    larger = max(_gpus(base), _gpus(head))
    buys = _node_steps(base, head, 1)
    extra = sum(max(counts) * group.gpus_per_node for (_, group), counts in _nodes(base, head).items()) - larger
    held = sum(count * group.gpus_per_node for group, count in state.held.items())
    steps: list[tuple[str, str, int, str, int, int]] = []
    for name, count, size in buys:
        steps.append(("buy", name, count, f"add {_count(count, 'node')} to {name} ({count * size} GPUs)", extra, 0))
    for group, count in sorted(state.held.items()):
        gpu, size = group.gpu, group.gpus_per_node
        held_nodes = f"{_count(count, 'more node')} of {gpu} in {group.place} ({count * size} GPUs)"
        text = f"hold {held_nodes} until old replicas are gone"
        steps.append(("buy", gpu, count, text, extra + held, 0))
    steps += [("restart", model, n, _down_text(model, n), extra + held, n) for model, n in sorted(state.down.items())]
    for task in state.starts:
        steps.append(("start", task.name, task.total, _start_text(task), extra + held, 0))
    for model in sorted(_rerouted(base, head)):
        steps.append(("shift", model, 1, f"route the traffic of {model} as the new plan says", extra + held, 0))
    for task in state.stops:
        text = f"stop {_count(task.total, 'replica')} of the old {task.what}"
        steps.append(("stop", task.name, task.total, text, extra + held, 0))
    releases = [(g.gpu, n, g.gpus_per_node, "held for the change") for g, n in sorted(state.held.items())]
    releases += [(name, count, size, "") for name, count, size in _node_steps(base, head, -1)]
    for name, count, size, why in releases:
        held_back = f", {why}" if why else ""
        text = f"give back {_count(count, 'node')} of {name} ({count * size} GPUs{held_back}) once empty"
        steps.append(("release", name, count, text, 0, 0))
    numbered = tuple(
        RolloutStep(order, action, subject, count, text, extra_gpus, down)  # type: ignore[arg-type]
        for order, (action, subject, count, text, extra_gpus, down) in enumerate(steps, start=1)
    )
    return numbered, max(0, extra + held)


def _prepared(base: Plan, head: Plan) -> _Rollout:
    """The base's replicas on its nodes and the head's beside them, and what must start and stop."""
    nodes: dict[Group, _Nodes] = {}
    offered: dict[Group, int] = {}
    for (pool, group), counts in sorted(_nodes(base, head).items()):
        nodes.setdefault(group, _Nodes(group.gpus_per_node)).add(max(counts))
        offered[group] = offered.get(group, 0) + max(
            plan.pools[pool].nodes_offered
            for plan in (base, head)
            if pool in plan.pools and _pool_group(plan, pool) == group
        )
    old, new = _by_key(base), _by_key(head)
    for key, (_, deployment, count) in sorted(old.items(), key=lambda item: (-_replica_gpus(item[1][1]), str(item[0]))):
        for _ in range(count):
            nodes[_group(deployment)].start(key, _replica_gpus(deployment))
    starts, stops = _tasks(new, old), _tasks(old, new)
    sizes = {key: _replica_gpus(deployment) for key, (_, deployment, _) in {**old, **new}.items()}
    return _Rollout(nodes, offered, starts, stops, sizes)


def _tasks(more: dict[Key, tuple[str, Deployment, int]], fewer: dict[Key, tuple[str, Deployment, int]]) -> list[_Task]:
    """Replicas of `more` beyond those of `fewer`, larger ones first."""
    tasks = []
    for key, (name, deployment, count) in more.items():
        surplus = count - (fewer[key][2] if key in fewer else 0)
        if surplus > 0:
            gpus = _replica_gpus(deployment)
            tasks.append(_Task(name, _what(name, deployment), deployment.model, _group(deployment), key, gpus, surplus))
    return sorted(tasks, key=lambda task: (-task.gpus, task.name))


def _what(name: str, deployment: Deployment) -> str:
    """A deployment in words: names are numbered anew in every plan, so the shape and the GPU stand beside it."""
    shape = " ".join(part for part in (deployment.parallel, deployment.weights) if part)
    return f"{name} ({shape} on {deployment.gpu})" if shape else f"{name} (on {deployment.gpu})"


def _by_key(plan: Plan) -> dict[Key, tuple[str, Deployment, int]]:
    """Replicas by what they are started with, under the name of their deployment."""
    found: dict[Key, tuple[str, Deployment, int]] = {}
    for name, deployment in plan.deployments.items():
        key = tuple(getattr(deployment, each) for each in CONFIG_FIELDS)
        first = found.get(key)
        count = deployment.replicas + (first[2] if first else 0)
        found[key] = (first[0] if first else name, deployment, count)
    return found


def _group(deployment: Deployment) -> Group:
    return deployment.kind


def _replica_gpus(deployment: Deployment) -> int:
    return deployment.gpus // deployment.replicas if deployment.replicas else 0


def _rerouted(base: Plan, head: Plan) -> set[str]:
    """Models whose traffic goes to other configurations, or in other parts, than before."""
    routes = [_routes(plan) for plan in (base, head)]
    return {model for model in routes[0].keys() & routes[1].keys() if routes[0][model] != routes[1][model]}


def _routes(plan: Plan) -> dict[str, set[tuple[object, ...]]]:
    found: dict[str, set[tuple[object, ...]]] = {}
    for deployment in plan.deployments.values():
        key = tuple(getattr(deployment, each) for each in CONFIG_FIELDS)
        own = found.setdefault(deployment.model, set())
        own.update((key, route.class_name, route.prompt_tokens, route.share) for route in deployment.routing)
    return found


def _nodes(base: Plan, head: Plan) -> dict[tuple[str, Group], tuple[int, int]]:
    """Nodes of every pool in both plans. A pool whose nodes are others now is two: old ones go, new ones come."""
    counts: dict[tuple[str, Group], tuple[int, int]] = {}
    for plan, (old, new) in ((base, (1, 0)), (head, (0, 1))):
        for name, pool in plan.pools.items():
            key = (name, _pool_group(plan, name))
            before, after = counts.get(key, (0, 0))
            counts[key] = (before + old * pool.nodes, after + new * pool.nodes)
    return counts


def _pool_group(plan: Plan, name: str) -> Group:
    return plan.scenario.inventory[name].kind


def _gpus(plan: Plan) -> int:
    return plan.totals.gpus if plan.totals else 0


def _node_steps(base: Plan, head: Plan, sign: int) -> list[tuple[str, int, int]]:
    """Pools that grow (sign 1) or shrink (-1), by how many nodes of how many GPUs."""
    counts = sorted(_nodes(base, head).items())
    changes = [(name, (after - before) * sign, group.gpus_per_node) for (name, group), (before, after) in counts]
    return [change for change in changes if change[1] > 0]


def _start_text(task: _Task) -> str:
    text = f"start {_count(task.total, 'replica')} of {task.what}, {_count(task.gpus, 'GPU')} each"
    return f"{text}, in {task.rounds} rounds as old ones make room" if task.rounds > 1 else text


def _down_text(model: str, count: int) -> str:
    return f"no room to start first: {_count(count, 'replica')} of {model} down at a time"


def _count(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
