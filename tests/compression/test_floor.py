"""Quality floors: each is met by rows of its own metric only, and the worst admitted row decides."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.catalog.types import Bottleneck
from planner.compression.policy import UNKNOWN_LOSS_PPM, FloorVerdict, floor, percent
from planner.compression.table import Preset, QualityRow, load_presets, preset_ids
from planner.scenario.traffic import QualityFloor
from planner.scenario.types import CompressionPolicy

SUPPORTED = CompressionPolicy()
PUBLISHED = CompressionPolicy(policy="allow_published")
PROXY = CompressionPolicy(policy="allow_published", allow_proxy=True)
LLAMA = "llama-3.3-70b-instruct"
NO_FLOOR = QualityFloor()


def drop(ppm: int, needs_recall: bool = False) -> QualityFloor:
    """A floor on the accuracy drop."""
    return QualityFloor(max_accuracy_drop_ppm=ppm, needs_recall=needs_recall)


def verdict(
    preset_id: str, wanted: QualityFloor, model_id: str = LLAMA, policy: CompressionPolicy = SUPPORTED
) -> FloorVerdict:
    """A preset of the table against a floor."""
    return floor(load_presets()[preset_id], wanted, model_id=model_id, policy=policy)


def message(found: FloorVerdict) -> str:
    """The words of a refusal."""
    assert found.refusal is not None and not found.ok
    assert found.refusal.bottleneck is Bottleneck.QUALITY
    return found.refusal.message


def row(value_ppm: int, **rest: object) -> QualityRow:
    """An accuracy row of another model, published by the engine's maintainers."""
    base = QualityRow("accuracy_drop", value_ppm, "another", "a task", "published_by_engine", "s", "f")
    return replace(base, **rest)


def with_rows(*rows: QualityRow) -> Preset:
    """fp8 with other quality rows."""
    return replace(load_presets()["fp8"], quality=rows)


def test_16_bit_kv_meets_every_floor() -> None:
    """bf16 has loss 0, no flag, and meets a floor of 0 on every metric with recall."""
    found = verdict("bf16", QualityFloor(0, 0, True))
    assert (found.ok, found.loss_ppm, found.loss_flag, found.refusal) == (True, 0, None, None)


def test_fp8_on_llama_70b_rests_on_its_own_row() -> None:
    """vLLM's MRCR recovery of 97-98 % on Llama-3.3-70B decides: refused at 1 %, met at the offered 3 %."""
    refused = verdict("fp8", drop(10_000))
    assert message(refused) == "fp8@vllm-0.19: accuracy drop up to 3% on MRCR AUC up to 128k (floor 1%)"
    assert refused.refusal is not None and refused.refusal.nearest == "max_accuracy_drop: 3%"
    met = verdict("fp8", drop(30_000))
    assert (met.ok, met.loss_ppm, met.loss_flag) == (True, 30_000, None)


def test_fp8_on_a_model_without_rows_rests_on_other_models() -> None:
    """Qwen3-32B has no row: the worst engine row of another model (97 % on GPQA) decides, flagged."""
    refused = verdict("fp8", drop(10_000), "qwen3-32b")
    assert "3%" in message(refused) and "other-model evidence" in message(refused)
    met = verdict("fp8", drop(30_000), "qwen3-32b")
    assert (met.ok, met.loss_ppm, met.loss_flag) == (True, 30_000, "other-model")
    assert any(text.endswith("evidence: other-model") for text in met.evidence)


def test_rows_of_the_same_model_go_before_others() -> None:
    """MiniMax-M2.7 recovered more than 99 %: a floor of 1 % is met there, whatever other models lost."""
    assert verdict("fp8", drop(10_000), "minimax-m2.7").ok
    assert not verdict("fp8", drop(9_999), "minimax-m2.7").ok


def test_rows_within_their_own_noise_are_shown_but_never_count() -> None:
    """MRCR 45.8 -> 43.1 lies within the standard deviation: listed as not counted, it breaks nothing."""
    found = verdict("fp8", drop(30_000), "qwen3-30b-a3b-instruct-2507")
    assert found.ok
    assert sum("not counted, within its own noise" in text for text in found.evidence) == 2
    only_noise = floor(with_rows(row(0, within_noise=True)), drop(0), model_id=LLAMA, policy=SUPPORTED)
    assert not only_noise.ok


def test_a_score_certifies_no_less_than_its_noise() -> None:
    """int8's GSM8K 0.956 -> 0.956 at 2 points of noise vouches for 2.0921 %, not for 0."""
    assert not verdict("int8-per-token-head", drop(20_920), policy=PUBLISHED).ok
    assert verdict("int8-per-token-head", drop(20_921), policy=PUBLISHED).ok


def test_rows_of_others_need_allow_published() -> None:
    """A figure from a pull-request comment meets no floor under `supported`; the refusal says what would."""
    refused = verdict("int8-per-token-head", drop(100_000))
    assert message(refused) == (
        "int8-per-token-head@vllm-0.24: no accuracy drop was published that policy supported admits (floor 10%)"
    )
    assert refused.refusal is not None
    assert refused.refusal.nearest == "compression.policy: allow_published"
    assert verdict("int8-per-token-head", drop(100_000), policy=PUBLISHED).ok


def test_perplexity_never_satisfies_accuracy_nor_the_reverse() -> None:
    """TurboQuant k8v4 has +1.17 % perplexity and at most 2 % accuracy drop: each floor sees its own."""
    assert verdict("turboquant-k8v4", QualityFloor(max_ppl_increase_ppm=11_700)).ok
    assert not verdict("turboquant-k8v4", QualityFloor(max_ppl_increase_ppm=11_699)).ok
    assert not verdict("turboquant-k8v4", drop(11_700)).ok
    assert verdict("turboquant-k8v4", drop(20_000)).ok
    assert "no perplexity increase" in message(verdict("fp8", QualityFloor(max_ppl_increase_ppm=900_000)))


def test_both_floors_are_named_when_both_fail() -> None:
    """A preset that fails on accuracy and perplexity says both, with both values that would do."""
    found = verdict("turboquant-4bit-nc", QualityFloor(10_000, 10_000))
    assert "accuracy drop 7.642%" in message(found) and "perplexity increase 2.71%" in message(found)
    assert found.refusal is not None
    assert found.refusal.nearest == "max_accuracy_drop: 7.642%, max_ppl_increase: 2.71%"


def test_recall_forbids_eviction_without_a_recall_measurement() -> None:
    """NexusQuant evicts and never had its recall measured; presets that do not evict are untouched."""
    recall = QualityFloor(needs_recall=True)
    assert "recall was never measured" in message(verdict("nexusquant-high", recall))
    assert verdict("fp8", recall).ok
    measured = replace(load_presets()["nexusquant-high"], recall_measured=True)
    assert floor(measured, recall, model_id=LLAMA, policy=SUPPORTED).ok


def test_without_a_floor_the_loss_is_still_counted() -> None:
    """No floor: always met; the loss and its flag say what it rests on."""
    expected = {
        "fp8": (30_000, None),
        "fp8-e5m2": (35_714, "other-model"),
        "int8-per-token-head": (20_921, "not admitted, published other-model"),
        "turboquant-k8v4": (20_000, "other-model"),
        "nexusquant-max": (26_000, "not admitted perplexity, published other-model"),
        "kivi-2bit": (UNKNOWN_LOSS_PPM, "no evidence"),
    }
    found = {preset_id: verdict(preset_id, NO_FLOOR) for preset_id in expected}
    assert all(each.ok for each in found.values())
    assert {key: (each.loss_ppm, each.loss_flag) for key, each in found.items()} == expected


def test_perplexity_stands_in_for_the_loss_only_with_a_flag() -> None:
    """Without an accuracy row the worst perplexity increase is the loss, flagged."""
    preset = with_rows(row(5_000, metric="ppl_increase"), row(7_000, metric="ppl_increase"))
    found = floor(preset, NO_FLOOR, model_id=LLAMA, policy=SUPPORTED)
    assert (found.loss_ppm, found.loss_flag) == (7_000, "perplexity, other-model")


def test_proxies_need_allow_proxy() -> None:
    """A measurement on a small model meets a floor only under allow_proxy, flagged."""
    preset = with_rows(row(5_000, kind="measured", model="smollm2-135m"))
    assert not floor(preset, drop(10_000), model_id=LLAMA, policy=PUBLISHED).ok
    found = floor(preset, drop(10_000), model_id=LLAMA, policy=PROXY)
    assert (found.ok, found.loss_flag) == (True, "proxy")
    assert floor(preset, drop(10_000), model_id="smollm2-135m", policy=SUPPORTED).loss_flag is None


@pytest.mark.parametrize(("ppm", "text"), [(0, "0%"), (10_000, "1%"), (20_921, "2.0921%"), (1, "0.0001%")])
def test_percent_is_exact(ppm: int, text: str) -> None:
    """What a refusal offers is exactly the value that passes."""
    assert percent(ppm) == text


rows = st.lists(
    st.builds(
        QualityRow,
        metric=st.sampled_from(["accuracy_drop", "ppl_increase"]),
        value_ppm=st.integers(0, 500_000),
        model=st.sampled_from([LLAMA, "another"]),
        task=st.just("t"),
        kind=st.sampled_from(["published_by_engine", "published", "measured", "proxy"]),
        source=st.just("s"),
        figures=st.just("f"),
        noise_ppm=st.integers(0, 50_000),
        within_noise=st.booleans(),
    ),
    max_size=6,
)
limits = st.none() | st.integers(0, 600_000)


def looser(limit: int | None, by: int) -> int | None:
    """A floor that demands less, or none."""
    return None if limit is None else limit + by


@given(rows=rows, accuracy=limits, perplexity=limits, more=st.integers(0, 300_000), recall=st.booleans())
def test_a_looser_floor_never_excludes(
    rows: list[QualityRow], accuracy: int | None, perplexity: int | None, more: int, recall: bool
) -> None:
    """What meets a tighter floor meets every looser one, and costs the same loss."""
    preset = with_rows(*rows)
    tight = floor(preset, QualityFloor(accuracy, perplexity, recall), model_id=LLAMA, policy=SUPPORTED)
    loose_floor = QualityFloor(looser(accuracy, more), looser(perplexity, more), False)
    loose = floor(preset, loose_floor, model_id=LLAMA, policy=SUPPORTED)
    assert loose.ok or not tight.ok
    assert loose.loss_ppm == tight.loss_ppm


@given(rows=rows, accuracy=limits, perplexity=limits)
def test_a_wider_policy_never_excludes(rows: list[QualityRow], accuracy: int | None, perplexity: int | None) -> None:
    """What `supported` admits, `allow_published` admits, and so does `allow_proxy` on top."""
    wanted = QualityFloor(accuracy, perplexity)
    found = [floor(with_rows(*rows), wanted, model_id=LLAMA, policy=each).ok for each in (SUPPORTED, PUBLISHED, PROXY)]
    assert found == sorted(found)


@given(rows=rows, accuracy=st.integers(0, 600_000), policy=st.sampled_from([SUPPORTED, PUBLISHED, PROXY]))
def test_the_offered_floor_is_met(rows: list[QualityRow], accuracy: int, policy: CompressionPolicy) -> None:
    """A refusal that offers a floor offers the smallest one that is met."""
    preset = with_rows(*rows)
    found = floor(preset, drop(accuracy), model_id=LLAMA, policy=policy)
    if found.refusal is not None and "max_accuracy_drop" in (found.refusal.nearest or ""):
        assert floor(preset, drop(found.loss_ppm), model_id=LLAMA, policy=policy).ok
        assert not floor(preset, drop(found.loss_ppm - 1), model_id=LLAMA, policy=policy).ok
        assert found.refusal.nearest == f"max_accuracy_drop: {percent(found.loss_ppm)}"


@given(preset_id=st.sampled_from(preset_ids()), accuracy=limits, perplexity=limits)
def test_the_loss_is_a_share(preset_id: str, accuracy: int | None, perplexity: int | None) -> None:
    """Every loss lies between 0 and 100 %, and refused verdicts have a reason."""
    found = verdict(preset_id, QualityFloor(accuracy, perplexity, True))
    assert 0 <= found.loss_ppm <= UNKNOWN_LOSS_PPM
    assert (found.refusal is None) is found.ok
