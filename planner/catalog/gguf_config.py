"""From the metadata of a GGUF file to the fields of a Hugging Face `config.json`.

Every architecture is one row: the model type it was converted from, and the function that adds what plain
decoders do not have. What the metadata leave open is left out (the config then lacks it), never guessed; what
they state is compared with the shapes of the tensors, and a contradiction refuses the file.
Source: the converters and `load_hparams` of llama.cpp (github.com/ggml-org/llama.cpp, `conversion/*.py`,
`src/llama-model.cpp`), key names of the library gguf 0.19, `constants.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from planner.catalog.checkpoint_types import TensorInfo, shown
from planner.catalog.files import Json
from planner.catalog.gguf_file import GgufHeader
from planner.catalog.gguf_metadata import Metadata
from planner.catalog.gguf_special import (
    Config,
    chunked_layers,
    delta_net_layers,
    experts_like_deepseek,
    experts_like_mixtral,
    experts_like_qwen,
    falcon_heads,
    gemma_4_layers,
    granite_hybrid_layers,
    jamba_layers,
    latent_attention,
    llama_or_relatives,
    mamba_state,
    nas_blocks,
    nemotron_layers,
    nested_kv_heads,
    old_names,
    shared_kv_layers,
    windows,
)

_FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
_PLACEHOLDER_CONTEXT = 2**20


@dataclass(frozen=True)
class _Row:
    """One architecture. `extras` add to the config, in order; `window_every`: one layer in n is full."""

    model_type: str
    extras: tuple[Callable[[Metadata, Config], None], ...] = ()
    window_every: int = 0
    placeholder_context: bool = False
    """Whether the converter writes 2^20 where the model states no context of its own."""


def _plain(*names: str) -> dict[str, _Row]:
    return {name: _Row(name) for name in names}


_ROWS: Mapping[str, _Row] = {
    **_plain("qwen2", "qwen3", "gemma", "phi3", "starcoder2", "granite", "stablelm", "internlm2", "orion"),
    **_plain(
        "baichuan", "glm4", "nemotron", "smollm3", "seed_oss", "exaone", "arcee", "apertus", "minicpm", "ernie4_5"
    ),
    "llama": _Row("llama", (llama_or_relatives,)),
    "mistral3": _Row("ministral3"),
    "qwen2vl": _Row("qwen2_vl_text"),
    "qwen3vl": _Row("qwen3_vl_text"),
    "hunyuan-dense": _Row("hunyuan_v1_dense"),
    "command-r": _Row("cohere"),
    "phi2": _Row("phi"),
    "gptneox": _Row("gpt_neox"),
    "gpt2": _Row("gpt2", (old_names,)),
    "gptj": _Row("gptj", (old_names,)),
    "starcoder": _Row("gpt_bigcode", (old_names, falcon_heads)),
    "bloom": _Row("bloom", (old_names,)),
    "mpt": _Row("mpt", (old_names, nested_kv_heads)),
    "falcon": _Row("falcon", (falcon_heads,)),
    "qwen2moe": _Row("qwen2_moe", (experts_like_qwen,)),
    "qwen3moe": _Row("qwen3_moe", (experts_like_qwen,)),
    "qwen3vlmoe": _Row("qwen3_vl_moe_text", (experts_like_qwen,)),
    "olmoe": _Row("olmoe", (experts_like_mixtral,)),
    "phimoe": _Row("phimoe", (experts_like_mixtral,)),
    "granitemoe": _Row("granitemoe", (experts_like_mixtral,)),
    "minimax-m2": _Row("minimax_m2", (experts_like_mixtral,)),
    "glm4moe": _Row("glm4_moe", (experts_like_deepseek,)),
    "dots1": _Row("dots1", (experts_like_deepseek,)),
    "ernie4_5-moe": _Row("ernie4_5_moe", (experts_like_deepseek,)),
    "gemma2": _Row("gemma2", window_every=2),
    "gemma3": _Row("gemma3_text", window_every=6),
    "gemma3n": _Row("gemma3n_text", (shared_kv_layers,), window_every=5),
    "gemma4": _Row("gemma4_text", (shared_kv_layers, gemma_4_layers, experts_like_qwen), window_every=6),
    "cohere2": _Row("cohere2", window_every=4),
    "olmo2": _Row("olmo2", window_every=4),
    "exaone4": _Row("exaone4", window_every=4),
    "gpt-oss": _Row("gpt_oss", (experts_like_mixtral,), window_every=2),
    "llama4": _Row("llama4_text", (chunked_layers, experts_like_mixtral)),
    "deepseek2": _Row("deepseek_v2", (latent_attention, experts_like_deepseek)),
    "deepseek32": _Row("deepseek_v32", (latent_attention, experts_like_deepseek)),
    "glm-dsa": _Row("glm_moe_dsa", (latent_attention, experts_like_deepseek)),
    "qwen3next": _Row("qwen3_next", (delta_net_layers, experts_like_qwen)),
    "qwen35": _Row("qwen3_5_text", (delta_net_layers,)),
    "qwen35moe": _Row("qwen3_5_moe_text", (delta_net_layers, experts_like_qwen)),
    "granitehybrid": _Row("granitemoehybrid", (granite_hybrid_layers, experts_like_mixtral), placeholder_context=True),
    "nemotron_h": _Row("nemotron_h", (nemotron_layers,)),
    "nemotron_h_moe": _Row("nemotron_h", (nemotron_layers, experts_like_deepseek)),
    "jamba": _Row("jamba", (jamba_layers,)),
    "mamba": _Row("mamba", (mamba_state,), placeholder_context=True),
    "mamba2": _Row("mamba2", (mamba_state,), placeholder_context=True),
    "deci": _Row("nemotron-nas", (nas_blocks,)),
}

_NO_MODEL = {
    "clip": "a vision or audio projector (mmproj), which goes beside a language model",
    "adapter": "an adapter, which goes on top of a model",
    "imatrix": "an importance matrix",
    "mmproj": "a vision or audio projector (mmproj), which goes beside a language model",
}


def gguf_architectures() -> tuple[str, ...]:
    """The architectures that can be read, sorted."""
    return tuple(sorted(_ROWS))


def config_of_gguf(header: GgufHeader) -> Config | str:
    """The config of the model in a GGUF file, or what is wrong, to stand after the name of the file."""
    architecture = header.architecture
    kind = header.metadata.get("general.type", "model")
    other = _NO_MODEL.get(architecture) or (_NO_MODEL.get(kind) if isinstance(kind, str) else None)
    if other:
        return f"holds {other}"
    if not architecture:
        return "does not name its architecture (general.architecture)"
    row = _ROWS.get(architecture)
    if row is None:
        known = ", ".join(gguf_architectures())
        return f"is of the GGUF architecture {shown(architecture)}, which is not understood yet; understood are {known}"
    metadata = Metadata(header)
    config = _common_fields(metadata, row)
    if row.window_every:
        windows(metadata, config, row.window_every)
    for extra in row.extras:
        extra(metadata, config)
    if not metadata.problems:
        _compare_tensors(metadata, config)
    problems = tuple(dict.fromkeys(metadata.problems))
    return "has metadata that do not fit: " + "; ".join(problems) if problems else config


def _common_fields(metadata: Metadata, row: _Row) -> Config:
    """What all decoders have."""
    context = metadata.count("context_length")
    widths = metadata.per_layer("feed_forward_length")
    embeddings = metadata.tensors.get("token_embd.weight")
    config: Config = {
        "model_type": row.model_type,
        "num_hidden_layers": metadata.layers,
        "hidden_size": metadata.needed("embedding_length"),
        "num_attention_heads": metadata.heads,
        "num_key_value_heads": metadata.kv_heads,
        "head_dim": metadata.key_length,
        "intermediate_size": max(widths, default=0),
        "vocab_size": embeddings.shape[0] if embeddings else _vocabulary(metadata),
        "max_position_embeddings": 0 if row.placeholder_context and context == _PLACEHOLDER_CONTEXT else context,
        "num_nextn_predict_layers": metadata.draft_layers,
    }
    window = metadata.count("attention.sliding_window")
    if window and row.model_type in ("phi3", "starcoder2", "ministral3"):
        config["sliding_window"] = window
    if metadata.value_length != metadata.key_length and not metadata.count("attention.kv_lora_rank"):
        config["v_head_dim"] = metadata.value_length
    if embeddings:
        config["tie_word_embeddings"] = "output.weight" not in metadata.tensors
    if any(name.endswith((".attn_q.bias", ".attn_qkv.bias")) for name in metadata.tensors):
        config["attention_bias"] = True
    _add_rope(metadata, config)
    _add_quantization(metadata.tensors, config)
    return {key: value for key, value in config.items() if value != 0 or value is False}


def _vocabulary(metadata: Metadata) -> int:
    return metadata.count("vocab_size") or metadata.lengths.get("tokenizer.ggml.tokens", 0)


def _add_rope(metadata: Metadata, config: Config) -> None:
    """`rope_scaling`, where the file stretches its positions."""
    kind, factor = metadata.raw("rope.scaling.type"), metadata.raw("rope.scaling.factor")
    if factor is None:
        kind, factor = "linear", metadata.raw("rope.scale_linear")
    if kind not in ("linear", "yarn") or not isinstance(factor, int | float) or factor == 1 or factor == 0:
        return
    scaling: dict[str, Json] = {"rope_type": kind, "factor": factor}
    original = metadata.count("rope.scaling.original_context_length")
    if original:
        scaling["original_max_position_embeddings"] = original
    config["rope_scaling"] = scaling


def _add_quantization(tensors: Mapping[str, TensorInfo], config: Config) -> None:
    """The most common type by bytes, unless all matrices are plain floats."""
    sizes: Counter[str] = Counter()
    for tensor in tensors.values():
        sizes[tensor.dtype] += tensor.size_bytes
    if set(sizes) - _FLOATS:
        config["quantization_config"] = {"quant_method": "gguf", "type": sizes.most_common(1)[0][0]}


def _compare_tensors(metadata: Metadata, config: Config) -> None:
    """Whether the key projections have the shapes, and stand in the layers, that the metadata claim.

    A file whose metadata understate its attention would make a plan that fits on paper only.
    """
    kinds = config.get("layer_types")
    for layer, kv_heads in enumerate(metadata.kv_heads_per_layer[: metadata.layers]):
        key = metadata.tensors.get(f"blk.{layer}.attn_k.weight")
        latent = metadata.tensors.get(f"blk.{layer}.attn_kv_a_mqa.weight")
        kind = kinds[layer] if isinstance(kinds, list) and layer < len(kinds) else "full_attention"
        rank = metadata.count("attention.kv_lora_rank")
        if latent and latent.shape[0] != rank + metadata.count("rope.dimension_count"):
            found, claimed = latent.shape[0], rank + metadata.count("rope.dimension_count")
        elif key and not rank:
            size = metadata.window_key_length if kind == "sliding_attention" else metadata.key_length
            found, claimed = key.shape[0], 0 if kind in ("linear_attention", "mamba") else kv_heads * size
        else:
            continue
        if found != claimed:
            metadata.problems.append(f"the keys of layer {layer} are {found:,} wide, the metadata say {claimed:,}")
            return
