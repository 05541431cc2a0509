"""`kvplan simulate`: does a plan keep its promises when requests are replayed?"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import click

from planner.cli.inputs import files_of_plan
from planner.cli.output import EXIT_PROMISE_FAILED, check_target, say, width, write_whole

if TYPE_CHECKING:
    from planner.plan.types import Plan
    from planner.simulate.session import Answer
    from planner.simulate.types import Simulation

ROUTERS = ("by_length", "least_loaded", "prefix_aware", "random")


def _seconds(_ctx: click.Context, _param: click.Parameter, written: str | None) -> float | None:
    """A duration of a minute to a day, as scenarios write it."""
    if written is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|min|h)", written)
    seconds = float(found[1]) * {"s": 1.0, "min": 60.0, "h": 3600.0}[found[2]] if found else 0.0
    if not 60 <= seconds <= 86_400:
        raise click.BadParameter(f"{written} is not a time from a minute to a day; write one like 30min")
    return seconds


@click.command(short_help="Replay requests against a plan's promises.")
@click.argument("plan_file", type=click.Path(), metavar="PLAN")
@click.option(
    "--trace", "traces", multiple=True, metavar="[CLASS=]FILE",
    help="Replay a trace for a class; without a class, for the only one.",
)  # fmt: skip
@click.option(
    "--scale", default=1.0, show_default=True, type=click.FloatRange(min=0, min_open=True),
    help="Play the traces of --trace so many times as fast.",
)  # fmt: skip
@click.option("--generate", is_flag=True, help="Generate classes that are planned from a trace, too.")
@click.option(
    "--seed", "seeds", multiple=True, type=click.IntRange(min=0), help="Of chance; several replay again.  [1]"
)
@click.option("--cv", default=1.0, show_default=True, type=click.FloatRange(0.1, 100.0),
              help="Coefficient of variation of generated gaps; 1 is Poisson.")  # fmt: skip
@click.option("--duration", metavar="TIME", callback=_seconds,
              help="Length of generated streams, such as 30min.  [12min, or as the longest trace]")  # fmt: skip
@click.option(
    "--router", type=click.Choice(ROUTERS), default="by_length", show_default=True, help="Who takes a request."
)
@click.option("--fail", default="", metavar="node|POOL/N", help="Lose a node in the busiest minute.")
@click.option("--format", "form", type=click.Choice(["table", "json", "md"]), default="table", show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write to a file; .svg gets the time line.")
@click.option("--log", type=click.Path(dir_okay=False), help="Also write every request (.csv or .jsonl).")
@click.option(
    "--metrics", type=click.Path(dir_okay=False), help="Also write vLLM's metrics (Prometheus text or .json)."
)
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
def simulate(
    plan_file: str,
    traces: tuple[str, ...],
    scale: float,
    generate: bool,
    seeds: tuple[int, ...],
    cv: float,
    duration: float | None,
    router: str,
    fail: str,
    form: str,
    output: str | None,
    log: str | None,
    metrics: str | None,
    quiet: bool,
) -> int:
    """Replay requests against a plan, step by step of its engines; exit 7 when a promise fails.

    Classes that are planned from a trace replay it; the others are generated at their peak rate with their lengths.

    \b
    Examples:
      kvplan simulate plan.json
      kvplan simulate plan.json --trace chat=requests.csv.gz -o replay.svg
      kvplan simulate plan.json --fail node --seed 1 --seed 2
    """
    from planner import pipeline
    from planner.plan.io import parse, read_tree
    from planner.simulate.router import POLICIES
    from planner.simulate.session import Question

    plan = parse(read_tree(plan_file), plan_file)
    by_class = _by_class(plan, traces)
    inputs = {plan_file, *by_class.values(), *files_of_plan(plan)}
    for target in (output, log, metrics):
        if target is not None:
            check_target(target, inputs)
    policy = next(each for each in POLICIES if each == router)
    question = Question(by_class, scale, generate, tuple(dict.fromkeys(seeds)) or (1,), policy, cv, fail, duration)
    progress = None if quiet or not sys.stderr.isatty() else _progress
    answer = pipeline.simulate(plan, question, plan_file, progress)
    if progress is not None:
        click.echo("\r\x1b[2K", nl=False, err=True)
    _write_logs(answer, log, metrics)
    text = _shown(answer.simulation, form, output)
    if output is not None:
        write_whole(output, text)
    else:
        say(text)
    return 0 if answer.simulation.kept else EXIT_PROMISE_FAILED


def _by_class(plan: Plan, traces: tuple[str, ...]) -> dict[str, str]:
    """Trace files by class; `CLASS=FILE`, or a file alone for a plan of one class."""
    found: dict[str, str] = {}
    for written in traces:
        name, equals, path = written.partition("=")
        if not equals:
            names = sorted(plan.scenario.traffic)
            if len(names) != 1:
                raise click.UsageError(f"--trace {written}: which class? Write --trace CLASS=FILE; {', '.join(names)}")
            name, path = names[0], written
        if name in found:
            raise click.UsageError(f"--trace is given twice for {name}")
        found[name] = path
    return found


def _shown(simulation: Simulation, form: str, output: str | None) -> str:
    if output is not None and output.endswith(".svg"):
        from planner.report.simulation_svg import simulation_svg

        return simulation_svg(simulation)
    if form == "json" or (output is not None and output.endswith(".json")):
        from planner.report.simulation_json import simulation_json

        return simulation_json(simulation)
    from planner.report.simulation import simulation_markdown, simulation_text

    return simulation_markdown(simulation) if form == "md" else simulation_text(simulation, width())


def _write_logs(answer: Answer, log: str | None, metrics: str | None) -> None:
    from planner.simulate.logs import metrics_json, metrics_text, requests_csv, requests_jsonl

    if log is not None:
        write_whole(log, requests_csv(answer.runs[0]) if log.endswith(".csv") else requests_jsonl(answer.runs[0]))
    if metrics is not None:
        write_whole(metrics, (metrics_json if metrics.endswith(".json") else metrics_text)(answer.runs[0]))


def _progress(line: str) -> None:
    click.echo(f"\r\x1b[2K{line}", nl=False, err=True)
