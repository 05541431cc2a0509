"""How long a million requests take to read and how much memory; `pytest tests/bench/test_trace_speed.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REQUESTS = 1_000_000
READ = """
import resource, sys, time
start = time.process_time()
from planner.traffic.trace import read_trace
from planner.traffic.trace_stats import summarize
trace = read_trace(sys.argv[1])
read = time.process_time() - start
summarize(trace)
print(trace.requests, read, time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def written(path: Path, kind: str) -> None:
    """A log of a million requests."""
    random = np.random.default_rng(1)
    arrival = np.cumsum(random.exponential(0.01, REQUESTS))
    prompts, outputs = random.integers(1, 8_000, REQUESTS), random.integers(1, 900, REQUESTS)
    rows = zip(arrival, prompts, outputs, strict=True)
    with path.open("w") as stream:
        if kind == "azure":
            start = np.datetime64("2024-05-10T00:00:00", "us")
            texts = (start + (arrival * 1e6).astype("timedelta64[us]")).astype(str)
            stream.write("TIMESTAMP,ContextTokens,GeneratedTokens\n")
            stream.writelines(
                f"{text.replace('T', ' ')}+00:00,{prompt},{output}\n"
                for text, (_, prompt, output) in zip(texts, rows, strict=True)
            )
        elif kind == "burstgpt":
            stream.write("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n")
            stream.writelines(f"{t:.3f},ChatGPT,{p},{o},{p + o},Conversation log\n" for t, p, o in rows)
        else:
            for index, (t, p, o) in enumerate(rows):
                row = {"timestamp": int(t * 1000), "input_length": int(p), "output_length": int(o)}
                stream.write(json.dumps(row | {"hash_ids": list(range(index, index + int(p) // 512 + 1))}) + "\n")


@pytest.mark.parametrize("kind", ["azure", "burstgpt", "mooncake"])
def test_a_million_requests_are_read_in_seconds(tmp_path: Path, kind: str) -> None:
    """Measures CPU seconds and peak memory of a process that reads and summarizes a million requests."""
    path = tmp_path / "log"
    written(path, kind)
    done = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True)
    requests, read_s, whole_s, peak_bytes = map(float, done.stdout.split())
    sys.stdout.write(f"{kind}: read {read_s:.2f} s, with figures {whole_s:.2f} s, {peak_bytes / 1e6:.0f} MB\n")
    assert requests == REQUESTS
    assert read_s < 10  # twice what an unloaded core needs of the slowest kind
    assert peak_bytes < 500e6
