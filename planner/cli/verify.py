"""`kvplan verify`: how right was a plan?"""

from __future__ import annotations

import sys

import click

from planner.cli.output import EXIT_GUARDRAIL, EXIT_OK, check_target, say, width, write_whole


@click.command(short_help="Hold a plan against logs and metrics.")
@click.argument("plan_file", type=click.Path(), metavar="PLAN")
@click.option(
    "--log", "logs", multiple=True, required=True, metavar="[CLASS=]FILE",
    help="Requests as they were served; a column `class`, or one file a class.",
)  # fmt: skip
@click.option(
    "--metrics", default="", metavar="FILE", help="vLLM's metrics: Prometheus text, or JSON of range queries."
)
@click.option("--format", "form", type=click.Choice(["table", "json", "md"]), default="table", show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write to a file.")
@click.option(
    "--calibration", type=click.Path(dir_okay=False), metavar="FILE",
    help="Also write the measured speeds (CSV), for `performance.measured` of a scenario.",
)  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
def verify(
    plan_file: str, logs: tuple[str, ...], metrics: str, form: str, output: str | None, calibration: str | None,
    quiet: bool,
) -> int:  # fmt: skip
    """Hold a plan against what its fleet did: what is off, by what factor, and why; exit 5 where it is.

    The requests of the log are replayed through the plan's fleet, so that load and speed are told apart.

    \b
    Examples:
      kvplan verify plan.json --log requests.csv --metrics metrics.prom
      kvplan verify plan.json --log chat=chat.csv.gz --log code=code.csv.gz --metrics range.json --format md
      kvplan verify plan.json --log requests.csv --calibration measured.csv
    """
    from planner import pipeline
    from planner.plan.io import parse, read_tree
    from planner.report.verify import verification_json, verification_markdown, verification_text
    from planner.verify.session import Question

    plan = parse(read_tree(plan_file), plan_file)
    files = _by_class(logs)
    for target in (output, calibration):
        if target is not None:
            check_target(target, {plan_file, *files.values(), *([metrics] if metrics else [])})
    if output is not None and output == calibration:
        raise click.UsageError("-o and --calibration are the same file")
    progress = None if quiet or not sys.stderr.isatty() else _progress
    answer = pipeline.verify(plan, Question(files, metrics), plan_file, progress)
    if progress is not None:
        click.echo("\r\x1b[2K", nl=False, err=True)
    found = answer.verification
    measured = pipeline.calibration(plan, answer, plan_file) if calibration is not None else ""
    if form == "json" or (output is not None and output.endswith(".json")):
        text = verification_json(found)
    else:
        text = verification_markdown(found) if form == "md" else verification_text(found, width())
    if calibration is not None:
        write_whole(calibration, measured)
    if output is not None:
        write_whole(output, text)
    else:
        say(text)
    return EXIT_GUARDRAIL if found.is_outside else EXIT_OK


def _by_class(logs: tuple[str, ...]) -> dict[str, str]:
    """Log files by class; one file alone may have all of them."""
    found: dict[str, str] = {}
    for written in logs:
        name, equals, path = written.partition("=")
        if not equals:
            name, path = "", written
        if name in found:
            raise click.UsageError(f"--log is given twice for {name or 'all classes'}; write --log CLASS=FILE")
        found[name] = path
    if "" in found and len(found) > 1:
        raise click.UsageError(f"--log {found['']}: of which class? Write --log CLASS=FILE for every file")
    return found


def _progress(line: str) -> None:
    click.echo(f"\r\x1b[2K{line}", nl=False, err=True)
