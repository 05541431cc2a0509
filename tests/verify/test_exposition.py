"""Saved metrics: what is read, and what is said of files that are damaged, or of another kind."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from planner.errors import InputError
from planner.verify.exposition import read_series
from planner.verify.metrics import measured, read_metrics

OLD = """# HELP vllm:num_requests_running Number of requests currently running on GPU.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="a/b\\"c"} 3.0
vllm:num_requests_waiting{model_name="a/b\\"c"} 0.0
vllm:gpu_cache_usage_perc{model_name="a/b\\"c"} 0.25
vllm:gpu_prefix_cache_queries_total{model_name="a/b\\"c"} 200
vllm:gpu_prefix_cache_hits_total{model_name="a/b\\"c"} 50
vllm:num_preemptions_total{model_name="a/b\\"c"} 2
vllm:time_per_output_token_seconds_sum{model_name="a/b\\"c"} 12.5
vllm:time_per_output_token_seconds_count{model_name="a/b\\"c"} 500
vllm:cache_config_info{block_size="16",num_gpu_blocks="1000",cache_dtype="auto"} 1.0
"""


def _matrix(name: str, *series: list[tuple[float, float]]) -> str:
    result = [
        {"metric": {"__name__": name, "instance": f"r{number}", "model_name": "m"},
         "values": [[at, f"{value:g}"] for at, value in points]}
        for number, points in enumerate(series)
    ]  # fmt: skip
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}})


def test_names_of_old_releases(tmp_path: Path) -> None:
    """One scrape of a release before 0.11: counters since its start, gauges of one moment, the pool as reported."""
    path = tmp_path / "metrics.prom"
    path.write_text(OLD, encoding="utf-8")
    found = measured(read_metrics(str(path)), 1)
    assert (found.is_snapshot, found.replicas, found.running, found.kv_use) == (True, None, 3.0, 0.25)
    assert (found.hit_share, found.preemptions, found.token_gap_s, found.pool_tokens) == (0.25, 2, 0.025, 16_000)
    assert read_series(str(path))[0].label("model_name") == 'a/b"c'


def test_range_queries(tmp_path: Path) -> None:
    """Gauges are means over time and replicas, an absent point is 0; counters are what they grew by, over restarts."""
    path = tmp_path / "range.json"
    running = _matrix("vllm:num_requests_running", [(0, 4), (10, 8)], [(10, 2)])
    growing = _matrix("vllm:num_preemptions_total", [(0, 10), (10, 13), (20, 1)], [(0, 5), (20, 5)])
    path.write_text(running + "\n" + growing, encoding="utf-8")
    found = measured(read_metrics(str(path)), 5)
    assert (found.replicas, found.running, found.running_max, found.preemptions) == (2, 3.5, 8, 4)
    assert not found.is_snapshot


def test_several_scrapes_in_one_file(tmp_path: Path) -> None:
    """A series that comes again is of a later scrape; gzip is read as it is."""
    path = tmp_path / "metrics.prom.gz"
    path.write_bytes(gzip.compress((OLD + OLD.replace(" 3.0", " 5.0").replace(" 2\n", " 7\n")).encode()))
    found = measured(read_metrics(str(path)), 1)
    assert (found.running, found.preemptions) == (4.0, 5)


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("", "KV732", "no metrics"),
        ("vllm:num_requests_running 3\nvllm:num_requ", "KV732", ":2: error: no metric can be read"),  # cut off
        ("<html>\n<p>\n404\nnot here at all\n", "KV732", "lines are no metrics"),
        ("sglang:num_running_reqs 3\n", "KV733", "SGLang"),
        ("node_cpu_seconds_total 3\n", "KV733", "no metric of vLLM"),
        ("vllm:kv_cache_usage_perc 43.5\n", "KV733", "were percents saved"),
        ("vllm:num_requests_running -1\n", "KV733", "below 0"),
        ('vllm:time_to_first_token_seconds_bucket{le="0.1"} 3\n', "KV733", "was the file cut off"),
        ('{"status":"success","data":{"result":[{"metric"', "KV732", "is not JSON"),  # cut off
        ('{"status":"error","error":"bad query"}', "KV732", "bad query"),
        ('{"data":{"result":[{"metric":{},"values":[]}]}}', "KV732", "no metric name"),
        ('{"data":{"result":[{"metric":{"__name__":"vllm:x"},"values":[1]}]}}', "KV732", "no pairs"),
        ('{"a": 1}', "KV732", "no answer of Prometheus"),
        ("[1]", "KV732", "no answer of Prometheus"),
        ("[" * 100_000, "KV732", ""),
    ],
)
def test_wrong_metrics(tmp_path: Path, text: str, code: str, says: str) -> None:
    """What is wrong is said, with the line where there is one."""
    path = tmp_path / "metrics"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_metrics(str(path))
    assert code in str(caught.value)
    assert says in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    """Absent, a folder, binary, or cut gzip."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(OLD.encode())[:-20])
    for name in ("absent", ".", "binary", "cut.gz"):
        with pytest.raises(InputError, match="KV731"):
            read_series(str(tmp_path / name))
