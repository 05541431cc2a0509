"""Price lists: every trap of the published ones, in small.

Rows are made up in the shape of SkyPilot's catalog v8 (columns, order of columns a cloud, placeholders). The sums of
Google's two halves are checked against prices that the list states for one machine: a2-highgpu-1g in us-central1,
0.73948 for the machine.
"""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.catalog import gpu_ids
from planner.catalog.skypilot import Offer, PriceList, read_prices

HEADER = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,Region,GpuInfo,SpotPrice"
GOOGLE = "InstanceType,vCPUs,MemoryGiB,AcceleratorName,AcceleratorCount,GpuInfo,Region,AvailabilityZone,Price,SpotPrice"


def _read(*rows: str, header: str = HEADER, named: dict[str, str] | None = None) -> PriceList:
    found = read_prices("\n".join((header, *rows)) + "\n", gpu_ids(), named)
    assert isinstance(found, PriceList)
    return found


def _reasons(found: PriceList) -> dict[str, int]:
    return {reason: count for reason, count, _ in found.left_out}


def test_a_plain_row_is_an_offer_on_demand_and_on_spot() -> None:
    """Counts may be written 8 or 8.0; the price of a node stays exact, that of a GPU is its eighth."""
    found = _read(
        "gpu-h100-sxm_8gpu-128vcpu-1600gb,H100,8.0,128,1600,23.60,eu-north1,\"{'Gpus': [{'Name': 'H100'}]}\",10.00"
    )
    name = "gpu-h100-sxm_8gpu-128vcpu-1600gb"
    assert found.offers == (
        Offer("h100-sxm-80gb", 8, "eu-north1", name, False, 23_600_000),
        Offer("h100-sxm-80gb", 8, "eu-north1", name, True, 10_000_000),
    )
    assert [offer.price_micro_per_gpu_h for offer in found.offers] == [2_950_000, 1_250_000]
    assert found.left_out == ()


def test_google_prices_are_the_sum_of_two_rows_a_zone() -> None:
    """Machine and accelerators are added zone by zone; 700 is a placeholder, and a half without the other is none."""
    found = _read(
        "a2-highgpu-1g,12.0,85.0,,,,us-central1,us-central1-a,0.73948,0.36975",
        "a2-highgpu-1g,12.0,85.0,,,,us-central1,us-central1-b,0.73948,0.36975",
        "a2-highgpu-1g,12.0,85.0,,,,us-west9,us-west9-a,0.73948,0.36975",
        "a3-highgpu-8g,208.0,1872.0,,,,us-central1,us-central1-a,9.46006,2.88933",
        "n1-standard-8,8.0,30.0,,,,us-central1,us-central1-a,0.38,0.08",
        ",,,A100,1.0,,us-central1,us-central1-a,2.933908,1.0",
        ",,,A100,1.0,,us-central1,us-central1-b,2.933908,1.2",
        ",,,H100,8.0,,us-central1,us-central1-a,700.0,20.0",
        ",,,T4,1.0,,us-central1,us-central1-a,0.35,0.11",
        header=GOOGLE,
    )
    assert [(o.gpu, o.gpus_per_node, o.spot, o.price_micro_per_node_h) for o in found.offers] == [
        ("a100-sxm-40gb", 1, False, 3_673_388),
        ("a100-sxm-40gb", 1, True, 1_369_750),
        ("h100-sxm-80gb", 8, False, 709_460_060),
        ("h100-sxm-80gb", 8, True, 22_889_330),
    ]
    assert _reasons(found) == {
        "no GPU": 1,
        "a machine without the price of its GPUs": 1,
        "GPUs without a machine type that fixes their number": 1,
    }


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("cpu-d3,,0,4,16,0.0992,eu-north1,,", "no GPU"),
        ("half,L4,0.5,4,16,0.4,r,,", "a fraction of a GPU"),
        ("slice,L4,0.125,4,16,0.4,r,,", "a fraction of a GPU"),
        ("odd,L4,many,4,16,0.4,r,,", "no count of GPUs"),
        ("odd,L4,-1,4,16,0.4,r,,", "no count of GPUs"),
        ("odd,L4,1e3,4,16,0.4,r,,", "no count of GPUs"),
        ("rack,L4,72,4,16,0.4,r,,", "more than 64 GPUs a node"),
        ("free,L4,1,4,16,0,r,,", "no price"),
        ("block,L4,1,4,16,,r,,", "no price"),
        ("nan,L4,1,4,16,nan,r,,inf", "no price"),
        ("minus,L4,1,4,16,-3,r,,", "no price"),
        ("dear,L4,1,4,16,700.0,r,,", "a placeholder for a price (above 100 a GPU)"),
        ("dear,L4,2,4,16,9999,r,,", "a placeholder for a price (above 100 a GPU)"),
        ("tpu,TPU-V5E,8,4,16,9.6,r,,", "a GPU that the catalog does not know"),
        ("gpu_1x_h100,H100,1,26,225,3.29,r,,", "a name that several cards share"),
        ("x,A100,1,26,225,3.29,r,,", "a name that several cards share"),
        ("short,L4,1", "not as many cells as columns"),
    ],
)
def test_what_is_no_offer_is_counted(row: str, reason: str) -> None:
    """Each trap leaves its row out under its own reason, with the row as an example, beside a good row that stays."""
    found = _read("good,L4,1,8,32,0.708,us,,", row)
    assert [offer.instance for offer in found.offers] == ["good"]
    assert _reasons(found) == {reason: 1}
    assert found.left_out[0][2].startswith("line 3: ")


def test_a_spot_price_that_is_the_list_price_is_no_spot_market() -> None:
    """An equal spot price is left out; a spot price without a list price stays."""
    found = _read("a,L4,1,8,32,0.7,r,,0.7", "b,H200,8,8,32,,r,,18.7359")
    assert [(o.instance, o.spot) for o in found.offers] == [("b", True), ("a", False)]
    assert _reasons(found) == {"a spot price that is the on-demand price": 1}


def test_names_are_told_apart_by_the_instance_type() -> None:
    """The same accelerator name is another card on another machine; --as decides where the list does not."""
    found = _read(
        "p4d.24xlarge,A100,8,96,1152,32.77,r,,",
        "p4de.24xlarge,A100-80GB,8,96,1152,40.96,r,,",
        "Standard_NC24ads_A100_v4,A100-80GB,1,24,220,3.67,q,,",
        "Standard_ND96isr_H100_v5,H100,8,96,1900,98.32,r,,",
        "gpu_1x_h100_pcie,H100,1,26,225,3.29,r,,",
        "gpu_1x_a100,A100,1,30,200,1.35,r,,",
        named={"a100": "a100-pcie-80gb"},
    )
    assert {offer.instance: offer.gpu for offer in found.offers} == {
        "p4de.24xlarge": "a100-sxm-80gb",
        "Standard_NC24ads_A100_v4": "a100-pcie-80gb",
        "Standard_ND96isr_H100_v5": "h100-sxm-80gb",
        "gpu_1x_h100_pcie": "h100-pcie-80gb",
        "gpu_1x_a100": "a100-pcie-80gb",
        "p4d.24xlarge": "a100-sxm-40gb",
    }


def test_zones_are_one_offer_and_the_cheapest_type_stays() -> None:
    """On demand the lowest zone counts, on spot the median one; of like instance types the cheapest, and how many."""
    header = "InstanceType,AcceleratorName,AcceleratorCount,Region,AvailabilityZone,Price,SpotPrice"
    found = _read(
        "g6.xlarge,L4,1,us-east-1,us-east-1a,0.8048,0.20",
        "g6.xlarge,L4,1,us-east-1,us-east-1b,0.8048,0.40",
        "g6.xlarge,L4,1,us-east-1,us-east-1c,0.8148,0.30",
        "g6.2xlarge,L4,1,us-east-1,us-east-1a,0.9776,0.50",
        header=header,
    )
    assert [(o.instance, o.spot, o.price_micro_per_node_h, o.cheapest_of) for o in found.offers] == [
        ("g6.xlarge", False, 804_800, 2),
        ("g6.xlarge", True, 300_000, 2),
    ]


@given(st.decimals("0.000001", "99", places=6), st.integers(1, 16))
def test_a_gpu_is_never_cheaper_than_its_part_of_the_node(price: object, count: int) -> None:
    """The price of a GPU times the GPUs is at least the node's, and less than a millionth a GPU above it."""
    (offer,) = _read(f"x,L4,{count},8,32,{price},r,,").offers
    exact = Fraction(str(price)) * 1_000_000
    assert exact <= offer.price_micro_per_gpu_h * count < exact + count


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "has no column InstanceType"),
        ("a,b\n1,2\n", "has no column InstanceType, AcceleratorName"),
        (HEADER.replace("Region", "region"), "has no column Region"),
        (HEADER + "\n" + "x" * 200_000, "is not CSV: field larger than field limit"),
    ],
)
def test_other_files_are_refused(text: str, part: str) -> None:
    """A file without the columns, or that is no CSV, is a sentence instead of offers."""
    found = read_prices(text, gpu_ids())
    assert isinstance(found, str) and part in found


@given(st.text(max_size=300))
def test_no_text_raises(text: str) -> None:
    """Whatever stands below a good header, the result is offers and counts, never an exception."""
    found = read_prices(HEADER + "\n" + text, gpu_ids())
    assert isinstance(found, str | PriceList)
