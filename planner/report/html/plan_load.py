"""Deployments: what runs where, how its memory is spent, and how its promises stand."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from planner.plan.types import Deployment, Plan, Promise
from planner.report import numbers
from planner.report.html.blocks import Align, Cell, Datum, Section, Table, table
from planner.report.regions import HEADS as REGION_HEADS
from planner.report.regions import region_rows
from planner.report.step_times import HEADS, step_rows

MICRO = 1_000_000

MEMORY_PARTS = (
    ("weights", "var(--c1)"),
    ("activations", "var(--c2)"),
    ("non-torch", "var(--c4)"),
    ("CUDA graphs", "var(--c6)"),
    ("adjusted", "var(--c7)"),
    ("KV pool", "var(--c3)"),
    ("outside the budget", "var(--c5)"),
)
"""Parts of a GPU's memory in the order in which they are stacked, with their colors."""

ROW_WORDS = {"gpu_time": "GPU time", "sequences": "running sequences", "kv": "KV tokens"}

METRICS = {"ttft_p95": "TTFT p95", "tpot_p95": "TPOT p95", "finish_within": "finish within"}


def deployments(plan: Plan, most: int) -> Section:
    """What runs where, at which settings, and which part of the traffic it serves."""
    heads: list[tuple[str, Align]] = [
        ("deployment", "left"), ("model", "left"), ("GPU", "left"), ("pool: replicas", "left"), ("replicas", "right"),
        ("GPUs", "right"), ("shape", "left"), ("context", "right"), ("batch", "right"), ("chunk", "right"),
        ("KV", "left"), ("busiest row", "left"),
    ]  # fmt: skip
    rows: list[Sequence[Cell | str]] = []
    for name, d in plan.deployments.items():
        used = {row.name: row.used_ppm for row in d.loads}
        busiest = max(used, key=lambda key: used[key])
        pools = ", ".join(f"{pool}: {count}" for pool, count in d.pools.items())
        rows.append((
            name, d.model, d.gpu, pools, f"{d.replicas:,}", f"{d.gpus:,}",
            f"{d.parallel} {d.weights}" if d.parallel else "1 GPU",
            numbers.tokens(d.context_limit_tokens) if d.context_limit_tokens else "-",
            str(d.max_batch or "-"),
            numbers.tokens(d.max_num_batched_tokens) if d.max_num_batched_tokens else "-", d.kv_preset or "-",
            f"{numbers.percent(used[busiest])} {ROW_WORDS[busiest]}",
        ))  # fmt: skip
    return Section(
        "deployments",
        "What runs where",
        tables=(
            table("Deployments", heads, rows, most),
            _routing(plan, most),
            *((table("Regions", REGION_HEADS, region_rows(plan), most),) if region_rows(plan) else ()),
            table("Step times", HEADS, step_rows(plan), most),
        ),
        origin="Chosen by the solver from the candidate table; the busiest row is the load row with the least left.",
    )


def _routing(plan: Plan, most: int) -> Table:
    heads: list[tuple[str, Align]] = [
        ("band", "left"), ("prompt tokens", "right"), ("of the class", "right"), ("deployment", "left"),
        ("routed here", "right"), ("at peak", "right"), ("quality loss", "right"),
    ]  # fmt: skip
    rows: list[Sequence[Cell | str]] = []
    for name, d in plan.deployments.items():
        for route in d.routing:
            low, high = route.prompt_tokens
            rows.append((
                route.item, f"{low:,} to {high:,}" if high else "-", numbers.exact_percent(route.band_ppm), name,
                numbers.share(route.share), numbers.rate(route.requests_per_s),
                numbers.exact_percent(route.loss_ppm) if d.kv_preset else "-",
            ))  # fmt: skip
    return table("Who serves which requests", heads, rows, most)


def memory(plan: Plan, most: int) -> Section:
    """Memory of one GPU of every deployment, stacked; the parts add up to the GPU's total."""
    from planner.report.html import charts

    known = {name: _parts(d) for name, d in plan.deployments.items() if d.memory is not None}
    if not known:
        text = "This plan holds no memory: its models bring capacity tables instead of physics."
        return Section("memory", "Memory of each GPU", texts=(text,))
    used = [part for part, _ in MEMORY_PARTS if any(parts[part] for parts in known.values())]
    data: list[Datum] = [
        {"row": name, "part": part, "value": parts[part] / 2**30, "text": numbers.gib(parts[part])}
        for name, parts in list(known.items())[: charts.MOST_BARS]
        for part in used
    ]
    heads: list[tuple[str, Align]] = [
        ("deployment", "left"), ("total", "right"), *((part, "right") for part in used), ("KV tokens", "right"),
    ]  # fmt: skip
    rows: list[Sequence[Cell | str]] = []
    estimated: list[str] = []
    for name, parts in known.items():
        facts = plan.deployments[name].memory
        assert facts is not None
        rows.append((
            Cell(name + (" (estimated)" if facts.estimated else ""), "warn" if facts.estimated else ""),
            numbers.gib(facts.total_bytes), *(numbers.gib(parts[part]) for part in used), f"{facts.pool_tokens:,}",
        ))  # fmt: skip
        estimated += [f"{name}: estimated: {text}" for text in facts.estimated]
    largest = max(known, key=lambda name: known[name]["KV pool"])
    alt = (
        f"Stacked bars of the memory of one GPU for {len(known)} deployments. {largest} has the largest KV pool with "
        f"{numbers.gib(known[largest]['KV pool'])}."
    )
    series = [(part, color) for part, color in MEMORY_PARTS if part in used]
    title = "Memory of one GPU by deployment"
    chart = charts.stacked_bars("chart-memory", title, alt, data, series=series, axis="GiB", label="deployment")
    note = "Outside the budget: what the engine leaves free, and graphs where the release captures them there."
    return Section(
        "memory",
        "Memory of each GPU",
        charts=(chart,),
        tables=(table("Memory of one GPU", heads, rows, most, note=note),),
        points=tuple(dict.fromkeys(estimated)),
        origin="Bytes by the accounting rules of the engine release named under Origin; estimated parts are marked.",
    )


def _parts(deployment: Deployment) -> dict[str, int]:
    """Bytes by part; `adjusted` is what the user keeps free."""
    m = deployment.memory
    assert m is not None
    return {
        "weights": m.weights_bytes,
        "activations": m.activation_bytes,
        "non-torch": m.non_torch_bytes,
        "CUDA graphs": m.cuda_graph_bytes,
        "adjusted": m.extra_bytes,
        "KV pool": m.available_kv_bytes,
        "outside the budget": m.total_bytes - m.budget_bytes,
    }


def latency(plan: Plan, most: int) -> Section:
    """Every promise: the prediction with its band against its limit."""
    from planner.report.html import charts

    kept = [(name, promise) for name, d in plan.deployments.items() for promise in d.promises]
    title = "Latency against promise"
    if not kept:
        text = "This plan holds no latency: its models bring capacity tables instead of physics."
        return Section("latency", title, texts=(text,))
    kept.sort(key=lambda pair: -_tightness(pair[1]))
    data: list[Datum] = [
        {
            "row": f"{promise.class_name} {METRICS[promise.metric]} on {name}",
            "low": float(_low(plan, name, promise) * 100 / promise.limit_us),
            "high": float(_tightness(promise) * 100),
            "kind": METRICS[promise.metric],
            "text": numbers.time_pair(promise.predicted_us, promise.limit_us),
        }
        for name, promise in kept[: charts.MOST_BARS]
    ]
    heads: list[tuple[str, Align]] = [
        ("class", "left"), ("promise", "left"), ("deployment", "left"), ("without the band", "right"),
        ("predicted/promised", "right"), ("of the promise", "right"), ("provider", "left"), ("band", "left"),
    ]  # fmt: skip
    rows: list[Sequence[Cell | str]] = [
        (
            promise.class_name,
            METRICS[promise.metric],
            name,
            numbers.duration(Fraction(round(_low(plan, name, promise)), 1000)),
            numbers.time_pair(promise.predicted_us, promise.limit_us),
            numbers.percent(round(_tightness(promise) * MICRO)),
            promise.provider,
            promise.band,
        )
        for name, promise in kept
    ]
    name, tightest = kept[0]
    alt = (
        f"{len(kept)} predictions as percent of their promises, each with its band. Tightest: {tightest.class_name} "
        f"{METRICS[tightest.metric]} on {name}, {numbers.time_pair(tightest.predicted_us, tightest.limit_us)}."
    )
    chart = charts.bands("chart-latency", "Predictions against promises", alt, data, axis="of the promise", label="row")
    text = (
        "A bar reaches from the prediction as it is to the prediction at the scenario's confidence, which is what the "
        "promise is held to; the dashed line is the promise. At confidence p50 both are one point."
    )
    return Section(
        "latency",
        title,
        texts=(text,),
        charts=(chart,),
        tables=(table("Promises", heads, rows, most),),
        origin=f"Certificate: {plan.certificate.status.replace('_', ' ')}: {plan.certificate.reason}.",
    )


def _tightness(promise: Promise) -> Fraction:
    return Fraction(promise.predicted_us, promise.limit_us)


def _low(plan: Plan, deployment: str, promise: Promise) -> Fraction:
    """The prediction before the scenario's confidence widened it; a batch class is not widened."""
    from planner.candidates.confidence import factors

    band = plan.deployments[deployment].band
    if band is None:
        return Fraction(promise.predicted_us)
    tpot, ttft = factors(band, plan.scenario.reserve.confidence)
    factor = {"tpot_p95": tpot, "ttft_p95": ttft}.get(promise.metric, Fraction(1))
    return (promise.predicted_us - promise.network_us) / factor + promise.network_us
