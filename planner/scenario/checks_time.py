"""Relations of time and failure: periods that cover the week, rates of every period, months of the horizon."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

from planner import units
from planner.scenario import calendar
from planner.scenario.source import Entry, Findings, ListNode, MapNode, child, child_map, value_of
from planner.scenario.values import suggestion
from planner.units import quote, shorten

MONTHS_EXAMPLE = "12mo"


def check_time(root: MapNode, findings: Findings) -> None:
    """The calendar's week, and everything that counts in months."""
    _check_week(root, findings)
    _check_months(root, findings)
    for name, entry in child_map(root, "inventory").items():
        _check_term(f"inventory.{shorten(name, 64)}", entry, findings)


def _check_week(root: MapNode, findings: Findings) -> None:
    """Every minute of the week belongs to exactly one period."""
    entries = child_map(root, "calendar", "periods")
    spans = {name: value_of(entry.node, calendar.parse_spans) for name, entry in entries.items()}
    if not entries or any(parsed is None for parsed in spans.values()):
        return
    known = {name: parsed for name, parsed in spans.items() if parsed}
    for one, other in combinations(known, 2):
        both = calendar.shared(known[one], known[other])
        if both:
            message = f"calendar.periods.{other}: {_spans(both)} is in {quote(one)} too; an hour has one period"
            findings.add(entries[other].place, "KV431", message)
    rest = [name for name in spans if name not in known]
    for name in rest[1:]:
        message = f"calendar.periods.{name}: {quote(rest[0])} is the rest already; write the hours of one of them"
        findings.add(entries[name].place, "KV431", message)
    gaps = calendar.missing([span for parsed in known.values() for span in parsed])
    place = child_map(root, "calendar")["periods"].key_place
    if gaps and not rest:
        message = f"calendar.periods: no period has {_spans(gaps)}; add one, like {quote(f'night: {calendar.REST}')}"
        findings.add(place, "KV431", message)
    if rest and not gaps:
        message = f"calendar.periods.{rest[0]}: the other periods leave no hour over; drop it"
        findings.add(entries[rest[0]].place, "KV431", message)


def _spans(spans: Sequence[calendar.Span], most: int = 3) -> str:
    """The first spans in words."""
    words = [calendar.span_text(span) for span in spans[:most]]
    return ", ".join(words) + (", ..." if len(spans) > most else "")


def check_period_rates(path: str, node: MapNode, root: MapNode, has_table: bool, findings: Findings) -> None:
    """One rate for every period of the calendar and no other, the mean at most the peak, and traffic in some period."""
    entry = node.entries["rate"]
    for key in (key for key in ("peak", "mean", "requests") if key in node.entries):
        message = f"{path}: {quote(key)} does not mix with 'rate' of the calendar's periods; keep one of them"
        findings.add(node.entries[key].key_place, "KV405", message)
    rates, periods = child_map(entry.node), child_map(root, "calendar", "periods")
    if "calendar" not in root.entries:
        message = f"{path}.rate: the periods have no calendar; write 'calendar' with them, or 'peak' and 'mean'"
        findings.add(entry.key_place, "KV432", message)
        return
    for name in (name for name in rates if name not in periods and periods):
        message = f"{path}.rate: the calendar has no period {quote(name)}; {suggestion(name, list(periods))}"
        findings.add(rates[name].key_place, "KV432", message)
    for name in (name for name in periods if name not in rates and isinstance(entry.node, MapNode)):
        message = f"{path}.rate: the period {quote(name)} is missing; write '{name}: {{peak: 3 req/s, mean: 1 req/s}}'"
        findings.add(entry.key_place, "KV432", message)
    peaks = []
    for name, rate in rates.items():
        peak, mean = (value_of(child(rate.node, key), _rate) for key in ("peak", "mean"))
        peaks.append(peak)
        if mean is None and not has_table and isinstance(rate.node, MapNode) and "mean" not in rate.node.entries:
            message = f"{path}.rate.{name}: the key 'mean' is missing; write 'mean: 1 req/s'"
            findings.add(rate.key_place, "KV301", message)
        if peak is not None and mean is not None and mean > peak:
            read = f"mean {units.format_rate(mean)} is above peak {units.format_rate(peak)}"
            message = f"{path}.rate.{name}: {read}; peak is the rate of the worst minute, write it at least as high"
            findings.add(child_map(rate.node)["mean"].place, "KV404", message)
    if peaks and not any(peak is None or peak for peak in peaks):
        message = f"{path}.rate: nobody ever asks; write a peak above 0 for some period"
        findings.add(entry.key_place, "KV432", message)


def _rate(text: str) -> Fraction:
    return units.parse_rate(text, may_be_zero=True)


def _check_months(root: MapNode, findings: Findings) -> None:
    """Where anything counts in months the horizon is whole months, and lists have one entry for each."""
    classes, pools = child_map(root, "traffic"), child_map(root, "inventory")
    counted = [(f"traffic.{name}", "growth", child_map(entry.node)) for name, entry in classes.items()]
    counted += [
        (f"inventory.{name}", key, child_map(e.node)) for name, e in pools.items() for key in ("term", "notice")
    ]
    found = [(path, key, keys[key]) for path, key, keys in counted if key in keys]
    if not found:
        return
    path, key, first = found[0]
    if "horizon" not in root.entries:
        message = f"{path}.{key} counts in months, and the horizon is missing; write 'horizon: {MONTHS_EXAMPLE}'"
        findings.add(first.key_place, "KV433", message)
        return
    horizon = root.entries["horizon"]
    months = value_of(horizon.node, units.parse_months)
    if months is None:
        if value_of(horizon.node, units.parse_duration_us) is not None:
            message = f"horizon: {path}.{key} counts in months; write whole months up to {units.MAX_MONTHS}mo"
            findings.add(horizon.place, "KV433", message)
        return
    for path, key, entry in found:
        if isinstance(entry.node, ListNode) and len(entry.node.items) != months:
            read = f"{len(entry.node.items)} shares for a horizon of {months} months"
            findings.add(entry.place, "KV433", f"{path}.{key}: {read}; write one a month")


def _check_term(path: str, entry: Entry, findings: Findings) -> None:
    """A term is for nodes that can be bought, a notice for nodes that are committed."""
    keys = child_map(entry.node)
    for key, nodes in (("term", "available"), ("notice", "committed")):
        count = value_of(keys[nodes].node, units.parse_nodes) if nodes in keys else 0
        if key in keys and count == 0:
            message = f"{path}.{key}: the pool has no {nodes} nodes; write '{nodes}: 4 nodes', or drop it"
            findings.add(keys[key].key_place, "KV434", message)
