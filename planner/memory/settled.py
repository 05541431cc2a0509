"""Which layouts of KV are settled: what nobody has described is refused, what is inferred is said."""

from __future__ import annotations

from dataclasses import replace

from planner.catalog.parallel import Parallel
from planner.catalog.types import AttentionKv, Bottleneck, EngineName, KvStorage, ModelFacts, Refusal, StateKv
from planner.memory.state import state_split_problem


def layout_refusal(
    model: ModelFacts, storage: KvStorage, shape: Parallel, engine_name: EngineName, is_v0: bool
) -> Refusal | None:
    """Combinations whose layout nobody has described; none of them is guessed."""

    def refuse(reason: str, nearest: str | None = None) -> Refusal:
        return Refusal(Bottleneck.ARCHITECTURE, reason, nearest)

    if model.unsupported:
        return refuse(f"{model.id}: memory is not understood yet: {', '.join(model.unsupported)}")
    layers = [layer for layer in (*model.kv_layers, *model.draft_layers) if layer is not None]
    attention = [layer for layer in layers if isinstance(layer, AttentionKv)]
    mixed = len({(layer.reach, layer.window_tokens) for layer in attention}) > 1 or model.has_state
    scaled = storage.group or storage.vector_bytes or storage.skip_layers
    odd = (scaled or storage.k_bits not in (8, 16, 32)) and not storage.latent_bytes
    if any(layer.is_latent for layer in attention) and odd:
        return refuse(f"{model.id} keeps one latent vector a token; this KV dtype is not understood for it yet", "fp8")
    if storage.latent_bytes and not all(layer.is_latent for layer in attention):
        return refuse(f"{model.id} has no latent attention, which this KV dtype packs", "fp8")
    if storage.skip_layers and (mixed or engine_name != "vllm"):
        return refuse(
            f"{model.id} mixes layers, and this KV dtype keeps 16-bit ones: not understood together yet", "fp8"
        )
    if any(layer.index_dim for layer in attention) and mixed:
        return refuse(f"{model.id} mixes an indexer with windows or states: not understood together yet")
    if is_v0 and model.has_state:
        return refuse(f"{model.id}: recurrent layers in vLLM's older engine are not understood")
    return _split_refusal(model, attention, shape, engine_name)


def _split_refusal(
    model: ModelFacts, attention: list[AttentionKv], shape: Parallel, engine_name: EngineName
) -> Refusal | None:
    """Shapes that do not divide the heads, or whose ranks cannot share tokens."""
    tp, dcp = shape.tp, shape.dcp
    for layer in attention:
        if layer.kv_heads % tp and tp % layer.kv_heads:
            message = f"tp{tp} does not divide {model.id}: {layer.kv_heads} KV heads can be neither split nor repeated"
            return Refusal(Bottleneck.PARALLEL, message)
    if attention and model.heads % tp:
        nearest = max(size for size in range(1, min(tp, model.heads) + 1) if model.heads % size == 0)
        message = f"tp{tp} does not divide {model.id}: {model.heads} attention heads"
        return Refusal(Bottleneck.PARALLEL, message, str(replace(shape, tp=nearest, dcp=1)))
    if shape.ep and not model.is_moe and not model.missing:
        message = f"{model.id} has no experts that expert parallelism could spread"
        return Refusal(Bottleneck.PARALLEL, message, str(replace(shape, ep=False)))
    for state in model.kv_layers:
        problem = state_split_problem(state, tp) if isinstance(state, StateKv) else ""
        if problem:
            return Refusal(Bottleneck.PARALLEL, f"tp{tp} does not divide {model.id}: {problem}")
    if dcp == 1:
        return None
    if engine_name != "vllm":
        return Refusal(Bottleneck.PARALLEL, f"decode context parallelism of {engine_name} is not understood", "dcp1")
    if model.is_windowed:
        message = f"{model.id} keeps windows, which dcp{dcp} cannot share between ranks"
        return Refusal(Bottleneck.PARALLEL, message, "dcp1")
    heads = max((layer.kv_heads for layer in attention), default=1)
    if tp % (heads * dcp):
        message = f"dcp{dcp} shares {heads} KV heads of {model.id} between tp{tp}: {heads} x {dcp} must divide {tp}"
        return Refusal(Bottleneck.PARALLEL, message)
    return None


def layout_doubts(
    model: ModelFacts,
    storage: KvStorage,
    shape: Parallel,
    engine_name: EngineName,
    *,
    is_v0: bool,
    overlaps: bool,
    blackwell: bool,
    speculates: bool,
) -> tuple[str, ...]:
    """What of a layout is inferred rather than read in sources, in words.

    Args:
        is_v0: vLLM's older engine.
        overlaps: several scheduler steps may be in flight.
        blackwell: the GPU is a Blackwell of a server.
        speculates: the engine drafts tokens ahead.
    """
    found = []
    if engine_name == "vllm" and model.is_mla:
        found.append("block size of latent attention: depends on the kernel that the engine picks")
    if engine_name == "vllm" and model.has_state and blackwell and model.head_dim == 256:
        found.append("blocks of recurrent models on Blackwell: multiples of 32 tokens, as some releases require")
    if storage.skip_layers:
        found.append("pages of 16-bit edge layers: summed with the others, not seen in a log")
    if engine_name == "vllm" and overlaps and model.is_windowed:
        found.append("tokens in flight: two steps, as with asynchronous scheduling")
    if speculates and not model.draft_layers:
        found.append("speculation: a draft model's own KV is not counted")
    if is_v0 and model.is_windowed:
        found.append("windows in vLLM's older engine: charged for the whole context")
    if engine_name == "tensorrt-llm" and shape.tp > model.kv_heads and not model.is_mla:
        found.append("KV heads repeated over ranks: whole heads, of which TensorRT-LLM's first estimate takes parts")
    if shape.dcp > 1 and _indexed(model):
        found.append("indexer keys under decode context parallelism: shared like the latent")
    if shape.dcp > 1 and model.has_state:
        found.append("recurrent state under decode context parallelism: whole on every rank")
    if model.bound:
        found.append(f"{model.id}: the {'most' if model.bound == 'high' else 'least'} that it may keep")
    return tuple(found)


def _indexed(model: ModelFacts) -> bool:
    return any(isinstance(layer, AttentionKv) and layer.index_dim for layer in model.kv_layers)
