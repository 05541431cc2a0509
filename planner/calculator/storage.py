"""How an engine's KV dtype stores a vector: by preset, with the gates of the preset table, or by the raw flag."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from planner.catalog.types import BF16_KV, EngineRules, GpuFacts, KvStorage, ModelFacts, Refusal
from planner.units import quote

SIXTEEN_BIT = ("auto", "bf16", "bfloat16", "fp16", "float16")
BF16_PRESET = "bf16"
FLOAT32 = "float32"
"""No flag of an engine: `auto` under `--dtype float32`, where weights and activations take four bytes too."""

FLOAT32_KV = KvStorage(k_bits=32, v_bits=32)
"""KV of a model that is loaded with `--dtype float32`: `auto` then means four bytes an element."""

PLAIN_FP8 = KvStorage(k_bits=8, v_bits=8)
SPARSE_LATENT = KvStorage(k_bits=8, v_bits=8, latent_bytes=656)

RAW_STORAGE: dict[tuple[str, str], tuple[KvStorage, str]] = {
    ("vllm", "fp8"): (PLAIN_FP8, "vLLM CacheDType: fp8 = fp8_e4m3, one scale a layer"),
    ("vllm", "fp8_e4m3"): (PLAIN_FP8, "vLLM CacheDType, one scale a layer"),
    ("vllm", "fp8_e5m2"): (PLAIN_FP8, "vLLM CacheDType, no scale"),
    ("vllm", "fp8_inc"): (PLAIN_FP8, "vLLM CacheDType (Gaudi), one scale a layer"),
    ("vllm", "nvfp4"): (KvStorage(4, 4, group=16, scale_bytes=1), "vLLM NVFP4: one fp8 scale per 16"),
    ("vllm", "fp8_ds_mla"): (
        SPARSE_LATENT,
        "vLLM MLAAttentionSpec: 512 fp8 + 4 fp32 scales + 64 rotary 16-bit elements",
    ),
    ("sglang", "fp8_e4m3"): (PLAIN_FP8, "SGLang server arguments"),
    ("sglang", "fp8_e5m2"): (PLAIN_FP8, "SGLang server arguments"),
    ("sglang", "fp4_e2m1"): (KvStorage(4, 4, group=16, scale_bytes=1), "SGLang: one scale byte per 16"),
    ("sglang", "mxfp8"): (KvStorage(8, 8, group=32, scale_bytes=1), "SGLang: one scale byte per 32"),
    ("tensorrt-llm", "fp8"): (PLAIN_FP8, "TensorRT-LLM KvCacheConfig: one byte an element"),
    ("tensorrt-llm", "nvfp4"): (KvStorage(4, 4, group=16, scale_bytes=1), "TensorRT-LLM: one fp8 scale per 16"),
}
"""(engine, flag) -> storage and source, where no row of the preset table is needed to know the bytes."""


@dataclass(frozen=True)
class Storage:
    """What was chosen: bytes of a vector, the engine's flag, the preset if one was named, words of caution."""

    kv: KvStorage
    flag: str
    preset: str | None
    source: str
    warnings: tuple[str, ...] = ()
    decode_time_factor: Fraction = Fraction(1)
    """What the preset's published TPOT is to that of 16-bit KV."""


def storage_of_flag(engine: EngineRules, text: str) -> Storage | str:
    """The storage behind a value of the engine's KV dtype flag, or a sentence.

    >>> from planner.catalog.engines import load_engine
    >>> storage_of_flag(load_engine("vllm@0.24"), "fp8").kv.k_bits
    8
    """
    flag = "auto" if text in SIXTEEN_BIT else text.replace("-", "_")
    if flag == "auto":
        return Storage(BF16_KV, text if text in engine.kv_dtypes else "auto", None, "two bytes an element")
    if flag == FLOAT32:
        return Storage(FLOAT32_KV, FLOAT32, None, "four bytes an element", (FLOAT32_WORD,))
    if flag not in engine.kv_dtypes:
        return f"{engine.requested} has no KV dtype {quote(text)}; it has {', '.join(engine.kv_dtypes)}"
    known = RAW_STORAGE.get((engine.name, flag)) or _of_preset(engine, flag)
    if known is None:
        return f"the bytes of KV dtype {quote(flag)} are not published, so no figure can be given"
    return Storage(known[0], flag, None, known[1])


FLOAT32_WORD = "float32 is no KV dtype flag: it is what `auto` stores when the engine runs with --dtype float32"


def _of_preset(engine: EngineRules, flag: str) -> tuple[KvStorage, str] | None:
    from planner.compression.table import load_presets

    for preset in load_presets().values():
        support = preset.support(engine.name)
        if support is not None and support.flag == flag and preset.layout_known:
            return preset.storage, f"preset {preset.name}: {preset.ratio_evidence}"
    return None


def storage_of_preset(
    preset_id: str, engine: EngineRules, gpu: GpuFacts | None, model: ModelFacts, weights: str
) -> Storage | str:
    """The storage of a preset on this engine, GPU and model, or a sentence that names every gate that failed.

    Without a GPU the gates of the GPU are left to whoever names one: some GPU of the catalog must pass.
    """
    if preset_id == BF16_PRESET:
        return Storage(BF16_KV, "auto", BF16_PRESET, "two bytes an element")
    from planner.catalog.gpus import gpu_ids, load_gpu
    from planner.compression.policy import Usable, judge
    from planner.compression.table import load_presets
    from planner.scenario.types import CompressionPolicy

    presets = load_presets()
    preset = presets.get(preset_id)
    if preset is None:
        return unknown_preset(preset_id)
    named = (preset.name,) if preset.supports else ()
    policy = CompressionPolicy(policy="allow_published", allow=named)
    gpus = (gpu,) if gpu is not None else tuple(filter(None, map(load_gpu, gpu_ids())))
    refused: Refusal | None = None
    for each in gpus:
        verdict = judge(preset, engine=engine, gpu=each, model=model, policy=policy, weights=weights)
        if isinstance(verdict, Usable):
            words = verdict.warnings if gpu is not None else ()
            return Storage(
                verdict.storage, verdict.flag, preset_id, preset.ratio_evidence, words, verdict.decode_time_factor
            )
        refused = refused or verdict
    assert refused is not None  # the catalog has GPUs
    return refused.message + (f"; nearest: {refused.nearest}" if refused.nearest else "")


def preset_ids_in_file() -> tuple[str, ...]:
    """The ids of the preset table, without reading all of it."""
    from planner.compression.names import preset_rows

    return tuple(preset_id for preset_id, _ in preset_rows())


def unknown_preset(preset_id: str) -> str:
    """What is wrong with a preset id that the table does not have, with the nearest that it has."""
    from difflib import get_close_matches

    known = preset_ids_in_file()
    near = get_close_matches(preset_id[:100].lower(), known, n=1, cutoff=0.5)
    hint = f"did you mean {quote(near[0])}?" if near else f"write one of {', '.join(known)}"
    return f"no preset {quote(preset_id)}; {hint}"
