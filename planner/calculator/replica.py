"""A replica ready to be asked for its latency: step times, users, what lets how many of them run at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from planner.calculator.inputs import Inputs
from planner.calculator.kv import figures_or_raise, setting_of
from planner.calculator.latency_query import DEFAULT_BATCHES, LatencyQuery
from planner.calculator.types import Budget, Taken
from planner.catalog.types import Bottleneck, Refusal
from planner.errors import Diagnostic, InputError
from planner.performance.closed_loop import ClosedLoop, Limits, Users, closed_loop
from planner.performance.provider import StepModel, StepRequest
from planner.performance.speculation import Speculation
from planner.performance.step_model import step_model
from planner.units import PPM, format_ppm

SIXTEEN_BIT_BYTES = Fraction(2)

REFUSED = {
    Bottleneck.GPU: "--gpu",
    Bottleneck.PARALLEL: "--parallel",
    Bottleneck.ENGINE: "--engine",
}
"""Which flag to change where no provider times the replica; anything else lies with the model."""


@dataclass(frozen=True)
class Replica:
    """A replica ready to be asked: its step times, its users, its limits."""

    model_id: str
    step: StepModel
    users: Users
    limits: Limits
    defaults: tuple[Taken, ...]
    warnings: tuple[str, ...]
    misfit: str

    def loop(self, count: int, ttft_factor: float = 1.0) -> ClosedLoop:
        """The steady state with so many users."""
        return closed_loop(self.step, self.users, self.limits, count, ttft_factor)


def replica_of(query: LatencyQuery, inputs: Inputs) -> Replica:
    """The replica of a question.

    Raises:
        InputError: as `latency`.
    """
    assert inputs.gpu is not None  # the question names one
    setting, taken, warnings = setting_of(inputs)
    if inputs.engine.reserves_answers:
        setting = replace(setting, contexts_tokens=(query.input_tokens + query.output_tokens,))
    found = figures_or_raise(inputs.model, setting)
    step = step_model(request_of(inputs), query.provider)
    if isinstance(step, Refusal):
        nearest = f"; nearest: {step.nearest}" if step.nearest else ""
        flag = "--provider" if step.nearest == "roofline" else REFUSED.get(step.bottleneck, "MODEL")
        raise InputError([Diagnostic(flag, 0, 0, "KV970", step.message + nearest)])
    per_rank, ranks = found.rows[0].fitting_sequences, inputs.shape.dp
    limits = Limits(
        max_num_batched_tokens=setting.max_num_batched_tokens * ranks,
        max_num_seqs=None if setting.max_num_seqs is None else setting.max_num_seqs * ranks,
        pool_sequences=per_rank * ranks if per_rank else None,
    )
    misfit = found.budget.message if isinstance(found.budget, Refusal) else ""
    if isinstance(found.budget, Budget) and per_rank == 0:
        misfit = "the KV pool does not hold one such request"
    return Replica(
        model_id=inputs.model.id,
        step=step,
        users=_users(query),
        limits=limits,
        defaults=(*taken, *_defaults(query)),
        warnings=(*warnings, *_warnings(query, setting.max_model_len)),
        misfit=misfit,
    )


def request_of(inputs: Inputs) -> StepRequest:
    """The replica as providers take it. KV without measured kernels is timed as 16-bit KV: no gain unpublished."""
    assert inputs.gpu is not None
    stored = Fraction(max(inputs.storage.kv.k_bits, inputs.storage.kv.v_bits), 8)
    return StepRequest(
        model=inputs.model,
        gpu=inputs.gpu,
        engine=inputs.engine,
        shape=inputs.shape,
        weights=inputs.weights,
        kv_dtype=inputs.storage.flag,
        kv_bytes_per_element=max(SIXTEEN_BIT_BYTES, stored),
        decode_time_factor=inputs.storage.decode_time_factor,
    )


def _users(query: LatencyQuery) -> Users:
    return Users(
        input_tokens=query.input_tokens,
        output_tokens=query.output_tokens,
        cached_tokens=query.input_tokens * query.prefix_hits_ppm // PPM,
        speculation=Speculation(
            query.kv.speculative_tokens, float(query.accepted_tokens), query.step_overhead_ppm / PPM
        ),
    )


def _defaults(query: LatencyQuery) -> list[Taken]:
    taken = []
    if query.kv.batches == DEFAULT_BATCHES:
        taken.append(Taken("--batch", ",".join(map(str, DEFAULT_BATCHES)), "common sizes"))
    if query.accepted_tokens > 1 and query.kv.speculative_tokens + 1 == -(-query.accepted_tokens // 1):
        words = f"the fewest drafts that can yield {float(query.accepted_tokens):g}"
        taken.append(Taken("--speculative-tokens", str(query.kv.speculative_tokens), words))
    if query.accepted_tokens > 1 and not query.step_overhead_ppm:
        taken.append(Taken("--step-overhead", "0%", "the draft's own time is not counted"))
    return taken


def _warnings(query: LatencyQuery, max_model_len: int) -> list[str]:
    longest = query.input_tokens + query.output_tokens
    found = []
    if longest > max_model_len:
        found.append(f"{longest:,} tokens of one request are above --max-model-len {max_model_len:,}: it is refused")
    if query.prefix_hits_ppm:
        share = format_ppm(query.prefix_hits_ppm)
        found.append(f"prefix hits of {share} save prefill only; every request is charged its whole KV")
    return found
