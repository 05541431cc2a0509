"""`kvplan report`: a plan or a diff as a page, a text or a spreadsheet."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import TYPE_CHECKING

import click

from planner.cli.inputs import files_of_plan
from planner.cli.output import check_target, say, write_whole

if TYPE_CHECKING:
    from planner.plan.diff_types import Diff, WhatIf
    from planner.plan.types import Plan
    from planner.report.html.plan_presets import Alternative

HTML_NEEDS = ("altair", "vl_convert", "jinja2")


@click.command(short_help="A plan or diff as a page, Markdown or CSV.")
@click.argument("document", type=click.Path(), metavar="PLAN|DIFF")
@click.option("--format", "form", type=click.Choice(["html", "md", "csv"]), default="html", show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write to a file instead of standard output.")
@click.option(
    "--as-of", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD", help="Day to which prices are aged.  [today]"
)
@click.option("--solve-presets", is_flag=True, help="Solve the plan's scenario once for each KV preset, for its plot.")
@click.option(
    "--time-limit", default=300.0, show_default=True, type=click.FloatRange(min=0.1), metavar="SECONDS",
    help="For each of these solves.",
)  # fmt: skip
def report(
    document: str, form: str, output: str | None, as_of: datetime | None, solve_presets: bool, time_limit: float
) -> None:
    """Show a plan, or what `kvplan diff --format json` wrote, as one page that works offline.

    \b
    Examples:
      kvplan report plan.json -o plan.html
      kvplan report diff.json --format md
    """
    from planner.plan.diff_io import is_diff, parse_diff
    from planner.plan.io import parse, read_tree

    if form == "html":
        _need_extra()
    if solve_presets and form != "html":
        raise click.UsageError("--solve-presets draws a plot: it goes with --format html only")
    if output is not None:
        check_target(output, {document})
    tree = read_tree(document)
    if is_diff(tree):
        if solve_presets:
            raise click.UsageError("--solve-presets takes a plan, not a diff")
        text = _of_diff(parse_diff(tree, document), form)
    else:
        plan = parse(tree, document)
        if output is not None:
            check_target(output, files_of_plan(plan))
        other = _each_preset(plan, time_limit) if solve_presets else ()
        text = _of_plan(plan, form, as_of.date() if as_of else date.today(), other)
    if output is not None:
        write_whole(output, text)
    else:
        say(text)


def _need_extra() -> None:
    from importlib.util import find_spec

    missing = [name.replace("_", "-") for name in HTML_NEEDS if find_spec(name) is None]
    if missing:
        message = f"HTML pages need {', '.join(missing)}: pip install 'kvplan[report]'; md and csv work without"
        raise click.ClickException(message)


def _of_plan(plan: Plan, form: str, as_of: date, alternatives: tuple[Alternative, ...]) -> str:
    if form == "md":
        from planner.report.plan_markdown import plan_markdown

        return plan_markdown(plan)
    if form == "csv":
        from planner.report.plan_csv import plan_csv

        return plan_csv(plan)
    from planner.report.html.plan_page import View, plan_page
    from planner.report.html.render import render

    return render(lambda most: plan_page(plan, View(as_of, most, alternatives)))


def _of_diff(document: Diff | WhatIf, form: str) -> str:
    from planner.plan.diff_types import WhatIf

    if form == "csv":
        from planner.report.diff_csv import diff_csv

        return diff_csv(document)
    if form == "md":
        from planner.report.diff_markdown import diff_markdown

        return diff_markdown(document)
    from planner.report.html.diff_page import diff_page, what_if_page
    from planner.report.html.render import render

    if isinstance(document, WhatIf):
        return render(lambda most: what_if_page(document, most))
    return render(lambda most: diff_page(document, most))


def _each_preset(plan: Plan, time_limit_s: float) -> tuple[Alternative, ...]:
    """The plan's scenario solved once for each preset that it lists, in the order in which they are listed."""
    from planner import pipeline
    from planner.report.html.plan_presets import Alternative, worst_loss_ppm

    scenario = plan.scenario
    presets = dict.fromkeys(preset for model in scenario.models.values() for preset in model.kv_presets)
    rows = []
    for preset in presets:
        models = {
            name: replace(model, kv_presets=(preset,)) if preset in model.kv_presets else model
            for name, model in scenario.models.items()
        }
        found = pipeline.plan(replace(scenario, models=models), pipeline.Options(time_limit_s), plan.run.file)
        totals = found.totals
        rows.append(
            Alternative(
                preset=preset,
                status=found.status,
                cost_per_month=totals.cost_per_month if totals else None,
                gpus=totals.gpus if totals else None,
                loss_ppm=worst_loss_ppm(found),
                reason="; ".join(conflict.message for conflict in found.conflicts[:1]),
            )
        )
    return tuple(rows)
