"""The parts that codecs are made of, against published tables, closed forms and brute force."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

try:
    import torch

    from planner.compression.codecs import load_codec
    from planner.compression.codecs_floats import lloyd_max, nearest_e2m1, power_of_two_above, value_of_e2m1
    from planner.compression.hadamard import apply_rope, hadamard, rotate, rotate_back
    from planner.compression.lattice import nearest_points, point, rank
    from planner.compression.packing import pack_codes, pack_words, unpack_codes, unpack_words
except ModuleNotFoundError as missing:
    if missing.name != "torch":
        raise
    pytest.skip("the codecs need torch: pip install 'kvplan[validate]'", allow_module_level=True)

# J. Max, "Quantizing for minimum distortion", IRE Trans. Inf. Theory 6 (1960), table I: positive output levels of the
# quantizers of a unit normal variable with 4, 8 and 16 levels, and their mean squared error.
MAX_1960 = {
    2: ((0.4528, 1.510), 0.1175),
    3: ((0.2451, 0.7560, 1.344, 2.152), 0.03454),
    4: ((0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733), 0.009497),
}


@pytest.mark.parametrize("bits", MAX_1960)
def test_lloyd_max_levels_are_the_published_ones(bits: int) -> None:
    """Levels to four figures, symmetric about 0."""
    levels = lloyd_max(bits)
    assert levels[len(levels) // 2 :] == pytest.approx(MAX_1960[bits][0], rel=5e-4)
    assert levels == pytest.approx([-level for level in reversed(levels)], abs=1e-6)


@pytest.mark.parametrize("bits", [3, 4])
def test_lloyd_codec_reaches_the_published_distortion(bits: int) -> None:
    """On normal vectors of a large head size the relative squared error is that of the scalar quantizer."""
    x = torch.randn(2, 500, 256, generator=torch.Generator().manual_seed(3))
    codec = load_codec(f"lloyd{bits}")
    back = codec.decode(codec.encode(x, kind="key"), dtype=torch.float32)
    assert float((back - x).square().sum() / x.square().sum()) == pytest.approx(MAX_1960[bits][1], rel=0.05)


def test_norm_correction_keeps_the_length() -> None:
    """Decoded vectors have the stored length, whatever the levels."""
    x = torch.randn(1, 50, 64, generator=torch.Generator().manual_seed(4)) * 3
    codec = load_codec("lloyd3")
    back = codec.decode(codec.encode(x, kind="key"), dtype=torch.float32)
    assert torch.allclose(back.norm(dim=-1), x.norm(dim=-1), rtol=2.0**-10)


def test_lattice_ranks_number_all_points() -> None:
    """At 2 bits each of the 260,849 ranks is another point: even sums first, half-integer points after."""
    ranks = torch.arange(260_849)
    points = point(ranks, 4)
    assert torch.equal(rank(points, 4), ranks)
    assert float(points.abs().max()) == 2
    whole, half = points[:195_313], points[195_313:]
    assert bool((whole == whole.round()).all() and (whole.sum(dim=-1).remainder(2) == 0).all())
    assert bool(((half - 0.5) == (half - 0.5).round()).all()) and half.shape[0] == 4**8


@pytest.mark.parametrize("spread", [0.7, 1.5])
def test_nearest_point_is_nearest_of_all(spread: float) -> None:
    """Against the distance to every one of the 260,849 points, at and beyond the edges too."""
    x = torch.randn(40, 8, generator=torch.Generator().manual_seed(5)) * spread
    x[:5] = x[:5].round()
    x[5] = 2.0
    x = x.clamp(-2, 2)
    everything = point(torch.arange(260_849), 4)
    best = torch.cdist(x.double(), everything.double()).amin(dim=-1)
    mine = (x - nearest_points(x, 4)).double().norm(dim=-1)
    assert torch.allclose(mine, best, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-6, 6, width=32), min_size=8, max_size=8), st.sampled_from([4, 8]))
def test_nearest_points_can_be_stored(values: list[float], levels: int) -> None:
    """Whatever comes in, the point that is chosen has a rank and the rank gives it back."""
    points = nearest_points(torch.tensor([values]), levels)
    ranks = rank(points, levels)
    assert torch.equal(point(ranks, levels), points)
    assert 0 <= int(ranks) < ((levels + 1) ** 8 + 1) // 2 + levels**8


def test_integers_at_the_edge_are_corrected_inward() -> None:
    """All coordinates on integers, an odd sum, the first one at the edge: there is no step outward to store."""
    points = nearest_points(torch.tensor([[2.0, 1, 0, 0, 0, 0, 0, 0], [-2.0, 1, 0, 0, 0, 0, 0, 0]]), 4)
    assert points.tolist() == [[1, 1, 0, 0, 0, 0, 0, 0], [-1, 1, 0, 0, 0, 0, 0, 0]]
    assert torch.equal(point(rank(points, 4), 4), points)


@pytest.mark.parametrize("size", [8, 64, 128])
def test_hadamard_is_sylvesters(size: int) -> None:
    """The same as a product with Sylvester's matrix over sqrt(n), and its own inverse."""
    from scipy.linalg import hadamard as sylvester

    x = torch.randn(5, size, generator=torch.Generator().manual_seed(6))
    matrix = torch.tensor(sylvester(size), dtype=torch.float32) / math.sqrt(size)
    assert torch.allclose(hadamard(x), x @ matrix, atol=1e-5)
    assert torch.allclose(hadamard(hadamard(x)), x, atol=1e-5)


@pytest.mark.parametrize("size", [64, 80, 96, 576])
def test_rotations_keep_lengths_and_can_be_undone(size: int) -> None:
    """With and without signs, for head sizes that are no power of two as well."""
    x = torch.randn(5, size, generator=torch.Generator().manual_seed(7))
    for rotation in ("hadamard", "signed"):
        turned = rotate(x, rotation)
        assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), rtol=1e-5)
        assert torch.allclose(rotate_back(turned, rotation), x, atol=1e-5)
    assert not torch.allclose(rotate(x, "signed"), rotate(x, "hadamard"), atol=0.1)


def test_rope_is_a_complex_rotation() -> None:
    """Channel pairs turn by position * theta^(-2i/d); a turn back undoes it; scores depend on distance only."""
    x = torch.randn(1, 6, 64, generator=torch.Generator().manual_seed(8))
    positions = torch.tensor([0, 1, 5, 100, 4000, 8191])
    rates = 1e5 ** -(torch.arange(0, 64, 2, dtype=torch.float64) / 64)
    turns = torch.polar(torch.ones(6, 32, dtype=torch.float64), positions[:, None] * rates)
    turned = torch.complex(x[..., :32].double(), x[..., 32:].double()) * turns
    rope = apply_rope(x, positions, 1e5)
    assert torch.allclose(rope.double(), torch.cat((turned.real, turned.imag), dim=-1), atol=1e-5)
    assert torch.allclose(apply_rope(rope, positions, 1e5, back=True), x, atol=1e-5)
    near = apply_rope(x[:, :1], torch.tensor([10]), 1e5) @ apply_rope(x[:, 1:2], torch.tensor([13]), 1e5).mT
    far = apply_rope(x[:, :1], torch.tensor([510]), 1e5) @ apply_rope(x[:, 1:2], torch.tensor([513]), 1e5).mT
    assert torch.allclose(near, far, atol=1e-3)


def test_e2m1_rounds_to_the_nearest_number() -> None:
    """Against a search through all fifteen numbers; ties go to the even code, signs survive."""
    x = torch.linspace(-7, 7, 1401)
    numbers = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.5, -1, -1.5, -2, -3, -4, -6])
    best = (x[:, None] - numbers).abs().amin(dim=-1)
    assert torch.allclose((value_of_e2m1(nearest_e2m1(x)) - x).abs(), best, atol=1e-6)
    ties = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0])
    assert value_of_e2m1(nearest_e2m1(ties)).tolist() == [0, 1, 1, 2, 2, 4, 4]


@given(st.floats(2.0**-100, 2.0**100, width=32))
def test_power_of_two_scale_is_the_smallest_that_covers(x: float) -> None:
    """2^(byte - 127) is at least x and less than twice x."""
    scale = 2.0 ** (int(power_of_two_above(torch.tensor(x))) - 127)
    assert x <= scale < 2 * x


def test_nvfp4_codes_are_those_worked_by_hand() -> None:
    """Sixteen values with amax 6 and tensor scale 6 / 6 / 448: group scale 448, so the numbers store themselves."""
    values = [0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6]
    packed = load_codec("nvfp4").encode(torch.tensor([[values]]), kind="key")
    assert packed["codes"].flatten().tolist() == [0x10, 0x32, 0x54, 0x76, 0x90, 0xBA, 0xDC, 0xFE]
    assert packed["scale"].flatten().tolist() == [448]


def test_int4_scale_carries_the_zero_point() -> None:
    """The lowest four bits of the fp32 scale are the zero point: 5 of 15 steps lie below 0 here."""
    codec = load_codec("int4-token-head")
    x = rotate_back(torch.tensor([[[-5.0, 10.0, *range(6)]]]), "signed")
    packed = codec.encode(x, kind="value")
    assert int(packed["scale"].view(torch.int32)) & 15 == 5
    assert float(packed["scale"]) == pytest.approx(1, rel=2e-6)
    assert torch.allclose(codec.decode(packed, dtype=torch.float32), x, atol=1e-4)


def test_kivi_keys_share_scales_by_channel() -> None:
    """One scale per channel and 32 tokens: an outlier channel does not hurt the others; 70 tokens make 3 groups."""
    x = torch.randn(1, 70, 64, generator=torch.Generator().manual_seed(9))
    x[..., 5] += 100
    codec = load_codec("int4-channel")
    packed = codec.encode(x, kind="key")
    assert packed["scale"].shape == (1, 3, 64)
    by_channel = (codec.decode(packed, dtype=torch.float32) - x).abs()
    assert float(by_channel.max()) < 0.25
    by_token = load_codec("int4-affine")
    assert float((by_token.decode(by_token.encode(x, kind="key"), dtype=torch.float32) - x).abs().max()) > 2


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_packed_codes_come_back(bits: int, eighths: int, seed: int) -> None:
    """Any width from 1 to 8 bits, and exactly n * bits / 8 bytes."""
    codes = torch.randint(0, 1 << bits, (3, 8 * eighths), generator=torch.Generator().manual_seed(seed))
    packed = pack_codes(codes, bits)
    assert packed.nbytes == 3 * eighths * bits
    assert torch.equal(unpack_codes(packed, bits).long(), codes)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([18, 26]), st.integers(1, 32), st.integers(0, 2**32 - 1))
def test_packed_words_come_back(bits: int, count: int, seed: int) -> None:
    """Words that end inside a byte, in ceil(n * bits / 8) bytes; their number follows from the bytes."""
    words = torch.randint(0, 1 << bits, (2, count), generator=torch.Generator().manual_seed(seed))
    packed = pack_words(words, bits)
    assert packed.shape == (2, -(-count * bits // 8))
    assert torch.equal(unpack_words(packed, bits), words)


def test_first_code_lies_in_the_lowest_bits() -> None:
    """The layout itself: 4-bit codes 1, 2 make 0x21; 3-bit codes 0..7 make the bytes 88 C6 FA."""
    assert pack_codes(torch.tensor([1, 2, 3, 4, 5, 6, 7, 8]), 4).tolist() == [0x21, 0x43, 0x65, 0x87]
    number = sum(code << (3 * place) for place, code in enumerate(range(8)))
    assert bytes(pack_codes(torch.arange(8), 3).tolist()) == number.to_bytes(3, "little") == b"\x88\xc6\xfa"


@pytest.mark.parametrize("head_dim", [48, 80])
def test_groups_that_do_not_divide_the_head_size_are_refused(head_dim: int) -> None:
    """A group of 32 needs a head size that it divides; KIVI's values at 80 would need another layout."""
    with pytest.raises(ValueError, match="a multiple of the group size 32"):
        load_codec("int2-group").encode(torch.ones(1, 2, head_dim), kind="value")


def test_all_bit_patterns_of_a_byte_are_floats_that_survive() -> None:
    """Every finite fp8 number of both kinds comes back as itself: scale 1, nothing lost twice."""
    for codec_id, dtype in (("fp8-e4m3", torch.float8_e4m3fn), ("fp8-e5m2", torch.float8_e5m2)):
        numbers = torch.tensor(list(itertools.chain(range(256))), dtype=torch.uint8).view(dtype).float()
        numbers = numbers[numbers.isfinite()]
        x = torch.nn.functional.pad(numbers, (0, -len(numbers) % 8)).reshape(1, -1, 8)
        codec = load_codec(codec_id)
        assert torch.equal(codec.decode(codec.encode(x, kind="key"), dtype=torch.float32), x)
