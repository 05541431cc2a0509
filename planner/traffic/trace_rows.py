"""The rows of a trace file in batches, column by column, whatever the file is written in."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain, islice
from operator import itemgetter
from typing import Any

from planner.traffic.trace_columns import Columns, csv_columns, json_columns
from planner.traffic.trace_served import Figure, Label, ServedColumns
from planner.traffic.trace_text import Lines, UnreadableError
from planner.traffic.trace_vllm import (
    BENCH,
    BENCH_TIMES,
    MARK,
    SERVER_LOG,
    Logged,
    bench_columns,
    bench_rows,
    bench_times,
    logged_requests,
)
from planner.units import quote

BATCH_ROWS = 4_096
BATCH_CHARS = 256 * 1024**2
"""Rows of a batch are held together: where they are longer than this, they are no request log."""
DELIMITERS = ",;\t"
LOOKED_AT_LINES = 100
"""A JSON Lines file has a readable object among its first lines, or is none."""


class NoTraceError(ValueError):
    """A file that can be read and is no trace, with the line that says so (0: the file as a whole)."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass
class Batch:
    """Some rows: their lines, and the values of each column as they stand. `wrong` are rows without columns."""

    lines: list[int]
    times: Sequence[object] = ()
    inputs: Sequence[object] = ()
    outputs: Sequence[object] = ()
    hashes: Sequence[object] = ()
    served: dict[Figure | Label, Sequence[object]] = field(default_factory=dict)
    wrong: dict[int, str] = field(default_factory=dict)


def read_batches(lines: Lines) -> tuple[Columns, Iterator[Batch]]:
    """The columns of a file, and its rows in batches.

    Raises:
        NoTraceError: no columns are found.
        UnreadableError: the file is damaged or too large.
    """
    blocks = lines.blocks()
    before = 0
    for block in blocks:
        start = next((index for index, line in enumerate(block) if line.strip()), None)
        if start is not None:
            below = chain([block[start + 1 :]], blocks)
            first, number = block[start], before + start + 1
            return _json_lines(first, number, below) if first.lstrip()[0] in "{[" else _csv(first, number, below, lines)
        before += len(block)
    raise NoTraceError(0, "the file is empty; a trace has a line of column names, or a JSON object a line")


def _csv(first: str, number: int, blocks: Iterator[list[str]], lines: Lines) -> tuple[Columns, Iterator[Batch]]:
    """A file with a line of names."""
    delimiter = max(DELIMITERS, key=first.count)
    names = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
    columns = csv_columns(names)
    if isinstance(columns, str):
        start = [first, *next(blocks, [])]
        if any(MARK in line for line in start):
            return SERVER_LOG, _server_log(number, chain([start], blocks))
        raise NoTraceError(number, columns)
    where = [names.index(path[0]) for path in (columns.time, columns.input, columns.output)]
    served = {role: names.index(path[0]) for role, path in columns.served.paths.items()}
    return columns, _csv_batches(number, blocks, lines, delimiter, where, served)


def _csv_batches(
    header_line: int,
    blocks: Iterator[list[str]],
    lines: Lines,
    delimiter: str,
    where: Sequence[int],
    served: dict[Figure | Label, int],
) -> Iterator[Batch]:
    held_chars, first_line = lines.chars, header_line + 1

    def bounded() -> Iterator[list[str]]:
        for block in blocks:
            if lines.chars - held_chars > BATCH_CHARS:
                raise UnreadableError(f"{BATCH_ROWS:,} rows have more than {BATCH_CHARS:,} characters; no log has")
            yield block

    reader = csv.reader(chain.from_iterable(bounded()), delimiter=delimiter)
    try:
        while rows := list(islice(reader, BATCH_ROWS)):
            batch = _csv_batch(first_line, rows, where, reader.line_num + header_line - first_line + 1)
            batch.served = {
                role: [row[at] if at < len(row) else "" for row in rows if row] for role, at in served.items()
            }
            yield batch
            first_line, held_chars = header_line + reader.line_num + 1, lines.chars
    except csv.Error as error:
        message = f"line {header_line + reader.line_num:,} is no CSV: {error}; is a quotation mark not closed?"
        raise UnreadableError(message) from error


def _csv_batch(first_line: int, rows: list[list[str]], where: Sequence[int], line_count: int) -> Batch:
    """Rows that fill so many lines from the first one on; a quoted cell may go over several."""
    if line_count == len(rows):
        numbers = list(range(first_line, first_line + line_count))
    else:
        heights = [1 + sum(cell.count("\n") for cell in row) for row in rows]
        numbers = [first_line + above for above in accumulate(heights[:-1], initial=0)]
    if not all(rows):
        numbers = [number for number, row in zip(numbers, rows, strict=True) if row]
        rows = [row for row in rows if row]
    batch, last = Batch(numbers), max(where)
    for at, row in enumerate(rows):
        if len(row) <= last:
            batch.wrong[at] = f"only {len(row)} cell{'' if len(row) == 1 else 's'}"
            row += [""] * (last + 1 - len(row))
    batch.times, batch.inputs, batch.outputs = ([row[at] for row in rows] for at in where)
    return batch


def _json_lines(first: str, number: int, blocks: Iterator[list[str]]) -> tuple[Columns, Iterator[Batch]]:
    """A file with one JSON object a line; the first that can be read names the columns."""
    block = [first, *next(blocks, [])]
    for at, line in enumerate(block[:LOOKED_AT_LINES]):
        row = json_value(line)
        if isinstance(row, dict) and bench_columns(row):
            return replace(BENCH, served=ServedColumns(BENCH_TIMES)), _bench(number + at, row)
        if isinstance(row, dict):
            columns = json_columns(row)
            if isinstance(columns, str):
                raise NoTraceError(number + at, columns)
            return columns, _json_batches(columns, number, chain([block], blocks))
    raise NoTraceError(number, f"read {quote(first.strip())}; write one JSON object a line, or CSV with names")


def _bench(number: int, document: dict[str, object]) -> Iterator[Batch]:
    """A benchmark in one document, in its own order; lines are those of its entries."""
    rows = bench_rows(document)
    if isinstance(rows, str):
        raise NoTraceError(number, rows)
    starts, inputs, outputs, errors = rows
    times = bench_times(document, len(starts))
    failed = {at: "the request failed" for at, error in enumerate(errors) if error}
    yield Batch([number] * len(starts), starts, inputs, outputs, served=times, wrong=failed)


def _server_log(number: int, blocks: Iterator[list[str]]) -> Iterator[Batch]:
    found = list(logged_requests(enumerate(chain.from_iterable(blocks), start=number)))
    batch = Batch([entry.line for entry in found], *_server_columns(found))
    silent = "no token ids in the log; vLLM writes them with VLLM_LOGGING_LEVEL=DEBUG, up to --max-log-len"
    batch.wrong = {at: silent for at, entry in enumerate(found) if entry.input is None}
    yield batch


def _server_columns(found: list[Logged]) -> tuple[list[object], list[object], list[object]]:
    return [entry.time for entry in found], [entry.input for entry in found], [entry.output for entry in found]


def _json_batches(columns: Columns, number: int, blocks: Iterator[list[str]]) -> Iterator[Batch]:
    for block in blocks:
        yield _json_batch(columns, number, block)
        number += len(block)


def _json_batch(columns: Columns, number: int, block: list[str]) -> Batch:
    """The rows of a block, which starts at a line; all at once where all are right, as that is ten times faster."""
    full = [at for at, line in enumerate(block) if line]
    texts = block if len(full) == len(block) else [block[at] for at in full]
    rows = _json_rows(f"[{','.join(texts)}]")
    if not isinstance(rows, list) or len(rows) != len(texts):
        rows = [json_value(text) for text in texts]
    batch = Batch([number + at for at in full])
    if set(map(type, rows)) != {dict}:
        batch.wrong = {at: "not a JSON object" for at, row in enumerate(rows) if not isinstance(row, dict)}
    if columns.error is not None:
        failed = (at for at, row in enumerate(rows) if at_path(row, columns.error))
        batch.wrong |= dict.fromkeys(failed, "the request failed")
    batch.times, batch.inputs, batch.outputs = (
        _column(rows, path) for path in (columns.time, columns.input, columns.output)
    )
    if columns.hashes is not None:
        batch.hashes = _column(rows, columns.hashes)
    batch.served = {role: _column(rows, path) for role, path in columns.served.paths.items()}
    return batch


def _json_rows(text: str) -> object:
    """A whole block by the fast reader; None where anything in it is wrong, and single lines then say what."""
    import orjson

    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value


def _column(rows: Sequence[object], path: tuple[str, ...]) -> list[object]:
    """One value of each row."""
    found: list[Any] = list(rows)
    try:
        for key in path:
            found = list(map(itemgetter(key), found))
    except (KeyError, TypeError, IndexError):
        return [at_path(row, path) for row in rows]
    return found


def at_path(row: object, path: tuple[str, ...]) -> object:
    """The value below keys within keys; None where there is none."""
    for key in path:
        if not isinstance(row, dict):
            return None
        row = row.get(key)
    return row


def json_value(text: str) -> object:
    """The value of a JSON text; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
