"""Nothing is lost or made up: tokens, blocks and requests, over random pools, limits and arrivals."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from planner.simulate.pool import PoolRules
from planner.simulate.replica import Replica, ReplicaRules
from planner.simulate.request import Request


class UnevenSteps:
    """Steps that grow with everything."""

    attention_launch_s = 1e-4

    def decode_s(self, batch: int, context_tokens: int) -> float:
        return 1e-3 + 1e-5 * batch + 1e-8 * context_tokens * batch

    def beside_s(self, batch: int, chunk_tokens: int) -> float:
        return 1e-5 * chunk_tokens

    def attention_s(self, new_tokens: int, cached_tokens: int) -> float:
        return 1e-4 + 1e-8 * new_tokens * (new_tokens / 2 + cached_tokens)


@st.composite
def _replicas(draw: st.DrawFn) -> Replica:
    block = draw(st.sampled_from([1, 4, 16]))
    growth = draw(st.integers(1, 3))
    blocks = growth * draw(st.integers(4, 60))
    pool = PoolRules(block, blocks, growth, reserves_answers=draw(st.booleans()))
    seqs = draw(st.integers(1, 12))
    rules = ReplicaRules(seqs, draw(st.integers(seqs + 1, 64)), draw(st.integers(8, 200)), pool)
    return Replica(rules, UnevenSteps(), hash_tokens=draw(st.sampled_from([0, block, 2 * block])))


@st.composite
def _requests(draw: st.DrawFn) -> list[Request]:
    shapes = st.tuples(
        st.floats(0, 0.05), st.integers(1, 120), st.integers(1, 60), st.integers(0, 100), st.integers(0, 3)
    )
    now, found = 0.0, []
    for number, (gap, prompt, output, reusable, family) in enumerate(draw(st.lists(shapes, max_size=25))):
        now += gap
        hashes = tuple(1000 * family + block for block in range(prompt))
        found.append(Request(number, 0, now, prompt, output, reusable, hashes))
    return found


def _play(replica: Replica, requests: list[Request]) -> None:
    for request in requests:
        replica.advance(request.arrival_s)
        replica.arrive(request, request.arrival_s)
    replica.advance(float("inf"))


@given(_replicas(), _requests())
@settings(max_examples=150, deadline=None)
def test_everything_is_accounted_for(replica: Replica, requests: list[Request]) -> None:
    """Every request ends once, in order, with all its tokens; every block comes back."""
    _play(replica, requests)
    served = [request for request in requests if not request.refused]
    for request in requests:
        assert request.end_s >= request.arrival_s
        assert request.refused or request.arrival_s <= request.started_s < request.first_s <= request.end_s
        assert request.refused or request.emitted_tokens == request.output_tokens
    assert replica.totals.output_tokens == sum(request.output_tokens for request in served)
    assert replica.pool.free == replica.rules.pool.usable_blocks
    assert replica.pool.taken_blocks == replica.pool.returned_blocks
    assert 0 <= replica.pool.least_free <= replica.pool.free
    assert replica.load == 0
    if not replica.totals.preemptions:
        computed = sum(request.prompt_tokens - request.first_cached_tokens for request in served)
        assert replica.totals.prompt_tokens == computed


@given(_replicas(), _requests(), st.floats(0, 0.3))
@settings(max_examples=80, deadline=None)
def test_a_lost_replica_hands_over_everything(replica: Replica, requests: list[Request], lost_s: float) -> None:
    """What a replica had not finished when it was lost is finished on another one, once."""
    other = Replica(replica.rules, UnevenSteps(), replica.pool.hash_tokens)
    early = [request for request in requests if request.arrival_s < lost_s]
    for request in early:
        replica.advance(request.arrival_s)
        replica.arrive(request, request.arrival_s)
    replica.advance(lost_s)
    for request in replica.evacuate():
        other.arrive(request, lost_s)
    assert replica.pool.free == replica.rules.pool.usable_blocks
    other.advance(float("inf"))
    for request in early:
        assert request.refused or request.emitted_tokens == request.output_tokens
        assert not request.retries or request.first_s > lost_s
