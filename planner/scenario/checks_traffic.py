"""Relations within a traffic class: where its rates and lengths come from, and which promises fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from planner import units
from planner.scenario.checks_time import check_period_rates
from planner.scenario.reading import is_line, unreadable
from planner.scenario.source import Entry, Findings, MapNode, TextNode, child, child_map, child_text, value_of
from planner.scenario.values import percentile_ppm, suggestion
from planner.units import quote

SAID_BY_A_TRACE = ("peak", "mean", "rate", "requests", "input_tokens", "output_tokens")
OF_A_TRACE = ("scale", "peak_window", "window")
LENGTHS_EXAMPLE = "{p50: 900, p95: 6_000, max: 30_000}"


def check_class(
    path: str,
    entry: Entry,
    root: MapNode,
    models: dict[str, Entry],
    file_of: Callable[[TextNode], Path],
    findings: Findings,
) -> None:
    """Reports everything in a class that does not fit together; `file_of` is the path of a file that it names."""
    node = entry.node
    if not isinstance(node, MapNode):
        return
    model = child_text(node, "model")
    if model and not model.is_empty and model.text not in models and models:
        hint = suggestion(model.text, list(models))
        findings.add(model.place, "KV401", f"{path}.model: there is no model {quote(model.text)}; {hint}")
    has_table = model is not None and model.text in models and _has_table(models[model.text])
    if "trace" in node.entries:
        _check_trace(path, node, has_table, file_of, findings)
        _check_slo(path, entry, node, root, has_table, findings)
        return
    for key in OF_A_TRACE:
        if key in node.entries:
            message = f"{path}: {quote(key)} is about a trace; write 'trace: requests.csv' too, or drop it"
            findings.add(node.entries[key].key_place, "KV441", message)
    _check_prefix(path, node, findings)
    if "rate" in node.entries:
        check_period_rates(path, node, root, has_table, findings)
    else:
        _check_rates(path, entry, node, has_table, findings)
    _check_slo(path, entry, node, root, has_table, findings)
    if has_table:
        _check_rate_only(path, node, findings)
    for key in ("input_tokens", "output_tokens"):
        if key in node.entries:
            _check_lengths(f"{path}.{key}", node.entries[key], findings)
        elif not has_table:
            message = f"{path}: the key {quote(key)} is missing; write '{key}: {LENGTHS_EXAMPLE}'"
            findings.add(entry.key_place, "KV301", message)


def _check_trace(
    path: str, node: MapNode, has_table: bool, file_of: Callable[[TextNode], Path], findings: Findings
) -> None:
    """A trace says rates and lengths; a capacity table knows no lengths."""
    for key in SAID_BY_A_TRACE:
        if key in node.entries:
            message = f"{path}: {quote(key)} beside a trace, which says it itself; drop one of them"
            findings.add(node.entries[key].key_place, "KV442", message)
    if has_table:
        message = f"{path}: 'trace' has no meaning with a capacity table, which only knows rates; write peak and mean"
        findings.add(node.entries["trace"].key_place, "KV411", message)
    file = child_text(node, "trace")
    reason = unreadable(file_of(file)) if file is not None and is_line(file) else None
    if file is not None and reason:
        message = f"{path}.trace: cannot read {quote(file.text)}: {reason}; write the path of a request log"
        findings.add(file.place, "KV601", message)
    window = child(node, "window")
    if isinstance(window, MapNode):
        start, end = (value_of(child(window, key), units.parse_duration_us) for key in ("start", "end"))
        if not {"start", "end"} & set(window.entries):
            message = f"{path}.window: neither end is named; write {{start: 10min, end: 40min}}, or drop it"
            findings.add(node.entries["window"].key_place, "KV443", message)
        elif start is not None and end is not None and end <= start:
            message = f"{path}.window: ends before it starts; write an end after its start"
            findings.add(window.entries["end"].place, "KV443", message)


def _check_prefix(path: str, node: MapNode, findings: Findings) -> None:
    """Without hashes somebody has to say what is shared, and how much of it has to be kept."""
    prefix = child_map(node, "prefix")
    for key, needs, example in (("working_set", "reusable", "35%"), ("routing", "working_set", "4_000_000")):
        if key in prefix and needs not in prefix:
            message = f"{path}.prefix: {quote(key)} needs {quote(needs)} beside it, like '{needs}: {example}'"
            findings.add(prefix[key].key_place, "KV444", message)


def _has_table(entry: Entry) -> bool:
    return "capacity_table" in child_map(entry.node)


def _check_rates(path: str, entry: Entry, node: MapNode, has_table: bool, findings: Findings) -> None:
    """A class has `peak` and `mean`, or `requests` a day."""
    given = [key for key in ("peak", "mean") if key in node.entries]
    if "requests" in node.entries:
        for key in given:
            message = f"{path}: {quote(key)} does not mix with 'requests' of a daily batch; keep one of them"
            findings.add(node.entries[key].key_place, "KV405", message)
        return
    required = ("peak",) if has_table else ("peak", "mean")
    for key, example in (("peak", "18 req/s"), ("mean", "7.5 req/s")):
        if key in required and key not in given:
            message = f"{path}: the key {quote(key)} is missing; write '{key}: {example}', or 'requests'"
            findings.add(entry.key_place, "KV301", message)
    peak, mean = (value_of(child(node, key), units.parse_rate) for key in ("peak", "mean"))
    if peak is not None and mean is not None and mean > peak:
        read = f"mean {units.format_rate(mean)} is above peak {units.format_rate(peak)}"
        message = f"{path}: {read}; peak is the rate of the worst minute, write it at least as high"
        findings.add(node.entries["mean"].place, "KV404", message)


def _check_slo(path: str, entry: Entry, node: MapNode, root: MapNode, has_table: bool, findings: Findings) -> None:
    """A batch promises `finish_within`; other classes promise times of a token, or nothing with a capacity
    table."""
    slo = child_map(node, "slo")
    place = node.entries["slo"].key_place if "slo" in node.entries else entry.key_place
    if "slo" in node.entries and not isinstance(node.entries["slo"].node, MapNode):
        return
    times = [key for key in ("ttft_p95", "tpot_p95") if key in slo]
    if "requests" in node.entries:
        for key in times:
            message = f"{path}.slo: {quote(key)} has no meaning for a daily batch; drop it, or give peak and mean"
            findings.add(slo[key].key_place, "KV406", message)
        if "finish_within" not in slo:
            message = f"{path}: a daily batch needs a time to finish; write 'slo: {{finish_within: 6h}}'"
            findings.add(place, "KV406", message)
        if "arrives" in node.entries and "calendar" not in root.entries:
            message = f"{path}.arrives: a time has no meaning without the week; write 'calendar', or drop it"
            findings.add(node.entries["arrives"].key_place, "KV439", message)
        within = value_of(child(node, "slo", "finish_within"), units.parse_duration_us)
        if within is not None and within > units.DURATION_UNITS_US["d"]:
            message = f"{path}.slo.finish_within: one batch a day must finish within a day; write at most 24h"
            findings.add(slo["finish_within"].place, "KV406", message)
        return
    if "arrives" in node.entries:
        message = f"{path}.arrives: is for a daily batch; write 'requests: 200_000/day', or drop it"
        findings.add(node.entries["arrives"].key_place, "KV439", message)
    if "finish_within" in slo:
        message = f"{path}.slo: 'finish_within' is for a daily batch; write 'requests: 200_000/day', or drop it"
        findings.add(slo["finish_within"].key_place, "KV406", message)
    if not times and not has_table:
        message = f"{path}: no promise; write 'slo: {{ttft_p95: 800ms, tpot_p95: 45ms}}' or one of the two"
        findings.add(place, "KV406", message)


def _check_rate_only(path: str, node: MapNode, findings: Findings) -> None:
    """With a capacity table there is no physics: lengths, promises in time and quality have nothing to act
    on."""
    keys = ["input_tokens", "output_tokens", "prefix", "rejected_at_most", "cut_short_at_most", "quality"]
    keys += [] if "requests" in node.entries else ["slo"]
    for key in keys:
        if key in node.entries:
            message = f"{path}: {quote(key)} has no meaning with a capacity table, which only knows rates; drop it"
            findings.add(node.entries[key].key_place, "KV411", message)


def _check_lengths(path: str, entry: Entry, findings: Findings) -> None:
    """Percentiles grow with their probability, up to a maximum that is required."""
    if not isinstance(entry.node, MapNode):
        return
    entries = entry.node.entries
    if "max" not in entries:
        message = f"{path}: 'max' is missing; write the longest length, like {LENGTHS_EXAMPLE}"
        findings.add(entry.key_place, "KV403", message)
    points = sorted((ppm, key) for key in entries if (ppm := percentile_ppm(key)) is not None)
    if not points:
        message = f"{path}: no percentile; write at least one, like {LENGTHS_EXAMPLE}"
        findings.add(entry.key_place, "KV403", message)
    below_key, below = "", 0
    for key in (*(key for _, key in points), *(["max"] if "max" in entries else [])):
        tokens = value_of(entries[key].node, units.parse_tokens)
        if tokens is None:
            continue
        if tokens < below:
            read = f"{key} {tokens:,} is below {below_key} {below:,}"
            findings.add(entries[key].place, "KV403", f"{path}: {read}; write percentiles that do not decrease")
        below_key, below = key, tokens
    doubles = [key for (ppm, key), (before, _) in zip(points[1:], points, strict=False) if ppm == before]
    for key in doubles:
        findings.add(entries[key].key_place, "KV403", f"{path}: {quote(key)} stands twice; keep one")
