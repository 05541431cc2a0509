"""`kvplan kv`: bytes of KV a token, a request and a pool, as the engine allocates them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from planner.cli.output import EXIT_OK, check_target, say, width, write_whole

if TYPE_CHECKING:
    from planner.calculator.inputs import Inputs

_F = TypeVar("_F", bound=Callable[..., int])

FLAGS = {
    "context": ("TOKENS,...", "Context lengths of the table.  [default: 4Ki,32Ki,128Ki, cut at the model's own]"),
    "batch": ("N,...", "Sequences at once.  [default: 1]"),
    "preset": ("ID", "KV preset of the table, with its gates.  [default: bf16]"),
    "kv-dtype": ("FLAG", "The engine's own KV dtype instead: fp8, fp8_ds_mla, nvfp4, ..."),
    "parallel": ("SHAPE", "Parallel shape, tpN[-ppN][-dpN][-dcpN][-ep].  [default: tp1]"),
    "tp": ("N", "Tensor-parallel size, instead of --parallel."),
    "pp": ("N", "Pipeline stages."),
    "dp": ("N", "Data-parallel ranks."),
    "dcp": ("N", "Decode context parallelism; divides tp."),
    "engine": ("NAME@VERSION", "Rules to follow.  [default: the newest vLLM rules]"),
    "gpu": ("ID", "GPU of the catalog; without it only KV itself is counted."),
    "weights": ("DTYPE", "bf16, fp8, int8, w4a16, mxfp4, nvfp4, ...  [default: the config's]"),
    "weights-gib": ("GIB", "GiB of weights on the GPU that holds most, instead of computing them."),
    "gpu-memory-utilization": ("SHARE", "The engine's share of GPU memory.  [default: the engine's]"),
    "max-model-len": ("TOKENS", "Longest context that the engine admits.  [default: the model's own]"),
    "max-num-batched-tokens": ("TOKENS", "Tokens of one step.  [default: the engine's for the GPU]"),
    "max-num-seqs": ("N", "Sequences of one step.  [default: the engine's for the GPU]"),
    "speculative-tokens": ("N", "Tokens drafted at once; the model's own draft layers then keep KV too."),
    "mamba-cache": ("MODE", "Blocks of recurrent state: none or align.  [default: the engine's]"),
    "mamba-ssm-cache-dtype": ("DTYPE", "Recurrent matrix: auto, float16, bfloat16 or float32.  [default: auto]"),
    "block-size": ("TOKENS", "Tokens of a KV block.  [default: the engine's]"),
    "available-kv": ("SIZE", "Memory for KV on one GPU, as 61.66GiB: skips the budget."),
}
"""Flag -> (metavar, help). Their texts are read together, so that every mistake is reported at once."""


def _with_flags(command: _F) -> _F:
    for name, (metavar, words) in reversed(FLAGS.items()):
        command = click.option(f"--{name}", name.replace("-", "_"), metavar=metavar, help=words)(command)
    return command


@click.command(short_help="KV bytes of a model, and what a GPU holds of it.")
@click.argument("model", required=False, metavar="[MODEL]")
@_with_flags
@click.option("--ep", is_flag=True, help="Whole experts on each rank (expert parallelism).")
@click.option("--disable-hybrid-kv-cache-manager", "no_hybrid", is_flag=True, help="Windows become full attention.")
@click.option("--bound", is_flag=True, help="An unknown architecture as an interval instead of a refusal.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--explain", is_flag=True, help="The arithmetic line by line, with sources.")
@click.option("--fits", is_flag=True, help="Which GPUs hold it, with which shape, up to which context and batch.")
@click.option("--curve", is_flag=True, help="KV against context, drawn.")
@click.option("-o", "--output", metavar="FILE.svg", help="Write the curve as a picture.")
@click.option("--published", is_flag=True, help="Published KV tables beside ours: right, in which unit, or why not.")
def kv(
    model: str | None,
    ep: bool,
    no_hybrid: bool,
    bound: bool,
    form: str,
    explain: bool,
    fits: bool,
    curve: bool,
    output: str | None,
    published: bool,
    **texts: str | None,
) -> int:
    """Count the KV cache of a model as an engine allocates it, and what a GPU has left for it.

    MODEL is a catalog id, a hub id of the catalog or of the local Hugging Face cache, a config.json, a model
    folder, a safetensors file or index, or a GGUF file. Every figure is for the one GPU that holds most.

    \b
    Examples:
      kvplan kv llama-3.1-8b
      kvplan kv qwen3-32b --gpu h100-sxm-80gb --tp 2 --weights fp8 --context 8Ki,32Ki --batch 1,16
      kvplan kv codellama-7b --engine vllm@0.19 --available-kv 61.66GiB --max-model-len 8192
      kvplan kv gemma-3-27b --gpu h100-sxm-80gb --explain
      kvplan kv llama-3.3-70b-instruct --weights fp8 --fits
      kvplan kv gemma-3-27b --gpu h100-sxm-80gb --curve -o gemma.svg
      kvplan kv --published
    """
    flags = {name: texts[name.replace("-", "_")] for name in FLAGS}
    pages = [f"--{name}" for name, on in (("explain", explain), ("fits", fits), ("curve", curve)) if on]
    if published:
        typed = [f"--{name}" for name, text in flags.items() if text is not None]
        _refuse_beside_published([*([model] if model else []), *typed, *pages, *(["-o"] if output else [])])
        return _published(form)
    if model is None:
        raise click.UsageError("a model is needed: a catalog id such as llama-3.1-8b, a hub id, or a path")
    _check_pages(model, pages, form, output)
    return _answer(model, flags, ep, not no_hybrid, bound, pages[0] if pages else "", form, output)


def _refuse_beside_published(others: list[str]) -> None:
    if others:
        raise click.UsageError(f"--published compares tables of its own; leave out {', '.join(others)}")


def _check_pages(model: str, pages: list[str], form: str, output: str | None) -> None:
    """One page at a time, and a picture only of the curve."""
    if len(pages) > 1:
        raise click.UsageError(f"{', '.join(pages)} are pages of their own; ask for one at a time")
    if output is None:
        return
    if pages not in ([], ["--curve"]) or not output.endswith(".svg"):
        raise click.UsageError(
            "-o writes the curve as a picture: its name ends in .svg, and no other page goes with it"
        )
    inputs = [model, *map(str, Path(model).iterdir())] if Path(model).is_dir() else [model]
    check_target(output, inputs)


def _answer(
    model: str,
    flags: Mapping[str, str | None],
    ep: bool,
    hybrid_manager: bool,
    bound: bool,
    page: str,
    form: str,
    output: str | None,
) -> int:
    """Reads the flags, asks the calculator, shows the page."""
    from planner.calculator.inputs import Inputs, look_up
    from planner.calculator.query import read_query
    from planner.errors import InputError

    query, mistakes = read_query(flags, model=model, ep=ep, hybrid_manager=hybrid_manager, bound=bound)
    inputs = look_up(query)
    if mistakes:
        more = [] if isinstance(inputs, Inputs) else [f"{wrong.file}: {wrong.message}" for wrong in inputs]
        raise click.UsageError("\n".join(dict.fromkeys([*map(str, mistakes), *more])))
    if not isinstance(inputs, Inputs):
        raise InputError(inputs)
    if page == "--fits":
        from planner.calculator.fits import fits
        from planner.report.kv_fits import fits_json, fits_text

        table = fits(inputs)
        say(fits_json(table) if form == "json" else fits_text(table, width()))
        return EXIT_OK
    if page == "--curve" or output is not None:
        return _curve(inputs, form, output)
    from planner.calculator.kv import answer

    found = answer(inputs)
    if form == "json":
        from planner.report.kv_json import kv_json

        say(kv_json(found))
    else:
        from planner.report.kv import kv_text
        from planner.report.kv_explain import explain_text

        say(explain_text(found, width()) if page else kv_text(found, width()))
    return EXIT_OK


def _curve(inputs: Inputs, form: str, output: str | None) -> int:
    """The curve on the terminal or as JSON, and in a file where one is named."""
    from planner.calculator.curve import kv_curve
    from planner.report.curve_text import curve_text
    from planner.report.kv_curve import curve_json, curve_of

    found = kv_curve(inputs)
    if output is not None:
        from planner.report.curve_svg import curve_svg

        write_whole(output, curve_svg(curve_of(found)))
    say(curve_json(found) if form == "json" else curve_text(curve_of(found), width()))
    return EXIT_OK


def _published(form: str) -> int:
    from planner.calculator.published import published_tables
    from planner.report.kv_published import published_json, published_text

    tables = published_tables()
    say(published_json(tables) if form == "json" else published_text(tables, width()))
    return EXIT_OK
