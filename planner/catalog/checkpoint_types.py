"""What reading a checkpoint yields: its config, and the name, type, shape and size of every tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from planner.catalog.files import Json

CheckpointKind = Literal["config", "safetensors", "index", "gguf"]
"""What the sizes come from: nothing (a config alone), headers, the total of an index, or a GGUF file."""


@dataclass(frozen=True)
class TensorInfo:
    """One stored tensor. `dtype` is spelled as its format spells it: BF16, F8_E4M3, I32; GGUF: Q4_K, F16.

    `shape` is outermost first, as safetensors and PyTorch write it; GGUF files list it the other way round.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True)
class Checkpoint:
    """A model as it lies on the disk. `total_bytes` 0: no file says how large the weights are.

    `config` None: tensors were found, but nothing that tells the architecture. `tensors` is empty where only
    a config or the total of an index could be read.
    """

    source: str
    config: Mapping[str, Json] | None
    tensors: tuple[TensorInfo, ...]
    total_bytes: int
    kind: CheckpointKind


def shown(text: str, most: int = 80) -> str:
    """Text from inside a file, quoted for a message: control characters escaped, cut when it is long.

    >>> shown("blk.0" + chr(27))
    "'blk.0\\\\x1b'"
    """
    return repr(text) if len(text) <= most else f"{text[:most]!r}..."
