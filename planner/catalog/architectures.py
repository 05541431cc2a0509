"""From the fields of a `config.json` to `ModelFacts`, for the model types that are understood; the rest is
refused by name.

A field that is missing is taken from the defaults of the model type where those are published (transformers),
otherwise it is a mistake that is reported. Layers that keep something else than plain keys and values (Mamba
state, linear attention, chunks, shared caches, sparse indexers) are never approximated.
Source: field rules of vLLM 0.33 `config/model.py`; defaults of transformers 5.23.0 configuration classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from planner.catalog.files import Json
from planner.catalog.types import ModelFacts

MAX_COUNT = 2**31
"""No field of a model comes near this; larger numbers are mistakes and would only cost time."""

MAX_LAYERS = 10_000
MAX_ROPE_FACTOR = 10_000


@dataclass(frozen=True)
class Family:
    """What a model type implies beyond its fields. `defaults` are those of its transformers class."""

    gated_ffn: bool = True
    tied_embeddings: bool = False
    attention_bias: bool = False
    ffn_bias: bool = False
    rotary: bool = True
    windows: str = "none"
    """Which layers slide: none, all, optional (`use_sliding_window`), layer_types, or unclear."""
    experts: str = ""
    """Where the experts are described: '', mixtral, qwen or deepseek."""
    full_every: int = 0
    """Every how many layers one is full when `layer_types` is missing; 0: `layer_types` is required."""
    defaults: tuple[tuple[str, Json], ...] = ()


_GEMMA_3_TEXT = (
    ("vocab_size", 262_208),
    ("max_position_embeddings", 131_072),
    ("num_attention_heads", 8),
    ("num_key_value_heads", 4),
    ("head_dim", 256),
    ("sliding_window", 4_096),
)
_OPT = (("vocab_size", 50_272), ("max_position_embeddings", 2_048))

FAMILIES: Mapping[str, Family] = {
    "llama": Family(),
    "olmo2": Family(),
    "mistral": Family(windows="all"),
    "mixtral": Family(windows="unclear", experts="mixtral"),
    "phi3": Family(windows="unclear"),
    "qwen2": Family(windows="optional", attention_bias=True),
    "qwen2_moe": Family(windows="optional", attention_bias=True, experts="qwen"),
    "qwen3": Family(windows="optional"),
    "qwen3_moe": Family(windows="optional", experts="qwen"),
    "opt": Family(
        gated_ffn=False, tied_embeddings=True, attention_bias=True, ffn_bias=True, rotary=False, defaults=_OPT
    ),
    "gemma": Family(tied_embeddings=True),
    "gemma2": Family(tied_embeddings=True, windows="layer_types", full_every=2),
    "gemma3_text": Family(tied_embeddings=True, windows="layer_types", full_every=6, defaults=_GEMMA_3_TEXT),
    "gpt_oss": Family(windows="layer_types", experts="mixtral", attention_bias=True, ffn_bias=True),
    "deepseek_v2": Family(experts="deepseek"),
    "deepseek_v3": Family(experts="deepseek"),
    "kimi_k2": Family(experts="deepseek"),
}

_NOT_YET: tuple[tuple[str, str], ...] = (
    ("mamba_d_state", "Mamba state"),
    ("mamba_num_heads", "Mamba state"),
    ("ssm_state_size", "Mamba state"),
    ("hybrid_override_pattern", "hybrid Mamba layers"),
    ("full_attention_interval", "linear attention layers"),
    ("linear_conv_kernel_dim", "linear attention layers"),
    ("attn_type_list", "linear attention layers"),
    ("attention_chunk_size", "chunked local attention"),
    ("num_kv_shared_layers", "KV shared across layers"),
    ("index_head_dim", "a sparse-attention indexer"),
    ("sparse_attention_config", "sparse attention"),
    ("block_configs", "blocks of different shapes"),
    ("dual_chunk_attention_config", "dual chunk attention"),
    ("is_encoder_decoder", "encoder-decoder attention"),
)
"""Fields that, when set, mean that a layer stores something this release cannot count."""


class Fields:
    """Typed access to a config; what is missing or wrong is collected in `problems`, never raised."""

    def __init__(self, tree: Mapping[str, Json], defaults: Mapping[str, Json]) -> None:
        self._tree = tree
        self._defaults = defaults
        self.problems: list[str] = []

    def value(self, key: str) -> Json:
        """The field, or the default of the model type; null counts as absent."""
        found = self._tree.get(key)
        return self._defaults.get(key) if found is None else found

    def count(self, key: str, default: int | None = None, *, most: int = MAX_COUNT) -> int:
        """A positive integer. 0 counts as absent, as engines read it. Without default it must be there."""
        found = self.value(key)
        if found is None or found == 0:
            if default is None:
                self.problems.append(f"{key} is missing")
            return 1 if default is None else default
        if isinstance(found, bool) or not isinstance(found, int) or not 0 < found <= most:
            self.problems.append(f"{key} is {found!r}, which is no whole number from 1 to {most:,}")
            return 1
        return found

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        found = self.value(key)
        if found is None:
            return default
        if not isinstance(found, bool):
            self.problems.append(f"{key} is {found!r}, which is neither true nor false")
            return default
        return found

    def table(self, key: str) -> Mapping[str, Json]:
        """A nested object, empty when absent."""
        found = self.value(key)
        return found if isinstance(found, dict) else {}


def refused_type(model_type: str, tree: Mapping[str, Json]) -> str:
    """The sentence that refuses a model type, with what its fields show it to hold."""
    parts = sorted({what for key, what in _NOT_YET if tree.get(key)})
    reason = f" (it has {', '.join(parts)})" if parts else ""
    known = ", ".join(sorted(FAMILIES))
    return f"model_type '{model_type}' is not understood yet{reason}; understood are {known}"


def text_facts(model_id: str, model_type: str, tree: Mapping[str, Json], source: str, note: str) -> ModelFacts | str:
    """Facts of a language model, or a sentence that lists every field that is missing or wrong."""
    family = FAMILIES.get(model_type)
    if family is None:
        return refused_type(model_type, tree)
    fields = Fields(tree, dict(family.defaults))
    unsupported = [what for key, what in _NOT_YET if tree.get(key)]
    if tree.get("kv_lora_rank") and family.experts != "deepseek":
        unsupported.append("latent attention (kv_lora_rank)")
    hidden = fields.count("hidden_size")
    heads = fields.count("num_attention_heads", most=MAX_LAYERS)
    latent = fields.count("kv_lora_rank", 0) if family.experts == "deepseek" else 0
    kv_heads = 1 if latent else fields.count("num_key_value_heads", heads, most=MAX_LAYERS)
    head_dim, v_head_dim = _head_sizes(fields, hidden, heads, latent)
    if heads % kv_heads:
        fields.problems.append(f"num_attention_heads {heads} is no multiple of num_key_value_heads {kv_heads}")
    layers = fields.count("num_hidden_layers", most=MAX_LAYERS)
    positions = fields.count("max_position_embeddings")
    context, rope_positions = _positions(fields, model_type, positions, unsupported)
    ffn = fields.count("ffn_dim" if model_type == "opt" else "intermediate_size")
    experts = _experts(fields, family, layers, ffn, unsupported)
    facts = ModelFacts(
        id=model_id,
        model_type=model_type,
        layers=layers,
        hidden_size=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        v_head_dim=v_head_dim,
        ffn_size=ffn,
        gated_ffn=family.gated_ffn,
        vocab_size=fields.count("vocab_size"),
        max_context_tokens=context,
        tied_embeddings=fields.flag("tie_word_embeddings", family.tied_embeddings),
        layer_windows=_windows(fields, family, layers, context, unsupported),
        kv_lora_rank=latent,
        q_lora_rank=fields.count("q_lora_rank", 0) if latent else 0,
        qk_rope_head_dim=fields.count("qk_rope_head_dim") if latent else 0,
        qk_nope_head_dim=fields.count("qk_nope_head_dim") if latent else 0,
        experts=experts.total,
        experts_per_token=experts.per_token,
        expert_ffn_size=experts.ffn,
        shared_experts=experts.shared,
        dense_layers=experts.dense_layers,
        native_weights=_native_weights(fields, model_type, unsupported),
        unsupported=tuple(dict.fromkeys(unsupported)),
        source=source,
        attention_bias=fields.flag("attention_bias", False) or family.attention_bias,
        ffn_bias=fields.flag("mlp_bias", False) or family.ffn_bias,
        rope_positions=rope_positions if family.rotary else 0,
        note=note,
    )
    return "; ".join(fields.problems) if fields.problems else facts


def _head_sizes(fields: Fields, hidden: int, heads: int, latent: int) -> tuple[int, int]:
    """Sizes of a K and a V vector; latent attention: the latent with its rotary part, and the value head."""
    if latent:
        return latent + fields.count("qk_rope_head_dim"), fields.count("v_head_dim")
    if fields.value("head_dim") in (None, 0) and hidden % heads:
        fields.problems.append(f"head_dim is missing and hidden_size {hidden} is no multiple of {heads} heads")
    head_dim = fields.count("head_dim", hidden // heads or 1, most=65_536)
    return head_dim, head_dim


def _positions(fields: Fields, model_type: str, positions: int, unsupported: list[str]) -> tuple[int, int]:
    """(longest context that the engine accepts, rows of its rotary tables).

    YaRN counts from its original length, linear and dynamic scaling stretch `max_position_embeddings`, llama3
    and longrope leave it. Gemma-3 states the stretched length already, and keeps a second, unscaled table for
    its sliding layers.
    """
    scaling = fields.table("rope_scaling") or fields.table("rope_parameters")
    kind = str(scaling.get("rope_type") or scaling.get("type") or "default")
    factor = scaling.get("factor", 1)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 <= factor <= MAX_ROPE_FACTOR:
        fields.problems.append(f"rope_scaling factor is {factor!r}, which is no number from 1 to {MAX_ROPE_FACTOR:,}")
        return positions, positions
    scale = Fraction(factor)
    if model_type == "gemma3_text":
        return positions, int(positions * scale) + positions
    if kind in ("linear", "dynamic"):
        return int(positions * scale), int(positions * scale)
    if kind == "yarn":
        original = scaling.get("original_max_position_embeddings")
        start = original if isinstance(original, int) and 0 < original <= MAX_COUNT else positions
        return int(start * scale), int(start * scale)
    if kind not in ("default", "llama3", "longrope", "su", "mrope"):
        unsupported.append(f"rope_scaling of type '{kind}'")
    return positions, positions


@dataclass(frozen=True)
class _Experts:
    total: int = 0
    per_token: int = 0
    ffn: int = 0
    shared: int = 0
    dense_layers: int = 0


def _experts(fields: Fields, family: Family, layers: int, ffn: int, unsupported: list[str]) -> _Experts:
    if not family.experts:
        return _Experts()
    if family.experts == "mixtral":
        return _Experts(fields.count("num_local_experts"), fields.count("num_experts_per_tok"), ffn)
    expert_ffn = fields.count("moe_intermediate_size")
    per_token = fields.count("num_experts_per_tok")
    if family.experts == "deepseek":
        if fields.count("moe_layer_freq", 1) != 1:
            unsupported.append("experts in only some layers (moe_layer_freq)")
        shared = fields.count("n_shared_experts", 0)
        dense = fields.count("first_k_dense_replace", 0, most=layers)
        return _Experts(fields.count("n_routed_experts"), per_token, expert_ffn, shared, dense)
    if fields.count("decoder_sparse_step", 1) != 1 or fields.value("mlp_only_layers"):
        unsupported.append("experts in only some layers (decoder_sparse_step, mlp_only_layers)")
    shared_ffn = fields.count("shared_expert_intermediate_size", 0)
    if shared_ffn % expert_ffn:
        unsupported.append("a shared expert of another width (shared_expert_intermediate_size)")
    return _Experts(fields.count("num_experts"), per_token, expert_ffn, shared_ffn // expert_ffn)


def _windows(fields: Fields, family: Family, layers: int, context: int, unsupported: list[str]) -> tuple[int, ...]:
    """The window of each layer. 0 is full attention, and so is a window that covers the whole context."""
    window = fields.count("sliding_window", 0)
    if family.windows == "optional" and not fields.flag("use_sliding_window", False):
        window = 0
    if not 0 < window < context:
        window = 0
    kinds = fields.value("layer_types")
    if isinstance(kinds, list) and kinds:
        return _windows_by_kind(fields, kinds, window, layers, unsupported)
    if not window or family.windows == "none":
        return (0,) * layers
    if family.windows == "all":
        return (window,) * layers
    if family.windows == "layer_types" and family.full_every:
        every = fields.count("sliding_window_pattern", family.full_every, most=layers + 1)
        return tuple(0 if (layer + 1) % every == 0 else window for layer in range(layers))
    unsupported.append(f"a sliding_window of {window:,} tokens without layer_types")
    return (0,) * layers


def _windows_by_kind(
    fields: Fields, kinds: list[Json], window: int, layers: int, unsupported: list[str]
) -> tuple[int, ...]:
    if len(kinds) != layers:
        fields.problems.append(f"layer_types lists {len(kinds)} layers, num_hidden_layers says {layers}")
    others = sorted({str(kind) for kind in kinds} - {"full_attention", "sliding_attention"})
    unsupported.extend(f"layers of type '{kind}'" for kind in others)
    return tuple(window if kind == "sliding_attention" else 0 for kind in kinds)


def _native_weights(fields: Fields, model_type: str, unsupported: list[str]) -> str:
    """The dtype in which the checkpoint ships: bf16 (any 16 or 32-bit float), fp8 or mxfp4."""
    found = fields.value("quantization_config") or fields.value("compression_config")
    if not isinstance(found, dict) or not found:
        return "bf16"
    method = str(found.get("quant_method") or found.get("quant_algo") or "unnamed").lower()
    if method == "modelopt":
        method = str(found.get("quant_algo", method)).lower()
    if method == "compressed-tensors" and _all_fp8(found.get("config_groups")):
        method = "fp8"
    if method == "fp8" or (method == "mxfp4" and model_type == "gpt_oss"):
        return method
    unsupported.append(f"weights quantized with '{method}'")
    return method


def _all_fp8(groups: Json) -> bool:
    """Whether every group of a compressed-tensors config stores weights as 8-bit floats."""
    if not isinstance(groups, dict) or not groups:
        return False
    for group in groups.values():
        weights = group.get("weights") if isinstance(group, dict) else None
        if not isinstance(weights, dict) or weights.get("num_bits") != 8 or weights.get("type") != "float":
            return False
    return True
