"""Relations between keys, and references: what a single value cannot tell.

Works on the tree, not on the blocks, so that a mistake in one value does not hide another one elsewhere:
what cannot be read is skipped here, because the schema reports it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from planner import catalog, units
from planner.catalog.types import EngineRules, GpuFacts, ModelFacts
from planner.scenario.checks_time import check_losses, check_period_rates, check_time
from planner.scenario.fields import parse_line, percentile_ppm, suggestion
from planner.scenario.source import Entry, Findings, ListNode, MapNode, Node, TextNode, child, child_map, child_text
from planner.scenario.source import value_of as _read
from planner.scenario.speculative import check_speculative
from planner.scenario.types import Place
from planner.units import quote, shorten

Bound = Literal["", "low", "high"]
"""Which end of the interval of an architecture that is not understood; empty: it must be understood."""

PHYSICS_KEYS = {
    "ref": "llama-3.3-70b-instruct",
    "engine": "vllm@0.24",
    "weights": "[fp8, bf16]",
    "parallel": "[tp2, tp4]",
    "context_limit": "[8Ki, 16Ki]",
    "kv_presets": "[bf16, fp8]",
}
"""Keys that a model needs when no capacity table stands in for physics, with examples."""
LATER_DEMAND = ("trace",)
"""Words for later that would stand in place of rates and lengths: without them nothing else is missing."""
LENGTHS_EXAMPLE = "{p50: 900, p95: 6_000, max: 30_000}"


@dataclass(frozen=True)
class PresetNames:
    """The preset table as the language needs it: ids for `kv_presets`, rows `id@version` for `compression.allow`."""

    ids: tuple[str, ...]
    rows: tuple[str, ...]


@dataclass
class Lookup:
    """The catalog as one scenario sees it: relative paths count from the file that names them; answers are
    kept."""

    scenario_dir: Path
    presets: PresetNames | None = None
    models: dict[tuple[str, Path, Bound], ModelFacts | str] = field(default_factory=dict)

    def base_dir(self, place: Place) -> Path:
        """The folder from which a relative path at this place counts."""
        return Path(place.file).parent if place.line else self.scenario_dir

    def model(self, node: TextNode, *, bound: bool = False) -> ModelFacts | str:
        """Facts of a model, or why there are none; with `bound` the most KV that an unknown one may keep."""
        return self._model(node, "high" if bound else "")

    def low_facts(self, node: TextNode, facts: ModelFacts) -> ModelFacts | None:
        """Facts of the least KV that a bounded model may keep; None where the model is understood."""
        low = self._model(node, "low") if facts.bound else None
        return None if isinstance(low, str) else low

    def _model(self, node: TextNode, bound: Bound) -> ModelFacts | str:
        key = (node.text, self.base_dir(node.place), bound)
        if key not in self.models:
            self.models[key] = _load_model(*key)
        return self.models[key]

    def gpu(self, gpu_id: str) -> GpuFacts | None:
        """Facts of a GPU."""
        return catalog.load_gpu(gpu_id)

    def engine(self, engine_id: str) -> EngineRules | str:
        """Rules of an engine version, or why there are none."""
        return catalog.load_engine(engine_id)

    def file(self, node: TextNode) -> Path:
        """The absolute path of a file that the scenario names."""
        return (self.base_dir(node.place) / node.text).absolute()


def _load_model(ref: str, base_dir: Path, bound: Bound) -> ModelFacts | str:
    """Facts of a model; devices and impossible names never reach a reader, which might not come back."""
    try:
        path = base_dir / ref
        if path.exists() and not path.is_file() and not path.is_dir():
            return f"{quote(ref)} is not a regular file; write a catalog id or the path of a config.json"
        return catalog.load_model(ref, base_dir, bound=bound) if bound else catalog.load_model(ref, base_dir)
    except OSError as error:
        return f"cannot read {quote(ref)}: {error.strerror}; write a catalog id or the path of a config.json"
    except ValueError:
        return f"{quote(ref)} is not a file name; write a catalog id or the path of a config.json"


def check(root: MapNode, lookup: Lookup, findings: Findings) -> None:
    """Reports every relation and reference of the scenario that does not hold."""
    models, traffic, pools = (child_map(root, key) for key in ("models", "traffic", "inventory"))
    _check_models_have_traffic(models, traffic, findings)
    for name, entry in models.items():
        _check_model(f"models.{shorten(name, 64)}", entry, lookup, findings)
    for name, entry in traffic.items():
        _check_class(f"traffic.{shorten(name, 64)}", entry, root, models, findings)
    for name, entry in pools.items():
        _check_pool(f"inventory.{shorten(name, 64)}", entry, lookup, findings)
    for name, entry in child_map(root, "limits").items():
        _check_limit(f"limits.{shorten(name, 64)}", entry, pools, findings)
    _check_spare(root, findings)
    check_time(root, findings)
    check_losses(root, findings)
    if lookup.presets is not None:
        _check_presets(root, models, lookup.presets, findings)
    for name, entry in child_map(root, "guardrails").items():
        _check_guardrail(f"guardrails.{shorten(name, 64)}", entry, root, findings)
    _check_currencies(root, findings)


def _is_line(node: TextNode) -> bool:
    """Whether a scalar is a text that may be looked up; the schema reports those that are not."""
    return not node.is_empty and _read(node, parse_line) is not None


def _check_presets(root: MapNode, models: dict[str, Entry], known: PresetNames, findings: Findings) -> None:
    """Ids of KV presets, and rows that the compression policy allows by name."""
    for node in [scalar for entry in models.values() for scalar in _scalars(child(entry.node, "kv_presets"))]:
        if _is_line(node) and node.text not in known.ids:
            hint = suggestion(node.text, list(known.ids))
            findings.add(node.place, "KV701", f"unknown KV preset {quote(node.text)}; {hint}")
    for node in _scalars(child(root, "compression", "allow")):
        if _is_line(node) and "@" in node.text and node.text not in known.rows:
            hint = suggestion(node.text, list(known.rows))
            findings.add(node.place, "KV703", f"no preset row {quote(node.text)}; {hint}")


def _scalars(node: Node | None) -> list[TextNode]:
    """The scalars of a list, or the one that stands in its place."""
    nodes = node.items if isinstance(node, ListNode) else (node,)
    return [entry for entry in nodes if isinstance(entry, TextNode)]


def _check_models_have_traffic(models: dict[str, Entry], traffic: dict[str, Entry], findings: Findings) -> None:
    named = [child_text(entry.node, "model") for entry in traffic.values()]
    used = {node.text for node in named if node}
    if not traffic or None in named or not used <= set(models):
        return
    for name, entry in models.items():
        if name not in used:
            shown = shorten(name, 64)
            message = f"models.{shown}: no traffic class asks it; add one with 'model: {shown}', or drop it"
            findings.add(entry.key_place, "KV409", message)


def _check_model(path: str, entry: Entry, lookup: Lookup, findings: Findings) -> None:
    node = entry.node
    if not isinstance(node, MapNode):
        return
    _check_range(f"{path}.max_batch", child(node, "max_batch"), findings)
    _check_range(f"{path}.replicas", child(node, "replicas"), findings)
    if "capacity_table" in node.entries:
        _check_capacity_model(path, node, lookup, findings)
        return
    for key, example in PHYSICS_KEYS.items():
        if key not in node.entries:
            message = f"{path}: the key {quote(key)} is missing; write {quote(f'{key}: {example}')}"
            findings.add(entry.key_place, "KV301", message)
    ref, engine = child_text(node, "ref"), child_text(node, "engine")
    facts = _check_ref(path, node, ref, lookup, findings)
    _check_adjust(f"{path}.adjust", node, findings)
    check_speculative(f"{path}.speculative", node, facts, findings)
    rules = lookup.engine(engine.text) if engine and _is_line(engine) else None
    if engine and isinstance(rules, str):
        findings.add(engine.place, "KV419", f"{path}.engine: {rules}")


def _check_ref(path: str, node: MapNode, ref: TextNode | None, lookup: Lookup, findings: Findings) -> ModelFacts | None:
    """The facts of the model, None where it is not known or cannot be read."""
    if ref is None or not _is_line(ref):
        return None
    flag = child_text(node, "bound")
    bound = flag is not None and flag.text == "true"
    facts = lookup.model(ref, bound=bound)
    if isinstance(facts, str):
        would_do = not bound and not isinstance(lookup.model(ref, bound=True), str)
        hint = "; 'bound: true' plans it at the most KV that it may keep" if would_do else ""
        findings.add(ref.place, "KV417", f"{path}.ref: {facts}{hint}")
        return None
    return facts


def _check_adjust(path: str, node: MapNode, findings: Findings) -> None:
    adjust = child(node, "adjust")
    if isinstance(adjust, MapNode) and not {"memory", "decode_time"} & set(adjust.entries):
        message = f"{path}: nothing is adjusted; write 'memory: 3GiB/gpu', 'decode_time: 12%' or both"
        findings.add(node.entries["adjust"].key_place, "KV421", message)


def _check_range(path: str, node: Node | None, findings: Findings) -> None:
    low, high = _read(child(node, "min"), units.parse_integer), _read(child(node, "max"), units.parse_integer)
    low = 1 if low is None and path.endswith("max_batch") else low
    if low is not None and high is not None and low > high:
        place = child_map(node)["max"].place
        findings.add(place, "KV408", f"{path}: max {high:,} is below min {low:,}; write a max of at least {low}")


def _check_capacity_model(path: str, node: MapNode, lookup: Lookup, findings: Findings) -> None:
    """A replica is one GPU of the table: nothing that describes a replica may stand beside it."""
    for key in (*PHYSICS_KEYS, "bound", "max_batch", "engine_args", "speculative", "adjust"):
        if key in node.entries:
            message = f"{path}: {quote(key)} has no meaning with a capacity table; drop it"
            findings.add(node.entries[key].key_place, "KV410", message)
    table = child_text(node, "capacity_table")
    if table is None or not _is_line(table):
        return
    reason = _unreadable(lookup.file(table))
    if reason:
        message = f"{path}.capacity_table: cannot read {quote(table.text)}: {reason}; write the path of a CSV file"
        findings.add(table.place, "KV601", message)


def _unreadable(path: Path) -> str | None:
    """Why a file cannot be read, or None if it can."""
    try:
        if not path.exists():
            return "there is no such file"
        if not path.is_file():
            return "it is not a regular file"
        with path.open("rb"):
            return None
    except OSError as error:
        return (error.strerror or "it cannot be opened").lower()


def _check_class(path: str, entry: Entry, root: MapNode, models: dict[str, Entry], findings: Findings) -> None:
    node = entry.node
    if not isinstance(node, MapNode):
        return
    model = child_text(node, "model")
    if model and not model.is_empty and model.text not in models and models:
        hint = suggestion(model.text, list(models))
        findings.add(model.place, "KV401", f"{path}.model: there is no model {quote(model.text)}; {hint}")
    has_table = model is not None and model.text in models and _has_table(models[model.text])
    is_later = any(key in LATER_DEMAND for key in node.entries)
    if "rate" in node.entries:
        check_period_rates(path, node, root, has_table, findings)
    else:
        _check_rates(path, entry, node, has_table, is_later, findings)
    _check_slo(path, entry, node, has_table, is_later, findings)
    if has_table:
        _check_rate_only(path, node, findings)
    for key in ("input_tokens", "output_tokens"):
        if key in node.entries:
            _check_lengths(f"{path}.{key}", node.entries[key], findings)
        elif not has_table and not is_later:
            message = f"{path}: the key {quote(key)} is missing; write '{key}: {LENGTHS_EXAMPLE}'"
            findings.add(entry.key_place, "KV301", message)


def _has_table(entry: Entry) -> bool:
    return "capacity_table" in child_map(entry.node)


def _check_rates(path: str, entry: Entry, node: MapNode, has_table: bool, is_later: bool, findings: Findings) -> None:
    """A class has `peak` and `mean`, or `requests` a day."""
    given = [key for key in ("peak", "mean") if key in node.entries]
    if "requests" in node.entries:
        for key in given:
            message = f"{path}: {quote(key)} does not mix with 'requests' of a daily batch; keep one of them"
            findings.add(node.entries[key].key_place, "KV405", message)
        return
    required = () if is_later else ("peak",) if has_table else ("peak", "mean")
    for key, example in (("peak", "18 req/s"), ("mean", "7.5 req/s")):
        if key in required and key not in given:
            message = f"{path}: the key {quote(key)} is missing; write '{key}: {example}', or 'requests'"
            findings.add(entry.key_place, "KV301", message)
    peak, mean = (_read(child(node, key), units.parse_rate) for key in ("peak", "mean"))
    if peak is not None and mean is not None and mean > peak:
        read = f"mean {units.format_rate(mean)} is above peak {units.format_rate(peak)}"
        message = f"{path}: {read}; peak is the rate of the worst minute, write it at least as high"
        findings.add(node.entries["mean"].place, "KV404", message)


def _check_slo(path: str, entry: Entry, node: MapNode, has_table: bool, is_later: bool, findings: Findings) -> None:
    """A batch promises `finish_within`; other classes promise times of a token, or nothing with a capacity
    table."""
    slo = child_map(node, "slo")
    place = node.entries["slo"].key_place if "slo" in node.entries else entry.key_place
    if "slo" in node.entries and not isinstance(node.entries["slo"].node, MapNode):
        return
    times = [key for key in ("ttft_p95", "tpot_p95") if key in slo]
    if "requests" in node.entries:
        for key in times:
            message = f"{path}.slo: {quote(key)} has no meaning for a daily batch; drop it, or give peak and mean"
            findings.add(slo[key].key_place, "KV406", message)
        if "finish_within" not in slo:
            message = f"{path}: a daily batch needs a time to finish; write 'slo: {{finish_within: 6h}}'"
            findings.add(place, "KV406", message)
        within = _read(child(node, "slo", "finish_within"), units.parse_duration_us)
        if within is not None and within > units.DURATION_UNITS_US["d"]:
            message = f"{path}.slo.finish_within: one batch a day must finish within a day; write at most 24h"
            findings.add(slo["finish_within"].place, "KV406", message)
        return
    if "finish_within" in slo:
        message = f"{path}.slo: 'finish_within' is for a daily batch; write 'requests: 200_000/day', or drop it"
        findings.add(slo["finish_within"].key_place, "KV406", message)
    if not times and not has_table and not is_later:
        message = f"{path}: no promise; write 'slo: {{ttft_p95: 800ms, tpot_p95: 45ms}}' or one of the two"
        findings.add(place, "KV406", message)


def _check_rate_only(path: str, node: MapNode, findings: Findings) -> None:
    """With a capacity table there is no physics: lengths, promises in time and quality have nothing to act
    on."""
    keys = ["input_tokens", "output_tokens", "prefix", "rejected_at_most", "cut_short_at_most", "quality"]
    keys += [] if "requests" in node.entries else ["slo"]
    for key in keys:
        if key in node.entries:
            message = f"{path}: {quote(key)} has no meaning with a capacity table, which only knows rates; drop it"
            findings.add(node.entries[key].key_place, "KV411", message)


def _check_lengths(path: str, entry: Entry, findings: Findings) -> None:
    """Percentiles grow with their probability, up to a maximum that is required."""
    if not isinstance(entry.node, MapNode):
        return
    entries = entry.node.entries
    if "max" not in entries:
        message = f"{path}: 'max' is missing; write the longest length, like {LENGTHS_EXAMPLE}"
        findings.add(entry.key_place, "KV403", message)
    points = sorted((ppm, key) for key in entries if (ppm := percentile_ppm(key)) is not None)
    if not points:
        message = f"{path}: no percentile; write at least one, like {LENGTHS_EXAMPLE}"
        findings.add(entry.key_place, "KV403", message)
    below_key, below = "", 0
    for key in (*(key for _, key in points), *(["max"] if "max" in entries else [])):
        tokens = _read(entries[key].node, units.parse_tokens)
        if tokens is None:
            continue
        if tokens < below:
            read = f"{key} {tokens:,} is below {below_key} {below:,}"
            findings.add(entries[key].place, "KV403", f"{path}: {read}; write percentiles that do not decrease")
        below_key, below = key, tokens
    doubles = [key for (ppm, key), (before, _) in zip(points[1:], points, strict=False) if ppm == before]
    for key in doubles:
        findings.add(entries[key].key_place, "KV403", f"{path}: {quote(key)} stands twice; keep one")


def _check_pool(path: str, entry: Entry, lookup: Lookup, findings: Findings) -> None:
    node = entry.node
    if not isinstance(node, MapNode):
        return
    gpu = child_text(node, "gpu")
    if gpu and "-mig-" in gpu.text:
        findings.add(gpu.place, "KV501", f"{path}.gpu: MIG slices are not supported yet; plan whole GPUs")
    elif gpu and not gpu.is_empty and lookup.gpu(gpu.text) is None:
        hint = suggestion(gpu.text, list(catalog.gpu_ids()))
        findings.add(gpu.place, "KV418", f"{path}.gpu: unknown GPU {quote(gpu.text)}; {hint}")
    if "committed" not in node.entries and "available" not in node.entries:
        message = f"{path}: the pool has no nodes; write 'committed: 5 nodes' or 'available: 4 nodes'"
        findings.add(entry.key_place, "KV412", message)
    price = _read(child(node, "price"), units.parse_price)
    gpus = _read(child(node, "gpus_per_node"), units.parse_integer)
    if price and gpus and price.per == "node" and price.micro % gpus:
        message = f"{path}.price: does not divide by {gpus} GPUs to a millionth; write the price of a GPU"
        findings.add(node.entries["price"].place, "KV420", message)


def _check_limit(path: str, entry: Entry, pools: dict[str, Entry], findings: Findings) -> None:
    for pool, use in child_map(entry.node, "per_node").items():
        if pool not in pools and pools:
            hint = suggestion(pool, list(pools))
            findings.add(use.key_place, "KV402", f"{path}.per_node: there is no pool {quote(pool)}; {hint}")


def _check_spare(root: MapNode, findings: Findings) -> None:
    spare = child_map(root, "reserve", "spare")
    if "nodes" in spare and "replicas" in spare:
        message = "reserve.spare: spare nodes and spare replicas do not mix; write one of the two"
        findings.add(spare["replicas"].key_place, "KV407", message)
    elif isinstance(child(root, "reserve", "spare"), MapNode) and not spare:
        place = child_map(root, "reserve")["spare"].key_place
        findings.add(place, "KV407", "reserve.spare: nothing is named; write {nodes: 1} or {replicas: 1}")


def _check_guardrail(path: str, entry: Entry, root: MapNode, findings: Findings) -> None:
    if not isinstance(entry.node, MapNode):
        return
    given = [key for key in ("change_above", "budget_above", "cost_above") if key in entry.node.entries]
    if len(given) != 1:
        read = f"{len(given)} thresholds ({', '.join(given)})" if given else "no threshold"
        message = f"{path}: {read}; write exactly one of change_above, budget_above, cost_above"
        findings.add(entry.key_place, "KV413", message)
    if "budget_above" in given and child(root, "budget", "monthly") is None:
        message = f"{path}: 'budget_above' needs a budget; write 'budget: {{monthly: $95_000}}', or use cost_above"
        findings.add(entry.node.entries["budget_above"].key_place, "KV413", message)


def _check_currencies(root: MapNode, findings: Findings) -> None:
    """One currency a scenario: the first amount of money sets it."""
    places = [
        (f"inventory.{shorten(name, 64)}.price", child(entry.node, "price"))
        for name, entry in child_map(root, "inventory").items()
    ]
    places += [(f"budget.{key}", child(root, "budget", key)) for key in ("monthly", "total")]
    places += [
        (f"guardrails.{shorten(name, 64)}.cost_above", child(entry.node, "cost_above"))
        for name, entry in child_map(root, "guardrails").items()
    ]
    read = [(path, node) for path, node in places if isinstance(node, TextNode) and node.text[:1] in units.CURRENCIES]
    for path, node in read[1:]:
        first_path, first = read[0]
        if node.text[0] != first.text[0]:
            other = f"{first_path} at {first.place} is in {first.text[0]}"
            message = f"{path}: {quote(node.text)} is in another currency: {other}; write all money in one currency"
            findings.add(node.place, "KV213", message)
