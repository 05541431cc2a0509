"""What one replica does with few requests, worked by hand."""

from __future__ import annotations

import pytest

from planner.simulate.pool import PoolRules
from planner.simulate.replica import Replica, ReplicaRules
from planner.simulate.request import Request


class UnitSteps:
    """One second a step, whatever is in it."""

    attention_launch_s = 0.0

    def decode_s(self, batch: int, context_tokens: int) -> float:
        return 1.0

    def beside_s(self, batch: int, chunk_tokens: int) -> float:
        return 0.0 if batch else 1.0

    def attention_s(self, new_tokens: int, cached_tokens: int) -> float:
        return 0.0


def _replica(*, seqs: int = 8, budget: int = 100, blocks: int = 1000, hash_tokens: int = 0) -> Replica:
    rules = ReplicaRules(seqs, budget, 10_000, PoolRules(10, blocks))
    return Replica(rules, UnitSteps(), hash_tokens=hash_tokens)


def _play(replica: Replica, *requests: Request) -> None:
    for request in requests:
        replica.advance(request.arrival_s)
        replica.arrive(request, request.arrival_s)
    replica.advance(float("inf"))


def test_a_prompt_takes_as_many_steps_as_chunks() -> None:
    """250 tokens in chunks of 100 are three steps to the first token, and one for every other."""
    request = Request(0, 0, 5.0, 250, 4)
    _play(_replica(), request)
    assert (request.started_s, request.first_s, request.end_s) == (5.0, 8.0, 11.0)


def test_decoding_goes_before_prompts() -> None:
    """A running sequence takes one token of the budget, and the prompt beside it what is left."""
    first, second = Request(0, 0, 0.0, 10, 50), Request(1, 0, 1.5, 198, 1)
    _play(_replica(), first, second)
    assert second.started_s == 2.0
    assert second.first_s == 4.0  # 99 + 99
    assert first.end_s == 50.0


def test_waiting_for_a_slot() -> None:
    """With one slot the second request begins when the first has ended."""
    first, second = Request(0, 0, 0.0, 10, 5), Request(1, 0, 0.5, 10, 1)
    _play(_replica(seqs=1), first, second)
    assert (first.end_s, second.started_s, second.end_s) == (5.0, 5.0, 6.0)


def test_the_last_in_is_preempted_and_computes_again() -> None:
    """Two sequences of two blocks and a pool of five: the later one gives way when both need a third."""
    first, second = Request(0, 0, 0.0, 15, 12), Request(1, 0, 0.0, 15, 12)
    replica = _replica(blocks=5)
    _play(replica, first, second)
    assert (first.preemptions, second.preemptions) == (0, 1)
    assert first.end_s == 12.0
    assert second.first_s == 1.0
    assert second.end_s > first.end_s
    assert replica.totals.prompt_tokens == 15 + 15 + 21  # the answer so far is part of what is computed again


def test_a_request_that_no_pool_holds_is_refused() -> None:
    """A prompt at the limit, or one whose answer would not fit into an empty pool."""
    too_long, too_large, fits = Request(0, 0, 0.0, 10_000, 1), Request(1, 0, 0.0, 90, 20), Request(2, 0, 0.0, 90, 10)
    _play(_replica(blocks=10), too_long, too_large, fits)
    assert [request.refused for request in (too_long, too_large, fits)] == [True, True, False]


def test_answers_are_cut_at_the_context_limit() -> None:
    """9,990 tokens of prompt leave room for ten of answer."""
    request = Request(0, 0, 0.0, 9_990, 500)
    _play(_replica(), request)
    assert request.emitted_tokens == 10


def test_prefixes_are_found_by_their_content() -> None:
    """The second of two equal prompts computes its last block only; the pool holds the shared part once."""
    hashes = (1, 2, 3, 4)
    first, second = Request(0, 0, 0.0, 40, 1, hashes=hashes), Request(1, 0, 5.0, 40, 1, hashes=hashes)
    replica = _replica(hash_tokens=10)
    _play(replica, first, second)
    assert (first.first_cached_tokens, second.first_cached_tokens) == (0, 30)
    assert replica.pool.idle_blocks == 4
    assert replica.totals.prompt_tokens == 50


@pytest.mark.parametrize(("blocks", "found"), [(12, 40), (7, 0)])
def test_idle_prefixes_give_way_to_running_requests(blocks: int, found: int) -> None:
    """A prefix stays as long as nothing else needs its blocks; its end is lost first."""
    hashes = (1, 2, 3, 4, 5)
    first, other = Request(0, 0, 0.0, 50, 1, hashes=hashes), Request(1, 0, 5.0, 65, 1, hashes=(8, 9))
    again = Request(2, 0, 50.0, 45, 1, hashes=hashes[:4])
    _play(_replica(blocks=blocks, hash_tokens=10), first, other, again)
    assert again.first_cached_tokens == found


def test_reusable_tokens_stand_for_hits_without_hashes() -> None:
    """A share that counts as found saves its computation; the last token is always computed."""
    some, whole = Request(0, 0, 0.0, 100, 1, reusable_tokens=35), Request(1, 0, 0.0, 100, 1, reusable_tokens=100)
    replica = _replica()
    _play(replica, some, whole)
    assert replica.totals.prompt_tokens == 65 + 1


class LaunchSteps(UnitSteps):
    """Attention that takes a tenth of a second to launch, and nothing else."""

    attention_launch_s = 0.1

    def attention_s(self, new_tokens: int, cached_tokens: int) -> float:
        return 0.1


def test_prompts_in_one_step_share_the_launch_of_attention() -> None:
    """Three prompts that fit into one step take one launch together."""
    replica = Replica(ReplicaRules(8, 100, 10_000, PoolRules(10, 1000)), LaunchSteps())
    requests = [Request(number, 0, 0.0, 30, 1) for number in range(3)]
    _play(replica, *requests)
    assert [request.end_s for request in requests] == [1.1] * 3


def test_an_engine_that_reserves_answers_never_preempts() -> None:
    """Ten blocks hold two requests of 20 + 30 tokens to their end: the third waits, where vLLM admits and preempts."""
    done = {}
    for reserves in (False, True):
        rules = ReplicaRules(8, 100, 10_000, PoolRules(10, 10, reserves_answers=reserves))
        replica = Replica(rules, UnitSteps())
        requests = [Request(number, 0, 0.0, 20, 30) for number in range(3)]
        _play(replica, *requests)
        done[reserves] = (replica.totals.preemptions, requests[2].started_s, requests[0].end_s, replica.pool.free)
    assert done[True] == (0, 30.0, 30.0, 10)
    assert done[False][0] > 0 and done[False][1] == 0.0 and done[False][3] == 10
