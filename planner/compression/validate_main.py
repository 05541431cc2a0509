"""The command behind `python -m planner.compression.validate`: arguments in, evidence file out.

Progress goes to stderr, one line that is rewritten on a terminal and a line a minute elsewhere.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from planner.compression.evidence import CONTROL_LIMIT_PCT, Evidence, to_json
from planner.compression.language_model import ValidationError, default_cache_folder, load_language_model
from planner.compression.texts import TEXT_NAMES, load_text
from planner.compression.validate import TIERS, Progress, validate
from planner.compression.validate_journal import Journal

LINE_EVERY_S = 60.0
WIDTH = 100
FOUND_WITHIN_S = 0.05
"""A piece of work that took less was found in the journal."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one tier; 0 done, 1 something is missing, 130 interrupted (the same command resumes)."""
    options = _parser().parse_args(arguments)
    try:
        evidence = _measure(options)
    except ValidationError as error:
        sys.stderr.write(f"kvplan: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nkvplan: interrupted; the same command resumes from the journal\n")
        return 130
    text = to_json(evidence)
    if options.output is None:
        sys.stdout.write(text)
    else:
        _write_whole(options.output, text)
    for quality in evidence.control:
        if abs(quality.ppl.mean_pct) >= CONTROL_LIMIT_PCT:
            sys.stderr.write(f"kvplan: 16-bit control off by {quality.ppl.mean_pct:+.3f} % ({quality.protocol})\n")
            return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m planner.compression.validate", description=__doc__.split("\n")[0])
    parser.add_argument("--tier", type=int, choices=sorted(TIERS), default=1)
    parser.add_argument("--preset", action="append", default=[], metavar="ID", help="only these presets")
    parser.add_argument("--model", type=Path, help="a GGUF file or a Hugging Face folder")
    parser.add_argument(
        "--text", action="append", default=[], metavar="NAME|FILE", help=f"{', '.join(TEXT_NAMES)} or a file"
    )
    parser.add_argument("--journal", type=Path, help="where finished work is kept")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, help="the evidence file; stdout without it")
    return parser


def _measure(options: argparse.Namespace) -> Evidence:
    import torch

    torch.set_num_threads(options.threads)
    tier = TIERS[options.tier]
    texts = [load_text(name) for name in options.text or tier.texts]
    for text in texts:
        if not text.pin:
            sys.stderr.write(f"kvplan: the text {text.name} has no pinned hash; its own hash goes into the evidence\n")
    model = load_language_model(options.model)
    journal = options.journal or default_cache_folder() / "journals" / f"tier-{options.tier}.jsonl"
    return validate(options.preset, model, texts, options.tier, Journal(journal), progress_line())


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


def _write_whole(path: Path, text: str) -> None:
    """Write through a temporary name, so that no partial file is ever left behind."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    sys.exit(main())
