"""Fit the constants of the roofline to the kernel tables of aiconfigurator-core.

Run it in an environment with the package: `python tests/bench/roofline`. It writes
planner/performance/roofline_constants.json. Of every (GPU, engine, kernel, dtype) 60 % of the shape groups are
fitted (a group is all rows of one matrix, or of one set of heads, or of one expert shape), and the error is that on
the other groups, which no row of was seen. Only kernel tables are read: measurements of whole engines are the referee
(tests/bench/silicon.py).
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
sys.path.insert(0, str(Path(__file__).parent))

import fits
import tables

OUTPUT = Path(__file__).parents[3] / "planner/performance/roofline_constants.json"
SOURCE = (
    "Fitted by tests/bench/roofline to the kernel tables of aiconfigurator-core 0.12.0 (Apache-2.0). mean_pct and"
    " p90_pct are relative errors on shape groups that a first fit did not see; of all-reduce and gathers on the"
    " fitted rows."
)


def main() -> None:
    """Fit every GPU and engine, or the GPUs that are named on the command line, and write what was found."""
    wanted = sys.argv[1:] or list(tables.SYSTEMS)
    kept = json.loads(OUTPUT.read_text())["kernels"] if sys.argv[1:] and OUTPUT.exists() else []
    found = [fit for gpu in wanted for fit in fits.fit_gpu(gpu)]
    kernels = [row for row in kept if row["gpu"] not in wanted] + [asdict(each) for each in found]
    order = list(tables.SYSTEMS)
    kernels.sort(key=lambda row: (order.index(row["gpu"]), row["engine"], row["op"], row["dtype"]))
    lines = ",\n".join("  " + json.dumps(row) for row in kernels)
    OUTPUT.write_text(f'{{\n "source": {json.dumps(SOURCE)},\n "kernels": [\n{lines}\n ]\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
