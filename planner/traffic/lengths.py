"""Token lengths: from percentiles to a histogram, from histograms to bands, from a band to what a replica
serves.

A histogram is a tuple of (tokens, weight in ppm), short to long; its weights are integers that add up
exactly. Where lengths come from a trace, each prompt length has its own outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import chain, pairwise
from math import exp, log
from statistics import NormalDist
from typing import TYPE_CHECKING

from planner.scenario.traffic import Lengths, TrafficClass
from planner.traffic.joint import in_ppm, pairs_of
from planner.traffic.tail import stretched

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

PPM = 1_000_000

MAX_PPM = 999_900
"""Where the declared maximum stands: one request in ten thousand is as long."""

TPOT_MIN_OUTPUT_TOKENS = 16
"""TPOT percentiles are over answers of at least this length: a shorter one has no meaningful gap."""

BIN_STEPS_PPM = ((900_000, 20_000), (990_000, 10_000), (999_000, 1_000), (MAX_PPM, 100))
"""(up to, step): 2 % steps up to 90 %, then 1 %, 0.1 % and 0.01 %, so that the tail keeps its shape."""

Histogram = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ClassLengths:
    """Prompts and outputs of a class. `joint` has the outputs of each prompt, with weights that add up to the prompt's;
    it is empty where prompt and output lengths are independent."""

    prompts: Histogram
    outputs: Histogram
    joint: tuple[Histogram, ...] = ()

    @property
    def mean_output_tokens(self) -> Fraction:
        """Mean output of a request."""
        return Fraction(sum(tokens * weight for tokens, weight in self.outputs), PPM)

    @property
    def mean_prompt_tokens(self) -> Fraction:
        """Mean prompt of a request."""
        return Fraction(sum(tokens * weight for tokens, weight in self.prompts), PPM)


@dataclass(frozen=True)
class Band:
    """Requests of a class with prompts in (lower, upper]. Weights are ppm of the class's requests.

    `prompts` add up to `weight_ppm`. `outputs` are those of the whole class and add up to a million where prompt and
    output lengths are independent; with `joint`, the outputs of each prompt, they are the band's own.
    """

    lower_tokens: int
    upper_tokens: int
    weight_ppm: int
    prompts: Histogram
    outputs: Histogram
    joint: tuple[Histogram, ...] = ()

    def __hash__(self) -> int:
        """Of a few entries: whole histograms take too long, bounds alone many classes have in common."""
        few = (rows[len(rows) // 2 :][:1] for rows in (self.prompts, self.outputs, self.joint))
        return hash((self.lower_tokens, self.upper_tokens, self.weight_ppm, self.prompts[:1], *few))

    @property
    def mean_output_tokens(self) -> Fraction:
        """Mean output of a request of the band."""
        weight = sum(weight for _, weight in self.outputs)
        return Fraction(sum(tokens * weight for tokens, weight in self.outputs), weight)

    def outputs_by_prompt(self) -> Iterator[tuple[int, int, Histogram]]:
        """(prompt, factor, outputs): the weight of a pair is its output's weight times the factor."""
        if self.joint:
            yield from ((tokens, 1, own) for (tokens, _), own in zip(self.prompts, self.joint, strict=True))
        else:
            yield from ((tokens, weight, self.outputs) for tokens, weight in self.prompts)


@dataclass(frozen=True, eq=False)
class Served:
    """What a replica with a context limit makes of a band, in moments that do not depend on its speed.

    `rejected` and `cut_short` are exact shares of the band's requests. Everything else is over the requests
    that are served: prompts (new and cached tokens, with probabilities), mean output, mean decode steps
    E[O-1], mean resident context of a running request m = E[(O-1) P + O (O-1) / 2] / E[O-1], and the harmonic
    mean of O-1 over answers of at least 16 tokens (None: there are none).
    """

    rejected: Fraction
    cut_short: Fraction
    new_tokens: FloatArray
    cached_tokens: FloatArray
    probabilities: FloatArray
    mean_prompt_tokens: float
    mean_output_tokens: float
    mean_decode_steps: float
    resident_tokens: float
    harmonic_decode_steps: float | None

    @property
    def served_share(self) -> Fraction:
        """Share of the band's requests that the engine accepts."""
        return 1 - self.rejected


@cache
def histogram(lengths: Lengths) -> Histogram:
    """Discretize declared percentiles.

    ln(tokens) is piecewise linear in the normal quantile between the declared points, the first slope
    continues below the first one, and the maximum stands at 99.99 %. Each bin is represented by its middle,
    in whole tokens.

    >>> chat = histogram(Lengths(percentiles=((500_000, 900), (950_000, 6_000)), max_tokens=30_000))
    >>> chat[-1], sum(weight for _, weight in chat)
    ((30000, 100), 1000000)
    """
    merged: dict[int, int] = {}
    quantile = _Quantile(lengths)
    start = 0
    for stop, step in BIN_STEPS_PPM:
        for lower in range(start, stop, step):
            tokens = quantile.tokens(lower + step / 2)
            merged[tokens] = merged.get(tokens, 0) + step
        start = stop
    merged[lengths.max_tokens] = merged.get(lengths.max_tokens, 0) + PPM - MAX_PPM
    return tuple(sorted(merged.items()))


def class_lengths(traffic: TrafficClass) -> ClassLengths | None:
    """The lengths of a class: of its trace, or of its percentiles; None where a capacity table stands for them."""
    found = _written_lengths(traffic)
    if found is None or not traffic.prompt_tail_ppm:
        return found
    return replace(found, prompts=stretched(found.prompts, traffic.prompt_tail_ppm))


def _written_lengths(traffic: TrafficClass) -> ClassLengths | None:
    if traffic.trace is not None:
        return None if traffic.trace.facts is None else trace_lengths(traffic.trace.facts.lengths)
    if traffic.input_tokens is None or traffic.output_tokens is None:
        return None
    return ClassLengths(histogram(traffic.input_tokens), histogram(traffic.output_tokens))


@cache
def trace_lengths(texts: tuple[str, ...]) -> ClassLengths:
    """The joint lengths of a trace, from the texts that a plan carries.

    >>> found = trace_lengths(("12 7", "374 44*2 109"))
    >>> found.prompts, found.joint[1]
    (((12, 250000), (374, 750000)), ((44, 500000), (109, 250000)))
    """
    pairs = pairs_of(texts)
    rows: dict[int, list[tuple[int, int]]] = {}
    for (prompt, output, _), weight in zip(pairs, in_ppm([count for *_, count in pairs]), strict=True):
        if weight:
            rows.setdefault(prompt, []).append((output, weight))
    joint = tuple(tuple(row) for row in rows.values())
    prompts = tuple((prompt, sum(weight for _, weight in row)) for prompt, row in rows.items())
    return ClassLengths(prompts, _summed(joint), joint)


def _summed(parts: Sequence[Histogram]) -> Histogram:
    """One histogram of many."""
    merged: dict[int, int] = {}
    for tokens, weight in chain.from_iterable(parts):
        merged[tokens] = merged.get(tokens, 0) + weight
    return tuple(sorted(merged.items()))


def bands(lengths: ClassLengths, cuts: Sequence[int]) -> tuple[Band, ...]:
    """Cut a class into bands on the prompt length, which the router knows; a cut belongs to the band below.

    >>> lengths = ClassLengths(((10, 600_000), (90, 400_000)), ((5, 1_000_000),))
    >>> [band.weight_ppm for band in bands(lengths, [50, 70])]
    [600000, 400000]
    """
    longest = lengths.prompts[-1][0]
    inner = sorted({cut for cut in cuts if 0 < cut < longest})
    edges = [0, *inner, longest]
    found = []
    for lower, upper in pairwise(edges):
        own = [at for at, (tokens, _) in enumerate(lengths.prompts) if lower < tokens <= upper]
        if own:
            found.append(_band(lengths, lower, upper, own))
    return tuple(found)


def _band(lengths: ClassLengths, lower: int, upper: int, own: Sequence[int]) -> Band:
    prompts = tuple(lengths.prompts[at] for at in own)
    joint = tuple(lengths.joint[at] for at in own) if lengths.joint else ()
    outputs = _summed(joint) if joint else lengths.outputs
    return Band(lower, upper, sum(weight for _, weight in prompts), prompts, outputs, joint)


def joined(parts: Sequence[Band]) -> Band:
    """Adjacent bands as one."""
    prompts = tuple(row for part in parts for row in part.prompts)
    joint = tuple(row for part in parts for row in part.joint)
    outputs = _summed(joint) if joint else parts[0].outputs
    weight = sum(part.weight_ppm for part in parts)
    return Band(parts[0].lower_tokens, parts[-1].upper_tokens, weight, prompts, outputs, joint)


@cache
def served(band: Band, context_limit_tokens: int, reusable_prefix_ppm: int = 0) -> Served:
    """What a replica with this context limit makes of a band.

    A prompt as long as the limit is rejected; an output that would pass it is cut short at limit - prompt
    tokens. `reusable_prefix_ppm` of every prompt is found cached: its prefill is saved, its KV is not. The
    last token of a prompt is always computed.
    """
    import numpy as np

    if band.joint:
        return _served_pairs(band, context_limit_tokens, reusable_prefix_ppm)
    prompts, prompt_weights = _columns(band.prompts)
    outputs, output_weights = _columns(band.outputs)
    fits = prompts < context_limit_tokens
    total = int(prompt_weights.sum())
    output_total = int(output_weights.sum())
    rejected = Fraction(int(prompt_weights[~fits].sum()), total)
    room = context_limit_tokens - prompts[fits]
    cut = outputs[None, :] > room[:, None]
    cut_weight = int((prompt_weights[fits][:, None] * output_weights[None, :])[cut].sum())

    probabilities = prompt_weights[fits] / max(1, total - int(prompt_weights[~fits].sum()))
    joint = probabilities[:, None] * (output_weights / output_total)[None, :]
    kept = np.minimum(outputs[None, :], room[:, None]).astype(np.float64)
    prompt = prompts[fits].astype(np.float64)
    steps = kept - 1
    mean_steps = float((joint * steps).sum())
    resident = float((joint * (steps * prompt[:, None] + kept * steps / 2)).sum())
    new = _new_tokens(prompt, reusable_prefix_ppm)
    return Served(
        rejected=rejected,
        cut_short=Fraction(cut_weight, total * output_total),
        new_tokens=new,
        cached_tokens=prompt - new,
        probabilities=probabilities,
        mean_prompt_tokens=float(probabilities @ prompt),
        mean_output_tokens=float((joint * kept).sum()),
        mean_decode_steps=mean_steps,
        resident_tokens=resident / mean_steps if mean_steps > 0 else 0.0,
        harmonic_decode_steps=_harmonic_steps(joint, kept),
    )


def spans(band: Band, context_limit_tokens: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Prompt tokens, answer tokens (cut at the limit) and probability of what a limit serves, pair by pair."""
    import numpy as np

    if band.joint:
        counts = [len(row) for row in band.joint]
        tokens, weight = _columns(tuple(chain.from_iterable(band.joint)))
        prompt = np.repeat([tokens for tokens, _ in band.prompts], counts)
        fits = prompt < context_limit_tokens
        kept = np.minimum(tokens[fits], context_limit_tokens - prompt[fits]).astype(np.float64)
        return prompt[fits].astype(np.float64), kept, weight[fits] / weight[fits].sum()
    prompts, prompt_weights = _columns(band.prompts)
    outputs, output_weights = _columns(band.outputs)
    fits = prompts < context_limit_tokens
    prompt = np.repeat(prompts[fits], len(outputs)).astype(np.float64)
    output = np.minimum(np.tile(outputs, int(fits.sum())), context_limit_tokens - prompt)
    weight = np.outer(prompt_weights[fits], output_weights).ravel().astype(np.float64)
    return prompt, output, weight / weight.sum()


def _served_pairs(band: Band, context_limit_tokens: int, reusable_prefix_ppm: int) -> Served:
    """The same where each prompt has outputs of its own."""
    import numpy as np

    prompts, prompt_weights = _columns(band.prompts)
    outputs, weights = _columns(tuple(chain.from_iterable(band.joint)))
    prompt_of = np.repeat(prompts, [len(row) for row in band.joint])
    total = int(prompt_weights.sum())
    fits, whole = prompts < context_limit_tokens, prompt_of < context_limit_tokens
    served_weight = int(prompt_weights[fits].sum())
    room = context_limit_tokens - prompt_of[whole]
    cut_weight = int(weights[whole][outputs[whole] > room].sum())
    joint = weights[whole] / max(1, served_weight)
    kept = np.minimum(outputs[whole], room).astype(np.float64)
    steps = kept - 1
    mean_steps = float(joint @ steps)
    resident = float(joint @ (steps * prompt_of[whole] + kept * steps / 2))
    prompt = prompts[fits].astype(np.float64)
    probabilities = prompt_weights[fits] / max(1, served_weight)
    new = _new_tokens(prompt, reusable_prefix_ppm)
    return Served(
        rejected=Fraction(total - served_weight, total),
        cut_short=Fraction(cut_weight, total),
        new_tokens=new,
        cached_tokens=prompt - new,
        probabilities=probabilities,
        mean_prompt_tokens=float(probabilities @ prompt),
        mean_output_tokens=float(joint @ kept),
        mean_decode_steps=mean_steps,
        resident_tokens=resident / mean_steps if mean_steps > 0 else 0.0,
        harmonic_decode_steps=_harmonic_steps(joint, kept),
    )


def _new_tokens(prompts: FloatArray, reusable_prefix_ppm: int) -> FloatArray:
    """Prompt tokens that are computed, at least one of each prompt."""
    import numpy as np

    new: FloatArray = np.maximum(prompts * ((PPM - reusable_prefix_ppm) / PPM), np.minimum(prompts, 1.0))
    return new


def _harmonic_steps(joint: FloatArray, outputs: FloatArray) -> float | None:
    """Harmonic mean of O-1 over the answers whose TPOT counts."""
    counted = outputs >= TPOT_MIN_OUTPUT_TOKENS
    weight = float(joint[counted].sum())
    if weight <= 0:
        return None
    return weight / float((joint[counted] / (outputs[counted] - 1)).sum())


def _columns(rows: Histogram) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    import numpy as np

    table = np.array(rows, dtype=np.int64)
    return table[:, 0], table[:, 1]


class _Quantile:
    """Tokens at a probability: ln(tokens) over the normal quantile, straight between the declared points."""

    def __init__(self, lengths: Lengths) -> None:
        declared = [(ppm, tokens) for ppm, tokens in lengths.percentiles if ppm < MAX_PPM]
        knots = [*declared, (MAX_PPM, lengths.max_tokens)]
        normal = NormalDist()
        self._normal = normal
        self._points = [(normal.inv_cdf(ppm / PPM), log(tokens)) for ppm, tokens in knots]
        self._max_tokens = lengths.max_tokens

    def tokens(self, ppm: float) -> int:
        """Whole tokens at a probability in ppm, at least 1 and at most the maximum."""
        if len(self._points) == 1:
            return self._max_tokens
        z = self._normal.inv_cdf(ppm / PPM)
        upper = next((i for i, (knot, _) in enumerate(self._points) if knot >= z), len(self._points) - 1)
        (z0, y0), (z1, y1) = self._points[max(upper, 1) - 1], self._points[max(upper, 1)]
        value = exp(y0 + (y1 - y0) * (z - z0) / (z1 - z0))
        return max(1, min(self._max_tokens, round(value)))
