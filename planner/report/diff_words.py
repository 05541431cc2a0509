"""What a diff says, in words and figures: the same for the terminal, Markdown, CSV and pages.

Nothing here is escaped or laid out: rows are plain texts, and whoever shows them escapes them. Order and wording follow
what a reviewer asks first: how much, is the budget kept, which edit did it, what changes in production, what it risks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from planner.plan.diff_types import (
    Diff,
    GuardrailResult,
    Side,
)
from planner.report import numbers

ARROW = "->"
NONE = "-"
MOST_PATHS = 3
"""Edits of one group that are named; the rest is counted."""


@dataclass(frozen=True)
class Headline:
    """The sentence: `start` and `end` around the amount, which pages emphasize; `amount` may be empty."""

    start: str
    amount: str
    end: str

    def text(self) -> str:
        """The whole sentence."""
        return f"{self.start}{self.amount}{self.end}"


@dataclass(frozen=True)
class Cause:
    """One row of what caused the change: edits as (path, before, after, place), and the effect as text."""

    edits: tuple[tuple[str, str, str, str], ...]
    more: int
    label: str
    effect: str


def both(base: str, head: str) -> str:
    """Two figures, or one where they look the same."""
    return base if base == head else f"{base} {ARROW} {head}"


def proof(side: Side) -> str:
    """How far a side is proved, and whether a replay confirmed it."""
    replay = "" if side.certificate == "not_simulated" else f", {side.certificate} in replay"
    if side.status in ("optimal", "infeasible"):
        return f"{side.status}, proved{replay}"
    if side.status == "feasible" and side.gap_ppm is not None:
        return f"feasible, within {numbers.tenth_percent(side.gap_ppm)} of the best possible{replay}"
    return f"{side.status}, not proved{replay}"


def counted(count: int, word: str) -> str:
    """A number of things."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def headline(document: Diff) -> Headline:
    """Direction, amount, percent, old and new."""
    cost, currency = document.cost_per_month, document.currency
    name = document.head.name
    if document.equal:
        return Headline(f"{name}: ", "", _equal(document))
    if cost.base is None and cost.head is None:
        return Headline(f"{name}: ", "", f"neither side has a plan ({proof(document.head)})")
    if cost.head is None:
        before = numbers.money(cost.base or "0", currency)
        return Headline(f"{name} has ", "no plan", f" ({proof(document.head)}); the base costs {before} / month")
    after = numbers.money(cost.head, currency)
    if cost.base is None or cost.change is None:
        return Headline(
            f"{name} has a plan again: ", f"{after} / month", f"; the base had none ({proof(document.base)})"
        )
    if Fraction(cost.change) == 0:
        return Headline(f"{name} costs ", "the same", f", {after} / month; what runs or what it risks differs")
    percent = f" ({numbers.signed_percent(cost.percent_ppm)})" if cost.percent_ppm is not None else ""
    amount = f"{numbers.signed_money(cost.change, currency)} / month{percent}"
    return Headline(f"{name} costs ", amount, f": {numbers.money(cost.base, currency)} {ARROW} {after}")


def _equal(document: Diff) -> str:
    """The one line of two plans that do the same, with what is worth knowing beside it."""
    text = "no change in cost, GPUs or SLO margins"
    if document.cost_per_month.head is None:
        text = f"no change: both sides are without a plan ({proof(document.head)})"
    parts = [text]
    if document.edits:
        parts.append(f"{counted(len(document.edits), 'edit')} without effect")
    if document.drift:
        parts.append("other inputs changed without effect: " + ", ".join(row.kind for row in document.drift))
    over = [row.name for row in document.guardrails if row.crossed == "already"]
    if over:
        parts.append(f"already above before: {', '.join(over)}")
    return "; ".join(parts)


def budget_line(document: Diff) -> str:
    """Where the monthly budget stands after the change; empty without a budget."""
    budget, currency = document.budget, document.currency
    if budget.base_limit is None and budget.head_limit is None:
        return ""
    limits = [
        _whole(limit, currency) if limit is not None else "none" for limit in (budget.base_limit, budget.head_limit)
    ]
    shares = [
        numbers.percent(share) if share is not None else NONE
        for share in (budget.base_share_ppm, budget.head_share_ppm)
    ]
    if budget.head_share_ppm is None:
        return (
            f"Budget {both(*limits)}: {shares[0]} used by the base" if shares[0] != NONE else f"Budget {both(*limits)}"
        )
    return f"Budget {both(*limits)}: {both(*shares)} used"


def _whole(amount: str, currency: str) -> str:
    return numbers.quantity(Fraction(amount), currency, currency)


def guardrail_text(row: GuardrailResult) -> str:
    """A guardrail with its threshold and what the change makes of it."""
    if row.unit == "ppm":
        limit = numbers.exact_percent(int(row.threshold))
        values = [None if each is None else numbers.tenth_percent(int(each)) for each in (row.base, row.head)]
    else:
        limit = numbers.money(row.threshold, row.unit)
        values = [None if each is None else numbers.money(each, row.unit) for each in (row.base, row.head)]
    what = {"change_above": "change", "budget_above": "budget used", "cost_above": "cost"}[row.kind]
    if row.kind == "change_above":
        values[0] = values[1]
    shown = f" ({both(values[0] or NONE, values[1])})" if values[1] is not None else ""
    dropped = ", removed or loosened by this change" if row.side == "base" else ""
    message = f": {row.message}" if row.message else ""
    return f"{row.name}, {what} above {limit}{shown}{dropped}{message}"


def guardrails(document: Diff, crossed: str) -> list[GuardrailResult]:
    """The guardrails that this change crosses, that were crossed before, or that cannot be judged."""
    return [row for row in document.guardrails if row.crossed == crossed]


def guardrail_lines(document: Diff) -> list[tuple[str, str]]:
    """(how it stands, what it says): crossed by this change first."""
    words = {
        "by_this_change": "needs a reviewer",
        "already": "already crossed before",
        "unknown": "cannot be judged without a plan",
    }
    return [(word, guardrail_text(row)) for key, word in words.items() for row in guardrails(document, key)]


def causes(document: Diff) -> list[Cause]:
    """Each edit with its effect alone, what they do together beyond that, and what the scenario did not do."""
    by_path = {edit.path: edit for edit in document.edits}
    currency, rows = document.currency, []
    for row in document.attribution:
        known = [by_path[path] for path in row.paths if path in by_path]
        named = tuple((e.path, _written(e.before), _written(e.after), _file_name(e.place)) for e in known[:MOST_PATHS])
        label = "" if named else ", ".join(row.paths[:MOST_PATHS])
        effect = NONE if row.infeasible is None else _no_plan(row.infeasible, document)
        if row.effect_per_month is not None:
            effect = numbers.signed_money(row.effect_per_month, currency) + ("" if row.proved else " (not proved)")
        rows.append(Cause(named, len(row.paths) - (len(named) or min(MOST_PATHS, len(row.paths))), label, effect))
    explained = {path for row in document.attribution for path in row.paths}
    for edit in document.edits:
        if edit.path not in explained:
            each = (edit.path, _written(edit.before), _written(edit.after), _file_name(edit.place))
            rows.append(Cause((each,), 0, "", "not solved alone" if not document.equal else "none"))
    rest = document.interaction_per_month
    if rest is not None and Fraction(rest) != 0:
        rows.append(Cause((), 0, "together, beyond the sum of each alone", numbers.signed_money(rest, currency)))
    return [*rows, *_drift(document)]


def _no_plan(reason: str, document: Diff) -> str:
    """Why an edit alone has no plan; what stands in the head's way is said there."""
    known = {text for each in document.new_conflicts for text in (each.message, f"{each.path}: {each.message}")}
    return "no plan with it alone" + ("" if reason in known else f": {reason}")


def _drift(document: Diff) -> Iterable[Cause]:
    """Inputs other than the scenario, apart."""
    for row in document.drift:
        effect = NONE if row.effect_per_month is None else numbers.signed_money(row.effect_per_month, document.currency)
        versions = both(short_version(row.base), short_version(row.head))
        yield Cause((), 0, f"inputs other than the scenario: {row.kind} {row.subject} {versions}", effect)
    if document.drift and document.drift_per_month is not None:
        if len(document.drift) == 1 and document.drift[0].effect_per_month == document.drift_per_month:
            return
        effect = numbers.signed_money(document.drift_per_month, document.currency)
        yield Cause((), 0, "inputs other than the scenario, in all", effect)


def _written(value: str | None) -> str:
    return "not set" if value is None else value


def _file_name(place: str) -> str:
    return place.replace("\\", "/").rpartition("/")[2]


def short_version(text: str) -> str:
    """A version with a hash cut to seven digits.

    >>> short_version("2026-11-22/13df1d592aa4576e87dd8d1a39e1cd89ce056dfaa0e9095c4415242ac1a1d56c")
    '2026-11-22/13df1d5'
    """
    head, _, tail = text.rpartition("/")
    is_hash = len(tail) >= 40 and all(char in "0123456789abcdef" for char in tail)
    return f"{head}/{tail[:7]}" if head and is_hash else text


def provenance(document: Diff) -> list[str]:
    """Proof, catalog, version and which plans, for the footer; where the sides differ, both."""
    base, head = document.base, document.head
    return [
        both(proof(base), proof(head)),
        f"catalog {both(short_version(base.catalog), short_version(head.catalog))}",
        f"kvplan {both(base.kvplan, head.kvplan)}",
        f"plans {both(base.hash.removeprefix('sha256:')[:7], head.hash.removeprefix('sha256:')[:7])}",
    ]


def cause_text(cause: Cause) -> str:
    """The edits of a cause as plain text."""
    parts = [f"{path} {before} {ARROW} {after}" for path, before, after, _ in cause.edits] or [cause.label]
    return "; ".join(parts) + (f"; and {cause.more} more" if cause.more else "")


def cause_places(cause: Cause) -> str:
    """The lines of a cause."""
    return ", ".join(dict.fromkeys(place for _, _, _, place in cause.edits if place))
