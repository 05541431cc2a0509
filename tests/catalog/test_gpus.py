"""GPUs: what CUDA reports, published rates, one-way links, and what is an estimate."""

from __future__ import annotations

import pytest

from planner.catalog import gpu_ids, load_gpu

GIB = 2**30
REQUIRED = [
    "a10-24gb",
    "a100-pcie-80gb",
    "a100-sxm-40gb",
    "a100-sxm-80gb",
    "a10g-24gb",
    "a40-48gb",
    "b200-sxm-180gb",
    "b300-sxm-288gb",
    "gb200-nvl72",
    "gb300-nvl72",
    "gh200-96gb",
    "h100-nvl-94gb",
    "h100-pcie-80gb",
    "h100-sxm-80gb",
    "h20-96gb",
    "h200-nvl-141gb",
    "h200-sxm-141gb",
    "l4-24gb",
    "l40-48gb",
    "l40s-48gb",
    "mi300x",
    "mi325x",
    "mi355x",
    "rtx-3090-24gb",
    "rtx-3090-ti-24gb",
    "rtx-4090-24gb",
    "rtx-5070-ti-16gb",
    "rtx-5090-32gb",
    "rtx-a6000-48gb",
    "rtx-pro-4500-bw-32gb",
    "rtx-pro-6000-bw-se-96gb",
    "t4-16gb",
    "v100-sxm-16gb",
    "v100-sxm-32gb",
]


def test_the_named_gpus_are_there():
    """The catalog has every GPU that the documentation names, and nothing without a source."""
    assert tuple(REQUIRED) == gpu_ids()
    assert all(gpu is not None and gpu.source for gpu in map(load_gpu, gpu_ids()))


def test_cuda_sees_less_than_the_driver():
    """CUDA's total is below the driver's figure by at most 5 %, and every GPU has both."""
    for gpu in map(load_gpu, gpu_ids()):
        assert gpu is not None
        assert 0.95 * gpu.driver_bytes < gpu.memory_bytes < gpu.driver_bytes, gpu.id


def test_every_rate_is_positive():
    """Memory, bandwidth, 16-bit rate, link and power are never 0; only fp8 units may be missing."""
    for gpu in map(load_gpu, gpu_ids()):
        assert gpu is not None
        assert min(gpu.memory_bytes, gpu.bandwidth_bytes_per_s, gpu.bf16_flops, gpu.link_bytes_per_s, gpu.tdp_w) > 0


def test_unknown_gpu_is_none():
    """An id that the catalog does not have gives None; ids are spelled exactly."""
    assert load_gpu("h100") is None
    assert load_gpu("H100-SXM-80GB") is None


@pytest.mark.parametrize(
    ("gpu_id", "gib", "estimated"),
    [
        ("h100-sxm-80gb", 79.19, False),  # vLLM start-up logs
        ("a100-sxm-80gb", 79.15, False),
        ("a100-sxm-40gb", 39.39, False),
        ("t4-16gb", 14.56, False),
        ("l4-24gb", 22.04, False),
        ("l40s-48gb", 44.42, False),  # a PyTorch message
        ("h200-sxm-141gb", 143771 * 0.99 / 1024, True),  # driver less 1 %
        ("b200-sxm-180gb", 183359 * 0.99 / 1024, True),
        ("mi300x", 192 * 0.99, True),
        ("rtx-3090-24gb", 23.58, False),  # vLLM start-up log
        ("rtx-4090-24gb", 23.5, False),
        ("rtx-5090-32gb", 31.36, False),  # a PyTorch message
        ("rtx-a6000-48gb", 47.5, False),
        ("rtx-pro-4500-bw-32gb", 31.38, False),
        ("b300-sxm-288gb", 275040 * 0.99 / 1024, True),
    ],
)
def test_memory_is_what_cuda_reports(gpu_id, gib, estimated):
    """Total memory is the figure of the CUDA runtime, below the driver's, flagged where no log gives it."""
    gpu = load_gpu(gpu_id)
    assert gpu is not None
    assert gpu.memory_bytes / GIB == pytest.approx(gib, abs=1e-6)
    assert gpu.memory_estimated == estimated == ("memory_bytes" in gpu.estimated)


@pytest.mark.parametrize(
    ("gpu_id", "bandwidth", "bf16", "fp8", "link", "tdp", "architecture"),
    [
        ("h100-sxm-80gb", 3.35e12, 989e12, 1979e12, 450e9, 700, "hopper"),
        ("h200-sxm-141gb", 4.8e12, 989e12, 1979e12, 450e9, 700, "hopper"),
        ("a100-sxm-80gb", 2.039e12, 312e12, 0, 300e9, 400, "ampere"),
        ("l40s-48gb", 0.864e12, 362e12, 733e12, 32e9, 350, "ada"),
        ("b200-sxm-180gb", 8e12, 2250e12, 4500e12, 900e9, 1000, "blackwell"),
        ("mi300x", 5.3e12, 1307e12, 2615e12, 448e9, 750, "cdna3"),
        ("t4-16gb", 0.32e12, 65e12, 0, 16e9, 70, "turing"),
    ],
)
def test_published_rates(gpu_id, bandwidth, bf16, fp8, link, tdp, architecture):
    """Rates are dense peaks, links count one way, and GPUs without fp8 units say 0."""
    gpu = load_gpu(gpu_id)
    assert gpu is not None
    assert gpu.bandwidth_bytes_per_s == bandwidth
    assert (gpu.bf16_flops, gpu.fp8_flops) == (bf16, fp8)
    assert (gpu.link_bytes_per_s, gpu.tdp_w, gpu.architecture) == (link, tdp, architecture)


def test_pcie_cards_have_no_fabric():
    """Exactly the cards without NVLink or Infinity Fabric over the whole node are marked so."""
    fabric = {gpu_id for gpu_id in gpu_ids() if load_gpu(gpu_id).nvlink}
    sxm = {gpu_id for gpu_id in REQUIRED if "sxm" in gpu_id}
    assert fabric == sxm | {"gb200-nvl72", "gb300-nvl72", "gh200-96gb", "h20-96gb", "mi300x", "mi325x", "mi355x"}


def test_t4_says_that_it_has_no_bf16():
    """The T4's 16-bit rate is fp16, and the entry says so."""
    gpu = load_gpu("t4-16gb")
    assert gpu is not None
    assert "fp16" in gpu.note
