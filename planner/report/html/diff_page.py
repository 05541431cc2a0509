"""What stands on the page of a diff or a what-if, in the order in which a reviewer needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from planner.plan.diff_types import CountChange, Diff, MoneyChange, WhatIf
from planner.plan.types import Conflict
from planner.report import diff_words, numbers
from planner.report.html import diff_changes, plan_fleet
from planner.report.html.blocks import Align, Cell, Chart, Datum, Figure, Page, Section, Table, Tone, plural, table

NONE = "-"

BADGES: dict[str, Tone] = {"optimal": "good", "feasible": "warn", "infeasible": "bad", "unknown": "bad"}


def diff_page(diff: Diff, most: int) -> Page:
    """The whole page of a diff."""
    return Page(
        title=diff.head.name,
        kind="plan change",
        badge=diff.head.status,
        tone=BADGES[diff.head.status],
        sentence=sentence(diff),
        figures=() if diff.equal else _figures(diff),
        sections=tuple(_sections(diff, most, "")),
        footer=_footer(diff.command, diff.base.kvplan, diff.head.kvplan),
    )


def what_if_page(document: WhatIf, most: int) -> Page:
    """The page of several what-ifs: one table of all, then each with its own sections."""
    sections = [_cases(document, most)]
    for number, case in enumerate(document.cases, start=1):
        lead = f"{case.name}: {sentence(case.diff)}"
        sections.append(Section(f"case-{number}", f"What if: {case.name}", texts=(lead,), points=case.overrides))
        sections += [
            replace(own, title=f"{case.name}: {own.title[0].lower()}{own.title[1:]}")
            for own in _sections(case.diff, most, f"case-{number}-")
        ]
    count = len(document.cases)
    return Page(
        title=document.base.name,
        kind="what-if",
        badge=plural(count, "case"),
        tone="soft",
        sentence=f"{plural(count, 'what-if')} of {document.base.label}, each compared with the file as it is.",
        figures=(),
        sections=tuple(sections),
        footer=_footer(document.command, document.base.kvplan, document.base.kvplan),
    )


def sentence(diff: Diff) -> str:
    """The headline, as the terminal and the comment say it."""
    return f"{diff_words.headline(diff).text()}."


def _money(amount: str | None, diff: Diff) -> str:
    return numbers.money(amount, diff.currency) if amount is not None else NONE


def _figures(diff: Diff) -> tuple[Figure, ...]:
    figures = []
    cost, budget = diff.cost_per_month, diff.budget
    if cost.change is not None:
        percent = numbers.signed_percent(cost.percent_ppm) if cost.percent_ppm is not None else "from nothing"
        figures.append(Figure("Cost a month", numbers.signed_money(cost.change, diff.currency), percent))
    if budget.head_share_ppm is not None:
        before = numbers.percent(budget.base_share_ppm) if budget.base_share_ppm is not None else NONE
        tone: Tone = "bad" if budget.crossed else ""
        detail = f"of {_money(budget.head_limit, diff)}; before: {before}"
        figures.append(Figure("Budget used", numbers.percent(budget.head_share_ppm), detail, tone))
    total = diff.gpus.total
    if total.change is not None:
        figures.append(Figure("GPUs", numbers.signed_count(total.change), f"{total.base:,} → {total.head:,}"))
    if diff.rollout:
        figures.append(Figure("During the rollout", plural(diff.peak_extra_gpus, "extra GPU"), "held at the peak"))
    crossed = sum(1 for row in diff.guardrails if row.crossed == "by_this_change")
    if any(row.crossed == "unknown" for row in diff.guardrails):
        figures.append(Figure("Guardrails", "not known", "a side has no plan", "warn"))
    elif diff.guardrails:
        figures.append(Figure("Guardrails", f"{crossed} crossed", "by this change", "bad" if crossed else "good"))
    return tuple(figures)


def _sections(diff: Diff, most: int, prefix: str) -> list[Section]:
    sections = [
        _notes(diff, most, prefix),
        _guardrails(diff, most, prefix),
        diff_changes.attribution(diff, most, prefix),
        None if diff.equal else _numbers(diff, most, prefix),
        diff_changes.physical(diff, most, prefix),
        diff_changes.rollout(diff, most, prefix),
        diff_changes.margins(diff, most, prefix),
        plan_fleet.as_is(diff.as_is, diff.currency, most, prefix),
        _sides(diff, most, prefix),
    ]
    return [section for section in sections if section is not None]


def _notes(diff: Diff, most: int, prefix: str) -> Section | None:
    tables = [
        _conflicts(caption, rows, most)
        for caption, rows in (
            ("New reasons why there is no plan", diff.new_conflicts),
            ("Reasons that are gone", diff.gone_conflicts),
        )
        if rows
    ]
    if not tables and not diff.notes:
        return None
    return Section(f"{prefix}notes", "Read this first", tables=tuple(tables), points=diff.notes)


def _conflicts(caption: str, conflicts: Sequence[Conflict], most: int) -> Table:
    heads: list[tuple[str, Align]] = [("line", "left"), ("why", "left"), ("what would do", "left")]
    rows = [(Cell(c.path, code=True), c.message, Cell(c.repair or NONE, code=bool(c.repair))) for c in conflicts]
    return table(caption, heads, rows, most)


CROSSED: dict[str, tuple[str, Tone]] = {
    "by_this_change": ("crossed by this change", "bad"),
    "already": ("crossed before already", "warn"),
    "no": ("kept", "good"),
    "unknown": ("not known", "warn"),
}


def _guardrails(diff: Diff, most: int, prefix: str) -> Section | None:
    if not diff.guardrails:
        return None
    heads: list[tuple[str, Align]] = [
        ("guardrail", "left"), ("kind", "left"), ("threshold", "right"), ("base", "right"), ("head", "right"),
        ("verdict", "left"), ("what to do", "left"),
    ]  # fmt: skip

    def shown(value: str | None, unit: str) -> str:
        if value is None:
            return NONE
        return numbers.tenth_percent(round(Fraction(value))) if unit == "ppm" else numbers.money(value, unit)

    rows: list[Sequence[Cell | str]] = [
        (
            row.name + (" (of the base)" if row.side == "base" else ""), row.kind.replace("_", " "),
            *(shown(value, row.unit) for value in (row.threshold, row.base, row.head)), Cell(*CROSSED[row.crossed]),
            row.message or NONE,
        )
        for row in diff.guardrails
    ]  # fmt: skip
    return Section(
        f"{prefix}guardrails", "Guardrails", tables=(table("Thresholds and this change", heads, rows, most),),
        origin="Guardrails of both sides count: a change cannot loosen the threshold that it crosses.",
    )  # fmt: skip


def _numbers(diff: Diff, most: int, prefix: str) -> Section:
    heads: list[tuple[str, Align]] = [("", "left"), ("base", "right"), ("head", "right"), ("change", "right")]
    watts = diff.power_w.change
    moved = numbers.signed_quantity(Fraction(watts), "W", "") if watts is not None else NONE
    rows: list[Sequence[Cell | str]] = [
        ("cost a month", *_moneys(diff.cost_per_month, diff)),
        ("of it committed, paid whatever the traffic", *_moneys(diff.committed_per_month, diff)),
        ("of it usage-driven", *_moneys(diff.usage_per_month, diff)),
        (f"cost over {numbers.horizon(diff.horizon_h)}", *_moneys(diff.cost_over_horizon, diff)),
        *(
            (f"GPUs, {word}", *_counts(change))
            for word, change in (
                ("all", diff.gpus.total),
                ("busy", diff.gpus.busy),
                ("spare", diff.gpus.spare),
                ("idle", diff.gpus.idle),
            )
        ),
        ("power (TDP)", _power(diff.power_w.base), _power(diff.power_w.head), moved),
    ]  # fmt: skip
    for unit in diff.unit_costs:
        values = [numbers.money(v, diff.currency) if v is not None else NONE for v in (unit.cost.base, unit.cost.head)]
        base, head = unit.cost.base, unit.cost.head
        change = NONE
        if base is not None and head is not None:
            change = numbers.unit_cost_change(base, head, diff.currency)
        rows.append((f"a million tokens, {unit.model or 'whole plan'}", *values, change))
    return Section(
        f"{prefix}numbers", "Both plans in numbers", tables=(table("Base, head and change", heads, rows, most),),
        origin="A month is 730 h; taxes, network and storage are not included; tokens at mean load.",
    )  # fmt: skip


def _moneys(change: MoneyChange, diff: Diff) -> tuple[str, str, str]:
    moved = numbers.signed_money(change.change, diff.currency) if change.change is not None else NONE
    return _money(change.base, diff), _money(change.head, diff), moved


def _counts(change: CountChange) -> tuple[str, str, str]:
    values = [f"{value:,}" if value is not None else NONE for value in (change.base, change.head)]
    return values[0], values[1], numbers.signed_count(change.change) if change.change is not None else NONE


def _power(value: str | None) -> str:
    return numbers.quantity(Fraction(value), "W", "") if value is not None else NONE


def _sides(diff: Diff, most: int, prefix: str) -> Section:
    heads: list[tuple[str, Align]] = [("", "left"), ("base", "left"), ("head", "left")]
    base, head = diff.base, diff.head
    rows: list[Sequence[Cell | str]] = [
        ("read from", f"{base.label} ({base.kind})", f"{head.label} ({head.kind})"),
        ("status", base.status, head.status),
        ("proof", base.proof, head.proof),
        ("kvplan", base.kvplan, head.kvplan),
        ("catalog", base.catalog, head.catalog),
        ("plan", base.hash, head.hash),
    ]
    tables = [table("The two plans", heads, rows, most)]
    if diff.drift:
        drift_heads: list[tuple[str, Align]] = [
            ("input", "left"), ("of", "left"), ("base", "left"), ("head", "left"), ("effect a month", "right"),
        ]  # fmt: skip
        drift: list[Sequence[Cell | str]] = [
            (
                row.kind, row.subject, row.base, row.head,
                numbers.signed_money(row.effect_per_month, diff.currency) if row.effect_per_month is not None else NONE,
            )
            for row in diff.drift
        ]  # fmt: skip
        tables.append(table("Inputs other than the scenario that differ", drift_heads, drift, most))
    return Section(
        f"{prefix}origin", "Where the numbers come from", tables=tuple(tables), texts=(f"Made by `{diff.command}`.",)
    )


def _cases(document: WhatIf, most: int) -> Section:
    from planner.report.html import charts

    heads: list[tuple[str, Align]] = [
        ("what if", "left"), ("status", "left"), ("per month", "right"), ("change", "right"), ("GPUs", "right"),
        ("in one sentence", "left"),
    ]  # fmt: skip
    rows: list[Sequence[Cell | str]] = []
    data: list[Datum] = []
    for case in document.cases:
        diff = case.diff
        cost, change, moved = diff.cost_per_month.head, diff.cost_per_month.change, diff.gpus.total.head
        text = numbers.signed_money(change, diff.currency) if change is not None else NONE
        rows.append((
            case.name, Cell(diff.head.status, BADGES[diff.head.status]), _money(cost, diff), text,
            f"{moved:,}" if moved is not None else NONE, sentence(diff),
        ))  # fmt: skip
        if change is not None:
            data.append({"row": case.name, "value": float(change), "text": text, "state": _state(change)})
    shown: tuple[Chart, ...] = ()
    if data:
        currency = document.cases[0].diff.currency
        alt = "Bars of the change in monthly cost: " + "; ".join(f"{row['row']} {row['text']}" for row in data) + "."
        shown = (
            charts.changes(
                "chart-cases", "Change in monthly cost", alt, data[: charts.MOST_BARS], axis=f"{currency} a month",
                label="what if",
            ),
        )  # fmt: skip
    return Section("cases", "All what-ifs", charts=shown, tables=(table("What-ifs", heads, rows, most),))


def _state(change: str) -> str:
    return "less" if change.startswith("-") else "more"


def _footer(command: str, base: str, head: str) -> tuple[str, ...]:
    versions = head if base == head else f"{base} (base) and {head} (head)"
    return (f"kvplan {versions}; run again with `{command}`.",)
