"""Workflow commands of GitHub Actions: a mistake, a guardrail or an edit's effect beside the line that it is about.

Source: GitHub Docs, "Workflow commands for GitHub Actions"; the runner shows at most 10 errors, 10 warnings and 10
notices of a step, so what matters more comes first and the last notice counts the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from planner.errors import Diagnostic
from planner.plan.diff_types import Diff, WhatIf
from planner.report import diff_physical as physical
from planner.report import diff_words as words
from planner.report.escape import command_data, command_property

MOST_NOTICES = 10

Level = Literal["error", "warning", "notice"]


def diagnostics_github(diagnostics: Iterable[Diagnostic]) -> str:
    """One error a mistake, at its line and column.

    >>> diagnostics_github([Diagnostic("scenarios/prod.yaml", 38, 16, "KV210", "30 is not a rate")])
    '::error file=scenarios/prod.yaml,line=38,col=16,title=KV210::30 is not a rate\\n'
    """
    return "".join(_command("error", d.message, d.code, d.file, d.line, d.col) for d in diagnostics)


def diff_github(document: Diff | WhatIf, *, skip_no_diff: bool = False) -> str:
    """Guardrails that this change crosses as warnings, a head without a plan as errors, the sentence, then each edit's
    effect at its line."""
    if isinstance(document, WhatIf):
        return "".join(_sentence(case.diff, case.name) for case in document.cases)
    if document.equal:
        return "" if skip_no_diff else _sentence(document)
    edits = _edits(document)
    kept = edits if len(edits) < MOST_NOTICES else edits[: MOST_NOTICES - 2]
    rest = len(edits) - len(kept)
    more = _command("notice", f"and {rest:,} more edits", _title(document)) if rest else ""
    return "".join([*_errors(document), *_warnings(document), _sentence(document), *kept, more])


def _title(document: Diff) -> str:
    return f"kvplan {document.head.name}"


def _sentence(document: Diff, name: str = "") -> str:
    lines = [words.headline(document).text()]
    if not document.equal:
        lines += [words.budget_line(document), physical.rollout_line(document)]
    text = "; ".join(line for line in lines if line)
    return _command("notice", f"{name}: {text}" if name else text, _title(document))


def _errors(document: Diff) -> list[str]:
    file = _file(document)
    return [
        _command("error", f"{c.path}: {c.message}{f'; enough: {c.repair}' if c.repair else ''}", _title(document), file)
        for c in document.new_conflicts
    ]


def _warnings(document: Diff) -> list[str]:
    """Guardrails that need someone, at the head's file."""
    file = _file(document)
    found = []
    for key, word in (("by_this_change", "needs a reviewer"), ("unknown", "cannot be judged without a plan")):
        for row in words.guardrails(document, key):
            found.append(_command("warning", f"{words.guardrail_text(row)} [{word}]", f"guardrail {row.name}", file))
    found += [_command("warning", note, _title(document), file) for note in document.notes]
    return found


def _edits(document: Diff) -> list[str]:
    found = []
    for cause in words.causes(document):
        places = [place for place in (edit.place for edit in document.edits if _is_first(cause, edit.path)) if place]
        file, _, line = places[0].rpartition(":") if places else ("", "", "")
        text = f"{words.cause_text(cause)}: {cause.effect}{' / month' if cause.effect[-1:].isdigit() else ''}"
        number = int(line) if line.isascii() and line.isdigit() and len(line) < 10 else 0
        found.append(_command("notice", text, "kvplan: effect on the cost", file, number))
    return found


def _is_first(cause: words.Cause, path: str) -> bool:
    return bool(cause.edits) and cause.edits[0][0] == path


def _file(document: Diff) -> str:
    return document.head.label if document.head.kind == "scenario" else ""


def _command(level: Level, message: str, title: str, file: str = "", line: int = 0, col: int = 0) -> str:
    """One command on one line; what is not known is left out. Flags and git revisions are no files."""
    is_file = bool(file) and not file.startswith("-")
    known = (
        ("file", file if is_file else ""),
        ("line", str(line) if is_file and line else ""),
        ("col", str(col) if is_file and line and col else ""),
        ("title", title),
    )
    properties = ",".join(f"{name}={command_property(value)}" for name, value in known if value)
    return f"::{level} {properties}::{command_data(message)}\n"
