"""In which dtype a checkpoint ships, from its `quantization_config`."""

from __future__ import annotations

from collections.abc import Mapping

from planner.catalog.fields import Fields
from planner.catalog.files import Json

_FOUR_BIT = {"gptq": "w4a16", "gptq_marlin": "w4a16", "awq": "w4a16", "awq_marlin": "w4a16", "auto-round": "w4a16"}
_MODELOPT = {"fp8": "fp8", "nvfp4": "nvfp4", "w4a16_awq": "w4a16"}


def native_weights(fields: Fields) -> str:
    """The dtype of the checkpoint: bf16 (any 16 or 32-bit float), fp8, int8, w4a16, mxfp4, nvfp4 or bnb4.

    Another method is returned by its own name and kept in `fields.missing`: KV does not depend on it.
    Source: `quantization_config` as written by transformers, llm-compressor and ModelOpt.
    """
    table = fields.table("quantization_config") or fields.table("compression_config")
    if not table:
        return "bf16"
    method = str(table.get("quant_method") or "").lower()
    algorithm = str(table.get("quant_algo") or "").lower()
    if algorithm == "mixed_precision":
        method = algorithm
    elif method.startswith("modelopt") or (algorithm and not method):
        method = algorithm or method
    known = _known(method, table)
    if not known:
        fields.missing.append(f"weights quantized with '{method or 'unnamed'}'")
    return known or method or "unnamed"


def _known(method: str, table: Mapping[str, Json]) -> str:
    if method in _FOUR_BIT:
        return _FOUR_BIT[method] if table.get("bits", table.get("w_bit", 4)) == 4 else ""
    if method == "compressed-tensors":
        return _of_groups(table.get("config_groups"))
    if method == "bitsandbytes":
        return "bnb4" if table.get("load_in_4bit") is True or table.get("_load_in_4bit") is True else ""
    if method in ("fp8", "fbgemm_fp8"):
        return "fp8"
    return "mxfp4" if method == "mxfp4" else _MODELOPT.get(method, "")


def _of_groups(groups: Json) -> str:
    """The common dtype of all groups of a compressed-tensors config; empty when they differ or are unknown."""
    if not isinstance(groups, dict):
        return ""
    found = {_of_group(group) for group in groups.values()}
    return found.pop() if len(found) == 1 else ""


def _of_group(group: Json) -> str:
    weights = group.get("weights") if isinstance(group, dict) else None
    if not isinstance(weights, dict):
        return ""
    bits, kind = weights.get("num_bits"), weights.get("type")
    if bits == 8:
        return {"float": "fp8", "int": "int8"}.get(str(kind), "")
    if bits == 4 and kind == "int":
        return "w4a16"
    return "nvfp4" if bits == 4 and kind == "float" and weights.get("group_size") == 16 else ""
