"""Headers of GGUF files: metadata and the list of tensors. Tensor data are never read.

A file is a magic, a version, two counts, typed key-value pairs, and one record a tensor; data follow, aligned.
Names and block sizes of the quantized types come from the library `gguf`. Its reader is not used: it maps
every string of the vocabulary to an array of its own, which takes seconds and half a gigabyte for a vocabulary
of 150,000, and follows whatever counts a file claims. Here strings of arrays are stepped over.
Source: GGUF specification (github.com/ggml-org/ggml, docs/gguf.md), versions 2 and 3.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from struct import Struct
from typing import TypeAlias

from planner.catalog.checkpoint_types import TensorInfo, shown
from planner.catalog.safetensors import unreadable

GgufValue: TypeAlias = "bool | int | float | str | tuple[bool | int | float, ...]"

MAX_HEADER_BYTES = 256_000_000
"""Published headers hold 5 to 20 MB, nearly all of it the vocabulary."""

MAX_PAIRS = 65_536
MAX_TENSORS = 1_000_000
MAX_STRINGS = 2_000_000
"""Strings in all arrays together: vocabularies and merges of published models stay below 800,000."""

MAX_KEPT_ITEMS = 16_384
"""Longer arrays of numbers (scores of the vocabulary) are counted, not kept."""

MAX_NAME_BYTES = 65_535
MAX_KEPT_BYTES = 4_096
MAX_DIMENSIONS = 4
MAX_ELEMENTS = 2**50

_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Type ids of the format and how they are stored."""


@dataclass(frozen=True)
class GgufHeader:
    """Metadata and tensors of one file. `lengths` has the length of every array, kept or not."""

    metadata: Mapping[str, GgufValue]
    lengths: Mapping[str, int]
    tensors: tuple[TensorInfo, ...]

    @property
    def architecture(self) -> str:
        """`general.architecture`: llama, qwen3moe, ...; empty when it is missing."""
        found = self.metadata.get("general.architecture")
        return found if isinstance(found, str) else ""


@dataclass(frozen=True)
class _TensorType:
    name: str
    block_elements: int
    block_bytes: int


class _WrongFileError(Exception):
    """What is wrong with the file, to stand after its name. Never leaves this module."""


def read_gguf(path: Path) -> GgufHeader | str:
    """The header of one file, or what is wrong with it, to stand after its name."""
    types = _tensor_types()
    if isinstance(types, str):
        return types
    try:
        if not path.is_file():
            return "is not a file"
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                return "is no GGUF file: it does not start with 'GGUF'"
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _header(_Cursor(data), types)
    except _WrongFileError as problem:
        return str(problem)
    except (OSError, ValueError) as error:
        return unreadable(error)


def _tensor_types() -> Mapping[int, _TensorType] | str:
    try:
        from gguf import GGML_QUANT_SIZES
    except ImportError:
        return "is a GGUF file; reading those needs `pip install 'kvplan[gguf]'`"
    return {int(kind): _TensorType(kind.name, *sizes) for kind, sizes in GGML_QUANT_SIZES.items()}


class _Cursor:
    """A place in the file. Every step is checked against the end of the file and of the longest header."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._end = min(len(data), MAX_HEADER_BYTES)
        self._order = "<"
        self._long = Struct("<Q")
        self._strings = 0
        self.file_bytes = len(data)
        self.at = 4

    def use_big_endian(self) -> None:
        """Read the rest in the other byte order, as files for IBM Z are written."""
        self._order, self._long = ">", Struct(">Q")

    def skip(self, size_bytes: int) -> int:
        """Step over bytes; where they started."""
        start = self.at
        if size_bytes > self._end - start:
            raise _WrongFileError(
                f"is cut off in its header, at byte {self.file_bytes:,}"
                if self._end == self.file_bytes
                else f"has a header of more than {MAX_HEADER_BYTES:,} bytes"
            )
        self.at = start + size_bytes
        return start

    def numbers(self, code: str, count: int = 1) -> tuple[bool | int | float, ...]:
        """`count` numbers of one type."""
        layout = Struct(f"{self._order}{count}{code}")
        return layout.unpack_from(self._data, self.skip(layout.size))

    def whole(self, code: str = "Q") -> int:
        """One whole number."""
        return int(self.numbers(code)[0])

    def text(self) -> str:
        """A string; one too long to be of interest (a chat template) is stepped over and comes back cut."""
        size_bytes = self.whole()
        start = self.skip(size_bytes)
        return self._data[start : start + min(size_bytes, MAX_KEPT_BYTES)].decode("utf-8", "replace")

    def name(self) -> str:
        """The name of a key or tensor."""
        size_bytes = self.whole()
        if not 0 < size_bytes <= MAX_NAME_BYTES:
            raise _WrongFileError(f"has a name of {size_bytes:,} bytes; names take 1 to {MAX_NAME_BYTES:,}")
        start = self.skip(size_bytes)
        try:
            return self._data[start : self.at].decode("utf-8")
        except UnicodeDecodeError:
            raise _WrongFileError("has a name that is not UTF-8 text") from None

    def skip_strings(self, count: int) -> None:
        """Step over an array of strings."""
        self._strings += count
        if self._strings > MAX_STRINGS:
            raise _WrongFileError(f"claims {self._strings:,} strings in its arrays; at most {MAX_STRINGS:,} are read")
        unpack, data, at, end = self._long.unpack_from, self._data, self.at, self._end - 8
        for _ in range(count):
            if at > end:
                at = self._end + 1
                break
            at += 8 + unpack(data, at)[0]
        self.skip(at - self.at)


def _header(cursor: _Cursor, types: Mapping[int, _TensorType]) -> GgufHeader:
    version = cursor.whole("I")
    if version and version & 0xFFFF == 0:
        cursor.use_big_endian()
        version = int.from_bytes(version.to_bytes(4, "little"), "big")
    if version not in (2, 3):
        raise _WrongFileError(f"is of GGUF version {version}; versions 2 and 3 are read")
    tensor_count, pair_count = cursor.whole(), cursor.whole()
    if tensor_count > MAX_TENSORS or pair_count > MAX_PAIRS:
        raise _WrongFileError(f"claims {tensor_count:,} tensors and {pair_count:,} keys, which no model has")
    metadata: dict[str, GgufValue] = {}
    lengths: dict[str, int] = {}
    for _ in range(pair_count):
        key = cursor.name()
        if key in metadata or key in lengths:
            raise _WrongFileError(f"repeats the key {shown(key)}")
        _read_value(cursor, key, metadata, lengths)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 2**20 or alignment & (alignment - 1):
        raise _WrongFileError("has a general.alignment that is no power of two")
    found: dict[str, TensorInfo] = {}
    needed_bytes = 0
    for _ in range(tensor_count):
        tensor, offset = _read_tensor(cursor, types)
        if tensor.name in found:
            raise _WrongFileError(f"repeats the tensor {shown(tensor.name)}")
        if offset % alignment:
            raise _WrongFileError(f"places tensor {shown(tensor.name)} at a byte that is not aligned")
        found[tensor.name] = tensor
        needed_bytes = max(needed_bytes, offset + tensor.size_bytes)
    _check_data(cursor, alignment, needed_bytes, sum(tensor.size_bytes for tensor in found.values()))
    return GgufHeader(metadata, lengths, tuple(found.values()))


def _check_data(cursor: _Cursor, alignment: int, needed_bytes: int, sum_bytes: int) -> None:
    """A file that ends with its header is accepted (headers are fetched without their data)."""
    data_bytes = cursor.file_bytes - (cursor.at + -cursor.at % alignment)
    if sum_bytes > needed_bytes:
        raise _WrongFileError("has tensors that overlap")
    if 0 < data_bytes < needed_bytes:
        raise _WrongFileError(f"is cut off: its tensors take {needed_bytes:,} bytes, {data_bytes:,} are there")


def _read_value(cursor: _Cursor, key: str, metadata: dict[str, GgufValue], lengths: dict[str, int]) -> None:
    kind = cursor.whole("I")
    if kind == _STRING:
        metadata[key] = cursor.text()
    elif kind == _ARRAY:
        item, count = cursor.whole("I"), cursor.whole()
        lengths[key] = count
        if item == _STRING:
            cursor.skip_strings(count)
        elif item not in _SCALARS:
            raise _WrongFileError(f"has an array of type {item} under {shown(key)}, which is not read")
        elif count <= MAX_KEPT_ITEMS:
            metadata[key] = cursor.numbers(_SCALARS[item], count)
        else:
            cursor.skip(count * Struct(f"<{_SCALARS[item]}").size)
    elif kind in _SCALARS:
        metadata[key] = cursor.numbers(_SCALARS[kind])[0]
    else:
        raise _WrongFileError(f"has a value of type {kind} under {shown(key)}, which GGUF does not know")


def _read_tensor(cursor: _Cursor, types: Mapping[int, _TensorType]) -> tuple[TensorInfo, int]:
    """One record: the tensor and where its data start, counted from the first byte of data."""
    name = cursor.name()
    dimensions = cursor.whole("I")
    if dimensions > MAX_DIMENSIONS:
        raise _WrongFileError(f"gives tensor {shown(name)} {dimensions:,} dimensions; GGUF has at most 4")
    dims = tuple(int(size) for size in cursor.numbers("Q", dimensions))
    kind, offset = types.get(number := cursor.whole("I")), cursor.whole()
    if kind is None:
        raise _WrongFileError(f"stores tensor {shown(name)} as type {number}, which this `gguf` library does not know")
    elements = prod(dims)
    if elements > MAX_ELEMENTS or offset > MAX_ELEMENTS or 0 in dims:
        raise _WrongFileError(f"gives tensor {shown(name)} a shape that no model has: {list(dims)}")
    if (dims[0] if dims else 1) % kind.block_elements:
        raise _WrongFileError(
            f"stores tensor {shown(name)} of shape {list(dims)} as {kind.name}, whose blocks have {kind.block_elements}"
        )
    size_bytes = elements // kind.block_elements * kind.block_bytes
    return TensorInfo(name, kind.name, dims[::-1], size_bytes), offset
