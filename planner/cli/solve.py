"""`kvplan solve`: scenario in, plan out."""

from __future__ import annotations

import sys
from math import isfinite
from typing import TYPE_CHECKING

import click

from planner.cli.inputs import files_of
from planner.cli.output import (
    EXIT_INFEASIBLE,
    EXIT_NO_PLAN,
    EXIT_OK,
    EXIT_PROMISE_FAILED,
    check_target,
    say,
    width,
    write_whole,
)
from planner.report.printable import printable

if TYPE_CHECKING:
    from planner.pipeline import Options
    from planner.plan.types import Plan
    from planner.scenario.types import Scenario


CERTIFY_SEEDS = (1, 2, 3)
"""Chance of the replays behind a certificate; a plan must keep its promises in each."""


def finite(_ctx: click.Context, _param: click.Parameter, seconds: float) -> float:
    if not isfinite(seconds):
        raise click.BadParameter(f"{seconds} is not a number of seconds; write one like 300")
    return seconds


@click.command(short_help="Scenario to proved plan.")
@click.argument("file", type=click.Path(), metavar="FILE")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write the plan document (JSON) to a file.")
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="Override a value; `*` matches one level.")
@click.option("--what-if", "what_if", multiple=True, metavar="NAME", help="Apply a what_if block of the file.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--show-candidates", is_flag=True, help="Print the candidate table instead of solving.")
@click.option(
    "--time-limit",
    default=300.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    callback=finite,
)
@click.option("--preset-value", is_flag=True, help="Also solve with 16-bit KV: what compression saves.")
@click.option("--band-edge", is_flag=True, help="Also solve at the other edge of the latency band: what hangs on it.")
@click.option("--certify", is_flag=True, help="Replay the plan and solve again until its promises hold; exit 7 if not.")
@click.option("--as-is", "as_is", is_flag=True, help="Judge the running fleet: only its routing is decided.")
@click.option("--near", type=click.Path(), metavar="PLAN", help="Of equally good plans, the nearest to what PLAN runs.")
@click.option("--require-optimal", is_flag=True, help="Exit 4 when the plan is not proved optimal.")
@click.option("--lock", is_flag=True, help="Write FILE.lock.json: what the plan rests on, and its hash.")
@click.option("--locked", is_flag=True, help="Exit 6 when inputs, catalog or plan differ from FILE.lock.json.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
@click.option("-v", "--verbose", is_flag=True, help="Every rejection, every source, times.")
def solve(
    file: str,
    output: str | None,
    sets: tuple[str, ...],
    what_if: tuple[str, ...],
    form: str,
    show_candidates: bool,
    time_limit: float,
    preset_value: bool,
    band_edge: bool,
    certify: bool,
    as_is: bool,
    near: str | None,
    require_optimal: bool,
    lock: bool,
    locked: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Find the plan that keeps every promise of a scenario at the lowest cost, and prove it.

    \b
    Examples:
      kvplan solve scenarios/prod.yaml
      kvplan solve scenarios/prod.yaml -o plan.json --set "traffic.chat.peak=36 req/s"
      kvplan solve scenarios/prod.yaml --preset-value
      kvplan solve scenarios/prod.yaml --band-edge
      kvplan solve scenarios/prod.yaml --certify
      kvplan solve scenarios/prod.yaml --as-is
      kvplan solve scenarios/prod.yaml --near plan.json
      kvplan solve scenarios/prod.yaml --show-candidates
    """
    from planner import pipeline
    from planner.cli.fleet import check_options, with_fleet

    check_options(as_is, near, lock or locked, certify)
    if show_candidates and (output or require_optimal or verbose or preset_value or band_edge or certify):
        message = (
            "--show-candidates solves nothing: leave out -o, --preset-value, --band-edge, --certify, --require-optimal "
            "and -v; redirect what it prints"
        )
        raise click.UsageError(message)
    if lock or locked:
        from planner.cli import lock_file

        lock_file.check_options(file, output, lock, locked, bool(sets or what_if), show_candidates)
    scenario = with_fleet(pipeline.load(file, sets, what_if), file, as_is, near)
    if show_candidates:
        from planner.report.candidates import candidates_json, candidates_text

        table = pipeline.table(scenario)
        say(candidates_json(table) if form == "json" else candidates_text(scenario, table, width()))
        return EXIT_OK
    if output is not None:
        check_target(output, files_of(scenario, file) | ({near} if near else set()))
    held = lock_file.prepare(file, scenario, locked) if lock or locked else None
    progress = None if quiet or not sys.stderr.isatty() else show_progress
    options = pipeline.Options(time_limit, progress=progress, preset_value=preset_value, band_edge=band_edge)
    plan = _certified(scenario, options, file, quiet=quiet) if certify else pipeline.plan(scenario, options, file)
    if held is not None:
        lock_file.settle(file, held, plan, locked)
    _show(plan, output, form, verbose)
    return _exit_code(plan, require_optimal)


def _certified(scenario: Scenario, options: Options, file: str, *, quiet: bool) -> Plan:
    """The plan after as many rounds as it takes; each is a line on stderr."""
    from planner import pipeline
    from planner.simulate.session import Question

    report = None if quiet else say_round
    return pipeline.certify(scenario, Question(seeds=CERTIFY_SEEDS), options, file, report)


def say_round(line: str) -> None:
    start = "\r\x1b[2K" if sys.stderr.isatty() else ""
    click.echo(start + printable(line), err=True)


def show_progress(line: str) -> None:
    click.echo(f"\r\x1b[2K{line}", nl=False, err=True)


def _show(plan: Plan, output: str | None, form: str, verbose: bool) -> None:
    from planner.plan.io import to_json
    from planner.report.text import plan_text

    if sys.stderr.isatty():
        click.echo("\r\x1b[2K", nl=False, err=True)
    text = to_json(plan) if form == "json" or output else ""
    if output:
        write_whole(output, text)
    say(text if form == "json" else plan_text(plan, width(), verbose=verbose))


def _exit_code(plan: Plan, require_optimal: bool) -> int:
    if plan.status == "infeasible":
        return EXIT_INFEASIBLE
    if plan.status == "unknown" or (require_optimal and plan.status != "optimal"):
        return EXIT_NO_PLAN
    return EXIT_PROMISE_FAILED if plan.certificate.status == "refuted" else EXIT_OK
