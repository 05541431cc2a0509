"""What a trace says, as a page, as JSON, and as YAML to paste under `traffic:`."""

from __future__ import annotations

import re
from math import ceil
from pathlib import PurePath

from planner.report.kv_json import Tree, dumped
from planner.report.layout import indented, render, table_of
from planner.report.printable import printable
from planner.traffic.trace import Trace
from planner.traffic.trace_stats import Moments, TraceSummary

FORMAT_VERSION = 1
PERCENTILES = ("p50", "p90", "p95", "p99")
DECIMALS = 6
LEAST_PREFIX_SHARE = 0.001
"""A prefix share below this is left out of the class: it changes no plan."""


def trace_json(trace: Trace, summary: TraceSummary) -> str:
    """All figures, by the names of docs/traffic.md."""
    return dumped(trace_tree(trace, summary))


def trace_tree(trace: Trace, summary: TraceSummary) -> Tree:
    """The figures as plain JSON values, rounded to six decimals; null where the trace cannot say."""
    prefix, flight = summary.prefix_share, summary.in_flight_kv_tokens
    return {
        "format_version": FORMAT_VERSION,
        "file": trace.path,
        "format": trace.format,
        "columns": trace.columns,
        "sha256": trace.sha256,
        "bad_rows": {"count": trace.bad_rows, "shown": [{"line": row.line, "reason": row.reason} for row in trace.bad]},
        "requests": summary.requests,
        "duration_s": _number(summary.duration_s),
        "mean_rps": _number(summary.mean_rps),
        "peak_rps": {name: _number(rate) for name, rate in summary.peak_rps.items()},
        "recommended_window": summary.recommended_window,
        "interarrival_cv": _number(summary.interarrival_cv),
        "input_tokens": _moments(summary.input_tokens),
        "output_tokens": _moments(summary.output_tokens),
        "correlation": _number(summary.correlation),
        "prefix_share": None
        if prefix is None
        else {
            "infinite": _number(prefix.infinite),
            "ttl": _number(prefix.ttl),
            "ttl_s": prefix.ttl_s,
            "working_set_tokens": prefix.working_set_tokens,
        },
        "in_flight_kv_tokens": {
            "tpot_s": flight.tpot_s,
            "mean": _number(flight.mean),
            "p99": _number(flight.p99),
            "max": _number(flight.max),
        },
    }


def _number(value: float | None) -> float | None:
    return None if value is None else round(value, DECIMALS)


def _moments(lengths: Moments) -> Tree:
    shares = {name: _number(getattr(lengths, name)) for name in ("mean", *PERCENTILES)}
    return {**shares, "max": lengths.max}


def trace_text(trace: Trace, summary: TraceSummary, columns: int) -> str:
    """The page: rates, lengths, prefixes, what is in flight, and rows that were left out."""
    span = _duration(summary.duration_s)
    lines = [f" {summary.requests:,} requests in {span}, read as {trace.format} ({trace.columns})\n"]
    lines.append(_rates(summary, columns))
    lines.append(_lengths(summary, columns))
    if summary.prefix_share is not None:
        lines.append(indented("prefixes", _prefixes(summary), columns))
    flight = summary.in_flight_kv_tokens
    held = f"KV tokens in flight at {flight.tpot_s * 1e3:g} ms a token: mean {flight.mean:,.0f}, p99 {flight.p99:,.0f}"
    lines.append(indented("in flight", [f"{held}, max {flight.max:,.0f}"], columns))
    if trace.bad_rows:
        lines.append(indented("left out", _bad_rows(trace), columns))
    return "\n".join(lines)


def _rates(summary: TraceSummary, columns: int) -> str:
    table = table_of(("rate", "left"), ("req/s", "right"), ("of the mean", "right"), ("", "left"))
    mean = summary.mean_rps
    table.add_row("mean", _rate(mean), "", "")
    for window, peak in summary.peak_rps.items():
        of_mean = f"{peak / mean:.2f} x" if peak is not None and mean else ""
        note = "recommended" if window == summary.recommended_window else ""
        table.add_row(f"busiest {window}", _rate(peak), of_mean, note)
    variation = "-" if summary.interarrival_cv is None else f"{summary.interarrival_cv:.2f}"
    note = "   (1 is Poisson; above, arrivals come in bursts)"
    return render(table, columns) + f" inter-arrival CV {variation}{note}\n"


def _lengths(summary: TraceSummary, columns: int) -> str:
    table = table_of(("tokens", "left"), *((name, "right") for name in ("mean", *PERCENTILES, "max")))
    for word, lengths in (("input", summary.input_tokens), ("output", summary.output_tokens)):
        table.add_row(word, *(f"{getattr(lengths, name):,.0f}" for name in ("mean", *PERCENTILES)), f"{lengths.max:,}")
    known = "not defined" if summary.correlation is None else f"{summary.correlation:+.3f}"
    return render(table, columns) + f" correlation of input and output {known}\n"


def _prefixes(summary: TraceSummary) -> list[str]:
    prefix = summary.prefix_share
    assert prefix is not None
    within = f"{prefix.ttl:.1%} if blocks are kept {_duration(prefix.ttl_s)} after their last use"
    return [
        f"{prefix.infinite:.1%} of prompt tokens were seen before; {within}",
        f"all of it needs {prefix.working_set_tokens:,} tokens of KV at once",
    ]


def _bad_rows(trace: Trace) -> list[str]:
    share = trace.bad_rows / (trace.bad_rows + trace.requests)
    lines = [f"{trace.bad_rows:,} rows ({share:.2%}) are wrong and not counted:"]
    lines += [f"line {row.line:,}: {printable(row.reason)}" for row in trace.bad]
    return lines if len(trace.bad) == trace.bad_rows else [*lines, f"and {trace.bad_rows - len(trace.bad):,} more"]


def trace_yaml(trace: Trace, summary: TraceSummary) -> str:
    """A class of the scenario language with the trace's rates and lengths, to be pasted under `traffic:`."""
    window = summary.recommended_window
    peak, mean = (_exact_rate(rate) for rate in (summary.peak, summary.mean_rps))
    prefix = summary.prefix_share
    lines = [
        ("model: my-model", "a key of models"),
        (f"peak: {peak} req/s", f"the busiest {window} of {summary.requests:,} requests"),
        (f"mean: {mean} req/s", ""),
        (f"input_tokens: {_flow(summary.input_tokens)}", ""),
        (f"output_tokens: {_flow(summary.output_tokens)}", ""),
        ("slo: {ttft_p95: 1s, tpot_p95: 50ms}", "your promises"),
    ]
    if prefix is not None and prefix.ttl >= LEAST_PREFIX_SHARE:
        reusable = f"prefix: {{reusable: {prefix.ttl:.1%}, working_set: {prefix.working_set_tokens}}}"
        lines.insert(-1, (reusable, f"blocks kept {_duration(prefix.ttl_s)}"))
    body = [f"    {line:<40}# {note}" if note else f"    {line}" for line, note in lines]
    return "\n".join([f"  {class_name(trace.path)}:", *body]) + "\n"


def class_name(path: str) -> str:
    """A name of the scenario language from a file's name.

    >>> class_name("traces/Azure_LLM 2023_conv.csv.gz")
    'azure-llm-2023-conv'
    """
    stem = PurePath(path).name.lower()
    for ending in (".gz", ".csv", ".jsonl", ".json", ".log", ".txt"):
        stem = stem.removesuffix(ending)
    return re.sub("[^a-z0-9]+", "-", stem).strip("-")[:64] or "requests"


def _flow(lengths: Moments) -> str:
    """Percentiles and maximum in whole tokens, rounded up."""
    parts = [f"{name}: {_grouped(ceil(getattr(lengths, name)))}" for name in PERCENTILES]
    return f"{{{', '.join(parts)}, max: {_grouped(lengths.max)}}}"


def _grouped(count: int) -> str:
    return f"{max(1, count):_}" if count >= 10_000 else str(max(1, count))


def _exact_rate(rate: float | None) -> str:
    """A rate rounded up to six decimals; 1 where a trace of one moment has none."""
    return "1" if rate is None else f"{ceil(rate * 10**DECIMALS) / 10**DECIMALS:.{DECIMALS}f}".rstrip("0").rstrip(".")


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:,.3f}"


def _duration(seconds: float) -> str:
    """A duration for people.

    >>> _duration(3501.7), _duration(90_000), _duration(0.25)
    ('58.4 min', '25.0 h', '0.25 s')
    """
    for unit, size in (("d", 86_400 * 2), ("h", 7_200), ("min", 120)):
        if seconds >= size:
            return f"{seconds / {'d': 86_400, 'h': 3_600, 'min': 60}[unit]:.1f} {unit}"
    return f"{seconds:.3g} s"
