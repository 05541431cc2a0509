"""Read `presets.yaml` into frozen records, strictly: an unknown key is a broken package, not a guess.

Figures in the file are strings, so that decimals stay exact: `scores: ["45.8", "43.1"]` (baseline,
preset), `recovery: "97"` (percent of the baseline that is kept) or `increase: "1.17"` (percent of
perplexity).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from importlib import resources
from typing import TypeVar, get_args

from planner.catalog.types import BF16_KV, KvStorage
from planner.compression.evidence import Protocol
from planner.compression.table import (
    Claim,
    EngineSupport,
    EvidenceKind,
    GpuGate,
    Metric,
    Preset,
    QualityRow,
    Residency,
)

T = TypeVar("T")
_PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
_REQUIRED = object()


class PresetTableError(Exception):
    """The preset table that ships with kvplan, or a table under test, is broken."""


def read_presets(text: str | None = None) -> tuple[Preset, ...]:
    """Parse and validate a preset table; None reads the one that ships with kvplan.

    Raises:
        PresetTableError: A key is unknown or missing, a value has the wrong type, or an id occurs
        twice.
    """
    import yaml

    if text is None:
        text = resources.files("planner.compression").joinpath("presets.yaml").read_text(encoding="utf-8")
    # libyaml's loader is the same safe loader, ten times faster; a PyYAML built without it still works.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    tree = _Block("presets", yaml.load(text, Loader=loader))  # noqa: S506 (a safe loader, see above)
    presets = tuple(_preset(block) for block in tree.blocks("presets"))
    tree.finish()
    ids = [preset.id for preset in presets]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise PresetTableError(f"preset ids that occur twice: {', '.join(twice)}")
    return presets


class _Block:
    """One mapping of the file; `finish` refuses keys that nobody asked for."""

    def __init__(self, where: str, value: object) -> None:
        if not isinstance(value, Mapping):
            raise PresetTableError(f"{where}: a mapping was expected, not {value!r}")
        self.where = where
        self._left: dict[object, object] = dict(value)

    def _take(self, key: str, kind: type[T], default: object = _REQUIRED) -> T:
        value = self._left.pop(key, default)
        if value is _REQUIRED:
            raise PresetTableError(f"{self.where}.{key}: missing")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise PresetTableError(f"{self.where}.{key}: {kind.__name__} was expected, not {value!r}")
        return value

    def has(self, key: str) -> bool:
        return key in self._left

    def text(self, key: str, default: object = _REQUIRED) -> str:
        return " ".join(self._take(key, str, default).split())

    def whole(self, key: str, default: object = _REQUIRED) -> int:
        value = self._take(key, int, default)
        if value < 0:
            raise PresetTableError(f"{self.where}.{key}: {value} is negative")
        return value

    def flag(self, key: str, default: bool) -> bool:
        return self._take(key, bool, default)

    def fraction(self, key: str) -> Fraction:
        return _fraction(f"{self.where}.{key}", self.text(key))

    def list_of(self, key: str, kind: type[T]) -> tuple[T, ...]:
        values: list[object] = self._take(key, list, [])
        found: list[T] = []
        for value in values:
            if not isinstance(value, kind):
                raise PresetTableError(f"{self.where}.{key}: {kind.__name__} was expected, not {value!r}")
            found.append(value)
        return tuple(found)

    def block(self, key: str) -> _Block:
        return _Block(f"{self.where}.{key}", self._left.pop(key, None))

    def blocks(self, key: str) -> Iterable[_Block]:
        for index, value in enumerate(self.list_of(key, dict)):
            yield _Block(f"{self.where}.{key}[{index}]", value)

    def named_blocks(self, key: str) -> Iterable[tuple[str, _Block]]:
        values: dict[object, object] = self._take(key, dict, {})
        for name, value in values.items():
            yield str(name), _Block(f"{self.where}.{key}.{name}", value)

    def texts_by_number(self, key: str) -> Iterable[tuple[int, str]]:
        values: dict[object, object] = self._take(key, dict, {})
        for number, text in values.items():
            if not (str(number).isdigit() and isinstance(text, str)):
                raise PresetTableError(f"{self.where}.{key}: a whole number and a text were expected, not {number!r}")
            yield int(str(number)), " ".join(text.split())

    def finish(self) -> None:
        if self._left:
            raise PresetTableError(f"{self.where}: unknown keys {sorted(map(str, self._left))}")


def _fraction(where: str, text: str) -> Fraction:
    try:
        return Fraction(text)
    except ValueError:
        raise PresetTableError(f"{where}: {text!r} is not a decimal number") from None


def _choice(block: _Block, key: str, values: tuple[T, ...]) -> T:
    text = block.text(key)
    for value in values:
        if value == text:
            return value
    raise PresetTableError(f"{block.where}.{key}: {text!r} is none of {values}")


def _preset(block: _Block) -> Preset:
    layout_known = block.has("layout")
    attention = _optional(block, "attention", _attention, (True, True, ""))
    no_weights: tuple[tuple[str, ...], str] = ((), "")
    weights = _optional(block, "weights", _weights, no_weights)
    recall = _optional(block, "recall", _recall, (False, False))
    residencies: tuple[Residency, ...] = get_args(Residency)
    preset = Preset(
        id=block.text("id"),
        version=block.text("version"),
        title=block.text("title"),
        storage=_optional(block, "layout", _storage, BF16_KV),
        layout_known=layout_known,
        residency=_choice(block, "residency", residencies),
        supports=tuple(_support(name, support) for name, support in block.named_blocks("engines")),
        gpu=_gate(block.block("gpu")),
        claim=_claim(block.block("claim")),
        ratio_evidence=block.text("ratio_evidence"),
        quality=tuple(_quality(row) for row in block.blocks("quality")),
        evicts=recall[0],
        recall_measured=recall[1],
        mla=attention[0],
        windows=attention[1],
        attention_source=attention[2],
        weights_excluded=weights[0],
        weights_source=weights[1],
        cautions=tuple(" ".join(text.split()) for text in block.list_of("cautions", str)),
        head_dim_cautions=tuple(block.texts_by_number("head_dim_cautions")),
        codec=block.text("codec", ""),
    )
    block.finish()
    return preset


def _optional(block: _Block, key: str, read: Callable[[_Block], T], default: T) -> T:
    if not block.has(key):
        return default
    inner = block.block(key)
    value = read(inner)
    inner.finish()
    return value


def _storage(block: _Block) -> KvStorage:
    return KvStorage(
        k_bits=block.whole("k_bits"),
        v_bits=block.whole("v_bits"),
        group=block.whole("group", 0),
        scale_bytes=block.whole("scale_bytes", 0),
        vector_bytes=block.whole("vector_bytes", 0),
        skip_layers=block.whole("skip_layers", 0),
    )


def _attention(block: _Block) -> tuple[bool, bool, str]:
    return block.flag("mla", True), block.flag("windows", True), block.text("source")


def _weights(block: _Block) -> tuple[tuple[str, ...], str]:
    return block.list_of("excluded", str), block.text("source")


def _recall(block: _Block) -> tuple[bool, bool]:
    return block.flag("evicts", False), block.flag("measured", False)


def _support(engine: str, block: _Block) -> EngineSupport:
    known = block.has("decode_time_factor")
    support = EngineSupport(
        engine=engine,
        flag=block.text("flag"),
        min_version=block.text("since"),
        source=block.text("source"),
        decode_time_factor=block.fraction("decode_time_factor") if known else None,
        decode_time_source=block.text("decode_time_source") if known else "",
    )
    block.finish()
    return support


def _gate(block: _Block) -> GpuGate:
    gate = GpuGate(
        vendors=block.list_of("vendors", str),
        min_capability=block.text("from", ""),
        below_capability=block.text("below", ""),
        native_capability=block.text("native_from", ""),
        emulated_head_dims=block.list_of("emulated_head_dims", int),
        source=block.text("source", ""),
    )
    block.finish()
    return gate


def _claim(block: _Block) -> Claim:
    claim = Claim(
        ratio=block.fraction("ratio"),
        head_dim=block.whole("head_dim"),
        source=block.text("source"),
        not_comparable=block.text("not_comparable", ""),
        superseded_by=block.text("superseded_by", ""),
    )
    block.finish()
    if claim.ratio <= 0 or claim.head_dim == 0:
        raise PresetTableError(f"{block.where}: a ratio and a head size above 0 were expected")
    return claim


def _quality(block: _Block) -> QualityRow:
    metrics: tuple[Metric, ...] = get_args(Metric)
    kinds: tuple[EvidenceKind, ...] = get_args(EvidenceKind)
    metric = _choice(block, "metric", metrics)
    value_ppm, figures, baseline = _loss(block, metric)
    noise_points = block.fraction("noise_points") if block.has("noise_points") else Fraction(0)
    row = QualityRow(
        metric=metric,
        value_ppm=value_ppm,
        model=block.text("model"),
        task=block.text("task"),
        kind=_choice(block, "kind", kinds),
        source=block.text("source"),
        figures=figures,
        samples=block.whole("samples") if block.has("samples") else None,
        noise_ppm=ppm_up(noise_points / baseline),
        within_noise=block.flag("within_noise", False),
        upper_bound=block.flag("upper_bound", False),
        protocol=_choice(block, "protocol", _PROTOCOLS) if block.has("protocol") else None,
        prefix_tokens=block.whole("prefix_tokens") if block.has("prefix_tokens") else None,
        weights_sha256=block.text("weights_sha256", ""),
    )
    block.finish()
    return row


def _loss(block: _Block, metric: Metric) -> tuple[int, str, Fraction]:
    """(loss in ppm, rounded up and never below 0; the figures as published; the baseline score)."""
    if metric == "ppl_increase":
        text = block.text("increase")
        return ppm_up(max(_fraction(block.where, text), Fraction(0)) / 100), f"+{text} %", Fraction(100)
    if block.has("recovery"):
        text = block.text("recovery")
        recovered = _fraction(block.where, text)
        return ppm_up(max(100 - recovered, Fraction(0)) / 100), f"{text} % recovered", Fraction(100)
    scores = block.list_of("scores", str)
    if len(scores) != 2:
        raise PresetTableError(f"{block.where}.scores: a baseline and a score were expected")
    before, after = (_fraction(block.where, text) for text in scores)
    if before <= 0:
        raise PresetTableError(f"{block.where}.scores: a baseline above 0 was expected")
    return ppm_up(max(before - after, Fraction(0)) / before), f"{scores[0]} -> {scores[1]}", before


def ppm_up(share: Fraction) -> int:
    """A share in whole parts per million, rounded up: a loss is never understated.

    >>> ppm_up(Fraction(1, 3))
    333334
    """
    return -(-share.numerator * 1_000_000 // share.denominator)
