"""One name for each way to store KV, whatever an engine's flag calls it."""

from __future__ import annotations

KV_NAMES = {
    "auto": "bf16", "bfloat16": "bf16", "fp16": "bf16", "float16": "bf16", "fp8_e4m3": "fp8", "fp8_e5m2": "fp8",
}  # fmt: skip
"""Other names of the same stored KV."""


def kv_name(kv_dtype: str) -> str:
    """One name for each way to store KV, whatever an engine's flag calls it.

    >>> kv_name("auto"), kv_name("fp8_e4m3")
    ('bf16', 'fp8')
    """
    plain = kv_dtype.lower().replace("-", "_")
    return KV_NAMES.get(plain, plain)
