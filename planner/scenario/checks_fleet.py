"""Relations of the running fleet: it names models and pools, fits their nodes, and says what its model asks for."""

from __future__ import annotations

from planner import units
from planner.catalog.parallel import Parallel, parse_parallel
from planner.scenario.source import Entry, Findings, ListNode, MapNode, Node, TextNode, child, child_map, child_text
from planner.scenario.source import value_of as _read
from planner.scenario.values import suggestion
from planner.units import quote, shorten

EXAMPLES = {
    "weights": "fp8",
    "parallel": "tp4",
    "context_limit": "16Ki",
    "max_batch": "64",
    "kv_preset": "fp8",
}
"""Keys that say what a replica is started with, where no capacity table stands for it, with examples."""

CONFIGURATION = (*EXAMPLES, "max_num_batched_tokens")


def check_fleet(root: MapNode, findings: Findings) -> None:
    """The running fleet, and what may be done to it."""
    models, pools = child_map(root, "models"), child_map(root, "inventory")
    fleet = child_map(root, "current")
    seen: dict[tuple[str, ...], str] = {}
    for name, entry in fleet.items():
        path = f"current.{shorten(name, 64)}"
        if not isinstance(entry.node, MapNode):
            continue
        model = _named(f"{path}.model", entry.node, "model", models, findings)
        pool = _named(f"{path}.pool", entry.node, "pool", pools, findings)
        if model is not None:
            _check_keys(path, entry, entry.node, model, findings)
        if pool is not None:
            _check_shape(path, entry.node, pool, findings)
        key = tuple(_text(entry.node, word) for word in ("model", "pool", *CONFIGURATION))
        if key in seen:
            message = f"{path}: the same replicas as current.{seen[key]}; write one entry with all of them"
            findings.add(entry.key_place, "KV463", message)
        seen.setdefault(key, shorten(name, 64))
    for name, entry in pools.items():
        _check_stock(f"inventory.{shorten(name, 64)}", name, entry, fleet, findings)
    _check_change(root, findings)


def _text(node: Node, key: str) -> str:
    found = child_text(node, key)
    return found.text if found else ""


def _named(path: str, node: MapNode, key: str, known: dict[str, Entry], findings: Findings) -> Entry | None:
    """The entry that a key names, or None with a finding where there is none."""
    name = child_text(node, key)
    if name is None or not known:
        return None
    if name.text not in known:
        hint = suggestion(name.text, list(known))
        findings.add(name.place, "KV461", f"{path}: there is no {key} {quote(name.text)}; {hint}")
    return known.get(name.text)


def _check_keys(path: str, entry: Entry, node: MapNode, model: Entry, findings: Findings) -> None:
    """A replica of physics says how it was started; one of a capacity table has nothing to say."""
    if "capacity_table" in child_map(model.node):
        for key in (key for key in CONFIGURATION if key in node.entries):
            message = f"{path}: {quote(key)} has no meaning with a capacity table; drop it"
            findings.add(node.entries[key].key_place, "KV463", message)
        kept = child(node, "keep")
        for item in kept.items if isinstance(kept, ListNode) else ():
            if isinstance(item, TextNode) and item.text in EXAMPLES:
                message = f"{path}.keep: {quote(item.text)} has no meaning with a capacity table; write replicas"
                findings.add(item.place, "KV463", message)
        return
    for key, example in EXAMPLES.items():
        if key not in node.entries:
            message = f"{path}: the key {quote(key)} is missing; write {quote(f'{key}: {example}')}"
            findings.add(entry.key_place, "KV301", message)
    budgets = child(model.node, "engine_args", "max_num_batched_tokens")
    if isinstance(budgets, ListNode) and len(budgets.items) > 1 and "max_num_batched_tokens" not in node.entries:
        offered = [item.text for item in budgets.items if isinstance(item, TextNode)]
        message = (
            f"{path}: the model's engine_args leave a choice of max_num_batched_tokens; say which runs, "
            f"such as 'max_num_batched_tokens: {offered[0] if offered else 8192}'"
        )
        findings.add(entry.key_place, "KV463", message)


def _shape(node: Node) -> Parallel:
    """The parallel shape; one GPU where none is written or it cannot be read."""
    text = child_text(node, "parallel")
    shape = parse_parallel(text.text) if text is not None else Parallel()
    return Parallel() if isinstance(shape, str) else shape


def _check_shape(path: str, node: MapNode, pool: Entry, findings: Findings) -> None:
    """A replica lives in one node."""
    size = _read(child(pool.node, "gpus_per_node"), units.parse_integer)
    shape = _shape(node)
    if size is not None and shape.gpus > size:
        message = f"{path}.parallel: {shape} takes {shape.gpus} GPUs of one node, and nodes of the pool have {size}"
        findings.add(node.entries["parallel"].place, "KV462", f"{message}; write another shape or pool")


def _check_stock(path: str, pool: str, entry: Entry, fleet: dict[str, Entry], findings: Findings) -> None:
    """No pool runs more replicas than its nodes hold."""
    nodes = [_read(child(entry.node, key), units.parse_nodes) or 0 for key in ("committed", "available")]
    size = _read(child(entry.node, "gpus_per_node"), units.parse_integer)
    held = sum(nodes) * (size or 0)
    used, last = 0, None
    for running in fleet.values():
        count = _read(child(running.node, "replicas"), units.parse_integer)
        if _text(running.node, "pool") == pool and count is not None:
            used, last = used + count * _shape(running.node).gpus, running
    if size and last is not None and used > held:
        message = (
            f"current: {used:,} GPUs run in {quote(pool)}, and its {sum(nodes):,} nodes have {held:,}; "
            f"write fewer replicas, or the nodes that they run on in {path}"
        )
        findings.add(child_map(last.node)["replicas"].place, "KV462", message)


def _check_change(root: MapNode, findings: Findings) -> None:
    """A change has a fleet to change, and says something."""
    change = child_map(root).get("change")
    if change is None or not isinstance(change.node, MapNode):
        return
    if "current" not in root.entries:
        message = "change: no fleet runs; write 'current: {NAME: {model: ..., pool: ..., replicas: 8}}', or drop it"
        findings.add(change.key_place, "KV464", message)
    if not change.node.entries:
        message = "change: nothing is named; write {max_replicas_moved: 4}, {cost: $50/replica} or both"
        findings.add(change.key_place, "KV464", message)
    pools, classes = child_map(root, "inventory").values(), child_map(root, "traffic").values()
    monthly = any({"term", "notice"} & set(child_map(entry.node)) for entry in pools)
    grows = any("growth" in child_map(entry.node) for entry in classes)
    if "calendar" in root.entries or monthly or grows:
        word = "calendar" if "calendar" in root.entries else "growth, term and notice"
        message = f"change: moves are not counted over time yet, and the scenario has {word}; leave 'change' out"
        findings.add(change.key_place, "KV501", message)
