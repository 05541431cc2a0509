"""Any file of measured latencies -> its runs, or everything that is wrong with it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from planner.catalog.files import Json, read_text_file
from planner.catalog.latency import LatencyRun
from planner.performance.measured.aiperf import is_aiperf, is_aiperf_csv, read_aiperf, read_aiperf_csv
from planner.performance.measured.belongs import same_release
from planner.performance.measured.guidellm import is_guidellm, read_guidellm
from planner.performance.measured.names import kv_name
from planner.performance.measured.profile import is_profile, read_profile
from planner.performance.measured.raw import RawRun
from planner.performance.measured.system import NEEDED, as_run, other_model, system_of
from planner.performance.measured.table import is_table, read_table
from planner.performance.measured.vllm_bench import is_vllm_bench, read_vllm_bench
from planner.scenario.source import Findings, MapNode, parse_text
from planner.scenario.types import Place
from planner.units import quote

MOST_BYTES = 256 * 2**20
"""Results with every request's gaps take some tens of megabytes."""

WHAT = (
    "results of vllm bench serve, GuideLLM, AIPerf or GenAI-Perf (JSON; CSV of the last two), a table (CSV with "
    "columns such as gpu and tpot_ms), or a profile (YAML)"
)


ABSENT = (
    "the file does not say on which replica it was measured ({} missing): `kvplan catalog import-latency` makes a "
    "profile of it that does"
)


def read_runs(path: str, named_at: Place, asked: Mapping[str, str], findings: Findings) -> list[LatencyRun]:
    """The runs of a file.

    Args:
        path: the file.
        named_at: where its name stands, for a file that cannot be read.
        asked: what is said of the replica by whoever names the file, by the keys of `NEEDED` and `source`. Results
            of harnesses rarely say it, and what they do say must agree. Tables and profiles speak for themselves.
        findings: gets every mistake.
    """
    content = _text(path, named_at, findings)
    if content is None:
        return []
    start = content.lstrip()[:1]
    if start in ("{", "["):
        return _of_json(content, path, asked, findings)
    lines = list(csv.reader(content.splitlines()))
    if is_table(lines):
        return read_table(lines, path, findings)
    if is_aiperf_csv(lines):
        return _placed([(1, read_aiperf_csv(lines))], path, asked, findings)
    found = Findings()
    tree = parse_text(content, path, found)
    if is_profile(tree) and isinstance(tree, MapNode):
        return read_profile(tree, findings)
    findings.items += found.items if path.endswith((".yaml", ".yml")) else []
    findings.add(Place(path, 1, 1), "KV972", f"this is none of: {WHAT}")
    return []


def _text(path: str, named_at: Place, findings: Findings) -> str | None:
    text, reason = read_text_file(path, MOST_BYTES)
    if not reason:
        return text
    findings.add(named_at, "KV971", f"cannot read measured latencies from {quote(path)}: {reason}")
    return None


def _of_json(content: str, path: str, asked: Mapping[str, str], findings: Findings) -> list[LatencyRun]:
    """Results of a harness: one JSON document, or several, one behind the other."""
    found: list[tuple[int, RawRun | str]] = []
    try:
        for line, tree in _documents(content):
            if is_vllm_bench(tree):
                found.append((line, read_vllm_bench(tree)))
            elif is_guidellm(tree):
                found += [(line, run) for run in read_guidellm(tree)]
            elif is_aiperf(tree):
                found.append((line, read_aiperf(tree)))
            else:
                findings.add(Place(path, line, 1), "KV972", f"this is none of: {WHAT}")
    except json.JSONDecodeError as error:
        findings.add(Place(path, error.lineno, error.colno), "KV972", f"this is not JSON: {error.msg}")
        return []
    except (RecursionError, ValueError) as error:
        findings.add(Place(path, 1, 1), "KV972", f"this JSON cannot be read: {error}")
        return []
    return _placed(found, path, asked, findings)


def _documents(content: str) -> Iterator[tuple[int, Json]]:
    """Every JSON document of a text with the line where it starts."""
    decoder = json.JSONDecoder()
    at = 0
    while True:
        while at < len(content) and content[at].isspace():
            at += 1
        if at >= len(content):
            return
        tree, end = decoder.raw_decode(content, at)
        yield content.count("\n", 0, at) + 1, tree
        at = end


def _placed(
    found: list[tuple[int, RawRun | str]], path: str, asked: Mapping[str, str], findings: Findings
) -> list[LatencyRun]:
    """Runs of a harness on the replica that was said, in the file or beside it; contradictions are mistakes."""
    runs = []
    wrong: set[str] = set()
    for line, raw in found:
        place = Place(path, line, 1)
        if isinstance(raw, str):
            findings.add(place, "KV972", raw)
            continue
        clash = _contradictions(raw, asked)
        for sentence in clash:
            findings.add(place, "KV973", sentence)
        said = {**asked, **raw.said}
        absent = [key for key in NEEDED if not said.get(key)]
        system = system_of(said, Path()) if not absent else [ABSENT.format(", ".join(absent))]
        if isinstance(system, list):
            wrong |= set(system)
            continue
        other = other_model(raw.served_name, system)
        if other is not None:
            message = f"the run served {quote(raw.served_name)} ({other}), not {system.model}; leave it out"
            findings.add(place, "KV973", message)
            continue
        run = as_run(raw, system, place, said.get("source") or Path(path).name)
        if isinstance(run, str):
            findings.add(place, "KV972", run)
        elif not clash:
            runs.append(replace(run, max_num_batched_tokens=_whole(asked.get("max_num_batched_tokens", ""))))
    for sentence in sorted(wrong):
        findings.add(Place(path, 1, 1), "KV972", sentence)
    return runs


def _contradictions(raw: RawRun, asked: Mapping[str, str]) -> list[str]:
    """What a file says of its replica against what is said beside it."""
    sentences = []
    for key in NEEDED:
        told, said = raw.said.get(key), asked.get(key)
        if told and said and key != "model" and not _is_same(key, told, said):
            sentences.append(f"the file says {key} {quote(told)}, asked is {quote(said)}; leave it out")
    return sentences


def _is_same(key: str, told: str, said: str) -> bool:
    if key == "kv_dtype":
        return kv_name(told) == kv_name(said)
    if key == "engine":
        one, other = told.partition("@"), said.partition("@")
        return one[0] == other[0] and same_release(one[2], other[2])
    return told.lower() == said.lower()


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
