"""Engine releases as rule sets. Rules change between releases, so only exact ones are known."""

from __future__ import annotations

from fractions import Fraction

from planner.catalog.files import Json, data_rows
from planner.catalog.types import EngineRules

_GIB = 2**30


def engine_ids() -> tuple[str, ...]:
    """All engine releases that have rules, as a scenario writes them: `vllm@0.24`."""
    rows = data_rows("engines.yaml")
    return tuple(sorted(rows, key=lambda name: (name.partition("@")[0], _release(name))))


def load_engine(text: str) -> EngineRules | str:
    """Rules of one release, or a sentence that names the known ones.

    >>> load_engine("vllm@0.24").utilization_ppm
    920000
    """
    row = data_rows("engines.yaml").get(text)
    if row is not None:
        return _rules(text, row)
    known = ", ".join(engine_ids())
    name, at, version = text.partition("@")
    names = sorted({each.partition("@")[0] for each in engine_ids()})
    if name not in names:
        return f"engine '{name}' is not supported yet; write one of {known}"
    if not at or not version:
        return f"engine '{text}' names no release, and the rules change between releases; write one of {known}"
    return f"no rules for release '{version}' of {name}; write one of {known}"


def _release(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.partition("@")[2].split("."))


def _rules(text: str, row: dict[str, Json]) -> EngineRules:
    name, _, version = text.partition("@")
    dtypes = row["kv_dtypes"]
    return EngineRules(
        name=name,
        version=version,
        requested=text,
        block_tokens=_integer(row, "block_tokens"),
        utilization_ppm=int(Fraction(str(row["utilization"])) * 1_000_000),
        graphs_in_budget=bool(row["graphs_in_budget"]),
        sampler_bytes_per_logit=_integer(row, "sampler_bytes_per_logit"),
        kv_dtypes=tuple(str(each) for each in dtypes) if isinstance(dtypes, list) else (),
        source=str(row["source"]),
        in_flight_steps=_integer(row, "in_flight_steps"),
        large_gpu_bytes=_integer(row, "large_gpu_gib") * _GIB,
    )


def _integer(row: dict[str, Json], key: str) -> int:
    return int(str(row[key]))
