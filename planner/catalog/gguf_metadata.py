"""Typed access to the metadata of a GGUF file; what is missing or wrong is collected, never raised."""

from __future__ import annotations

from planner.catalog.checkpoint_types import TensorInfo
from planner.catalog.gguf_file import GgufHeader, GgufValue

MAX_LAYERS = 10_000
MAX_COUNT = 2**31


class Metadata:
    """The values under `{architecture}.`, and those that every architecture has.

    Blocks that predict further tokens (`nextn_predict_layers`) come last and count as `draft_layers`, not as
    `layers`. Values that may differ by layer are one number or an array of one entry a block.
    """

    def __init__(self, header: GgufHeader) -> None:
        self._header = header
        self._prefix = header.architecture + "."
        self.problems: list[str] = []
        self.lengths = header.lengths
        self.tensors: dict[str, TensorInfo] = {tensor.name: tensor for tensor in header.tensors}
        self.blocks = self.needed("block_count", most=MAX_LAYERS)
        self.draft_layers = self.count("nextn_predict_layers")
        if self.draft_layers >= self.blocks:
            self.problems.append(f"nextn_predict_layers {self.draft_layers} leaves no layer of {self.blocks}")
            self.draft_layers = 0
        self.layers = self.blocks - self.draft_layers
        self.heads_per_layer = self.per_layer("attention.head_count")
        self.kv_heads_per_layer = self.per_layer("attention.head_count_kv") or self.heads_per_layer
        self.heads = max(self.heads_per_layer, default=0)
        self.kv_heads = max(self.kv_heads_per_layer, default=0)
        quotient = self.count("embedding_length") // self.heads if self.heads else 0
        self.key_length = self.count("attention.key_length") or quotient
        self.value_length = self.count("attention.value_length") or quotient
        self.window_key_length = self.count("attention.key_length_swa") or self.key_length

    def raw(self, key: str) -> GgufValue | None:
        """The value under `{architecture}.{key}`, None when it is absent."""
        return self._header.metadata.get(self._prefix + key)

    def count(self, key: str, *, most: int = MAX_COUNT) -> int:
        """A whole number; 0 when it is absent."""
        found = self.raw(key)
        if found is None:
            return 0
        if isinstance(found, tuple):
            found = max(found, default=0)
        if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= most:
            self.problems.append(f"{key} is {str(found)[:40]!r}, which is no whole number up to {most:,}")
            return 0
        return found

    def needed(self, key: str, *, most: int = MAX_COUNT) -> int:
        """A whole number from 1 up that must be there; 1 stands in for it."""
        found = self.count(key, most=most)
        if not found:
            self.problems.append(f"{self._prefix}{key} is missing")
        return found or 1

    def per_layer(self, key: str) -> tuple[int, ...]:
        """One whole number a block; empty when it is absent."""
        found = self.raw(key)
        if not isinstance(found, tuple):
            return (self.count(key),) * self.blocks if found is not None else ()
        whole = tuple(item for item in found if type(item) is int and 0 <= item <= MAX_COUNT)
        if len(whole) != self.blocks or len(found) != self.blocks:
            self.problems.append(f"{key} has {len(found):,} entries for {self.blocks:,} blocks, or others than counts")
            return (0,) * self.blocks
        return whole

    def slides(self, every: int) -> list[bool]:
        """Which layers slide: as `sliding_window_pattern` says, else all but each `every`-th.

        Source: llama.cpp `llama_hparams::set_swa_pattern`.
        """
        found = self.raw("attention.sliding_window_pattern")
        if isinstance(found, tuple):
            if len(found) < self.layers:
                self.problems.append(f"sliding_window_pattern has {len(found):,} entries for {self.layers:,} layers")
                return [False] * self.layers
            return [bool(item) for item in found[: self.layers]]
        step = self.count("attention.sliding_window_pattern") or every
        return [(layer + 1) % step != 0 for layer in range(self.layers)]

    def expert_width(self) -> int:
        """Feed-forward width of one expert: the key, else the shape of the stacked experts, else the dense width."""
        width = self.count("expert_feed_forward_length")
        stacked = next((self.tensors[name] for name in self.tensors if name.endswith(".ffn_up_exps.weight")), None)
        if not width and stacked and len(stacked.shape) == 3:
            width = stacked.shape[1]
        return width or max(self.per_layer("feed_forward_length"), default=0)
