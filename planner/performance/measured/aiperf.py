"""Summaries of AIPerf and GenAI-Perf: `profile_export_aiperf.json`, `*_genai_perf.json`, and both as CSV.

Source: aiperf 0.13.0, `aiperf/common/models/export_models.py`, `exporters/metrics_csv_exporter.py`; genai-perf 0.0.16,
`genai_perf/export_data/`. Inter token latency there is the TPOT of this program: (latency - TTFT) / (output - 1).
The CSV does not say the concurrency: it follows from Little's law.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from planner.catalog.files import Json
from planner.performance.measured.raw import STEADY_WAVES, RawRun, at, everywhere, little, number

UNITS_MS = {"ms": 1.0, "s": 1e3, "sec": 1e3, "us": 1e-3, "ns": 1e-6}

NAMES = {
    "time_to_first_token": "time to first token",
    "inter_token_latency": "inter token latency",
    "request_latency": "request latency",
    "input_sequence_length": "input sequence length",
    "output_sequence_length": "output sequence length",
    "request_throughput": "request throughput",
    "output_token_throughput": "output token throughput",
    "request_count": "request count",
}
"""Key of the JSON -> name in the CSV, in lower case and without its unit."""


def is_aiperf(tree: Json) -> bool:
    """Whether a JSON value is such a summary."""
    return isinstance(tree, dict) and isinstance(at(tree, "request_latency"), dict) and "input_config" in tree


def read_aiperf(tree: Json) -> RawRun | str:
    """The run of a JSON summary, or what is wrong with it."""
    config = at(tree, "input_config")
    if False in everywhere(config, "streaming"):
        return "streaming was off, so the first token and the gaps are unknown; measure with --streaming"
    values = {key: _value(tree, key) for key in NAMES}
    users = [float(each) for each in everywhere(config, "concurrency") if isinstance(each, int) and each]
    has_rate = any(isinstance(each, (int, float)) and each for each in everywhere(config, "request_rate"))
    names = [name for key in ("model_names", "models", "model", "name") for name in everywhere(config, key)]
    flat = [each for name in names for each in (name if isinstance(name, list) else [name])]
    served = [each for each in flat if isinstance(each, str) and each]
    harness = "AIPerf" if "aiperf_version" in (tree if isinstance(tree, dict) else ()) else "GenAI-Perf or AIPerf"
    return _run(values, harness, None if has_rate else next(iter(users), None), next(iter(served), ""))


def _value(tree: Json, key: str) -> float | None:
    """The mean of a metric; times in milliseconds."""
    value, unit = number(tree, key, "avg"), at(tree, key, "unit")
    return None if value is None else value * UNITS_MS.get(str(unit), 1.0)


def is_aiperf_csv(lines: Sequence[Sequence[str]]) -> bool:
    """Whether the cells of a CSV file are such a summary."""
    return bool(lines) and [cell.strip().lower() for cell in lines[0][:2]] == ["metric", "avg"]


def read_aiperf_csv(lines: Sequence[Sequence[str]]) -> RawRun | str:
    """The run of a CSV summary, or what is wrong with it."""
    by_name: dict[str, float] = {}
    for cells in lines:
        found = re.fullmatch(r"\s*([^(]+?)\s*(?:\(([^)]*)\))?\s*", cells[0]) if len(cells) > 1 else None
        try:
            value = float(cells[1].replace(",", ""))
        except (ValueError, IndexError):
            continue
        if found:
            scale = UNITS_MS.get(found[2] or "", 1.0)
            by_name.setdefault(found[1].lower(), value * scale)
    return _run({key: by_name.get(name) for key, name in NAMES.items()}, "AIPerf or GenAI-Perf (CSV)", None, "")


def _run(values: dict[str, float | None], harness: str, users: float | None, served_name: str) -> RawRun | str:
    inputs, outputs = values["input_sequence_length"], values["output_sequence_length"]
    if not inputs or not outputs:
        return "input or output sequence lengths are missing"
    tpot_ms, ttft_ms = values["inter_token_latency"], values["time_to_first_token"]
    if not tpot_ms:
        return "it has no inter token latency: measured without --streaming, or with answers of one token"
    done = values["request_count"]
    is_closed = users is not None and (done is None or done >= STEADY_WAVES * users)
    concurrency = users if is_closed else little(values["request_throughput"], ttft_ms, tpot_ms, outputs)
    if not concurrency:
        return "the request throughput is missing, so it is unknown how many requests ran at once"
    return RawRun(
        harness=harness,
        input_tokens=inputs,
        output_tokens=outputs,
        concurrency=concurrency,
        is_closed_loop=is_closed,
        tpot_ms=tpot_ms,
        ttft_ms=ttft_ms or None,
        output_tokens_per_s=values["output_token_throughput"],
        served_name=served_name,
    )
