"""Engine releases as rule sets. A release takes the newest rule set that is not newer than itself."""

from __future__ import annotations

import re
from fractions import Fraction

from planner.catalog.files import Json, data_rows
from planner.catalog.types import EngineName, EngineRules, NonTorch, ServerDefaults

_GIB = 2**30
_RELEASE = re.compile(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?(?:\.?(?:a|b|rc|dev|post)\d*)*(?:\+[a-z0-9.]+)?")
_NAMES: tuple[EngineName, ...] = ("vllm", "sglang", "tensorrt-llm")


def engine_ids() -> tuple[str, ...]:
    """All rule sets, as a scenario writes them: `vllm@0.24`."""
    rows = data_rows("engines.yaml")
    return tuple(sorted(rows, key=lambda text: (text.partition("@")[0], _row_release(text))))


def load_engine(text: str) -> EngineRules | str:
    """The rules that answer for a release, or a sentence that names the known ones.

    `vllm@0.20.1` takes the newest rule set that is not newer; release candidates count as their release.

    >>> load_engine("vllm@0.24").utilization_ppm
    920000
    >>> rules = load_engine("vllm@0.20.1")
    >>> rules.version, rules.requested, rules.is_inferred
    ('0.19', 'vllm@0.20.1', True)
    """
    written, at, version = text.partition("@")
    name = next((each for each in _NAMES if each == written), None)
    if name is None:
        return f"engine '{written}' is not supported yet; write one of {', '.join(engine_ids())}"
    own = tuple(each for each in engine_ids() if each.startswith(f"{name}@"))
    known = ", ".join(own)
    if not at or not version:
        return f"engine '{text}' names no release, and the rules change between releases; write one of {known}"
    release = _release(version)
    if release is None:
        return f"'{version}' is no release of {name}; write one of {known}"
    row_id = max((each for each in own if _row_release(each) <= release), key=_row_release, default=None)
    if row_id is None:
        return f"no rules for release '{version}' of {name}, which is older than all of {known}"
    return _rules(name, row_id.partition("@")[2], text, data_rows("engines.yaml")[row_id])


def _release(version: str) -> tuple[int, int, int] | None:
    """(major, minor, patch) of `0.24`, `v0.24.0`, `0.15.2rc1`; None for anything else."""
    match = _RELEASE.fullmatch(version)
    if match is None or not version.isascii():
        return None
    major, minor, patch = (int(part or 0) for part in match.groups())
    return major, minor, patch


def _row_release(row_id: str) -> tuple[int, int, int]:
    return _release(row_id.partition("@")[2]) or (0, 0, 0)


def _rules(name: EngineName, version: str, requested: str, row: dict[str, Json]) -> EngineRules:
    return EngineRules(
        name=name,
        version=version,
        requested=requested,
        block_tokens=_integer(row, "block_tokens"),
        utilization_ppm=_ppm(row, "utilization"),
        graphs_in_budget=bool(row["graphs_in_budget"]),
        sampler_bytes_per_logit=_integer(row, "sampler_bytes_per_logit"),
        kv_dtypes=_texts(row, "kv_dtypes"),
        source=str(row["source"]),
        in_flight_steps=_integer(row, "in_flight_steps"),
        large_gpu_bytes=_integer(row, "large_gpu_gib") * _GIB,
        null_blocks=_integer(row, "null_blocks"),
        prints_concurrency_tokens=bool(row["prints_concurrency_tokens"]),
        group_by_ratio=bool(row["group_by_ratio"]),
        reserves_answers=bool(row.get("reserves_answers", False)),
        recurrent_blocks=_integer(row, "recurrent_blocks"),
        window_pool_ppm=_ppm(row, "window_pool"),
        state_pool_ppm=_ppm(row, "state_pool"),
        defaults=tuple(_defaults(each) for each in _tables(row, "defaults")),
        non_torch=tuple(_non_torch(each) for each in _tables(row, "non_torch_gib")),
        recalled=_texts(row, "recalled"),
    )


def _defaults(row: dict[str, Json]) -> ServerDefaults:
    graphs = row.get("graphs")
    narrow, wide = (int(str(each)) for each in graphs) if isinstance(graphs, list) else (0, 0)
    return ServerDefaults(
        from_bytes=_integer(row, "from_gib") * _GIB,
        batched_tokens=_integer(row, "batched_tokens"),
        sequences=_integer(row, "sequences"),
        graph_sequences=(narrow, wide),
    )


def _non_torch(row: dict[str, Json]) -> NonTorch:
    """GiB as text become bytes, rounded up."""
    sizes = sorted((int(tp), Fraction(str(gib))) for tp, gib in row.items() if tp != "where")
    return NonTorch(str(row["where"]), tuple((tp, -((-gib * _GIB) // 1)) for tp, gib in sizes))


def _tables(row: dict[str, Json], key: str) -> list[dict[str, Json]]:
    found = row.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _texts(row: dict[str, Json], key: str) -> tuple[str, ...]:
    found = row.get(key)
    return tuple(str(each) for each in found) if isinstance(found, list) else ()


def _ppm(row: dict[str, Json], key: str) -> int:
    return int(Fraction(str(row.get(key, 0))) * 1_000_000)


def _integer(row: dict[str, Json], key: str) -> int:
    return int(str(row[key]))
