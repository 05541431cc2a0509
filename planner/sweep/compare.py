"""Comparisons that solve: `diff` of two sides and `what_if` of one file.

from planner.sweep.compare import diff, what_if
document = diff("main:scenarios/prod.yaml", "scenarios/prod.yaml")
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from planner import pipeline
from planner.plan.diff import diff_plans, same_outcome, side_of
from planner.plan.diff_types import DIFF_FORMAT_VERSION, Diff, WhatIf, WhatIfCase
from planner.plan.types import Plan
from planner.scenario.types import Scenario
from planner.sweep.attribution import Solve, explain
from planner.sweep.sides import Opened, open_side


def diff(
    base: str, head: str, options: pipeline.Options | None = None, *, attribute: bool = True, command: str = ""
) -> Diff:
    """The diff of two sides: each a plan document, a scenario file, or either of them as `REF:path` from git.

    Args:
        base: what is compared with.
        head: what is proposed.
        options: how each solve runs; the time limit is for each.
        attribute: whether each edit is solved again alone.
        command: how to reproduce it, for the document.

    Raises:
        InputError: every mistake in a side.
    """
    solve, alone = _solvers(options or pipeline.Options())
    command = command or shlex.join(["kvplan", "diff", base, head])
    with tempfile.TemporaryDirectory(prefix="kvplan-") as folder:
        sides = open_side(base, Path(folder, "base")), open_side(head, Path(folder, "head"))
        old = _planned(sides[0], solve, "base")
        new = old if _same(*sides) else _planned(sides[1], solve, "head")
        return _compared(sides, (old, new), alone if attribute else None, command)


def what_if(
    file: str,
    names: Sequence[str] = (),
    sets: Sequence[str] = (),
    options: pipeline.Options | None = None,
    *,
    attribute: bool = True,
    command: str = "",
) -> Diff | WhatIf:
    """A scenario against itself with overrides: one case for each named block, each with `sets` on top; without names
    one case with `sets`. One case is a diff, several are a what-if.

    Raises:
        InputError: every mistake in the file, its blocks or the overrides.
    """
    solve, alone = _solvers(options or pipeline.Options())
    flags = [word for text in sets for word in ("--set", text)]
    cases: list[tuple[tuple[str, ...], str]] = [((name,), name) for name in dict.fromkeys(names)] or [
        ((), ", ".join(sets))
    ]
    with tempfile.TemporaryDirectory(prefix="kvplan-") as folder:
        base = open_side(file, Path(folder, "base"))
        opened = [open_side(file, Path(folder, str(k)), sets, blocks) for k, (blocks, _) in enumerate(cases)]
        plan = _planned(base, solve, "base")
        found = []
        for (blocks, name), side in zip(cases, opened, strict=True):
            head = replace(side, label=f"{file} with {name}")
            own = shlex.join(["kvplan", "what-if", file, *blocks, *flags])
            document = _compared((base, head), (plan, _planned(head, solve, name)), alone if attribute else None, own)
            found.append(WhatIfCase(name, (*blocks, *sets), document))
    if len(found) == 1:
        return replace(found[0].diff, command=command) if command else found[0].diff
    whole = command or shlex.join(["kvplan", "what-if", file, *names, *flags])
    return WhatIf(DIFF_FORMAT_VERSION, found[0].diff.base, tuple(found), whole)


def _same(base: Opened, head: Opened) -> bool:
    """Whether both sides are the same scenario, which need not be solved twice."""
    return base.plan is None and head.plan is None and base.scenario == head.scenario


def _solvers(options: pipeline.Options) -> tuple[Solve, Solve]:
    """Solves sides whole, and single edits without a judgement of the running fleet: only their cost is asked."""
    return _solver(options), _solver(replace(options, judge_fleet=False))


def _solver(options: pipeline.Options) -> Solve:
    """Solves with the options; progress says for whom."""

    def solve(scenario: Scenario, name: str) -> Plan:
        progress = options.progress
        own = replace(options, progress=lambda line: progress(f"{name}: {line}")) if progress else options
        return pipeline.plan(scenario, own)

    return solve


def _planned(side: Opened, solve: Solve, name: str) -> Plan:
    if side.plan is not None:
        return side.plan
    plan = solve(side.scenario, name)
    return replace(plan, run=replace(plan.run, file=side.label))


def _compared(sides: tuple[Opened, Opened], plans: tuple[Plan, Plan], solve: Solve | None, command: str) -> Diff:
    equal = same_outcome(*plans)
    explained = explain(*sides, plans, None if equal else solve)
    shown = tuple(side_of(plan, side.label, side.kind) for side, plan in zip(sides, plans, strict=True))
    return diff_plans(*plans, (shown[0], shown[1]), explained, command)
