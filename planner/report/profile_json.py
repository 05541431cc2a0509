"""KV presets as JSON: the list, and one preset with everything that its page shows."""

from __future__ import annotations

from collections.abc import Sequence

from planner.calculator.eligibility import ClassVerdict, Eligibility
from planner.calculator.profile import Profile, Ratios
from planner.compression.table import Preset
from planner.report.kv_json import Tree, dumped
from planner.report.profile import resident_ratio


def list_json(rows: Sequence[Profile]) -> str:
    """A list of objects, one a preset, in the order of the table."""
    return dumped([row_tree(row) for row in rows])


def row_tree(row: Profile) -> dict[str, Tree]:
    """One preset: what it claims, what evidence says, where it runs."""
    preset, standing = row.preset, row.preset.standing
    return {
        "id": preset.id,
        "version": preset.version,
        "name": preset.name,
        "claim": _claim(preset),
        "ratio_status": preset.ratio_status,
        "ratio_reason": standing.ratio_reason if standing else "",
        "quality_status": standing.quality_status if standing else "unconfirmed",
        "gpu_resident_ratio": round(float(resident_ratio(row)), 4),
        "evidence": _evidence(row),
        "residency": preset.residency,
        "engines": {
            engine: {"since": since if since != "0" else None, "kv_dtype": preset.kv_dtype[engine]}
            for engine, since in preset.engines.items()
        },
    }


def _claim(preset: Preset) -> Tree:
    verdicts = iter(preset.standing.quality if preset.standing else ())
    quality: list[Tree] = []
    for each in preset.quality:
        if each.kind == "proxy":
            continue
        verdict = next(verdicts)[1] if each.metric == "ppl_increase" else None
        quality.append(
            {
                "metric": each.metric,
                "loss_ppm": each.value_ppm,
                "figures": each.figures,
                "model": each.model,
                "task": each.task,
                "kind": each.kind,
                "source": each.source,
                "status": verdict.status if verdict else "published",
                "reason": verdict.reason if verdict else "",
            }
        )
    return {
        "ratio": float(preset.claim.ratio),
        "head_dim": preset.claim.head_dim,
        "source": preset.claim.source,
        "superseded_by": preset.claim.superseded_by or None,
        "quality": quality,
    }


def _evidence(row: Profile) -> Tree:
    standing, claim = row.preset.standing, row.claim
    if standing is None or standing.source is None or claim is None:
        return None
    key = standing.source.evidence.key
    recall = claim.recall
    return {
        "file": standing.source.file,
        "sha256": standing.source.sha256,
        "tier": standing.source.evidence.tier,
        "in_force": standing.row is not None,
        "codec": row.preset.codec,
        "codec_revision": standing.row.revision if standing.row else None,
        "model": key.model,
        "weights_sha256": key.weights_sha256,
        "texts_sha256": dict(sorted(key.texts.items())),
        "torch": key.torch,
        "transformers": key.transformers,
        "prefix_tokens": key.prefix_tokens,
        "packed_ratio": round(float(claim.packed.ratio), 4),
        "serialized_ratio": round(float(claim.serialized_ratio), 4) if claim.serialized_ratio else None,
        "perplexity_increase_pct": {
            quality.protocol: {
                "mean": quality.ppl.mean_pct,
                "ci95": [quality.ppl.ci95_low_pct, quality.ppl.ci95_high_pct],
                "worst_window": quality.ppl.worst_pct,
                "windows": quality.ppl.windows,
            }
            for quality in claim.measured
        },
        "recall": {"hits": recall.hits, "baseline_hits": recall.baseline_hits, "questions": recall.questions}
        if recall
        else None,
    }


def show_json(
    row: Profile,
    ratios: Ratios,
    eligible: tuple[tuple[Eligibility, ...], dict[str, tuple[ClassVerdict, ...]]] | None = None,
) -> str:
    """One preset: its row, its ratio by context, and where it is eligible if a scenario was named."""
    tree = row_tree(row)
    tree["ratio_by_context"] = [
        {
            "context_tokens": point.context_tokens,
            "decoded_tokens": point.decoded_tokens,
            "plain_bytes": point.plain_bytes,
            "packed_bytes": point.packed_bytes,
            "ratio": round(float(point.ratio), 4),
        }
        for point in ratios.rows
    ]
    tree["ratio_model"] = ratios.model
    if eligible is not None:
        rows, classes = eligible
        tree["eligible"] = [
            {
                "model": each.model,
                "gpu": each.gpu,
                "weights": each.weights,
                "eligible": each.eligible,
                "hypothetical": each.hypothetical,
                "offered": each.offered,
                "reason": each.reason,
                "nearest": each.nearest,
            }
            for each in rows
        ]
        tree["classes"] = [
            {
                "model": model,
                "class": each.class_name,
                "eligible": each.eligible,
                "reason": each.reason,
                "nearest": each.nearest,
                "loss_ppm": each.loss_ppm,
                "loss_flag": each.loss_flag,
            }
            for model, found in classes.items()
            for each in found
        ]
    return dumped(tree)
