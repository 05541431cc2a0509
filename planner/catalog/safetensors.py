"""Headers and indexes of safetensors checkpoints. Tensor data are never read.

A file is an 8-byte little-endian length, a JSON header of that length, and the data. The header gives dtype,
shape and byte range of each tensor; ranges must cover the data without gaps or overlaps. A file that ends with
its header is accepted (headers are fetched without their data); one that holds a part of its data is not.
Source: safetensors format specification (github.com/huggingface/safetensors, README, section Format).
"""

from __future__ import annotations

import re
from math import prod
from pathlib import Path

from planner.catalog.checkpoint_types import TensorInfo, shown
from planner.catalog.files import Json, parse_json_object

MAX_HEADER_BYTES = 32_000_000
"""Published headers stay below 2 MB a file; 32 MB would describe some 200,000 tensors."""

MAX_INDEX_BYTES = 64_000_000
"""The largest published indexes (trillion-parameter mixtures, one matrix an expert) hold about 20 MB."""

MAX_TENSORS = 1_000_000
MAX_DIMENSIONS = 16
MAX_TENSOR_BYTES = 2**50

DTYPE_BITS: dict[str, int] = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
"""Bits of an element. Source: safetensors 0.8 `tensor.rs`, `Dtype::bitsize`."""

_DTYPE = re.compile(r"[A-Z][A-Z0-9_]{0,15}")


def read_header(path: Path) -> tuple[TensorInfo, ...] | str:
    """The tensors of one file, or what is wrong with it, to stand after its name."""
    try:
        if not path.is_file():
            return "is not a file"
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size_bytes < 8:
                return f"is cut off: it holds {size_bytes} bytes, a safetensors file starts with 8 of length"
            if length > MAX_HEADER_BYTES:
                return f"is no safetensors file: its header would take {length:,} bytes (at most {MAX_HEADER_BYTES:,})"
            if 8 + length > size_bytes:
                return f"is cut off: its header takes {length:,} bytes, {size_bytes - 8:,} are there"
            header = file.read(length)
    except (OSError, ValueError) as error:
        return unreadable(error)
    tree = parse_json_object(header)
    if isinstance(tree, str):
        return f"has a header that {tree}"
    return _tensors(tree, size_bytes - 8 - length)


def unreadable(error: OSError | ValueError) -> str:
    """Why a file cannot be opened, without its path."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"cannot be read: {reason}"


def _tensors(tree: dict[str, Json], data_bytes: int) -> tuple[TensorInfo, ...] | str:
    if len(tree) > MAX_TENSORS:
        return f"lists {len(tree):,} tensors; at most {MAX_TENSORS:,} are read"
    found: list[TensorInfo] = []
    ranges: list[tuple[int, int]] = []
    for name, entry in tree.items():
        if name == "__metadata__":
            continue
        tensor = _tensor(name, entry)
        if isinstance(tensor, str):
            return f"describes tensor {shown(name)} wrongly: {tensor}"
        found.append(tensor[0])
        ranges.append((tensor[1], tensor[1] + tensor[0].size_bytes))
    end_bytes = 0
    for begin, end in sorted(ranges):
        if begin != end_bytes:
            return f"has tensors that overlap or leave a gap at byte {end_bytes:,} of the data"
        end_bytes = end
    if data_bytes and data_bytes < end_bytes:
        return f"is cut off: its tensors take {end_bytes:,} bytes, {data_bytes:,} are there"
    if data_bytes > end_bytes:
        return f"holds {data_bytes - end_bytes:,} bytes that belong to no tensor"
    return tuple(found)


def _tensor(name: str, entry: Json) -> tuple[TensorInfo, int] | str:
    """A tensor and the first byte of its data, or what is wrong with its entry."""
    if not isinstance(entry, dict):
        return "it is no object"
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or not _DTYPE.fullmatch(dtype):
        return "its dtype is no name of a type"
    dims = _sizes(shape)
    if dims is None or len(dims) > MAX_DIMENSIONS:
        return f"its shape is no list of up to {MAX_DIMENSIONS} whole numbers"
    span = _sizes(offsets)
    if span is None or len(span) != 2 or span[0] > span[1]:
        return "its data_offsets are no two whole numbers in order"
    size_bytes = span[1] - span[0]
    bits = DTYPE_BITS.get(dtype)
    if bits is not None and prod(dims) * bits != size_bytes * 8:
        return f"{dtype} of shape {list(dims)} does not take {size_bytes:,} bytes"
    return TensorInfo(name, dtype, dims, size_bytes), span[0]


def _sizes(value: Json) -> tuple[int, ...] | None:
    """Whole numbers from 0 up, small enough to be sizes."""
    if not isinstance(value, list):
        return None
    sizes: list[int] = []
    for item in value:
        if type(item) is not int or not 0 <= item <= MAX_TENSOR_BYTES:
            return None
        sizes.append(item)
    return tuple(sizes)


def read_index(path: Path) -> tuple[int, dict[str, str]] | str:
    """(total bytes or 0 where the index does not say, tensor name -> file name), or what is wrong with it.

    File names are bare: a name that leads out of the folder is refused.
    """
    try:
        if not path.is_file():
            return "is not a file"
        if path.stat().st_size > MAX_INDEX_BYTES:
            return f"is larger than {MAX_INDEX_BYTES:,} bytes, so it is no index"
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        return unreadable(error)
    tree = parse_json_object(data)
    if isinstance(tree, str):
        return tree
    mapping, metadata = tree.get("weight_map"), tree.get("metadata")
    if not isinstance(mapping, dict) or not mapping:
        return "has no weight_map, so it is no index of a checkpoint"
    files: dict[str, str] = {}
    bare: set[str] = set()
    for name, file in mapping.items():
        if not isinstance(file, str) or not (file in bare or _is_bare(file)):
            where = shown(file) if isinstance(file, str) else "something else than a text"
            return f"places tensor {shown(name)} in {where}, which is no file name of its own folder"
        bare.add(file)
        files[name] = file
    total = metadata.get("total_size", 0) if isinstance(metadata, dict) else 0
    if isinstance(total, float) and total.is_integer():
        total = int(total)
    if type(total) is not int or not 0 <= total <= MAX_TENSOR_BYTES:
        return "has a total_size that is no number of bytes"
    return total, files


def _is_bare(file: str) -> bool:
    return bool(file) and file not in (".", "..") and not any(sign in file for sign in "/\\:\0") and len(file) <= 255
