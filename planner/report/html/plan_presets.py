"""KV presets: what each one would cost against its quality, and how its bytes compare with 16-bit over the context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from planner.plan.types import Plan, Status
from planner.report import numbers
from planner.report.html.blocks import Align, Cell, Chart, Datum, Section, Table, table
from planner.scenario.types import ModelSpec

if TYPE_CHECKING:
    from planner.catalog.types import KvStorage

Ratios = dict[int, Fraction]
"""Tokens of a request -> bytes with 16-bit KV over bytes with a preset."""

THIS_PLAN = "this plan"

MOST_MODELS = 6
"""Models with a plot of their own; the table holds all."""


@dataclass(frozen=True)
class Alternative:
    """The same scenario solved with one preset for every model that may use it."""

    preset: str
    status: Status
    cost_per_month: str | None
    gpus: int | None
    loss_ppm: int | None
    reason: str


def against_quality(plan: Plan, alternatives: Sequence[Alternative], most: int) -> Section:
    """Cost of this plan and of plans with each preset alone, against the worst quality loss of a class."""
    from planner.report.html import charts

    currency = plan.scenario.currency
    title = "Cost with each preset against its quality"
    named = _named(plan)
    if not named:
        return Section("presets", title, texts=("The models of this plan bring capacity tables: no preset is chosen.",))
    drawn: list[Datum] = [
        {
            "name": name,
            "x": loss / 10_000,
            "y": float(cost),
            "kind": kind,
            "text": f"{numbers.money(cost, currency)} / month, worst loss {numbers.exact_percent(loss)}",
        }
        for name, kind, cost, loss in _points(plan, alternatives)
    ]
    chart: tuple[Chart, ...] = ()
    if drawn:
        alt = "Points of monthly cost over the worst quality loss: " + "; ".join(
            f"{row['name']}: {row['text']}" for row in drawn
        )
        chart = (
            charts.points(
                "chart-presets", title, f"{alt}.", drawn, x_axis="worst accuracy loss of a class, %",
                y_axis=f"{currency} a month",
            ),
        )  # fmt: skip
    if alternatives:
        text = "Each preset was solved alone: every model that lists it must use it, the other models choose as before."
    else:
        text = (
            "A plan holds one cost. What each preset alone would cost is not in this plan: "
            "`kvplan report PLAN --solve-presets` solves its scenario once for each and draws them here."
        )
    return Section(
        "presets",
        title,
        texts=(text,),
        charts=chart,
        tables=(
            *((_alternatives(plan, alternatives, most),) if alternatives else ()),
            _choices(plan, most),
        ),
        origin="Losses are the worst evidence that a class's floor admits, against 16-bit KV; evidence under Origin.",
    )


def worst_loss_ppm(plan: Plan) -> int | None:
    """The largest quality loss that any class is served with; None without a plan or presets."""
    losses = [route.loss_ppm for d in plan.deployments.values() if d.kv_preset for route in d.routing]
    return max(losses, default=None)


def _points(plan: Plan, alternatives: Sequence[Alternative]) -> Iterator[tuple[str, str, str, int]]:
    """(names, kind, cost, loss) of this plan and of every solved alternative; what coincides is one point."""
    found: dict[tuple[str, int], list[str]] = {}
    mine = worst_loss_ppm(plan)
    if plan.totals is not None and mine is not None:
        found[plan.totals.cost_per_month, mine] = [THIS_PLAN]
    for row in alternatives:
        if row.cost_per_month is not None and row.loss_ppm is not None:
            found.setdefault((row.cost_per_month, row.loss_ppm), []).append(row.preset)
    for (cost, loss), names in found.items():
        yield ", ".join(names), THIS_PLAN if THIS_PLAN in names else "one preset alone", cost, loss


def _alternatives(plan: Plan, alternatives: Sequence[Alternative], most: int) -> Table:
    currency = plan.scenario.currency
    heads: list[tuple[str, Align]] = [
        ("preset", "left"), ("status", "left"), ("per month", "right"), ("GPUs", "right"), ("worst loss", "right"),
        ("why not", "left"),
    ]  # fmt: skip
    rows: list[Sequence[Cell | str]] = [
        (
            Cell(row.preset, code=True),
            row.status,
            numbers.money(row.cost_per_month, currency) if row.cost_per_month is not None else "-",
            f"{row.gpus:,}" if row.gpus is not None else "-",
            numbers.exact_percent(row.loss_ppm) if row.loss_ppm is not None else "-",
            row.reason or "-",
        )
        for row in alternatives
    ]
    return table("Each preset alone", heads, rows, most)


def _named(plan: Plan) -> list[tuple[str, str]]:
    """(model, preset) of everything that the scenario lists."""
    models = plan.scenario.models
    return [(name, preset) for name in sorted(models) for preset in models[name].kv_presets]


def _choices(plan: Plan, most: int) -> Table:
    """Every preset that the scenario lists: used, offered or refused, with its worst loss where it is used."""
    heads: list[tuple[str, Align]] = [
        ("model", "left"), ("preset", "left"), ("in this plan", "left"), ("worst loss here", "right"),
        ("why not elsewhere", "left"),
    ]  # fmt: skip
    rows: list[Sequence[Cell | str]] = []
    for model, preset in _named(plan):
        used = [(n, d) for n, d in plan.deployments.items() if (d.model, d.kv_preset) == (model, preset)]
        losses = [route.loss_ppm for _, d in used for route in d.routing]
        where = ", ".join(name for name, _ in used)
        reasons = dict.fromkeys(
            choice.message for choice in plan.rejected if choice.model == model and _is_about(choice.message, preset)
        )
        rows.append((
            model, Cell(preset, code=True), Cell(f"runs {where}" if where else "not used", "good" if where else "soft"),
            numbers.exact_percent(max(losses)) if losses else "-", "; ".join(reasons) or "-",
        ))  # fmt: skip
    return table("Presets that the scenario lists", heads, rows, most)


def _is_about(message: str, preset: str) -> bool:
    """Refusals of a preset begin with `id@version:`."""
    return message.startswith((f"{preset}@", f"{preset}:"))


def over_context(plan: Plan) -> Section:
    """How many times fewer bytes a request takes than with 16-bit KV, by context, from the preset table."""
    from planner.report.html import charts

    title = "Preset ratio over context"
    shown: list[Chart] = []
    rows: list[tuple[str, str, Ratios]] = []
    contexts: list[int] = []
    for name, model in sorted(plan.scenario.models.items()):
        series = _ratios(plan, model)
        if not series:
            continue
        contexts = sorted({*contexts, *(tokens for ratios in series.values() for tokens in ratios)})
        data: list[Datum] = [
            {"series": names, "x": size, "y": float(ratio), "text": f"{numbers.ratio(ratio)} at {numbers.tokens(size)}"}
            for names, ratios in _alike(series).items()
            for size, ratio in ratios.items()
        ]
        ends = "; ".join(f"{preset} {numbers.ratio(list(ratios.values())[-1])}" for preset, ratios in series.items())
        if len(shown) < MOST_MODELS:
            shown.append(
                charts.lines(
                    f"chart-ratio-{len(shown) + 1}", f"{name}: 16-bit bytes over the preset's bytes",
                    f"Lines of the ratio over the context of one request of {name}; at the longest: {ends}.", data,
                    x_axis="tokens of one request", y_axis="times smaller than 16-bit",
                )
            )  # fmt: skip
        rows += [(name, preset, ratios) for preset, ratios in series.items()]
    if not rows:
        text = "The models of this plan bring capacity tables: no KV cache is planned."
        return Section("ratio", title, texts=(text,))
    return Section(
        "ratio",
        title,
        texts=(
            "Bytes that one request reserves on a GPU, in whole blocks: 16-bit KV over the preset. Presets that keep "
            "some layers or tokens in 16 bits bend where windows or block sizes do; the others are flat.",
        ),
        charts=tuple(shown),
        tables=(_ratio_table(rows, contexts),),
        origin="Bytes of the preset table and of the model's layers, as memory is planned; nothing here is measured.",
    )


def _alike(series: dict[str, Ratios]) -> dict[str, Ratios]:
    """Presets of one line drawn once, under all their names."""
    names: dict[tuple[Fraction, ...], list[str]] = {}
    for preset, ratios in series.items():
        names.setdefault(tuple(ratios.values()), []).append(preset)
    return {", ".join(presets): series[presets[0]] for presets in names.values()}


def _ratio_table(rows: Sequence[tuple[str, str, Ratios]], contexts: Sequence[int]) -> Table:
    heads: list[tuple[str, Align]] = [("model", "left"), ("preset", "left")]
    heads += [(numbers.tokens(tokens), "right") for tokens in contexts]
    cells: list[Sequence[Cell | str]] = [
        (
            model,
            Cell(preset, code=True),
            *(numbers.ratio(ratios[tokens]) if tokens in ratios else "-" for tokens in contexts),
        )
        for model, preset, ratios in rows
    ]
    return table("Times smaller than 16-bit KV, by tokens of a request", heads, cells, len(cells))


def _ratios(plan: Plan, model: ModelSpec) -> dict[str, Ratios]:
    """Preset -> tokens -> ratio, for 16-bit KV and every preset that the scenario lists or the policy would admit."""
    if model.facts is None or model.engine is None:
        return {}
    limit = max((*model.context_limits_tokens, 1024))
    contexts = [tokens for power in range(8, 24) if (tokens := 2**power) <= limit]
    return {
        preset: {tokens: request_ratio(model, storage, tokens) for tokens in contexts}
        for preset, storage in _storages(plan, model).items()
    }


def _storages(plan: Plan, model: ModelSpec) -> dict[str, KvStorage]:
    from planner.catalog.types import Refusal
    from planner.compression.policy import judge
    from planner.compression.table import load_presets

    assert model.facts is not None and model.engine is not None
    gpus = {pool.gpu.id: pool.gpu for pool in plan.scenario.inventory.values()}
    used = {d.gpu for d in plan.deployments.values() if d.model == model.name} or set(gpus)
    found: dict[str, KvStorage] = {}
    for preset in load_presets().values():
        for gpu in sorted(used):
            usable = judge(
                preset, engine=model.engine, gpu=gpus[gpu], model=model.facts, policy=plan.scenario.compression
            )
            if not isinstance(usable, Refusal):
                found[preset.id] = usable.storage
                break
    return found


def request_ratio(model: ModelSpec, storage: KvStorage, context_tokens: int) -> Fraction:
    """Bytes that a request of so many tokens reserves on one GPU with 16-bit KV over those with a preset."""
    from planner.catalog.parallel import Parallel
    from planner.catalog.types import BF16_KV
    from planner.memory.kv import KvSetup, reserved_bytes

    facts, engine = model.memory_facts, model.engine
    assert facts is not None and engine is not None
    batched = max(model.engine_args.chunk_budgets, default=8192)
    plain, stored = (
        reserved_bytes(KvSetup(facts, engine, kind, Parallel(), context_tokens, batched), context_tokens)
        for kind in (BF16_KV, storage)
    )
    return Fraction(plain, stored)
