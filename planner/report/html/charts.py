"""Plots as Vega-Lite specifications, made with Altair.

Colors are names of the page's own CSS variables, so that one drawing suits light, dark and paper. Texts in tooltips are
formatted by the caller: a plot never formats a number that its table also shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from planner.report.html.blocks import Chart, Datum
from planner.report.printable import printable

if TYPE_CHECKING:
    import altair

MOST_BARS = 40
"""Rows of a bar chart; the table beside it goes on."""

PALETTE = tuple(f"var(--c{number})" for number in range(1, 9))
BAR_PX = 28
LINE_PX = 260

Series = Sequence[tuple[str, str]]
"""(name, color) of every series, in the order in which they are stacked."""


def stacked_bars(
    id: str, title: str, alt: str, data: Sequence[Datum], *, series: Series, axis: str, label: str
) -> Chart:
    """Horizontal bars of parts. Data: `row`, `part`, `value`, `text`; parts stack in the order of `series`."""
    import altair as vl

    names = [name for name, _ in series]
    order = {name: position for position, name in enumerate(names)}
    rows = [{**row, "order": order[str(row["part"])]} for row in data]
    bars = vl.Chart(_data(rows)).mark_bar(stroke="var(--paper)", strokeWidth=1)
    chart = bars.encode(
        y=_rows("row", rows, label),
        x=vl.X("value:Q", title=axis, stack="zero", axis=_amounts()),
        color=vl.Color(
            "part:N",
            title=None,
            scale=vl.Scale(domain=names, range=[color for _, color in series]),
            legend=vl.Legend() if len(names) > 1 else None,
        ),
        order=vl.Order("order:Q"),
        tooltip=_tooltip((label, "row"), ("part", "part"), ("value", "text")),
    )
    return _chart(id, title, alt, chart, height=_bars(rows))


def used_bars(id: str, title: str, alt: str, data: Sequence[Datum], *, axis: str, label: str) -> Chart:
    """Bars of what is used of a limit, which is the line at 100. Data: `row`, `value` (percent), `state`, `text`."""
    import altair as vl

    states = ("far", "near", "binding")
    base = vl.Chart(_data(data))
    bars = base.mark_bar().encode(
        y=_rows("row", data, label),
        x=vl.X("value:Q", title=axis, scale=vl.Scale(domainMin=0, domainMax=_most(data, "value")), axis=_percents()),
        color=vl.Color(
            "state:N",
            title=None,
            scale=vl.Scale(domain=list(states), range=["var(--good)", "var(--warn)", "var(--bad)"]),
        ),
        tooltip=_tooltip((label, "row"), ("used", "text"), ("state", "state")),
    )
    return _chart(id, title, alt, bars + _line_at(100), height=_bars(data))


def bands(id: str, title: str, alt: str, data: Sequence[Datum], *, axis: str, label: str) -> Chart:
    """Predictions against a promise at 100. Data: `row`, `low`, `high` (percent of the promise), `kind`, `text`."""
    import altair as vl

    kinds = list(dict.fromkeys(str(row["kind"]) for row in data))
    base = vl.Chart(_data(data))
    y = _rows("row", data, label)
    scale = vl.Scale(domainMin=0, domainMax=_most(data, "high"))
    color = vl.Color("kind:N", title=None, scale=vl.Scale(domain=kinds, range=list(PALETTE[: len(kinds)])))
    tooltip = _tooltip((label, "row"), ("promise", "kind"), ("prediction", "text"))
    line = base.mark_rule(strokeWidth=7, opacity=0.45, strokeCap="round").encode(
        y=y, x=vl.X("low:Q", title=axis, scale=scale, axis=_percents()), x2="high:Q", color=color, tooltip=tooltip
    )
    point = base.mark_point(filled=True, size=90, opacity=1).encode(y=y, x="high:Q", color=color, tooltip=tooltip)
    return _chart(id, title, alt, line + point + _line_at(100), height=_bars(data))


def changes(id: str, title: str, alt: str, data: Sequence[Datum], *, axis: str, label: str) -> Chart:
    """Bars to both sides of 0. Data: `row`, `value`, `text`, `state` (more or less)."""
    import altair as vl

    bars = vl.Chart(_data(data)).mark_bar()
    chart = bars.encode(
        y=_rows("row", data, label),
        x=vl.X("value:Q", title=axis, axis=_amounts()),
        color=vl.Color(
            "state:N", title=None, scale=vl.Scale(domain=["more", "less"], range=["var(--c2)", "var(--c3)"])
        ),
        tooltip=_tooltip((label, "row"), ("effect", "text")),
    )
    zero = vl.Chart(_inline([{"at": 0}])).mark_rule(color="var(--soft)").encode(x="at:Q")
    return _chart(id, title, alt, chart + zero, height=_bars(data))


def moves(id: str, title: str, alt: str, data: Sequence[Datum], *, axis: str, label: str) -> Chart:
    """A point for the base and one for the head on each row. Data: `row`, `side`, `value` (percent), `text`."""
    import altair as vl

    base = vl.Chart(_data(data))
    y = _rows("row", data, label)
    x = vl.X("value:Q", title=axis, scale=vl.Scale(domainMin=0, domainMax=_most(data, "value")), axis=_percents())
    sides = vl.Scale(domain=["base", "head"], range=["var(--c5)", "var(--c1)"])
    shapes = vl.Scale(domain=["base", "head"], range=["circle", "diamond"])
    line = base.mark_line(color="var(--soft)", strokeWidth=2).encode(y=y, x=x, detail="row:N")
    point = base.mark_point(filled=True, size=100, opacity=1).encode(
        y=y,
        x=x,
        color=vl.Color("side:N", title=None, scale=sides),
        shape=vl.Shape("side:N", title=None, scale=shapes),
        tooltip=_tooltip((label, "row"), ("side", "side"), ("used", "text")),
    )
    return _chart(id, title, alt, line + point + _line_at(100), height=_bars(data))


def points(id: str, title: str, alt: str, data: Sequence[Datum], *, x_axis: str, y_axis: str) -> Chart:
    """Named points. Data: `name`, `x`, `y`, `kind`, `text`."""
    import altair as vl

    kinds = list(dict.fromkeys(str(row["kind"]) for row in data))
    most = 1.3 * max(float(row["x"] or 0) for row in data) or 1.0  # room for names on the right
    base = vl.Chart(_data(data)).encode(
        x=vl.X("x:Q", title=x_axis, scale=vl.Scale(domain=[0, most], nice=True), axis=vl.Axis(tickCount=5)),
        y=vl.Y("y:Q", title=y_axis, scale=vl.Scale(zero=True), axis=_amounts()),
    )
    dots = base.mark_point(filled=True, size=120, opacity=1).encode(
        color=vl.Color("kind:N", title=None, scale=vl.Scale(domain=kinds, range=list(PALETTE[: len(kinds)]))),
        tooltip=_tooltip(("preset", "name"), ("kind", "kind"), ("plan", "text")),
    )
    names = base.mark_text(align="left", dx=9, dy=-7, color="var(--ink)", limit=170).encode(text="name:N")
    return _chart(id, title, alt, dots + names, height=LINE_PX)


def lines(id: str, title: str, alt: str, data: Sequence[Datum], *, x_axis: str, y_axis: str) -> Chart:
    """Lines over tokens. Data: `series`, `x`, `y`, `text`."""
    import altair as vl

    names = list(dict.fromkeys(str(row["series"]) for row in data))
    ticks = sorted({int(row["x"] or 0) for row in data})
    base = vl.Chart(_data(data)).encode(
        x=vl.X(
            "x:Q",
            title=x_axis,
            scale=vl.Scale(type="log", base=2),
            axis=vl.Axis(
                values=ticks,
                labelExpr="datum.value < 1024 ? datum.value : datum.value / 1024 + 'Ki'",
                labelOverlap=True,
            ),
        ),
        y=vl.Y("y:Q", title=y_axis, scale=vl.Scale(zero=True), axis=vl.Axis(format=".1~f", tickCount=5)),
        color=vl.Color("series:N", title=None, scale=vl.Scale(domain=names, range=_colors(len(names)))),
    )
    dashes = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [3, 5], [10, 4], [1, 3], [5, 2, 5, 2]]
    drawn = base.mark_line(strokeWidth=2.5).encode(
        strokeDash=vl.StrokeDash(
            "series:N",
            title=None,
            scale=vl.Scale(domain=names, range=[dashes[i % len(dashes)] for i in range(len(names))]),
        )
    )
    dots = base.mark_point(filled=True, size=40, opacity=1).encode(
        tooltip=_tooltip(("preset", "series"), ("ratio", "text"))
    )
    return _chart(id, title, alt, drawn + dots, height=LINE_PX)


def _colors(count: int) -> list[str]:
    return [PALETTE[number % len(PALETTE)] for number in range(count)]


def _data(rows: Sequence[Datum]) -> altair.InlineData:
    """Rows as inline data; texts without characters that act."""

    safe = [{key: printable(value) if isinstance(value, str) else value for key, value in row.items()} for row in rows]
    return _inline(safe)


def _inline(values: list[dict[str, str | int | float | None]]) -> altair.InlineData:
    import altair as vl

    return vl.InlineData(values=values)


def _rows(field: str, data: Sequence[Datum], label: str) -> altair.Y:
    """One band a row, in the order of the data."""
    import altair as vl

    order = list(dict.fromkeys(printable(str(row[field])) for row in data))
    return vl.Y(f"{field}:N", title=None, sort=order, axis=vl.Axis(domain=False, ticks=False))


def _bars(data: Sequence[Datum]) -> int:
    return BAR_PX * max(1, len({row["row"] for row in data}))


def _most(data: Sequence[Datum], field: str) -> float:
    """The end of a percent axis: a little beyond 100, or beyond the largest value."""
    return max(110.0, 1.05 * max((float(row[field] or 0) for row in data), default=0.0))


def _amounts() -> altair.Axis:
    """Whole numbers with thousands separated; small ones with two digits."""
    import altair as vl

    return vl.Axis(labelExpr="format(datum.value, abs(datum.value) >= 10 ? ',.0f' : ',.2~f')", tickCount=5)


def _percents() -> altair.Axis:
    import altair as vl

    return vl.Axis(labelExpr="datum.value + '%'", tickCount=6)


def _line_at(value: int) -> altair.Chart:
    import altair as vl

    line = vl.Chart(_inline([{"at": value}])).mark_rule(color="var(--ink)", strokeDash=[5, 3], strokeWidth=1.5)
    drawn: altair.Chart = line.encode(x="at:Q")
    return drawn


def _tooltip(*fields: tuple[str, str]) -> list[altair.Tooltip]:
    import altair as vl

    return [vl.Tooltip(f"{field}:N", title=title) for title, field in fields]


def _chart(id: str, title: str, alt: str, chart: Any, *, height: int) -> Chart:
    """The specification, as wide as its place on the page."""
    sized = chart.properties(width="container", height=height, description=printable(alt))
    spec: dict[str, object] = sized.to_dict()
    spec.pop("$schema", None)
    if height != LINE_PX:
        spec["usermeta"] = {"rows": True}  # tells the page that names stand above bars where there is no room beside
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return Chart(id, title, alt, spec)
