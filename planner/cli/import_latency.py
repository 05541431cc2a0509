"""`kvplan catalog import-latency`: a profile of measured latencies from the results of benchmarks."""

from __future__ import annotations

from collections.abc import Callable

import click

from planner.cli.output import check_target, say, write_whole


@click.command("import-latency", short_help="A profile of measured latencies.")
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@click.option("--model", metavar="ID", help="Catalog id, hub id or path of the model.")
@click.option("--gpu", metavar="ID", help="GPU of the catalog.")
@click.option("--engine", metavar="NAME@VERSION", help="Engine and the release that served, as vllm@0.24.0.")
@click.option("--parallel", metavar="SHAPE", help="Parallel shape of the replica, as tp4.")
@click.option("--weights", metavar="DTYPE", help="Weight format: bf16, fp8, ...")
@click.option("--kv-dtype", metavar="DTYPE", help="KV dtype: bf16, fp8, ...")
@click.option("--source", metavar="TEXT", help="Who measured, where and when.")
@click.option("--max-num-batched-tokens", "budget", metavar="TOKENS", help="Tokens of one step, where it was set.")
@click.option("--slo-tpot", metavar="TIME", help="Promise on TPOT under which it was measured, as 45ms.")
@click.option("--slo-ttft", metavar="TIME", help="Promise on TTFT under which it was measured, as 800ms.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write the profile to a file instead.")
def import_latency(
    files: tuple[str, ...],
    budget: str | None,
    slo_tpot: str | None,
    slo_ttft: str | None,
    output: str | None,
    **said: str | None,
) -> None:
    """Make a profile of measured latencies, for `performance.measured` and `kvplan latency --measured`.

    FILEs are results of `vllm bench serve --save-result`, GuideLLM, AIPerf or GenAI-Perf (JSON; CSV of the last two),
    all of one replica. They do not say which replica that was: say it here, or with `vllm bench serve --metadata
    gpu=... engine=...`. What a file does say must agree.

    \b
    Example:
      kvplan catalog import-latency bench-*.json --model llama-3.1-8b --gpu h100-sxm-80gb --engine vllm@0.24.0 \\
        --parallel tp1 --weights bf16 --kv-dtype bf16 --source "bench host 3, 2026-11-20" -o h100-8b.yaml
    """
    from planner.performance.measured.importing import import_runs
    from planner.performance.measured.profile import profile_text
    from planner.units import parse_duration_us, parse_tokens

    tokens = _read("--max-num-batched-tokens", budget, parse_tokens)
    tpot_us, ttft_us = (
        _read(flag, text, parse_duration_us) for flag, text in (("--slo-tpot", slo_tpot), ("--slo-ttft", slo_ttft))
    )
    if output is not None:
        check_target(output, files)
    known = {key: text for key, text in said.items() if text}
    runs = import_runs(files, {**known, "max_num_batched_tokens": str(tokens or "")}, tpot_us, ttft_us)
    text = profile_text(runs)
    if output is None:
        say(text)
    else:
        write_whole(output, text)


def _read(flag: str, text: str | None, parse: Callable[[str], int]) -> int | None:
    try:
        return None if text is None else parse(text)
    except ValueError as error:
        raise click.UsageError(f"{flag}: {error}") from None
