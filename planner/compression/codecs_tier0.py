"""Tier 0 for presets by name: what is wrong with their codecs, their bytes and their eviction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.compression.codecs import kv_codec_ids, load_codec, load_kv_codec
from planner.compression.codecs_checks import check_eviction, check_monotone, fingerprint, monotone_chains, tier0


def tier0_findings(names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """(name, what is wrong) of every composition named, or of all, and of the order of codecs by bits."""
    codecs = [load_kv_codec(name) for name in names or kv_codec_ids()]
    parts = dict.fromkeys(part for codec in codecs for part in (codec.spec.key.id, codec.spec.value.id))
    for part in parts:
        codec = load_codec(part)
        found = tier0(codec)
        made = fingerprint(codec)
        if made != codec.spec.revision:
            found.append(f"{part}: computes {made}, evidence was made with {codec.spec.revision}")
        yield f"codec {part}", found
    for each in codecs:
        yield f"preset {each.spec.id}", check_eviction(each)
    if not names:
        yield "fewer bits err more", [line for chain in monotone_chains() for line in check_monotone(chain)]
