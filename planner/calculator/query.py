"""What is asked of the KV calculator: the flags of a command line read into base units, every mistake at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from planner.catalog.parallel import Parallel, parse_parallel
from planner.units import BYTE_UNITS, MAX_BYTES, PPM, parse_bytes, parse_decimal, parse_integer, parse_tokens, quote

_T = TypeVar("_T")
GIB = 2**30

MAX_LIST = 64
"""Most contexts or batch sizes of one question: more belongs into several."""

MAX_SEQUENCES = 1_000_000
MAX_SPECULATIVE_TOKENS = 1_000
PARTS = ("tp", "pp", "dp", "dcp")

RECURRENT_BLOCKS = {"none": 1, "align": 2}
"""`--mamba-cache-mode` -> blocks of state per sequence and layer group, without speculative tokens."""

STATE_BYTES: dict[str, int | None] = {"auto": None, "float16": 2, "bfloat16": 2, "float32": 4}
"""`--mamba-ssm-cache-dtype` -> bytes of an element of the recurrent matrix; None: as the config says."""


@dataclass(frozen=True)
class KvQuery:
    """One question, in base units. None and empty tuples are what was not said: a default is taken and shown."""

    model: str = ""
    base_dir: Path = Path()
    contexts_tokens: tuple[int, ...] = ()
    batches: tuple[int, ...] = ()
    preset: str | None = None
    kv_dtype: str | None = None
    shape: Parallel | None = None
    engine: str | None = None
    gpu: str | None = None
    weights: str | None = None
    weights_bytes: int | None = None
    utilization_ppm: int | None = None
    max_model_len: int | None = None
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    speculative_tokens: int = 0
    recurrent_blocks: int | None = None
    state_element_bytes: int | None = None
    hybrid_manager: bool = True
    block_tokens: int | None = None
    available_kv_bytes: int | None = None
    bound: bool = False


@dataclass(frozen=True)
class Mistake:
    """A flag whose text cannot be read, and why."""

    flag: str
    message: str

    def __str__(self) -> str:
        return f"{self.flag}: {self.message}"


def read_query(
    flags: Mapping[str, str | None],
    *,
    model: str,
    base_dir: Path = Path(),
    ep: bool = False,
    hybrid_manager: bool = True,
    bound: bool = False,
) -> tuple[KvQuery, tuple[Mistake, ...]]:
    """Reads the texts of the flags into a question.

    Args:
        flags: long flag without dashes -> its text as typed; None or absent where it was not given.
        model: catalog id, hub id or path; paths count from `base_dir`.
        ep: whether experts stay whole on a rank.
        hybrid_manager: False makes windows full attention.
        bound: whether an unknown architecture becomes an interval.

    Returns:
        The question, with None for what could not be read, and every mistake in the order of the flags.
    """
    reader = FlagReader(flags)
    query = KvQuery(
        model=model,
        base_dir=base_dir,
        contexts_tokens=reader.read("context", list_of(parse_tokens)) or (),
        batches=reader.read("batch", list_of(lambda text: parse_integer(text, "8", 1, MAX_SEQUENCES))) or (),
        preset=reader.text("preset"),
        kv_dtype=reader.text("kv-dtype"),
        shape=_shape(reader, ep),
        engine=reader.text("engine"),
        gpu=reader.text("gpu"),
        weights=reader.text("weights"),
        weights_bytes=reader.read("weights-gib", _weights_gib),
        utilization_ppm=reader.read("gpu-memory-utilization", _utilization),
        max_model_len=reader.read("max-model-len", parse_tokens),
        max_num_batched_tokens=reader.read("max-num-batched-tokens", parse_tokens),
        max_num_seqs=reader.read("max-num-seqs", lambda text: parse_integer(text, "256", 1, MAX_SEQUENCES)),
        speculative_tokens=reader.read("speculative-tokens", _speculative) or 0,
        recurrent_blocks=reader.read("mamba-cache", _choice(RECURRENT_BLOCKS)),
        state_element_bytes=reader.read("mamba-ssm-cache-dtype", _choice(STATE_BYTES)),
        hybrid_manager=hybrid_manager,
        block_tokens=reader.read("block-size", lambda text: parse_integer(text, "16", 1, 65_536)),
        available_kv_bytes=reader.read("available-kv", _available),
        bound=bound,
    )
    return query, tuple(reader.mistakes)


class FlagReader:
    """Reads flag after flag and keeps what went wrong."""

    def __init__(self, flags: Mapping[str, str | None]) -> None:
        self._flags = flags
        self.mistakes: list[Mistake] = []

    def text(self, flag: str) -> str | None:
        """The text of a flag as typed; None where it was not given."""
        return self._flags.get(flag)

    def read(self, flag: str, parse: Callable[[str], _T]) -> _T | None:
        """The value of a flag; None where it was not given or cannot be read."""
        text = self._flags.get(flag)
        if text is None:
            return None
        try:
            return parse(text)
        except ValueError as error:
            self.mistakes.append(Mistake(f"--{flag}", str(error)))
            return None


def list_of(parse: Callable[[str], int]) -> Callable[[str], tuple[int, ...]]:
    """A reader of values with commas between them, each named once, as given."""

    def read(text: str) -> tuple[int, ...]:
        parts = [part.strip() for part in text.split(",")]
        if len(parts) > MAX_LIST:
            raise ValueError(f"{len(parts)} values; at most {MAX_LIST} at once")
        if "" in parts:
            raise ValueError(f"{quote(text)} has an empty place; write values with commas between them")
        return tuple(dict.fromkeys(parse(part) for part in parts))

    return read


def _choice(values: Mapping[str, _T]) -> Callable[[str], _T]:
    """A reader of one of some words."""

    def read(text: str) -> _T:
        if text not in values:
            raise ValueError(f"{quote(text)} is none of {', '.join(values)}")
        return values[text]

    return read


def _shape(reader: FlagReader, ep: bool) -> Parallel | None:
    """`--parallel tp4-pp2`, or the parts by their own flags; both at once do not mix."""
    whole = reader.text("parallel")
    parts = {part: reader.read(part, lambda text: parse_integer(text, "4", 1, 4_096)) for part in PARTS}
    named = [f"--{part}" for part in PARTS if reader.text(part) is not None] + (["--ep"] if ep else [])
    if whole is None:
        if not named or any(mistake.flag in named for mistake in reader.mistakes):
            return None
        tail = [f"{part}{size}" for part in PARTS[1:] if (size := parts[part]) is not None]
        whole = "-".join([f"tp{parts['tp'] or 1}", *tail, *(["ep"] if ep else [])])
    elif named:
        reader.mistakes.append(Mistake("--parallel", f"says the whole shape; leave out {', '.join(named)}"))
        return None
    shape = parse_parallel(whole)
    if isinstance(shape, str):
        reader.mistakes.append(Mistake("--parallel" if not named else named[0], shape))
        return None
    return shape


def _weights_gib(text: str) -> int:
    """GiB of weights on one GPU, as a plain number."""
    if re.fullmatch(r"[0-9._]+ ?[A-Za-z]+", text):
        raise ValueError(f"{quote(text)} has a unit; the flag counts in GiB, write a number like 12.56")
    size = int(parse_decimal(text, "12.56", 0, 1_000_000) * GIB)
    if size < 1:
        raise ValueError(f"{quote(text)} is nothing; write the GiB of weights on the GPU that holds most")
    return size


def _utilization(text: str) -> int:
    """A share of memory as the engine takes it: 0.9, above 0 and at most 1."""
    if text.endswith("%"):
        raise ValueError(f"{quote(text)} is a percentage; the engine's flag is a share of 1, write it like 0.92")
    share = parse_decimal(text, "0.92", 0, 1)
    if share * PPM < 1:
        raise ValueError("0 leaves no memory; write a share like 0.92")
    return int(share * Fraction(PPM))


def _speculative(text: str) -> int:
    return parse_integer(text, "3", 0, MAX_SPECULATIVE_TOKENS)


def _available(text: str) -> int:
    """Bytes, rounded down: a log prints 61.66 GiB, which is no whole number of bytes."""
    match = re.fullmatch(r"([0-9][0-9_]*\.[0-9]{1,9}) ?([A-Za-z]+)", text)
    if match and match[2] in BYTE_UNITS:
        size = int(parse_decimal(match[1], "61.66", 0, MAX_BYTES) * BYTE_UNITS[match[2]])
        if size > MAX_BYTES:
            raise ValueError(f"{quote(text)} is more than {MAX_BYTES:,} bytes")
    else:
        size = parse_bytes(text)
    if size < 1:
        raise ValueError(f"{quote(text)} is nothing; write what the engine's log calls available KV cache memory")
    return size
