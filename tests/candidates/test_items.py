"""Classes become runs of adjacent length bands."""

from fractions import Fraction

from planner.candidates.items import demand_items
from planner.traffic.lengths import histogram


def test_runs_cover_every_band_and_rates_add_up(prod) -> None:
    """n bands give n (n + 1) / 2 runs; the bands of a class are all of it."""
    items, demands = demand_items(prod)
    for name, traffic in prod.traffic.items():
        own = [demand for demand in demands if demand.class_name == name]
        runs = [item for item in items if item.class_name == name]
        assert len(runs) == len(own) * (len(own) + 1) // 2
        assert sum(demand.weight_ppm for demand in own) == 1_000_000
        assert max(item.peak_rps for item in runs) == traffic.peak_rps


def test_a_demand_lists_exactly_the_runs_that_contain_it(prod) -> None:
    """A run belongs to a band when its prompts contain the band's."""
    items, demands = demand_items(prod)
    bands = {item.name: item for item in items}
    for demand in demands:
        prompts = set(bands[demand.name].lengths.prompts)
        expected = {
            k for k, item in enumerate(items)
            if item.class_name == demand.class_name and prompts <= set(item.lengths.prompts)
        }  # fmt: skip
        assert set(demand.items) == expected


def test_cuts_stand_where_a_context_limit_starts_to_hurt(prod) -> None:
    """agents: at 16Ki with outputs up to 2,048 a prompt is whole up to 14,336 tokens and accepted up to 16,383."""
    items, _ = demand_items(prod)
    longest = max(tokens for tokens, _ in histogram(prod.traffic["agents"].input_tokens))
    edges = {item.lengths.upper_tokens for item in items if item.class_name == "agents"}
    assert edges == {14_336, 16_383, longest}


def test_quality_is_weighed_by_mean_output_tokens(prod) -> None:
    """Output tokens/s at mean load of the whole class: mean rate x mean output."""
    items, _ = demand_items(prod)
    traffic = prod.traffic["search"]
    mean = Fraction(sum(t * w for t, w in histogram(traffic.output_tokens)), 1_000_000)
    whole = max((i for i in items if i.class_name == "search"), key=lambda item: item.weight_ppm)
    assert whole.output_tokens_per_s == traffic.mean_rps * mean
