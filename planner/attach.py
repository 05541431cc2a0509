"""What a scenario's own room cannot know: the names of the preset table, the contents of capacity tables and traces.

Mistakes are reported like any other: `file:line:col`, all at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from planner.compression.names import preset_name, preset_rows
from planner.errors import Diagnostic, InputError
from planner.scenario.checks import PresetNames
from planner.scenario.traffic import PrefixUse, TraceFacts, TraceUse, TrafficClass
from planner.scenario.types import ModelSpec, Place, Scenario

if TYPE_CHECKING:
    from planner.traffic.trace import Trace

COLUMNS = ("gpu", "class", "requests_per_s")
MOST_BYTES = 10_000_000
MOST_RATE = Fraction(10**9)


def preset_names() -> PresetNames:
    """The ids and rows that a scenario may name."""
    rows = preset_rows()
    return PresetNames(tuple(name for name, _ in rows), tuple(preset_name(name, version) for name, version in rows))


Known = Mapping[str, TraceUse]
"""Traces that a plan carries, by the path that stands for them: their files need not be at hand."""


def attach(scenario: Scenario, known: Known = MappingProxyType({})) -> Scenario:
    """The scenario with its capacity tables and traces in place.

    Raises:
        InputError: unreadable or wrong tables and traces.
    """
    problems = _provider_problems(scenario)
    traffic, traced = _with_traces(scenario, known, problems)
    models: dict[str, ModelSpec] = {}
    places = dict(scenario.places)
    for name, model in scenario.models.items():
        if model.capacity_path is None:
            models[name] = model
            continue
        rows, found = _read_table(scenario, model, model.capacity_path)
        problems += found
        models[name] = replace(model.with_capacity(rows), capacity_path=Path(model.capacity_path).name)
        places[f"models.{name}.capacity_table.file"] = Place(model.capacity_path, 1, 1)
    if problems:
        raise InputError(problems)
    return replace(scenario, models=models, traffic=traffic, places=places | traced)


def _provider_problems(scenario: Scenario) -> list[Diagnostic]:
    """A provider of latencies that cannot answer here: without this every model would look infeasible."""
    if scenario.performance.provider != "silicon":
        return []
    from planner.performance.silicon import INSTALL, is_installed

    if is_installed():
        return []
    here = _at(scenario, "performance.provider", "performance")
    message = f"performance.provider: read silicon, whose package is not installed: {INSTALL}, or write roofline"
    return [_problem(here, "KV975", message)]


def _with_traces(
    scenario: Scenario, known: Known, problems: list[Diagnostic]
) -> tuple[dict[str, TrafficClass], dict[str, Place]]:
    """Classes with what their traces say, and where the files are; a file is read once for all its classes."""
    classes: dict[str, TrafficClass] = {}
    places: dict[str, Place] = {}
    read: dict[str, Trace] = {}
    for name, traffic in scenario.traffic.items():
        classes[name] = traffic
        if traffic.trace is None:
            continue
        here = _at(scenario, f"traffic.{name}.trace", f"traffic.{name}")
        try:
            facts = _trace_facts(traffic.trace, known, read)
            used = facts if isinstance(facts, str) else _traced(traffic, traffic.trace, facts, scenario)
        except InputError as error:
            problems += error.diagnostics
            continue
        if isinstance(used, str):
            problems.append(_problem(here, "KV714", f"traffic.{name}.trace: {used}"))
            continue
        classes[name] = used
        places[f"traffic.{name}.trace.file"] = Place(traffic.trace.path, 1, 1)
    return classes, places


def _trace_facts(use: TraceUse, known: Known, read: dict[str, Trace]) -> TraceFacts | str:
    """What the file says, or what a plan has kept of it where it is asked the same."""
    from planner.traffic.trace import read_trace
    from planner.traffic.trace_use import facts_of

    kept = known.get(use.path)
    if kept is not None and kept.facts is not None:
        part = (use.peak_window_us, use.start_us, use.end_us)
        if part == (kept.peak_window_us, kept.start_us, kept.end_us):
            return kept.facts
    if use.path not in read:
        read[use.path] = read_trace(use.path)
    return facts_of(read[use.path], use)


def _traced(traffic: TrafficClass, use: TraceUse, facts: TraceFacts, scenario: Scenario) -> TrafficClass | str:
    """A class with its trace's rates; what it says of prefixes itself stands above the trace's hashes."""
    from planner.traffic.trace_use import rates_of

    peak, mean = rates_of(use, facts)
    own_share = f"traffic.{traffic.name}.prefix.reusable" in scenario.places
    reusable = traffic.reusable_prefix_ppm if own_share else facts.reusable_ppm
    prefix = traffic.prefix
    if prefix is None and facts.reusable_ppm and not own_share:
        prefix = PrefixUse(facts.working_set_tokens)
    elif prefix is not None and not prefix.working_set_tokens:
        if not facts.working_set_tokens:
            return "it has no prefix hashes; write prefix.reusable and prefix.working_set"
        prefix = replace(prefix, working_set_tokens=facts.working_set_tokens)
    kept = replace(use, path=Path(use.path).name, facts=facts)
    return replace(traffic, peak_rps=peak, mean_rps=mean, trace=kept, reusable_prefix_ppm=reusable, prefix=prefix)


def _at(scenario: Scenario, *paths: str) -> Place:
    return next((scenario.places[path] for path in paths if path in scenario.places), Place("", 0, 0))


def _problem(place: Place, code: str, message: str) -> Diagnostic:
    return Diagnostic(place.file, place.line, place.col, code, message)


def _read_table(
    scenario: Scenario, model: ModelSpec, path: str
) -> tuple[dict[str, dict[str, Fraction]], list[Diagnostic]]:
    """Rows of a capacity table: GPU -> class -> requests/s. Problems carry the table's own lines."""
    here = _at(scenario, f"models.{model.name}.capacity_table", f"models.{model.name}")
    try:
        if Path(path).stat().st_size > MOST_BYTES:
            return {}, [_problem(here, "KV702", f"capacity table {path} is larger than {MOST_BYTES:,} bytes")]
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        return {}, [_problem(here, "KV702", f"cannot read capacity table {path}: {error.strerror}")]
    except UnicodeDecodeError:
        return {}, [_problem(here, "KV702", f"capacity table {path} is not UTF-8 text; save it as CSV in UTF-8")]
    import csv

    lines = list(csv.reader(text.splitlines()))
    if not lines or tuple(cell.strip() for cell in lines[0]) != COLUMNS:
        read = ",".join(lines[0]) if lines else "an empty file"
        message = f"the first line must be `{','.join(COLUMNS)}`; read {read[:80]!r}"
        return {}, [Diagnostic(path, 1, 1, "KV702", message)]
    rows: dict[str, dict[str, Fraction]] = {}
    problems: list[Diagnostic] = []
    classes = {name for name, traffic in scenario.traffic.items() if traffic.model == model.name}
    gpus = {pool.gpu.id for pool in scenario.inventory.values()}
    for number, cells in enumerate(lines[1:], start=2):
        if cells and any(cell.strip() for cell in cells):
            problems += _read_row(path, number, [cell.strip() for cell in cells], classes, gpus, rows)
    for gpu in sorted(rows):
        for name in sorted(classes - set(rows[gpu])):
            message = f"no row for {gpu} and class {name}; write `{gpu},{name},0` where the GPU cannot serve it"
            problems.append(Diagnostic(path, 1, 1, "KV702", message))
    if not rows and not problems:
        problems.append(Diagnostic(path, 1, 1, "KV702", "the table has no rows; write one line a GPU and class"))
    return rows, problems


def _read_row(
    path: str, number: int, cells: list[str], classes: set[str], gpus: set[str], rows: dict[str, dict[str, Fraction]]
) -> list[Diagnostic]:
    if len(cells) != len(COLUMNS):
        message = f"read {len(cells)} cells, a row has {len(COLUMNS)}: {','.join(COLUMNS)}"
        return [Diagnostic(path, number, 1, "KV702", message)]
    gpu, name, text = cells
    found = []
    if name not in classes:
        found.append(f"class {name!r} does not use this model; write one of {', '.join(sorted(classes))}")
    if gpu not in gpus:
        found.append(f"no pool has the GPU {gpu!r}; write one of {', '.join(sorted(gpus))}")
    rate = _rate(text)
    if rate is None:
        found.append(f"requests_per_s must be a plain number from 0 to {int(MOST_RATE):,}; read {text!r}")
    elif not found:
        if name in rows.setdefault(gpu, {}):
            found.append(f"{gpu} and {name} stand in the table twice; keep one row")
        rows[gpu][name] = rate
    return [Diagnostic(path, number, 1, "KV702", message) for message in found]


def _rate(text: str) -> Fraction | None:
    """An exact non-negative decimal; nothing that float() would also take (nan, inf, 1e3)."""
    whole, _, part = text.partition(".")
    if not (whole.isascii() and whole.isdigit() and (not part or (part.isascii() and part.isdigit()))):
        return None
    rate = Fraction(text)
    return rate if rate <= MOST_RATE and len(text) <= 40 else None
