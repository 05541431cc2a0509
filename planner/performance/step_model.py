"""Ask a provider of latencies by its name."""

from __future__ import annotations

from planner.catalog.types import Bottleneck, Refusal
from planner.performance.provider import ProviderName, StepModel, StepRequest
from planner.performance.roofline.build import roofline
from planner.performance.silicon import silicon


def step_model(request: StepRequest, provider: ProviderName = "roofline") -> StepModel | Refusal:
    """The step times of a replica, or why the provider cannot time it.

    >>> from pathlib import Path
    >>> from planner.catalog import load_engine, load_gpu, load_model
    >>> llama, h100 = load_model("llama-3.1-8b", Path()), load_gpu("h100-sxm-80gb")
    >>> step = step_model(StepRequest(llama, h100, load_engine("vllm@0.24")))
    >>> f"{step.prefill_s(4000) * 1e3:.1f} ms, {float(step.decode_step_s(64, 4250)) * 1e3:.2f} ms"
    '85.7 ms, 19.06 ms'
    """
    if provider == "roofline":
        return roofline(request)
    if provider == "silicon":
        return silicon(request)
    return Refusal(Bottleneck.ENGINE, f"the provider {provider} is not available", nearest="roofline")
