from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from unblur import doctor, main_memory
from unblur.cli import doctor as doctor_cli
from unblur.cli import main
from unblur.config import models_folder
from unblur.doctor import ModelFile, examine, find_extras, findings
from unblur.errors import ExitCode, WeightsError
from unblur.models.weights import open_model
from unblur.network import devices, examination, self_test
from unblur.network.device_kinds import CPU
from unblur.network.gpus import Gpu

NVIDIA = Gpu("NVIDIA", "RTX 4090", "580.95", 8.9)


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch):
    monkeypatch.setattr(doctor, "find_gpus", lambda: ())
    monkeypatch.setattr(devices, "available_devices", lambda: [CPU])
    monkeypatch.setattr(self_test, "MOST_CPU_SIDE_PX", 256)  # faster


def ask(*arguments):
    return CliRunner().invoke(main, ["doctor", *arguments])


def ask_json():
    result = ask("--json")
    values = json.loads(result.stdout)
    assert values["exit_code"] == result.exit_code
    return values


def rows(text):
    """The answer's rows by label; a row's later lines follow its first."""
    found, label = {}, None
    for line in text.split("\n\n")[0].splitlines():
        label = line[2:17].strip() or label
        found[label] = " ".join([found.get(label, ""), line[17:].strip()]).strip()
    return found


def test_a_machine_with_nothing_but_a_cpu_is_well():
    result = ask()
    said = rows(result.stdout)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "All is well." in result.stdout
    assert said["torch"] == metadata.version("torch")
    assert said["--device auto"] == "uses cpu: there is no GPU that torch or ncnn can use"
    assert "correct, tested in" in said["cpu"]
    assert "tiles of" in said["cpu"]
    assert said["srn-compact"].endswith("MB)")
    assert "unblur.toml (optional, not there" in said["configuration"]
    assert said["record"].endswith("history.sqlite3 (not there yet)")


def test_the_answer_fits_a_terminal_of_80_columns():
    long = [line for line in ask().stdout.splitlines() if len(line) > 80]
    assert all("/" in line or "\\" in line for line in long), "only paths stay whole"


def test_scripts_get_everything_as_one_object():
    values = ask_json()
    assert values.keys() >= {
        "unblur", "installed_in", "python", "system", "libraries", "extras", "environment",
        "gpus", "pytorch", "pytorch_problem", "models", "models_folder", "configuration",
        "has_configuration", "configuration_problem", "history", "has_history",
        "findings", "exit_code",
    }  # fmt: skip
    assert values["pytorch"].keys() >= {
        "build", "warning", "devices", "chosen", "threads", "threads_reason", "bf16_instructions",
    }  # fmt: skip
    (cpu,) = values["pytorch"]["devices"]
    assert (cpu["name"], cpu["problem"]) == ("cpu", None)
    assert cpu["precision"] in ("bfloat16", "float32")
    assert cpu["tile"] >= 128
    assert values["pytorch"]["chosen"] == "cpu"
    assert values["pytorch"]["threads"] >= 1
    assert values["libraries"]["torch"] == metadata.version("torch")
    assert values["models"][0]["name"] == "srn-compact"
    assert values["findings"] == []


def test_quiet_leaves_only_what_is_wrong(monkeypatch):
    assert ask("-q").stdout == "All is well.\n"


def test_a_device_that_is_wrong_is_named_and_not_taken(monkeypatch):
    monkeypatch.setattr(self_test, "find_problem", lambda *inputs: "it returns black")
    result = ask()
    assert result.exit_code == ExitCode.DEVICE
    assert "device cpu failed its self-test: it returns black" in result.stdout
    assert "All is well" not in result.stdout
    assert ask_json()["pytorch"]["devices"][0]["problem"] == "it returns black"


def test_a_gpu_that_gives_nothing_back_is_caught(monkeypatch):
    nowhere = replace(CPU, name="meta")
    monkeypatch.setattr(devices, "available_devices", lambda: [nowhere, CPU])
    result = ask()
    said = rows(result.stdout)
    assert result.exit_code == ExitCode.DEVICE
    assert "failed: it cannot run the network" in said["meta"]
    assert said["--device auto"] == "uses cpu: meta failed its self-test"
    assert "correct" in said["cpu"]


def test_damaged_weights_are_named(monkeypatch, tmp_path):
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(b"no weights")
    monkeypatch.setattr(doctor, "find_weights", lambda model: path)
    monkeypatch.setattr(doctor, "open_model", lambda model: open_model(str(path)))
    result = ask()
    assert result.exit_code == ExitCode.WEIGHTS
    assert "damaged.safetensors:" in result.stdout.split("\n\n")[1]
    assert "not tested" in rows(result.stdout)["cpu"]


def test_weights_that_should_be_here_and_are_not_are_a_problem(monkeypatch):
    def missing(model):
        raise WeightsError("srn-compact.safetensors is missing: reinstall")

    monkeypatch.setattr(doctor, "find_weights", missing)
    result = ask()
    assert result.exit_code == ExitCode.WEIGHTS
    assert "missing: reinstall" in result.stdout


def test_models_that_were_never_downloaded_are_no_problem(monkeypatch):
    def missing(model):
        raise WeightsError("not on this machine yet")

    monkeypatch.setattr(doctor, "find_weights", missing)
    assert doctor._examine_model("srn-color") == (ModelFile("srn-color", None, None, None), None)


@pytest.fixture
def toml(monkeypatch, tmp_path):
    """The user's configuration, which is not there yet."""
    path = tmp_path / "unblur.toml"
    monkeypatch.setattr("unblur.config.config_file", lambda: path)
    monkeypatch.setattr("unblur.cli.program.config_file", lambda: path)
    return path


def test_a_configuration_that_cannot_be_read_is_a_problem(toml):
    toml.write_text("tile = 512\npreserve-times = true\n")
    assert ask().exit_code == 0
    toml.write_text("tiles = 512\n")
    result = ask()
    assert result.exit_code == ExitCode.USAGE
    assert "unknown option 'tiles'" in " ".join(result.stdout.split())
    assert f"\n{doctor_cli.BAD} configuration" in result.stdout


@pytest.mark.parametrize("place", ["variable", "file"])
def test_a_setting_that_runs_refuse_is_a_problem(toml, monkeypatch, place):
    if place == "variable":
        monkeypatch.setenv("UNBLUR_TILE", "5")
    else:
        toml.write_text("tile = 5")
    values = ask_json()
    assert values["exit_code"] == ExitCode.USAGE
    where = f"tile in {toml}" if place == "file" else "UNBLUR_TILE"
    assert f"Invalid value for {where}: a tile needs" in values["findings"][0]["text"]


def test_the_configuration_that_a_variable_names_is_read(monkeypatch, tmp_path):
    named = tmp_path / "named.toml"
    monkeypatch.setenv("UNBLUR_CONFIG", str(named))
    assert ask().exit_code == ExitCode.USAGE
    named.write_text("strength = 2")
    assert f"strength in {named}" in ask_json()["findings"][0]["text"]
    named.write_text("strength = 0.5")
    assert ask_json()["configuration"] == str(named)


@pytest.mark.parametrize("place", ["usual", "variable", "file", "address"])
def test_the_path_of_the_record_is_told(toml, monkeypatch, tmp_path, place):
    monkeypatch.delenv("UNBLUR_HISTORY")
    monkeypatch.setattr("unblur.cli.doctor.history_file", lambda: tmp_path / "usual")
    path = tmp_path / place
    if place == "file":
        toml.write_text(f"history = {str(path)!r}")
    elif place != "usual":
        monkeypatch.setenv("UNBLUR_HISTORY", path.as_uri() if place == "address" else str(path))
    assert rows(ask().stdout)["record"] == f"{path} (not there yet)"
    path.touch()
    assert rows(ask().stdout)["record"] == str(path)
    values = ask_json()
    assert (values["history"], values["has_history"]) == (str(path), True)
    assert values["exit_code"] == 0


@pytest.mark.parametrize("place", ["variable", "file"])
def test_a_record_that_runs_refuse_is_a_problem(toml, monkeypatch, tmp_path, place):
    missing = tmp_path / "missing" / "record"
    if place == "file":
        monkeypatch.delenv("UNBLUR_HISTORY")
        toml.write_text(f"history = {str(missing)!r}")
    else:
        monkeypatch.setenv("UNBLUR_HISTORY", str(missing))
    values = ask_json()
    assert values["exit_code"] == ExitCode.USAGE
    text = values["findings"][0]["text"]
    assert f"--history {missing}: there is no folder" in text
    origin = "UNBLUR_HISTORY" if place == "variable" else f"history in {toml}"
    assert text.endswith(f"--history comes from {origin}")


def test_a_gpu_that_torch_cannot_use_gets_the_command_that_installs_one_that_can(monkeypatch):
    monkeypatch.setattr(doctor, "find_gpus", lambda: (NVIDIA,))
    monkeypatch.setattr(examination, "_build", lambda: "CPU")
    result = ask()
    assert result.exit_code == 0, "results are right, if slow"
    assert "https://pytorch.org/get-started/locally/" in result.stdout
    command = result.stdout.splitlines()[-1].strip()
    assert command.startswith("pip install --force-reinstall torch")
    assert command.endswith("/cu130")


@pytest.fixture(scope="module")
def healthy():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "find_gpus", lambda: ())
        patch.setattr(devices, "available_devices", lambda: [CPU])
        return examine()


def with_pytorch(healthy, **changes):
    return replace(healthy, gpus=(NVIDIA,), pytorch=replace(healthy.pytorch, **changes))


def test_a_driver_that_is_too_old_is_told_in_torchs_own_words(healthy):
    warning = "The NVIDIA driver on your system is too old (found version 12020)."
    found = findings(with_pytorch(healthy, build="CUDA 13.0", warning=warning))
    assert [finding.exit_code for finding in found] == [0]
    assert "driver on your system is too old" in found[0].text


def test_a_gpu_that_the_environment_hides_needs_no_other_torch(healthy):
    hidden = with_pytorch(healthy, build="CUDA 13.0")
    found = findings(replace(hidden, environment={"CUDA_VISIBLE_DEVICES": ""}))
    assert ["CUDA_VISIBLE_DEVICES may hide it" in finding.text for finding in found] == [True]
    assert found[0].command == ""


def test_a_gpu_that_is_used_gets_no_advice(healthy):
    cuda = replace(healthy.pytorch.devices[0], name="cuda")
    assert findings(with_pytorch(healthy, devices=(cuda, *healthy.pytorch.devices))) == []


def test_problems_come_before_advice_and_give_the_exit_code(healthy):
    model = ModelFile("srn-compact", None, None, "the weights are missing")
    found = findings(replace(with_pytorch(healthy, build="CPU"), models=(model,)))
    assert [finding.exit_code for finding in found] == [ExitCode.WEIGHTS, ExitCode.OK]


@pytest.mark.parametrize(
    "first_line",
    ["raise ModuleNotFoundError('No module named torch', name='torch')", "raise OSError('no DLL')"],
    ids=["missing", "damaged"],
)
def test_a_torch_that_cannot_be_imported_is_reported_and_no_traceback(first_line, tmp_path):
    (tmp_path / "torch.py").write_text(first_line, "utf-8")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from unblur.cli import main; main(['doctor'])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr == ""
    assert "torch cannot be imported" in run.stdout
    assert "pip install --force-reinstall torch" in run.stdout
    assert "Pillow" in run.stdout


def test_the_marks_are_plain_where_the_encoding_holds_no_others():
    assert doctor_cli._showable("✓ cpu", "utf-8") == "✓ cpu"
    assert doctor_cli._showable("✓ cpu /zdjęcia", "ascii") == r"+ cpu /zdj\u0119cia"
    assert doctor_cli._showable("✗ cpu", "cp1252") == "! cpu"
    assert doctor_cli._showable("✗ Straße", "utf-8", "latin-1") == "! Straße"


def test_the_extras_are_those_of_the_package(monkeypatch):
    requirements = ["torch>=2.5", "rawpy>=0.21; extra == 'raw'", 'pillow-heif ; extra=="heif"']
    monkeypatch.setattr("importlib.metadata.requires", lambda package: requirements)
    versions = {"rawpy": "0.28"}
    monkeypatch.setattr(doctor, "_version", versions.get)
    raw, heif = find_extras()
    assert (raw.name, raw.package, raw.version) == ("raw", "rawpy", "0.28")
    assert (heif.name, heif.package, heif.version) == ("heif", "pillow-heif", None)
    said = rows(ask().stdout)
    assert said["extra raw"] == "rawpy 0.28"
    assert "pip install 'unblur[heif]'" in said["extra heif"]


def test_a_source_tree_that_is_not_installed_has_no_extras(monkeypatch):
    def missing(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr("importlib.metadata.requires", missing)
    assert find_extras() == ()


def test_settings_in_the_environment_are_told_without_addresses(monkeypatch):
    monkeypatch.setenv("UNBLUR_TILE", "512")
    monkeypatch.setenv("UNBLUR_MIRROR", "https://me:secret@example.org/")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    text = ask().stdout
    assert "UNBLUR_TILE=512" in text
    assert "OMP_NUM_THREADS=1" in text
    assert "UNBLUR_MIRROR=..." in text
    assert "secret" not in text


def test_the_reason_for_the_threads_names_affinity_quota_and_environment(monkeypatch):
    monkeypatch.setattr(devices, "affinity_cores", lambda: 4)
    quota = 2.5, Path("/sys/fs/cgroup/job/cpu.max")
    monkeypatch.setattr(devices, "tightest_quota", lambda: quota)
    monkeypatch.setattr("psutil.cpu_count", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert devices.threads_reason() == (
        "4 of 8 logical cores may be used; "
        "the quota in /sys/fs/cgroup/job/cpu.max is 2.5 cores; OMP_NUM_THREADS is 1"
    )


def test_the_origin_of_a_limit_on_memory_is_told(monkeypatch):
    limit = Path("/sys/fs/cgroup/slurm/job_7/memory.max")
    monkeypatch.setattr(main_memory, "tightest_limit", lambda: (900_000_000, limit))
    assert f"900.0 MB free (limit in {limit})" in rows(ask().stdout)["cpu"]
    (device,) = ask_json()["pytorch"]["devices"]
    assert device["limited_by"] == str(limit)


def test_a_model_that_the_user_imported_is_listed_and_checked(identity_weights):
    models_folder().mkdir(parents=True)
    copy = models_folder() / "mine.safetensors"
    copy.write_bytes(identity_weights.read_bytes())
    assert rows(ask().stdout)["mine"].startswith(str(copy))
    copy.write_bytes(identity_weights.read_bytes()[:-1])
    result = ask()
    assert result.exit_code == ExitCode.WEIGHTS
    assert "unblur models import FILE --name mine" in " ".join(result.stdout.split())
