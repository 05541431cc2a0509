"""What a change does: which edit caused what, what moves in production, in which order, and which margins shrink."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from planner.plan.diff_types import DeploymentChange, Diff, FieldChange, Margin, PoolChange
from planner.report import diff_physical, numbers
from planner.report.html.blocks import Align, Cell, Chart, Datum, Section, Table, Tone, plural, table

NONE = "-"


def attribution(diff: Diff, most: int, prefix: str) -> Section | None:
    """The effect of every edit alone, what is left as interaction, and inputs other than the scenario."""
    from planner.report.html import charts

    if not diff.edits and not diff.attribution and diff.drift_per_month is None:
        return None
    rows = list(_effects(diff))
    data: list[Datum] = [
        {
            "row": name,
            "value": float(effect),
            "text": numbers.signed_money(effect, diff.currency),
            "state": "less" if effect.startswith("-") else "more",
        }
        for name, _, effect, _ in rows
        if effect is not None
    ]
    heads: list[tuple[str, Align]] = [("edit", "left"), ("how", "left"), ("effect a month", "right")]
    cells: list[Sequence[Cell | str]] = [
        (
            Cell(name, code=is_path),
            how,
            Cell(numbers.signed_money(effect, diff.currency), _tone(effect)) if effect is not None else NONE,
        )
        for name, how, effect, is_path in rows
    ]
    if diff.cost_per_month.change is not None and rows:
        total = numbers.signed_money(diff.cost_per_month.change, diff.currency)
        cells.append((Cell("all together"), "the change in cost", Cell(total, _tone(diff.cost_per_month.change))))
    shown: tuple[Chart, ...] = ()
    if data:
        alt = "Bars of the effect on monthly cost: " + "; ".join(_spoken(data)) + "."
        shown = (
            charts.changes(
                f"{prefix}chart-attribution", "Effect on the monthly cost", alt, data[: charts.MOST_BARS],
                axis=f"{diff.currency} a month", label="edit",
            ),
        )  # fmt: skip
    tables = [table("Effects that add up to the change", heads, cells, most)] if cells else []
    if diff.edits:
        tables.append(_edits(diff, most))
    return Section(
        f"{prefix}attribution",
        "Which edit caused which part",
        charts=shown,
        tables=tuple(tables),
        origin="Each edit was solved alone on top of the base; what they do only together is the interaction.",
    )


def _effects(diff: Diff) -> Iterator[tuple[str, str, str | None, bool]]:
    """(name, how it was found, effect, whether the name is a scenario path)."""
    for row in diff.attribution:
        how = f"no plan with this alone: {row.infeasible}" if row.infeasible else "solved alone"
        proof = "" if row.proved or row.infeasible else ", not proved"
        yield ", ".join(row.paths), how + proof, row.effect_per_month, True
    if diff.attribution and diff.interaction_per_month is not None:
        yield "interaction of the edits", "what they do only together", diff.interaction_per_month, False
    if diff.drift_per_month is not None:
        yield "inputs other than the scenario", "catalog, versions, profiles", diff.drift_per_month, False


def _spoken(data: Sequence[Datum], most: int = 12) -> list[str]:
    """The first rows of a plot in words."""
    words = [f"{row['row']} {row['text']}" for row in data[:most]]
    return words + [f"and {len(data) - most} more"] * (len(data) > most)


def _tone(change: str) -> Tone:
    return "good" if change.startswith("-") else "warn" if Fraction(change) else ""


def _edits(diff: Diff, most: int) -> Table:
    heads: list[tuple[str, Align]] = [("line", "left"), ("before", "left"), ("after", "left"), ("place", "left")]
    rows: list[Sequence[Cell | str]] = [
        (Cell(e.path, code=True), _written(e.before), _written(e.after), e.place or NONE) for e in diff.edits
    ]
    return table("What was edited", heads, rows, most)


def _written(value: str | None) -> Cell:
    return Cell("not there", "soft") if value is None else Cell(value, code=True)


def physical(diff: Diff, most: int, prefix: str) -> Section | None:
    """Deployments and pools that differ; those that stay are counted."""
    from planner.report.html import charts

    if diff.equal or not (diff.deployments or diff.pools):
        return None
    moved = [row for row in diff.deployments if row.kind != "same"]
    same = len(diff.deployments) - len(moved)
    pools = [row for row in diff.pools if row.kind != "same"]
    data: list[Datum] = [
        {
            "row": row.name,
            "value": float(row.cost.change),
            "text": numbers.signed_money(row.cost.change, diff.currency),
            "state": "less" if row.cost.change.startswith("-") else "more",
        }
        for row in pools
        if row.cost.change is not None and Fraction(row.cost.change)
    ]
    shown: tuple[Chart, ...] = ()
    if data:
        alt = "Bars of the change in monthly cost by pool: " + "; ".join(_spoken(data)) + "."
        shown = (
            charts.changes(
                f"{prefix}chart-pools", "Change in monthly cost by pool", alt, data[: charts.MOST_BARS],
                axis=f"{diff.currency} a month", label="pool",
            ),
        )  # fmt: skip
    return Section(
        f"{prefix}changes",
        "What changes in production",
        texts=(f"{plural(len(moved), 'deployment')} changed, {same:,} stay as they are.",),
        charts=shown,
        tables=(_deployments(moved, most), _pools(pools, diff, most), _whole(diff, most)),
    )


def _deployments(moved: Sequence[DeploymentChange], most: int) -> Table:
    heads: list[tuple[str, Align]] = [
        ("deployment", "left"), ("what", "left"), ("value", "left"), ("base", "right"), ("head", "right"),
    ]  # fmt: skip
    rows: list[Sequence[Cell | str]] = []
    for row in moved:
        for position, field in enumerate(row.fields):
            lead = (row.name, _kind(row.kind)) if position == 0 else (Cell(row.name, "soft"), "")
            rows.append((*lead, diff_physical.LABELS.get(field.field, field.field), *_values(field, "")))
        if not row.fields:
            rows.append((row.name, _kind(row.kind), NONE, NONE, NONE))
    return table("Deployments that change", heads, rows, most)


def _kind(kind: str) -> Cell:
    tones: dict[str, Tone] = {"added": "good", "removed": "bad", "changed": "warn"}
    return Cell(kind, tones.get(kind, ""))


def _values(field: FieldChange, currency: str) -> tuple[str, str]:
    base, head = (diff_physical.value(field.field, raw, currency) for raw in (field.base, field.head))
    return base, head


def _pools(pools: Sequence[PoolChange], diff: Diff, most: int) -> Table:
    heads: list[tuple[str, Align]] = [
        ("pool", "left"), ("what", "left"), ("values", "left"), ("base a month", "right"), ("head a month", "right"),
        ("change", "right"),
    ]  # fmt: skip
    rows: list[Sequence[Cell | str]] = []
    for row in pools:
        fields = "; ".join(
            "{} {} → {}".format(diff_physical.LABELS.get(field.field, field.field), *_values(field, diff.currency))
            for field in row.fields
        )
        money = [numbers.money(v, diff.currency) if v is not None else NONE for v in (row.cost.base, row.cost.head)]
        change = row.cost.change
        moved = Cell(numbers.signed_money(change, diff.currency), _tone(change)) if change is not None else Cell(NONE)
        rows.append((row.name, _kind(row.kind), fields or NONE, *money, moved))
    return table("Pools that change", heads, rows, most)


def _whole(diff: Diff, most: int) -> Table:
    """The whole head, what did not change included."""
    currency = diff.currency
    rows: list[Sequence[Cell | str]] = []
    for row in diff.deployments:
        if row.head is not None:
            rows.append((row.head.name, "deployment", _kind(row.kind), diff_physical.state_text(row.head)))
    for pool in diff.pools:
        if pool.head is not None:
            bought = numbers.money(pool.head.cost_per_month, currency)
            text = f"{diff_physical.pool_text(pool.head, currency)}, {bought} / month"
            rows.append((pool.name, "pool", _kind(pool.kind), text))
    heads: list[tuple[str, Align]] = [("name", "left"), ("of", "left"), ("change", "left"), ("in the head", "left")]
    return table("The whole plan after the change", heads, rows, most)


def rollout(diff: Diff, most: int, prefix: str) -> Section | None:
    """The steps in their order, GPUs held beyond the larger plan, and replicas that go before their successors run."""
    if not diff.rollout:
        return None
    heads: list[tuple[str, Align]] = [
        ("step", "right"), ("what", "left"), ("extra GPUs held", "right"), ("replicas down", "right"),
    ]  # fmt: skip
    rows: list[Sequence[Cell | str]] = [
        (str(s.order), s.text, f"{s.extra_gpus:,}", Cell(f"{s.replicas_down:,}", "bad" if s.replicas_down else ""))
        for s in diff.rollout
    ]
    down = sum(step.replicas_down for step in diff.rollout)
    text = f"At the peak {plural(diff.peak_extra_gpus, 'extra GPU')}; " + (
        f"{plural(down, 'replica')} must stop before their successors run." if down else "no replica stops too early."
    )
    return Section(f"{prefix}rollout", "In which order", texts=(text,), tables=(table("Rollout", heads, rows, most),))


def margins(diff: Diff, most: int, prefix: str) -> Section | None:
    """How near each promise, floor, budget and limit is, before and after, in the order of risk."""
    from planner.report.html import charts

    if not diff.margins:
        return None
    data: list[Datum] = []
    for row in diff.margins[: charts.MOST_BARS]:
        for side, used, limit in (("base", row.base_used, row.base_limit), ("head", row.head_used, row.head_limit)):
            if used is not None and limit:
                text = f"{_quantity(used, row, diff)} of {_quantity(limit, row, diff)}"
                data.append({"row": row.path, "side": side, "value": float(used / limit * 100), "text": text})
    heads: list[tuple[str, Align]] = [
        ("limit", "left"), ("kind", "left"), ("base", "right"), ("head", "right"), ("free, base", "right"),
        ("free, head", "right"), ("room", "left"),
    ]  # fmt: skip
    rows: list[Sequence[Cell | str]] = [
        (
            Cell(row.path, code=True), row.what, _side(row.base_used, row.base_limit, row, diff),
            _side(row.head_used, row.head_limit, row, diff), _free(row.base_slack_ppm), _free(row.head_slack_ppm),
            Cell("less", "bad") if row.worse else Cell(_room(row), "good" if _room(row) == "more" else "soft"),
        )
        for row in diff.margins
    ]  # fmt: skip
    worse = sum(1 for row in diff.margins if row.worse)
    shown: tuple[Chart, ...] = ()
    if data:
        alt = (
            f"For each limit a point for the base and one for the head, the limit at 100%. {worse} of "
            f"{len(diff.margins)} margins shrink."
        )
        shown = (
            charts.moves(f"{prefix}chart-margins", "Used before and after", alt, data, axis="used", label="limit"),
        )
    return Section(
        f"{prefix}margins",
        "Margins beside the price",
        texts=(f"{worse} of {len(diff.margins)} margins have less room than before.",),
        charts=shown,
        tables=(table("Margins, those that lost room first", heads, rows, most),),
    )


def _room(row: Margin) -> str:
    if row.base_slack_ppm is None or row.head_slack_ppm is None:
        return "new" if row.base_slack_ppm is None else "gone"
    return "more" if row.head_slack_ppm > row.base_slack_ppm else "same"


def _free(slack_ppm: int | None) -> str:
    return numbers.percent(max(slack_ppm, 0)) if slack_ppm is not None else NONE


def _side(used: Fraction | None, limit: Fraction | None, row: Margin, diff: Diff) -> str:
    if used is None or limit is None:
        return NONE
    return f"{_quantity(used, row, diff)} of {_quantity(limit, row, diff)}"


def _quantity(value: Fraction, row: Margin, diff: Diff) -> str:
    return numbers.quantity(value, row.unit, diff.currency)
