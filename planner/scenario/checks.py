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
from planner.scenario.checks_fleet import check_fleet
from planner.scenario.checks_losses import check_losses
from planner.scenario.checks_regions import check_regions
from planner.scenario.checks_time import check_time
from planner.scenario.checks_traffic import check_class
from planner.scenario.reading import is_line, unreadable
from planner.scenario.source import Entry, Findings, ListNode, MapNode, Node, TextNode, child, child_map, child_text
from planner.scenario.source import value_of as _read
from planner.scenario.speculative import check_speculative
from planner.scenario.types import Place
from planner.scenario.values import suggestion
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
        check_class(f"traffic.{shorten(name, 64)}", entry, root, models, lookup.file, findings)
    for name, entry in pools.items():
        _check_pool(f"inventory.{shorten(name, 64)}", entry, lookup, findings)
    for name, entry in child_map(root, "limits").items():
        _check_limit(f"limits.{shorten(name, 64)}", entry, pools, findings)
    _check_spare(root, findings)
    _check_robust(root, findings)
    check_time(root, findings)
    check_losses(root, findings)
    check_regions(root, findings)
    check_fleet(root, findings)
    if lookup.presets is not None:
        _check_presets(root, models, lookup.presets, findings)
    for name, entry in child_map(root, "guardrails").items():
        _check_guardrail(f"guardrails.{shorten(name, 64)}", entry, root, findings)
    _check_currencies(root, findings)


def _check_presets(root: MapNode, models: dict[str, Entry], known: PresetNames, findings: Findings) -> None:
    """Ids of KV presets, and rows that the compression policy allows by name."""
    named = [child(entry.node, "kv_presets") for entry in models.values()]
    named += [child(entry.node, "kv_preset") for entry in child_map(root, "current").values()]
    for node in [scalar for each in named for scalar in _scalars(each)]:
        if is_line(node) and node.text not in known.ids:
            hint = suggestion(node.text, list(known.ids))
            findings.add(node.place, "KV701", f"unknown KV preset {quote(node.text)}; {hint}")
    for node in _scalars(child(root, "compression", "allow")):
        if is_line(node) and "@" in node.text and node.text not in known.rows:
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
    rules = lookup.engine(engine.text) if engine and is_line(engine) else None
    if engine and isinstance(rules, str):
        findings.add(engine.place, "KV419", f"{path}.engine: {rules}")


def _check_ref(path: str, node: MapNode, ref: TextNode | None, lookup: Lookup, findings: Findings) -> ModelFacts | None:
    """The facts of the model, None where it is not known or cannot be read."""
    if ref is None or not is_line(ref):
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
    if table is None or not is_line(table):
        return
    reason = unreadable(lookup.file(table))
    if reason:
        message = f"{path}.capacity_table: cannot read {quote(table.text)}: {reason}; write the path of a CSV file"
        findings.add(table.place, "KV601", message)


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
        findings.add(place, "KV407", "reserve.spare: nothing is named; write {nodes: 1}, {replicas: 1} or {zones: 1}")


def _check_robust(root: MapNode, findings: Findings) -> None:
    band = child(root, "robust")
    if isinstance(band, MapNode) and not {"traffic", "context_tail"} & set(band.entries):
        message = "robust: no band is named; write {traffic: +20%}, {context_tail: +30%} or both, or drop it"
        findings.add(root.entries["robust"].key_place, "KV453", message)


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
    places.append(("change.cost", child(root, "change", "cost")))
    read = [(path, node) for path, node in places if isinstance(node, TextNode) and node.text[:1] in units.CURRENCIES]
    for path, node in read[1:]:
        first_path, first = read[0]
        if node.text[0] != first.text[0]:
            other = f"{first_path} at {first.place} is in {first.text[0]}"
            message = f"{path}: {quote(node.text)} is in another currency: {other}; write all money in one currency"
            findings.add(node.place, "KV213", message)
