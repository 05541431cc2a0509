"""Tests of layers: extends, what_if blocks and --set."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.errors import InputError
from planner.scenario.resolve import load_scenario
from planner.scenario.types import Place, Scenario

SMALL = Path(__file__).parents[1] / "data" / "scenarios" / "small.yaml"
FULL = Path(__file__).parents[1] / "data" / "scenarios" / "full.yaml"


def mistakes(path: Path, sets: tuple[str, ...] = (), what_if: tuple[str, ...] = ()) -> list[str]:
    """`line: code` of every diagnostic."""
    with pytest.raises(InputError) as caught:
        load_scenario(path, sets, what_if)
    return [f"{Path(item.file).name}:{item.line}: {item.code}" for item in caught.value.diagnostics]


def test_extends_merges_maps_and_replaces_lists(tmp_path: Path) -> None:
    """Tests a child that changes one rate and one list, with places in the file that wrote each value."""
    base = tmp_path / "base.yaml"
    base.write_text(SMALL.read_text().replace("weights: bf16", "weights: [bf16, fp8]"))
    child = tmp_path / "sub" / "child.yaml"
    child.parent.mkdir()
    child.write_text(
        "extends: ../base.yaml\nname: child\ntraffic:\n  chat: {peak: 9 req/s}\nmodels: {assistant: {weights: [fp8]}}\n"
    )
    scenario = load_scenario(child)
    assert scenario.name == "child"
    assert scenario.traffic["chat"].peak_rps == 9
    assert scenario.traffic["chat"].mean_rps == 2
    assert scenario.models["assistant"].weights == ("fp8",)
    assert scenario.places["traffic.chat.peak"] == Place(str(child), 4, 16)
    mean = scenario.places["traffic.chat.mean"]
    assert (Path(mean.file).resolve(), mean.line) == (base, 15)


def test_a_path_counts_from_the_file_that_names_it(tmp_path: Path) -> None:
    """Tests that a table named by the parent is found beside the parent."""
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "t.csv").write_text("gpu,class,requests_per_s\n")
    text = "kvplan: 1\nname: t\nmodels: {m: {capacity_table: t.csv}}\ntraffic: {c: {model: m, peak: 3 req/s}}\n"
    pool = "{gpu: l40s-48gb, region: r, available: 1 node, gpus_per_node: 1, price: $1/gpu/h, source: s}"
    (tmp_path / "tables" / "base.yaml").write_text(text + f"inventory: {{p: {pool}}}\n")
    (tmp_path / "child.yaml").write_text("extends: tables/base.yaml\n")
    scenario = load_scenario(tmp_path / "child.yaml")
    assert scenario.models["m"].capacity_path == str(tmp_path / "tables" / "t.csv")
    assert scenario.models["m"].facts is None
    assert scenario.traffic["c"].mean_rps == 3
    assert ("traffic.c.mean", "the peak") in scenario.defaults


def test_a_circle_of_extends_names_its_chain(tmp_path: Path) -> None:
    """Tests a file that extends itself by another spelling of its path."""
    (tmp_path / "a.yaml").write_text("extends: ./../" + tmp_path.name + "/a.yaml\n")
    with pytest.raises(InputError, match=r"a\.yaml -> .*a\.yaml") as caught:
        load_scenario(tmp_path / "a.yaml")
    assert [item.code for item in caught.value.diagnostics] == ["KV602"]


def test_extends_stops_at_its_depth(tmp_path: Path) -> None:
    """Tests that a long chain without a circle is refused, not followed for ever."""
    for index in range(12):
        (tmp_path / f"{index}.yaml").write_text(f"extends: {index + 1}.yaml\n")
    assert mistakes(tmp_path / "0.yaml") == ["8.yaml:1: KV603"]


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("traffic.chat.peak=36 req/s", lambda s: s.traffic["chat"].peak_rps == 36),
        (
            "traffic.chat.input_tokens.p95=3_000",
            lambda s: s.traffic["chat"].input_tokens.percentiles[1] == (950_000, 3_000),
        ),
        (
            "traffic.chat.input_tokens.p99.9=5_500",
            lambda s: s.traffic["chat"].input_tokens.percentiles[2] == (999_000, 5_500),
        ),
        ("models.*.weights=[bf16, fp8]", lambda s: s.models["assistant"].weights == ("bf16", "fp8")),
        ("*.*.gpus_per_node=8", lambda s: s.inventory["l40s"].gpus_per_node == 8),
        ("budget.power=60kW", lambda s: s.budget.power_mw == 60_000_000),
        ("reserve.spare.replicas=1", lambda s: s.reserve.spare_replicas == 1),
        ("reserve={spare: {nodes: 2}}", lambda s: s.reserve.spare_nodes == 2),
        ("inventory.l40s.committed=1 node", lambda s: s.inventory["l40s"].committed_nodes == 1),
        (
            "inventory.l40s.price=$1.50/gpu/h",
            lambda s: s.inventory["l40s"].price_micro_per_gpu_h == 1_500_000,
        ),
        ("inventory.l40s.source=a = b", lambda s: s.inventory["l40s"].source == "a = b"),
    ],
)
def test_set_changes_one_value(override: str, read: object) -> None:
    """Tests overrides that replace a value, match with * or add a key to a block."""
    assert callable(read)
    scenario: Scenario = load_scenario(SMALL, [override])
    assert read(scenario)


def test_the_last_override_wins_and_stands_at_set() -> None:
    """Tests the order of --set, and the place that plans show for it."""
    scenario = load_scenario(SMALL, ["traffic.chat.peak=5 req/s", "traffic.chat.peak=6 req/s"])
    assert scenario.traffic["chat"].peak_rps == 6
    assert str(scenario.places["traffic.chat.peak"]) == "--set"


@pytest.mark.parametrize(
    ("override", "code"),
    [
        ("traffic.chat.peak", "KV415"),
        ("=4", "KV415"),
        ("traffic.chat.peak=", "KV415"),
        ("traffic.chat.peak=[", "KV415"),
        ("traffic.chat.peak=*x", "KV415"),
        ("traffic.chat.peak=!!str 4 req/s", "KV415"),
        ("traffic..peak=4 req/s", "KV415"),
        ("extends=other.yaml", "KV415"),
        ("kvplan=1", "KV415"),
        ("what_if.x.y=1", "KV415"),
        ("traffic.caht.peak=4 req/s", "KV414"),
        ("traffic.new.peak=4 req/s", "KV414"),
        ("models.*.capacity_table=x.csv", "KV414"),
        ("traffic.chat.peak.value=4 req/s", "KV414"),
        ("nothing=4", "KV414"),
        ("*=4", "KV303"),
        ("traffic.chat.peka=4 req/s", "KV302"),
        ("traffic.chat.peak=4", "KV204"),
    ],
)
def test_wrong_overrides_are_mistakes_at_set(override: str, code: str) -> None:
    """Tests that overrides which are malformed, match nothing or carry a wrong value never pass silently."""
    with pytest.raises(InputError) as caught:
        load_scenario(SMALL, [override])
    assert code in {item.code for item in caught.value.diagnostics}
    assert all(item.file == "--set" for item in caught.value.diagnostics if item.code == code)


def test_a_star_never_reaches_the_keys_of_the_file_itself() -> None:
    """Tests that * at the top leaves the version of the language and the what_if blocks alone."""
    with pytest.raises(InputError) as caught:
        load_scenario(FULL, ["*=4"])
    assert not [item for item in caught.value.diagnostics if item.message.startswith(("kvplan", "what_if"))]


def test_a_typo_in_a_path_is_answered_with_the_nearest_path() -> None:
    """Tests the suggestion of an override that matches nothing."""
    with pytest.raises(InputError, match=r"did you mean 'traffic\.chat\.peak'\?"):
        load_scenario(SMALL, ["traffic.caht.peak=4 req/s"])


def test_names_with_dots_are_matched_as_they_stand(tmp_path: Path) -> None:
    """Tests an override of a model whose name contains a dot."""
    path = tmp_path / "dots.yaml"
    path.write_text(SMALL.read_text().replace("assistant", "qwen-2.5"))
    assert load_scenario(path, ["models.qwen-2.5.weights=fp8"]).models["qwen-2.5"].weights == ("fp8",)


def test_a_path_that_two_keys_match_is_refused(tmp_path: Path) -> None:
    """Tests that dots in names never make an override hit something else than what was meant."""
    path = tmp_path / "dots.yaml"
    extra = "  chat.slo: {model: assistant, peak: 1 req/s, mean: 1 req/s, ttft_p95: 1s}\ninventory:"
    path.write_text(SMALL.read_text().replace("inventory:", extra))
    assert "--set:0: KV415" in mistakes(path, ("traffic.chat.slo.ttft_p95=2s",))


def test_what_if_blocks_are_applied_before_sets() -> None:
    """Tests the order of layers on the full scenario."""
    assert load_scenario(FULL, what_if=["double-chat"]).traffic["chat"].peak_rps == 36
    scenario = load_scenario(FULL, ["traffic.chat.peak=40 req/s"], ["double-chat", "no-compression"])
    assert scenario.traffic["chat"].peak_rps == 40
    assert all(model.kv_presets == ("bf16",) for model in scenario.models.values())
    assert scenario.places["traffic.chat.peak"].file == "--set"
    assert scenario.places["models.assistant.kv_presets"].line == 49


def test_an_unknown_what_if_block_is_answered_with_the_nearest_name() -> None:
    """Tests a name of the command line that the file does not have."""
    assert mistakes(FULL, what_if=("duoble-chat",)) == ["full.yaml:0: KV416"]
    assert mistakes(SMALL, what_if=("double-chat",)) == ["small.yaml:0: KV416"]


def test_a_star_sets_only_where_the_key_stands(tmp_path: Path) -> None:
    """Tests that a model with a capacity table is not given presets by an override of all models."""
    (tmp_path / "t.csv").write_text("gpu,class,requests_per_s\n")
    text = SMALL.read_text().replace(
        "traffic:\n", "  table: {capacity_table: t.csv}\ntraffic:\n  t: {model: table, peak: 1 req/s}\n"
    )
    path = tmp_path / "both.yaml"
    path.write_text(text)
    scenario = load_scenario(path, ["models.*.kv_presets=[fp8]"])
    assert scenario.models["assistant"].kv_presets == ("fp8",)
    assert scenario.models["table"].kv_presets == ()


def test_a_block_that_only_breaks_the_scenario_with_itself_is_reported_at_the_block(tmp_path: Path) -> None:
    """Tests that mistakes of a block carry its line, and that the file alone still has none of its own."""
    path = tmp_path / "w.yaml"
    path.write_text(SMALL.read_text() + "what_if:\n  less: {traffic.chat.peak: 1 req/s}\n")
    assert mistakes(path) == ["w.yaml:28: KV404"]


def test_sets_can_repair_a_file_but_not_hide_a_broken_block(tmp_path: Path) -> None:
    """Tests that blocks are checked against the file as it is written, whatever is set."""
    path = tmp_path / "w.yaml"
    path.write_text(SMALL.read_text().replace("peak: 4 req/s", "peak: 4") + "what_if:\n  odd: {budget.power: 5}\n")
    assert mistakes(path, ("traffic.chat.peak=4 req/s",)) == ["w.yaml:28: KV206"]
