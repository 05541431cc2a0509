"""Which presets may be used: `judge` for a model on an engine and GPU, `floor` for a class's demands.

`judge` asks whether the preset runs at all and whether its bytes are certain; every failed gate is part
of the reason. `floor` asks what it does to quality. A floor is met only by rows of its own metric,
taken from the first of these groups that has any, and the worst row of that group decides:

1. this model, measured here or published by the engine's maintainers;
2. another model, published by the engine's maintainers: flagged `other-model`;
3. under allow_published, this model, published by others: flagged `published`;
4. under allow_published, another model, published by others: flagged `published other-model`;
5. under allow_proxy, measured here on another, smaller model: flagged `proxy`.

Rows inside their own noise never count. A wider policy only adds groups at the end, so widening it
never takes a preset away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from planner.catalog.types import Bottleneck, EngineRules, GpuFacts, KvStorage, ModelFacts, Refusal
from planner.compression.table import Metric, Preset, QualityRow, layout_ratio
from planner.scenario.traffic import QualityFloor
from planner.scenario.types import CompressionPolicy

SIXTEEN_BIT_FLAG = "auto"
"""The KV dtype of a preset that no engine has: until there is a kernel, the engine writes 16 bits."""

UNKNOWN_LOSS_PPM = 1_000_000
"""The loss of a preset that nobody measured: all, so that no objective prefers ignorance to a known loss."""


@dataclass(frozen=True)
class Usable:
    """A preset that may be planned on. `flag` is the value of the engine's KV dtype flag.

    `decode_time_factor` multiplies decode time over 16-bit KV (never below 1); `hypothetical` marks
    presets that only `compression.allow` admits, and `debt` says what would have to be shown for them;
    `warnings` go into the plan. `codec` is set where no engine packs the preset: a request then takes the
    bytes of that composition of `codecs.yaml` once it is compressed, and 16-bit ones (`storage`) before.
    """

    preset: str
    storage: KvStorage
    flag: str
    decode_time_factor: Fraction
    hypothetical: bool
    warnings: tuple[str, ...]
    debt: tuple[str, ...] = ()
    codec: str = ""


@dataclass(frozen=True)
class FloorVerdict:
    """What a class gets from a preset: whether its floors are met, and the loss that the plan counts."""

    ok: bool
    loss_ppm: int
    loss_flag: str | None
    evidence: tuple[str, ...]
    refusal: Refusal | None


def judge(
    preset: Preset,
    *,
    engine: EngineRules,
    gpu: GpuFacts,
    model: ModelFacts,
    policy: CompressionPolicy,
    weights: str | None = None,
) -> Usable | Refusal:
    """Whether a preset may be used by this model on this engine release and GPU, and if not, why.

    Args:
        preset: The row of the table.
        engine: The rule set of the engine release.
        gpu: The GPU type.
        model: The architecture; its attention kind and head size can exclude a preset.
        policy: The scenario's `compression` block.
        weights: The weights dtype where it is chosen, since some KV dtypes exclude some checkpoints.

    Returns:
        Usable, or a Refusal whose message lists every gate that failed, most basic first.
    """
    doubted = (_engine_gate(preset, engine), _residency_gate(preset), _ratio_gate(preset))
    hypothetical = preset.name in policy.allow and any(doubted) and _may_be_supposed(preset)
    gates = (
        *(() if hypothetical else doubted),
        _refuted_gate(preset, model),
        _gpu_gate(preset, gpu, model),
        _model_gate(preset, model),
        _weights_gate(preset, weights),
    )
    failed = [gate for gate in gates if gate is not None]
    if hypothetical and preset.supports:
        failed[:0] = [gate for gate in (_engine_gate(preset, engine),) if gate is not None]
    if failed:
        return _merged(preset, failed)
    support = preset.support(engine.name)
    factor = support.decode_time_factor if support else None
    doubt = [f"{preset.name}: hypothetical, only compression.allow admits it; {_why_doubted(preset)}"]
    return Usable(
        preset=preset.name,
        storage=preset.storage,
        flag=support.flag if support else SIXTEEN_BIT_FLAG,
        decode_time_factor=max(Fraction(1), factor) if factor is not None else Fraction(1),
        hypothetical=hypothetical,
        warnings=(*(doubt if hypothetical else ()), *_warnings(preset, factor, gpu, model)),
        debt=_debt(preset, engine, model, factor) if hypothetical else (),
        codec="" if support else preset.codec,
    )


def _may_be_supposed(preset: Preset) -> bool:
    """Whether `compression.allow` may name it: its bytes can be computed and nothing speaks against its claim."""
    computed = bool(preset.supports) or (bool(preset.codec) and preset.residency == "gpu")
    return computed and preset.ratio_status in ("confirmed", "unconfirmed")


def _why_doubted(preset: Preset) -> str:
    parts = [] if preset.supports else ["no engine runs it"]
    parts += ["its ratio is unconfirmed"] if preset.ratio_status == "unconfirmed" else []
    return " and ".join(parts) or "its bytes do not stay on the GPU"


def _debt(preset: Preset, engine: EngineRules, model: ModelFacts, factor: Fraction | None) -> tuple[str, ...]:
    """What would have to be shown before a hypothetical preset could be planned on without `allow`."""
    found = []
    if not preset.supports:
        found.append(
            f"{preset.name}: a kernel of {engine.name} that computes on its packed bytes; today no engine does"
        )
    if preset.ratio_status == "unconfirmed":
        found.append(f"{preset.name}: bytes on the GPU ({_unconfirmed_because(preset)})")
    if not any(row.model == model.id and row.kind != "proxy" for row in preset.quality):
        proxies = [row for row in preset.quality if row.kind == "proxy"]
        worst = max(proxies, key=lambda row: row.counted_ppm, default=None)
        known = f" (proxy: perplexity {worst.figures} on {worst.model})" if worst else ""
        found.append(f"{preset.name}: quality on {model.id}{known}")
    if preset.evicts and not preset.recall_measured:
        found.append(f"{preset.name}: recall, since it drops tokens")
    if factor is None:
        found.append(f"{preset.name}: time of a decode step; taken as that of 16-bit KV")
    return tuple(found)


def floor(preset: Preset, floor: QualityFloor, *, model_id: str, policy: CompressionPolicy) -> FloorVerdict:
    """Whether a preset meets a class's quality floor on a model, and the loss it counts with.

    The loss is the worst accuracy drop among the admitted rows, in ppm; without any, the worst admitted
    perplexity increase; without that, the worst published figure of others; without anything, 100 %.
    All but the first are flagged. 16-bit KV has loss 0 and meets every floor.
    """
    if preset.is_identity:
        return FloorVerdict(True, 0, None, ("16-bit KV: the reference",), None)
    refusals: list[Refusal] = []
    evidence: list[str] = []
    limits: tuple[tuple[Metric, int | None], ...] = (
        ("accuracy_drop", floor.max_accuracy_drop_ppm),
        ("ppl_increase", floor.max_ppl_increase_ppm),
    )
    for metric, limit in limits:
        rows, flag = _admitted(preset, metric, model_id, policy)
        evidence.extend(_describe(row, flag) for row in rows)
        if limit is not None:
            refusal = _metric_refusal(preset, metric, limit, rows, flag, policy)
            refusals.extend([refusal] if refusal else [])
    evidence.extend(f"not counted, within its own noise: {_figures(row)}" for row in preset.quality if row.within_noise)
    if floor.needs_recall and preset.evicts and not preset.recall_measured:
        message = "evicts tokens and its recall was never measured (needs_recall)"
        refusals.append(Refusal(Bottleneck.QUALITY, message))
    loss_ppm, loss_flag = _loss(preset, model_id, policy)
    refusal = _merged(preset, refusals) if refusals else None
    return FloorVerdict(refusal is None, loss_ppm, loss_flag, tuple(evidence), refusal)


def percent(ppm: int) -> str:
    """Parts per million as an exact percentage, as the scenario writes it.

    >>> percent(30_000), percent(8_933), percent(0)
    ('3%', '0.8933%', '0%')
    """
    whole, rest = divmod(ppm, 10_000)
    return f"{whole}.{rest:04d}".rstrip("0").rstrip(".") + "%"


def _merged(preset: Preset, refusals: list[Refusal]) -> Refusal:
    """One refusal that lists every reason, most basic first, and all that would have to change."""
    message = f"{preset.name}: {'; '.join(refusal.message for refusal in refusals)}"
    nearest = ", ".join(refusal.nearest for refusal in refusals if refusal.nearest)
    return Refusal(refusals[0].bottleneck, message, nearest or None)


def _engine_gate(preset: Preset, engine: EngineRules) -> Refusal | None:
    if not preset.supports:
        return Refusal(Bottleneck.ENGINE, "no engine runs it")
    support = preset.support(engine.name)
    if support is None:
        others = ", ".join(sorted(preset.engines))
        return Refusal(Bottleneck.ENGINE, f"{engine.name} does not have it, only {others}")
    if preset.is_identity:
        return None
    missing = support.flag not in engine.kv_dtypes
    if missing or _numbers(engine.version) < _numbers(support.min_version):
        since = f"{engine.name}@{support.min_version}"
        known = _numbers(engine.version) < _numbers(support.min_version)
        tail = f", {since} does" if known else ""
        message = f"{engine.name}@{engine.version} has no KV dtype {support.flag}{tail}"
        return Refusal(Bottleneck.ENGINE, message, since if known else None)
    return None


def _residency_gate(preset: Preset) -> Refusal | None:
    if preset.residency == "gpu":
        return None
    resident = _times(layout_ratio(preset.storage, preset.claim.head_dim))
    return Refusal(Bottleneck.POLICY, f"GPU-resident ratio {resident}")


def _ratio_gate(preset: Preset) -> Refusal | None:
    status = preset.ratio_status
    if status == "confirmed":
        return None
    if status == "superseded":
        return Refusal(Bottleneck.POLICY, "claim superseded")
    if status == "unconfirmed":
        nearest = f"compression.allow: [{preset.name}]" if _may_be_supposed(preset) else None
        return Refusal(Bottleneck.POLICY, f"ratio unconfirmed: {_unconfirmed_because(preset)}", nearest)
    if preset.residency != "gpu" and preset.standing is not None:
        return Refusal(Bottleneck.POLICY, f"ratio mismatch: {preset.standing.ratio_reason}")
    claim = preset.claim
    derived = f"{_times(layout_ratio(preset.storage, claim.head_dim))} at head_dim {claim.head_dim}"
    message = f"ratio mismatch: declared {_times(claim.ratio)}, its bytes give {derived}"
    return Refusal(Bottleneck.POLICY, message)


def _unconfirmed_because(preset: Preset) -> str:
    known = preset.standing.ratio_reason if preset.standing else "layout not known"
    return preset.claim.not_comparable or known


def _refuted_gate(preset: Preset, model: ModelFacts) -> Refusal | None:
    """Quality that evidence refuted on the scenario's own model: no policy admits it."""
    reason = preset.standing.refuted_on(model.id) if preset.standing else ""
    return Refusal(Bottleneck.QUALITY, f"quality refuted on {model.id}: {reason}") if reason else None


def _gpu_gate(preset: Preset, gpu: GpuFacts, model: ModelFacts) -> Refusal | None:
    gate = preset.gpu
    if gpu.vendor not in gate.vendors:
        return Refusal(Bottleneck.GPU, f"{gpu.id} is {gpu.vendor}, it runs on {', '.join(gate.vendors)} only")
    if gpu.vendor != "nvidia":
        return None
    capability = _numbers(gpu.compute_capability)
    here = f"{gpu.id} has compute capability {gpu.compute_capability}"
    if gate.min_capability and capability < _numbers(gate.min_capability):
        return Refusal(
            Bottleneck.GPU,
            f"{here}, it needs {gate.min_capability}",
            f"compute capability {gate.min_capability}",
        )
    if gate.below_capability and capability >= _numbers(gate.below_capability):
        return Refusal(Bottleneck.GPU, f"{here}, it needs less than {gate.below_capability}")
    if not _native(preset, gpu) and (model.is_mla or model.head_dim not in gate.emulated_head_dims):
        kind = "MLA" if model.is_mla else f"head_dim {model.head_dim}"
        sizes = ", ".join(map(str, gate.emulated_head_dims))
        message = f"{here}: below {gate.native_capability} only head sizes {sizes} work, {model.id} has {kind}"
        return Refusal(Bottleneck.GPU, message, f"compute capability {gate.native_capability}")
    return None


def _native(preset: Preset, gpu: GpuFacts) -> bool:
    gate = preset.gpu
    if gpu.vendor != "nvidia" or not gate.native_capability:
        return True
    return _numbers(gpu.compute_capability) >= _numbers(gate.native_capability)


def _model_gate(preset: Preset, model: ModelFacts) -> Refusal | None:
    if model.is_mla and not preset.mla:
        return Refusal(Bottleneck.ENGINE, f"not for MLA models ({preset.attention_source})")
    if model.is_windowed and not preset.windows:
        return Refusal(Bottleneck.ENGINE, f"not for sliding-window models ({preset.attention_source})")
    return None


def _weights_gate(preset: Preset, weights: str | None) -> Refusal | None:
    if weights is None or weights not in preset.weights_excluded:
        return None
    return Refusal(Bottleneck.ENGINE, f"not with {weights} weights ({preset.weights_source})")


def _warnings(preset: Preset, factor: Fraction | None, gpu: GpuFacts, model: ModelFacts) -> Iterator[str]:
    if factor is None:
        yield f"{preset.name}: no published decode time against 16-bit KV; a factor of 1 is assumed"
    if not _native(preset, gpu):
        yield (
            f"{preset.name}: {gpu.id} converts it in software (compute capability {gpu.compute_capability}); "
            "decode time was not published, a factor of 1 is assumed"
        )
    for caution in preset.cautions:
        yield f"{preset.name}: {caution}"
    for head_dim, caution in preset.head_dim_cautions:
        if head_dim == model.head_dim:
            yield f"{preset.name}: {caution}"


def _admitted(
    preset: Preset, metric: Metric, model_id: str, policy: CompressionPolicy
) -> tuple[list[QualityRow], str | None]:
    """The rows that may decide a floor of this metric, and the flag of their group."""
    rows = [row for row in preset.quality if row.metric == metric and not row.within_noise]
    engine_rows = [row for row in rows if row.kind == "published_by_engine"]
    here = [row for row in rows if row.model == model_id and row.kind in ("published_by_engine", "measured")]
    groups: list[tuple[list[QualityRow], str | None]] = [(here, None), (engine_rows, "other-model")]
    if policy.policy == "allow_published":
        published = [row for row in rows if row.kind == "published"]
        groups.append(([row for row in published if row.model == model_id], "published"))
        groups.append((published, "published other-model"))
    if policy.allow_proxy:
        groups.append(([row for row in rows if row.kind in ("proxy", "measured")], "proxy"))
    return next((group for group in groups if group[0]), ([], None))


def _metric_refusal(
    preset: Preset,
    metric: Metric,
    limit: int,
    rows: list[QualityRow],
    flag: str | None,
    policy: CompressionPolicy,
) -> Refusal | None:
    word = "accuracy drop" if metric == "accuracy_drop" else "perplexity increase"
    if not rows:
        wider = any(row.kind == "published" and row.metric == metric for row in preset.quality)
        nearest = "compression.policy: allow_published" if wider and policy.policy == "supported" else None
        message = f"no {word} was published that policy {policy.policy} admits (floor {percent(limit)})"
        return Refusal(Bottleneck.QUALITY, message, nearest)
    worst = max(rows, key=lambda row: row.counted_ppm)
    if worst.counted_ppm <= limit:
        return None
    value = percent(worst.counted_ppm)
    bound = "up to " if worst.upper_bound or worst.noise_ppm > worst.value_ppm else ""
    evidence = f", {flag} evidence from {worst.model}" if flag else ""
    message = f"{word} {bound}{value} on {worst.task}{evidence} (floor {percent(limit)})"
    return Refusal(Bottleneck.QUALITY, message, f"max_{metric}: {value}")


def _loss(preset: Preset, model_id: str, policy: CompressionPolicy) -> tuple[int, str | None]:
    everything = CompressionPolicy(policy="allow_published", allow_proxy=policy.allow_proxy)
    choices: tuple[tuple[Metric, CompressionPolicy, str | None], ...] = (
        ("accuracy_drop", policy, None),
        ("ppl_increase", policy, "perplexity"),
        ("accuracy_drop", everything, "not admitted"),
        ("ppl_increase", everything, "not admitted perplexity"),
    )
    for metric, admitted_by, note in choices:
        rows, flag = _admitted(preset, metric, model_id, admitted_by)
        if rows:
            flags = ", ".join(part for part in (note, flag) if part)
            return max(row.counted_ppm for row in rows), flags or None
    return UNKNOWN_LOSS_PPM, "no evidence"


def _describe(row: QualityRow, flag: str | None) -> str:
    return f"{_figures(row)}, evidence: {flag}" if flag else _figures(row)


def _figures(row: QualityRow) -> str:
    word = "accuracy drop" if row.metric == "accuracy_drop" else "perplexity increase"
    return f"{word} {percent(row.counted_ppm)} ({row.figures}; {row.task}; {row.model}; {row.source})"


def _times(ratio: Fraction) -> str:
    """A ratio for a reader: one decimal where that is enough, else two."""
    rounded = f"{float(ratio):.2f}"
    return (rounded[:-1] if rounded.endswith("0") else rounded) + "x"


def _numbers(version: str) -> tuple[int, ...]:
    """A dotted version or compute capability as numbers, for comparing."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())
