"""What the blocks of a replica's pool hold: running requests, and prefixes that nobody uses at the moment.

Blocks of a shared prefix are counted once. A prefix that no running request holds lies in the free part of the pool
until its blocks are needed; the one unused for longest goes first, the end of a prompt before its beginning.
Source: vLLM `v1/core/block_pool.py` (free blocks keep their content in a queue, least recently used first).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from planner.simulate.request import Request


@dataclass(frozen=True)
class PoolRules:
    """How requests take blocks. `growth_blocks` every `block_tokens` tokens, and fixed ones for the rest.

    `fixed_blocks` are of groups of layers whose blocks do not grow with the answer (windows, recurrent states), or of
    requests compressed after the prefill: asked with (prompt, answer) tokens, held from admission on.
    `reserves_answers`: a request is admitted only with the blocks of its whole answer, so that nobody is preempted
    (TensorRT-LLM's default scheduler, `GUARANTEED_NO_EVICT`).
    """

    block_tokens: int
    usable_blocks: int
    growth_blocks: int = 1
    fixed_blocks: Callable[[int, int], int] | None = None
    reserves_answers: bool = False

    @property
    def step_blocks(self) -> int:
        """Blocks that a sequence takes in the step in which it crosses into a new one."""
        return 0 if self.reserves_answers else self.growth_blocks

    def first_blocks(self, request: Request) -> int:
        """Growing blocks that a request takes at its admission."""
        return self.growing_blocks(request.context_tokens + self.reserves_answers * request.remaining_tokens)

    def grown_blocks(self, from_tokens: int, to_tokens: int) -> int:
        """Blocks taken one by one while the context grew."""
        return 0 if self.reserves_answers else self.growing_blocks(to_tokens) - self.growing_blocks(from_tokens)

    def growing_blocks(self, tokens: int) -> int:
        """Blocks that grow with the context, at this many tokens."""
        return self.growth_blocks * -(-tokens // self.block_tokens)


class BlockPool:
    """Free and held blocks of one replica. `free` counts those of idle prefixes too."""

    def __init__(self, rules: PoolRules, hash_tokens: int = 0) -> None:
        self.rules = rules
        self.free = rules.usable_blocks
        self.least_free = rules.usable_blocks
        self.taken_blocks = 0
        self.returned_blocks = 0
        self.hash_tokens = hash_tokens
        self._entry_blocks = max(1, rules.growing_blocks(hash_tokens)) if hash_tokens else 0
        self._users: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()

    def holds(self, prompt_tokens: int, output_tokens: int) -> bool:
        """Whether a request fits into an empty pool to its end."""
        rules = self.rules
        fixed = rules.fixed_blocks(prompt_tokens, output_tokens) if rules.fixed_blocks is not None else 0
        return rules.growing_blocks(prompt_tokens + output_tokens) + fixed <= rules.usable_blocks

    def take(self, blocks: int) -> None:
        """Blocks of running requests; idle prefixes give way."""
        self.free -= blocks
        self.taken_blocks += blocks
        self.least_free = min(self.least_free, self.free)
        while self._idle and len(self._idle) * self._entry_blocks > self.free:
            content, _ = self._idle.popitem(last=False)
            del self._users[content]

    def give(self, blocks: int) -> None:
        """Blocks back."""
        self.free += blocks
        self.returned_blocks += blocks

    def found(self, request: Request) -> int:
        """Leading blocks of a prompt that are here, by content."""
        users, count = self._users, 0
        for content in request.hashes:
            if content not in users:
                break
            count += 1
        return count

    def admit(self, request: Request) -> bool:
        """Takes the first blocks of a request, or nothing where they do not fit. Sets what need not be computed."""
        rules = self.rules
        hits = self.found(request) if self.hash_tokens else 0
        while hits and hits * self.hash_tokens >= request.context_tokens:
            hits -= 1  # the last token is always computed
        needed = rules.first_blocks(request)
        if rules.fixed_blocks is not None:
            request.fixed_blocks = rules.fixed_blocks(request.prompt_tokens, request.output_tokens)
        private = needed - hits * self._entry_blocks + request.fixed_blocks
        woken = [content for content in request.hashes[:hits] if self._users[content] == 0]
        if private + len(woken) * self._entry_blocks > self.free:
            return False
        for content in woken:
            del self._idle[content]
        for content in request.hashes[:hits]:
            self._users[content] += 1
        request.shared = list(request.hashes[:hits])
        request.private_blocks = private
        self.take(private + len(woken) * self._entry_blocks)
        if self.hash_tokens:
            request.cached_tokens = hits * self.hash_tokens
        else:
            request.cached_tokens = min(request.reusable_tokens, request.context_tokens - 1)
        request.todo_tokens = request.context_tokens - request.cached_tokens
        return True

    def publish(self, request: Request) -> None:
        """After its prefill, whole blocks of a prompt can be found by their content."""
        if not self.hash_tokens:
            return
        whole = min(len(request.hashes), request.prompt_tokens // self.hash_tokens)
        for content in request.hashes[len(request.shared) : whole]:
            if content in self._users:
                break  # another request computed it meanwhile; this one keeps its own
            self._users[content] = 1
            request.shared.append(content)
            request.private_blocks -= self._entry_blocks

    def release(self, request: Request, grown_blocks: int) -> None:
        """Everything that a request held: `grown_blocks` were taken one by one while it decoded."""
        back = request.private_blocks + grown_blocks
        for content in reversed(request.shared):
            self._users[content] -= 1
            if not self._users[content]:
                self._idle[content] = None
                back += self._entry_blocks
        self.give(back)
        request.clear()

    @property
    def idle_blocks(self) -> int:
        """Blocks of prefixes that no running request holds."""
        return len(self._idle) * self._entry_blocks
