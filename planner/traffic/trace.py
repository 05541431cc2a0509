"""Request traces: when requests came, how long prompts and outputs were, and which prompt blocks they shared.

`read_trace` takes request logs as they are found: the Azure LLM inference traces, Mooncake, BurstGPT, AIPerf's and
vLLM's logs, and any CSV or JSON Lines file whose columns say what they are; gzip is seen by its first bytes. Rows that
are wrong are left out, counted and kept with their line; a file with too many of them is refused.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from planner.errors import Diagnostic, InputError
from planner.traffic.trace_columns import Columns
from planner.traffic.trace_rows import Batch, NoTraceError, read_batches
from planner.traffic.trace_served import Served, ServedRows
from planner.traffic.trace_text import UnreadableError, open_lines, sha256
from planner.traffic.trace_values import IntArray, Wrong, times, tokens

FloatArray = NDArray[np.float64]

TOLERATED_BAD_ROWS = 5
"""So few bad rows never condemn a file, as long as more rows are good."""

TOLERATED_BAD_SHARE = 0.05
"""More than one bad row in twenty is not a damaged log but another kind of file."""

SHOWN_BAD_ROWS = 20
MOST_ROWS = 50_000_000


@dataclass(frozen=True)
class BadRow:
    """A row that was left out, by its line in the file, and why."""

    line: int
    reason: str


@dataclass(frozen=True, eq=False)
class PrefixBlocks:
    """Hashes of the full prefix up to each block of a prompt: request i has `ids[offsets[i]:offsets[i + 1]]`.

    Equal ids are equal prefixes. Each stands for `block_tokens` tokens; the last block of a prompt may be shorter.
    """

    ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    block_tokens: int


@dataclass(frozen=True, eq=False)
class Trace:
    """Requests in order of arrival, the first at 0. `bad` holds the first of the `bad_rows` that were left out."""

    path: str
    format: str
    columns: str
    sha256: str
    arrival_s: FloatArray
    input_tokens: IntArray
    output_tokens: IntArray
    blocks: PrefixBlocks | None
    bad_rows: int
    bad: tuple[BadRow, ...]
    served: Served | None = None
    """How the requests were served, where that was asked for."""
    began_ns: int = 0
    """The first arrival as the file has it."""

    @property
    def requests(self) -> int:
        """Requests that were read."""
        return len(self.arrival_s)

    @property
    def duration_s(self) -> float:
        """Time from the first arrival to the last."""
        return float(self.arrival_s[-1])


def read_trace(path: str | Path, *, with_served: bool = False) -> Trace:
    """The requests of a file, sorted by arrival; on request also what it says of how they were served.

    Raises:
        InputError: the file cannot be read (KV711), its columns are not understood (KV712), or it has too many bad rows
            or no good ones (KV713).
    """
    found = _Found()
    try:
        lines = open_lines(Path(path))
        with lines.stream, _no_cycles():
            columns, batches = read_batches(lines)
            if with_served:
                found.served = ServedRows(columns.served)
            for batch in batches:
                found.add(columns, batch)
                if found.good_rows > MOST_ROWS:
                    raise UnreadableError(f"it has more than {MOST_ROWS:,} requests; cut it into parts")
                if found.is_hopeless:
                    break
        digest = sha256(Path(path))
    except NoTraceError as error:
        raise InputError([Diagnostic(str(path), error.line, 0, "KV712", str(error))]) from None
    except UnreadableError as error:
        raise InputError([Diagnostic(str(path), 0, 0, "KV711", f"cannot read this trace: {error}")]) from None
    if found.is_refused:
        raise InputError(_too_many(str(path), columns, found))
    return found.trace(str(path), columns, digest)


@contextmanager
def _no_cycles() -> Iterator[None]:
    """Pauses the search for cycles: parsed rows have none, and looking for them takes a quarter of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@dataclass
class _Found:
    """What has been read so far."""

    arrivals_ns: list[IntArray] = field(default_factory=list)
    inputs: list[IntArray] = field(default_factory=list)
    outputs: list[IntArray] = field(default_factory=list)
    hashes: list[NDArray[np.int64]] = field(default_factory=list)
    hash_counts: list[IntArray] = field(default_factory=list)
    good_rows: int = 0
    bad_rows: int = 0
    bad: list[BadRow] = field(default_factory=list)
    served: ServedRows | None = None

    @property
    def is_hopeless(self) -> bool:
        """Whether reading on is of no use."""
        return self.bad_rows > 1_000 and self.bad_rows > self.good_rows

    @property
    def is_refused(self) -> bool:
        """Whether too many rows are bad, or none is good."""
        allowed = max(TOLERATED_BAD_ROWS, TOLERATED_BAD_SHARE * (self.good_rows + self.bad_rows))
        return self.bad_rows > allowed or self.bad_rows > self.good_rows or not self.good_rows

    def add(self, columns: Columns, batch: Batch) -> None:
        """Takes the good rows of a batch."""
        arrival = times(batch.times, columns.time_unit_ns)
        prompt, output = tokens(batch.inputs), tokens(batch.outputs)
        hashes = _flat_hashes(batch.hashes) if columns.hashes is not None else None
        reasons = _reasons(batch, columns, arrival, prompt, output)
        if columns.hashes is not None and hashes is None:
            reasons = _with_hash_reasons(reasons, batch, ".".join(columns.hashes))
        keep = [index for index, reason in enumerate(reasons) if not reason] if reasons else None
        if reasons:
            wrong = [index for index, reason in enumerate(reasons) if reason]
            self.bad_rows += len(wrong)
            room = SHOWN_BAD_ROWS - len(self.bad)
            self.bad += [BadRow(batch.lines[index], reasons[index]) for index in wrong[: max(0, room)]]
        self.arrivals_ns.append(_kept(arrival, keep))
        self.inputs.append(_kept(prompt, keep))
        self.outputs.append(_kept(output, keep))
        self.good_rows += len(self.arrivals_ns[-1])
        if self.served is not None:
            self.served.add(batch.served, keep)
        if columns.hashes is not None:
            if hashes is None or keep is not None:
                hashes = _flat_hashes([batch.hashes[index] for index in keep or ()])
            assert hashes is not None  # rows with other hashes are not kept
            self._add_hashes(*hashes)

    def _add_hashes(self, flat: NDArray[np.int64], counts: IntArray) -> None:
        small = len(flat) == 0 or (int(flat.min()) >= -(2**31) and int(flat.max()) < 2**31)
        self.hashes.append(flat.astype(np.int32) if small else flat)
        self.hash_counts.append(counts)

    def trace(self, path: str, columns: Columns, digest: str) -> Trace:
        """Everything in order of arrival."""
        ns = np.concatenate(self.arrivals_ns)
        prompt, output = np.concatenate(self.inputs), np.concatenate(self.outputs)
        blocks = None
        if columns.hashes is not None:
            offsets = np.concatenate([[0], np.cumsum(np.concatenate(self.hash_counts))]).astype(np.int64)
            blocks = PrefixBlocks(np.concatenate(self.hashes), offsets, columns.block_tokens)
        served = self.served.served() if self.served is not None else None
        if bool((np.diff(ns) < 0).any()):
            order = np.argsort(ns, kind="stable")
            ns, prompt, output = ns[order], prompt[order], output[order]
            blocks = _reordered(blocks, order) if blocks else None
            served = served.taken(order) if served else None
        return Trace(
            path=path,
            format=columns.format,
            columns=columns.words,
            sha256=digest,
            arrival_s=(ns - ns[0]) / 1e9,
            input_tokens=prompt,
            output_tokens=output,
            blocks=blocks,
            bad_rows=self.bad_rows,
            bad=tuple(self.bad),
            served=served,
            began_ns=int(ns[0]),
        )


def _reordered(blocks: PrefixBlocks, order: NDArray[np.int64]) -> PrefixBlocks:
    counts = np.diff(blocks.offsets)[order]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    shift = np.repeat(blocks.offsets[order] - offsets[:-1], counts)
    return PrefixBlocks(blocks.ids[shift + np.arange(len(shift))], offsets, blocks.block_tokens)


def _kept(values: list[int | Wrong] | IntArray, keep: list[int] | None) -> IntArray:
    if keep is None:
        return np.array(values, dtype=np.int64)
    if isinstance(values, np.ndarray):
        return values[keep]
    return np.array([values[index] for index in keep], dtype=np.int64)


def _reasons(batch: Batch, columns: Columns, *parsed: list[int | Wrong] | IntArray) -> list[str]:
    """Why each row is wrong, empty texts for those that are right; nothing at all where all are."""
    found: dict[int, list[str]] = {}
    for index, reason in batch.wrong.items():
        found[index] = [reason]
    names = (columns.time, columns.input, columns.output)
    for path, values in zip(names, parsed, strict=True):
        if isinstance(values, list):
            for index, value in enumerate(values):
                if isinstance(value, Wrong) and index not in batch.wrong:
                    found.setdefault(index, []).append(f"{'.'.join(path)}: {value.reason}")
    return ["; ".join(found.get(index, ())) for index in range(len(batch.lines))] if found else []


def _with_hash_reasons(reasons: list[str], batch: Batch, column: str) -> list[str]:
    wrong = ["" if _flat_hashes([row]) else f"{column}: no list of whole numbers" for row in batch.hashes]
    return [own or hashes for own, hashes in zip(reasons or [""] * len(wrong), wrong, strict=True)]


def _flat_hashes(rows: Sequence[object]) -> tuple[NDArray[np.int64], IntArray] | None:
    """All hashes of rows one after another, and how many each row has; None where a row has no whole numbers."""
    if not set(map(type, rows)) <= {list}:
        return None
    lists = cast("Sequence[list[int]]", rows)
    flat = list(chain.from_iterable(lists))
    if not set(map(type, flat)) <= {int}:
        return None
    try:
        return np.array(flat, dtype=np.int64), np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    except OverflowError:
        return None


def _too_many(path: str, columns: Columns, found: _Found) -> Iterator[Diagnostic]:
    """The verdict on the file, and its first bad rows."""
    rows = found.bad_rows + found.good_rows
    if not rows:
        yield Diagnostic(path, 0, 0, "KV713", f"the trace has no rows below its columns {columns.words}")
        return
    reading = " so far" if found.is_hopeless else ""
    yield Diagnostic(
        path, 0, 0, "KV713",
        f"{found.bad_rows:,} of {rows:,} rows{reading} are wrong, more than a trace may have; read as {columns.format} "
        f"with {columns.words}",
    )  # fmt: skip
    for row in found.bad[:TOLERATED_BAD_ROWS]:
        yield Diagnostic(path, row.line, 0, "KV713", row.reason)
