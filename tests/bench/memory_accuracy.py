"""What kvplan predicts beside what engines print at start-up, log by log, as a page: `docs/memory-accuracy.md`.

Two tables. The first takes the bytes that a log has for KV and predicts tokens and concurrency, to the rounding of the
log; the second predicts those bytes from GPU, model, shape and settings, weights included. Run from the root:
    python tests/bench/memory_accuracy.py --write docs/memory-accuracy.md
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from statistics import mean
from textwrap import wrap
from types import ModuleType
from typing import Any

from planner import __version__
from planner.catalog import load_engine, load_model
from planner.catalog.types import ModelFacts

Row = dict[str, Any]

COMMAND = "python tests/bench/memory_accuracy.py --write docs/memory-accuracy.md"
OTHER_NAMES = {"llama-4-scout": "llama-4-scout-17b-16e"}
WORST = 5

INTRO = """
kvplan {version}. Made by `{command}`; a test compares this page with what the command prints. The logs are start-up
logs of other people's servers; each row of `tests/data/kv_engine_logs.json` and
`tests/data/kv_engine_logs_more.json` names its source. [The formulas](memory.md) are the same for all of them.
"""

TOKENS = """
{logs} logs. Engines print GiB with two decimals, so the prediction is an interval: the pool at the least and at the
most that the printed size may stand for. Inside it: **{counts}**. What a log says of its settings (block size,
prefix caching, batched tokens) is given to the prediction; nothing else is. SGLang and TensorRT-LLM print no
concurrency. A release in brackets is the rule set taken where the log names none; `*`: the model is not in the
catalog, its layers were written by hand from its published config.
"""

AVAILABLE = """
The {cases} vLLM logs that print weights and KV memory on one stage. Nothing is read from the log but the GPU, the
release, the shape, `--gpu-memory-utilization` and the batched tokens; sequences are the server's default, weights
come from the architecture. The margin that plans keep is left off. A positive error promises memory that is not
there, so those stand first. The other columns split the error: predicted less logged weights, activation peak and
non-torch memory, each of which lowers what is available, and the rest, by which the log's own parts miss its pool.
In GiB.
"""

FITTED = """
the constants of the activation peak and of non-torch memory come from logs of the same collection, so this is
in-sample for H100 and releases from 0.16; weights and pools are not fitted
"""

CAUSES = {
    ("Qwen/Qwen2.5-1.5B-Instruct", "T4", 32_768): """
        V0: context and buffers are the 0.35 GiB of an RTX 3090 for every GPU that is no Hopper; this T4 held 0.01.""",
    ("microsoft/phi-4 (bitsandbytes)", "A100-80GB class", 0): """
        V0: the log's own parts miss its own pool by 0.315, more than the whole error; an activation peak 0.23 below the
        log and context and buffers 0.26 above it (0.35 for 0.09) cancel.""",
    ("meta-llama/Llama-3.1-8B-Instruct", "RTX 3090", 29_000): """
        V0 profiles one prompt of the whole length, and over 29,000 tokens the forward pass takes less than the formula,
        which was fitted on steps of 8,192.""",
    ("meta-llama/Llama-3.1-8B-Instruct", "RTX 3090", 20_000): "the same over 20,000 tokens.",
    ("openai/gpt-oss-20b", "H100-80GB", 8_192): """
        weights 1.3 % above the log: how far the loader pads mxfp4 experts is only nearly known (1,440 to 1,536 wide on
        each of two ranks; without any padding they would be 0.57 below it); and the sampler took 2 % less than 15 B a
        logit.""",
}
"""Why the worst predictions are off, by model, GPU and batched tokens; the columns of the table show it."""


def _load(name: str) -> ModuleType:
    """A module of the memory tests, which are no package."""
    if name not in sys.modules:
        spec = spec_from_file_location(name, Path(__file__).parents[1] / "memory" / f"{name}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


logs = _load("start_up_logs")
budgets = _load("start_up_budgets")
GIB = logs.GIB


def main() -> None:
    """Prints the page, or writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", metavar="FILE", help="write the page there")
    target = parser.parse_args().write
    if target:
        Path(target).write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())


def page() -> str:
    """The whole page."""
    return "\n".join([*_head(), *_tokens(), "", *_available()])


def _head() -> list[str]:
    return [
        "# Memory: predicted and logged",
        "",
        *_paragraph(INTRO.format(version=__version__, command=COMMAND)),
    ]


def _paragraph(text: str, first: str = "") -> list[str]:
    """The text in lines of the page's width, and an empty line; `first` starts a list item."""
    plain, rest = " ".join(text.split()), " " * len(first)
    lines = wrap(
        plain, 120, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
    return lines if first else [*lines, ""]


def _tokens() -> list[str]:
    """Tokens and concurrency of every log, from the bytes that it prints."""
    rows = logs.all_rows()
    shown, met, printed = [], Counter[str](), Counter[str]()
    for row in rows:
        model, is_by_hand = _model(row)
        pools = logs.row_pools(row, logs.row_setup(row, model))
        if pools is None:
            continue
        cells, verdicts = _pool_cells(row, pools)
        printed.update(verdicts)
        met.update(key for key, inside in verdicts.items() if inside)
        inside = "yes" if all(verdicts.values()) else "**no**"
        shown.append(f"| {_case(row)}{' *' if is_by_hand else ''} | {' | '.join(cells)} | {inside} |")
    counts = ", ".join(
        f"{met[key]} of {printed[key]} {key}" for key in ("token counts", "block counts", "concurrencies")
    )
    without = [row for row in rows if logs.row_pools(row, logs.row_setup(row, _model(row)[0])) is None]
    return [
        "## From the bytes for KV to tokens and concurrency",
        "",
        *_paragraph(TOKENS.format(logs=len(rows), counts=counts)),
        "| engine, model | KV | GiB for KV | logged tokens | predicted | logged concurrency | predicted | inside |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
        *shown,
        "",
        f"Without the inputs for it ({len(without)}):",
        "",
        *(f"- {_case(row)}: {_reason(row)}" for row in without),
        *_elsewhere(rows),
    ]


def _model(row: Row) -> tuple[ModelFacts, bool]:
    """The catalog's model of a log, else one with the layers written by hand."""
    name = row["layers"]
    found = load_model(OTHER_NAMES.get(name, name), Path("/nonexistent"))
    if isinstance(found, ModelFacts):
        return found, False
    return logs.kv_model(logs.LAYERS[name], name), True


def _pool_cells(row: Row, pools: Any) -> tuple[list[str], dict[str, bool]]:
    """Cells of a row, and for each figure that the log prints whether it lies inside."""
    low, high = pools
    verdicts, cells = {}, [row["kv_cache_dtype"].removeprefix("auto(").removesuffix(")")]
    size = row.get("available_kv_gib", row.get("kv_gib_allocated"))
    cells.append(f"{row['num_gpu_blocks']:,} blocks" if size is None else f"{size:.2f}")
    if "kv_tokens" in row:
        verdicts["token counts"] = low.printed_tokens <= row["kv_tokens"] <= high.printed_tokens
        cells += [f"{row['kv_tokens']:,}", _span(f"{low.printed_tokens:,}", f"{high.printed_tokens:,}")]
    else:
        cells += [f"{row['num_gpu_blocks']:,} blocks", _span(f"{low.blocks:,}", f"{high.blocks:,}")]
    if "num_gpu_blocks" in row:
        verdicts["block counts"] = low.blocks <= row["num_gpu_blocks"] <= high.blocks
    if "max_concurrency" not in row:
        return [*cells, "-", "-"], verdicts
    least, most = float(low.max_concurrency), float(high.max_concurrency)
    verdicts["concurrencies"] = least - 0.005 <= row["max_concurrency"] <= most + 0.005
    return [*cells, f"{row['max_concurrency']:.2f}", _span(f"{least:.2f}", f"{most:.2f}")], verdicts


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _case(row: Row) -> str:
    """Engine with its release, model, and shape above one GPU."""
    shape = f" tp{row['tensor_parallel_size']}" if row["tensor_parallel_size"] > 1 else ""
    shape += f" pp{row['pipeline_parallel_size']}" if row.get("pipeline_parallel_size", 1) > 1 else ""
    shape += f" dcp{row['decode_context_parallel_size']}" if "decode_context_parallel_size" in row else ""
    version = row.get("version", "").split(" ")[0] or f"({logs.rule_set(row).partition('@')[2]})"
    version += f" (rules of {logs.rule_set(row).partition('@')[2]})" if _own_rules(row) else ""
    engine = row["engine"] if row["engine"] == "pegainfer" else f"{row['engine']} {version}"
    return f"{engine}, {row['model']}{shape}"


def _own_rules(row: Row) -> str:
    """The rule set that kvplan takes for the release of a log, where the log was counted with another; else empty."""
    release = re.match(r"\d+(\.\d+)+", row.get("version", ""))
    own = load_engine(f"{row['engine']}@{release.group()}") if release and row["engine"] != "pegainfer" else ""
    counted = load_engine(logs.rule_set(row))
    same = isinstance(own, str) or isinstance(counted, str) or own.version == counted.version
    return "" if same else f"{row['engine']}@{own.version}"


def _elsewhere(rows: list[Row]) -> list[str]:
    """Logs that needed other rules than those that kvplan takes for their release, and what these would say."""
    lines = []
    for row in rows:
        own = _own_rules(row)
        pools = logs.row_pools(row, logs.row_setup(row, _model(row)[0], engine=own)) if own else None
        if pools is not None and "kv_tokens" in row:
            over = (pools[0].printed_tokens + pools[1].printed_tokens) / 2 / row["kv_tokens"] - 1
            lines.append(f"- {_case(row)}, {row['kv_tokens']:,} tokens: {own} gives {over:+.0%}")
    if not lines:
        return []
    return [
        "",
        f"Counted with other rules than kvplan takes for the release ({len(lines)}), since the log shows them:",
        "",
        *lines,
    ]


def _reason(row: Row) -> str:
    """What stands in for the comparison where a log has no pool of a known engine."""
    if row["engine"] == "pegainfer":
        return "an engine without rules here; the bytes of a token agree (tests/memory/test_logs.py)"
    return (
        f"refused to start, so no tokens are printed; the {row['kv_needed_gib_for_max_len']:.2f} GiB that one request "
        f"needs and the longest length that fits ({row['estimated_max_len']:,}) agree"
    )


def _available() -> list[str]:
    """Memory for KV from GPU, model, shape and settings, worst promises first."""
    cases = sorted(budgets.all_cases(), key=lambda case: -case.error_gib)
    errors = [case.error_gib for case in cases]
    recent = [case.error_gib for case in cases if case.row["gpu"] == "H100-80GB"]
    lacking = Counter(budgets.lacking(row) for row in logs.all_rows() if budgets.lacking(row))
    return [
        "## From GPU, model and settings to the bytes for KV",
        "",
        *_paragraph(AVAILABLE.format(cases=len(cases))),
        *_paragraph(_summary("mean absolute error", errors), "* "),
        *_paragraph(_summary(f"the {len(recent)} on H100 (0.16 to 0.19):", recent), "* "),
        *_paragraph(FITTED, "* "),
        "",
        "| model | release | GPU | logged | predicted | error | weights | peak | non-torch | rest |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(_budget_line(case) for case in cases),
        "",
        f"### The worst {WORST}",
        "",
        *_worst(cases),
        "",
        "### Not compared",
        "",
        *_paragraph(
            "What the other logs lack: " + "; ".join(f"{what} ({n})" for what, n in sorted(lacking.items())) + "."
        ),
    ]


def _summary(words: str, errors: list[float]) -> str:
    """Mean absolute error, bias and range."""
    size = f"{mean(map(abs, errors)):.3f}"
    span = f"bias {mean(errors):+.3f}, from {min(errors):+.3f} to {max(errors):+.3f} GiB"
    return f"{words} **{size} GiB**, {span}"


def _budget_line(case: Any) -> str:
    row = case.row
    shape = f" tp{row['tensor_parallel_size']}" if row["tensor_parallel_size"] > 1 else ""
    dtype = " fp32" if "float32" in row["kv_cache_dtype"] else ""
    predicted = case.budget.available_bytes / GIB
    parts = ["-" if part is None else f"{part:+.3f}" for part in _parts(case)]
    release, logged = row.get("version", "0.19"), f"{row['available_kv_gib']:.2f} | {predicted:.2f}"
    figures = " | ".join([logged, f"{case.error_gib:+.3f}", *parts])
    return f"| {row['model']}{dtype}{shape} | {release} | {row['gpu']} | {figures} |"


def _parts(case: Any) -> tuple[float | None, float | None, float | None, float | None]:
    """Predicted less logged GiB of weights, peak and non-torch memory, and what is left of the error.

    error = rest - weights - peak - non-torch, but for the total of the GPU.
    """
    row, budget = case.row, case.budget
    weights = case.weights_bytes / GIB - row["weights_gib"]
    if "activation_peak_gib" not in row or "non_torch_gib" not in row:
        return weights, None, None, None
    peak = budget.activation_bytes / GIB - row["activation_peak_gib"]
    buffers = budget.non_torch_bytes / GIB - row["non_torch_gib"]
    return weights, peak, buffers, case.error_gib + weights + peak + buffers


def _worst(cases: list[Any]) -> list[str]:
    """The predictions that are furthest off, with their causes."""
    lines = []
    for case in sorted(cases, key=lambda case: -abs(case.error_gib))[:WORST]:
        row = case.row
        key = (row["model"], row["gpu"], row.get("max_num_batched_tokens", 0))
        lines += _paragraph(f"{case.error_gib:+.3f} GiB, {row['model']} on {row['gpu']}: {CAUSES[key]}", "1. ")
    return lines


if __name__ == "__main__":
    main()
