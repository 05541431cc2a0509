"""One evidence run from its inputs: loads model and texts, keeps the journal, tells the progress.

Progress goes to stderr, one line that is rewritten on a terminal and a line a minute elsewhere.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from planner.compression.evidence import Evidence
from planner.compression.language_model import default_cache_folder, load_language_model
from planner.compression.texts import load_text
from planner.compression.validate import TIERS, Progress, validate
from planner.compression.validate_journal import Journal

LINE_EVERY_S = 60.0
WIDTH = 100
FOUND_WITHIN_S = 0.05
"""A piece of work that took less was found in the journal."""


def make_evidence(
    presets: Sequence[str], tier: Literal[1, 2], model: Path | None, texts: Sequence[str], threads: int
) -> Evidence:
    """Measures presets (none named: all of the tier) and keeps every finished piece in the tier's journal.

    Args:
        model: a GGUF file or a Hugging Face folder; None is SmolLM2-135M.
        texts: names or files; none is the tier's own.

    Raises:
        ValidationError: a model or a text is missing or cannot be used.
    """
    import torch

    torch.set_num_threads(threads)
    loaded = [load_text(name) for name in texts or TIERS[tier].texts]
    for text in loaded:
        if not text.pin:
            sys.stderr.write(f"kvplan: the text {text.name} has no pinned hash; its own hash goes into the evidence\n")
    journal = Journal(default_cache_folder() / "journals" / f"tier-{tier}.jsonl")
    return validate(presets, load_language_model(model), loaded, tier, journal, progress_line())


def progress_line() -> Callable[[Progress], None]:
    """A reporter of progress on stderr; what the journal already had does not count as speed."""
    terminal = sys.stderr.isatty()
    shown_at = -LINE_EVERY_S
    called_at = time.monotonic()
    work: list[float] = []

    def show(progress: Progress) -> None:
        nonlocal shown_at, called_at
        now = time.monotonic()
        if progress.done and now - called_at > FOUND_WITHIN_S:
            work.append(now - called_at)
        called_at = now
        finished = progress.done == progress.total
        if not terminal and not finished and now - shown_at < LINE_EVERY_S:
            return
        shown_at = now
        left_s = (progress.total - progress.done) * sum(work) / len(work) if work else 0.0
        left = f", about {left_s / 60:.0f} min left" if left_s else ""
        line = f"{progress.done}/{progress.total} {progress.label}{left}"[:WIDTH]
        sys.stderr.write(f"\r{line:<{WIDTH}}" if terminal else f"{line}\n")
        if terminal and finished:
            sys.stderr.write("\n")
        sys.stderr.flush()

    return show
