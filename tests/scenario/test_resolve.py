"""Tests of the resolved scenario: base units, defaults, places, on the scenario that uses every key."""

from __future__ import annotations

import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest

from planner.catalog import load_engine, load_gpu, load_model
from planner.catalog.types import AttentionKv
from planner.errors import InputError
from planner.memory.formats import weight_formats
from planner.scenario.resolve import load_scenario
from planner.scenario.traffic import Lengths, Slo
from planner.scenario.types import Adjust, Budget, Guardrail, Parallel, Place, Reserve
from planner.scenario.weights import WEIGHTS

DATA = Path(__file__).parents[1] / "data" / "scenarios"
FULL = load_scenario(DATA / "full.yaml")
SMALL = load_scenario(DATA / "small.yaml")


def test_the_head_of_the_scenario() -> None:
    """Tests name, owner, currency, and that three months are 2,190 hours."""
    assert (FULL.name, FULL.owner, FULL.currency) == ("full-2027q1", "serving-platform", "$")
    assert FULL.horizon_h == 2_190


def test_a_model_keeps_its_choices_in_order() -> None:
    """Tests scalars as fixed and lists as choices, with facts from the catalog."""
    model = FULL.models["assistant"]
    assert model.facts == load_model("llama-3.3-70b-instruct", Path())
    assert model.engine == load_engine("vllm@0.24")
    assert model.weights == ("fp8", "bf16")
    assert model.parallel == (Parallel(2), Parallel(4), Parallel(8))
    assert model.context_limits_tokens == (8_192, 16_384, 32_768)
    assert (model.max_batch_min, model.max_batch_max) == (8, 256)
    assert model.engine_args.gpu_memory_utilization_ppm == 920_000
    assert model.engine_args.max_num_batched_tokens == 8_192
    assert (model.replicas.min, model.replicas.max, model.max_configurations) == (2, None, 2)
    assert FULL.models["summarizer"].weights == ("fp8",)


def test_an_online_class_in_base_units() -> None:
    """Tests rates as fractions, times in microseconds, shares in ppm."""
    chat = FULL.traffic["chat"]
    assert (chat.peak_rps, chat.mean_rps) == (Fraction(18), Fraction(15, 2))
    assert chat.input_tokens == Lengths(((500_000, 900), (950_000, 6_000), (990_000, 14_000)), 30_000)
    assert chat.slo == Slo(ttft_p95_us=800_000, tpot_p95_us=45_000)
    assert (chat.rejected_at_most_ppm, chat.cut_short_at_most_ppm) == (1_000, 5_000)
    assert chat.reusable_prefix_ppm == 350_000
    assert (chat.quality.max_accuracy_drop_ppm, chat.quality.needs_recall) == (10_000, True)


def test_equal_percentiles_are_no_decrease() -> None:
    """Tests that a class whose requests mostly have one length can be written."""
    scenario = load_scenario(DATA / "small.yaml", ["traffic.chat.input_tokens={p50: 512, p99: 512, max: 512}"])
    assert scenario.traffic["chat"].input_tokens == Lengths(((500_000, 512), (990_000, 512)), 512)


def test_a_batch_needs_its_requests_within_its_time() -> None:
    """Tests one batch a day: 200,000 requests in 6 h is 250/27 a second, and 125/54 over the whole day."""
    nightly = FULL.traffic["nightly"]
    assert nightly.peak_rps == Fraction(200_000, 6 * 3_600)
    assert nightly.mean_rps == Fraction(200_000, 24 * 3_600)
    assert nightly.slo == Slo(finish_within_us=6 * 3_600 * 10**6)


def test_pools_and_limits() -> None:
    """Tests stock, prices by GPU and by node ($26.32 over 8 GPUs is $3.29), and a quota."""
    reserved, on_demand, spot = FULL.inventory.values()
    assert (reserved.committed_nodes, reserved.available_nodes) == (5, 0)
    assert (on_demand.committed_nodes, on_demand.available_nodes) == (0, 4)
    assert on_demand.price_micro_per_gpu_h == 3_290_000
    assert on_demand.start_up_us == 480 * 10**6
    assert spot.spot
    assert spot.gpu == load_gpu("l40s-48gb")
    limit = FULL.limits["vcpu-quota"]
    assert (limit.max, limit.per_node) == (Fraction(768), (("h100-on-demand", Fraction(192)),))


def test_reserve_budget_and_guardrails() -> None:
    """Tests the blocks that bound a plan."""
    assert FULL.reserve == Reserve(950_000, 100_000, "p90", 1, 0)
    assert FULL.budget == Budget(95_000_000_000, 60_000_000, 1_200_000)
    assert FULL.guardrails["step"] == Guardrail("step", "change_above", 100_000, "ask finance")
    assert FULL.guardrails["ceiling"] == Guardrail("ceiling", "budget_above", 900_000, "")
    assert FULL.objective == ("cost", "gpus", "quality_loss")
    assert FULL.what_if == ("double-chat", "no-compression")


def test_every_default_that_was_taken_is_named() -> None:
    """Tests the defaults of the language on a file that leaves everything out."""
    defaults = dict(SMALL.defaults)
    assert defaults["reserve.utilization"] == "100%"
    assert defaults["reserve.confidence"] == "p50"
    assert defaults["reserve.spare"] == "{nodes: 0}"
    assert defaults["models.assistant.max_configurations"] == "unlimited"
    assert defaults["models.assistant.max_batch.max"] == "the engine's default"
    assert defaults["traffic.chat.rejected_at_most"] == "0%"
    assert defaults["budget.monthly"] == "no limit"
    assert SMALL.reserve == Reserve()
    assert (SMALL.owner, SMALL.horizon_h) == ("", Fraction(730))


def test_what_was_written_is_not_called_a_default() -> None:
    """Tests that no default stands at a path that the file writes."""
    assert not {path for path, _ in FULL.defaults} & set(FULL.places)
    assert not {path for path, _ in SMALL.defaults} & set(SMALL.places)


def test_places_point_at_the_text() -> None:
    """Tests every place of the full scenario: the text there is the key or the value of its path."""
    lines = (DATA / "full.yaml").read_text().splitlines()
    assert FULL.places["traffic.chat.slo.tpot_p95"] == Place(str(DATA / "full.yaml"), 32, 38)
    assert len(FULL.places) > 100
    for path, place in FULL.places.items():
        rest = lines[place.line - 1][place.col - 1 :]
        key = path.rsplit(".", 1)[-1]
        before = lines[place.line - 1][: place.col - 1].rstrip()
        assert rest.startswith(key) or before.endswith(f"{key}:"), path


def test_places_are_no_part_of_equality() -> None:
    """Tests that the same scenario written elsewhere is the same scenario."""
    assert load_scenario(DATA / "small.yaml") == SMALL
    assert hash(tuple(SMALL.defaults)) == hash(tuple(load_scenario(DATA / "small.yaml").defaults))


def test_loading_is_quick_and_imports_nothing_heavy() -> None:
    """Tests a cold start in a new process: no solver, no arrays, and under a second on a busy machine."""
    code = (
        "import sys; from planner.scenario.resolve import load_scenario; load_scenario(sys.argv[1]);"
        "print([m for m in ('ortools', 'torch', 'pandas', 'scipy', 'numpy') if m in sys.modules])"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, str(DATA / "full.yaml")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert time.perf_counter() - start < 60  # a hang, not a speed


BOUNDED = load_scenario(DATA / "bounded.yaml")


def test_an_adjustment_in_base_units() -> None:
    """Tests 1.5 GiB as bytes and 5 % as ppm, with the source; without the block there is none."""
    assert BOUNDED.models["assistant"].adjust == Adjust(1_610_612_736, 50_000, "bench 2026-11")
    assert SMALL.models["assistant"].adjust is None


def test_the_parts_of_an_adjustment_stand_alone() -> None:
    """Tests GB as powers of 1,000 and that the other part is 0."""
    sets = ["models.assistant.adjust={memory: 3GB/gpu, source: here}"]
    assert load_scenario(DATA / "small.yaml", sets).models["assistant"].adjust == Adjust(3_000_000_000, 0, "here")
    sets = ["models.assistant.adjust={decode_time: 250%, source: here}"]
    assert load_scenario(DATA / "small.yaml", sets).models["assistant"].adjust == Adjust(0, 2_500_000, "here")


def test_a_bounded_model_has_two_ends() -> None:
    """Tests that an unknown architecture is planned at its upper end, with the lower one beside it."""
    model = BOUNDED.models["assistant"]
    assert model.facts is not None and model.low_facts is not None
    assert (model.facts.bound, model.low_facts.bound, model.memory_at) == ("high", "low", "high")
    assert model.memory_facts is model.facts
    windows = [layer.window_tokens for layer in model.low_facts.kv_layers if isinstance(layer, AttentionKv)]
    assert (windows.count(1_024), windows.count(0), model.facts.is_windowed) == (24, 8, False)


def test_bounding_what_is_understood_changes_nothing() -> None:
    """Tests `bound: true` on a known model: the plain facts, and no lower end."""
    model = load_scenario(DATA / "small.yaml", ["models.assistant.bound=true"]).models["assistant"]
    assert (model.facts, model.low_facts) == (load_model("llama-3.1-8b", Path()), None)


def test_an_unknown_architecture_is_offered_its_bound() -> None:
    """Tests the refusal without `bound: true`: by name, with what to write."""
    with pytest.raises(InputError) as caught:
        load_scenario(DATA / "bounded.yaml", ["models.assistant.bound=false"])
    (found,) = caught.value.diagnostics
    assert (found.code, found.line, found.col) == ("KV417", 6, 10)
    assert "'novelformer' is not understood yet" in found.message
    assert found.message.endswith("'bound: true' plans it at the most KV that it may keep")


@pytest.mark.parametrize(
    ("text", "shape", "gpus"),
    [
        ("tp3", Parallel(3), 3),
        ("tp4-pp2", Parallel(4, pp=2), 8),
        ("tp8-dp2-ep", Parallel(8, dp=2, ep=True), 16),
        ("tp8-dcp4", Parallel(8, dcp=4), 8),
        ("tp2-pp3-dp4-dcp2-ep", Parallel(2, 3, 4, 2, True), 24),
    ],
)
def test_every_shape_of_the_grammar_is_read(text: str, shape: Parallel, gpus: int) -> None:
    """Tests shapes that have memory and no latency: the language takes them, GPUs are tp x pp x dp."""
    (read,) = load_scenario(DATA / "small.yaml", [f"models.assistant.parallel={text}"]).models["assistant"].parallel
    assert (read, read.gpus, str(read)) == (shape, gpus, text)


def test_weight_formats_are_those_of_memory() -> None:
    """Tests that the language names every format that has bytes, and no other."""
    assert sorted(WEIGHTS) == sorted(weight_formats())
    for name in WEIGHTS:
        assert load_scenario(DATA / "small.yaml", [f"models.assistant.weights={name}"]).models["assistant"].weights == (
            name,
        )


def test_a_release_without_rules_takes_the_newest_older_ones() -> None:
    """Tests vllm@0.20.1: rules of 0.19, and what was asked for."""
    engine = BOUNDED.models["assistant"].engine
    assert engine is not None
    assert (engine.version, engine.requested, engine.is_inferred) == ("0.19", "vllm@0.20.1", True)
