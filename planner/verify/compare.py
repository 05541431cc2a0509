"""Rows: each figure as planned, as the plan's fleet would have had it with these requests, and as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.candidates.confidence import factors
from planner.plan.types import Plan
from planner.simulate.session import rate_rps
from planner.simulate.statistics import worst_window
from planner.traffic.lengths import Histogram, class_lengths
from planner.verify.answers import Answers
from planner.verify.groups import Group
from planner.verify.metrics import Measured
from planner.verify.replays import Looks
from planner.verify.types import Quantity, Row, Unit
from planner.verify.work import Work

FloatArray = NDArray[np.float64]

SAME = 1.1
"""Two measurements of the same thing agree so closely: lengths, rates, steps, pools."""

SAME_TTFT = 1.25
"""Times to the first token hang on every queue before it."""

SAME_LOAD = 1.2
"""Sequences and tokens in a replica are rate x time in it (Little): they carry what is wrong with both."""

SIGMAS = 4.0
"""Chance: of some hundred figures none is so many standard errors off."""

WINDOW_S = 60.0
LEAST_ARRIVALS = 100
"""A rate is taken over a minute, or longer where fewer requests than this were planned for one."""

LEAST_GAUGE_S = 60.0
"""Gauges over a shorter time are chance."""


@dataclass(frozen=True)
class Seen:
    """A group of replicas at one time: its requests, their work, and what metrics say (None: nothing).

    `ttft_s` is a mean over requests, `token_gap_s` over tokens, `request_gap_s` over requests; of a log only
    where it has no times itself.
    """

    answers: Answers
    work: Work | None
    running: float | None
    waiting: float | None
    kv_use: float | None
    preemptions: float | None
    ttft_s: float | None = None
    token_gap_s: float | None = None
    request_gap_s: float | None = None


def traffic_rows(plan: Plan, name: str, answers: Answers, hit_share: float | None) -> Iterator[Row]:
    """What came of a class against what was planned for."""
    traffic = plan.scenario.traffic[name]
    rate = _rate(name, rate_rps(plan, name), answers)
    if rate is not None:
        yield rate
    planned = class_lengths(traffic)
    if planned is not None:
        pairs: tuple[tuple[Quantity, Histogram, NDArray[np.int64]], ...] = (
            ("input_tokens", planned.prompts, answers.input_tokens),
            ("output_tokens", planned.outputs, answers.output_tokens),
        )
        for quantity, histogram, tokens in pairs:
            chance = SIGMAS * float(tokens.std()) / len(tokens) ** 0.5
            yield Row(name, quantity, "tokens", _mean(histogram), None, None, float(tokens.mean()), 1 / SAME, SAME,
                      allowance=chance)  # fmt: skip
    if hit_share is not None:
        expected = traffic.reusable_prefix_ppm / 1e6
        yield Row(name, "prefix_hits", "share", expected, None, None, hit_share, 1 / SAME, SAME, allowance=0.03)


def _mean(histogram: Histogram) -> float:
    return sum(tokens * weight for tokens, weight in histogram) / sum(weight for _, weight in histogram)


def _rate(name: str, peak: float, answers: Answers) -> Row | None:
    """The busiest window against the planned peak: less is no mistake of the plan, a log may be of the night."""
    arrivals = np.sort(answers.arrival_s)
    duration = float(arrivals[-1] - arrivals[0])
    if peak <= 0:
        return None
    window = min(max(WINDOW_S, LEAST_ARRIVALS / peak), duration)
    if window <= 0 or len(arrivals) < 2:
        return None
    busiest = int((np.searchsorted(arrivals, arrivals + window, side="right") - np.arange(len(arrivals))).max())
    chance = SIGMAS * (peak * window) ** 0.5 / window
    actual = busiest / window
    return Row(name, "rate", "req/s", peak, None, None, actual, 0.0, SAME, allowance=chance)


def latency_rows(plan: Plan, name: str, actual: Answers, replayed: Answers, corrected: Answers) -> Iterator[Row]:
    """Latencies of a class, in the worst ten minutes, where the log has them.

    A log is taken at the engine, so the network counts neither in the prediction nor in the limit.
    """
    slo = plan.scenario.traffic[name].slo
    for metric, points, low_high, limit_us in (
        ("ttft", ("ttft_p50", "ttft_p95"), band(plan, name, "ttft"), slo.ttft_p95_us),
        ("tpot", ("tpot_mean", "tpot_p95"), band(plan, name, "tpot"), slo.tpot_p95_us),
    ):
        values = [_latencies(answers, metric) for answers in (actual, replayed, corrected)]
        if values[0] is None:
            continue
        for position, quantity in enumerate(points):
            planned = _predicted(plan, name, quantity)
            limit = _limit_s(plan, name, quantity) if limit_us is not None and quantity.endswith("p95") else None
            figures = [None if pair is None else pair[position] for pair in values]
            now = figures[0]
            assert now is not None
            yield Row(name, quantity, "s", planned, figures[1], figures[2], now, *low_high, limit=limit)  # type: ignore[arg-type]


def _latencies(answers: Answers, metric: str) -> tuple[float, float] | None:
    """The first figure (TTFT p50, mean TPOT) and the p95."""
    values = answers.ttft_s if metric == "ttft" else answers.tpot_s
    good = np.isfinite(values)
    found = worst_window(answers.arrival_s[good], values[good], float("-inf") if not good.any() else 0.0)
    if found is None:
        return None
    return (found.p50 if metric == "ttft" else float(values[good].mean())), found.p95


def _limit_s(plan: Plan, name: str, quantity: str) -> float | None:
    """What the engines of a class are held to; of several regions the one that leaves them most."""
    found = [
        (promise.limit_us - promise.network_us) / 1e6
        for deployment in plan.deployments.values()
        for promise in deployment.promises
        if promise.class_name == name and promise.metric == quantity
    ]
    return max(found, default=None)


def _predicted(plan: Plan, name: str, quantity: str) -> float | None:
    """What the plan promises of a class at its engines, the worst of its deployments."""
    found = [
        (promise.predicted_us - promise.network_us) / 1e6
        for deployment in plan.deployments.values()
        for promise in deployment.promises
        if promise.class_name == name and promise.metric == quantity
    ]
    return max(found, default=None)


def band(plan: Plan, name: str, metric: str) -> tuple[float, float]:
    """How far a latency may be from its prediction: from the provider's p10 to the quantile that the plan was sized
    with, and what two measurements of the same thing differ by."""
    same = SAME if metric == "tpot" else SAME_TTFT
    low, high = 1.0, 1.0
    for deployment in plan.deployments.values():
        if deployment.band is not None and any(route.class_name == name for route in deployment.routing):
            at = 0 if metric == "tpot" else 1
            low = min(low, float(factors(deployment.band, "p10")[at]))
            high = max(high, float(factors(deployment.band, plan.scenario.reserve.confidence)[at]))
    return low / same, high * same


def group_rows(
    plan: Plan, group: Group, actual: Seen, replayed: Seen, corrected: Seen, *, factor: float | None
) -> list[Row]:
    """Where a group of replicas stood. `factor` is that of its decode step."""
    bands = [band(plan, name, "tpot") for name in group.classes]
    low, high = min(low for low, _ in bands), max(high for _, high in bands)
    rows = []
    if actual.work is not None and factor is not None:
        step_s = actual.work.step_s
        rows.append(Row(group.name, "decode_step", "s", None, step_s, step_s * factor, step_s * factor, low, high))
    for quantity, (now, then, fixed), edges in (
        ("ttft_mean", [seen.ttft_s for seen in (actual, replayed, corrected)], ttft_band(plan, group.classes)),
        ("tpot_mean", gaps(actual, replayed, corrected), (low, high)),
    ):
        if now is not None and then is not None:
            rows.append(Row(group.name, quantity, "s", None, then, fixed, now, *edges))  # type: ignore[arg-type]
    load_low, load_high = low / SAME_LOAD, high * SAME_LOAD
    gauges: tuple[tuple[Quantity, Unit, float | None, float | None, float | None, float, float], ...] = (
        ("running", "count", actual.running, replayed.running, corrected.running, load_high, 0.5),
        ("waiting", "count", actual.waiting, replayed.waiting, corrected.waiting, 2.0, 1.0),
        (
            "kv_tokens",
            "tokens",
            *(resident_tokens(seen, group) for seen in (actual, replayed, corrected)),
            load_high,
            0.0,
        ),
        ("kv_use", "share", actual.kv_use, replayed.kv_use, corrected.kv_use, load_high, 0.01),
    )  # type: ignore[assignment]
    for quantity, unit, now, then, with_causes, above, allowance in gauges:
        if now is not None and then is not None:
            below = 0.0 if quantity == "waiting" else load_low
            rows.append(
                Row(group.name, quantity, unit, None, then, with_causes, now, below, above, allowance=allowance)
            )
    if actual.preemptions is not None and replayed.preemptions is not None:
        share = [None if seen.preemptions is None else 1e3 * seen.preemptions / max(1, seen.answers.count)
                 for seen in (replayed, corrected, actual)]  # fmt: skip
        assert share[2] is not None
        rows.append(
            Row(group.name, "preemptions", "per 1000", None, share[0], share[1], share[2], 0.0, 2.0, allowance=10.0)
        )
    return rows


def gaps(actual: Seen, *others: Seen) -> list[float | None]:
    """Mean times per token by metrics: over tokens where the engine says that, else over requests."""
    by_token = actual.token_gap_s is not None
    return [seen.token_gap_s if by_token else seen.request_gap_s for seen in (actual, *others)]


def ttft_band(plan: Plan, classes: Iterable[str]) -> tuple[float, float]:
    """The widest band of TTFT of some classes."""
    bands = [band(plan, name, "ttft") for name in classes]
    return min(low for low, _ in bands), max(high for _, high in bands)


def resident_tokens(seen: Seen, group: Group) -> float | None:
    """Tokens that requests hold in one replica while they decode, on average over time; None without their times."""
    answers = seen.answers
    decoding = answers.end_s - answers.first_s
    good = np.isfinite(decoding)
    if not good.any():
        return None
    span = float(np.ptp(answers.arrival_s))
    held = float((decoding * mean_context(answers))[good].sum())
    return held / span / group.replicas if span > 0 else None


def mean_context(answers: Answers) -> FloatArray:
    """Tokens that each request holds while it decodes, on average."""
    return answers.input_tokens + (answers.output_tokens - 1) / 2


def seen_in_replay(answers: Answers, work: Work | None, looks: Looks) -> Seen:
    """A group in a replay."""
    steps = np.maximum(answers.output_tokens - 1, 1)
    seconds = answers.end_s - answers.first_s
    served = np.isfinite(seconds)
    means: tuple[float | None, ...] = (None, None, None)
    if served.any():
        by_token = float(seconds[served].sum() / (answers.output_tokens - 1)[served].sum().clip(1))
        means = float(answers.ttft_s[served].mean()), by_token, float((seconds / steps)[served].mean())
    return Seen(answers, work, looks.running, looks.waiting, looks.kv_use, float(looks.preemptions), *means)


def seen_in_log(answers: Answers, work: Work | None, measured: Measured | None) -> Seen:
    """A group as log and metrics have it; single looks and the first minute are no means."""
    logged = answers.preemptions[np.isfinite(answers.preemptions)]
    preemptions = float(logged.sum()) if len(logged) else None
    if measured is None:
        return Seen(answers, work, None, None, None, preemptions)
    steady = not measured.is_snapshot and float(np.ptp(answers.arrival_s)) >= LEAST_GAUGE_S
    gauges = (measured.running, measured.waiting, measured.kv_use) if steady else (None, None, None)
    preemptions = preemptions if preemptions is not None else measured.preemptions
    times = (measured.ttft_s, measured.token_gap_s, measured.request_gap_s)
    return Seen(answers, work, *gauges, preemptions, *((None, None, None) if answers.has_times else times))
