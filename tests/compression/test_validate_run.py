"""Tests of a whole validation on a tiny model: the evidence, interruption and resumption, the command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'kvplan[validate]'")
pytest.importorskip("transformers", reason="transformers is not installed: pip install 'kvplan[validate]'")

from planner.cli.main import kvplan  # noqa: E402
from planner.compression import validate as harness  # noqa: E402
from planner.compression import validate_run  # noqa: E402
from planner.compression.codecs import kv_codec_ids, load_codec, load_kv_codec  # noqa: E402
from planner.compression.codecs_data import kv_spec  # noqa: E402
from planner.compression.evidence import from_json  # noqa: E402
from planner.compression.language_model import LanguageModel, ValidationError, run  # noqa: E402
from planner.compression.texts import Text  # noqa: E402
from planner.compression.validate import Progress, Tier, validate  # noqa: E402
from planner.compression.validate_journal import Journal  # noqa: E402
from planner.compression.validate_measure import (  # noqa: E402
    cut_windows,
    measure_baseline,
    serialized_bytes,
    write_time_nll,
)
from planner.compression.validate_recall import build_prompt  # noqa: E402
from planner.compression.validate_stores import ExactStore, Recorded  # noqa: E402

TINY = Tier(1, prefix_tokens=160, scored_tokens=24, windows=4, texts=(), presets=(), recall_prompts=1)
PRESETS = ("int8-per-token-head", "e8-k2v2", "nexusquant-max")


@pytest.fixture(scope="module")
def texts() -> list[Text]:
    """Two texts of the tiny vocabulary."""
    words = [f"w{(7 * place * place + 3 * place) % 61}" for place in range(1200)]
    return [Text("one", " ".join(words), "11", ""), Text("two", " ".join(reversed(words)), "22", "")]


def test_the_evidence_of_a_run(tiny_model: LanguageModel, texts: list[Text]) -> None:
    """Tests bytes against the formula, the control, window counts, and that only evicting presets are probed."""
    seen: list[Progress] = []
    evidence = validate(PRESETS, tiny_model, texts, TINY, progress=seen.append)
    assert [row.id for row in evidence.rows] == list(PRESETS)
    assert evidence.key.texts == {"one": "11", "two": "22"}
    assert all(abs(quality.ppl.mean_pct) < 0.05 for quality in evidence.control)
    for row in evidence.rows:
        assert row.packed_bytes == kv_spec(row.id).sequence_bytes(2, 2, 32, 160)
        assert 0 < row.serialized_bytes <= row.packed_bytes < row.plain_bytes
        assert [len(quality.nll_differences) for quality in row.quality] == [4, 4]
        assert len(row.attention_error) == 2
    int8, e8, evicting = evidence.rows
    assert int8.resident_bytes == int8.packed_bytes
    assert [row.resident_bytes == row.plain_bytes for row in (e8, evicting)] == [True, True]
    assert max(int8.attention_error) < min(e8.attention_error)
    assert (int8.recall, e8.recall) == (None, None)
    assert evicting.recall is not None and evicting.recall.questions == 32
    assert [progress.done for progress in seen] == list(range(len(seen)))
    assert seen[-1].done == seen[-1].total == 4 * 4 + 2


@pytest.mark.parametrize("at", [0, 3, 7, 17])
def test_an_interrupted_run_resumes(
    tiny_model: LanguageModel, texts: list[Text], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Tests that after an interruption only the missing work is done, and the evidence is the same."""
    whole = validate(PRESETS, tiny_model, texts, TINY)
    path = tmp_path / "journal.jsonl"

    def interrupt(progress: Progress) -> None:
        if progress.done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        validate(PRESETS, tiny_model, texts, TINY, Journal(path), interrupt)
    if path.exists():
        path.write_bytes(path.read_bytes()[:-7])  # the last line is torn, too
    done = max(0, at - 1)
    resumed = Journal(path)
    added: list[str] = []
    add = resumed.add
    monkeypatch.setattr(resumed, "add", lambda key, record: (added.append(key), add(key, record))[1])
    assert validate(PRESETS, tiny_model, texts, TINY, resumed) == whole
    assert len(added) == 18 - done


def test_rows_that_compute_the_same_are_measured_once(tiny_model: LanguageModel, texts: list[Text]) -> None:
    """Tests that SGLang's fp8 and vLLM's share a measurement, and that the baseline is never a row."""
    journal = Journal()
    evidence = validate(["fp8", "sglang-fp8-e4m3", "fp16"], tiny_model, texts, TINY, journal)
    one, other = evidence.rows
    assert replace(one, id=other.id) == other
    assert len(journal._records) == 4 * 2 + 1


def test_a_changed_codec_is_measured_again(
    tiny_model: LanguageModel, texts: list[Text], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests that the journal is keyed by the codec revision."""
    journal = Journal()
    validate(["fp8"], tiny_model, texts, TINY, journal)
    before = len(journal._records)
    codec = load_kv_codec("fp8")
    changed = replace(codec, spec=replace(codec.spec, key=replace(codec.spec.key, revision="another")))
    monkeypatch.setattr(harness, "load_kv_codec", lambda name: changed if name == "fp8" else load_kv_codec(name))
    validate(["fp8"], tiny_model, texts, TINY, journal)
    assert len(journal._records) == before + 4


def test_what_cannot_be_measured_is_a_sentence(tiny_model: LanguageModel, texts: list[Text]) -> None:
    """Tests an unknown preset, a text that is too short, and a model without rotary embedding."""
    with pytest.raises(ValidationError, match="unknown presets: gzip"):
        validate(["gzip"], tiny_model, texts, TINY)
    with pytest.raises(ValidationError, match="one: 1,200 tokens are too few for 400 windows"):
        validate(["fp8"], tiny_model, texts[:1], replace(TINY, windows=400))
    with pytest.raises(ValidationError, match="e8-k2v2: it removes rotary positions"):
        validate(["e8-k2v2"], replace(tiny_model, rope_theta=0.0), texts, TINY)
    with pytest.raises(ValidationError, match="longer than its 512 positions"):
        validate(["fp8"], tiny_model, texts, replace(TINY, prefix_tokens=500))


def test_windows_cover_the_text(tiny_model: LanguageModel, texts: list[Text]) -> None:
    """Tests that windows start at the first token, end at the last, and do not overlap."""
    windows = cut_windows(tiny_model, texts[0], 5, 160, 24)
    assert [window.start for window in windows] == [0, 253, 507, 761, 1015]
    assert windows[-1].start + len(windows[-1].tokens) == 1200
    assert all(window.scored_tokens == 24 for window in windows)


def test_the_score_is_the_likelihood_of_each_next_token(tiny_model: LanguageModel, texts: list[Text]) -> None:
    """Tests the NLL of a window against one forward for every scored token, which sees only what came before."""
    window = cut_windows(tiny_model, texts[0], 2, 160, 24)[1]
    baseline = measure_baseline(tiny_model, window)
    total = 0.0
    for target in range(161, 185):
        logits = run(tiny_model, torch.tensor([window.tokens[:target]]), ExactStore(), keep=1)
        total -= float(logits[0, -1].log_softmax(-1)[window.tokens[target]])
    assert baseline.prefix_nll - baseline.control_prefix_difference == pytest.approx(total / 24, abs=1e-5)
    assert baseline.write_nll - baseline.control_write_difference == pytest.approx(total / 24, abs=1e-5)


@pytest.mark.parametrize("preset", ["e8-k2v2", "nexusquant-max", "nexusquant-0.6.3-asym", "evict-60"])
def test_reading_the_prompt_once_changes_no_score(tiny_model: LanguageModel, texts: list[Text], preset: str) -> None:
    """Tests that prompt and continuation in two forwards, the first shared, score as one forward does."""
    window = cut_windows(tiny_model, texts[0], 2, 160, 24)[1]
    written: dict[str, Recorded] = {}
    codec = load_kv_codec(preset)
    for name in ("fp16", "e8-k2v2", "e8-k3v2"):
        write_time_nll(tiny_model, window, load_kv_codec(name), written)
    shared = write_time_nll(tiny_model, window, codec, written)
    assert len(written) == 3
    assert shared == pytest.approx(write_time_nll(tiny_model, window, codec), abs=2e-4)
    assert shared != pytest.approx(write_time_nll(tiny_model, window, load_kv_codec("fp16")), abs=2e-3)


def test_a_recall_prompt_has_the_length_of_a_prefix(tiny_model: LanguageModel) -> None:
    """Tests that pairs come first and that the seed decides them."""
    one, same, other = (build_prompt(tiny_model, [3] * 999, 300, seed) for seed in (1, 1, 2))
    assert len(one.tokens) == 300
    assert (one == same, len(one.questions)) == (True, 32)
    assert one.tokens[-20:-1] == (3,) * 19
    del other


def test_entropy_coding_finds_constant_codes() -> None:
    """Tests that constant vectors serialize to far less than they pack to, and random ones to about as much."""
    codec = load_codec("e8-2bit")
    dice = torch.Generator().manual_seed(2)
    sizes = []
    for x in (torch.ones(2, 64, 64), torch.randn(2, 64, 64, generator=dice)):
        packed = codec.encode(x, kind="key")
        sizes.append(serialized_bytes(codec.spec, packed) / codec.packed_bytes(2, 64, 64, "key"))
    assert sizes[0] < 0.1
    assert 0.7 < sizes[1] < 1.3


def test_the_command_writes_evidence_whole(
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    texts: list[Text],
) -> None:
    """Tests the file, the journal, the message about an unpinned text, and the sentence for a missing model."""
    (tmp_path / "mine.txt").write_text(texts[0].content, encoding="utf-8")
    monkeypatch.setattr(validate_run, "TIERS", {1: TINY})
    monkeypatch.setattr(harness, "TIERS", {1: TINY})
    monkeypatch.setenv("KVPLAN_CACHE", str(tmp_path / "cache"))

    def measured(*words: str) -> Result:
        return CliRunner().invoke(kvplan, ["profile", "validate", "fp8", "--threads", "1", *words])

    words = ("--model", str(tiny_folder), "--text", str(tmp_path / "mine.txt"), "-o", str(tmp_path / "evidence.json"))
    assert measured(*words).exit_code == 0
    done = measured(*words)  # all found in the journal
    assert done.exit_code == 0, done.output
    assert "the text mine has no pinned hash" in done.stderr
    assert done.stderr.rstrip().endswith("9/9 done")
    assert done.stdout == ""
    assert from_json((tmp_path / "evidence.json").read_text()).rows[0].id == "fp8"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "evidence.json", "mine.txt"]
    missing = measured("--model", str(tmp_path / "none.gguf"))
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "no such file or folder" in missing.stderr


def test_an_interrupted_measurement_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests exit 130, and that nothing but the way to resume is said."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(validate_run, "make_evidence", interrupted)
    done = CliRunner().invoke(kvplan, ["profile", "validate", "fp8"])
    assert (done.exit_code, done.stdout) == (130, "")
    assert "the same command resumes" in done.stderr


def test_the_time_left_counts_real_work_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tests that 90 pieces from the journal do not make the last ten look fast: ten of a minute each are left."""
    clock = [0.0]
    monkeypatch.setattr(validate_run.time, "monotonic", lambda: clock[0])
    show = validate_run.progress_line()
    for done in range(91):
        clock[0] += 0.001
        show(Progress(done, 101, "found"))
    clock[0] += 60.0
    show(Progress(91, 101, "measured"))
    assert capsys.readouterr().err.splitlines()[-1] == "91/101 measured, about 10 min left"


def test_every_preset_can_be_measured(tiny_model: LanguageModel, texts: list[Text]) -> None:
    """Tests that all presets of the file run through both protocols on a model of another shape (32-wide heads)."""
    evidence = validate([], tiny_model, texts[:1], replace(TINY, windows=1, recall_prompts=0))
    assert len(evidence.rows) == len(kv_codec_ids()) - 1  # all but the baseline
