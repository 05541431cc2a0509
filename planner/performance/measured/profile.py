"""Profiles: runs of one replica as YAML, written by `kvplan catalog import-latency` and read by scenarios."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from planner.catalog.latency import LatencyRun
from planner.performance.measured.raw import SYSTEM_KEYS, RawRun
from planner.performance.measured.system import as_run, system_of
from planner.scenario.source import Entry, Findings, MapNode, Node, child_map, child_text
from planner.scenario.values import suggestion
from planner.units import parse_decimal, parse_duration_us, parse_tokens

_T = TypeVar("_T")

FORMAT_KEY = "kvplan_latency"
FORMAT = "1"
TOP_KEYS = (FORMAT_KEY, *SYSTEM_KEYS, "max_num_batched_tokens", "slo", "runs")
RUN_KEYS = (
    "input_tokens", "output_tokens", "concurrency", "tpot", "ttft", "output_tokens_per_s", "accepted_tokens",
    "loop", "harness",
)  # fmt: skip
LOOPS = {"closed": True, "open": False}


def is_profile(tree: Node | None) -> bool:
    """Whether a YAML tree is a profile."""
    return isinstance(tree, MapNode) and FORMAT_KEY in tree.entries


def read_profile(root: MapNode, findings: Findings) -> list[LatencyRun]:
    """The runs of a profile; every mistake carries its line."""
    before = len(findings.items)
    said = {key: node.text for key in SYSTEM_KEYS if (node := child_text(root, key)) is not None}
    _unknown(root, TOP_KEYS, "", findings)
    if (node := child_text(root, FORMAT_KEY)) is None or node.text != FORMAT:
        findings.add(root.place, "KV972", f"this version reads {FORMAT_KEY}: {FORMAT}")
    if not said.get("source"):
        findings.add(root.place, "KV972", "the key 'source' is missing; write who measured, and when")
    system = system_of(said, Path(root.place.file).parent)
    if isinstance(system, list):
        for sentence in system:
            findings.add(root.place, "KV972", sentence)
    budget = _value(root, "max_num_batched_tokens", parse_tokens, findings)
    slo = root.entries["slo"].node if "slo" in root.entries else None
    tpot_us, ttft_us = (_value(slo, key, parse_duration_us, findings) for key in ("tpot", "ttft"))
    entries = child_map(root, "runs")
    if not entries:
        findings.add(root.place, "KV972", "there are no runs; write runs: {NAME: {input_tokens: ..., tpot: ...}}")
    raws = [(entry.key_place, _raw(name, entry, findings)) for name, entry in entries.items()]
    if isinstance(system, list) or len(findings.items) > before:
        return []
    runs = []
    for place, raw in raws:
        run = as_run(raw, system, place, said["source"]) if raw else None
        if isinstance(run, str):
            findings.add(place, "KV972", run)
        elif run is not None:
            runs.append(replace(run, max_num_batched_tokens=budget, slo_tpot_us=tpot_us, slo_ttft_us=ttft_us))
    return runs


def _raw(name: str, entry: Entry, findings: Findings) -> RawRun | None:
    node = entry.node
    if not isinstance(node, MapNode):
        findings.add(entry.place, "KV972", f"runs.{name}: expected a map of keys, as {{tpot: 12.5ms, ...}}")
        return None
    _unknown(node, RUN_KEYS, f"runs.{name}: ", findings)
    lengths = [_value(node, key, parse_tokens, findings) for key in ("input_tokens", "output_tokens", "concurrency")]
    tpot_us, ttft_us = (_value(node, key, parse_duration_us, findings) for key in ("tpot", "ttft"))
    for key in ("input_tokens", "output_tokens", "concurrency", "tpot"):
        if key not in node.entries:
            findings.add(entry.key_place, "KV972", f"runs.{name}: the key {key!r} is missing")
    loop = child_text(node, "loop")
    if loop is not None and loop.text not in LOOPS:
        findings.add(loop.place, "KV972", f"runs.{name}.loop: write closed or open")
    rate = _value(node, "output_tokens_per_s", parse_decimal, findings)
    accepted = _value(node, "accepted_tokens", parse_decimal, findings)
    harness = child_text(node, "harness")
    inputs, outputs, users = lengths
    if inputs is None or outputs is None or users is None or tpot_us is None:
        return None
    return RawRun(
        harness=harness.text if harness else "a profile",
        input_tokens=inputs,
        output_tokens=outputs,
        concurrency=users,
        is_closed_loop=loop is None or loop.text == "closed",
        tpot_ms=tpot_us / 1000,
        ttft_ms=None if ttft_us is None else ttft_us / 1000,
        output_tokens_per_s=None if rate is None else float(rate),
        accepted_tokens=1.0 if accepted is None else float(accepted),
    )


def _unknown(node: MapNode, known: Sequence[str], prefix: str, findings: Findings) -> None:
    for key, entry in node.entries.items():
        if key not in known:
            findings.add(entry.key_place, "KV972", f"{prefix}unknown key {key!r}; {suggestion(key, list(known))}")


def _value(node: Node | None, key: str, parse: Callable[[str], _T], findings: Findings) -> _T | None:
    found = child_text(node, key) if isinstance(node, MapNode) else None
    if found is None:
        return None
    try:
        return parse(found.text)
    except ValueError as error:
        findings.add(found.place, "KV972", f"{key}: {error}")
        return None


def profile_text(runs: Sequence[LatencyRun]) -> str:
    """The profile of runs of one replica, with one source."""
    first = runs[0]
    said = {key: getattr(first.system, key) for key in SYSTEM_KEYS if key != "source"}
    lines = [f"{FORMAT_KEY}: {FORMAT}", *(f"{key}: {value}" for key, value in said.items())]
    lines.append(f"source: {_quoted(first.source)}")
    if first.max_num_batched_tokens:
        lines.append(f"max_num_batched_tokens: {first.max_num_batched_tokens}")
    slo = {"tpot": first.slo_tpot_us, "ttft": first.slo_ttft_us}
    if any(slo.values()):
        promises = ", ".join(f"{key}: {_ms(value)}" for key, value in slo.items() if value)
        lines.append(f"slo: {{{promises}}}")
    lines.append("runs:")
    names: dict[str, int] = {}
    for run in runs:
        name = f"in{run.input_tokens}-out{run.output_tokens}-c{run.concurrency}"
        names[name] = names.get(name, 0) + 1
        unique = name if names[name] == 1 else f"{name}-{names[name]}"
        lines.append(f"  {unique}: {{{', '.join(_run_parts(run))}}}")
    return "\n".join(lines) + "\n"


def _run_parts(run: LatencyRun) -> list[str]:
    parts = [f"{key}: {getattr(run, key)}" for key in ("input_tokens", "output_tokens", "concurrency")]
    parts += [f"{key}: {_ms(value)}" for key, value in (("tpot", run.tpot_us), ("ttft", run.ttft_us)) if value]
    if run.output_tokens_per_s is not None:
        parts.append(f"output_tokens_per_s: {_decimal(run.output_tokens_per_s)}")
    if run.accepted_tokens != 1:
        parts.append(f"accepted_tokens: {_decimal(run.accepted_tokens)}")
    if not run.is_closed_loop:
        parts.append("loop: open")
    return [*parts, f"harness: {_quoted(run.harness)}"]


def _ms(value_us: int) -> str:
    """Microseconds as milliseconds, exactly.

    >>> _ms(12_345), _ms(800_000)
    ('12.345ms', '800ms')
    """
    return f"{_decimal(Fraction(value_us, 1000))}ms"


def _decimal(value: Fraction) -> str:
    return f"{float(value):.3f}".rstrip("0").rstrip(".")


def _quoted(words: str) -> str:
    plain = "".join(char if char.isprintable() else " " for char in words)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
