"""Why figures differ. Each cause is measured by itself, with everything else as it was, and put in for the next one.

Traffic, lengths, hits, replicas and the pool are read off log and metrics. Speed is what is left of decode times at
the batches and contexts that were there. What then still keeps first tokens waiting is the prefill, or comes before
the engine, unless requests queue with free slots planned and free blocks: then fewer slots are configured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import log

import numpy as np

from planner.plan.types import Plan
from planner.simulate.fleet import Site
from planner.verify.compare import Seen, gaps, mean_context, ttft_band
from planner.verify.groups import Group
from planner.verify.metrics import Measured
from planner.verify.types import Cause, Kind, Row
from planner.verify.work import decode_factor, decode_step_s

NOTICED = 1.07
"""A speed is named from here on, even within a band: the estimate is good to some percent."""

POOL_NOTICED = 1.1
TTFT_NOTICED = 1.3
LEAST_KV_USE, LEAST_RUNNING = 0.005, 0.2
"""Below these a pool is too empty to tell its size."""

KINDS: dict[str, tuple[Kind, str, str]] = {
    "rate": ("traffic", "more requests than planned", "fewer requests than planned"),
    "input_tokens": ("prompts", "longer prompts than planned", "shorter prompts than planned"),
    "output_tokens": ("outputs", "longer answers than planned", "shorter answers than planned"),
    "prefix_hits": ("prefix_hits", "more prefix hits than planned", "fewer prefix hits than planned"),
}


def of_traffic(rows: Iterable[Row]) -> list[Cause]:
    """Causes that are rows themselves."""
    found = []
    for row in rows:
        if row.quantity in KINDS and row.is_off and row.planned is not None:
            kind, more, fewer = KINDS[row.quantity]
            words = more if row.actual > row.planned else fewer
            if row.quantity == "prefix_hits":
                words = "no prefix hits" if row.actual < 0.005 else words
                shown = f"{row.actual:.1%} of prompt tokens were found cached, planned {row.planned:.1%}"
            else:
                unit = "requests/s in the busiest time" if row.quantity == "rate" else "tokens on average"
                shown = f"{row.actual:,.4g} {unit}, planned {row.planned:,.4g}"
            found.append(Cause(kind, row.subject, row.factor, words, shown))
    return found


def replicas_cause(group: Group, measured: Measured | None) -> Cause | None:
    """Other replicas than planned; their number is told by labels of the metrics."""
    if measured is None or measured.replicas in (None, group.replicas):
        return None
    assert measured.replicas is not None
    words = "fewer replicas than planned" if measured.replicas < group.replicas else "more replicas than planned"
    shown = f"metrics of {measured.replicas:,} replicas, planned {group.replicas:,}"
    return Cause("replicas", group.name, measured.replicas / group.replicas, words, shown)


def pool_factor(plan: Plan, group: Group, measured: Measured | None, actual: Seen, replayed: Seen) -> float | None:
    """Tokens of a replica's pool over those planned; None where they cannot be told.

    As the engine reports them, else from requests running, their mean context, and the share of the pool that they
    hold, against the same in a replay.
    """
    planned = {memory.blocks * memory.block_tokens for name in group.deployments
               if (memory := plan.deployments[name].memory) is not None}  # fmt: skip
    if measured is not None and measured.pool_tokens is not None and len(planned) == 1:
        return measured.pool_tokens / next(iter(planned))
    held = [_held(seen) for seen in (actual, replayed)]
    return held[0] / held[1] if held[0] is not None and held[1] is not None else None


def _held(seen: Seen) -> float | None:
    """Tokens in the pool that one replica's use of it stands for."""
    if seen.running is None or seen.kv_use is None or seen.kv_use < LEAST_KV_USE or seen.running < LEAST_RUNNING:
        return None
    answers = seen.answers
    seconds = answers.end_s - answers.first_s
    good = np.isfinite(seconds)
    contexts = mean_context(answers)
    context = np.average(contexts[good], weights=seconds[good] + 1e-9) if good.any() else contexts.mean()
    return float(seen.running * context / seen.kv_use)


def pool_cause(group: Group, factor: float | None, measured: Measured | None) -> Cause | None:
    """A pool of another size."""
    if factor is None or 1 / POOL_NOTICED <= factor <= POOL_NOTICED:
        return None
    words = "a smaller KV pool than planned" if factor < 1 else "a larger KV pool than planned"
    reported = measured is not None and measured.pool_tokens is not None
    shown = "as the engine reports it" if reported else "the same requests hold another share of it"
    return Cause("kv_pool", group.name, factor, words, f"{factor:.3g} times the planned tokens: {shown}")


def step_change(sites: Sequence[Site], actual: Seen, replayed: Seen) -> float | None:
    """How much longer a decode step takes at the same batch and context; None where it cannot be told.

    From the times of all requests, else from means of the metrics: time per token over that of a replay, by what the
    mean batches say.
    """
    if actual.work is not None and replayed.work is not None:
        return decode_factor(actual.work, replayed.work)
    now, then = gaps(actual, replayed)
    if replayed.work is None or not (now and then and actual.running and replayed.running):
        return None
    steps = [decode_step_s(sites, batch, replayed.work.context_tokens) for batch in (actual.running, replayed.running)]
    return now / then * steps[1] / steps[0]


def decode_cause(group: Group, factor: float | None, actual: Seen) -> Cause | None:
    """Another speed at the same batch and context."""
    if factor is None or 1 / NOTICED <= factor <= NOTICED:
        return None
    words = "decode is slower than predicted" if factor > 1 else "decode is faster than predicted"
    work = actual.work
    if work is None:
        return Cause(
            "decode", group.name, factor, words, "by the mean time per token and the mean batch of the metrics"
        )
    shown = (
        f"at the batch that was there (mean {work.batch:,.1f} of {work.context_tokens:,.0f} tokens) a step takes "
        f"{1e3 * work.step_s * factor:.3g} ms, predicted {1e3 * work.step_s:.3g} ms"
    )
    return Cause("decode", group.name, factor, words, shown)


def before_decode(plan: Plan, group: Group, actual: Seen, corrected: Seen, measured: Measured | None) -> Cause | None:
    """What keeps first tokens waiting once everything else is put in: fewer slots, slower prompts, or a queue before
    the engine."""
    ratio = ttft_ratio(actual, corrected)
    low, high = ttft_band(plan, group.classes)
    if ratio is None or min(low, 1 / TTFT_NOTICED) <= ratio <= max(high, TTFT_NOTICED):
        return None
    slots = min(plan.deployments[name].max_batch for name in group.deployments)
    most = measured.running_max if measured is not None else None
    queues = actual.waiting is not None and corrected.waiting is not None and actual.waiting > 2 * corrected.waiting + 1
    if ratio > 1 and queues and most and most <= 0.9 * slots and (actual.kv_use or 0.0) < 0.9:
        shown = f"requests wait while at most {most:.0f} run on a replica with free KV, planned {slots:,}"
        return Cause("admission", group.name, most / slots, "fewer requests run at once than planned", shown)
    words = (
        "first tokens come later than predicted: prompts take longer, or wait before the engine"
        if ratio > 1
        else "first tokens come sooner than predicted"
    )
    shown = f"TTFT is {ratio:.3g} times that of a replay with everything else as it was"
    return Cause("prefill", group.name, ratio, words, shown)


def ttft_ratio(actual: Seen, replayed: Seen) -> float | None:
    """Median TTFT over that of a replay; the means, where only metrics say it."""
    pair = [one.ttft_s or 0.0 for one in (actual, replayed)]
    if np.isfinite(actual.answers.ttft_s).any() and np.isfinite(replayed.answers.ttft_s).any():
        pair = [float(np.nanmedian(one.answers.ttft_s)) for one in (actual, replayed)]
    return pair[0] / pair[1] if min(pair) > 0 else None


def size(cause: Cause) -> float:
    """How much a cause weighs: the logarithm of its factor; of missing hits, that of the prompts left to compute."""
    if cause.factor is None:
        return 0.0
    return abs(log(max(cause.factor, 0.25)))


def left_over(rows: Iterable[Row], causes: list[Cause]) -> list[Cause]:
    """What stands without a cause."""
    if causes:
        return []
    rows = list(rows)
    off = [row for row in rows if row.is_off]
    if off:
        names = ", ".join(sorted({f"{row.quantity} of {row.subject}" for row in off}))
        return [Cause("unexplained", off[0].subject, off[0].factor, "nothing that was measured explains it", names)]
    return [
        Cause("closed_forms", row.subject, row.actual / row.limit, "the plan promised more than its fleet can keep",
              f"{row.quantity} is above its limit, and a replay of the same requests says the same: "
              "certify the plan by simulation")
        for row in rows
        if row.is_broken and row.limit
    ][:1]  # fmt: skip
