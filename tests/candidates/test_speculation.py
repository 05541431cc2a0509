"""Speculative decoding in candidates: what a step yields, what it costs, and what the draft keeps."""

from dataclasses import replace
from pathlib import Path

import pytest

from planner import pipeline
from planner.candidates.physics import speculation_of, timed_steps
from planner.candidates.settings import memory_of
from planner.candidates.table import build_table
from planner.candidates.types import Setting, Shape
from planner.catalog import load_model
from planner.catalog.parallel import Parallel
from planner.catalog.tensors import draft_tensors
from planner.catalog.types import BF16_KV, AttentionKv, Refusal
from planner.compression.policy import Usable
from planner.memory.weights import weight_bytes
from planner.performance.speculation import Speculation, TokenSteps
from planner.plan.assumptions import assumptions
from planner.scenario.types import ModelSpec, Scenario

FIRST = Path(__file__).resolve().parents[2] / "examples" / "01-first-plan" / "scenario.yaml"
EAGLE = "draft: eagle, draft_tokens: 3, accepted_tokens: 2.4, step_overhead: 10%, memory: 1GiB/gpu, source: a bench"


def load(words: str = "", *, tight: bool = False) -> Scenario:
    """The first example, drafting or not, with its promise or one close to an empty step."""
    sets = [f"models.helpdesk.speculative={{{words}}}"] if words else []
    return pipeline.load(FIRST, [*sets, *(["traffic.questions.slo.tpot_p95=10ms"] if tight else [])])


def memory(model: ModelSpec, gpu):
    """Memory of one GPU at tp1."""
    usable = Usable("bf16", BF16_KV, "auto", 1, False, ())
    found = memory_of(model, Shape(gpu, "bf16", Parallel(), "bf16"), usable, Setting(8_192, 8_192), 64)
    assert not isinstance(found, Refusal)
    return found


def test_kept_tokens_carry_more_under_a_tight_promise() -> None:
    """2.4 tokens a step of 4 checked: where batches must be small, a replica carries more."""
    plain, drafting = build_table(load(tight=True)), build_table(load(EAGLE, tight=True))
    assert min(c.timing.beta_s for c in drafting.candidates) > 2 * min(c.timing.beta_s for c in plain.candidates)
    least = [min(load.gpu_time for c in table.candidates for _, load in c.loads) for table in (plain, drafting)]
    assert least[1] < 0.6 * least[0]
    assert all(c.timing.tokens_per_step == 2.4 and c.timing.draft_tokens == 3 for c in drafting.candidates)


def test_one_kept_token_is_never_better_than_no_draft() -> None:
    """A draft of which next to nothing is kept costs its step and its memory."""
    plain = build_table(load())
    useless = build_table(load(EAGLE.replace("2.4", "1.01")))
    best = [min(load.gpu_time for c in table.candidates for _, load in c.loads) for table in (plain, useless)]
    assert best[1] > best[0]


def test_an_eagle_head_keeps_one_more_layer_and_takes_its_weights() -> None:
    """33 of 32 layers of KV a token, and 1 GiB less for them."""
    (plain,), (drafting,) = (scenario.models.values() for scenario in (load(), load(EAGLE)))
    gpu = next(iter(load().inventory.values())).gpu
    before, after = memory(plain, gpu), memory(drafting, gpu)
    assert after.kv_bytes_per_token * 32 == before.kv_bytes_per_token * 33
    assert after.extra_bytes == 2**30 and before.available_kv_bytes - after.available_kv_bytes == 2**30
    assert after.weights_bytes == before.weights_bytes


def test_prompt_lookup_keeps_nothing_of_its_own() -> None:
    """ngram drafts have no layers and no weights."""
    words = EAGLE.replace("eagle", "ngram").replace("memory: 1GiB/gpu, ", "")
    (plain,), (drafting,) = (scenario.models.values() for scenario in (load(), load(words)))
    gpu = next(iter(load().inventory.values())).gpu
    assert memory(drafting, gpu).kv_bytes_per_token == memory(plain, gpu).kv_bytes_per_token
    assert memory(drafting, gpu).available_kv_bytes == memory(plain, gpu).available_kv_bytes


def test_prediction_layers_are_loaded_while_they_draft() -> None:
    """DeepSeek-V3's module has 11.5 B parameters beyond the shared embedding and head (README_WEIGHTS)."""
    model = load_model("deepseek-v3", Path())
    assert not isinstance(model, str)
    own = sum(t.rows * t.cols * t.copies for t in draft_tensors(model) if t.name != "kv_b_copy")
    assert own == pytest.approx(11.5e9, rel=0.01)
    shape = Parallel(8, ep=True)
    with_drafts, without = (weight_bytes(model, "fp8", shape, drafts=drafts) for drafts in (True, False))
    assert isinstance(with_drafts, int) and isinstance(without, int)
    assert 11.5e9 / 8 < with_drafts - without < 1.2 * 11.5e9 / 8
    last = weight_bytes(model, "fp8", Parallel(8, pp=2, ep=True), stage=1, drafts=True)
    assert isinstance(last, int)


def test_a_step_of_checked_tokens_reads_each_cache_once() -> None:
    """(1 + overhead) STEP(c b, S / c): the attended tokens are those of b sequences, the matrices see c b tokens."""

    class Counting:
        def breakdown(self, batch, context):
            return {"attention": batch * context, "weights": 1000.0 * batch, "overhead": 5.0 * batch}

    step = Speculation(3, 2.4, 0.1).step_s(Counting(), 8, 1_000)
    assert float(step) == pytest.approx(1.1 * (8 * 1_000 + 1000 * 32 + 5 * 8))


@pytest.mark.parametrize(("drafted", "kept"), [(1, 1.5), (1, 2.0), (3, 1.0), (3, 4.0), (7, 3.3)])
def test_variance_of_kept_tokens(drafted: int, kept: float) -> None:
    """Between 0 (none or all are kept) and that of tokens that come all or not at all."""
    variance = Speculation(drafted, kept).token_variance
    assert -1e-9 <= variance <= (kept - 1) * (drafted + 1 - kept) + 1e-9
    if drafted == 1:
        assert variance == pytest.approx((kept - 1) * (2 - kept))


def test_impossible_speculation_is_refused() -> None:
    """No step keeps more tokens than it checks."""
    with pytest.raises(ValueError, match="accepted_tokens"):
        Speculation(1, 2.5)


def test_the_plan_says_what_was_assumed() -> None:
    """Figures of the user stand among the assumptions with their source."""
    (row,) = assumptions(load(EAGLE))
    assert row.path == "models.helpdesk.speculative" and row.source == "a bench"
    assert "2.4 tokens a step of 4" in row.text and "10% longer" in row.text
    (model,) = load(EAGLE).models.values()
    assert speculation_of(model) == Speculation(3, 2.4, 0.1)
    assert speculation_of(replace(model, speculative=None)) == Speculation()
    assert isinstance(model.memory_facts.draft_layers[0], AttentionKv)


def test_steps_cut_to_one_token_carry_the_same() -> None:
    """A token's step times the tokens kept is the step that drafts and checks; a prompt beside it costs as much."""
    scenario = load(EAGLE)
    (model,) = scenario.models.values()
    shape = Shape(scenario.inventory["h100"].gpu, "bf16", Parallel(), "bf16")
    step = timed_steps(model, shape, Usable("bf16", BF16_KV, "auto", 1, False, ()), scenario.performance)
    assert not isinstance(step, Refusal)
    speculation = speculation_of(model)
    cut = TokenSteps(step, speculation)
    whole = float(speculation.step_s(step, 32, 2_000))
    assert float(cut.decode_step_s(32, 2_000)) * 2.4 == pytest.approx(whole, rel=1e-12)
    added = float(cut.mixed_step_s(32, 2_000, 1_024) - cut.decode_step_s(32, 2_000))
    assert added == pytest.approx(float(step.mixed_step_s(128, 500, 1_024) - step.decode_step_s(128, 500)), rel=1e-12)
