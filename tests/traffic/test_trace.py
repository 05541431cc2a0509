"""Tests of reading request traces: every format, exact values, and whatever else stands in files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import InputError
from planner.traffic import trace_text
from planner.traffic.trace import Trace, read_trace

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:17:05.9799600,110,27
"""


def read(folder: Path, text: str | bytes, name: str = "trace.csv") -> Trace:
    """The trace of a text that stands in a file."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_trace(path)


def refusal(folder: Path, text: str | bytes) -> str:
    """What is said of a file that is no trace."""
    with pytest.raises(InputError) as caught:
        read(folder, text)
    return str(caught.value)


FORMATS = {
    "azure": AZURE,
    "burstgpt": "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,4808,10,4818,API log\n5.052,GPT-4,3180,8,3188,API log\n7,ChatGPT,110,27,137,API log\n",
    "mooncake": '{"timestamp": 3000, "input_length": 4808, "output_length": 10, "hash_ids": [0, 1]}\n'
    '{"timestamp": 3052, "input_length": 3180, "output_length": 8, "hash_ids": [0]}\n'
    '{"timestamp": 5000, "input_length": 110, "output_length": 27, "hash_ids": []}\n',
    "aiperf": "".join(
        json.dumps(
            {
                "metadata": {"request_start_ns": 1759813207532900000 + ns, "benchmark_phase": "profiling"},
                "metrics": {
                    "input_sequence_length": {"value": prompt, "unit": "tokens"},
                    "output_sequence_length": {"value": output, "unit": "tokens"},
                },
                "error": None,
            }
        )
        + "\n"
        for ns, prompt, output in ((0, 4808, 10), (52_000_000, 3180, 8), (2_000_000_000, 110, 27))
    ),
    "vllm": json.dumps(
        {
            "completed": 3,
            "input_lens": [4808, 3180, 110, 7],
            "output_lens": [10, 8, 27, 0],
            "start_times": [81.5, 81.552, 83.5, 90],
            "errors": ["", "", "", "timeout"],
        }
    ),
    "columns": "arrival_ms;prompt;prompt tokens;completion_tokens\n0;hi;4808;10\n52;you;3_180;8\n2000;there;110.0;27\n",
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("packed", [False, True])
def test_every_format_is_read_as_it_is(tmp_path: Path, kind: str, packed: bool) -> None:
    """Tests that the same requests are read from every format, packed or not, whatever the file is called."""
    data = FORMATS[kind].encode()
    trace = read(tmp_path, gzip.compress(data) if packed else data, "log.txt")
    assert trace.format == kind
    assert np.allclose(trace.arrival_s, [0, 0.052, 2.0], rtol=0, atol=1e-9)
    assert trace.input_tokens.tolist() == [4808, 3180, 110]
    assert trace.output_tokens.tolist() == [10, 8, 27]
    assert trace.requests == 3 and trace.bad_rows == (1 if kind == "vllm" else 0)


SERVER_LOG = """INFO 11-22 09:00:00 [api_server.py:1] vLLM API server version 0.12
(APIServer pid=7) INFO 11-22 09:00:01 [logger.py:40] Received request a-0: prompt: 'Generated response a-0: ,', \
params: SamplingParams(n=1), prompt_token_ids: [1, 2, 3], lora_request: None.
(APIServer pid=7) INFO 11-22 09:00:03 [logger.py:40] Received request b-0: prompt: 'prompt_token_ids: [9]', \
params: SamplingParams(n=1), prompt_token_ids: [1, 2], lora_request: None.
(APIServer pid=7) INFO 11-22 09:00:04 [logger.py:70] Generated response b-0 (streaming delta): output: 'x', \
output_token_ids: [5], finish_reason: None
(APIServer pid=7) INFO 11-22 09:00:04 [logger.py:70] Generated response b-0 (streaming complete): output: 'x', \
output_token_ids: [5, 6, 7, 8], finish_reason: stop
(APIServer pid=7) INFO 11-22 09:00:04 [logger.py:70] Generated response a-0: output: 'x', \
output_token_ids: [5, 6], finish_reason: stop
(APIServer pid=7) INFO 11-22 09:00:05 [logger.py:40] Received request c-0: params: SamplingParams(n=1).
"""


def test_the_servers_log_is_read(tmp_path: Path) -> None:
    """Tests that received and generated lines are joined, and that prompts cannot pretend to be either."""
    trace = read(tmp_path, SERVER_LOG.replace("\\\n", ""))
    assert trace.format == "vllm"
    assert trace.arrival_s.tolist() == [0, 2]
    assert trace.input_tokens.tolist() == [3, 2]
    assert trace.output_tokens.tolist() == [2, 4]
    assert trace.bad[0].line == 7 and "no token ids" in trace.bad[0].reason


def test_prefix_hashes_stay_with_their_requests(tmp_path: Path) -> None:
    """Tests that hashes follow their requests when these are sorted by arrival."""
    lines = FORMATS["mooncake"].splitlines()
    trace = read(tmp_path, "\n".join(reversed(lines)))
    assert trace.blocks is not None
    assert trace.blocks.ids.tolist() == [0, 1, 0]
    assert trace.blocks.offsets.tolist() == [0, 2, 3, 3]
    assert trace.blocks.block_tokens == 512


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2024-05-10 00:00:00.009930+00:00", 0.00993),
        ("2024-05-10T00:00:00Z", 0),
        ("2024-05-10T02:00:01+02:00", 1),
        ("2024-05-09T19:00:02-0500", 2),
        ("2024-05-10 00:00:03,5", 3.5),
        ("1715299204", 4),
        ("1715299204500", 4.5),
        ("1715299205000000", 5),
        ("1715299205500000000", 5.5),
        ("1715299206.25", 6.25),
    ],
)
def test_times_are_dates_of_any_zone_or_numbers_of_any_size(tmp_path: Path, text: str, seconds: float) -> None:
    """Tests that one column may hold times in every way that logs write them."""
    quoted = f'"{text}"' if "," in text else text
    trace = read(tmp_path, f"time,input_tokens,output_tokens\n2024-05-10 00:00:00,1,1\n{quoted},2,2\n")
    assert trace.arrival_s.tolist() == pytest.approx([0, seconds], abs=1e-9)


def test_bytes_that_differ_in_form_only_are_the_same_trace(tmp_path: Path) -> None:
    """Tests that a byte-order mark, Windows line ends and blank lines change nothing."""
    plain = read(tmp_path, AZURE)
    other = read(tmp_path, b"\xef\xbb\xbf\r\n" + AZURE.replace("\n", "\r\n\r\n").encode())
    assert np.array_equal(plain.arrival_s, other.arrival_s)
    assert np.array_equal(plain.input_tokens, other.input_tokens)
    assert plain.sha256 != other.sha256


BAD_ROWS = [
    ("2023-11-16 18:17:04,nan,8", "ContextTokens: 'nan' is not a number"),
    ("2023-11-16 18:17:04,-5,8", "ContextTokens: '-5' tokens are not between"),
    ("2023-11-16 18:17:04,5,0", "GeneratedTokens: 0 tokens"),
    ("2023-11-16 18:17:04,5,", "GeneratedTokens: no value"),
    ("2023-11-16 18:17:04,5", "only 2 cells"),
    ("2023-11-16 18:17:04,1.5,8", "not a whole number"),
    ("2023-11-16 18:17:04,99999999999999999999999999,8", "not between"),
    ("2023-11-16 18:17:04,1e400,8", "not between"),
    ("2023-02-30 18:17:04,5,8", "is not a date"),
    ("yesterday,5,8", "TIMESTAMP: 'yesterday' is not a time"),
    (",5,8", "TIMESTAMP: no value"),
    ("-7,5,8", "is no time from 0 on"),
    ("inf,5,8", "is not a time"),
    ('"a\nb",5,8', "is not a time"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS)
def test_bad_rows_are_left_out_with_their_line(tmp_path: Path, row: str, reason: str) -> None:
    """Tests that a bad row is counted, keeps its line number and says what is wrong."""
    header, *good = AZURE.splitlines(keepends=True)
    trace = read(tmp_path, header + good[0] + row + "\n" + "".join(good[1:]))
    assert trace.requests == 3 and trace.bad_rows == 1
    assert trace.bad[0].line == 3
    assert reason in trace.bad[0].reason
    assert trace.input_tokens.tolist() == [4808, 3180, 110]


@pytest.mark.parametrize(
    "row",
    [
        "{",
        "[1]",
        '{"timestamp": NaN, "input_length": 1, "output_length": 1, "hash_ids": []}',
        '{"timestamp": true, "input_length": 1, "output_length": 1, "hash_ids": []}',
        '{"timestamp": 1, "input_length": 1, "output_length": 1, "hash_ids": [1.5]}',
        '{"timestamp": 1, "input_length": 1, "output_length": 1, "hash_ids": [99999999999999999999]}',
        '{"timestamp": 1, "input_length": 1, "output_length": 1}',
        '{"timestamp": 1, "input_length": "", "output_length": 1, "hash_ids": []}',
        '{"timestamp": 1, "input_length": 1, "output_length": ' + "9" * 5000 + ', "hash_ids": []}',
        "[" * 100_000,
        '{"a": 1},{"a": 2}',
    ],
)
def test_bad_json_rows_are_left_out(tmp_path: Path, row: str) -> None:
    """Tests that one bad JSON line costs no other row."""
    first, *rest = FORMATS["mooncake"].splitlines()
    trace = read(tmp_path, "\n".join([first, row, *rest]))
    assert trace.requests == 3 and trace.bad_rows == 1
    assert trace.bad[0].line == 2


def test_a_failed_request_is_no_traffic(tmp_path: Path) -> None:
    """Tests that AIPerf's failed requests are left out and named."""
    failed = '{"metadata": {"request_start_ns": 1}, "metrics": {}, "error": {"code": 499}}\n'
    trace = read(tmp_path, FORMATS["aiperf"] + failed)
    assert trace.requests == 3
    assert trace.bad[0].reason == "the request failed"


def test_a_file_with_too_many_bad_rows_is_refused(tmp_path: Path) -> None:
    """Tests that one bad row in twenty is allowed, more are not, and the first ones are shown."""
    header, row = AZURE.splitlines(keepends=True)[:2]
    assert read(tmp_path, header + row * 190 + "x,y,z\n" * 10).bad_rows == 10
    message = refusal(tmp_path, header + row * 189 + "x,y,z\n" * 11)
    assert "11 of 200 rows are wrong" in message
    assert "trace.csv:191: error: TIMESTAMP: 'x' is not a time" in message
    assert message.count("KV713") == 6


HOPELESS = [
    (b"", "KV712"),
    (b"\n\n \n", "KV712"),
    (AZURE.splitlines()[0].encode(), "KV713"),
    (b"a,b,c\n1,2,3\n", "KV712"),
    (b"num_prefill_tokens,num_decode_tokens\n5,6\n", "arrival times"),
    (b"[" * 1000, "KV712"),
    (b'{"a": 1}\n', "KV712"),
    (b'{"input_lens": [1], "output_lens": [1]}', "without start_times"),
    (b'{"input_lens": [1], "output_lens": [1], "start_times": []}', "0, 1 and 1 entries"),
    (AZURE.encode("utf-16"), "UTF-16"),
    (b"PK\x03\x04...", "zip archive"),
    (gzip.compress(AZURE.encode())[:-12], "gzip data are damaged"),
    (b"\x1f\x8b" + b"x" * 50, "KV711"),
    (AZURE.encode() + b'"' + b"x" * 200_000, "KV711"),
    (bytes(range(256)) * 10, "KV712"),
]


@pytest.mark.parametrize(("data", "said"), HOPELESS)
def test_what_is_no_trace_is_refused_with_a_reason(tmp_path: Path, data: bytes, said: str) -> None:
    """Tests that every other file ends in a sentence with a code."""
    assert said in refusal(tmp_path, data)


def test_streams_and_folders_are_no_traces(tmp_path: Path) -> None:
    """Tests that only regular files are opened."""
    for path in ("/dev/zero", str(tmp_path), str(tmp_path / "none"), "a\0b"):
        with pytest.raises(InputError, match="KV711"):
            read_trace(path)


def test_a_gzip_bomb_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that a small file that unpacks to one endless line, or to endless bad rows, is refused in time."""
    monkeypatch.setattr(trace_text, "MOST_LINE_CHARS", 9_000_000)
    monkeypatch.setattr(trace_text, "MOST_TEXT_CHARS", 17_000_000)
    one_line = gzip.compress(b"x" * 17_000_000, compresslevel=1)
    blank_lines = gzip.compress(b"\n" * 4_000_000, compresslevel=1)
    rows = gzip.compress(b"2023-11-16 18:17:03,1,1\n" * 800_000, compresslevel=1)
    assert "a line has more than" in refusal(tmp_path, gzip.compress(AZURE.encode()) + one_line)
    assert "lines are blank" in refusal(tmp_path, gzip.compress(AZURE.encode()) + blank_lines)
    assert "unpacks to more than" in refusal(tmp_path, gzip.compress(AZURE.encode()) + rows)
    assert "rows so far are wrong" in refusal(tmp_path, AZURE.encode() + b"x\n" * 100_000)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(1, 10**5), st.integers(1, 10**4)), min_size=1, max_size=40
    ),
    json_lines=st.booleans(),
)
def test_reading_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]], json_lines: bool
) -> None:
    """Tests that any requests, in any order, come back sorted and unchanged."""
    if json_lines:
        names = ("timestamp", "input_length", "output_length")
        text = "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows)
    else:
        text = "time_ms,input_tokens,output_tokens\n" + "\n".join(",".join(map(str, row)) for row in rows)
    trace = read(tmp_path_factory.mktemp("trace"), text)
    expected = sorted(rows, key=lambda row: row[0])
    assert trace.input_tokens.tolist() == [row[1] for row in expected]
    assert trace.output_tokens.tolist() == [row[2] for row in expected]
    assert np.allclose(trace.arrival_s, [(row[0] - expected[0][0]) / 1e3 for row in expected], rtol=0, atol=1e-9)
