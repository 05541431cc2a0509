"""The command line from outside: exit codes, what goes where, and that nothing is half written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from planner import pipeline
from planner.cli import main as cli
from planner.cli import output

ROOT = Path(__file__).parents[2]
FIRST = "examples/01-first-plan/scenario.yaml"
MIXED = "examples/02-mixed-gpus/scenario.yaml"
PROD = "scenarios/prod.yaml"


def _environment(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key != "KVPLAN_DEBUG"}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **more}


# Exit codes


def test_exit_0_prints_one_page(kvplan) -> None:
    """A solved scenario exits 0 with the page on stdout and nothing on stderr."""
    done = kvplan("solve", MIXED)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("mixed-gpus   OPTIMAL, proved   $3,416.40 / month")


def test_exit_1_is_wrong_input(kvplan) -> None:
    """A mistake in the scenario exits 1, with place and code on stderr and nothing on stdout."""
    done = kvplan("solve", FIRST, "--set", "traffic.questions.peak=8k req/s")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("--set: error: traffic.questions.peak") and done.stderr.rstrip().endswith("[KV204]")


@pytest.mark.parametrize(
    "args",
    [
        ("sovle", FIRST),
        ("solve",),
        ("solve", FIRST, "--fromat", "json"),
        ("solve", FIRST, "--format", "xml"),
        ("solve", FIRST, "--time-limit", "-1"),
        ("validate",),
    ],
)
def test_exit_2_is_a_wrong_command_line(kvplan, args: tuple[str, ...]) -> None:
    """Unknown commands, options and values exit 2 before anything is read."""
    done = kvplan(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: kvplan" in done.stderr


def test_exit_3_is_infeasible_and_says_why(kvplan) -> None:
    """A promise that no GPU of the inventory keeps exits 3 and names the promise and a value that would do."""
    done = kvplan("solve", FIRST, "--set", "traffic.questions.slo.tpot_p95=2ms")
    assert done.returncode == 3
    assert done.stdout.startswith("first-plan   INFEASIBLE, proved")
    assert "tpot_p95 of questions is" in done.stdout and "nearest: tpot_p95" in done.stdout


def test_exit_4_without_a_plan_in_time(kvplan) -> None:
    """A time limit too short for any plan exits 4 and says UNKNOWN, never a wrong claim; so does one for any proof."""
    done = kvplan("solve", PROD, "--time-limit", "0.1", "--set", "budget.monthly=$51_000")
    assert done.returncode == 4
    assert done.stdout.startswith("prod-eu   UNKNOWN")
    done = kvplan("solve", PROD, "--time-limit", "0.1", "--require-optimal")
    assert done.returncode == 4
    assert done.stdout.startswith("prod-eu   FEASIBLE")


def test_exit_6_names_the_row_that_does_not_hold(kvplan, plan_file: Path, tmp_path: Path) -> None:
    """`check` passes the plan as written, and exits 6 naming the value that was changed by hand."""
    assert kvplan("check", str(plan_file)).returncode == 0
    changed = tmp_path / "changed.json"
    changed.write_text(plan_file.read_text().replace('"cost_per_h": "4.68"', '"cost_per_h": "4.60"'))
    done = kvplan("check", str(changed), "--no-hash")
    assert done.returncode == 6
    assert "totals.cost_per_h: the plan says '4.60', derived '4.68'" in done.stdout


def test_exit_6_for_a_broken_hash(kvplan, plan_file: Path, tmp_path: Path) -> None:
    """A hash that does not belong to the document is a finding of its own."""
    tree = json.loads(plan_file.read_text())
    tree["hash"] = "sha256:" + "0" * 64
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(tree))
    done = kvplan("check", str(changed), "--format", "json")
    assert done.returncode == 6
    assert [row["row"] for row in json.loads(done.stdout)["findings"]] == ["hash"]
    assert kvplan("check", str(changed), "--no-hash").returncode == 0


def test_exit_70_is_a_bug_without_a_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """An unforeseen error exits 70 in one line that says how to see where; KVPLAN_DEBUG raises it."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("seven by zero")

    monkeypatch.setattr(pipeline, "load", broken)
    monkeypatch.setattr(cli, "watch_interrupts", lambda: None)
    monkeypatch.setattr(sys, "argv", ["kvplan", "solve", FIRST])
    monkeypatch.delenv("KVPLAN_DEBUG", raising=False)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 70
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "kvplan: a bug in kvplan: ZeroDivisionError: seven by zero (KVPLAN_DEBUG=1 shows where)\n"
    monkeypatch.setenv("KVPLAN_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli.main()


IN_A_SOLVER = """
import random, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background inherits an ignored SIGINT
from planner import pipeline
from planner.cli import main
from planner.solver import cpsat, master, mathopt

def plan(*_):
    digits, hard = random.Random(1), master.Master()
    variables = [hard.variable(f"x{i}", 0, 1) for i in range(50)]
    for row in range(6):
        terms = [(v, digits.randrange(100)) for v in variables]
        half = sum(a for _, a in terms) // 2
        hard.row(f"row{row}", terms, lower=half, upper=half)
    solver = {"cpsat": cpsat.CpSat, "mathopt": mathopt.MathOpt}[place]
    print("solving", file=sys.stderr, flush=True)
    solver(hard, seed=0).minimize(((0, 1),), hint=None, time_limit_s=60)

def count(*_):
    print("solving", file=sys.stderr, flush=True)
    while True:
        pass

place = sys.argv.pop()
pipeline.plan = count if place == "python" else plan
main.main()
"""
"""The command with a market-split problem (Cornuejols and Dawande 1998) for a plan: no solver ends in time."""


@pytest.mark.parametrize("place", ["python", "cpsat", "mathopt"])
def test_exit_130_for_ctrl_c_at_any_time(tmp_path: Path, place: str) -> None:
    """SIGINT ends the command at once, in Python and inside either solver's own code, and leaves no file behind."""
    args = [sys.executable, "-c", IN_A_SOLVER, "solve", PROD, "-q", "-o", str(tmp_path / "plan.json"), place]
    with subprocess.Popen(
        args, cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stderr.readline() == b"solving\n"
        time.sleep(0.7)
        process.send_signal(signal.SIGINT)
        try:
            out, error = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert (out, error) == (b"", b"\nkvplan: interrupted; nothing was written\n")
    assert list(tmp_path.iterdir()) == []


def test_background_jobs_keep_sigint_ignored() -> None:
    """Where the shell ignores SIGINT for a job, kvplan goes on ignoring it."""
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from planner.cli.interrupt import *;"
        "watch_interrupts(); print(threading.active_count(), signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=_environment(), capture_output=True, text=True)
    assert done.stdout == "1 set()\n"


# Writing


def test_the_plan_file_is_the_json_of_stdout(kvplan, tmp_path: Path) -> None:
    """`-o` and `--format json` give the same document but for the seconds of the run; -o keeps the page on stdout."""
    path = tmp_path / "plan.json"
    page = kvplan("solve", MIXED, "-o", str(path))
    printed = kvplan("solve", MIXED, "--format", "json")
    assert page.stdout.startswith("mixed-gpus   OPTIMAL")
    stored, streamed = json.loads(path.read_text()), json.loads(printed.stdout)
    assert stored.pop("run").keys() == streamed.pop("run").keys()
    assert stored == streamed
    assert stored["totals"]["cost_per_h"] == "4.68"


def test_a_failed_run_keeps_the_file_that_was_there(kvplan, tmp_path: Path) -> None:
    """A wrong scenario leaves an older plan untouched, and no temporary file beside it."""
    path = tmp_path / "plan.json"
    path.write_text("older")
    assert kvplan("solve", MIXED, "--set", "horizon=1", "-o", str(path)).returncode == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["plan.json"]
    assert path.read_text() == "older"


@pytest.mark.parametrize("name", ["no/such/folder/plan.json", "plain-file/plan.json", "/dev/stdout", "/proc/plan.json"])
def test_a_target_that_cannot_be_written_is_known_before_solving(kvplan, tmp_path: Path, name: str) -> None:
    """Missing folders, files in place of folders and devices exit 1 at once, and print no plan."""
    (tmp_path / "plain-file").write_text("")
    done = kvplan("solve", MIXED, "-o", str(tmp_path / name))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: Could not open file")


def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the rename fails, the older file stays and the temporary one goes."""
    path = tmp_path / "plan.json"
    path.write_text("older")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(output.click.FileError, match="No space left"):
        output.write_whole(str(path), "newer")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("plan.json", "older")]


def test_a_link_stays_a_link_and_modes_stay(tmp_path: Path) -> None:
    """Writing through a symbolic link replaces the file behind it and keeps its permissions."""
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_text("older")
    real.chmod(0o640)
    link.symlink_to(real)
    output.write_whole(str(link), "newer")
    assert link.is_symlink() and real.read_text() == "newer"
    assert real.stat().st_mode & 0o777 == 0o640


# One document on stdout


def test_progress_never_reaches_stdout(kvplan) -> None:
    """The JSON form is one document and nothing else, whatever solver libraries print."""
    done = kvplan("solve", FIRST, "--format", "json")
    document, end = json.JSONDecoder().raw_decode(done.stdout)
    assert document["status"] == "optimal"
    assert done.stdout[end:] == "\n"


def test_candidates_in_both_formats(kvplan) -> None:
    """`--show-candidates` prints the table that the solver chooses from, as a page or as one JSON document."""
    page, document = (kvplan("solve", FIRST, "--show-candidates", "--format", form) for form in ("table", "json"))
    assert (page.returncode, document.returncode) == (0, 0)
    tree = json.loads(document.stdout)
    assert f"{tree['examined']:,} configurations examined, {len(tree['candidates'])} offered" in page.stdout
    assert {c["config"]["gpu"] for c in tree["candidates"]} == {"h100-sxm-80gb", "l40s-48gb"}
    assert all(c["loads"] for c in tree["candidates"])


def test_candidates_refuse_what_they_would_ignore(kvplan) -> None:
    """Options that need a solve are refused beside `--show-candidates` rather than dropped."""
    done = kvplan("solve", FIRST, "--show-candidates", "-o", "plan.json")
    assert done.returncode == 2 and "leave out -o" in done.stderr


def test_set_and_what_if_change_the_scenario(kvplan) -> None:
    """`--set` and `--what-if` override the file; the changed value is what the plan embeds."""
    tree = json.loads(kvplan("solve", FIRST, "--set", "traffic.questions.peak=30 req/s", "--format", "json").stdout)
    assert tree["scenario"]["traffic"]["questions"]["peak_rps"] == "30"
    table = kvplan("solve", PROD, "--what-if", "no-compression", "--show-candidates", "--format", "json")
    presets = {c["config"]["kv_preset"] for c in json.loads(table.stdout)["candidates"]}
    assert presets == {"bf16"}


def test_a_what_if_that_does_not_exist(kvplan) -> None:
    """A misspelled block is an input error with a suggestion."""
    done = kvplan("solve", PROD, "--what-if", "dobule-chat")
    assert done.returncode == 1 and "did you mean 'double-chat'?" in done.stderr


def test_validate_reports_every_file(kvplan, tmp_path: Path) -> None:
    """Good files are listed on stdout, mistakes of the others on stderr, and one mistake makes the exit code 1."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("kvplan: 1\nname: Bad Name\n")
    done = kvplan("validate", FIRST, str(bad), MIXED)
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [FIRST, MIXED]
    assert f"{bad}:2:7: error: " in done.stderr
    assert kvplan("validate", "-q", FIRST).stdout == ""


# Terminals and pipes


@pytest.mark.parametrize("args", [(), ("solve",), ("validate",), ("check",)])
def test_every_help_shows_an_example(args: tuple[str, ...]) -> None:
    """Each command's help has a line that can be copied."""
    done = CliRunner().invoke(cli.kvplan, [*args, "--help"])
    assert done.exit_code == 0
    assert "\n    kvplan " in done.output


def test_python_m_planner_and_version(kvplan) -> None:
    """`python -m planner` is the command, under its own name."""
    assert kvplan("--version").stdout == f"kvplan, version {cli.__version__}\n"
    assert kvplan("--help").stdout.startswith("Usage: kvplan ")


def test_a_closed_pipe_is_no_error() -> None:
    """A reader that stops early leaves the exit code alone and causes no message."""
    args = [sys.executable, "-m", "planner", "solve", MIXED, "--format", "json"]
    process = subprocess.Popen(args, cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert (process.wait(30), error) == (0, b"")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_no_color_even_on_a_terminal() -> None:
    """On a terminal, with NO_COLOR as without it, stdout holds no escape sequence."""
    for extra in ({"NO_COLOR": "1"}, {"FORCE_COLOR": "1"}):
        leader, follower = os.openpty()
        args = [sys.executable, "-m", "planner", "solve", MIXED, "-q"]
        with subprocess.Popen(
            args, cwd=ROOT, env=_environment(TERM="xterm-256color", **extra), stdout=follower, stderr=subprocess.DEVNULL
        ) as process:
            os.close(follower)
            chunks = []
            try:
                while chunk := os.read(leader, 4096):
                    chunks.append(chunk)
            except OSError:
                pass  # Linux reports the end of a pseudo-terminal as an error
            os.close(leader)
        text = b"".join(chunks)
        assert process.returncode == 0
        assert b"OPTIMAL" in text and b"\x1b" not in text


def test_hostile_names_arrive_as_escapes(kvplan, plan_file: Path, tmp_path: Path) -> None:
    """Escape sequences in file names and in foreign plan files are printed as text, not sent to the terminal."""
    hostile = "\x1b]0;owned\x07\u202e.yaml"
    done = kvplan("validate", str(tmp_path / hostile))
    assert done.returncode == 1 and "\\u001b]0;owned\\u0007\\u202e.yaml" in done.stderr
    plan = tmp_path / "\x1b[31mplan.json"
    plan.write_text(plan_file.read_text().replace('"owner": "examples"', '"owner": "\\u001b[2J\\u009b31m"'))
    checked = kvplan("check", str(plan))
    assert checked.returncode == 6
    for text in (done.stdout, done.stderr, checked.stdout, checked.stderr):
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)


def test_a_latin_1_terminal_shows_what_it_can(kvplan, tmp_path: Path) -> None:
    """A currency that the terminal cannot show is written as an escape instead of stopping the command."""
    scenario = tmp_path / "euro.yaml"
    text = (ROOT / MIXED).read_text().replace("$", "€")
    scenario.write_text(text)
    (tmp_path / "capacity.csv").write_text((ROOT / MIXED).with_name("capacity.csv").read_text())
    done = kvplan("solve", str(scenario), env={"PYTHONIOENCODING": "latin-1"})
    assert done.returncode == 0
    assert "\\u20ac3,416.40 / month" in done.stdout


# Start-up


@pytest.mark.parametrize("args", [["--help"], ["validate", PROD], ["validate", MIXED]])
def test_help_and_validate_load_no_heavy_library(args: list[str]) -> None:
    """Neither the help nor `validate` imports a solver, arrays, or the page layout."""
    code = (
        "import sys; from planner.cli import main; sys.argv = ['kvplan', *sys.argv[1:]]\n"
        "try: main.main()\n"
        "finally: print([m for m in ('ortools', 'torch', 'pandas', 'scipy', 'numpy') if m in sys.modules], "
        "file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=ROOT, env=_environment(), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_a_solve_loads_no_pandas_and_no_torch() -> None:
    """Planning uses the solvers without the data-frame libraries that their Python layers offer."""
    code = (
        "import sys; from planner import pipeline; pipeline.plan(pipeline.load(sys.argv[1]));"
        "print([m for m in ('torch', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, MIXED], cwd=ROOT, env=_environment(), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "[]\n")


def test_an_input_is_never_overwritten(kvplan, tmp_path: Path) -> None:
    """-o on the scenario, on what it extends, on its capacity table, or on a link to any of them, exits 2 unread."""
    for name in ("scenario.yaml", "capacity.csv"):
        (tmp_path / name).write_bytes((ROOT / MIXED).parent.joinpath(name).read_bytes())
    (tmp_path / "child.yaml").write_text("kvplan: 1\nextends: scenario.yaml\nname: child\n")
    (tmp_path / "link.json").symlink_to(tmp_path / "capacity.csv")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name in ("child.yaml", "scenario.yaml", "capacity.csv", "link.json", "../" + tmp_path.name + "/child.yaml"):
        done = kvplan("solve", str(tmp_path / "child.yaml"), "-o", str(tmp_path / name))
        assert (done.returncode, done.stdout) == (2, ""), name
        assert "is an input of this plan" in done.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("seconds", ["nan", "inf", "1e400", "0", "-1"])
def test_a_time_limit_is_a_number_of_seconds(kvplan, seconds: str) -> None:
    """What is no positive finite number exits 2."""
    assert kvplan("solve", MIXED, "--time-limit", seconds).returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_in_one_line() -> None:
    """Standard output that takes nothing exits 1 without a traceback."""
    with Path("/dev/full").open("w") as full:
        args = [sys.executable, "-m", "planner", "solve", MIXED]
        done = subprocess.run(args, cwd=ROOT, env=_environment(), stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("kvplan: cannot write to standard output") and "Traceback" not in done.stderr
