"""A replay as text and as Markdown: what held, by what margin, and where the fleet stood."""

from __future__ import annotations

from planner.report import columns, numbers
from planner.report.certificate import METRICS
from planner.report.columns import Align
from planner.simulate.types import ClassResult, Percentiles, Simulation, SiteResult, Verdict

Table = tuple[str, tuple[tuple[str, Align], ...], list[tuple[str, ...]]]
"""A title, headings, and rows."""


def simulation_text(simulation: Simulation, width: int = 100) -> str:
    """Everything on one page of a terminal."""
    parts = [columns.paragraph(headline(simulation), width), "\n"]
    for title, headings, rows in tables(simulation):
        parts += [f" {title}\n", columns.table(headings, rows, width), "\n"]
    parts.append(columns.labeled("notes", notes(simulation), width))
    return "".join(parts).rstrip("\n") + "\n"


def simulation_markdown(simulation: Simulation) -> str:
    """The same as Markdown."""
    parts = [f"## {headline(simulation)}\n"]
    for title, headings, rows in tables(simulation):
        marks = ["---:" if align == "right" else "---" for _, align in headings]
        lines = [[name for name, _ in headings], marks, *rows]
        parts.append(f"### {title}\n\n" + "".join("| " + " | ".join(line) + " |\n" for line in lines))
    parts.append("".join(f"- {note}\n" for note in notes(simulation)))
    return "\n".join(part for part in parts if part)


def headline(simulation: Simulation) -> str:
    """What came of it in one sentence."""
    failed = [verdict for verdict in simulation.verdicts if not verdict.kept]
    replays = simulation.replays
    runs = "1 replay" if len(replays) == 1 else f"{len(replays)} replays"
    requests = sum(result.requests for replay in replays for result in replay.classes)
    where = f"{simulation.plan}: {runs}, {requests:,} requests, router {replays[0].policy}"
    if failed:
        names = ", ".join(f"{METRICS[one.metric]} of {one.class_name}" for one in failed)
        return f"{where}: {len(failed)} of {len(simulation.verdicts)} promises FAILED: {names}"
    return f"{where}: all {len(simulation.verdicts)} promises held"


def tables(simulation: Simulation) -> list[Table]:
    """Promises, then of the first replay classes and deployments."""
    first = simulation.replays[0]
    return [
        ("promises", _PROMISE_HEADINGS, [_promise(verdict) for verdict in simulation.verdicts]),
        (
            f"latencies in the worst ten minutes (seed {first.seed})",
            _LATENCY_HEADINGS,
            [row for one in first.classes for row in _latencies(one)],
        ),
        (f"classes (seed {first.seed})", _CLASS_HEADINGS, [_class(one) for one in first.classes]),
        (f"deployments, of one replica (seed {first.seed})", _SITE_HEADINGS, [_site(one) for one in first.sites]),
    ]


_PROMISE_HEADINGS: tuple[tuple[str, Align], ...] = (
    ("class", "left"), ("promise", "left"), ("replay/limit", "right"), ("plan said", "right"), ("margin", "right"),
    ("", "left"),
)  # fmt: skip
_LATENCY_HEADINGS: tuple[tuple[str, Align], ...] = (
    ("class", "left"), ("ms", "left"), ("p50", "right"), ("p95", "right"), ("its interval", "right"), ("p99", "right"),
    ("from", "right"), ("requests", "right"),
)  # fmt: skip
_CLASS_HEADINGS: tuple[tuple[str, Align], ...] = (
    ("class", "left"), ("requests", "right"), ("req/s", "right"), ("wait mean/p95 ms", "right"), ("refused", "right"),
    ("cached", "right"), ("preempted", "right"), ("attained", "right"), ("its interval", "right"),
)  # fmt: skip
_SITE_HEADINGS: tuple[tuple[str, Align], ...] = (
    ("deployment", "left"), ("replicas", "right"), ("busy", "right"), ("running mean/max", "right"),
    ("waiting mean/max", "right"), ("KV mean/p99/max", "right"), ("preempted", "right"),
)  # fmt: skip


def _promise(verdict: Verdict) -> tuple[str, ...]:
    if verdict.unit == "us":
        value = numbers.time_pair(verdict.measured, verdict.limit)
        said = numbers.time_pair(verdict.predicted, verdict.limit).partition("/")[0] if verdict.predicted else "-"
    else:
        value = f"{numbers.exact_percent(verdict.measured)}/{numbers.exact_percent(verdict.limit)}"
        said = numbers.exact_percent(verdict.predicted)
    margin = numbers.signed_percent(verdict.margin_ppm)
    word = "held" if verdict.kept else "FAILED"
    return verdict.class_name, METRICS[verdict.metric], value, said, margin, word


def _latencies(result: ClassResult) -> list[tuple[str, ...]]:
    return [
        _percentiles(result.class_name, name, found)
        for name, found in (("TTFT", result.ttft), ("TPOT", result.tpot))
        if found is not None
    ]


def _percentiles(class_name: str, name: str, found: Percentiles) -> tuple[str, ...]:
    return (
        class_name,
        name,
        _ms(found.p50),
        _ms(found.p95),
        f"{_ms(found.p95_low)}-{_ms(found.p95_high)}",
        _ms(found.p99),
        f"{found.from_s / 60:.3g} min",
        f"{found.count:,}",
    )


def _class(result: ClassResult) -> tuple[str, ...]:
    cached = result.cached_tokens * 1_000_000 // result.input_tokens if result.input_tokens else 0
    attained = interval = "-"
    if result.attained_ppm is not None:
        attained = numbers.tenth_percent(result.attained_ppm)
        ends = (result.attained_low_ppm or 0, result.attained_high_ppm or 0)
        interval = "-".join(numbers.tenth_percent(end) for end in ends)
    return (
        result.class_name,
        f"{result.requests:,}",
        f"{result.rate_rps:.3g}",
        f"{_ms(result.wait_mean_s)}/{_ms(result.wait_p95_s)}",
        f"{result.refused:,}",
        numbers.percent(cached),
        f"{result.preemptions:,}",
        attained,
        interval,
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.0f}" if seconds >= 0.1 else f"{seconds * 1e3:.1f}"


def _site(result: SiteResult) -> tuple[str, ...]:
    kv = "/".join(numbers.percent(ppm) for ppm in (result.kv_mean_ppm, result.kv_p99_ppm, result.kv_max_ppm))
    return (
        result.name,
        f"{result.replicas:,}",
        numbers.percent(result.busy_ppm),
        f"{result.running_mean:.1f}/{result.running_max:,}",
        f"{result.waiting_mean:.1f}/{result.waiting_max:,}",
        kv,
        f"{result.preemptions:,}",
    )


def notes(simulation: Simulation) -> list[str]:
    """What was replayed, and what was not."""
    first = simulation.replays[0]
    found = [f"{name}: {source}" for name, source in sorted(simulation.sources.items())]
    found += [f"{name} is not simulated: {reason}" for name, reason in sorted(simulation.left_out.items())]
    found += [first.failure] if first.failure else []
    if simulation.confidence != "p50":
        found.append(f"promises are held against replayed times at confidence {simulation.confidence}")
    return found
