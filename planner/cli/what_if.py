"""`kvplan what-if`: a scenario against itself with overrides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from planner.cli.diff import FORMATS, clear_progress, deliver, progress_for
from planner.cli.inputs import files_of_side
from planner.cli.output import EXIT_OK, check_target, write_whole
from planner.cli.solve import finite

if TYPE_CHECKING:
    from planner.plan.diff_types import Diff, WhatIf


@click.command("what-if", short_help="A scenario against itself with overrides.")
@click.argument("file", type=click.Path(), metavar="FILE")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="Override a value; `*` matches one level.")
@click.option("--all", "every", is_flag=True, help="Every what_if block of the file.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write the document to a file.")
@click.option("--skip-no-diff", is_flag=True, help="Print nothing when no case changes the plan.")
@click.option("--no-attribution", is_flag=True, help="Do not solve each override again alone.")
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
def what_if(
    file: str,
    names: tuple[str, ...],
    sets: tuple[str, ...],
    every: bool,
    form: str,
    output: str | None,
    skip_no_diff: bool,
    no_attribution: bool,
    time_limit: float,
    quiet: bool,
    verbose: bool,
) -> int:
    """Solve a scenario as it stands and with overrides, and compare: each NAME is a what_if block of the file.

    `--set` alone is one case; beside names it holds in each of them.

    \b
    Examples:
      kvplan what-if scenarios/prod.yaml double-chat no-compression
      kvplan what-if scenarios/prod.yaml --set "traffic.chat.peak=36 req/s"
    """
    from planner import pipeline
    from planner.sweep.compare import what_if as compare

    if every:
        names = (*names, *pipeline.load(file).what_if)
    if not names and not sets:
        raise click.UsageError("name a what_if block of the file, or give --set PATH=VALUE")
    if output is not None:
        check_target(output, files_of_side(file))
    options = pipeline.Options(time_limit, progress=progress_for(quiet))
    document = compare(file, names, sets, options, attribute=not no_attribution)
    clear_progress()
    if skip_no_diff and all(each.equal for each in diffs_of(document)):
        if output is not None:
            write_whole(output, "")
        return EXIT_OK
    deliver(document, form, output, verbose=verbose)
    return EXIT_OK


def diffs_of(document: Diff | WhatIf) -> tuple[Diff, ...]:
    """The comparison of every case."""
    from planner.plan.diff_types import WhatIf

    return tuple(case.diff for case in document.cases) if isinstance(document, WhatIf) else (document,)
