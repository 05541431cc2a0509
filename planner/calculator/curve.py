"""KV against context: points of the curve, and where it meets what a GPU has left."""

from __future__ import annotations

from dataclasses import dataclass

from planner.calculator.figures import kv_setup
from planner.calculator.inputs import Inputs
from planner.calculator.kv import answer, setting_of
from planner.calculator.types import KvAnswer, Pool
from planner.memory.kv import logical_bytes, reserved_bytes

POINTS = 400


@dataclass(frozen=True)
class CurvePoint:
    """KV of one batch of sequences of a length, on the GPU that holds most."""

    tokens: int
    logical_bytes: int
    reserved_bytes: int


@dataclass(frozen=True)
class KvCurve:
    """The curve of an answer, up to the longest context asked."""

    answer: KvAnswer
    batch: int
    points: tuple[CurvePoint, ...]
    available_bytes: int | None
    meets_tokens: int | None
    """The longest context at which the batch still fits; None where all of it does, or no memory is known."""


def kv_curve(inputs: Inputs) -> KvCurve:
    """Points from the first token to the longest context asked, or to the model's own maximum.

    Raises:
        InputError: the shape or the storage does not go with the model.
    """
    found = answer(inputs)
    setting, _, _ = setting_of(inputs)
    last = max(setting.contexts_tokens) if inputs.query.contexts_tokens else setting.max_model_len
    batch = max(setting.batches)
    setup = kv_setup(inputs.model, setting)
    points = tuple(
        CurvePoint(tokens, batch * logical_bytes(setup, tokens), batch * reserved_bytes(setup, tokens))
        for tokens in dict.fromkeys(max(1, last * step // POINTS) for step in range(POINTS + 1))
    )
    pool = found.figures.pool
    available = pool.available_bytes if isinstance(pool, Pool) else None
    meets = None
    if available is not None and points[-1].reserved_bytes > available:
        low, high = 0, last
        while low < high:
            middle = (low + high + 1) // 2
            fits = batch * reserved_bytes(setup, middle) <= available
            low, high = (middle, high) if fits else (low, middle - 1)
        meets = low
    return KvCurve(found, batch, points, available, meets)
