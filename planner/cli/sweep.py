"""`kvplan sweep`: a grid of scenarios, one row a plan."""

from __future__ import annotations

import sys

import click

from planner.cli.inputs import files_of
from planner.cli.output import check_target, say, width, write_whole
from planner.cli.solve import finite, show_progress


@click.command(short_help="Plans over a grid of values.")
@click.argument("file", type=click.Path(), metavar="FILE")
@click.option("--vary", "vary", multiple=True, required=True, metavar="PATH=V1,V2", help="A line and its values.")
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="Override a value in every plan.")
@click.option("--what-if", "what_if", multiple=True, metavar="NAME", help="Apply a what_if block in every plan.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write the document to a file instead.")
@click.option("--jobs", type=click.IntRange(min=1, max=256), help="Processes; the default is one a processor.")
@click.option("--max-plans", type=click.IntRange(min=1), default=200, show_default=True, help="Refuse larger grids.")
@click.option(
    "--time-limit",
    default=300.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    callback=finite,
    help="For each plan.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
def sweep(
    file: str,
    vary: tuple[str, ...],
    sets: tuple[str, ...],
    what_if: tuple[str, ...],
    form: str,
    output: str | None,
    jobs: int | None,
    max_plans: int,
    time_limit: float,
    quiet: bool,
) -> None:
    """Solve every combination of the given values and show one row a plan.

    The last --vary runs fastest. Commas inside brackets belong to a value.

    \b
    Examples:
      kvplan sweep scenarios/prod.yaml --vary "traffic.chat.peak=18 req/s,24 req/s,36 req/s"
      kvplan sweep scenarios/prod.yaml --vary "reserve.spare={nodes: 0},{nodes: 1}" --format csv -o grid.csv
    """
    from planner.sweep import executors, grid

    axes = grid.parse_axes(vary)
    if grid.plans(axes) > max_plans:
        sizes = " x ".join(str(len(axis.values)) for axis in axes)
        message = f"{sizes} is {grid.plans(axes):,} plans; leave out values, or allow them with --max-plans"
        raise click.UsageError(message)
    if output is not None:
        from planner import pipeline

        scenario = pipeline.load(file, sets, what_if)
        check_target(output, files_of(scenario, file))
    on_terminal = sys.stderr.isatty()
    done = executors.run_sweep(
        file,
        axes,
        sets,
        what_if,
        jobs=jobs or executors.default_jobs(),
        time_limit_s=time_limit,
        progress=show_progress if on_terminal and not quiet else None,
    )
    if on_terminal:
        click.echo("\r\x1b[2K", nl=False, err=True)
    from planner.report.sweep import sweep_csv, sweep_json, sweep_text

    text = {"csv": sweep_csv, "json": sweep_json}[form](done) if form != "table" else sweep_text(done, width())
    if output is not None:
        write_whole(output, text)
    else:
        say(text)
