"""Facts about the world, as frozen records in base units: models, GPUs, engines, KV storage, refusals.

The rooms memory, performance, traffic and compression do not import each other; what they share stands here.
Units: bytes, tokens, seconds, FLOP/s and bytes/s unless the name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Bottleneck(StrEnum):
    """What stands in the way of a candidate; each rejection names exactly one."""

    ARCHITECTURE = "architecture"
    """The model, or a part of it, is not understood yet by this room."""
    ENGINE = "engine"
    """The engine version cannot run it."""
    GPU = "gpu"
    """The GPU cannot run it, or no figures exist for it."""
    PARALLEL = "parallel"
    """The parallel shape does not divide the model or does not fit into a node."""
    MEMORY = "memory"
    """Weights, activations and one sequence do not fit."""
    CONTEXT = "context"
    """The context limit is above the model's own, or cuts or rejects more than was promised."""
    TTFT = "ttft"
    """No request rate keeps the promised time to first token."""
    TPOT = "tpot"
    """No request rate keeps the promised time per output token."""
    RATE = "rate"
    """Queueing is unstable at every rate, or the table says 0 requests/s."""
    QUALITY = "quality"
    """A quality floor of the class has no evidence that meets it."""
    POLICY = "policy"
    """The compression policy excludes the preset."""


@dataclass(frozen=True)
class Refusal:
    """Why something cannot be planned: a sentence with its number, and the nearest value that would do."""

    bottleneck: Bottleneck
    message: str
    nearest: str | None = None


@dataclass(frozen=True)
class ModelFacts:
    """The architecture of a model as its `config.json` states it. Counts are for the whole model.

    `layer_windows` has one entry for each layer that owns KV: 0 is full attention, W > 0 a sliding window of
    W tokens. MLA models have `kv_lora_rank > 0`; MoE models have `experts > 0`. `unsupported` names what
    memory does not understand yet (empty when everything is understood).
    """

    id: str
    model_type: str
    layers: int
    hidden_size: int
    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    ffn_size: int
    gated_ffn: bool
    vocab_size: int
    max_context_tokens: int
    tied_embeddings: bool
    layer_windows: tuple[int, ...]
    kv_lora_rank: int = 0
    q_lora_rank: int = 0
    qk_rope_head_dim: int = 0
    qk_nope_head_dim: int = 0
    experts: int = 0
    experts_per_token: int = 0
    expert_ffn_size: int = 0
    shared_experts: int = 0
    dense_layers: int = 0
    native_weights: str = "bf16"
    unsupported: tuple[str, ...] = ()
    source: str = ""
    attention_bias: bool = False
    ffn_bias: bool = False
    rope_positions: int = 0
    """Rows of the rotary tables that the engine builds while it loads; 0 without rotary embeddings."""
    vision_params: int = 0
    """Parameters of a vision tower and its projector, which the engine loads beside the language model."""
    note: str = ""

    @property
    def is_mla(self) -> bool:
        """Whether KV is one latent vector a token (multi-head latent attention)."""
        return self.kv_lora_rank > 0

    @property
    def is_moe(self) -> bool:
        """Whether the feed-forward layers are mixtures of experts."""
        return self.experts > 0

    @property
    def is_windowed(self) -> bool:
        """Whether any layer keeps only a window of its KV."""
        return any(self.layer_windows)


@dataclass(frozen=True)
class GpuFacts:
    """One GPU type. `memory_bytes` is CUDA's total; rates are dense peaks; the link is one way."""

    id: str
    vendor: str
    architecture: str
    memory_bytes: int
    memory_estimated: bool
    bandwidth_bytes_per_s: int
    bf16_flops: int
    fp8_flops: int
    link_bytes_per_s: int
    tdp_w: int
    compute_capability: str
    source: str
    estimated: tuple[str, ...] = ()
    nvlink: bool = True
    """Whether all GPUs of a node reach each other over NVLink or Infinity Fabric rather than PCIe."""
    note: str = ""


@dataclass(frozen=True)
class EngineRules:
    """One release of an engine: what it allocates and defaults to (domain rules, each with its source).

    `requested` is what the scenario wrote; `version` the rule set that answers for it.
    """

    name: str
    version: str
    requested: str
    block_tokens: int
    utilization_ppm: int
    graphs_in_budget: bool
    sampler_bytes_per_logit: int
    kv_dtypes: tuple[str, ...]
    source: str
    in_flight_steps: int = 1
    """Scheduler steps in flight at once: a window keeps the tokens of all of them."""
    large_gpu_bytes: int = 0
    """GPUs of at least this size default to 16,384 batched tokens; 0: the release has no such tier."""


@dataclass(frozen=True)
class KvStorage:
    """How a preset stores one K and one V vector of one head and token on the GPU.

    bytes of a K vector of d elements = ceil(d * k_bits / 8) + ceil(d / group) * scale_bytes + vector_bytes,
    with group = 0 meaning no group scales; V likewise with `v_bits`. The first and last `skip_layers` layers
    stay 16-bit.
    """

    k_bits: int
    v_bits: int
    group: int = 0
    scale_bytes: int = 0
    vector_bytes: int = 0
    skip_layers: int = 0


BF16_KV = KvStorage(k_bits=16, v_bits=16)
