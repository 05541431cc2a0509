"""Inventory: the pools of GPU nodes, and quotas over them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from planner.scenario.blocks.base import Block
from planner.scenario.fields import (
    Amount,
    Duration,
    Flag,
    GpuId,
    GpusPerNode,
    KeyName,
    Months,
    Nodes,
    Price,
    Text,
)


class PoolBlock(Block):
    """GPU nodes of one kind, place and price. At least one of `committed` and `available` is required."""

    gpu: GpuId
    """Catalog id of the GPU."""
    region: Text
    """Where the nodes stand; pools of the same GPU, region and node size can share replicas' nodes."""
    gpus_per_node: GpusPerNode
    """GPUs of one node."""
    committed: Nodes | None = None
    """Nodes that are paid whether they are used or not."""
    available: Nodes | None = None
    """Nodes that can be had on top of the committed ones, paid by the hour."""
    price: Price
    """Price for an hour, of a GPU or of a whole node."""
    source: Text
    """Where the price stands: a contract, a page and its date."""
    spot: Flag = False
    """Whether nodes can be taken away; `reserve.survive` says how many at once; the default is false."""
    start_up: Duration | None = None
    """Time until a new node serves. With a calendar, nodes that a period adds are rented so much earlier."""
    term: Months | None = None
    """The `available` nodes are bought for so many months at the start of any month, and paid in full until the term
    ends; without it they are rented by the hour."""
    notice: Months | None = None
    """The `committed` nodes may be given up after so many months, at the start of a month; without it they are kept
    over the whole horizon."""


class LimitBlock(Block):
    """One linear limit over nodes, such as a quota: the sum of `per_node` times nodes is at most `max`."""

    max: Amount
    """The limit, in any unit of its own."""
    per_node: Annotated[dict[KeyName, Amount], Field(min_length=1)]
    """How much one node of each pool uses; pools that are not named use nothing."""
    source: Text
    """Where the limit stands."""
