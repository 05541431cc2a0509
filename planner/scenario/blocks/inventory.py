"""Inventory: the pools of GPU nodes, and quotas over them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from planner.scenario.blocks.base import Block
from planner.scenario.fields import (
    Amount,
    Availability,
    Duration,
    GpuId,
    GpusPerNode,
    KeyName,
    Months,
    Nodes,
    Price,
    SpotConfidence,
    Text,
)
from planner.scenario.values import read_flag


class SpotBlock(Block):
    """Nodes that can be taken away. Those that are there with enough confidence are counted on, each taken to come and
    go by itself; what is taken at once, `reclaim` covers. Nodes are paid for the hours that they are there."""

    availability: Availability | None = None
    """Share of the time that a node is there; the default is 100%."""
    confidence: SpotConfidence | None = None
    """Share of the time that the nodes counted on are all there; the default is 99%."""
    reclaim: Nodes | None = None
    """Nodes that may be taken at once: all promises hold without them; the default is 0 nodes."""


def _spot(node: object) -> object:
    """`true` is a map that says nothing, `false` none at all."""
    if isinstance(node, dict):
        return node
    return {} if read_flag(node) else None


class _SpotSchema:
    """Editors accept a flag or a map."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        terms = handler(schema)["anyOf"][0]
        return {"anyOf": [{"title": "flag", "type": "boolean", "examples": ["true"]}, terms]}


SpotField = Annotated[SpotBlock | None, BeforeValidator(_spot), _SpotSchema()]


class PoolBlock(Block):
    """GPU nodes of one kind, place and price. At least one of `committed` and `available` is required."""

    gpu: GpuId
    """Catalog id of the GPU."""
    region: Text
    """Where the nodes stand; pools of the same GPU, region, zone and node size can share replicas' nodes."""
    zone: Text | None = None
    """What goes down together within the region, such as a data center; `reserve.spare` and `reserve.survive` speak of
    it; the default is none."""
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
    spot: SpotField = None
    """Whether nodes can be taken away: `true`, or how often and how many at once; the default is false."""
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
