"""Which GPUs hold a model, as a page and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.calculator.fits import Fit, Fits
from planner.report import numbers
from planner.report.columns import Align, labeled, table
from planner.report.kv import kv_name
from planner.report.kv_json import FORMAT_VERSION, Tree, dumped

GIB = 2**30


def fits_text(found: Fits, columns: int = 100) -> str:
    """A line for each GPU with the narrowest shape that holds the model; every shape where one GPU was named."""
    subject = found.subject
    contexts = [row.context_tokens for row in subject.figures.rows]
    shown = found.rows if len({fit.gpu.id for fit in found.rows}) == 1 else tuple(_narrowest(found))
    heads: list[tuple[str, Align]] = [
        ("GPU", "left"), ("shape", "left"), ("weights", "right"), ("for KV", "right"), ("tokens", "right"),
        ("longest", "right"), *((f"x {numbers.tokens(each)}", "right") for each in dict.fromkeys(contexts)),
        ("", "left"),
    ]  # fmt: skip
    rows = [_cells(fit, len(set(contexts))) for fit in shown if fit.weights_bytes is not None]
    title = f" {subject.model.id}   {subject.engine.requested}   weights {subject.weights}   KV {kv_name(subject)}\n"
    none = _too_small(shown, one_gpu=shown == found.rows)
    notes = [
        "weights and KV in GiB on one GPU; tokens that plans may use; longest context; sequences of a length at once",
        "* overheads were measured on other GPUs: a margin of 0.5 GiB (1 GiB above tp1) is left free",
        "memory alone: whether the engine has kernels for a GPU or a weight format is not asked here",
    ]
    if shown != found.rows:
        notes.append(
            "the narrowest of tp1, tp2, tp4, tp8 that holds it; --gpu ID shows all of them, --format json everything"
        )
    parts = [
        title,
        table(heads, rows, columns) if rows else "",
        labeled("too small", none, columns),
        labeled("note", notes, columns),
    ]
    return "\n".join(part for part in parts if part)


def _too_small(shown: Sequence[Fit], one_gpu: bool) -> list[str]:
    """Why a GPU holds nothing; of many GPUs only their names, by the widest shape that was tried."""
    rows = [fit for fit in shown if fit.weights_bytes is None]
    if one_gpu:
        return [f"{fit.gpu.id} {fit.shape}: {fit.reason}" for fit in rows]
    by_shape: dict[str, list[str]] = {}
    for fit in rows:
        by_shape.setdefault(str(fit.shape), []).append(fit.gpu.id)
    return [f"{shape} of {', '.join(names)}" for shape, names in by_shape.items()]


def _narrowest(found: Fits) -> Iterator[Fit]:
    """For each GPU its first shape that fits, or the widest one with its reason."""
    by_gpu: dict[str, list[Fit]] = {}
    for fit in found.rows:
        by_gpu.setdefault(fit.gpu.id, []).append(fit)
    for fits in by_gpu.values():
        yield next((fit for fit in fits if fit.fits), fits[-1])


def _cells(fit: Fit, contexts: int) -> list[str]:
    assert fit.weights_bytes is not None and fit.available_kv_bytes is not None
    counts = [f"{count:,}" for _, count in fit.sequences] or [""] * contexts
    whole = fit.longest_context == fit.longest_asked
    longest = numbers.tokens(fit.longest_context or 0) if whole else f"{fit.longest_context or 0:,}"
    return [
        fit.gpu.id, f"{fit.shape}{' *' if fit.margin_bytes else ''}", f"{fit.weights_bytes / GIB:,.2f}",
        f"{fit.available_kv_bytes / GIB:,.2f}", f"{fit.pool_tokens or 0:,}", longest, *counts,
        "" if fit.fits else "too small",
    ]  # fmt: skip


def fits_json(found: Fits) -> str:
    """Every GPU and shape."""
    subject = found.subject
    rows: list[Tree] = [
        {
            "gpu": fit.gpu.id,
            "parallel": str(fit.shape),
            "gpus": fit.shape.gpus,
            "fits": fit.fits,
            "reason": fit.reason or None,
            "weights_bytes": fit.weights_bytes,
            "available_kv_bytes": fit.available_kv_bytes,
            "usable_tokens": fit.pool_tokens,
            "longest_context": fit.longest_context,
            "sequences": [{"context": tokens, "sequences": count} for tokens, count in fit.sequences],
            "margin_bytes": fit.margin_bytes if fit.weights_bytes is not None else None,
            "estimated": list(fit.estimated),
        }
        for fit in found.rows
    ]
    return dumped(
        {
            "format_version": FORMAT_VERSION,
            "model": subject.model.id,
            "engine": subject.engine.requested,
            "weights": subject.weights,
            "kv_dtype": subject.kv_dtype,
            "preset": subject.preset,
            "bytes_per_token": subject.figures.bytes_per_token,
            "fits": rows,
        }
    )
