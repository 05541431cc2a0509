"""What is known of a KV preset: claims beside measurements, and bytes as a function of context and decoded tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from planner.catalog.types import AttentionKv, ModelFacts
from planner.compression.codecs_data import kv_spec
from planner.compression.table import Preset, load_presets
from planner.compression.validate_claims import ClaimVerdict, judge_claims

CONTEXTS_TOKENS = (256, 1_024, 4_096, 32_768, 131_072)
DECODED_TOKENS = (0, 256, 1_024)
CURVE_POINTS = 65
DEFAULT_MODEL = "llama-3.3-70b-instruct"


@dataclass(frozen=True)
class RatioPoint:
    """Bytes of one sequence over all layers, 16-bit and compressed."""

    context_tokens: int
    decoded_tokens: int
    plain_bytes: int
    packed_bytes: int

    @property
    def ratio(self) -> Fraction:
        """16-bit bytes over packed bytes."""
        return Fraction(self.plain_bytes, self.packed_bytes)


@dataclass(frozen=True)
class Ratios:
    """The ratio of a preset on a model. `rows` has the table, `curve` the same prompts more finely."""

    model: str
    rows: tuple[RatioPoint, ...]
    curve: tuple[RatioPoint, ...]
    note: str = ""
    """Why there is no ratio; empty where there is one."""


@dataclass(frozen=True)
class Profile:
    """One row of the preset table. `claim` is None where nothing measured the preset."""

    preset: Preset
    claim: ClaimVerdict | None


def profiles() -> tuple[Profile, ...]:
    """All rows, in the order of the table."""
    return tuple(Profile(preset, _claim(preset)) for preset in load_presets().values())


def find_profile(name: str) -> Profile | str:
    """A row by id or by `id@version`, or a sentence that says what to write.

    >>> find_profile("nexusquant-max@0.4.0").preset.id
    'nexusquant-max'
    """
    presets = load_presets()
    preset = presets.get(name) or next((each for each in presets.values() if each.name == name), None)
    if preset is not None:
        return Profile(preset, _claim(preset))
    from difflib import get_close_matches

    known = [*presets, *(each.name for each in presets.values())]
    near = get_close_matches(name[:100].lower(), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "`kvplan profile list` has them all"
    return f"no preset {name[:100]!r}; {hint}"


def _claim(preset: Preset) -> ClaimVerdict | None:
    source = preset.standing.source if preset.standing else None
    if source is None:
        return None
    return next((each for each in judge_claims(source.evidence) if each.preset == preset.name), None)


def ratios(preset: Preset, model: ModelFacts) -> Ratios:
    """The ratio at common prompts and decoded tokens, and along the context.

    Bytes are those of `KvSpec.sequence_bytes`: evicted tokens gone, residual windows, decoded tokens and skipped
    layers at 16 bits where the preset leaves them so.
    """
    shape = _shape(model)
    if isinstance(shape, str) or not preset.codec:
        return Ratios(model.id, (), (), shape if isinstance(shape, str) else "no codec computes its bytes")
    longest = min(CONTEXTS_TOKENS[-1], model.max_context_tokens or CONTEXTS_TOKENS[-1])
    contexts = tuple(dict.fromkeys(min(each, longest) for each in CONTEXTS_TOKENS))
    rows = [_point(preset, shape, context, decoded) for decoded in DECODED_TOKENS for context in contexts]
    curve = [_point(preset, shape, context, decoded) for decoded in DECODED_TOKENS for context in _along(longest)]
    return Ratios(model.id, tuple(rows), tuple(curve))


def _along(longest_tokens: int) -> Sequence[int]:
    """Prompts from 128 tokens to the longest, evenly on a scale of factors."""
    least = min(128, longest_tokens)
    steps = CURVE_POINTS - 1
    return [round(least * (longest_tokens / least) ** (step / steps)) for step in range(CURVE_POINTS)]


def _point(preset: Preset, shape: tuple[int, int, int], context: int, decoded: int) -> RatioPoint:
    plain = kv_spec("fp16").sequence_bytes(*shape, context, decoded)
    return RatioPoint(context, decoded, plain, kv_spec(preset.codec).sequence_bytes(*shape, context, decoded))


def _shape(model: ModelFacts) -> tuple[int, int, int] | str:
    """(layers that hold KV, KV heads, head size) of a model whose attention layers are all alike."""
    layers = [layer for layer in model.kv_layers if layer is not None]
    kinds = set(layers)
    first = layers[0] if layers else None
    if len(kinds) != 1 or not isinstance(first, AttentionKv) or first.is_latent or first.reach != "full":
        return f"{model.id}: the curve is for models whose layers are all plain attention; `kvplan kv` counts others"
    if first.key_dim % 8 or first.key_dim != first.value_dim:
        return f"{model.id}: codecs pack head sizes that are multiples of 8, the same for K and V"
    return len(layers), first.kv_heads, first.key_dim
