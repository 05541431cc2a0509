"""What is asked of the latency calculator: a replica as `kvplan kv` takes it, and what its users ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Literal

from planner.calculator.query import FlagReader, KvQuery, Mistake, read_query
from planner.units import parse_decimal, parse_duration_us, parse_share_ppm, parse_tokens, quote

Base = Literal["roofline", "silicon"]

PROVIDERS = ("roofline", "silicon", "measured")
MOST_ACCEPTED_TOKENS = 100
DEFAULT_BATCHES = (1, 4, 16, 64, 256)


@dataclass(frozen=True)
class LatencyQuery:
    """One question, in base units. `kv` has the replica and the batches; the rest is what each user asks for.

    `measured` are files of benchmark results: where one has exactly what is asked it is the answer, else they
    calibrate the predictions of `provider`.
    """

    kv: KvQuery
    input_tokens: int = 0
    output_tokens: int = 0
    provider: Base = "roofline"
    measured: tuple[str, ...] = ()
    prefix_hits_ppm: int = 0
    accepted_tokens: Fraction = Fraction(1)
    step_overhead_ppm: int = 0
    slo_tpot_us: int | None = None
    slo_ttft_us: int | None = None


def read_latency_query(
    flags: Mapping[str, str | None], *, model: str, base_dir: Path = Path(), ep: bool = False, measured: tuple[str, ...]
) -> tuple[LatencyQuery, tuple[Mistake, ...]]:
    """Reads the texts of the flags into a question.

    Args:
        flags: long flag without dashes -> its text as typed; None or absent where it was not given.
        model: catalog id, hub id or path; paths count from `base_dir`.
        ep: whether experts stay whole on a rank.
        measured: names of files with benchmark results.

    Returns:
        The question and every mistake in it.
    """
    kv, mistakes = read_query(flags, model=model, base_dir=base_dir, ep=ep)
    reader = FlagReader(flags)
    for flag, example in (("gpu", "h100-sxm-80gb"), ("input", "1024"), ("output", "256")):
        if reader.text(flag) is None:
            reader.mistakes.append(Mistake(f"--{flag}", f"is needed, such as --{flag} {example}"))
    provider = _provider(reader, measured)
    query = LatencyQuery(
        kv=kv,
        input_tokens=reader.read("input", parse_tokens) or 0,
        output_tokens=reader.read("output", _output) or 0,
        provider=provider,
        measured=measured,
        prefix_hits_ppm=reader.read("prefix-hits", parse_share_ppm) or 0,
        accepted_tokens=reader.read("accepted-tokens", _accepted) or Fraction(1),
        step_overhead_ppm=reader.read("step-overhead", lambda text: parse_share_ppm(text, 0, 10_000_000)) or 0,
        slo_tpot_us=reader.read("slo-tpot", parse_duration_us),
        slo_ttft_us=reader.read("slo-ttft", parse_duration_us),
    )
    _check_speculation(query, reader)
    return _with_context(query), (*mistakes, *reader.mistakes)


def _provider(reader: FlagReader, measured: tuple[str, ...]) -> Base:
    """The provider of predictions; `measured` rests on the roofline where no run has exactly what is asked."""
    text = reader.text("provider")
    if text is not None and text not in PROVIDERS:
        reader.mistakes.append(Mistake("--provider", f"{quote(text)} is none of {', '.join(PROVIDERS)}"))
    if text == "measured" and not measured:
        reader.mistakes.append(Mistake("--provider", "measured needs results: add --measured FILE"))
    return "silicon" if text == "silicon" else "roofline"


def _check_speculation(query: LatencyQuery, reader: FlagReader) -> None:
    """Accepted tokens and drafted tokens go together, and no step accepts more than it checks."""
    given, drafted = reader.text("accepted-tokens") is not None, reader.text("speculative-tokens") is not None
    if drafted and not given:
        words = "needs --accepted-tokens: how many tokens a step yields on average"
        reader.mistakes.append(Mistake("--speculative-tokens", words))
    if given and drafted and query.accepted_tokens > query.kv.speculative_tokens + 1:
        most = query.kv.speculative_tokens + 1
        words = f"{float(query.accepted_tokens):g} is more than the {most} tokens that a step checks"
        reader.mistakes.append(Mistake("--accepted-tokens", f"{words}; raise --speculative-tokens"))
    if query.step_overhead_ppm and not given:
        reader.mistakes.append(Mistake("--step-overhead", "is of the draft: it needs --accepted-tokens"))


def _with_context(query: LatencyQuery) -> LatencyQuery:
    """The question with what its KV side follows from: the mean length while decoding, and drafted tokens."""
    mean = query.input_tokens + ceil(query.output_tokens / 2)
    drafted = query.kv.speculative_tokens or ceil(query.accepted_tokens) - 1
    kv = replace(query.kv, contexts_tokens=(max(1, mean),), speculative_tokens=drafted)
    return replace(query, kv=replace(kv, batches=kv.batches or DEFAULT_BATCHES))


def _output(text: str) -> int:
    tokens = parse_tokens(text)
    if tokens < 2:
        raise ValueError("one token has no gap after it, so no TPOT; write at least 2")
    return tokens


def _accepted(text: str) -> Fraction:
    """Tokens a step yields for a sequence, the one that needs no draft included."""
    return parse_decimal(text, "2.4", 1, MOST_ACCEPTED_TOKENS)
