"""Saved metrics of Prometheus: the text of one scrape or of several, or the JSON answer to range or instant queries.

Source: Prometheus documentation, Exposition formats (text) and HTTP API (range queries: `resultType` matrix; instant
queries: vector).
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from planner.errors import Diagnostic, InputError
from planner.units import quote

Labels = tuple[tuple[str, str], ...]
Points = tuple[tuple[float, float], ...]

MOST_BYTES = 256 * 2**20
_LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?\s+(\S+)(?:\s+(-?\d+))?\s*(?:# .*)?")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')


@dataclass(frozen=True)
class Series:
    """One series: (seconds, value) in order of time. Of a single scrape there is one point."""

    name: str
    labels: Labels
    points: Points

    def label(self, name: str) -> str:
        """The value of a label; empty where it has none."""
        return next((value for key, value in self.labels if key == name), "")


def read_series(path: str) -> tuple[Series, ...]:
    """All series of a file, plain or gzip.

    Raises:
        InputError: the file cannot be read (KV731), or is no such text or JSON, or was cut off (KV732).
    """
    text = _text(path)
    if text.lstrip()[:1] in ("{", "["):
        return _of_json(text, path)
    return _of_text(text, path)


def _text(path: str) -> str:
    try:
        file = Path(path)
        if not file.is_file():
            raise ValueError("there is no such file" if not file.exists() else "it is not a regular file")
        data = file.read_bytes() if file.stat().st_size <= MOST_BYTES else None
        if data is not None and data.startswith(b"\x1f\x8b"):
            with gzip.open(path) as stream:
                data = stream.read(MOST_BYTES + 1)
        if data is None or len(data) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES // 2**20} MiB; save fewer series or a shorter time")
        return data.decode("utf-8-sig")
    except EOFError:
        reason = "its gzip data are cut off; copy the file anew"
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text"
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
    except ValueError as error:
        reason = str(error)
    raise InputError([Diagnostic(path, 0, 0, "KV731", f"cannot read these metrics: {reason}")])


def _of_text(text: str, path: str) -> tuple[Series, ...]:
    """Lines `name{label="value"} number [milliseconds]`; a series that comes again is of a later scrape."""
    found: dict[tuple[str, Labels], list[tuple[float, float]]] = {}
    wrong: list[Diagnostic] = []
    for number, line in enumerate(text.splitlines(), start=1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        sample = _sample(bare)
        if sample is None:
            wrong.append(Diagnostic(path, number, 0, "KV732", f"no metric can be read from {quote(bare)}"))
            continue
        name, labels, value, at_ms = sample
        points = found.setdefault((name, labels), [])
        points.append((at_ms / 1e3 if at_ms is not None else float(len(points)), value))
    if wrong:
        raise InputError(_few(wrong, path))
    if not found:
        raise InputError(
            [Diagnostic(path, 0, 0, "KV732", "there are no metrics in this file; save `curl .../metrics`")]
        )
    return tuple(Series(name, labels, tuple(sorted(points))) for (name, labels), points in found.items())


def _few(wrong: list[Diagnostic], path: str) -> Iterator[Diagnostic]:
    """The first mistakes; many of them mean another kind of file, one at the end a file that was cut off."""
    yield from wrong[:3]
    if len(wrong) > 3:
        yield Diagnostic(
            path, 0, 0, "KV732", f"{len(wrong):,} lines are no metrics; save Prometheus text or query JSON"
        )


def _sample(line: str) -> tuple[str, Labels, float, int | None] | None:
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    labels = _labels(match[2] or "")
    try:
        value = float(match[3])
    except ValueError:
        return None
    return None if labels is None else (match[1], labels, value, int(match[4]) if match[4] else None)


def _labels(text: str) -> Labels | None:
    """Pairs of a label list.

    >>> _labels('model_name="a",le="0.5"')
    (('le', '0.5'), ('model_name', 'a'))
    """
    found, at = [], 0
    while at < len(text.rstrip()):
        match = _LABEL.match(text, at)
        if match is None:
            return None
        found.append((match[1], re.sub(r"\\(.)", lambda char: "\n" if char[1] == "n" else char[1], match[2])))
        at = match.end()
    return tuple(sorted(found))


def _of_json(text: str, path: str) -> tuple[Series, ...]:
    """The answer to one query, or several of them, one behind the other or in a list."""
    found: dict[tuple[str, Labels], set[tuple[float, float]]] = {}
    try:
        for tree in _documents(text):
            for name, labels, points in _results(tree):
                found.setdefault((name, labels), set()).update(points)
    except json.JSONDecodeError as error:
        words = f"this is not JSON: {error.msg}; was the file cut off?"
        raise InputError([Diagnostic(path, error.lineno, error.colno, "KV732", words)]) from None
    except (ValueError, RecursionError) as error:
        raise InputError([Diagnostic(path, 0, 0, "KV732", str(error))]) from None
    if not found:
        raise InputError([Diagnostic(path, 0, 0, "KV732", "the query has no result; check its time and its names")])
    return tuple(Series(name, labels, tuple(sorted(points))) for (name, labels), points in found.items())


def _documents(text: str) -> Iterator[object]:
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        while at < len(text) and text[at].isspace():
            at += 1
        if at < len(text):
            tree, at = decoder.raw_decode(text, at)
            yield from tree if isinstance(tree, list) else [tree]


def _results(tree: object) -> Iterator[tuple[str, Labels, list[tuple[float, float]]]]:
    if not isinstance(tree, dict):
        raise ValueError("this is no answer of Prometheus; save the JSON of /api/v1/query_range")
    if tree.get("status") == "error":
        raise ValueError(f"Prometheus answered with an error: {tree.get('error', '')}")
    data = tree.get("data", tree)
    results = data.get("result") if isinstance(data, dict) else None
    if not isinstance(results, list):
        raise ValueError("this is no answer of Prometheus: it has no data.result; save the JSON of /api/v1/query_range")
    for result in results:
        metric = result.get("metric") if isinstance(result, dict) else None
        if not isinstance(metric, dict) or "__name__" not in metric:
            raise ValueError("a result has no metric name; query the metrics themselves, without functions around them")
        values = result.get("values", [result["value"]] if "value" in result else [])
        labels = tuple(sorted((key, str(value)) for key, value in metric.items() if key != "__name__"))
        try:
            points = [(float(at), float(value)) for at, value in values]
        except (TypeError, ValueError):
            raise ValueError(f"{metric['__name__']}: its values are no pairs of time and number") from None
        yield str(metric["__name__"]), labels, points
