"""Facts about the world, as frozen records in base units: models, GPUs, engines, KV storage, refusals.

The rooms memory, performance, traffic and compression do not import each other; what they share stands here.
Units: bytes, tokens, seconds, FLOP/s and bytes/s unless the name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


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
    REGION = "region"
    """The class may not be served there."""
    POLICY = "policy"
    """The compression policy excludes the preset."""


@dataclass(frozen=True)
class Refusal:
    """Why something cannot be planned: a sentence with its number, and the nearest value that would do."""

    bottleneck: Bottleneck
    message: str
    nearest: str | None = None


Reach = Literal["full", "sliding", "chunked"]
"""How far back an attention layer looks: everything, a sliding window, or the chunk that a token stands in."""

StateKind = Literal["mamba1", "mamba2", "gdn", "kda", "linear", "short_conv"]
"""Recurrent layers: Mamba-1, Mamba-2, Gated DeltaNet, Kimi Delta Attention, linear (lightning) attention, and short
convolutions alone."""


@dataclass(frozen=True)
class AttentionKv:
    """What one attention layer keeps of every token, over the whole model (not per rank).

    Latent attention (MLA) keeps one vector of `key_dim` elements, of which `rope_dim` are rotary, and no
    value: `kv_heads` 1, `value_dim` 0. `window_tokens` is the window or chunk where `reach` is not full.
    `index_dim` > 0 is the key of a sparse-attention indexer, kept beside it.
    """

    kv_heads: int
    key_dim: int
    value_dim: int
    reach: Reach = "full"
    window_tokens: int = 0
    rope_dim: int = 0
    index_dim: int = 0

    @property
    def is_latent(self) -> bool:
        """Whether one vector stands for keys and values, the same on every rank."""
        return self.value_dim == 0


@dataclass(frozen=True)
class StateKv:
    """What one recurrent layer keeps of every sequence, however long it is (whole model, elements).

    mamba1: `heads` 1, `head_dim` the inner width, `state_dim` the state size. mamba2: `groups` of B and C.
    gdn: `heads` and `head_dim` of values, `groups` and `state_dim` the key heads and their size.
    kda, linear: `heads` of `head_dim`, `state_dim` = `head_dim`. `conv_kernel` 0: no convolution.
    short_conv: `heads` 1, `head_dim` the width, `state_dim` 0: no matrix.
    """

    kind: StateKind
    heads: int
    head_dim: int
    state_dim: int
    groups: int = 0
    conv_kernel: int = 0
    state_element_bytes: int = 2
    chunk_tokens: int = 0


KvLayer = AttentionKv | StateKv | None
"""What one layer of the model keeps; None: nothing (shared with another layer, or feed-forward only)."""

Ffn = Literal["dense", "moe", "none"]


@dataclass(frozen=True)
class ModelFacts:
    """The architecture of a model as its `config.json` states it. Counts are for the whole model.

    `kv_layers` and `ffn_layers` have one entry for each of the `layers`, in order. The scalars `kv_heads`,
    `head_dim` and `v_head_dim` are those of the most common attention layer. MLA models have
    `kv_lora_rank > 0`; MoE models have `experts > 0`. `unsupported` names what memory does not understand
    (empty when everything is understood). `missing` names fields that weights and activations need and the
    config does not give: KV is exact without them, and the counts stand at 0.
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
    kv_layers: tuple[KvLayer, ...]
    ffn_layers: tuple[Ffn, ...] = ()
    draft_layers: tuple[KvLayer, ...] = ()
    """Layers of multi-token prediction, which exist only while the engine speculates with them."""
    kv_lora_rank: int = 0
    q_lora_rank: int = 0
    qk_rope_head_dim: int = 0
    qk_nope_head_dim: int = 0
    experts: int = 0
    experts_per_token: int = 0
    expert_ffn_size: int = 0
    shared_experts: int = 0
    native_weights: str = "bf16"
    unsupported: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    source: str = ""
    attention_bias: bool = False
    ffn_bias: bool = False
    rope_positions: int = 0
    """Rows of the rotary tables that the engine builds while it loads; 0 without rotary embeddings."""
    vision_params: int = 0
    """Parameters of a vision tower and its projector, which the engine loads beside the language model."""
    bound: Literal["", "low", "high"] = ""
    """Set where the architecture is not understood and bounded instead: the least or the most it may keep."""
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
        """Whether any layer keeps only a window or chunk of its KV."""
        return any(isinstance(layer, AttentionKv) and layer.reach != "full" for layer in self.kv_layers)

    @property
    def has_state(self) -> bool:
        """Whether any layer keeps a state per sequence (Mamba, linear attention)."""
        return any(isinstance(layer, StateKv) for layer in self.kv_layers)


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
    driver_bytes: int = 0
    """What the driver shows before any allocation; 0: not known."""
    note: str = ""


EngineName = Literal["vllm", "sglang", "tensorrt-llm"]


@dataclass(frozen=True)
class ServerDefaults:
    """What the server of an engine takes by default on GPUs of at least `from_bytes`.

    `graph_sequences` are the largest captured batch at tp < 4 and from tp 4 on (0: the engine has no such rule).
    """

    from_bytes: int
    batched_tokens: int
    sequences: int
    graph_sequences: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class NonTorch:
    """CUDA context and communication buffers of one rank by tensor-parallel size, smallest size first.

    `where` says for which GPUs: a GPU architecture, `nvlink` or `any`; the first row that fits answers.
    """

    where: str
    bytes_by_tp: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class EngineRules:
    """One rule set of an engine: what it allocates and defaults to, each with its source.

    `requested` is what the user wrote; `version` the release whose rules answer for it: the newest not newer.
    """

    name: EngineName
    version: str
    requested: str
    block_tokens: int
    """Tokens of a block by default: vLLM 16, SGLang 1 (page size), TensorRT-LLM 32."""
    utilization_ppm: int
    """Default share of memory: vLLM of the total, TensorRT-LLM of what is free after loading; SGLang 0 (a rule)."""
    graphs_in_budget: bool
    sampler_bytes_per_logit: int
    kv_dtypes: tuple[str, ...]
    source: str
    in_flight_steps: int = 1
    """Scheduler steps in flight at once: a window keeps the tokens of all of them."""
    large_gpu_bytes: int = 0
    """GPUs of at least this size default to 16,384 batched tokens; 0: the release has no such tier."""
    null_blocks: int = 1
    """Blocks of the pool that no request gets."""
    prints_concurrency_tokens: bool = False
    """Whether the printed pool size is concurrency x max_model_len (newer vLLM) rather than blocks x tokens."""
    group_by_ratio: bool = False
    """Whether layer groups take the largest bucket when it is less than 1.5 times the smallest."""
    reserves_answers: bool = False
    """Whether a request waits until the pool holds it to its last token; else it is admitted by its prompt."""
    recurrent_blocks: int = 1
    """Blocks of state per sequence and layer group by default: 1 without prefix caching, 2 with (`align`)."""
    window_pool_ppm: int = 0
    """SGLang: tokens of the window pool over tokens of the full pool."""
    state_pool_ppm: int = 0
    """SGLang: memory of the state pool over memory of the token pool."""
    defaults: tuple[ServerDefaults, ...] = ()
    """Defaults by GPU size, smallest GPU first."""
    non_torch: tuple[NonTorch, ...] = ()
    recalled: tuple[str, ...] = ()
    """Fields of this rule set that were not compared with a source."""

    @property
    def is_inferred(self) -> bool:
        """Whether the user's release has no rule set of its own and an older one answers."""
        written = self.requested.removeprefix(f"{self.name}@").removeprefix("v")
        return written not in (self.version, f"{self.version}.0")


@dataclass(frozen=True)
class KvStorage:
    """How a preset stores one K and one V vector of one head and token on the GPU.

    bytes of a K vector of d elements = ceil(d * k_bits / 8) + ceil(d / group) * scale_bytes + vector_bytes,
    with group = 0 meaning no group scales; V likewise with `v_bits`. The first and last `skip_layers` layers
    stay 16-bit. `latent_bytes` > 0 is the whole latent vector of MLA where a kernel packs it in its own way.
    """

    k_bits: int
    v_bits: int
    group: int = 0
    scale_bytes: int = 0
    vector_bytes: int = 0
    skip_layers: int = 0
    latent_bytes: int = 0


BF16_KV = KvStorage(k_bits=16, v_bits=16)
