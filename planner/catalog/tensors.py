"""The tensors of a model as an engine builds it: one record for each matrix, in whole-model sizes.

Column-parallel matrices split their outputs, row-parallel ones their inputs; KV heads are repeated where there
are more ranks than heads; norms, routers, low-rank down projections and indexers are held by every rank. With
data parallelism attention is repeated and experts are spread over tp * dp ranks: in slices, or whole ones.
Source: vLLM 0.19 to 0.33 model definitions (`model_executor/models`), `fused_moe/layer.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from planner.catalog.parallel import Parallel
from planner.catalog.types import AttentionKv, KvLayer, ModelFacts, StateKv

Shard = Literal["column", "row", "replicated", "expert_column", "expert_row"]
Where = Literal["layer", "first", "last", "every"]

BIAS_ON_INPUT_ONLY = frozenset({"qwen2", "qwen2_moe"})
_GATED_QUERIES = frozenset({"qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"})
"""Attention with an output gate that comes out of the query projection, which is twice as wide."""
_GATED_SHARED = frozenset({"qwen2_moe", "qwen3_next", "qwen3_5_moe", "qwen3_5_moe_text"})
_SHARED_KV = frozenset({"gemma3n", "gemma3n_text", "gemma4", "gemma4_text"})
"""Models whose layers without a cache of their own are attention layers all the same."""
_INDEX_HEADS = 64
"""Heads of the sparse-attention indexer: 64 in DeepSeek-V3.2 (GLM-5 has 32); `ModelFacts` does not keep it."""
_VOCABULARY_PADDING = 64


@dataclass(frozen=True)
class Tensor:
    """`copies` matrices of `rows` outputs and `cols` inputs.

    `units` is what the split side consists of: heads are never cut, and repeated when ranks outnumber them.
    `plain` tensors stay 16-bit in every quantized checkpoint.
    """

    name: str
    rows: int
    cols: int
    shard: Shard = "replicated"
    units: int = 0
    copies: int = 1
    bias: bool = False
    plain: bool = False
    where: Where = "layer"
    layer: int = 0

    def local(self, shape: Parallel) -> tuple[int, int, int]:
        """(rows, cols, copies) on one rank."""
        if self.shard in ("expert_column", "expert_row"):
            if shape.ep:
                return self.rows, self.cols, -(-self.copies // shape.expert_ranks)
            ranks = shape.expert_ranks
        else:
            ranks = 1 if self.shard == "replicated" else shape.tp
        if self.shard in ("column", "expert_column"):
            return self._part(self.rows, ranks), self.cols, self.copies
        if self.shard in ("row", "expert_row"):
            return self.rows, self._part(self.cols, ranks), self.copies
        return self.rows, self.cols, self.copies

    def _part(self, size: int, ranks: int) -> int:
        if not self.units:
            return -(-size // ranks)
        return max(1, -(-self.units // ranks)) * (size // self.units)


def model_tensors(model: ModelFacts) -> Iterator[Tensor]:
    """Every matrix and vector of the model that an engine loads, layers in order."""
    yield from _outer(model)
    for layer in range(model.layers):
        kind = model.kv_layers[layer] if layer < len(model.kv_layers) else None
        ffn = model.ffn_layers[layer] if layer < len(model.ffn_layers) else "dense"
        for tensor in (*_mixer(model, kind), *_feed_forward(model, ffn), *_norms(model, kind)):
            yield _at(tensor, layer)


def draft_tensors(model: ModelFacts) -> Iterator[Tensor]:
    """Every matrix of the layers of multi-token prediction, numbered behind the model's own.

    Each is a layer of the model's last kind behind a projection of the hidden state and the next token's embedding,
    which every rank holds in 16 bits, with a norm for each of them and one before the shared head.
    Source: DeepSeek-V3 README_WEIGHTS (11.5 B parameters beyond the shared ones); vLLM `deepseek_mtp.py`.
    """
    hidden = model.hidden_size
    ffn = model.ffn_layers[-1] if model.ffn_layers else "dense"
    for index, kind in enumerate(model.draft_layers):
        joined = Tensor("eh_proj", hidden, 2 * hidden, plain=True)
        norms = Tensor("draft_norms", 3 * hidden, 1, plain=True)
        for tensor in (joined, norms, *_mixer(model, kind), *_feed_forward(model, ffn), *_norms(model, kind)):
            yield _at(tensor, model.layers + index)


def _at(tensor: Tensor, layer: int) -> Tensor:
    return replace(tensor, where="layer", layer=layer)


def _outer(model: ModelFacts) -> Iterator[Tensor]:
    """Embedding, output head, positions, last norm, rotary tables, vision tower."""
    hidden = model.hidden_size
    padded = -(-model.vocab_size // _VOCABULARY_PADDING) * _VOCABULARY_PADDING
    yield Tensor("embedding", padded, hidden, "column", plain=True, where="first")
    yield Tensor("head", padded, hidden, "column", plain=True, where="last")
    if model.model_type == "opt":
        yield Tensor("positions", model.max_context_tokens + 2, hidden, plain=True, where="first")
    yield Tensor("norm", hidden * (2 if model.model_type == "opt" else 1), 1, plain=True, where="last")
    rotary = model.qk_rope_head_dim or model.head_dim
    yield Tensor("rotary", model.rope_positions, rotary, plain=True, where="every")
    yield Tensor("vision", model.vision_params, 1, "column", plain=True, where="every")


def _mixer(model: ModelFacts, kind: KvLayer) -> tuple[Tensor, ...]:
    if isinstance(kind, StateKv):
        return _STATE[kind.kind](model, kind)
    if kind is None:
        if not shares_kv(model):
            return ()
        kind = AttentionKv(model.kv_heads, model.head_dim, model.v_head_dim)
    return _latent(model, kind) if kind.is_latent else _attention(model, kind)


def shares_kv(model: ModelFacts) -> bool:
    """Whether layers without a cache of their own attend to that of another layer."""
    return model.model_type in _SHARED_KV


def _attention(model: ModelFacts, kind: AttentionKv) -> tuple[Tensor, ...]:
    hidden, heads, kv_heads, bias = model.hidden_size, model.heads, kind.kv_heads, model.attention_bias
    gate = 2 if model.model_type in _GATED_QUERIES else 1
    return (
        Tensor("q_proj", gate * heads * kind.key_dim, hidden, "column", heads, bias=bias),
        Tensor("k_proj", kv_heads * kind.key_dim, hidden, "column", kv_heads, bias=bias),
        Tensor("v_proj", kv_heads * kind.value_dim, hidden, "column", kv_heads, bias=bias),
        Tensor(
            "o_proj",
            hidden,
            heads * kind.value_dim,
            "row",
            heads,
            bias=bias and model.model_type not in BIAS_ON_INPUT_ONLY,
        ),
    )


def _latent(model: ModelFacts, kind: AttentionKv) -> tuple[Tensor, ...]:
    """Latent attention: every rank holds the down projections; the up projection is kept twice.

    Decoding uses 16-bit copies of its two halves beside it. Source: vLLM `mla_attention.py`,
    `process_weights_after_loading` (W_UK_T and W_UV).
    """
    hidden, heads = model.hidden_size, model.heads
    queries = heads * (model.qk_nope_head_dim + model.qk_rope_head_dim)
    values = model.v_head_dim
    up = heads * (model.qk_nope_head_dim + values)
    down = model.kv_lora_rank + model.qk_rope_head_dim
    query: tuple[Tensor, ...] = (Tensor("q_proj", queries, hidden, "column", heads),)
    if model.q_lora_rank:
        query = (
            Tensor("q_a_proj", model.q_lora_rank, hidden),
            Tensor("q_b_proj", queries, model.q_lora_rank, "column", heads),
        )
    return (
        *query,
        Tensor("kv_a_proj", down, hidden),
        Tensor("kv_b_proj", up, model.kv_lora_rank, "column", heads),
        Tensor("kv_b_copy", up, model.kv_lora_rank, "column", heads, plain=True),
        Tensor("o_proj", hidden, heads * values, "row", heads),
        *(_indexer(model, kind.index_dim) if kind.index_dim else ()),
    )


def _indexer(model: ModelFacts, width: int) -> tuple[Tensor, ...]:
    """The indexer of sparse attention, whole on every rank: queries, the key, head weights.

    Source: vLLM `deepseek_v2.py` (`Indexer`).
    """
    return (
        Tensor("index_q", _INDEX_HEADS * width, model.q_lora_rank or model.hidden_size),
        Tensor("index_k", width, model.hidden_size),
        Tensor("index_weights", _INDEX_HEADS, model.hidden_size, plain=True),
    )


def _delta_net(model: ModelFacts, kind: StateKv) -> tuple[Tensor, ...]:
    """Gated DeltaNet. Source: vLLM `qwen3_next.py` (in_proj_qkvz, in_proj_ba, conv1d, out_proj)."""
    keys, values = kind.groups * kind.state_dim, kind.heads * kind.head_dim
    hidden = model.hidden_size
    return (
        Tensor("qk_proj", 2 * keys, hidden, "column", kind.groups),
        Tensor("vz_proj", 2 * values, hidden, "column", kind.heads),
        Tensor("ba_proj", 2 * kind.heads, hidden, "column", kind.heads, plain=True),
        Tensor("conv", 2 * keys + values, kind.conv_kernel, "column", plain=True),
        Tensor("decay", 4 * kind.heads, 1, "column", plain=True),
        Tensor("state_norm", kind.head_dim, 1, plain=True),
        Tensor("out_proj", hidden, values, "row", kind.heads),
    )


def _mamba_2(model: ModelFacts, kind: StateKv) -> tuple[Tensor, ...]:
    """Mamba-2. Source: vLLM `mamba_mixer2.py` (in_proj, conv1d, A, D, dt_bias, norm, out_proj)."""
    inner, states, hidden = kind.heads * kind.head_dim, 2 * kind.groups * kind.state_dim, model.hidden_size
    return (
        Tensor("in_proj", 2 * inner + kind.heads, hidden, "column", kind.heads),
        Tensor("bc_proj", states, hidden, "column", kind.groups),
        Tensor("conv", inner + states, kind.conv_kernel + 1, "column", plain=True),
        Tensor("decay", 4 * kind.heads + inner, 1, "column", plain=True),
        Tensor("out_proj", hidden, inner, "row", kind.heads),
    )


def _mamba_1(model: ModelFacts, kind: StateKv) -> tuple[Tensor, ...]:
    """Mamba-1, with a time-step rank of ceil(hidden / 16). Source: vLLM `mamba_mixer.py`."""
    inner, hidden, rank = kind.head_dim, model.hidden_size, -(-model.hidden_size // 16)
    return (
        Tensor("in_proj", 2 * inner, hidden, "column"),
        Tensor("conv", inner, kind.conv_kernel + 1, "column", plain=True),
        Tensor("x_proj", rank + 2 * kind.state_dim, inner, "row"),
        Tensor("dt_proj", inner, rank, "column", bias=True),
        Tensor("decay", inner, 2 * (kind.state_dim + 1), "column", plain=True),  # A and D in fp32
        Tensor("out_proj", hidden, inner, "row"),
    )


def _delta_attention(model: ModelFacts, kind: StateKv) -> tuple[Tensor, ...]:
    """Kimi Delta Attention. Source: vLLM `kda.py` (q, k, v, low-rank gates f and g, beta, three convolutions)."""
    width, size, hidden, heads = kind.heads * kind.head_dim, kind.head_dim, model.hidden_size, kind.heads
    return (
        *(Tensor(name, width, hidden, "column", heads) for name in ("q_proj", "k_proj", "v_proj")),
        *(Tensor(name, size, hidden) for name in ("f_a_proj", "g_a_proj")),
        *(Tensor(name, width, size, "column", heads) for name in ("f_b_proj", "g_b_proj")),
        Tensor("b_proj", heads, hidden, "column", heads, plain=True),
        Tensor("conv", 3 * width, kind.conv_kernel, "column", plain=True),
        Tensor("decay", 2 * (heads + width), 1, "column", plain=True),
        Tensor("o_proj", hidden, width, "row", heads),
    )


def _linear_attention(model: ModelFacts, kind: StateKv) -> tuple[Tensor, ...]:
    """Lightning attention. Source: vLLM `minimax_text_01.py` (qkv_proj, output_gate, norm, out_proj)."""
    width, hidden, heads = kind.heads * kind.head_dim, model.hidden_size, kind.heads
    return (
        Tensor("qkv_proj", 3 * width, hidden, "column", heads),
        Tensor("output_gate", width, hidden, "column", heads),
        Tensor("state_norm", width, 1, "column", heads, plain=True),
        Tensor("out_proj", hidden, width, "row", heads),
    )


def _short_convolution(model: ModelFacts, kind: StateKv) -> tuple[Tensor, ...]:
    """Gated short convolution. Source: vLLM `short_conv.py` (in_proj of three parts, conv, out_proj)."""
    width, hidden = kind.head_dim, model.hidden_size
    return (
        Tensor("in_proj", 3 * width, hidden, "column"),
        Tensor("conv", width, kind.conv_kernel, "column", plain=True),
        Tensor("out_proj", hidden, width, "row"),
    )


_STATE = {
    "gdn": _delta_net,
    "mamba1": _mamba_1,
    "mamba2": _mamba_2,
    "kda": _delta_attention,
    "linear": _linear_attention,
    "short_conv": _short_convolution,
}


def _feed_forward(model: ModelFacts, ffn: str) -> tuple[Tensor, ...]:
    """A dense block, or router, shared experts and routed experts."""
    if ffn == "none":
        return ()
    hidden, bias = model.hidden_size, model.ffn_bias
    if ffn == "dense":
        return _block(hidden, model.ffn_size, model.gated_ffn, bias)
    shared = model.shared_experts * model.expert_ffn_size
    width, wide, experts = model.expert_ffn_size, hidden, model.experts
    sides = ("gate_proj", "up_proj") if model.gated_ffn else ("up_proj",)
    return (
        Tensor("router", experts, hidden, bias=bias, plain=True),
        *((Tensor("shared_gate", 1, hidden, plain=True),) if model.model_type in _GATED_SHARED else ()),
        *(_block(hidden, shared, model.gated_ffn, False) if shared else ()),
        *(Tensor(name, width, wide, "expert_column", copies=experts, bias=bias) for name in sides),
        Tensor("down_proj", wide, width, "expert_row", copies=experts, bias=bias),
    )


def _block(hidden: int, width: int, gated: bool, bias: bool) -> tuple[Tensor, ...]:
    sides = ("gate_proj", "up_proj") if gated else ("up_proj",)
    return (
        *(Tensor(name, width, hidden, "column", bias=bias) for name in sides),
        Tensor("down_proj", hidden, width, "row", bias=bias),
    )


_FOUR_NORMS = frozenset({"gemma2", "gemma3_text", "gemma3n_text", "gemma4_text"})
_NORMED_HEADS = frozenset({"qwen3", "qwen3_moe", "gemma3_text", "gemma4_text", "qwen3_next", "glm4_moe"})
_NORMED_WIDTHS = frozenset({"olmo2", "minimax_m2"})


def _norms(model: ModelFacts, kind: KvLayer) -> tuple[Tensor, ...]:
    """Norm weights of a layer: two (four in Gemma), and those of heads and latents."""
    size = (4 if model.model_type in _FOUR_NORMS else 2) * model.hidden_size
    if model.model_type == "opt":
        size *= 2
    if isinstance(kind, AttentionKv):
        if model.model_type in _NORMED_HEADS:
            size += 2 * kind.key_dim
        if model.model_type in _NORMED_WIDTHS:
            size += (model.heads + kind.kv_heads) * kind.key_dim
        if kind.is_latent:
            size += model.q_lora_rank + model.kv_lora_rank
    return (Tensor("norms", size, 1, plain=True),)
