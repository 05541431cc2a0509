"""Relations of failure: losses name what is there, zones lie in one region, spot nodes are rented by the hour."""

from __future__ import annotations

from planner import units
from planner.scenario.source import Entry, Findings, MapNode, TextNode, child, child_map, value_of
from planner.scenario.values import suggestion
from planner.units import MAX_SPOT_NODES, quote, shorten

KIND = ("gpu", "region", "zone", "gpus_per_node")
"""Pools that agree in these share the nodes of replicas."""


def check_losses(root: MapNode, findings: Findings) -> None:
    """Losses name pools, zones or regions; what may be shed needs a loss."""
    pools, named = child_map(root, "inventory"), child_map(root, "reserve", "survive")
    places = check_zones(root, findings)
    check_spot(root, places, findings)
    for name, loss in named.items():
        path = f"reserve.survive.{shorten(name, 64)}"
        if name in pools and name in places:
            message = f"{path}: a pool and a {places[name]} are called so; rename the pool"
            findings.add(loss.key_place, "KV435", message)
        elif name not in pools and name not in places:
            known = [*pools, *sorted(set(places) - set(pools))]
            message = f"{path}: there is no pool, zone or region {quote(name)}; {suggestion(name, known)}"
            findings.add(loss.key_place, "KV435", message)
        elif name not in pools and value_of(loss.node, units.parse_nodes) is not None:
            message = f"{path}: nodes of a {places[name]} are not counted; write '{name}: all', or name its pools"
            findings.add(loss.place, "KV435", message)
        elif isinstance(loss.node, TextNode) and loss.node.text == "all" and (other := _same_kind(name, pools)):
            message = (
                f"{path}: {quote(other)} has the same kind of nodes, and replicas move between both; write '1 node'"
            )
            findings.add(loss.place, "KV435", message)
        elif value_of(loss.node, units.parse_nodes) == 0:
            findings.add(loss.place, "KV435", f"{path}: losing no node is no loss; write '1 node', or drop it")
    for name, entry in child_map(root, "traffic").items():
        keys = child_map(entry.node)
        path = f"traffic.{shorten(name, 64)}"
        if "when_degraded" in keys and not (named or _lost_elsewhere(root)):
            message = f"{path}.when_degraded: no loss is planned for; write 'reserve: {{survive: {{POOL: 1 node}}}}'"
            findings.add(keys["when_degraded"].key_place, "KV436", message)
        if "priority" in keys and "when_degraded" not in keys:
            message = f"{path}.priority: says what is shed first; write 'when_degraded: {{shed_at_most: 30%}}' too"
            findings.add(keys["priority"].key_place, "KV436", message)


def check_zones(root: MapNode, findings: Findings) -> dict[str, str]:
    """Zones and regions by name, and which of the two they are. A zone lies in one region and has its own name."""
    pools = child_map(root, "inventory")
    regions = {node.text for entry in pools.values() if isinstance(node := child(entry.node, "region"), TextNode)}
    within: dict[str, str] = {}
    for name, entry in pools.items():
        zone, region = child(entry.node, "zone"), child(entry.node, "region")
        path = f"inventory.{shorten(name, 64)}.zone"
        if not isinstance(zone, TextNode) or not isinstance(region, TextNode):
            continue
        if zone.text in regions:
            findings.add(zone.place, "KV437", f"{path}: {quote(zone.text)} is a region too; name the zone otherwise")
        elif within.setdefault(zone.text, region.text) != region.text:
            message = f"{path}: {quote(zone.text)} is in {within[zone.text]} too; a zone lies in one region, rename one"
            findings.add(zone.place, "KV437", message)
    if _loses_zones(root):
        for name in (name for name in pools if name in within):
            message = (
                f"inventory.{shorten(name, 64)}: a zone is called so, and reserve.spare.zones loses it by its name"
            )
            findings.add(pools[name].key_place, "KV437", f"{message}; rename the pool")
        for name in (name for name, entry in pools.items() if child(entry.node, "zone") is None):
            message = f"inventory.{shorten(name, 64)}: the zone is missing, and reserve.spare.zones counts zones"
            findings.add(pools[name].key_place, "KV437", f"{message}; write 'zone: eu-west-a'")
    return dict.fromkeys(within, "zone") | dict.fromkeys(regions, "region")


def check_spot(root: MapNode, places: dict[str, str], findings: Findings) -> None:
    """Spot terms are for nodes that are rented by the hour; what is reclaimed is there, and has a name of its own."""
    for name, entry in child_map(root, "inventory").items():
        keys, terms = child_map(entry.node), child_map(entry.node, "spot")
        path = f"inventory.{shorten(name, 64)}"
        for key in (key for key in ("committed", "term") if key in keys and terms):
            if key == "term" or value_of(keys[key].node, units.parse_nodes) != 0:
                message = f"{path}.{key}: nodes that can be taken away are rented by the hour; drop {quote(key)}"
                findings.add(keys[key].key_place, "KV438", message)
        reclaim, offered = (
            value_of(child(entry.node, *place), units.parse_nodes) for place in (("spot", "reclaim"), ("available",))
        )
        if reclaim and name in places:
            message = f"{path}.spot.reclaim: the pool and a {places[name]} are called so; rename the pool"
            findings.add(terms["reclaim"].key_place, "KV438", message)
        if "availability" in terms and offered is not None and offered > MAX_SPOT_NODES:
            message = f"{path}.available: {offered:,} nodes, some of them away; write at most {MAX_SPOT_NODES} nodes"
            findings.add(keys["available"].place, "KV438", message)
        if reclaim is not None and offered is not None and reclaim > offered:
            message = (
                f"{path}.spot.reclaim: {reclaim} nodes cannot be taken of {offered}; write at most {offered} nodes"
            )
            findings.add(terms["reclaim"].place, "KV438", message)


def _lost_elsewhere(root: MapNode) -> bool:
    """Whether spare zones or reclaimed spot nodes are losses."""
    spots = [child(entry.node, "spot", "reclaim") for entry in child_map(root, "inventory").values()]
    return _loses_zones(root) or any(node is not None and value_of(node, units.parse_nodes) != 0 for node in spots)


def _loses_zones(root: MapNode) -> bool:
    """Whether every zone is a loss."""
    zones = child(root, "reserve", "spare", "zones")
    return isinstance(zones, TextNode) and zones.text != "0"


def _same_kind(name: str, pools: dict[str, Entry]) -> str | None:
    """Another pool with the GPU, region and node size of a pool."""
    kinds = {
        pool: tuple(node.text if isinstance(node := child(entry.node, key), TextNode) else "" for key in KIND)
        for pool, entry in pools.items()
    }
    return next((pool for pool in pools if pool != name and kinds[pool] == kinds.get(name)), None)
