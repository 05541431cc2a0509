"""`kvplan explain`: why there is no plan and what would give one; why a plan is as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from planner.cli.diff import clear_progress, progress_for
from planner.cli.inputs import files_of_side
from planner.cli.output import EXIT_NO_PLAN, EXIT_OK, check_target, say, width, write_whole
from planner.cli.solve import finite

if TYPE_CHECKING:
    from planner.explain.types import Answer

FORMATS = ("table", "json", "md", "csv")


@click.command(short_help="Why there is no plan, and what would give one.")
@click.argument("file", type=click.Path(), metavar="FILE|PLAN")
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="Override a value; `*` matches one level.")
@click.option("--what-if", "what_if", multiple=True, metavar="NAME", help="Apply a what_if block of the file.")
@click.option("--conflicts", default=5, show_default=True, type=click.IntRange(1, 100), help="Most conflicts to find.")
@click.option("--all", "every", is_flag=True, help="Every line and step of a plan, not only the likely ones.")
@click.option("--why", multiple=True, metavar="PATH", help="Why the plan has this, as deployments.NAME.kv_preset.")
@click.option("--why-not", multiple=True, metavar="PATH=VALUE", help="What the plan would be with this instead.")
@click.option("--frontier", metavar="cost,AXIS", help="Cost against quality_loss, gpus, spare, tpot or ttft.")
@click.option("--alternatives", type=click.IntRange(1, 20), metavar="K", help="The best plans that run something else.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write the document to a file.")
@click.option(
    "--time-limit",
    default=30.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    callback=finite,
    help="For everything together; what was not finished is said.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
def explain(
    file: str,
    sets: tuple[str, ...],
    what_if: tuple[str, ...],
    conflicts: int,
    every: bool,
    why: tuple[str, ...],
    why_not: tuple[str, ...],
    frontier: str | None,
    alternatives: int | None,
    form: str,
    output: str | None,
    time_limit: float,
    quiet: bool,
) -> int:
    """Say which lines of a scenario cannot stand together, and the least changes that give a plan.

    A conflict is a smallest set of lines without a plan. A repair changes lines of one kind alone; it is planned again
    and given as what to `--set`.

    With a plan: the lines that bind, without which it would cost less, and what one more node, request, millisecond or
    point of each line is worth, each by planning again. Particular questions (--why and the others) are answered alone.

    \b
    Examples:
      kvplan explain scenarios/prod.yaml --set "traffic.chat.peak=60 req/s"
      kvplan explain plan.json --format json -o reasons.json
      kvplan explain plan.json --why deployments.assistant.kv_preset
      kvplan explain plan.json --why-not assistant.context_limit=16Ki
      kvplan explain scenarios/prod.yaml --frontier cost,quality_loss -o frontier.svg
      kvplan explain scenarios/prod.yaml --alternatives 3
    """
    from planner.explain.hangs import About
    from planner.explain.session import Question, explain

    if output is not None:
        check_target(output, files_of_side(file))
    drawn = output is not None and output.endswith(".svg")
    if frontier is None and (drawn or form == "csv"):
        raise click.UsageError("pictures and --format csv show a frontier; add --frontier cost,AXIS")
    about = About(every, why, why_not, frontier, alternatives or 0)
    question = Question(conflicts, time_limit, about)
    answer = explain(file, question, sets, what_if, progress_for(quiet) or (lambda _: None))
    clear_progress()
    text = rendered(answer, "svg" if drawn else form)
    if output is None:
        say(text)
    else:
        write_whole(output, text)
    return EXIT_NO_PLAN if answer.status == "unknown" else EXIT_OK


def rendered(answer: Answer, form: str) -> str:
    """The document in a format."""
    if form == "json":
        from planner.report.explain_json import explain_json

        return explain_json(answer)
    if form in ("csv", "svg"):
        return _of_frontier(answer, form)
    if form == "md":
        from planner.report.explain_markdown import explain_markdown

        return explain_markdown(answer)
    from planner.report.explain import explain_text

    return explain_text(answer, width())


def _of_frontier(answer: Answer, form: str) -> str:
    """The frontier alone: as rows, or as a picture.

    Raises:
        click.ClickException: there is none, since the scenario has no plan.
    """
    from planner.report.frontier import frontier_csv, frontier_svg

    if answer.frontier is None:
        raise click.ClickException(
            f"{answer.name} has no proved plan, so there is no frontier; --format table says why"
        )
    return (frontier_csv if form == "csv" else frontier_svg)(answer.frontier, answer)
