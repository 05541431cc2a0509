"""Prices from a price list in the format of SkyPilot's catalog (`vms.csv`), one offer a GPU, node size and region.

The file is read by its header, since the order of columns differs between clouds. What it holds besides offers is
counted by reason and never guessed at: placeholder prices, fractions of GPUs, accelerators that the catalog does not
know or that two of its cards share a name for.

Google Cloud prices a VM and its accelerators apart: rows with an instance type and no accelerator, rows with an
accelerator and no instance type. The two are added where the machine type fixes its accelerators.
Source: columns and machine types as in SkyPilot 0.10 `sky/catalog/gcp_catalog.py` and catalog schema v8.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from statistics import median_low

REQUIRED = ("InstanceType", "AcceleratorName", "AcceleratorCount", "Price", "Region")

MOST_BYTES = 64 * 2**20
"""Largest price list that is read; the largest published one has some 8 MB."""
MOST_PRICE_PER_GPU_H = 100
"""Above this a price is a placeholder (700 and 9999 occur); the dearest rented GPU costs below 20 dollars an hour."""
MOST_GPUS_PER_NODE = 64
MICRO = 1_000_000

_BY_NAME = {
    "H200": "h200-sxm-141gb", "H200-SXM": "h200-sxm-141gb", "B200": "b200-sxm-180gb", "L4": "l4-24gb",
    "L40S": "l40s-48gb", "A10G": "a10g-24gb", "T4": "t4-16gb", "MI300X": "mi300x",
    "H100-SXM": "h100-sxm-80gb", "H100-80G-SXM5": "h100-sxm-80gb", "H100-MEGA": "h100-sxm-80gb",
    "H100-PCIE": "h100-pcie-80gb", "A100-80GB-SXM": "a100-sxm-80gb", "A100-80G-SXM4": "a100-sxm-80gb",
    "A100-40G-SXM4": "a100-sxm-40gb", "A100-80GB-PCIE": "a100-pcie-80gb",
}  # fmt: skip
"""Accelerator names that mean one card, upper case."""

_BY_FAMILY: tuple[tuple[str, re.Pattern[str], str], ...] = tuple(
    (accelerator, re.compile(pattern), gpu)
    for accelerator, pattern, gpu in (
        ("H100", r"(^|[-_])h100-sxm|sxm5|^p5\.|^a3-|^standard_nd", "h100-sxm-80gb"),
        ("H100", r"pcie", "h100-pcie-80gb"),
        ("A100-80GB", r"sxm|^p4de\.|^a2-ultragpu|^standard_nd", "a100-sxm-80gb"),
        ("A100-80GB", r"pcie|^standard_nc", "a100-pcie-80gb"),
        ("A100", r"sxm|^p4d\.|^a2-(high|mega)gpu|^standard_nd", "a100-sxm-40gb"),
    )
)
"""Names that several cards share, told apart by the instance type: AWS p4/p5, Google a2/a3 and Azure ND are SXM boards,
Azure NC A100 v4 is PCIe; others say so in their name or stay unclear."""

_GOOGLE: tuple[tuple[str, str], ...] = (
    (r"a2-(?:high|mega)gpu-(\d+)g", "A100"),
    (r"a2-ultragpu-(\d+)g", "A100-80GB"),
    (r"a3-highgpu-(\d+)g", "H100"),
    (r"a3-megagpu-(\d+)g", "H100-MEGA"),
    (r"a3-ultragpu-(\d+)g", "H200"),
    (r"a4-highgpu-(\d+)g", "B200"),
)
_GOOGLE_L4 = {"4": 1, "8": 1, "12": 1, "16": 1, "32": 1, "24": 2, "48": 4, "96": 8}
"""g2-standard-N: GPUs by vCPUs."""


@dataclass(frozen=True)
class Offer:
    """What a node costs for an hour, in micro-units. `cheapest_of` counts the instance types it was chosen from."""

    gpu: str
    gpus_per_node: int
    region: str
    instance: str
    spot: bool
    price_micro_per_node_h: int
    cheapest_of: int = 1

    @property
    def price_micro_per_gpu_h(self) -> int:
        """Price of a GPU, rounded up to a whole micro-unit: a node is never planned cheaper than it is."""
        return -(-self.price_micro_per_node_h // self.gpus_per_node)


@dataclass(frozen=True)
class PriceList:
    """The offers of a file, sorted, and what was left out of it: (reason, rows, an example)."""

    offers: tuple[Offer, ...]
    rows: int
    left_out: tuple[tuple[str, int, str], ...]


@dataclass
class _LeftOut:
    """Rows that are no offers, by reason, with the first of each as an example."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, line: int, what: str) -> None:
        self.counts[reason] += 1
        self.examples.setdefault(reason, f"line {line}: {what}")

    def rows(self) -> tuple[tuple[str, int, str], ...]:
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return tuple((reason, count, self.examples[reason]) for reason, count in ordered)


@dataclass(frozen=True)
class _Line:
    """A row of the file as it was written."""

    number: int
    cells: Mapping[str, str]

    def text(self, key: str) -> str:
        return self.cells.get(key, "").strip()

    def what(self) -> str:
        name = self.text("InstanceType") or self.text("AcceleratorName")
        return " ".join(part for part in (name, self.text("Region")) if part)[:80] or "an empty row"


@dataclass(frozen=True)
class _Priced:
    """A row of one zone, with prices as written: None where there is none."""

    line: _Line
    accelerator: str
    count: int
    on_demand: Fraction | None
    spot: Fraction | None


def read_prices(text: str, known: Iterable[str], named: Mapping[str, str] | None = None) -> PriceList | str:
    """The offers of a price list, or a sentence that says why it is none.

    Zones of a region are one offer: the lowest on-demand price, and the median of the spot prices, which move. Of the
    instance types with the same GPUs the cheapest stays.

    Args:
        text: The content of the file.
        known: The GPU ids of the catalog.
        named: What an accelerator name means, where the file alone does not tell: name -> GPU id.
    """
    reader = csv.reader(io.StringIO(text))
    try:
        header = [name.strip().removeprefix("\ufeff") for name in next(reader, [])]
        missing = [name for name in REQUIRED if name not in header]
        if missing:
            return f"has no column {', '.join(missing)}; a SkyPilot vms.csv has {', '.join(REQUIRED)}"
        left_out, lines, rows = _LeftOut(), [], 0
        for cells in reader:
            rows += 1
            if len(cells) != len(header):
                left_out.add("not as many cells as columns", reader.line_num, ",".join(cells)[:40])
                continue
            lines.append(_Line(reader.line_num, dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        return f"is not CSV: {error} in line {reader.line_num}"
    cards = {name.upper(): gpu for name, gpu in (named or {}).items()}
    priced = [row for row in _priced(lines, left_out) if row is not None]
    offers = _cheapest(_offers(priced, frozenset(known), cards, left_out), left_out)
    return PriceList(tuple(offers), rows, left_out.rows())


def _priced(lines: Sequence[_Line], left_out: _LeftOut) -> Iterator[_Priced]:
    """Rows with whole GPUs and their prices; Google's halves are added."""
    halves: dict[tuple[str, int, str, str], _Line] = {}
    machines: list[tuple[_Line, str, int]] = []
    for line in lines:
        accelerator = line.text("AcceleratorName")
        if not accelerator:
            found = _google(line.text("InstanceType"))
            if found is None:
                left_out.add("no GPU", line.number, line.what())
            else:
                machines.append((line, *found))
            continue
        count = _number(line.text("AcceleratorCount"))
        if count is None or count <= 0:
            left_out.add("no count of GPUs", line.number, line.what())
        elif count.denominator != 1:
            left_out.add("a fraction of a GPU", line.number, f"{line.what()}, {float(count):g} of a GPU")
        elif count > MOST_GPUS_PER_NODE:
            left_out.add(f"more than {MOST_GPUS_PER_NODE} GPUs a node", line.number, line.what())
        elif line.text("InstanceType"):
            yield _Priced(line, accelerator, int(count), _price(line, "Price"), _price(line, "SpotPrice"))
        else:
            halves[accelerator.upper(), int(count), line.text("Region"), line.text("AvailabilityZone")] = line
    yield from _joined(machines, halves, left_out)


def _joined(
    machines: Sequence[tuple[_Line, str, int]], halves: dict[tuple[str, int, str, str], _Line], left_out: _LeftOut
) -> Iterator[_Priced]:
    """Machines with their accelerators: both prices added, zone by zone."""
    used = set()
    for line, accelerator, count in machines:
        key = (accelerator, count, line.text("Region"), line.text("AvailabilityZone"))
        half = halves.get(key)
        if half is None:
            left_out.add("a machine without the price of its GPUs", line.number, line.what())
            continue
        used.add(key)
        prices = [_sum(_price(line, column), _price(half, column)) for column in ("Price", "SpotPrice")]
        yield _Priced(line, accelerator, count, *prices)
    for key, line in halves.items():
        if key not in used:
            left_out.add("GPUs without a machine type that fixes their number", line.number, line.what())


def _google(instance: str) -> tuple[str, int] | None:
    """Accelerator and count of a Google machine type that always carries them."""
    for pattern, accelerator in _GOOGLE:
        if found := re.fullmatch(pattern, instance):
            return accelerator, int(found[1])
    vcpus = instance.removeprefix("g2-standard-")
    return ("L4", _GOOGLE_L4[vcpus]) if vcpus != instance and vcpus in _GOOGLE_L4 else None


def _number(text: str) -> Fraction | None:
    """A plain decimal such as 8 or 8.0; None for anything else."""
    return Fraction(text) if re.fullmatch(r"\d{1,9}(\.\d{0,12})?", text) else None


def _price(line: _Line, column: str) -> Fraction | None:
    """A price as written: 0 and text are none."""
    value = _number(line.text(column))
    return value or None


def _sum(one: Fraction | None, other: Fraction | None) -> Fraction | None:
    return None if one is None or other is None else one + other


def _offers(
    rows: Iterable[_Priced], known: frozenset[str], named: Mapping[str, str], left_out: _LeftOut
) -> Iterator[Offer]:
    """One offer an instance type, region and way of paying, over its zones."""
    zones: dict[tuple[str, int, str, str, bool], list[int]] = {}
    for row in rows:
        instance, region = row.line.text("InstanceType"), row.line.text("Region")
        gpu = _gpu_id(row.accelerator, instance, named)
        if gpu is None or gpu not in known:
            shared = row.accelerator.upper() in {name for name, _, _ in _BY_FAMILY} and gpu is None
            reason = "a name that several cards share" if shared else "a GPU that the catalog does not know"
            left_out.add(reason, row.line.number, f"{row.accelerator} of {row.line.what()}")
            continue
        if row.on_demand is None and row.spot is None:
            left_out.add("no price", row.line.number, row.line.what())
            continue
        for price, spot in ((row.on_demand, False), (row.spot, True)):
            if price is None:
                continue
            if price > MOST_PRICE_PER_GPU_H * row.count:
                left_out.add(
                    f"a placeholder for a price (above {MOST_PRICE_PER_GPU_H} a GPU)",
                    row.line.number,
                    f"{row.line.what()} at {float(price):g}",
                )
            elif spot and price == row.on_demand:
                left_out.add("a spot price that is the on-demand price", row.line.number, row.line.what())
            else:
                micro = -(-price * MICRO // 1)
                zones.setdefault((gpu, row.count, region, instance, spot), []).append(int(micro))
    for (gpu, count, region, instance, spot), prices in zones.items():
        yield Offer(gpu, count, region, instance, spot, median_low(prices) if spot else min(prices))


def _gpu_id(accelerator: str, instance: str, named: Mapping[str, str]) -> str | None:
    """The catalog's id of an accelerator; None where the name is unknown or unclear.

    >>> _gpu_id("H100", "gpu-h100-sxm_8gpu-128vcpu-1600gb", {}), _gpu_id("H100", "gpu_1x_h100", {})
    ('h100-sxm-80gb', None)
    """
    name = accelerator.upper()
    for shared, pattern, gpu in _BY_FAMILY:
        if name == shared and pattern.search(instance.lower()):
            return gpu
    return named.get(name) or _BY_NAME.get(name)


def _cheapest(offers: Iterable[Offer], left_out: _LeftOut) -> Iterator[Offer]:
    """The cheapest instance type for each GPU, count, region and way of paying."""
    from dataclasses import replace

    groups: dict[tuple[str, int, str, bool], list[Offer]] = {}
    for offer in offers:
        groups.setdefault((offer.gpu, offer.gpus_per_node, offer.region, offer.spot), []).append(offer)
    for _, group in sorted(groups.items()):
        best = min(group, key=lambda offer: (offer.price_micro_per_node_h, offer.instance))
        yield replace(best, cheapest_of=len(group))
