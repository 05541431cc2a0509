"""What a recurrent layer keeps of every sequence, read from the fields of its kind.

Source: vLLM 0.33 `model_executor/layers/mamba/mamba_utils.py` (shapes and dtypes of the states).
"""

from __future__ import annotations

from planner.catalog.families import Recurrent
from planner.catalog.fields import MAX_WIDTH, Fields
from planner.catalog.types import StateKv


def state_layer(fields: Fields, kind: Recurrent, hidden: int, heads: int, head_dim: int) -> StateKv:
    """The state of one recurrent layer of this kind; `heads` and `head_dim` are those of attention."""
    if kind == "mamba1":
        return _mamba_1(fields, hidden)
    if kind == "mamba2":
        return _mamba_2(fields, hidden)
    if kind == "gdn":
        return _gated_delta(fields)
    if kind == "kda":
        return _kimi_delta(fields)
    if kind == "short_conv":
        return _short_convolution(fields, hidden)
    return StateKv("linear", heads, head_dim, head_dim, state_element_bytes=_element_bytes(fields))


def _element_bytes(fields: Fields) -> int:
    """4 where the config asks for a float32 state, else the 2 of the model's dtype."""
    return 4 if fields.text("mamba_ssm_dtype", "mamba_ssm_cache_dtype") == "float32" else 2


def _mamba_1(fields: Fields, hidden: int) -> StateKv:
    return StateKv(
        "mamba1",
        heads=1,
        head_dim=fields.count("mamba_expand", most=MAX_WIDTH) * hidden,
        state_dim=fields.count("mamba_d_state", most=MAX_WIDTH),
        conv_kernel=fields.count("mamba_d_conv", most=MAX_WIDTH),
        state_element_bytes=_element_bytes(fields),
    )


def _mamba_2(fields: Fields, hidden: int) -> StateKv:
    """Mamba-2: `head_dim` may be "auto" or missing, then it is expand * hidden_size / heads."""
    heads = fields.count("mamba_num_heads", "mamba_n_heads", "n_mamba_heads", default=0, most=MAX_WIDTH)
    size = fields.value("mamba_head_dim", "mamba_d_head", "mamba_headdim")
    inner = fields.count("mamba_d_ssm", default=0)
    if not inner and (not heads or size in (None, 0, "auto")):
        inner = fields.count("mamba_expand", "expand", "expansion_factor", most=MAX_WIDTH) * hidden
    if size in (None, 0, "auto"):
        head_dim = inner // (heads or fields.count("mamba_num_heads")) or 1
    else:
        head_dim = fields.count("mamba_head_dim", "mamba_d_head", "mamba_headdim", most=MAX_WIDTH)
    return StateKv(
        "mamba2",
        heads=heads or inner // head_dim or 1,
        head_dim=head_dim,
        state_dim=fields.count("ssm_state_size", "mamba_d_state", "state_size", most=MAX_WIDTH),
        groups=fields.count("n_groups", "mamba_n_groups", "mamba_ngroups", most=MAX_WIDTH),
        conv_kernel=fields.count("conv_kernel", "mamba_d_conv", "conv_dimension", most=MAX_WIDTH),
        state_element_bytes=_element_bytes(fields),
        chunk_tokens=fields.count("mamba_chunk_size", "chunk_size", default=0),
    )


def _gated_delta(fields: Fields) -> StateKv:
    return StateKv(
        "gdn",
        heads=fields.count("linear_num_value_heads", most=MAX_WIDTH),
        head_dim=fields.count("linear_value_head_dim", most=MAX_WIDTH),
        state_dim=fields.count("linear_key_head_dim", most=MAX_WIDTH),
        groups=fields.count("linear_num_key_heads", most=MAX_WIDTH),
        conv_kernel=fields.count("linear_conv_kernel_dim", most=MAX_WIDTH),
        state_element_bytes=_element_bytes(fields),
    )


def _short_convolution(fields: Fields, hidden: int) -> StateKv:
    """A convolution over the last `conv_L_cache` tokens and nothing else, as in LFM2."""
    kernel = fields.count("conv_L_cache", most=MAX_WIDTH)
    return StateKv("short_conv", heads=1, head_dim=hidden, state_dim=0, conv_kernel=kernel)


def _kimi_delta(fields: Fields) -> StateKv:
    """Kimi Delta Attention: the recurrent state is always float32 (`kda_state_dtype`)."""
    inside = fields.inside("linear_attn_config")
    head_dim = inside.count("head_dim", most=MAX_WIDTH)
    return StateKv(
        "kda",
        heads=inside.count("num_heads", most=MAX_WIDTH),
        head_dim=head_dim,
        state_dim=head_dim,
        conv_kernel=inside.count("short_conv_kernel_size", most=MAX_WIDTH),
        state_element_bytes=4,
    )
