"""What all blocks are."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Block(BaseModel):
    """Base of all blocks: unknown keys are mistakes, nothing changes after reading."""

    model_config = ConfigDict(frozen=True, extra="forbid")
