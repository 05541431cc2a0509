"""Measure presets on a real language model and write down the evidence: `kvplan profile validate`.

Tier 1 takes minutes and shows that the harness still finds what was found before; tier 2 makes the evidence
file that verdicts rest on. Both compare, on the same tokens, compressed KV with 16-bit KV, under two
protocols that `validate_stores` explains. Work that is finished goes into a journal at once: an interrupted
run resumes where it stopped.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from planner.compression.codecs import KvCodec, kv_codec_ids, load_kv_codec
from planner.compression.evidence import PROTOCOLS, CodecEvidence, Evidence, EvidenceKey, Quality, Recall
from planner.compression.language_model import LanguageModel, ValidationError, encode_text
from planner.compression.statistics import summarize
from planner.compression.texts import TEXT_NAMES, Text
from planner.compression.validate_journal import Journal, Record, number, numbers, whole, work_key
from planner.compression.validate_measure import (
    BASELINE,
    Measurement,
    Window,
    WindowBaseline,
    cut_windows,
    measure,
    measure_baseline,
)
from planner.compression.validate_recall import PAIRS, RecallPrompt, build_prompt, count_hits, read_prompt

TierNumber = Literal[1, 2]
HARNESS_REVISION = "1"
"""Changes when windows, protocols or the probe change, so that old journals are not taken for new work."""
SEED = 20_260_711
"""Of the bootstrap and of the recall prompts."""


@dataclass(frozen=True)
class Tier:
    """How much is measured. `presets` empty: all that can be computed."""

    number: TierNumber
    prefix_tokens: int
    scored_tokens: int
    windows: int
    texts: tuple[str, ...]
    presets: tuple[str, ...]
    recall_prompts: int


TIERS: dict[TierNumber, Tier] = {
    1: Tier(
        number=1,
        prefix_tokens=512,
        scored_tokens=128,
        windows=4,
        texts=("topics",),
        presets=(
            "fp8",
            "int8-per-token-head",
            "int4-per-token-head",
            "nvfp4",
            "turboquant-4bit-nc",
            "kivi-2bit",
            "e8-k2v2",
            "nexusquant-balanced",
        ),
        recall_prompts=2,
    ),
    2: Tier(
        number=2,
        prefix_tokens=1024,
        scored_tokens=384,
        windows=16,
        texts=TEXT_NAMES,
        presets=(),
        recall_prompts=6,
    ),
}


@dataclass(frozen=True)
class Progress:
    """How far a run is: pieces of work done (found in the journal included) and what comes next."""

    done: int
    total: int
    label: str


@dataclass(frozen=True)
class _Run:
    """What every piece of work shares."""

    model: LanguageModel
    tier: Tier
    codecs: tuple[KvCodec, ...]
    windows: tuple[Window, ...]
    prompts: tuple[RecallPrompt, ...]
    journal: Journal
    progress: Callable[[Progress], None]

    @property
    def evicting(self) -> tuple[KvCodec, ...]:
        """The presets that the recall probe is for."""
        return tuple(codec for codec in self.codecs if codec.spec.eviction is not None)

    @property
    def total(self) -> int:
        """Pieces of work."""
        return len(self.windows) * (1 + len(self.codecs)) + len(self.prompts) * (1 + len(self.evicting))

    def key(self, codec: KvCodec, tokens: Sequence[int], **more: object) -> str:
        """What a number depends on."""
        return work_key(
            harness=HARNESS_REVISION,
            codec=codec.spec.revision,
            torch=version("torch"),
            transformers=version("transformers"),
            weights=self.model.weights_sha256,
            tokens=list(tokens),
            prefix=self.tier.prefix_tokens,
            **more,
        )


def validate(
    presets: Sequence[str],
    model: LanguageModel,
    texts: Sequence[Text],
    tier: TierNumber | Tier,
    journal: Journal | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Evidence:
    """Measure presets and return the evidence.

    Args:
        presets: Ids of `codecs.yaml`; empty takes the tier's.
        model: The language model; all numbers hold for it alone.
        texts: Texts to cut windows from, in equal parts.
        tier: 1, 2, or a shape of your own.
        journal: Where finished work is kept; in memory unless given.
        progress: Called before every piece of work and once at the end.

    Raises:
        ValidationError: A preset is unknown or cannot be computed on this model, or a text is too short.
    """
    shape = tier if isinstance(tier, Tier) else TIERS[tier]
    ids = [name for name in (presets or shape.presets or kv_codec_ids()) if name != BASELINE]
    codecs = _distinct(ids, model)
    windows, prompts = _material(shape, model, texts)
    work = _Run(model, shape, codecs, windows, prompts, journal or Journal(), progress)
    controls, measured = _measure_windows(work)
    hits = _measure_recall(work, len(windows) * (1 + len(codecs)))
    progress(Progress(work.total, work.total, "done"))
    return Evidence(
        key=EvidenceKey(
            model=model.name,
            weights_sha256=model.weights_sha256,
            torch=version("torch"),
            transformers=version("transformers"),
            texts={text.name: text.sha256 for text in texts},
            prefix_tokens=shape.prefix_tokens,
            scored_tokens=shape.scored_tokens,
            windows=len(windows),
            seed=SEED,
        ),
        control=_quality(controls),
        rows=tuple(_row(name, model, shape, measured, hits, len(prompts)) for name in ids),
        tier=shape.number,
    )


def version(package: str) -> str:
    """Version of an installed package, without the local part that names a build."""
    return importlib.metadata.version(package).split("+")[0]


def _distinct(ids: Sequence[str], model: LanguageModel) -> tuple[KvCodec, ...]:
    """One codec for each revision: rows that compute the same are measured once."""
    unknown = [name for name in ids if name not in kv_codec_ids()]
    if unknown:
        raise ValidationError(f"unknown presets: {', '.join(unknown)}; known: {', '.join(kv_codec_ids())}")
    found: dict[str, KvCodec] = {}
    for name in ids:
        codec = load_kv_codec(name)
        if codec.spec.rope_removed and not model.rope_theta:
            raise ValidationError(
                f"{name}: it removes rotary positions, and {model.name} has no plain rotary embedding"
            )
        found.setdefault(codec.spec.revision, codec)
    return tuple(found.values())


def _material(
    shape: Tier, model: LanguageModel, texts: Sequence[Text]
) -> tuple[tuple[Window, ...], tuple[RecallPrompt, ...]]:
    """Windows in equal parts from every text, and recall prompts filled up with prose of the last text."""
    if shape.prefix_tokens + shape.scored_tokens + 1 > model.max_context_tokens:
        raise ValidationError(f"{model.name}: windows are longer than its {model.max_context_tokens} positions")
    try:
        parts = [
            cut_windows(model, text, -(-shape.windows // len(texts)), shape.prefix_tokens, shape.scored_tokens)
            for text in texts
        ]
    except ValueError as error:
        raise ValidationError(str(error)) from None
    windows = [window for part in zip(*parts, strict=True) for window in part][: shape.windows]
    filler = encode_text(model, texts[-1].content)
    prompts = tuple(
        build_prompt(model, filler[place * shape.prefix_tokens :], shape.prefix_tokens, SEED + place)
        for place in range(shape.recall_prompts)
    )
    return tuple(windows), prompts


def _measure_windows(work: _Run) -> tuple[list[Record], dict[str, list[Record]]]:
    """(the 16-bit control, revision -> measurements), in the order of the windows."""
    control: list[Record] = []
    measured: dict[str, list[Record]] = {codec.spec.revision: [] for codec in work.codecs}
    plain = load_kv_codec(BASELINE)
    done = 0
    for place, window in enumerate(work.windows):
        baseline: WindowBaseline | None = None
        label = f"window {place + 1}/{len(work.windows)} ({window.text})"
        for codec in (plain, *work.codecs):
            work.progress(Progress(done, work.total, f"{label}: {codec.spec.id}"))
            key = work.key(codec, window.tokens, work="window", serialize=place == 0)
            record = work.journal.get(key)
            if record is None:
                baseline = baseline or measure_baseline(work.model, window)
                fresh = (
                    _control(baseline) if codec is plain else measure(work.model, codec, baseline, serialize=place == 0)
                )
                record = work.journal.add(key, _as_record(fresh))
            (control if codec is plain else measured[codec.spec.revision]).append(record)
            done += 1
    return control, measured


def _control(baseline: WindowBaseline) -> Measurement:
    return Measurement(baseline.control_prefix_difference, baseline.control_write_difference, (), 0, 0)


def _as_record(measurement: Measurement) -> Record:
    return {**asdict(measurement), "attention_error": list(measurement.attention_error)}


def _measure_recall(work: _Run, done: int) -> dict[str, int]:
    """Revision -> questions answered over all prompts."""
    plain = load_kv_codec(BASELINE)
    codecs = (plain, *work.evicting)
    hits = {codec.spec.revision: 0 for codec in codecs}
    for place, prompt in enumerate(work.prompts):
        recorded = None
        for codec in codecs:
            work.progress(Progress(done, work.total, f"recall {place + 1}/{len(work.prompts)}: {codec.spec.id}"))
            key = work.key(codec, prompt.tokens, work="recall", seed=SEED + place)
            record = work.journal.get(key)
            if record is None:
                recorded = recorded or read_prompt(work.model, prompt)
                record = work.journal.add(key, {"hits": count_hits(work.model, codec, prompt, recorded)})
            hits[codec.spec.revision] += whole(record, "hits")
            done += 1
    return hits


def _row(
    name: str,
    model: LanguageModel,
    shape: Tier,
    measured: dict[str, list[Record]],
    hits: dict[str, int],
    prompts: int,
) -> CodecEvidence:
    spec = load_kv_codec(name).spec
    records = measured[spec.revision]
    plain = load_kv_codec(BASELINE).spec
    plain_bytes = plain.sequence_bytes(model.layers, model.kv_heads, model.head_dim, shape.prefix_tokens)
    packed_bytes = whole(records[0], "packed_bytes")
    errors = [numbers(record, "attention_error") for record in records]
    probed = spec.eviction is not None and prompts > 0
    return CodecEvidence(
        id=name,
        revision=spec.revision,
        plain_bytes=plain_bytes,
        packed_bytes=packed_bytes,
        serialized_bytes=whole(records[0], "serialized_bytes"),
        resident_bytes=packed_bytes if spec.preset else plain_bytes,
        quality=_quality(records),
        attention_error=tuple(sum(layer) / len(layer) for layer in zip(*errors, strict=True)),
        recall=Recall(hits[spec.revision], hits[plain.revision], prompts * PAIRS) if probed else None,
    )


def _quality(records: Sequence[Record]) -> tuple[Quality, ...]:
    names = ("prefix_nll_difference", "write_nll_difference")
    found = []
    for protocol, name in zip(PROTOCOLS, names, strict=True):
        differences = tuple(number(record, name) for record in records)
        found.append(Quality(protocol, summarize(differences, SEED), differences))
    return tuple(found)
