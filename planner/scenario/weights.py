"""Weight formats that scenarios may name, and what to write in place of others."""

from __future__ import annotations

GGUF_WEIGHTS = (
    *("q2_k", "q3_k_s", "q3_k_m", "q3_k_l", "q4_0", "q4_1", "q4_k_s", "q4_k_m", "q5_0", "q5_1"),
    *("q5_k_s", "q5_k_m", "q6_k", "q8_0", "iq3_s", "iq4_nl", "iq4_xs"),
)
WEIGHTS = ("bf16", "fp16", "fp32", "fp8", "int8", "w4a16", "mxfp4", "nvfp4", "bnb4", *GGUF_WEIGHTS)
"""Weight formats that have memory; what an engine, a GPU or a latency cannot do with them is refused a candidate."""
LATER_WEIGHTS = {
    "int4": "w4a16",
    "awq": "w4a16",
    "gptq": "w4a16",
    "fp4": "nvfp4 or mxfp4",
    "mxfp8": "fp8",
    "fp6": "fp8",
    "w8a8": "int8 or fp8",
    "w8a16": "int8 or fp8",
    "w4a8": "w4a16",
    "native": "the format that the checkpoint ships in",
}
"""Names that engines and checkpoints use and kvplan does not plan, and what to write instead."""
