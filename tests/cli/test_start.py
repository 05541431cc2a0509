"""`init`, `schema`, `catalog` and shell completion from outside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from planner import catalog, pipeline
from planner.compression.table import preset_ids

ROOT = Path(__file__).parents[2]
LIST = """InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,Region,GpuInfo,SpotPrice
cpu-d3_4vcpu-16gb,,0,4,16,0.0992,eu-north1,,
gpu-h100-sxm_8gpu-128vcpu-1600gb,H100,8,128,1600,23.60,eu-north1,"{'Gpus': [{'Name': 'H100'}]}",10.00
gpu-l40s-d_4gpu-128vcpu-768gb,L40S,4.0,128,768,9.1376,eu-north1,,
gpu-b200-sxm_8gpu-160vcpu-1792gb,B200,8,160,1792,44.00,us-central1,,
half,L4,0.5,4,16,0.4,eu-north1,,
"""


def test_the_starter_validates_solves_and_fits_its_schema(kvplan, tmp_path: Path) -> None:
    """`init` writes a scenario that is right, has a plan, and matches the schema that its first line names."""
    path = tmp_path / "scenarios" / "my.yaml"
    path.parent.mkdir()
    done = kvplan("init", str(path))
    assert (done.returncode, done.stdout) == (0, "") and f"wrote {path}" in done.stderr
    assert kvplan("validate", str(path)).returncode == 0
    solved = kvplan("solve", str(path))
    assert solved.returncode == 0 and solved.stdout.startswith("my-service   OPTIMAL, proved")
    line, _, text = path.read_text().partition("\n")
    schema = path.with_name(line.partition("$schema=")[2])
    assert schema.read_text() == (ROOT / "planner/schema/scenario.v1.json").read_text()
    jsonschema.Draft202012Validator(json.loads(schema.read_text())).validate(yaml.safe_load(text))
    for name in ("double-chat", "no-compression"):
        pipeline.load(path, what_if=[name])


def test_init_never_overwrites(kvplan, tmp_path: Path) -> None:
    """A file, a folder, a dangling link or another schema in the way stay as they are; exit 1, nothing is written."""
    path = tmp_path / "a.yaml"
    path.write_text("mine")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "link.yaml").symlink_to(tmp_path / "nowhere")
    for name in ("a.yaml", "folder.yaml", "link.yaml"):
        done = kvplan("init", str(tmp_path / name))
        assert (done.returncode, done.stdout) == (1, "") and "exists" in done.stderr
    schema = tmp_path / "kvplan.scenario.v1.json"
    schema.write_text("{}")
    assert kvplan("init", str(tmp_path / "b.yaml")).returncode == 1
    assert not (tmp_path / "b.yaml").exists() and schema.read_text() == "{}" and path.read_text() == "mine"
    assert kvplan("init", str(tmp_path / "b.yaml"), "--no-schema").returncode == 0
    assert "$schema" not in (tmp_path / "b.yaml").read_text()
    assert kvplan("init", str(tmp_path / "missing" / "b.yaml")).returncode == 1


@pytest.mark.parametrize("name", ["scenario", "plan", "diff"])
def test_schemas_are_those_that_ship(kvplan, tmp_path: Path, name: str) -> None:
    """`schema` prints the file of the package, which is a JSON Schema; -o writes the same."""
    done = kvplan("schema", name)
    assert done.returncode == 0
    assert done.stdout == (ROOT / f"planner/schema/{name}.v1.json").read_text()
    jsonschema.Draft202012Validator.check_schema(json.loads(done.stdout))
    path = tmp_path / "x.json"
    assert kvplan("schema", name, "-o", str(path)).stdout == ""
    assert path.read_text() == done.stdout


def test_the_catalog_lists_everything_with_its_source(kvplan) -> None:
    """Every model, GPU, engine and preset is listed, and each has a source."""
    tree = json.loads(kvplan("catalog", "list", "--format", "json").stdout)
    assert tree["catalog"] == catalog.catalog_version()
    assert sorted([*tree["models"], *tree["refused"]]) == list(catalog.model_ids())
    assert "deepseek-v4-flash" in tree["refused"]
    assert tuple(tree["gpus"]) == catalog.gpu_ids()
    assert sorted(tree["engines"]) == sorted(catalog.engine_ids())
    assert sorted(tree["presets"]) == sorted(preset_ids())
    for kind in ("models", "gpus", "engines"):
        assert all(entry["source"] for entry in tree[kind].values())
    assert all(entry["claim"]["source"] for entry in tree["presets"].values())
    assert tree["gpus"]["h100-sxm-80gb"]["tdp_w"] == 700
    page = kvplan("catalog", "list", "gpus").stdout
    assert "h100-sxm-80gb" in page and "vllm@0.24" not in page


@pytest.mark.parametrize("name", ["llama-3.1-8b", "h100-sxm-80gb", "vllm@0.24", "fp8", "fp8@vllm-0.19"])
def test_an_entry_is_shown_with_its_source(kvplan, name: str) -> None:
    """`show` finds entries of all kinds by their ids and ends with the source."""
    done = kvplan("catalog", "show", name)
    assert done.returncode == 0 and "\nsource  " in done.stdout
    assert json.loads(kvplan("catalog", "show", name, "--format", "json").stdout)["id"] == name


def test_an_unknown_entry_is_refused_with_a_suggestion(kvplan) -> None:
    """A misspelled id exits 2 and names the nearest one."""
    done = kvplan("catalog", "show", "h100-sxm-80g")
    assert (done.returncode, done.stdout) == (2, "") and "did you mean h100-sxm-80gb?" in done.stderr


def test_imported_blocks_fit_into_a_scenario(kvplan, tmp_path: Path) -> None:
    """The blocks of a price list validate and solve, with price, source and date; bad rows are counted."""
    path = tmp_path / "nebius" / "vms.csv"
    path.parent.mkdir()
    path.write_text(LIST)
    done = kvplan("catalog", "import", str(path), "--date", "2026-11-22", "--nodes", "2", "--region", "eu-north1")
    assert done.returncode == 0
    blocks = yaml.safe_load(done.stdout)["inventory"]
    assert list(blocks) == ["nebius-h100-sxm-80gb-8x-eu-north1", "nebius-l40s-48gb-4x-eu-north1"]
    assert blocks["nebius-h100-sxm-80gb-8x-eu-north1"] == {
        "gpu": "h100-sxm-80gb", "region": "eu-north1", "available": "2 nodes", "gpus_per_node": 8,
        "price": "$2.95/gpu/h",
        "source": "gpu-h100-sxm_8gpu-128vcpu-1600gb on-demand price in eu-north1; SkyPilot catalog nebius/vms.csv, "
        "read 2026-11-22",
    }  # fmt: skip
    assert "left out: 1 x a fraction of a GPU (line 6: half eu-north1, 0.5 of a GPU)" in done.stderr
    first = (ROOT / "examples/01-first-plan/scenario.yaml").read_text()
    scenario = tmp_path / "a.yaml"
    scenario.write_text(first[: first.index("inventory:")] + done.stdout)
    solved = kvplan("solve", str(scenario), "--format", "json")
    assert solved.returncode == 0
    assert json.loads(solved.stdout)["totals"]["cost_per_h"] == "9.1376"


def test_spot_and_filters(kvplan, tmp_path: Path) -> None:
    """Spot offers come on demand only; a GPU filter keeps its GPU; nothing left is KV704."""
    path = tmp_path / "vms.csv"
    path.write_text(LIST)
    args = ("catalog", "import", str(path), "--name", "n", "--date", "2026-11-22")
    spot = yaml.safe_load(kvplan(*args, "--spot", "--gpu", "h100-sxm-80gb").stdout)["inventory"]
    assert spot["n-h100-sxm-80gb-8x-eu-north1-spot"]["spot"] is True and len(spot) == 2
    done = kvplan(*args, "--region", "mars")
    assert (done.returncode, done.stdout) == (1, "") and "[KV704]" in done.stderr
    for wrong in (("--gpu", "h100"), ("--as", "H100=h100"), ("--date", "22.11.2026")):
        assert kvplan(*args, *wrong).returncode == 2
    assert kvplan("catalog", "import", str(tmp_path / "none.csv")).returncode == 1
    path.write_bytes(b"\xff\xfe")
    assert "it is not UTF-8 text [KV704]" in kvplan("catalog", "import", str(path)).stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_completion(kvplan, shell: str) -> None:
    """click's completion script is printed for the shell, and commands are completed."""
    done = kvplan(env={"_KVPLAN_COMPLETE": f"{shell}_source"})
    assert "_KVPLAN_COMPLETE" in done.stdout or shell == "bash"
    if shell == "bash":
        done = kvplan(env={"_KVPLAN_COMPLETE": "bash_complete", "COMP_WORDS": "kvplan swe", "COMP_CWORD": "1"})
        assert "sweep" in done.stdout


def test_catalog_help_and_schema_load_no_heavy_library() -> None:
    """The commands that only print what ships import no solver and no arrays."""
    code = (
        "import sys; from planner.cli import main; sys.argv = ['kvplan', *sys.argv[1:]]\n"
        "try: main.main()\n"
        "finally: print([m for m in ('ortools', 'pandas', 'scipy', 'numpy') if m in sys.modules], file=sys.stderr)"
    )
    for args in (["schema", "scenario"], ["sweep", "--help"], ["catalog", "list", "gpus"]):
        done = subprocess.run([sys.executable, "-c", code, *args], cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "[]\n"), args
