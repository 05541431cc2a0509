"""`kvplan latency`: how long prefill and decode steps take, and what users of a replica see at each batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from planner.cli.output import EXIT_OK, check_target, say, width, write_whole

if TYPE_CHECKING:
    from planner.calculator.latency import LatencyAnswer

_F = TypeVar("_F", bound=Callable[..., int])

FLAGS = {
    "gpu": ("ID", "GPU of the catalog."),
    "input": ("TOKENS", "Tokens of every prompt."),
    "output": ("TOKENS", "Tokens of every answer; at least 2."),
    "batch": ("N,...", "Users that ask at once and again.  [default: 1,4,16,64,256]"),
    "parallel": ("SHAPE", "Parallel shape, tpN[-ppN][-dpN][-dcpN][-ep].  [default: tp1]"),
    "tp": ("N", "Tensor-parallel size, instead of --parallel."),
    "pp": ("N", "Pipeline stages."),
    "dp": ("N", "Data-parallel ranks."),
    "dcp": ("N", "Decode context parallelism; divides tp."),
    "engine": ("NAME@VERSION", "Engine release.  [default: the newest vLLM rules]"),
    "weights": ("DTYPE", "bf16, fp8, w4a16, mxfp4, nvfp4, ...  [default: the config's]"),
    "preset": ("ID", "KV preset of the table, with its gates.  [default: bf16]"),
    "kv-dtype": ("FLAG", "The engine's own KV dtype instead: fp8, nvfp4, ..."),
    "provider": ("NAME", "roofline, silicon or measured.  [default: roofline]"),
    "prefix-hits": ("SHARE", "Share of prompt tokens found in the prefix cache, as 30%."),
    "accepted-tokens": ("N", "Tokens that a step yields with speculative decoding, as 2.4."),
    "speculative-tokens": ("N", "Tokens drafted at once.  [default: the fewest that can yield the accepted ones]"),
    "step-overhead": ("SHARE", "How much longer a step takes for the draft, as 10%."),
    "slo-tpot": ("TIME", "Promise on TPOT, as 45ms: marked in tables, a line in curves."),
    "slo-ttft": ("TIME", "Promise on TTFT, as 800ms."),
    "max-num-batched-tokens": ("TOKENS", "Tokens of one step.  [default: the engine's for the GPU]"),
    "max-num-seqs": ("N", "Sequences of one step.  [default: the engine's for the GPU]"),
    "max-model-len": ("TOKENS", "Longest context that the engine admits.  [default: the model's own]"),
    "gpu-memory-utilization": ("SHARE", "The engine's share of GPU memory.  [default: the engine's]"),
}
"""Flag -> (metavar, help). Their texts are read together, so that every mistake is reported at once."""

FORMATS = ["table", "json", "md", "csv"]


def _with_flags(command: _F) -> _F:
    for name, (metavar, words) in reversed(FLAGS.items()):
        command = click.option(f"--{name}", name.replace("-", "_"), metavar=metavar, help=words)(command)
    return command


@click.command(short_help="Prefill, decode step, TPOT, TTFT and tokens/s of a replica.")
@click.argument("model", metavar="MODEL")
@_with_flags
@click.option("--ep", is_flag=True, help="Whole experts on each rank (expert parallelism).")
@click.option("--measured", multiple=True, metavar="FILE", help="Benchmark results; may be given several times.")
@click.option("--curve", is_flag=True, help="TPOT and tokens/s over the batch, drawn.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("-o", "--output-file", "target", metavar="FILE", help="Write to a file; .svg gets the curve.")
def latency(
    model: str,
    ep: bool,
    measured: tuple[str, ...],
    curve: bool,
    form: str,
    target: str | None,
    **texts: str | None,
) -> int:
    """Predict what users of one replica see: a fixed number of them, each asks again once answered.

    This is what `vllm bench serve --max-concurrency`, GuideLLM and AIPerf measure. MODEL is a catalog id, a hub id,
    a config.json or a model folder. Batches beyond the KV pool or the engine's limits wait in its queue.

    \b
    Examples:
      kvplan latency llama-3.1-8b --gpu h100-sxm-80gb --input 4000 --output 500
      kvplan latency llama-3.3-70b-instruct --gpu h100-sxm-80gb --tp 4 --weights fp8 --kv-dtype fp8 \\
        --input 1024 --output 512 --batch 1,16,64,256 --slo-tpot 45ms
      kvplan latency qwen3-32b --gpu h100-sxm-80gb --tp 2 --input 2Ki --output 256 --curve -o qwen.svg
      kvplan latency llama-3.1-8b --gpu h100-sxm-80gb --input 1024 --output 128 --measured my-run.yaml
    """
    flags = {name: texts[name.replace("-", "_")] for name in FLAGS}
    if target is not None:
        inputs = [model, *map(str, Path(model).iterdir())] if Path(model).is_dir() else [model]
        check_target(target, [*inputs, *measured])
    answer = _answer(model, flags, ep, measured, curve or str(target).endswith(".svg"))
    drawn = curve or str(target).endswith(".svg")
    if target is None:
        say(_shown(answer, form, drawn))
    elif target.endswith(".svg"):
        from planner.report.latency_curve import curve_svg, latency_curve

        write_whole(target, curve_svg(latency_curve(answer)))
        say(_shown(answer, form, drawn))
    else:
        write_whole(target, _shown(answer, "json" if target.endswith(".json") else form, drawn))
    return EXIT_OK


def _answer(
    model: str, flags: Mapping[str, str | None], ep: bool, measured: tuple[str, ...], curve: bool
) -> LatencyAnswer:
    """Reads the flags and asks the calculator: every mistake at once."""
    from dataclasses import replace

    from planner.calculator.inputs import Inputs, look_up
    from planner.calculator.latency_query import read_latency_query
    from planner.errors import InputError

    query, mistakes = read_latency_query(flags, model=model, ep=ep, measured=measured)
    inputs = look_up(query.kv)
    if mistakes:
        more = [] if isinstance(inputs, Inputs) else [f"{wrong.file}: {wrong.message}" for wrong in inputs]
        raise click.UsageError("\n".join(dict.fromkeys([*map(str, mistakes), *more])))
    if not isinstance(inputs, Inputs):
        raise InputError(inputs)
    from planner.calculator.latency import curve_batches, latency

    if curve:
        query = replace(query, kv=replace(query.kv, batches=curve_batches(max(query.kv.batches))))
    return latency(query, inputs)


def _shown(answer: LatencyAnswer, form: str, curve: bool) -> str:
    """The document in its format."""
    from planner.report.latency_json import latency_csv, latency_json, latency_markdown

    if form == "json":
        return latency_json(answer)
    if form == "csv":
        return latency_csv(answer)
    if form == "md":
        return latency_markdown(answer)
    if curve:
        from planner.report.latency_curve import curve_text, latency_curve

        return curve_text(latency_curve(answer), width())
    from planner.report.latency import latency_text

    return latency_text(answer, width())
