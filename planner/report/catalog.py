"""The catalog for eyes, tools and scenario files: lists, single entries with their sources, inventory blocks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.text import Text

from planner import catalog
from planner.catalog.skypilot import Offer, PriceList
from planner.catalog.types import EngineRules, GpuFacts, ModelFacts
from planner.compression.table import Preset, load_presets
from planner.plan.layers import LISTS, runs
from planner.plan.money import money
from planner.report import numbers
from planner.report.layout import heading, indented, render, table_of

KINDS = ("models", "gpus", "engines", "presets")

Entry = ModelFacts | GpuFacts | EngineRules | Preset


def entries(kind: str) -> dict[str, Entry]:
    """All entries of a kind, by id."""
    if kind == "presets":
        return dict(load_presets())
    loaders: Mapping[str, tuple[Iterable[str], Any]] = {
        "models": (catalog.model_ids(), lambda name: catalog.load_model(name, Path())),
        "gpus": (catalog.gpu_ids(), catalog.load_gpu),
        "engines": (catalog.engine_ids(), catalog.load_engine),
    }
    names, load = loaders[kind]
    found = {name: load(name) for name in names}
    return {name: facts for name, facts in found.items() if facts is not None and not isinstance(facts, str)}


def refused_models() -> dict[str, str]:
    """Models whose config the catalog holds and whose memory is not understood, by id: why."""
    found = {name: catalog.load_model(name, Path()) for name in catalog.model_ids()}
    return {name: why for name, why in found.items() if isinstance(why, str)}


def catalog_text(kinds: Sequence[str], columns: int = 100) -> str:
    """A table a kind."""
    tables = {"models": _models, "gpus": _gpus, "engines": _engines, "presets": _presets}
    parts = [f"catalog {_version()}   `kvplan catalog show ID` says where a figure comes from\n"]
    for kind in kinds:
        parts += [heading(kind), tables[kind](columns)]
    if "models" in kinds and (refused := refused_models()):
        parts.append(indented("refused", [f"{name}: {why}" for name, why in refused.items()], columns))
    return "\n".join(parts)


def _version() -> str:
    date, _, digest = catalog.catalog_version().partition("/")
    return f"{date}/{digest[:12]}"


def _models(columns: int) -> str:
    rows = table_of(
        ("id", "left"), ("attention", "left"), ("layers", "right"), ("KV heads", "right"), ("context", "right"),
        ("experts", "right"), ("weights", "left"),
    )  # fmt: skip
    for name, model in entries("models").items():
        assert isinstance(model, ModelFacts)
        kinds = (("MLA", model.is_mla), ("windows", model.is_windowed), ("state", model.has_state))
        attention = " + ".join(word for word, there in kinds if there) or "full"
        rows.add_row(
            name, attention, str(model.layers), "-" if model.is_mla else str(model.kv_heads),
            numbers.tokens(model.max_context_tokens), str(model.experts or "-"), model.native_weights,
        )  # fmt: skip
    return render(rows, columns)


def _gpus(columns: int) -> str:
    rows = table_of(
        ("id", "left"), ("memory", "right"), ("bandwidth", "right"), ("bf16", "right"), ("fp8", "right"),
        ("link", "left"), ("power", "right"), ("not checked", "left"), folds=("not checked",),
    )  # fmt: skip
    for name, gpu in entries("gpus").items():
        assert isinstance(gpu, GpuFacts)
        rows.add_row(
            name, numbers.gib(gpu.memory_bytes), f"{gpu.bandwidth_bytes_per_s / 1e9:,.0f} GB/s",
            f"{gpu.bf16_flops / 1e12:,.0f} TF/s", f"{gpu.fp8_flops / 1e12:,.0f} TF/s" if gpu.fp8_flops else "-",
            "NVLink" if gpu.nvlink and gpu.vendor == "nvidia" else "fabric" if gpu.nvlink else "PCIe",
            f"{gpu.tdp_w} W", _figures(len(gpu.estimated)),
        )  # fmt: skip
    return render(rows, columns)


def _figures(count: int) -> str:
    return "-" if count == 0 else f"{count} figure{'' if count == 1 else 's'}"


def _engines(columns: int) -> str:
    rows = table_of(
        ("id", "left"), ("memory share", "right"), ("block", "right"), ("source", "left"), folds=("source",)
    )
    for name, engine in entries("engines").items():
        assert isinstance(engine, EngineRules)
        rows.add_row(
            name, numbers.percent(engine.utilization_ppm), f"{engine.block_tokens} tokens", Text(engine.source)
        )
    return render(rows, columns)


def _presets(columns: int) -> str:
    rows = table_of(
        ("id@version", "left"), ("bits K/V", "left"), ("engines", "left"), ("ratio claim", "left"),
        ("quality rows", "right"), folds=("engines",),
    )  # fmt: skip
    for preset in load_presets().values():
        bits = f"{preset.storage.k_bits}/{preset.storage.v_bits}" if preset.layout_known else "not known"
        engines = ", ".join(
            f"{engine} {first}+" if first not in ("", "0") else engine for engine, first in preset.engines.items()
        )
        rows.add_row(preset.name, bits, Text(engines or "none"), preset.ratio_status, str(len(preset.quality)))
    return render(rows, columns)


def find(name: str) -> tuple[str, Entry] | None:
    """The entry with an id of any kind; presets also by id@version."""
    for kind in KINDS:
        found = entries(kind)
        for entry_id, entry in found.items():
            if name == entry_id or (isinstance(entry, Preset) and name == entry.name):
                return kind, entry
    return None


def known_ids() -> list[str]:
    """Every id that `find` answers to."""
    return [name for kind in KINDS for name in entries(kind)]


def entry_text(kind: str, name: str, entry: Entry, columns: int = 100) -> str:
    """An entry, one figure a line, its source last."""
    tree = _tree(entry)
    tree.update({key: _kinds_of(tree[key]) for key in LISTS if key in tree})
    source = tree.pop("source", "") or tree.pop("ratio_evidence", "")
    lines = [f"{key} = {_value(value)}" for key, value in tree.items() if value not in ("", [], {}, None)]
    parts = [f"{name}   {kind.removesuffix('s')}\n", indented("facts", lines, columns)]
    return "\n".join([*parts, indented("source", [str(source)], columns)])


def _kinds_of(layers: list[dict[str, Any]]) -> str:
    """Kinds of layers with how many there are of each, wherever they stand."""
    counts: dict[str, int] = {}
    for run in layers:
        layer = run["layer"]
        said = (
            ", ".join(f"{key} {value}" for key, value in layer.items() if value) if isinstance(layer, dict) else layer
        )
        counts[said or "nothing"] = counts.get(said or "nothing", 0) + run["count"]
    return "; ".join(f"{count} x ({said})" for said, count in counts.items())


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | dict):
        return _runs(value) if isinstance(value, list) else json.dumps(value, ensure_ascii=False)
    return str(value)


def _runs(values: list[Any]) -> str:
    """A list; equal neighbors are counted."""
    shown: list[str] = []
    position = 0
    while position < len(values):
        end = position
        while end < len(values) and values[end] == values[position]:
            end += 1
        count, text = end - position, json.dumps(values[position], ensure_ascii=False).strip('"')
        shown.append(text if count == 1 else f"{count} x {text}")
        position = end
    return ", ".join(shown)


def catalog_json(kinds: Sequence[str]) -> str:
    """All entries of some kinds with every figure and source."""
    tree = {kind: {name: _tree(entry) for name, entry in entries(kind).items()} for kind in kinds}
    refused = {"refused": refused_models()} if "models" in kinds else {}
    return _json({"catalog": catalog.catalog_version(), **tree, **refused})


def entry_json(kind: str, name: str, entry: Entry) -> str:
    """One entry."""
    return _json({"catalog": catalog.catalog_version(), "kind": kind, "id": name, "facts": _tree(entry)})


def _tree(entry: Entry) -> dict[str, Any]:
    from pydantic_core import to_jsonable_python

    tree: dict[str, Any] = to_jsonable_python(asdict(entry), fallback=str)
    return {key: runs(value) if key in LISTS else value for key, value in tree.items()}


def _json(tree: dict[str, Any]) -> str:
    return json.dumps(tree, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def inventory_yaml(prices: PriceList, origin: str, date: str, currency: str, nodes: int, names: Sequence[str]) -> str:
    """Inventory blocks for a scenario. The number of nodes is the caller's: a price list does not know it."""
    lines = [
        f"# Prices from {origin}, read {date}, rounded up to a millionth a GPU.",
        f"# The list does not say how many nodes you can get: `available` is {nodes} everywhere and yours to change.",
        "inventory:",
    ]
    for name, offer in zip(names, prices.offers, strict=True):
        price = money(offer.price_micro_per_gpu_h)
        kind = "spot price (median of zones)" if offer.spot else "on-demand price"
        chosen = f", cheapest of {offer.cheapest_of} such types" if offer.cheapest_of > 1 else ""
        source = f"{offer.instance} {kind} in {offer.region}{chosen}; {origin}, read {date}"
        lines += [
            f"  {name}:",
            f"    gpu: {offer.gpu}",
            f"    region: {_region(offer.region)}",
            f"    available: {nodes} node{'' if nodes == 1 else 's'}",
            f"    gpus_per_node: {offer.gpus_per_node}",
            *(["    spot: true"] if offer.spot else []),
            f"    price: {currency}{_grouped(price)}/gpu/h",
            f"    source: {json.dumps(source, ensure_ascii=False)}",
        ]
    return "\n".join(lines) + "\n"


def _region(region: str) -> str:
    return _slug(region)


def _grouped(price: str) -> str:
    whole, _, part = price.partition(".")
    return f"{int(whole):_}.{part}"


def pool_names(offers: Sequence[Offer], prefix: str) -> list[str]:
    """A name for each offer: `nebius-h100-sxm-80gb-8x-eu-north1`, with `-spot` behind."""
    names: list[str] = []
    for offer in offers:
        end = "-spot" if offer.spot else ""
        parts = [part for part in (prefix, offer.gpu, f"{offer.gpus_per_node}x", offer.region) if part]
        name = _slug("-".join(parts))[: 64 - len(end)] + end
        number = 2
        while name in names:
            tail = f"-{number}{end}"
            name, number = _slug("-".join(parts))[: 64 - len(tail)] + tail, number + 1
        names.append(name)
    return names


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "x"


def left_out_text(prices: PriceList, wanted: int) -> list[str]:
    """What the import left out, one line a reason; `wanted` of the offers were asked for."""
    offered = f"{prices.rows:,} rows, {len(prices.offers):,} offers, {wanted:,} of them asked for"
    return [offered, *(f"left out: {count:,} x {reason} ({example})" for reason, count, example in prices.left_out)]
