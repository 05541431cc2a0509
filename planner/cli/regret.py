"""`kvplan regret`: the fleets for several scenarios, each under all of them."""

from __future__ import annotations

import click

from planner.cli.diff import clear_progress, progress_for
from planner.cli.inputs import files_of_side
from planner.cli.output import check_target, say, width, write_whole
from planner.cli.solve import finite


@click.command(short_help="Which fleet to buy when any of several scenarios may come.")
@click.argument("file", type=click.Path(), metavar="FILE")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="Override a value in every scenario.")
@click.option("--format", "form", type=click.Choice(["table", "json", "md", "csv"]), default="table", show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write the document to a file.")
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
def regret(
    file: str,
    names: tuple[str, ...],
    sets: tuple[str, ...],
    form: str,
    output: str | None,
    time_limit: float,
    quiet: bool,
) -> None:
    """Plan for a scenario as written and with each NAMEd what_if block, and judge each fleet under all of them.

    Without NAMEs every block of the file is taken. Where a fleet keeps its promises the table says what it costs
    above the best fleet for that scenario; where it does not, what breaks. The choice regrets least at worst.

    \b
    Examples:
      kvplan regret scenarios/prod.yaml double-chat no-compression
      kvplan regret scenarios/prod.yaml --format csv -o regret.csv
    """
    from planner import pipeline
    from planner.report.regret import regret_csv, regret_json, regret_markdown, regret_text
    from planner.sweep.regret import regret as compare

    if not names:
        names = pipeline.load(file, sets).what_if
    if not names:
        raise click.UsageError("the file has no what_if blocks; add one, such as busy: {traffic.chat.peak: 36 req/s}")
    if output is not None:
        check_target(output, files_of_side(file))
    document = compare(file, names, sets, pipeline.Options(time_limit, progress=progress_for(quiet)))
    clear_progress()
    if form == "table":
        text = regret_text(document, width())
    else:
        text = {"json": regret_json, "md": regret_markdown, "csv": regret_csv}[form](document)
    if output is None:
        say(text)
    else:
        write_whole(output, text)
