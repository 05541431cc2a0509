"""`kvplan validate`: is the file right? No solver, no physics."""

from __future__ import annotations

import click

from planner.cli.output import EXIT_INPUT, EXIT_OK, say
from planner.errors import Diagnostic, InputError


@click.command(short_help="Schema, units and references, every mistake at once.")
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="Override a value, as in `solve`.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "github"]),
    default="table",
    show_default=True,
    help="`github` marks each mistake at its line in a pull request.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing when all is well.")
def validate(files: tuple[str, ...], sets: tuple[str, ...], form: str, quiet: bool) -> int:
    """Check schema, units and references of scenarios, with all their mistakes at once.

    \b
    Examples:
      kvplan validate scenarios/*.yaml
      kvplan validate --format github scenarios/*.yaml
    """
    from planner import pipeline

    problems: list[Diagnostic] = []
    lines: list[str] = []
    for file in files:
        try:
            scenario = pipeline.load(file, sets)
        except InputError as error:
            problems.extend(error.diagnostics)
            continue
        counts = (
            (len(scenario.models), "model"),
            (len(scenario.traffic), "traffic class"),
            (len(scenario.inventory), "pool"),
            (len(scenario.what_if), "what-if block"),
        )
        lines.append(f"{file}: ok ({', '.join(_count(n, word) for n, word in counts)})")
    if not quiet:
        for line in lines:
            say(line)
    if problems and form == "github":
        from planner.report.diff_github import diagnostics_github

        say(diagnostics_github(InputError(problems).diagnostics))
        return EXIT_INPUT
    if problems:
        raise InputError(problems)
    return EXIT_OK


def _count(number: int, word: str) -> str:
    plural = "es" if word.endswith("s") else "s"
    return f"{number} {word}{'' if number == 1 else plural}"
