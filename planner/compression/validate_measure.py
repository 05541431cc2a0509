"""Measure presets on one window of text: both protocols, attention error, bytes of the scored tensors.

A window is prefix + scored + 1 tokens. Every measurement scores the same `scored` tokens, each predicted from
all before it; what is reported is the difference of the mean negative log likelihood to 16-bit KV.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from planner.compression.codecs import Codec, KvCodec, load_kv_codec
from planner.compression.codecs_data import CodecSpec, Kind
from planner.compression.language_model import LanguageModel, attend, encode_text, run
from planner.compression.lattice import point
from planner.compression.packing import unpack_words
from planner.compression.texts import Text
from planner.compression.validate_stores import (
    ExactStore,
    Prefix,
    PrefixStore,
    Recorded,
    WriteTimeStore,
    compress_prefix,
    exact_prefix,
    over_prefix,
)

BASELINE = "fp16"
"""The preset that all differences are taken from: K and V cast to 16 bits and back."""
DEFLATE_LEVEL = 9


@dataclass(frozen=True)
class Window:
    """A piece of text: prefix, scored tokens, and one more as the last one's target."""

    text: str
    start: int
    tokens: tuple[int, ...]
    prefix_tokens: int

    @property
    def scored_tokens(self) -> int:
        """Tokens that are scored."""
        return len(self.tokens) - self.prefix_tokens - 1


@dataclass(frozen=True)
class Measurement:
    """One preset on one window. NLL differences are to the 16-bit baseline of the same protocol, nats a token."""

    prefix_nll_difference: float
    write_nll_difference: float
    attention_error: tuple[float, ...]
    packed_bytes: int
    serialized_bytes: int


@dataclass(frozen=True)
class WindowBaseline:
    """What all presets share on a window: exact prefix, 16-bit scores, queries and own K/V of the continuation.

    `written` fills up with prompts that were read with a preset's KV at write time, by its revision without
    eviction: presets that differ in eviction only read the prompt the same way.
    """

    window: Window
    prefix: Recorded
    prefix_nll: float
    write_nll: float
    control_prefix_difference: float
    control_write_difference: float
    queries: tuple[Tensor, ...]
    own: Recorded
    outputs: tuple[Tensor, ...]
    written: dict[str, Recorded] = field(default_factory=dict)


def cut_windows(model: LanguageModel, text: Text, count: int, prefix_tokens: int, scored_tokens: int) -> list[Window]:
    """`count` windows that spread evenly over a text, from its first token to its last; they do not overlap.

    Raises:
        ValueError: The text is too short.
    """
    tokens = encode_text(model, text.content)
    size = prefix_tokens + scored_tokens + 1
    if len(tokens) < count * size:
        raise ValueError(f"{text.name}: {len(tokens):,} tokens are too few for {count} windows of {size:,}")
    starts = [(len(tokens) - size) * place // max(1, count - 1) for place in range(count)]
    return [Window(text.name, start, tuple(tokens[start : start + size]), prefix_tokens) for start in starts]


def measure_baseline(model: LanguageModel, window: Window) -> WindowBaseline:
    """Read a window with exact and with 16-bit KV."""
    store = ExactStore()
    run(model, _inputs(window)[:, : window.prefix_tokens], store, keep=1)
    exact = _prefix_nll(model, window, PrefixStore(exact_prefix(store.recorded), exact=True))
    baseline = load_kv_codec(BASELINE)
    prefix = compress_prefix(baseline, store.recorded, model.rope_theta)
    listener = PrefixStore(prefix, queries=[], own=Recorded())
    prefix_nll = _prefix_nll(model, window, listener)
    write_nll = write_time_nll(model, window, baseline)
    own = listener.own or Recorded()
    queries = tuple(listener.queries or ())
    return WindowBaseline(
        window=window,
        prefix=store.recorded,
        prefix_nll=prefix_nll,
        write_nll=write_nll,
        control_prefix_difference=prefix_nll - exact,
        control_write_difference=write_nll - exact,
        queries=queries,
        own=own,
        outputs=_outputs(model, prefix, queries, own),
    )


def measure(model: LanguageModel, codec: KvCodec, baseline: WindowBaseline, *, serialize: bool) -> Measurement:
    """Measure a preset on a window.

    Args:
        model: The language model.
        codec: The preset.
        baseline: The same window with 16-bit KV.
        serialize: Also entropy-code the packed tensors (slow; 0 bytes otherwise).
    """
    window = baseline.window
    recorder = _Recorder(codec.key, codec.value) if serialize else None
    used = replace(codec, key=recorder.keys, value=recorder.values) if recorder else codec
    prefix = compress_prefix(used, baseline.prefix, model.rope_theta)
    nll = _prefix_nll(model, window, PrefixStore(prefix))
    outputs = _outputs(model, prefix, baseline.queries, baseline.own)
    return Measurement(
        prefix_nll_difference=nll - baseline.prefix_nll,
        write_nll_difference=write_time_nll(model, window, codec, baseline.written) - baseline.write_nll,
        attention_error=tuple(_relative(*pair) for pair in zip(outputs, baseline.outputs, strict=True)),
        packed_bytes=prefix.packed_bytes,
        serialized_bytes=prefix.packed_bytes - recorder.saved_bytes if recorder else 0,
    )


def _inputs(window: Window) -> Tensor:
    return torch.tensor([window.tokens[:-1]])


def _nll(logits: Tensor, window: Window) -> float:
    targets = torch.tensor(window.tokens[window.prefix_tokens + 1 :])
    return float(torch.nn.functional.cross_entropy(logits[0].to(torch.float32), targets))


def _prefix_nll(model: LanguageModel, window: Window, store: PrefixStore) -> float:
    continuation = _inputs(window)[:, window.prefix_tokens :]
    return _nll(run(model, continuation, store, start=window.prefix_tokens), window)


def write_time_nll(
    model: LanguageModel, window: Window, codec: KvCodec, written: dict[str, Recorded] | None = None
) -> float:
    """Score a window with KV compressed as it is written.

    Where the continuation stays 16-bit, prompt and continuation are two forwards, and the prompt's is
    taken from `written` if another eviction rate needed it before. That is the same arithmetic as one forward.
    """
    spec = codec.spec
    whole = WriteTimeStore(codec, model.layers, window.prefix_tokens, model.rope_theta)
    plain_continuation = spec.decoded_16bit or {spec.key.id, spec.value.id} == {BASELINE}
    if written is None or spec.residual_tokens or not plain_continuation:
        return _nll(run(model, _inputs(window), whole, keep=window.scored_tokens), window)
    unevicted = replace(codec, spec=replace(spec, eviction=None))
    if unevicted.spec.revision not in written:
        prompt = replace(whole, codec=unevicted, recorded=Recorded())
        run(model, _inputs(window)[:, : window.prefix_tokens], prompt, keep=1)
        written[unevicted.spec.revision] = prompt.recorded or Recorded()
    stored = compress_prefix(codec, written[unevicted.spec.revision], model.rope_theta)
    return _prefix_nll(model, window, PrefixStore(stored))


def _outputs(model: LanguageModel, prefix: Prefix, queries: tuple[Tensor, ...], own: Recorded) -> tuple[Tensor, ...]:
    """Attention output of each layer for the baseline's queries, so that layers do not inherit errors."""
    scaling = model.head_dim**-0.5
    return tuple(
        attend(query, over_prefix(prefix, layer, own.keys[layer], own.values[layer]), scaling)
        for layer, query in enumerate(queries)
    )


def _relative(found: Tensor, exact: Tensor) -> float:
    """|found - exact| / |exact| in L2."""
    return float((found - exact).norm() / exact.norm())


class _Recorder:
    """Stands between a preset and its codecs and adds up what entropy coding would save."""

    def __init__(self, key: Codec, value: Codec) -> None:
        self.saved_bytes = 0
        self.keys = _RecordedCodec(key, self)
        self.values = _RecordedCodec(value, self)


@dataclass(frozen=True)
class _RecordedCodec:
    """A codec whose packed tensors are looked at on their way."""

    inner: Codec
    recorder: _Recorder

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def spec(self) -> CodecSpec:
        return self.inner.spec

    def encode(self, x: Tensor, *, kind: Kind) -> dict[str, Tensor]:
        packed = self.inner.encode(x, kind=kind)
        whole = sum(tensor.nbytes for tensor in packed.values() if tensor.dim())
        self.recorder.saved_bytes += whole - min(whole, serialized_bytes(self.spec, packed))
        return packed

    def decode(self, packed: Mapping[str, Tensor], *, dtype: torch.dtype) -> Tensor:
        return self.inner.decode(packed, dtype=dtype)

    def packed_bytes(self, heads: int, tokens: int, head_dim: int, kind: Kind) -> int:
        return self.inner.packed_bytes(heads, tokens, head_dim, kind)


def serialized_bytes(spec: CodecSpec, packed: Mapping[str, Tensor]) -> int:
    """Bytes of packed tensors after DEFLATE (zlib, level 9), each tensor a stream of its own.

    Lattice points are written as one signed byte per coordinate first, as NexusQuant does before its zstd:
    ranks hide the distribution of coordinates from a byte coder.
    Source: nexusquant-kv 0.6.3 `compression_accounting.py`, described; RFC 1951.
    """
    size = 0
    for name, tensor in packed.items():
        if not tensor.dim():
            continue
        if spec.family == "lattice" and name == "codes":
            points = point(unpack_words(tensor, spec.block_bits), 1 << spec.bits)
            tensor = (points * 2).to(torch.int8)
        data = tensor.contiguous().view(torch.uint8).numpy().tobytes()
        size += len(zlib.compress(data, DEFLATE_LEVEL))
    return size
