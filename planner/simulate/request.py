"""One request on its way through the fleet, and what a replica keeps of it."""

from __future__ import annotations


class Request:
    """What was asked, what has been done, and when. Tokens that are lost with a preemption are computed again.

    `context_tokens` is what must be in the cache before the next new token: the prompt, and after a preemption also
    the answer so far. `todo_tokens` of it are not computed yet. `joined_step` is the step that ended its prefill.
    """

    __slots__ = (
        "arrival_s",
        "cached_tokens",
        "class_index",
        "context_tokens",
        "emitted_tokens",
        "end_s",
        "finish_step",
        "first_cached_tokens",
        "first_s",
        "fixed_blocks",
        "hashes",
        "joined_step",
        "number",
        "output_tokens",
        "place",
        "preemptions",
        "private_blocks",
        "prompt_tokens",
        "refused",
        "retries",
        "reusable_tokens",
        "shared",
        "site",
        "started_s",
        "todo_tokens",
    )

    def __init__(
        self,
        number: int,
        class_index: int,
        arrival_s: float,
        prompt_tokens: int,
        output_tokens: int,
        reusable_tokens: int = 0,
        hashes: tuple[int, ...] = (),
    ) -> None:
        self.number = number
        self.class_index = class_index
        self.arrival_s = arrival_s
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.reusable_tokens = reusable_tokens
        """Prompt tokens that count as found cached, where no hashes say which."""
        self.hashes = hashes
        """Blocks of the prompt by content, first to last."""
        self.site = -1
        self.place = -1
        """Number of the replica among those of its deployment."""
        self.started_s = -1.0
        self.first_s = -1.0
        self.end_s = -1.0
        self.refused = False
        self.preemptions = 0
        self.retries = 0
        self.first_cached_tokens = 0
        self.restart()

    def restart(self) -> None:
        """Nothing is done yet: at the start, and when the replica is lost with all that it held."""
        self.emitted_tokens = 0
        self.context_tokens = self.prompt_tokens
        self.clear()

    def clear(self) -> None:
        """Nothing is held on a replica."""
        self.todo_tokens = 0
        self.cached_tokens = 0
        self.private_blocks = 0
        self.fixed_blocks = 0
        self.shared: list[int] = []
        self.joined_step = -1
        self.finish_step = -1

    def refuse(self, now_s: float) -> None:
        """Nobody takes it."""
        self.refused = True
        self.end_s = now_s

    @property
    def remaining_tokens(self) -> int:
        """Answer tokens that are still to come."""
        return self.output_tokens - self.emitted_tokens
