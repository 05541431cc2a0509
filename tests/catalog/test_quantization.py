"""Quantization: the dtype of a checkpoint from its config."""

from __future__ import annotations

import pytest

from planner.catalog.fields import Fields
from planner.catalog.quantization import native_weights


def groups(*weights: dict[str, object]) -> dict[str, object]:
    """A compressed-tensors config with one group for each kind of weights."""
    tables = {f"group_{number}": {"weights": table} for number, table in enumerate(weights)}
    return {"quant_method": "compressed-tensors", "config_groups": tables}


FP8, INT8, INT4 = ({"num_bits": bits, "type": kind} for bits, kind in ((8, "float"), (8, "int"), (4, "int")))


@pytest.mark.parametrize(
    ("table", "dtype"),
    [
        (None, "bf16"),
        ({}, "bf16"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8"),
        ({"quant_algo": "FP8", "kv_cache_scheme": "FP8"}, "fp8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_method": "gptq", "bits": 4}, "w4a16"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "w4a16"),
        ({"quant_method": "awq"}, "w4a16"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bnb4"),
        (groups(FP8), "fp8"),
        (groups(INT8), "int8"),
        (groups(INT4), "w4a16"),
        (groups(INT4, INT4), "w4a16"),
        (groups({"num_bits": 4, "type": "float", "group_size": 16}), "nvfp4"),
    ],
)
def test_known_methods(table, dtype):
    """Each method that is known gives its dtype, and nothing is missing."""
    fields = Fields({"quantization_config": table})
    assert (native_weights(fields), fields.missing) == (dtype, [])


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ({"quant_method": "hqq"}, "hqq"),
        ({"quant_method": "gptq", "bits": 8}, "gptq"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, "mixed_precision"),
        ({"quant_method": "fp8", "quant_algo": "MIXED_PRECISION"}, "mixed_precision"),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": None}, "compressed-tensors"),
        (groups(FP8, INT4), "compressed-tensors"),
        ({"kv_cache_scheme": None}, "unnamed"),
        ({"quant_method": ["fp8"]}, "['fp8']"),
    ],
)
def test_other_methods_are_missing(table, name):
    """A method that is not known leaves the weights missing by its name: KV does not depend on it."""
    fields = Fields({"quantization_config": table})
    assert native_weights(fields) == name
    assert fields.missing == [f"weights quantized with '{name}'"]
