"""The arithmetic of a token's bytes, layer by layer: alike layers on one line, with the heads and sizes they have."""

from __future__ import annotations

from collections import Counter

from planner.calculator.types import Step
from planner.catalog.parallel import Parallel
from planner.catalog.types import BF16_KV, AttentionKv, EngineName, KvStorage, ModelFacts, StateKv
from planner.memory.layers import LayerKv, index_bytes, stages_of, vector_bytes
from planner.memory.stages import stage_layers

STATE_WORDS = {
    "mamba1": "Mamba-1",
    "mamba2": "Mamba-2",
    "gdn": "gated delta net",
    "kda": "Kimi delta attention",
    "linear": "linear attention",
    "short_conv": "short convolution",
}


def layer_steps(
    model: ModelFacts, storage: KvStorage, shape: Parallel, engine_name: EngineName, speculative_tokens: int
) -> tuple[Step, ...]:
    """What the layers of the stage that holds most keep on one GPU."""
    stages = stages_of(model, storage, shape, engine_name, speculative_tokens)
    fullest = max(range(len(stages)), key=lambda stage: sum(layer.token_bytes for layer in stages[stage]))
    where = f"stage {fullest + 1} of {len(stages)}: " if len(stages) > 1 else ""
    own = [model.kv_layers[place] for place in stage_layers(len(model.kv_layers), shape.pp, engine_name)[fullest]]
    drafted = list(model.draft_layers) if speculative_tokens and fullest == len(stages) - 1 else []
    kept = [layer for layer in (*own, *drafted) if layer is not None]
    nothing = len(own) - sum(layer is not None for layer in own)
    pairs = Counter(zip(kept, stages[fullest], strict=True))
    steps = [_step(where, layer, held, count, storage) for (layer, held), count in pairs.items()]
    if nothing:
        steps.append(
            Step(f"{where}{nothing} {_layers(nothing)} without KV", "shared with others, or feed-forward only", "0 B")
        )
    return tuple(steps)


def _layers(count: int) -> str:
    return "layer" if count == 1 else "layers"


def _step(where: str, layer: AttentionKv | StateKv, held: LayerKv, count: int, storage: KvStorage) -> Step:
    if isinstance(layer, StateKv):
        label = f"{where}{count} {_layers(count)}, {STATE_WORDS[layer.kind]}"
        return Step(
            label, f"{count} x {held.state_bytes:,} B, however long", f"{count * held.state_bytes:,} B a sequence"
        )
    reach = {
        "full": "full attention",
        "sliding": f"window {layer.window_tokens:,}",
        "chunked": f"chunk {layer.window_tokens:,}",
    }
    label = f"{where}{count} {_layers(count)}, {reach[layer.reach]}"
    return Step(label, f"{count} x {_token_formula(layer, held, storage)}", f"{count * held.token_bytes:,} B a token")


def _token_formula(layer: AttentionKv, held: LayerKv, storage: KvStorage) -> str:
    """Heads times the bytes of a K and a V vector, or the bytes of one latent vector, and the indexer's."""
    index = index_bytes(layer.index_dim)
    rest = held.token_bytes - index
    more = f" + {index} B of indexer" if index else ""
    if layer.is_latent:
        return f"({rest:,} B of a latent of {layer.key_dim}{more})"
    for kind in (storage, BF16_KV):
        key = vector_bytes(layer.key_dim, kind.k_bits, kind)
        value = vector_bytes(layer.value_dim, kind.v_bits, kind)
        if rest % (key + value) == 0:
            break
    heads = rest // (key + value)
    text = f"{heads} {'head' if heads == 1 else 'heads'} x (K {key:,} + V {value:,} B)"
    return f"({text}{more})" if more else text
