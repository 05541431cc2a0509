"""Blocks of one request whose KV is compressed after its prefill: residual windows, eviction, 16-bit decoded tokens.

Presets that an engine stores vector by vector need none of this: their bytes are linear in tokens, and the KV row
counts tokens. Here the bytes depend on the prompt and on how many tokens are decoded, and they are rounded up to
whole blocks of the engine's 16-bit pool.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from planner.catalog.types import AttentionKv, Bottleneck, ModelFacts, Refusal
from planner.compression.codecs_data import KvSpec, kv_spec

MOST_STEPS = 128
"""Places along an answer at which its bytes are computed; between them the next one counts, which is more."""


def is_linear(spec: KvSpec) -> bool:
    """Whether every token of a request takes the same bytes from the moment it is written."""
    kept_whole = spec.eviction is None and not spec.residual_tokens and not spec.decoded_16bit
    return kept_whole and all(codec.family != "channel" for codec in (spec.key, spec.value))


def codec_shape(codec: str, model: ModelFacts) -> tuple[int, int] | Refusal:
    """(layers, head size) by which a composition counts the model's KV, or why it cannot."""
    layers = [layer for layer in model.kv_layers if layer is not None]
    first = layers[0] if layers else None
    plain = isinstance(first, AttentionKv) and not first.is_latent and first.reach == "full"
    if len(set(layers)) != 1 or not isinstance(first, AttentionKv) or not plain:
        return Refusal(Bottleneck.ENGINE, f"{codec} packs plain attention only; {model.id} mixes other layers")
    if first.key_dim % 8 or first.key_dim != first.value_dim:
        message = f"{codec} packs head sizes that are multiples of 8, alike for K and V; {model.id} has others"
        return Refusal(Bottleneck.ENGINE, message)
    return len(layers), first.key_dim


def request_blocks(
    codec: str, layers: int, head_dim: int, prompt_tokens: int, decoded_tokens: int, block_tokens: int
) -> int:
    """Blocks of a 16-bit pool that one compressed request takes.

    ceil(bytes(prompt, decoded) / bytes of a 16-bit block); heads divide out, since every rank packs its own.

    >>> request_blocks("kivi-2bit", 80, 128, 4096, 0, 16), 4096 // 16  # 2 bits, groups of 32, 128 tokens 16-bit
    (55, 256)
    """
    taken = kv_spec(codec).sequence_bytes(layers, 1, head_dim, prompt_tokens, decoded_tokens)
    return -(-taken // (layers * 4 * head_dim * block_tokens))


@lru_cache(maxsize=65_536)
def resident_token_steps(
    codec: str, layers: int, head_dim: int, prompt_tokens: int, longest_output_tokens: int, block_tokens: int
) -> tuple[int, ...]:
    """Block tokens held, summed over decode steps: entry i for the first i * `step_tokens` of them.

    Bytes never fall while a request decodes, so the end of each stretch of steps bounds all of it.
    """
    size = step_tokens(longest_output_tokens, block_tokens)
    sums = [0]
    for place in range(1, -(-longest_output_tokens // size) + 1):
        blocks = request_blocks(codec, layers, head_dim, prompt_tokens, place * size, block_tokens)
        sums.append(sums[-1] + size * blocks * block_tokens)
    return tuple(sums)


def step_tokens(longest_output_tokens: int, block_tokens: int) -> int:
    """Decode steps between two places, whole blocks."""
    return -(-longest_output_tokens // (MOST_STEPS * block_tokens)) * block_tokens


def mean_block_tokens(
    codec: str,
    shape: tuple[int, int],
    requests: Iterable[tuple[int, int, tuple[tuple[int, int], ...]]],
    context_limit_tokens: int,
    block_tokens: int,
) -> float:
    """Mean tokens of the 16-bit pool that a decoding request holds, E[sum over steps] / E[O - 1].

    `requests` are (prompt, factor, outputs), outputs (tokens, weight) short to long; the weight of a pair is its
    output's times the factor. Prompts as long as the limit are rejected and outputs cut short at it, as the engine
    does. 0 where nothing decodes.
    """
    held = steps = 0.0
    for prompt, factor, outputs in requests:
        room = context_limit_tokens - prompt
        if room <= 0:
            continue
        kept_longest = min(outputs[-1][0], room)
        sums = resident_token_steps(codec, *shape, prompt, kept_longest, block_tokens)
        size = step_tokens(kept_longest, block_tokens)
        for output, weight in outputs:
            count = min(output, room) - 1
            whole, rest = divmod(count, size)
            upto = sums[whole] + (rest * (sums[whole + 1] - sums[whole]) / size if rest else 0)
            held += factor * weight * upto
            steps += factor * weight * count
    return held / steps if steps else 0.0
