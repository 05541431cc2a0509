"""`kvplan diff`: two plans side by side, for a terminal, a pull request or a program."""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING

import click

from planner.cli.inputs import files_of_side
from planner.cli.output import EXIT_GUARDRAIL, EXIT_OK, check_target, say, say_error, width, write_whole
from planner.cli.solve import finite, show_progress

if TYPE_CHECKING:
    from planner.plan.diff_types import Diff, WhatIf

EXIT_DIFFERENT = 10

FORMATS = ("table", "json", "md", "github")
FAILURES = ("guardrails", "increase", "infeasible", "unproved")


@click.command(short_help="What a change costs, what caused it, what it risks.")
@click.argument("base", metavar="BASE")
@click.argument("head", metavar="HEAD")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write the document to a file.")
@click.option(
    "--fail-on",
    multiple=True,
    type=click.Choice(FAILURES),
    help="Exit 5 when a guardrail is crossed, the cost rises, the head has no plan, or it is not proved.",
)
@click.option("--exit-code", is_flag=True, help="Exit 10 when the plans differ.")
@click.option("--skip-no-diff", is_flag=True, help="Print nothing when the plans are equal.")
@click.option("--no-attribution", is_flag=True, help="Do not solve each edit again alone.")
@click.option(
    "--time-limit",
    default=300.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    callback=finite,
    help="For each solve.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
@click.option("-v", "--verbose", is_flag=True, help="Every margin, every deployment.")
def diff(
    base: str,
    head: str,
    form: str,
    output: str | None,
    fail_on: tuple[str, ...],
    exit_code: bool,
    skip_no_diff: bool,
    no_attribution: bool,
    time_limit: float,
    quiet: bool,
    verbose: bool,
) -> int:
    """Compare two plans: money, GPUs, promises, the edits that caused the change, and the guardrails it crosses.

    Each side is a plan document, a scenario (solved here), or either of them in a git revision, as REF:path.

    \b
    Examples:
      kvplan diff main:scenarios/prod.yaml scenarios/prod.yaml
      kvplan diff plan-before.json plan-after.json --format md -o comment.md --fail-on guardrails
    """
    from planner import pipeline
    from planner.sweep.compare import diff as compare

    if output is not None:
        check_target(output, files_of_side(base) | files_of_side(head))
    options = pipeline.Options(time_limit, progress=progress_for(quiet))
    document = compare(base, head, options, attribute=not no_attribution)
    clear_progress()
    if not (skip_no_diff and document.equal):
        deliver(document, form, output, verbose=verbose)
    elif output is not None:
        write_whole(output, "")
    failed = failures(document, fail_on)
    for reason in failed:
        say_error(f"kvplan: {reason}")
    if failed:
        return EXIT_GUARDRAIL
    return EXIT_DIFFERENT if exit_code and not document.equal else EXIT_OK


def progress_for(quiet: bool) -> Callable[[str], None] | None:
    """What takes progress lines: stderr, where someone reads it."""
    return None if quiet or not sys.stderr.isatty() else show_progress


def clear_progress() -> None:
    """Removes the last progress line."""
    if sys.stderr.isatty():
        click.echo("\r\x1b[2K", nl=False, err=True)


def deliver(document: Diff | WhatIf, form: str, output: str | None, *, verbose: bool = False) -> None:
    """The document in a format, to a file or to stdout."""
    text = rendered(document, form, verbose=verbose)
    if output is None:
        say(text)
    else:
        write_whole(output, text if text.endswith("\n") else f"{text}\n")


def rendered(document: Diff | WhatIf, form: str, *, verbose: bool = False) -> str:
    """The document in a format."""
    if form == "json":
        from planner.plan.diff_io import diff_json

        return diff_json(document)
    if form == "md":
        from planner.report.diff_markdown import diff_markdown

        return diff_markdown(document)
    if form == "github":
        from planner.report.diff_github import diff_github

        return diff_github(document)
    from planner.report.diff_text import diff_text

    return diff_text(document, width(), verbose=verbose)


def failures(document: Diff, fail_on: tuple[str, ...]) -> list[str]:
    """Why the command must fail, one sentence each. A guardrail that cannot be judged counts as crossed."""
    found = []
    if "guardrails" in fail_on:
        for row in document.guardrails:
            if row.crossed in ("by_this_change", "unknown"):
                what = "is crossed by this change" if row.crossed == "by_this_change" else "cannot be judged"
                found.append(f"guardrail {row.name} {what}{f': {row.message}' if row.message else ''}")
    if "increase" in fail_on and Fraction(document.cost_per_month.change or 0) > 0:
        found.append("the monthly cost rises")
    if "infeasible" in fail_on and document.head.status in ("infeasible", "unknown"):
        found.append(f"the head has no plan ({document.head.status})")
    if "unproved" in fail_on and document.head.status not in ("optimal", "infeasible"):
        found.append(f"the head is not proved optimal ({document.head.status})")
    return found
