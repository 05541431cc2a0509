"""What a harness's file says of one run, before it is known which replica it ran against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from planner.catalog.files import Json

SYSTEM_KEYS = ("model", "gpu", "engine", "parallel", "weights", "kv_dtype", "source")
"""What says which replica it was, and who measured."""

STEADY_WAVES = 2
"""A closed loop needs at least so many requests a user, or the run is over before it is steady."""

NOT_STREAMED = "it has no TPOT: measured without streaming, or with answers of one token"


@dataclass(frozen=True)
class RawRun:
    """Means of one run, in milliseconds and tokens. `said` is what the file tells of the replica, by `SYSTEM_KEYS`."""

    harness: str
    input_tokens: float
    output_tokens: float
    concurrency: float
    is_closed_loop: bool
    tpot_ms: float | None
    ttft_ms: float | None
    output_tokens_per_s: float | None
    accepted_tokens: float = 1.0
    served_name: str = ""
    """The model's name as the server knows it."""
    said: Mapping[str, str] = field(default_factory=dict)


def number(tree: Json, *keys: str) -> float | None:
    """The number below a path of keys; None where there is none, or it is no finite number."""
    value = at(tree, *keys)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < float("inf") else None


def text(tree: Json, *keys: str) -> str:
    """The text below a path of keys; empty where there is none."""
    value = at(tree, *keys)
    return value if isinstance(value, str) else ""


def at(tree: Json, *keys: str) -> Json:
    """The value below a path of keys; None where there is none."""
    for key in keys:
        if not isinstance(tree, dict) or key not in tree:
            return None
        tree = tree[key]
    return tree


def everywhere(tree: Json, key: str) -> Iterator[Json]:
    """All values of a key, however deep."""
    if isinstance(tree, dict):
        if key in tree:
            yield tree[key]
        for value in tree.values():
            yield from everywhere(value, key)
    elif isinstance(tree, list):
        for value in tree:
            yield from everywhere(value, key)


def little(requests_per_s: float | None, ttft_ms: float | None, tpot_ms: float | None, output: float) -> float | None:
    """Mean requests in the replica: rate x time in it (Little's law); None where something is missing.

    >>> little(2.0, 500.0, 10.0, 151.0)
    4.0
    """
    if requests_per_s is None or ttft_ms is None or tpot_ms is None:
        return None
    return requests_per_s * (ttft_ms + (output - 1) * tpot_ms) / 1000
