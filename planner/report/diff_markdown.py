"""A diff as Markdown: a pull request comment that is found again by its first line and fits GitHub's limit.

The visible part answers a reviewer's questions in their order; full lists stand in folds. When a change is too large,
rows are left out whole, from the folds first, and a line says how many and which command shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from planner.plan.diff_types import Diff, WhatIf, WhatIfCase
from planner.report import diff_figures as figures
from planner.report import diff_physical as physical
from planner.report import diff_words as words
from planner.report.diff_figures import Row
from planner.report.diff_words import Cause
from planner.report.escape import code, escape, fenced, html_code, marker, one_line
from planner.report.fitting import Block, fit, size
from planner.report.fleet import as_is_line

GITHUB_LIMIT = 65_536
"""Characters that the body of a comment may have. Source: the error message of GitHub's API, "Body is too long
(maximum is 65536 characters)"."""

MOST_VISIBLE = 8
"""Rows of a visible list: what is longer is a wall of text, and stands in a fold."""

MOST_LINE = 1_000
"""Characters of one sentence or diff line."""


def diff_markdown(document: Diff | WhatIf, *, limit: int = GITHUB_LIMIT, skip_no_diff: bool = False) -> str:
    """The comment, shorter than `limit` characters. Equal plans are one line behind the marker, or nothing with
    `skip_no_diff`."""
    if isinstance(document, WhatIf):
        return what_if_markdown(document, limit=limit, skip_no_diff=skip_no_diff)
    if document.equal:
        return "" if skip_no_diff else f"{marker(document.head.name)}\n{_sentence(document)}\n"
    blocks = [Block(f"{marker(document.head.name)}\n### {_sentence(document)}\n\n"), *_blocks(document)]
    return fit([*blocks, Block(_footer(document))], limit - 1)


def _blocks(document: Diff) -> list[Block]:
    """Everything between the sentence and the footer. Folds come last to be filled, in place."""
    return [
        *_standing(document),
        *_table("", ("", "base", "this change", "change"), figures.overview(document, most_models=MOST_VISIBLE), ""),
        *_causes(document),
        *_conflicts(document),
        *_production(document),
        *_risks(document),
        *_do_nothing(document),
        *_folds(document),
    ]


def _shown(text: str, most: int = MOST_LINE) -> str:
    """Escaped, with a proper arrow."""
    return escape(text.replace(f" {words.ARROW} ", " → "), most)


def _sentence(document: Diff) -> str:
    head = words.headline(document)
    amount = f"**{_shown(head.amount)}**" if head.amount else ""
    start, end = (_shown(text).strip() for text in (head.start, head.end))
    colon = "" if not amount or end[:1] in (":", ";", ",") else " "
    return f"kvplan: {start} {amount}{colon}{end}"


def _standing(document: Diff) -> list[Block]:
    """Budget, guardrails and notes."""
    line = words.budget_line(document)
    budget = f"{_shown(line)}.\n\n" if line else ""
    rows = []
    for row in words.guardrails(document, "by_this_change"):
        rows.append(f"- ⚠ needs a reviewer: **{_shown(words.guardrail_text(row))}**\n")
    for key, word in (("already", "already crossed before"), ("unknown", "cannot be judged without a plan")):
        rows += [f"- {word}: {_shown(words.guardrail_text(row))}\n" for row in words.guardrails(document, key)]
    rows += [f"- {_shown(note)}\n" for note in document.notes]
    return [Block(budget, tuple(rows), "\n" if rows else "", _more("guardrails and notes"), 2 * MOST_VISIBLE)]


def _more(what: str) -> str:
    """The note about rows that are not here."""
    return f"- … and {{left}} more {what}: the command below shows all\n"


def _table(title: str, heads: Sequence[str], rows: Iterable[Row], note: str, most: int | None = None) -> list[Block]:
    """A table of what was, is and changed; nothing without rows."""
    lines = tuple(_row([_shown(cell, 240) for cell in (row.name, row.base, row.head, row.change)]) for row in rows)
    if not lines:
        return []
    before = f"{title}{_row(heads)}| --- | ---: | ---: | ---: |\n"
    return [Block(before, lines, "\n", note, most)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _table_note(what: str, columns: int) -> str:
    return _row([f"… and {{left}} more {what}", *[""] * (columns - 1)])


def _causes(document: Diff) -> list[Block]:
    rows = words.causes(document)
    if not rows:
        return []
    before = "**What caused it** (each edit solved alone)\n\n| edit | line | per month |\n| --- | --- | ---: |\n"
    lines = tuple(_row([_cause(row), _places(row), _shown(row.effect, 400)]) for row in rows)
    visible = Block(before, lines, "\n", _table_note("edits", 3), 2 * MOST_VISIBLE)
    return [visible]


def _cause(cause: Cause) -> str:
    """The edits of one row, each with what it was and is; text of users as code."""
    parts = [f"{code(path)} {code(before)} → {code(after)}" for path, before, after, _ in cause.edits]
    parts = parts or [_shown(cause.label)]
    return "<br>".join([*parts, f"and {cause.more:,} more"] if cause.more else parts)


def _places(cause: Cause) -> str:
    return "<br>".join(dict.fromkeys(_shown(place) for _, _, _, place in cause.edits if place))


def _conflicts(document: Diff) -> list[Block]:
    blocks = []
    groups = (("In the way", document.new_conflicts), ("No longer in the way", document.gone_conflicts))
    for title, conflicts in groups:
        rows = tuple(
            f"- {code(each.path)}: {_shown(each.message)}"
            + (f"; enough: {_shown(each.repair)}\n" if each.repair else "\n")
            for each in conflicts
        )
        if rows:
            blocks.append(Block(f"**{title}**\n\n", rows, "\n", "- … and {left} more\n", MOST_VISIBLE))
    return blocks


def _production(document: Diff) -> list[Block]:
    """Deployments and pools that change, and how."""
    things = [*physical.pools(document), *physical.deployments(document)]
    line = physical.rollout_line(document)
    if not things and not line:
        return []
    rows = tuple(f"- {code(thing.name)}: {_shown(thing.text)}\n" for thing in things)
    rollout = f"\nRollout: {_shown(line)}.\n" if line else ""
    note = "- … and {left} more, in the fold below\n"
    return [Block("**What changes in production**\n\n", rows, f"{rollout}\n", note, MOST_VISIBLE)]


def _risks(document: Diff) -> list[Block]:
    if not document.margins:
        return []
    rows = [figures.margin_row(row, document.currency) for row in figures.risks(document)]
    if not rows:
        return [Block("**What it risks:** no promise, floor or limit lost room that matters.\n\n")]
    heads = ("limit", "base", "this change", "free")
    note = _table_note("limits with less room, in the fold below", 4)
    return _table("**What it risks**\n\n", heads, rows, note, MOST_VISIBLE)


def _do_nothing(document: Diff) -> list[Block]:
    """The fleet that runs, left as it is under the head."""
    if document.as_is is None:
        return []
    return [Block(f"**Doing nothing:** {_shown(as_is_line(document.as_is, document.currency))}.\n\n")]


def _folds(document: Diff) -> list[Block]:
    """Steps, every margin that moved, and both plans in full."""
    steps = tuple(f"{step.order}. {_shown(step.text)}\n" for step in document.rollout)
    blocks = []
    if steps:
        blocks.append(
            _fold(f"Rollout ({words.counted(len(steps), 'step')})", "", steps, "", "\n… and {left} more steps\n")
        )
    moved = [figures.margin_row(row, document.currency) for row in figures.moved_margins(document)]
    if moved:
        heads = _row(("limit", "base", "this change", "free")) + "| --- | ---: | ---: | ---: |\n"
        rows = tuple(_row([_shown(cell, 240) for cell in (r.name, r.base, r.head, r.change)]) for r in moved)
        title = f"Room that changed ({words.counted(len(rows), 'limit')})"
        blocks.append(_fold(title, heads, rows, "", _table_note("limits", 4)))
    groups = [[one_line(line, MOST_LINE) for line in group] for group in physical.diff_lines(document)]
    if groups:
        first, last = fenced([line for group in groups for line in group], "diff")
        rows = tuple("".join(f"{line}\n" for line in group) for group in groups)
        title = f"Full plan diff ({words.counted(sum(map(len, groups)), 'line')})"
        note = " … and {left} more deployments and pools: too long for a comment\n"
        blocks.append(_fold(title, f"{first}\n", rows, f"{last}\n", note))
    return blocks


def _fold(title: str, before: str, rows: tuple[str, ...], after: str, note: str) -> Block:
    head = f"<details><summary>{title}</summary>\n\n{before}"
    return Block(head, rows, f"{after}\n</details>\n\n", note)


def _footer(document: Diff) -> str:
    parts = [_shown(part) for part in words.provenance(document)]
    return f"<sub>{' · '.join([*parts, html_code(document.command, MOST_LINE)])}</sub>\n"


def what_if_markdown(document: WhatIf, *, limit: int = GITHUB_LIMIT, skip_no_diff: bool = False) -> str:
    """One row a case, then a fold for each; the folds share what room the table leaves."""
    cases = [case for case in document.cases if not (skip_no_diff and case.diff.equal)]
    if not cases:
        return ""
    title = f"### kvplan: {_shown(document.base.name)}, {words.counted(len(cases), 'what-if')}"
    head = f"{marker(document.base.name)}\n{title}\n\n"
    heads = ("what if", "per month", "change", "GPUs", "budget used", "tightest promise")
    wanted = {case.name for case in cases}
    rows = tuple(
        _row([_shown(cell, 240) for cell in cells]) for cells in figures.case_rows(document) if cells[0] in wanted
    )
    table = Block(f"{_row(heads)}| --- | ---: | ---: | ---: | ---: | --- |\n", rows, "\n", _table_note("cases", 6))
    footer = f"<sub>{html_code(document.command, MOST_LINE)}</sub>\n"
    differing = [case for case in cases if not case.diff.equal]
    room = (limit - 1 - size(fit([Block(head), table, Block(footer)], limit // 2))) // max(1, len(differing))
    folds = tuple(_case(case, room) for case in differing)
    more = Block("", folds, "", "… and the details of {left} more cases: too long for a comment\n\n")
    return fit([Block(head), table, more, Block(footer)], limit - 1)


def _case(case: WhatIfCase, limit: int) -> str:
    """The fold of one case."""
    head = f"<details><summary>{_shown(case.name)}</summary>\n\n{_sentence(case.diff)}\n\n"
    tail = f"<sub>{html_code(case.diff.command, MOST_LINE)}</sub>\n\n</details>\n\n"
    return fit([Block(head), *_blocks(case.diff), Block(tail)], limit)
