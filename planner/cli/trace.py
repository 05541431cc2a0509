"""`kvplan trace`: what a request log says about its traffic."""

from __future__ import annotations

from fractions import Fraction

import click

from planner import units
from planner.cli.output import EXIT_OK, check_target, say, say_error, width, write_whole

MOST_TPOT_US = 60_000_000


@click.group(short_help="Request logs: rates, lengths, bursts.")
def trace() -> None:
    """Read request logs: Azure, Mooncake, BurstGPT, AIPerf and vLLM, or CSV and JSON Lines with named columns.

    \b
    Examples:
      kvplan trace summarize scenarios/traces/azure_llm_2023_conv.csv.gz
      kvplan trace summarize requests.jsonl --format yaml
    """


def _duration(context: click.Context, parameter: click.Parameter, text: str) -> float:
    """Seconds of a duration as the scenario language writes it."""
    try:
        us = units.parse_duration_us(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return float(Fraction(us, units.MICRO))


@trace.command(short_help="Rates, lengths, burstiness, ready to paste.")
@click.argument("file", type=click.Path(), metavar="FILE")
@click.option("--format", "form", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True)
@click.option(
    "--tpot",
    "tpot_s",
    default="50ms",
    show_default=True,
    metavar="TIME",
    callback=_duration,
    help="Time per output token, for what is in flight and which window counts.",
)
@click.option(
    "--ttl",
    "ttl_s",
    default="10min",
    show_default=True,
    metavar="TIME",
    callback=_duration,
    help="How long a prefix cache keeps a block that is not used.",
)
@click.option("-o", "--output", metavar="FILE", help="Write the document to a file; FILE.svg: the plot.")
def summarize(file: str, form: str, tpot_s: float, ttl_s: float, output: str | None) -> int:
    """Say what a request log asks for: rates by window, burstiness, lengths, shared prefixes, tokens in flight.

    FILE may be packed with gzip. `--format yaml` is a class to paste under `traffic:`; docs/traffic.md defines every
    figure.

    \b
    Examples:
      kvplan trace summarize scenarios/traces/azure_llm_2023_conv.csv.gz
      kvplan trace summarize scenarios/traces/azure_llm_2023_code.csv.gz --format yaml
      kvplan trace summarize requests.jsonl --tpot 30ms -o requests.svg
    """
    from planner.report.trace import trace_json, trace_text, trace_yaml
    from planner.traffic.trace import read_trace
    from planner.traffic.trace_stats import summarize as figures

    if output is not None:
        check_target(output, [file])
    found = read_trace(file)
    summary = figures(found, tpot_s=tpot_s, ttl_s=ttl_s)
    if form == "json":
        document = trace_json(found, summary)
    else:
        document = trace_yaml(found, summary) if form == "yaml" else trace_text(found, summary, width())
    if found.bad_rows and form == "yaml":
        say_error(f"kvplan: {found.bad_rows:,} rows are wrong and not counted; --format table shows them")
    if output is not None and output.endswith(".svg"):
        from planner.report.trace_svg import trace_svg

        write_whole(output, trace_svg(found, summary))
    elif output is not None:
        write_whole(output, document)
        return EXIT_OK
    say(document)
    return EXIT_OK
