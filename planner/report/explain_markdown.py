"""The answer of `kvplan explain` as Markdown, for a comment or a ticket."""

from __future__ import annotations

from planner.explain.types import Answer
from planner.report import numbers
from planner.report.escape import code, escape
from planner.report.explain import changes, counted, told
from planner.report.explain_plan import plan_markdown


def explain_markdown(answer: Answer) -> str:
    """The whole document."""
    parts = [f"### kvplan explain: {escape(answer.name)} is **{answer.status}** {counted(answer)}".rstrip()]
    for number, conflict in enumerate(answer.conflicts, start=1):
        rows = [f"| {code(line.path)} | {escape(line.value)} | {escape(line.place)} |" for line in conflict.lines]
        head = [f"| conflict {number} | value | written |", "| --- | --- | --- |"]
        parts.append("\n".join([*head, *rows]))
        parts += [escape(text, len(text)) for text in told(conflict)]
    if answer.repairs:
        rows = ["| repair | change | per month | |", "| --- | --- | ---: | --- |"]
        for repair in answer.repairs:
            cost = numbers.money(repair.cost_per_month, answer.currency) if repair.cost_per_month else ""
            text = "<br>".join(code(each) for each in changes(repair)) or "none"
            rows.append(f"| {repair.family} | {text} | {escape(cost)} | {escape(repair.text)} |")
        parts.append("\n".join(rows))
    parts += plan_markdown(answer)
    parts += [escape(text, len(text)) for text in answer.notes]
    parts += [f"Not finished: {escape(text)}" for text in answer.unfinished]
    return "\n\n".join(parts) + "\n"
