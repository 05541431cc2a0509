"""Relations of regions: classes name regions that pools are in, and the network time to all that may serve them."""

from __future__ import annotations

from planner.scenario.reading import is_line
from planner.scenario.source import Entry, Findings, ListNode, MapNode, TextNode, child, child_map
from planner.scenario.values import suggestion
from planner.units import quote, shorten


def check_regions(root: MapNode, findings: Findings) -> None:
    """Regions and network times of all classes."""
    pools = child_map(root, "inventory")
    named = [child(entry.node, "region") for entry in pools.values()]
    offered = dict.fromkeys(node.text for node in named if isinstance(node, TextNode) and is_line(node))
    if len(named) != len([node for node in named if node is not None]) or not offered:
        return  # pools without a region are reported as such
    for name, entry in child_map(root, "traffic").items():
        if isinstance(entry.node, MapNode):
            path = f"traffic.{shorten(name, 64)}"
            allowed = _check_allowed(path, entry.node, list(offered), findings)
            if "latency" in entry.node.entries:
                _check_latency(path, entry.node.entries["latency"], entry.node, allowed, list(offered), findings)


def _check_allowed(path: str, node: MapNode, offered: list[str], findings: Findings) -> list[str]:
    """The regions that may serve a class; names that no pool has are reported."""
    regions = child(node, "regions")
    if regions is None:
        return offered
    listed = regions.items if isinstance(regions, ListNode) else (regions,)
    found = [each for each in listed if isinstance(each, TextNode) and is_line(each)]
    for each in (each for each in found if each.text not in offered):
        message = f"{path}.regions: no pool is in {quote(each.text)}; {suggestion(each.text, offered)}"
        findings.add(each.place, "KV451", message)
    return [each.text for each in found if each.text in offered]


def _check_latency(
    path: str, entry: Entry, node: MapNode, allowed: list[str], offered: list[str], findings: Findings
) -> None:
    """Every region that may serve the class has its network time, and there is a promise that it counts in."""
    times = child_map(entry.node)
    for name in (name for name in times if name not in offered):
        message = f"{path}.latency: no pool is in {quote(name)}; {suggestion(name, offered)}"
        findings.add(times[name].key_place, "KV451", message)
    for name in (name for name in allowed if name not in times and times):
        message = (
            f"{path}.latency: the region {quote(name)} may serve the class and has no time; write '{name}: 90ms', "
            "or leave it out of 'regions'"
        )
        findings.add(entry.key_place, "KV452", message)
    if "ttft_p95" not in child_map(node, "slo"):
        message = f"{path}.latency: counts in a promise that is not there; write 'slo: {{ttft_p95: 800ms}}', or drop it"
        findings.add(entry.key_place, "KV452", message)
