"""One replica: continuous batching with chunked prefill, step by step.

A step decodes one token for every running sequence and spends what is left of the token budget on prompts, first come
first served. A prompt is admitted when a sequence slot is free and the blocks of all of it are (of its answer too,
where the engine reserves them). Where blocks run out, the sequence that came last is preempted: it gives its blocks
back, waits at the head of the queue, and computes its tokens again. Source: vLLM `v1/core/sched/scheduler.py` (0.11
to 0.24), with `scheduler_reserve_full_isl`.

A step costs constant time whatever the batch: resident tokens grow by the batch, sequences that cross a block boundary
are counted by the step (mod the block size) at which they do, and answers end in the step that was known when they
began to decode.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from planner.simulate.pool import BlockPool, PoolRules
from planner.simulate.request import Request


class Steps(Protocol):
    """Seconds of the parts of a step; see `planner.simulate.steps`."""

    @property
    def attention_launch_s(self) -> float:
        """What every attention over a chunk takes at least."""

    def decode_s(self, batch: int, context_tokens: int) -> float:
        """Seconds of a step that only decodes."""

    def beside_s(self, batch: int, chunk_tokens: int) -> float:
        """Seconds that prompt tokens add, without their attention."""

    def attention_s(self, new_tokens: int, cached_tokens: int) -> float:
        """Seconds of attention of new tokens on cached ones."""


@dataclass(frozen=True)
class ReplicaRules:
    """What the engine was started with."""

    max_num_seqs: int
    max_num_batched_tokens: int
    context_limit_tokens: int
    pool: PoolRules


@dataclass
class Totals:
    """What a replica has done. Tokens computed again after a preemption count again."""

    steps: int = 0
    busy_s: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    preemptions: int = 0


class Replica:
    """State of one replica. `now_s` is the end of its last step, and the start of the next."""

    def __init__(
        self,
        rules: ReplicaRules,
        steps: Steps,
        hash_tokens: int = 0,
        sample_s: float = 10.0,
        name: str = "",
        number: int = 0,
        now_s: float = 0.0,
    ) -> None:
        self.rules = rules
        self.name = name
        self.number = number
        self.started_s = now_s
        self.pool = BlockPool(rules.pool, hash_tokens)
        self.totals = Totals()
        self.now_s = now_s
        self.alive = True
        self.samples: list[tuple[float, int, int, int]] = []
        """(seconds, running, waiting, blocks held), every `sample_s` of simulated time while it works."""
        self.sample_s = sample_s
        self._next_sample_s = (now_s // sample_s + 1) * sample_s
        self._steps = steps
        self._step = 0
        self._batch = 0
        self._resident = 0
        self._waiting: deque[Request] = deque()
        self._prefilling: list[Request] = []
        self._order: list[Request] = []
        self._ends: dict[int, list[Request]] = {}
        self._phases = [0] * rules.pool.block_tokens

    @property
    def load(self) -> int:
        """Requests here, running or waiting."""
        return self._batch + len(self._prefilling) + len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether there is work."""
        return bool(self._batch or self._prefilling or self._waiting)

    def arrive(self, request: Request, now_s: float) -> None:
        """A request joins the queue; one that does not fit the context limit is refused, an answer that would pass it
        is cut."""
        room = self.rules.context_limit_tokens - request.prompt_tokens
        request.output_tokens = min(request.output_tokens, room)
        if room <= 0 or not self.pool.holds(request.prompt_tokens, request.output_tokens):
            request.refuse(now_s)
            return
        if not self.busy:
            self.now_s = max(self.now_s, now_s)
        self._waiting.append(request)

    def advance(self, until_s: float) -> None:
        """Every step that begins before a moment."""
        while self.now_s < until_s and (self._batch or self._prefilling or self._waiting):
            self.step()

    def evacuate(self) -> list[Request]:
        """The replica is lost: everything that it had not finished, in order of arrival."""
        running = [request for request in self._order if self._is_running(request)]
        for request in running:
            self._drop(request, self._step)
        lost = [*running, *self._waiting]
        self._waiting.clear()
        self._prefilling.clear()
        self.alive = False
        for request in lost:
            request.restart()
            request.first_s = request.started_s = -1.0
            request.retries += 1
        return sorted(lost, key=lambda request: (request.arrival_s, request.number))

    def step(self) -> None:
        """One step of the engine."""
        self._step = step = self._step + 1
        phases, pool = self._phases, self.pool
        preempted = False
        if self._batch:
            phase = step % len(phases)
            grow = phases[phase] * pool.rules.step_blocks
            while grow > pool.free:
                self._preempt()
                preempted = True
                grow = phases[phase] * pool.rules.step_blocks
            if grow:
                pool.take(grow)
        batch = self._batch
        seconds = self._steps.decode_s(batch, self._resident // batch) if batch else 0.0
        joined: list[Request] = []
        if self._prefilling or (self._waiting and not preempted):
            chunk, attention_s = self._prefill(self.rules.max_num_batched_tokens - batch, joined, preempted)
            if chunk:
                seconds += self._steps.beside_s(batch, chunk) + attention_s
                self.totals.prompt_tokens += chunk
        self.totals.steps += 1
        self.totals.busy_s += seconds
        self.totals.output_tokens += batch
        self.now_s += seconds
        self._resident += batch
        if joined:
            self._join(joined)
        ended = self._ends.pop(step, None)
        if ended is not None:
            for request in ended:
                if request.finish_step == step:
                    self._finish(request)
        if self.now_s >= self._next_sample_s:
            self._sample()

    def _prefill(self, budget: int, joined: list[Request], preempted: bool) -> tuple[int, float]:
        """Spends the budget on prompts; returns their tokens and seconds of attention."""
        left, attention_s, parts = budget, 0.0, 0
        prefilling, pool, attention = self._prefilling, self.pool, self._steps.attention_s
        slots = self.rules.max_num_seqs - self._batch
        at = 0
        while left > 0:
            if at == len(prefilling):
                if preempted or not self._waiting or at >= slots or not pool.admit(self._waiting[0]):
                    break
                request = self._waiting.popleft()
                prefilling.append(request)
                self._order.append(request)
                if request.started_s < 0:
                    request.started_s = self.now_s
                    request.first_cached_tokens = request.cached_tokens
            request = prefilling[at]
            at += 1
            size = min(left, request.todo_tokens)
            left -= size
            attention_s += attention(size, request.context_tokens - request.todo_tokens)
            parts += 1
            request.todo_tokens -= size
            if not request.todo_tokens:
                joined.append(request)
        if joined:
            del prefilling[: len(joined)]
        if parts > 1:
            attention_s -= (parts - 1) * self._steps.attention_launch_s
        return budget - left, attention_s

    def _join(self, joined: list[Request]) -> None:
        """Prompts that are done: their next token is out, and they decode from the next step on."""
        step, block = self._step, len(self._phases)
        self.totals.output_tokens += len(joined)
        for request in joined:
            self.pool.publish(request)
            if request.first_s < 0:
                request.first_s = self.now_s
            request.joined_step = step
            request.finish_step = step + request.remaining_tokens - 1
            self._batch += 1
            self._resident += request.context_tokens
            self._phases[(step + 1 - request.context_tokens) % block] += 1
            if request.finish_step == step:
                self._finish(request)
            else:
                self._ends.setdefault(request.finish_step, []).append(request)

    def _finish(self, request: Request) -> None:
        request.emitted_tokens += self._step - request.joined_step + 1
        request.end_s = self.now_s
        self._leave(request, self._step)

    def _leave(self, request: Request, last_step: int) -> None:
        """A decoding sequence goes; `last_step` is the last in which it decoded."""
        decoded = last_step - request.joined_step
        tokens = request.context_tokens + decoded
        self._batch -= 1
        self._resident -= tokens
        self._phases[(request.joined_step + 1 - request.context_tokens) % len(self._phases)] -= 1
        self.pool.release(request, self.pool.rules.grown_blocks(request.context_tokens, tokens))

    def _is_running(self, request: Request) -> bool:
        return request.joined_step >= 0 or request.todo_tokens > 0

    def _preempt(self) -> None:
        """The sequence that came last gives its blocks back and waits at the head of the queue."""
        request = self._order.pop()
        while not self._is_running(request):
            request = self._order.pop()
        request.preemptions += 1
        self.totals.preemptions += 1
        self._drop(request, self._step - 1)
        self._waiting.appendleft(request)

    def _drop(self, request: Request, last_step: int) -> None:
        """A running sequence loses its place after a step; what it has said so far is part of its context."""
        if request.joined_step >= 0:
            emitted = last_step - request.joined_step + 1
            self._leave(request, last_step)
            request.emitted_tokens += emitted
            request.context_tokens = request.prompt_tokens + request.emitted_tokens
        else:
            self._prefilling.remove(request)
            self.pool.release(request, 0)

    def _sample(self) -> None:
        held = self.pool.rules.usable_blocks - self.pool.free
        running = self._batch + len(self._prefilling)
        while self.now_s >= self._next_sample_s:
            self.samples.append((self._next_sample_s, running, len(self._waiting), held))
            self._next_sample_s += self.sample_s
