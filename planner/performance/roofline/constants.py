"""The fitted constants, read from `roofline_constants.json`, and whose constants answer for whom.

A GPU that was measured answers for itself; another one takes the kernels of its architecture at its own peak rates. An
engine whose kernel was not measured takes that of another engine. All of this is said in `notes`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from planner.catalog.gpus import load_gpu
from planner.catalog.types import Bottleneck, GpuFacts, Refusal

PCIE_LINK_BYTES_PER_S = 64 * 10**9
"""One-way rate of PCIe 5.0 x16: up to here a link is PCIe, whose collectives are not like those of NVLink."""

PCIE_REFERENCE = "l40s-48gb"
"""The measured GPU whose collectives stand in on PCIe."""

_ENGINES = ("vllm", "tensorrt-llm", "sglang")
_COLLECTIVES = ("all_reduce", "gather")
US, NS = 1e-6, 1e-9


@dataclass(frozen=True)
class Kernel:
    """One fitted kernel family. `constants` has times in us and ns, as their names say."""

    gpu: str
    engine: str
    op: str
    dtype: str
    table: str
    rows: int
    mean_pct: float
    constants: dict[str, float]


@dataclass
class Kernels:
    """The kernels of a GPU under an engine. `notes` collects what was taken from elsewhere, `tables` what was used."""

    gpu: GpuFacts
    engine: str
    relative: str
    """The measured GPU that answers."""
    notes: list[str] = field(default_factory=list)
    tables: set[str] = field(default_factory=set)

    def find(self, op: str, *dtypes: str) -> dict[str, float] | None:
        """Constants of the first format that was measured: on this engine, on another, on a GPU of the same
        architecture; None: nowhere."""
        engines = (self.engine, *(name for name in _ENGINES if name != self.engine), "nccl")
        for gpu in self._homes(op):
            for engine in engines:
                for dtype in dtypes:
                    kernel = _rows().get((gpu, engine, op, dtype))
                    if kernel is not None:
                        self._take(kernel, dtypes[0])
                        return kernel.constants
        return None

    def sizes(self, op: str, dtype: str) -> tuple[int, ...]:
        """Sizes for which a kernel was measured on some engine, such as the head sizes of `bf16/128`."""
        home = self._home(op)
        found = {key[3] for key in _rows() if key[0] == home and key[2] == op and key[3].startswith(f"{dtype}/")}
        return tuple(sorted(int(each.partition("/")[2]) for each in found))

    def _homes(self, op: str) -> tuple[str, ...]:
        """The GPU that answers, then the others of its architecture."""
        home, measured = self._home(op), measured_gpus()
        kin = (name for name, facts in measured.items() if facts.architecture == measured[home].architecture)
        return (home, *(name for name in kin if name != home))

    def _home(self, op: str) -> str:
        """Collectives of a PCIe card do not follow those of its architecture's NVLink board, nor the other way."""
        if op not in _COLLECTIVES or self.gpu.id == self.relative:
            return self.relative
        reference = load_gpu(self.relative)
        assert reference is not None
        same = (self.gpu.link_bytes_per_s <= PCIE_LINK_BYTES_PER_S) == (
            reference.link_bytes_per_s <= PCIE_LINK_BYTES_PER_S
        )
        return self.relative if same else PCIE_REFERENCE

    def _take(self, kernel: Kernel, wanted: str) -> None:
        if kernel.engine == self.engine:
            self.tables.add(kernel.table)
        elif kernel.engine != "nccl":
            self.note(
                f"{kernel.op} kernels of {self.engine} were not measured: those of {kernel.engine} {kernel.table}"
            )
        if kernel.dtype != wanted:
            self.note(f"{kernel.op} in {wanted} was not measured: {kernel.dtype} kernels on its stored bytes")
        if kernel.gpu not in (self.gpu.id, self.relative):
            other_link = kernel.op in _COLLECTIVES and self._home(kernel.op) != self.relative
            why = "has no NVLink: collectives" if other_link else f"has no {kernel.op} {wanted}: kernels"
            self.note(f"{self.gpu.id} {why} of {kernel.gpu}")

    def note(self, text: str) -> None:
        """Say once what was taken from elsewhere."""
        if text not in self.notes:
            self.notes.append(text)


def kernels_for(gpu: GpuFacts, engine: str) -> Kernels | Refusal:
    """The kernels of a GPU: its own, or its architecture's with its own rates; else a refusal that names all."""
    measured = measured_gpus()
    if gpu.id in measured:
        return Kernels(gpu, engine, gpu.id)
    relatives = {facts.architecture: name for name, facts in reversed(measured.items())}
    relative = relatives.get(gpu.architecture)
    if relative is None:
        return Refusal(
            Bottleneck.GPU,
            f"no latency figures for {gpu.id}: the roofline provider covers {', '.join(sorted(measured))}, "
            f"and other GPUs of the architectures {', '.join(sorted(relatives))}",
            nearest=", ".join(sorted(measured)),
        )
    note = f"{gpu.id} was not measured: kernel constants of {relative} at its own peak rates"
    return Kernels(gpu, engine, relative, [note])


@cache
def measured_gpus() -> dict[str, GpuFacts]:
    """The GPUs that have kernels of their own; the first of an architecture stands for it."""
    ids = dict.fromkeys(key[0] for key in _rows())
    return {name: facts for name in ids if (facts := load_gpu(name)) is not None}


def kernel_rows() -> Iterator[Kernel]:
    """All fitted kernel families."""
    yield from _rows().values()


@cache
def _rows() -> dict[tuple[str, str, str, str], Kernel]:
    text = files("planner.performance").joinpath("roofline_constants.json").read_text(encoding="utf-8")
    rows = (
        Kernel(
            str(raw["gpu"]),
            str(raw["engine"]),
            str(raw["op"]),
            str(raw["dtype"]),
            str(raw["table"]),
            int(raw["rows"]),
            float(raw["mean_pct"]),
            {str(name): float(value) for name, value in raw["constants"].items()},
        )
        for raw in json.loads(text)["kernels"]
    )
    return {(row.gpu, row.engine, row.op, row.dtype): row for row in rows}
