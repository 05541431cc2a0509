"""The pages of `kvplan kv` that test_kv_pages.py compares: `python tests/report/kv_goldens.py` renews them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("golden_kv")
LOGGED = {"engine": "vllm@0.19", "available-kv": "61.66GiB", "max-model-len": "8192"}
WINDOWS = {"engine": "vllm@0.24", "gpu": "h100-sxm-80gb", "context": "4Ki,32Ki", "batch": "1,8"}
WIDE = {"engine": "vllm@0.24", "gpu": "h100-sxm-80gb", "parallel": "tp4-pp2", "weights": "bf16", "context": "8Ki"}


def pages() -> Iterator[tuple[str, str]]:
    """(file name, page) of every golden."""
    from planner.calculator.curve import kv_curve
    from planner.calculator.fits import fits
    from planner.calculator.inputs import Inputs, look_up
    from planner.calculator.kv import answer
    from planner.calculator.published import published_tables
    from planner.calculator.query import read_query
    from planner.report.curve_svg import curve_svg
    from planner.report.curve_text import curve_text
    from planner.report.kv import kv_text
    from planner.report.kv_curve import curve_of
    from planner.report.kv_explain import explain_text
    from planner.report.kv_fits import fits_text
    from planner.report.kv_published import published_text

    def asked(model: str, flags: dict[str, str]) -> Inputs:
        query, mistakes = read_query(flags, model=model)
        found = look_up(query)
        assert not mistakes and isinstance(found, Inputs)
        return found

    logged, windows, wide = asked("codellama-7b", LOGGED), asked("gemma-3-27b", WINDOWS), asked("llama-3.1-70b", WIDE)
    yield "kv-logged.txt", kv_text(answer(logged))
    yield "kv-windows.txt", kv_text(answer(windows))
    yield "kv-windows-60.txt", kv_text(answer(windows), 60)
    yield "kv-wide.txt", kv_text(answer(wide))
    yield "kv-explain.txt", explain_text(answer(windows))
    yield "kv-explain-wide.txt", explain_text(answer(wide))
    h100 = {"gpu": "h100-sxm-80gb", "engine": "vllm@0.24", "context": "8Ki,32Ki"}
    yield "kv-fits.txt", fits_text(fits(asked("llama-3.1-70b", h100)))
    curve = curve_of(kv_curve(asked("gemma-3-27b", {"gpu": "h100-sxm-80gb", "engine": "vllm@0.24"})))
    yield "kv-curve.txt", curve_text(curve)
    yield "kv-curve.svg", curve_svg(curve)
    yield "kv-published.txt", published_text(published_tables())


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    for name, text in pages():
        GOLDEN.joinpath(name).write_text(text, encoding="utf-8")
