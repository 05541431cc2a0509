"""KV presets as pages: the table, and one preset with its claims beside what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from planner.calculator.eligibility import ClassVerdict, Eligibility
from planner.calculator.profile import Profile, Ratios
from planner.compression.evidence import Quality
from planner.compression.policy import percent
from planner.compression.standing import PROTOCOL_WORDS, Standing
from planner.compression.table import Preset, layout_ratio
from planner.report import numbers
from planner.report.columns import Align, labeled, paragraph, table

LIST_HEADS: tuple[tuple[str, Align], ...] = (
    ("preset", "left"), ("claim", "right"), ("packed", "right"), ("on GPU", "right"), ("ratio", "left"),
    ("quality", "left"), ("proxy", "right"), ("engines", "left"),
)  # fmt: skip


WIDE = 140
"""Columns from which the list also shows intervals and engines."""


def list_text(rows: Sequence[Profile], columns: int = 100) -> str:
    """One line a preset: what is claimed, what the bytes are, what evidence says."""
    cells = [_list_cells(row) for row in rows]
    files = sorted({source.file for row in rows if row.preset.standing and (source := row.preset.standing.source)})
    words = (
        "ratio, quality: derived from the evidence; proxy: perplexity on a small model with KV compressed as it is "
        "written, 95 % interval; packed: codes and scales of compressed layers at the claim's head size"
    )
    # On a narrow page the ids say the engine well enough, and the middle of an interval stands for it.
    heads = LIST_HEADS
    if columns < WIDE:
        heads = LIST_HEADS[:-1]
        cells = [[*row[:-2], row[-2].partition(" [")[0]] for row in cells]
    return table(heads, cells, columns) + "\n" + labeled("evidence", files, columns) + paragraph(words, columns)


def _list_cells(row: Profile) -> list[str]:
    preset, claim = row.preset, row.claim
    standing = preset.standing
    return [
        preset.name,
        times(preset.claim.ratio),
        times(claim.packed.ratio) if claim else "-",
        times(resident_ratio(row)),
        preset.ratio_status,
        _words(standing.quality_status) if standing else "-",
        _proxy(standing),
        ", ".join(engine if since == "0" else f"{engine} {since}+" for engine, since in preset.engines.items()) or "-",
    ]


def _proxy(standing: Standing | None) -> str:
    quality = standing.row.of("write_time") if standing and standing.row else None
    return interval(quality) if quality else "-"


def interval(quality: Quality) -> str:
    """A measured perplexity increase with its interval."""
    ppl = quality.ppl
    return f"{ppl.mean_pct:+.2f}% [{ppl.ci95_low_pct:+.2f}, {ppl.ci95_high_pct:+.2f}]"


def resident_ratio(row: Profile) -> Fraction:
    """16-bit bytes over what stays on the GPU with the software that exists; 1 where no engine packs it."""
    preset = row.preset
    runs = preset.residency == "gpu" and preset.supports and preset.layout_known
    return layout_ratio(preset.storage, preset.claim.head_dim) if runs else Fraction(1)


def show_text(row: Profile, ratios: Ratios, columns: int = 100) -> str:
    """Claims, measurements and verdicts of one preset, and its ratio by context and decoded tokens."""
    preset = row.preset
    parts = [
        f" {preset.name}   {preset.title}\n",
        _where(preset, columns),
        _claimed_ratio(row, columns),
        _claimed_quality(preset, columns),
        _measured(row, columns),
        _by_context(ratios, columns),
        labeled("caution", [*preset.cautions, *(text for _, text in preset.head_dim_cautions)], columns),
    ]
    return "\n".join(part for part in parts if part)


def _where(preset: Preset, columns: int) -> str:
    runs = [
        f"{engine} {'any release' if since == '0' else f'{since}+'}: {preset.kv_dtype[engine]}"
        for engine, since in preset.engines.items()
    ]
    residency = "on the GPU" if preset.residency == "gpu" else "at rest only: files, network, host memory"
    return labeled("residency", [residency], columns) + labeled("engines", runs or ["no engine runs it"], columns)


def _claimed_ratio(row: Profile, columns: int) -> str:
    preset, claim = row.preset, row.claim
    heads: tuple[tuple[str, Align], ...] = (("ratio", "left"), ("", "right"), ("verdict", "left"), ("", "left"))
    rows = [["declared", times(preset.claim.ratio), preset.ratio_status, _ratio_reason(preset)]]
    source = preset.standing.source if preset.standing else None
    if claim is not None and source is not None:
        at = f"at head size {preset.claim.head_dim}, prompt of {source.evidence.key.prefix_tokens:,} tokens"
        rows.append(["packed tensors", times(claim.packed.ratio), claim.packed.status, at])
    if claim is not None and claim.serialized_ratio is not None:
        rows.append(["serialized", times(claim.serialized_ratio), "", "codes after DEFLATE, on the proxy's own shape"])
    resident = resident_ratio(row)
    why = preset.ratio_evidence if resident == 1 and not preset.is_identity else "what an engine reads and writes"
    rows.append(["GPU-resident", times(resident), _against(preset, resident), why])
    return table(heads, rows, columns)


def _against(preset: Preset, ratio: Fraction) -> str:
    gap = abs(ratio - preset.claim.ratio)
    return "confirmed" if gap <= Fraction(2, 100) * preset.claim.ratio else "mismatch"


def _ratio_reason(preset: Preset) -> str:
    reason = preset.standing.ratio_reason if preset.standing else ""
    return f"{reason} ({preset.claim.source})" if reason else preset.claim.source


def _claimed_quality(preset: Preset, columns: int) -> str:
    """Published figures with their verdicts; accuracy figures are nobody's but their source's."""
    heads: tuple[tuple[str, Align], ...] = (
        ("declared quality", "left"), ("", "left"), ("verdict", "left"), ("", "left"),
    )  # fmt: skip
    verdicts = iter(preset.standing.quality if preset.standing else ())
    rows = []
    for quality in preset.quality:
        if quality.kind == "proxy":
            continue
        word, status, reason = "accuracy", "published", "an accuracy figure; perplexity cannot check it"
        if quality.metric == "ppl_increase":
            _, verdict = next(verdicts)
            word, status, reason = "perplexity", _words(verdict.status), verdict.reason
        rows.append([f"{word} {quality.figures}", quality.model, status, f"{reason} ({quality.source})"])
    return table(heads, rows, columns) if rows else ""


def _measured(row: Profile, columns: int) -> str:
    standing = row.preset.standing
    if standing is None or standing.source is None:
        return labeled("measured", ["nothing: no codec computes it, or no evidence has it"], columns)
    key = standing.source.evidence.key
    lines = []
    for quality in row.claim.measured if row.claim else ():
        ppl = quality.ppl
        lines.append(
            f"perplexity {interval(quality)}, worst of {ppl.windows} windows {ppl.worst_pct:+.2f}%; "
            f"{PROTOCOL_WORDS[quality.protocol]}"
        )
    recall = row.claim.recall if row.claim else None
    if recall is not None:
        lines.append(
            f"recall {recall.hits} of the {recall.baseline_hits} questions that 16-bit KV answers "
            f"({recall.questions} asked; so small a model answers few by itself)"
        )
    lines.append(
        f"on {key.model}, a proxy that ranks and warns; prefix {key.prefix_tokens:,}, {key.scored_tokens} scored; "
        f"texts {', '.join(sorted(key.texts))}; torch {key.torch}, transformers {key.transformers}"
    )
    lines.append(f"{standing.source.file} (tier {standing.source.evidence.tier}), sha256 {standing.source.sha256[:12]}")
    if standing.row is None:
        lines.append(f"not in force: {standing.ratio_reason}")
    return labeled("measured", lines, columns)


def _by_context(ratios: Ratios, columns: int) -> str:
    if not ratios.rows:
        return labeled("ratio", [ratios.note], columns)
    contexts = list(dict.fromkeys(point.context_tokens for point in ratios.rows))
    heads: list[tuple[str, Align]] = [("ratio by prompt", "left")]
    heads += [(numbers.tokens(context), "right") for context in contexts]
    by_place = {(point.context_tokens, point.decoded_tokens): point for point in ratios.rows}
    rows = [
        [f"+ {decoded:,} decoded" if decoded else "nothing decoded yet"]
        + [times(by_place[context, decoded].ratio) for context in contexts]
        for decoded in dict.fromkeys(point.decoded_tokens for point in ratios.rows)
    ]
    return table(heads, rows, columns) + paragraph(f"packed bytes of {ratios.model}, all layers", columns)


def scenario_text(
    name: str, rows: Sequence[Eligibility], classes: dict[str, tuple[ClassVerdict, ...]], columns: int = 100
) -> str:
    """Where the preset is eligible in a scenario, and why not."""
    folds: dict[tuple[str, str, str], list[Eligibility]] = {}
    for row in rows:
        word = "hypothetical" if row.hypothetical else "yes" if row.eligible else "no"
        parts = [row.reason] if row.reason else []
        parts += [f"nearest: {row.nearest}"] if row.nearest else []
        parts += [] if row.offered else [f"models.{row.model}.kv_presets does not offer it"]
        folds.setdefault((row.model, word, "; ".join(parts)), []).append(row)
    lines = [
        f"{model} on {_all(row.gpu for row in same)} with {_all(row.weights for row in same)} weights: {word}"
        + (f"; {words}" if words else "")
        for (model, word, words), same in folds.items()
    ]
    of_classes = [
        f"{each.class_name} ({model}): {_class_words(each)}" for model, found in classes.items() for each in found
    ]
    eligible = labeled("eligible", lines or ["no model whose physics is known"], columns)
    return f" in {name}\n\n{eligible}{labeled('classes', of_classes, columns)}"


def _all(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _class_words(each: ClassVerdict) -> str:
    if each.eligible:
        flag = f", {each.loss_flag}" if each.loss_flag else ""
        return f"floors met, loss counted {percent(each.loss_ppm)}{flag}"
    return each.reason + (f"; nearest: {each.nearest}" if each.nearest else "")


def times(ratio: Fraction) -> str:
    """A ratio with two decimals.

    >>> times(Fraction(2)), times(Fraction(128, 65))
    ('2.00x', '1.97x')
    """
    return f"{float(ratio):.2f}x"


def _words(status: str) -> str:
    return status.replace("_", " ")
