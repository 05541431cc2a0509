"""The page of the referee: docs/performance-accuracy.md, figures and what was found about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean

from silicon_score import Json, Scored, errors, groups_of, summary_of

COMMAND = "python tests/bench/silicon.py --write docs/performance-accuracy.md"
NAMES = {"vllm": "vLLM", "sglang": "SGLang", "tensorrt-llm": "TensorRT-LLM"}
TARGETS = {("vllm", "dense"): 9, ("sglang", "dense"): 12, ("tensorrt-llm", "dense"): 12}
OTHER_TARGET = 15


def write_page(
    path: Path, scored: dict[str, tuple[list[Scored], Counter[str]]], held_out: set[tuple[str, str]]
) -> None:
    """Write the page of both providers; `scored` is by provider, with the rows left out."""
    roofline, left_out = scored["roofline"]
    silicon = scored["silicon"][0]
    template = (Path(__file__).parent / "silicon_page.md").read_text(encoding="utf-8")
    text = template.format(
        command=COMMAND,
        rows=len(roofline),
        summary=_summary(roofline, silicon, held_out),
        groups=_groups(roofline, silicon, held_out),
        cliff=_cliff(roofline),
        left_out=_bullets(left_out),
        left_out_silicon=_bullets(_short(scored["silicon"][1] - left_out)),
    )
    path.write_text(text, encoding="utf-8")


def _summary(roofline: Sequence[Scored], silicon: Sequence[Scored], held_out: set[tuple[str, str]]) -> str:
    kernels = {(each["engine"], each["kind"], each["half"]): each for each in summary_of(silicon, held_out)}
    lines = []
    for each in summary_of(roofline, held_out):
        key = (str(each["engine"]), str(each["kind"]))
        target = TARGETS.get(key, OTHER_TARGET) if each["half"] == "held out" else ""
        other = kernels.get((*key, each["half"]), {})
        row = (NAMES[key[0]], key[1], each["half"], each["n"], each["tpot_median_ratio"], each["tpot_mape"], target)
        lines.append((*row, each["tpot_p90"], each["ttft_mape"], other.get("n", ""), other.get("tpot_mape", "")))
    head = "engine,models,half,rows,TPOT ratio,MAPE %,target %,p90 %,TTFT MAPE %,silicon rows,silicon TPOT MAPE %"
    return _table(head.split(","), lines)


def _groups(roofline: Sequence[Scored], silicon: Sequence[Scored], held_out: set[tuple[str, str]]) -> str:
    def key(each: Json) -> tuple[object, ...]:
        return tuple(each[name] for name in ("model", "kind", "gpu", "engine", "dtype"))

    kernels = {key(each): each for each in groups_of(silicon, held_out)}
    lines = []
    for each in groups_of(roofline, held_out):
        other = kernels.get(key(each), {})
        figures = [each[name] for name in ("n", "tpot_median_ratio", "tpot_mape", "tpot_p90", "ttft_mape")]
        lines.append((*key(each), "held out" if each["held_out"] else "", *figures, other.get("tpot_mape", "")))
    head = "model,kind,GPU,engine,dtype,half,rows,TPOT ratio,TPOT MAPE %,TPOT p90 %,TTFT MAPE %,silicon TPOT MAPE %"
    return _table(head.split(","), lines)


def _cliff(scored: Iterable[Scored]) -> str:
    """Dense rows whose users wait for the pool, beside the same replica at half the load."""
    waiting = [each for each in scored if each.waits and each.kind == "dense" and each.row.harness == "InferenceX"]
    lines = []
    for each in sorted(waiting, key=lambda each: (each.row.gpu, each.row.engine, each.row.tp, each.row.concurrency)):
        row = each.row
        replica = f"{row.model} {row.weights} {row.parallel}"
        asked = f"{row.input_tokens:,} in, {row.output_tokens:,} out"
        lines.append(
            (
                row.gpu,
                NAMES[row.engine.partition("@")[0]],
                replica,
                asked,
                row.concurrency,
                each.running,
                f"{row.ttft_s:.1f}",
                f"{each.ttft_s:.1f}",
                f"{_tokens_per_s(row.concurrency, row.ttft_s, row.tpot_s, row.output_tokens):,.0f}",
                f"{_tokens_per_s(row.concurrency, each.ttft_s, each.tpot_s, row.output_tokens):,.0f}",
            )
        )
    head = "GPU,engine,replica,requests,users,room for,TTFT s measured,predicted,tokens/s measured,predicted"
    return _table(head.split(","), lines) + f"\n\n{_cliff_error(waiting)}"


def _cliff_error(waiting: Sequence[Scored]) -> str:
    ratios = [
        _tokens_per_s(each.row.concurrency, each.ttft_s, each.tpot_s, each.row.output_tokens)
        / _tokens_per_s(each.row.concurrency, each.row.ttft_s, each.row.tpot_s, each.row.output_tokens)
        for each in waiting
    ]
    error = mean(abs(ratio - 1) for ratio in ratios) * 100
    tpot = errors(waiting)["tpot_mape"]
    return f"Mean error of throughput on these {len(ratios)} rows: {error:.0f} %; of TPOT: {tpot} %."


def _tokens_per_s(users: int, ttft_s: float, tpot_s: float, output_tokens: int) -> float:
    """Little's law: users / (TTFT + gaps x TPOT) requests a second."""
    return users * output_tokens / (ttft_s + (output_tokens - 1) * tpot_s)


def _short(reasons: Counter[str]) -> Counter[str]:
    """Refusals without the model and the shape, added up."""
    short: Counter[str] = Counter()
    for reason, count in reasons.items():
        kind = "the tables of the package lack a kernel" if "no kernels for" in reason else reason
        short[kind] += count
    return short


def _bullets(reasons: Counter[str]) -> str:
    return "\n".join(f"- {count:,}: {reason}" for reason, count in reasons.most_common())


def _table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    rule = ["---" if index < 3 else "---:" for index in range(len(head))]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in (head, rule, *lines))
