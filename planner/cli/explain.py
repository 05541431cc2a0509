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

FORMATS = ("table", "json", "md")


@click.command(short_help="Why there is no plan, and what would give one.")
@click.argument("file", type=click.Path(), metavar="FILE|PLAN")
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="Override a value; `*` matches one level.")
@click.option("--what-if", "what_if", multiple=True, metavar="NAME", help="Apply a what_if block of the file.")
@click.option("--conflicts", default=5, show_default=True, type=click.IntRange(1, 100), help="Most conflicts to find.")
@click.option("--all", "every", is_flag=True, help="Every line and step of a plan, not only the likely ones.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write the document to a file.")
@click.option(
    "--time-limit",
    default=300.0,
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
    form: str,
    output: str | None,
    time_limit: float,
    quiet: bool,
) -> int:
    """Say which lines of a scenario cannot stand together, and the least changes that give a plan.

    A conflict is a smallest set of lines without a plan. A repair changes lines of one kind alone; it is planned again
    and given as what to `--set`.

    With a plan: the lines that bind, without which it would cost less, and what one more node, request, millisecond or
    point of each line is worth, each by planning again.

    \b
    Examples:
      kvplan explain scenarios/prod.yaml --set "traffic.chat.peak=60 req/s"
      kvplan explain plan.json --format json -o reasons.json
    """
    from planner.explain.hangs import About
    from planner.explain.session import Question, explain

    if output is not None:
        check_target(output, files_of_side(file))
    question = Question(conflicts, time_limit, About(every))
    answer = explain(file, question, sets, what_if, progress_for(quiet) or (lambda _: None))
    clear_progress()
    text = rendered(answer, form)
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
    if form == "md":
        from planner.report.explain_markdown import explain_markdown

        return explain_markdown(answer)
    from planner.report.explain import explain_text

    return explain_text(answer, width())
