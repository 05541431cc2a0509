"""The answer to one question: rows of KV bytes, and where a GPU's memory goes until the pool is left.

Every figure is for one GPU, the rank that holds most, unless its name says otherwise. What depends on the
model's facts is computed once, or twice where an architecture is only bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from planner.calculator.budget import Weights
from planner.calculator.figures import Setting, figures
from planner.calculator.inputs import Inputs, look_up
from planner.calculator.query import KvQuery
from planner.calculator.types import Figures, KvAnswer, Row, Taken
from planner.catalog.gpus import load_gpu
from planner.catalog.types import Bottleneck, ModelFacts, Refusal
from planner.errors import Diagnostic, InputError
from planner.memory.overhead import default_max_num_batched_tokens, default_max_num_seqs
from planner.units import format_ppm

DEFAULT_CONTEXTS_TOKENS = (4_096, 32_768, 131_072)
DEFAULT_BATCHES = (1,)

STAND_IN_GPU = "h100-sxm-80gb"
"""Whose default of batched tokens counts while no GPU is named: windows keep what is in flight, so more is safer."""

REFUSED = {Bottleneck.PARALLEL: ("--parallel", "KV503"), Bottleneck.ENGINE: ("--weights", "KV502")}
"""Which flag to change, and the code of the mistake; anything else lies with the model."""


def kv_answer(query: KvQuery) -> KvAnswer:
    """Answers a question.

    Raises:
        InputError: names that have no facts, a shape that does not divide the model, a KV dtype that it cannot
        have: every such mistake at once.
    """
    inputs = look_up(query)
    if not isinstance(inputs, Inputs):
        raise InputError(inputs)
    return answer(inputs)


def answer(inputs: Inputs) -> KvAnswer:
    """Answers a question whose names are looked up.

    Raises:
        InputError: the shape or the storage does not go with the model.
    """
    setting, taken, warnings = setting_of(inputs)
    upper = figures_or_raise(inputs.model, setting)
    lower = None if inputs.low is None else figures_or_raise(inputs.low, setting)
    if lower is not None:
        lower, upper = _ordered(lower, upper)
    return KvAnswer(
        model=inputs.model,
        engine=inputs.engine,
        gpu=inputs.gpu,
        shape=inputs.shape,
        kv_dtype=inputs.storage.flag,
        preset=inputs.storage.preset,
        weights=inputs.weights,
        max_model_len=setting.max_model_len,
        max_num_batched_tokens=setting.max_num_batched_tokens,
        max_num_seqs=setting.max_num_seqs,
        utilization_ppm=setting.utilization_ppm or inputs.engine.utilization_ppm or None,
        figures=upper,
        low=lower,
        defaults=taken,
        warnings=warnings,
    )


def _ordered(low: Figures, high: Figures) -> tuple[Figures, Figures]:
    """Rows as true intervals: padding can charge short sequences more for windows than for full attention."""
    pairs = [
        (each, other) if each.reserved_bytes <= other.reserved_bytes else (other, each)
        for each, other in zip(low.rows, high.rows, strict=True)
    ]
    lows = tuple(
        replace(one, logical_bytes=row.logical_bytes, fitting_sequences=_extreme(max, one, two))
        for (one, two), row in zip(pairs, low.rows, strict=True)
    )
    highs = tuple(
        replace(two, logical_bytes=row.logical_bytes, fitting_sequences=_extreme(min, one, two))
        for (one, two), row in zip(pairs, high.rows, strict=True)
    )
    return replace(low, rows=lows), replace(high, rows=highs)


def _extreme(pick: Callable[[int, int], int], one: Row, two: Row) -> int | None:
    if one.fitting_sequences is None or two.fitting_sequences is None:
        return None
    return pick(one.fitting_sequences, two.fitting_sequences)


def figures_or_raise(model: ModelFacts, setting: Setting) -> Figures:
    """All figures of a model.

    Raises:
        InputError: the shape or the storage does not go with the model.
    """
    found = figures(model, setting)
    if isinstance(found, Refusal):
        flag, code = REFUSED.get(found.bottleneck, ("MODEL", "KV417"))
        nearest = f"; nearest: {found.nearest}" if found.nearest else ""
        raise InputError([Diagnostic(flag, 0, 0, code, found.message + nearest)])
    return found


def setting_of(inputs: Inputs) -> tuple[Setting, tuple[Taken, ...], tuple[str, ...]]:
    """Everything but the model, with the engine's defaults filled in; those defaults, and words of caution."""
    taken, warnings = list(inputs.defaults), list(inputs.storage.warnings)
    setting = _setting(inputs, taken, warnings)
    warnings += _idle(inputs)
    return setting, tuple(taken), tuple(dict.fromkeys(warnings))


def _setting(inputs: Inputs, taken: list[Taken], warnings: list[str]) -> Setting:
    query = inputs.query
    contexts = query.contexts_tokens or _default_contexts(inputs.model, query.max_model_len, taken)
    if not query.batches:
        taken.append(Taken("--batch", "1", "one sequence"))
    max_model_len = query.max_model_len or _default_max_model_len(inputs.model, contexts, taken)
    _too_long(inputs.model, contexts, query.max_model_len, warnings)
    if query.max_model_len and max(contexts) > max_model_len:
        longer = ", ".join(_tokens(each) for each in contexts if each > max_model_len)
        warnings.append(f"{longer}: above --max-model-len {_tokens(max_model_len)}, the engine refuses such requests")
    budgeted = inputs.gpu is not None and query.available_kv_bytes is None
    if budgeted and query.utilization_ppm is None and inputs.engine.utilization_ppm:
        share = format_ppm(inputs.engine.utilization_ppm)
        taken.append(Taken("--gpu-memory-utilization", share, f"{inputs.engine.name} {inputs.engine.version}"))
    return Setting(
        engine=inputs.engine,
        gpu=inputs.gpu,
        storage=inputs.storage.kv,
        kv_dtype=inputs.storage.flag,
        weights=Weights(inputs.weights, query.weights_bytes, inputs.checkpoint),
        shape=inputs.shape,
        contexts_tokens=contexts,
        batches=query.batches or DEFAULT_BATCHES,
        max_model_len=max_model_len,
        max_num_batched_tokens=_batched_tokens(inputs, taken),
        max_num_seqs=_sequences(inputs, taken),
        utilization_ppm=query.utilization_ppm,
        speculative_tokens=query.speculative_tokens,
        recurrent_blocks=query.recurrent_blocks,
        hybrid_manager=query.hybrid_manager,
        block_tokens=query.block_tokens,
        available_kv_bytes=query.available_kv_bytes,
    )


def _idle(inputs: Inputs) -> list[str]:
    """Flags that were given and change nothing here."""
    query, model = inputs.query, inputs.model
    of_budget: dict[str, object] = {
        "--gpu-memory-utilization": query.utilization_ppm,
        "--weights": query.weights,
        "--weights-gib": query.weights_bytes,
        "--max-num-seqs": query.max_num_seqs,
    }
    of_states: dict[str, object] = {
        "--mamba-cache": query.recurrent_blocks,
        "--mamba-ssm-cache-dtype": query.state_element_bytes,
    }
    found = []
    if query.available_kv_bytes is not None or inputs.gpu is None:
        why = "--available-kv skips the budget" if query.available_kv_bytes else "without --gpu there is no budget"
        found.append((of_budget, why))
    if not model.has_state:
        found.append((of_states, f"{model.id} has no recurrent layers"))
    if not query.hybrid_manager and (inputs.engine.name != "vllm" or not model.is_windowed):
        why = f"{model.id} has no windows" if inputs.engine.name == "vllm" else f"{inputs.engine.name} has no such flag"
        found.append(({"--disable-hybrid-kv-cache-manager": True}, why))
    named = [(", ".join(flag for flag, value in flags.items() if value is not None), why) for flags, why in found]
    return [f"{flags}: no effect, {why}" for flags, why in named if flags]


def _default_contexts(model: ModelFacts, max_model_len: int | None, taken: list[Taken]) -> tuple[int, ...]:
    """4Ki, 32Ki and 128Ki, cut at the longest context that is admitted."""
    most = max_model_len or model.max_context_tokens or DEFAULT_CONTEXTS_TOKENS[-1]
    contexts = tuple(dict.fromkeys(min(each, most) for each in DEFAULT_CONTEXTS_TOKENS))
    whose = "--max-model-len" if max_model_len else "the model's"
    why = f"cut at {whose} {_tokens(most)}" if contexts != DEFAULT_CONTEXTS_TOKENS else "common lengths"
    taken.append(Taken("--context", ",".join(map(_tokens, contexts)), why))
    return contexts


def _default_max_model_len(model: ModelFacts, contexts: tuple[int, ...], taken: list[Taken]) -> int:
    most = model.max_context_tokens
    why = "the model's own maximum" if most else "the longest context asked, since the config states no maximum"
    length = most or max(contexts)
    taken.append(Taken("--max-model-len", _tokens(length), why))
    return length


def _too_long(model: ModelFacts, contexts: tuple[int, ...], max_model_len: int | None, warnings: list[str]) -> None:
    """Lengths that the model was not made for are computed all the same, and said."""
    most = model.max_context_tokens
    longer = [each for each in dict.fromkeys((*contexts, max_model_len or 0)) if most and each > most]
    if longer:
        lengths = ", ".join(_tokens(each) for each in longer)
        warnings.append(f"{lengths}: above the {_tokens(most)} of {model.id}; the engine refuses it unless overridden")


def _batched_tokens(inputs: Inputs, taken: list[Taken]) -> int:
    query = inputs.query
    if query.max_num_batched_tokens is not None:
        return query.max_num_batched_tokens
    gpu = inputs.gpu or load_gpu(STAND_IN_GPU)
    assert gpu is not None  # the catalog has it
    tokens = default_max_num_batched_tokens(gpu, inputs.engine)
    why = f"{inputs.engine.name} on {gpu.id}" + ("" if inputs.gpu else ", as no GPU is named")
    taken.append(Taken("--max-num-batched-tokens", f"{tokens:,}", why))
    return tokens


def _sequences(inputs: Inputs, taken: list[Taken]) -> int | None:
    """max_num_seqs: as asked, the engine's default for the GPU, or unknown without a GPU."""
    if inputs.query.max_num_seqs is not None or inputs.gpu is None:
        return inputs.query.max_num_seqs
    sequences = default_max_num_seqs(inputs.gpu, inputs.engine)
    taken.append(Taken("--max-num-seqs", f"{sequences:,}", f"{inputs.engine.name} on {inputs.gpu.id}"))
    return sequences


def _tokens(count: int) -> str:
    return f"{count // 1024}Ki" if count and count % 1024 == 0 else f"{count:,}"
