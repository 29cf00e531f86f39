from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner
from conftest import Result

from unblur.cli import main
from unblur.errors import WeightsError
from unblur.models import importing
from unblur.models.catalog import (
    DEFAULT_MODEL,
    MODELS,
    find_weights,
    imported_models,
    installed_path,
)
from unblur.models.importing import keep
from unblur.models.weights import CHECKSUM_KEY, load_network, read_notes
from unblur.network.config import SRNConfig
from unblur.network.srn import SRN

SMALL = SRNConfig(width=2, blocks=1, residual=True)
EMBEDDED = [model for model in MODELS.values() if model.is_embedded]


@pytest.fixture
def models():
    """Run ``unblur models``."""

    def run(*arguments):
        result = CliRunner().invoke(main, ["models", *map(str, arguments)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Result(result.exit_code, result.stdout_bytes, result.stderr)

    return run


@pytest.fixture
def mine():
    """Path of imported weights named ``mine``."""
    torch.manual_seed(0)
    return keep(SRN(SMALL), "mine", "mine.pt", "c0ffee")


def flip(path, position=-1):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_every_model_tells_what_a_user_must_know(model):
    with torch.device("meta"):
        parameters = sum(p.numel() for p in SRN(model.config).parameters())
    assert model.parameters == parameters
    for text in (model.license, model.training_data, model.source, model.good_at, model.bad_at):
        assert len(text) >= len("MIT")
        assert "\t" not in text
    assert model.is_embedded or bool(model.url) != bool(model.page)
    assert not model.url or re.fullmatch(r"https?://\S+/" + re.escape(model.file), model.url)
    assert model.sha256 is None or re.fullmatch("[0-9a-f]{64}", model.sha256)
    assert model.sha256 or not model.is_embedded


@pytest.mark.weights
@pytest.mark.parametrize("model", EMBEDDED, ids=lambda model: model.name)
def test_the_embedded_weights_are_those_that_the_program_knows(model):
    path = find_weights(model.name)
    data = path.read_bytes()
    found = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    known = {"size": model.size, "sha256": model.sha256}
    assert found == known, (
        f"{path.name} is new: src/unblur/models/catalog.py must tell of it {found}"
    )
    assert load_network(path).config == model.config


@pytest.mark.weights
def test_embedded_weights_that_were_damaged_are_refused_with_the_repair(
    models, unblur, jpeg, tmp_path, monkeypatch
):
    copy = tmp_path / "weights" / MODELS[DEFAULT_MODEL].file
    copy.parent.mkdir()
    copy.write_bytes(find_weights(DEFAULT_MODEL).read_bytes())
    monkeypatch.setattr(
        "unblur.models.catalog.__file__", str(tmp_path / "src" / "unblur" / "models" / "catalog.py")
    )
    assert find_weights(DEFAULT_MODEL) == copy
    flip(copy)
    for result in (models("verify"), unblur(jpeg, model=DEFAULT_MODEL)):
        assert result.code == 4
        assert "its sha256 is" in result.stderr
        assert "run: pip install --force-reinstall --no-deps unblur" in result.stderr
    assert [path.name for path in jpeg.parent.glob("*.jpg")] == [jpeg.name]


def test_imported_weights_are_found_by_name(mine, unblur, jpeg):
    assert find_weights("mine") == mine
    assert imported_models() == ["mine"]
    assert unblur(jpeg, model="mine").code == 0


def test_a_path_is_a_model_too(mine, unblur, jpeg, tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(mine.read_bytes())
    assert unblur(jpeg, model=copy).code == 0


@pytest.mark.parametrize("changed", [b"conv1.bias", b"F32", b"mine.pt"])
def test_imported_weights_that_were_changed_are_refused_with_the_repair(
    mine, models, unblur, jpeg, changed
):
    flip(mine, mine.read_bytes().index(changed))
    for result in (models("verify", "mine"), unblur(jpeg, model="mine")):
        assert result.code == 4
        assert "mine.safetensors: " in result.stderr
        assert "run: unblur models import FILE --name mine" in result.stderr


def test_a_changed_configuration_is_damage_too(mine):
    data = mine.read_bytes()
    mine.write_bytes(data.replace(b'residual\\": true', b'residual\\":false'))
    assert mine.read_bytes() != data
    with pytest.raises(WeightsError, match="its checksum is wrong"):
        load_network(mine)


def test_weights_carry_their_checksum(mine):
    assert re.fullmatch("[0-9a-f]{64}", read_notes(mine)[CHECKSUM_KEY])


def test_an_unknown_model_is_refused_with_those_that_are_known(mine):
    with pytest.raises(WeightsError, match=r"srn-compact, .*mine"):
        find_weights("srn-huge")


def test_a_model_that_is_not_here_is_refused_with_the_command_that_brings_it(unblur, jpeg):
    result = unblur(jpeg, model="srn-color")
    assert result.code == 4
    assert "run: unblur models download srn-color" in result.stderr


@pytest.mark.parametrize("ending", [".zip", ".pt", ".pth", ".index"])
def test_a_file_that_must_be_imported_is_refused_with_the_command(unblur, jpeg, tmp_path, ending):
    path = tmp_path / f"weights{ending}"
    path.write_bytes(b"PK\3\4" + bytes(100))
    result = unblur(jpeg, model=path)
    assert result.code == 4
    assert f"run: unblur models import {path}" in result.stderr


def test_a_file_that_is_far_too_large_is_not_read(tmp_path):
    path = tmp_path / "huge.safetensors"
    path.touch()
    os.truncate(path, 2 << 30)
    with pytest.raises(WeightsError, match="too large"):
        load_network(path)


def test_the_list_tells_of_each_model_size_licence_purpose_and_place(mine, models):
    result = models("list")
    rows = [line.split("\t") for line in result.stdout.decode().splitlines()]
    assert [row[0] for row in rows] == [*MODELS, "mine"]
    assert rows[0][1:3] == ["7.6 MB", "MIT"]
    assert rows[0][3] == "in the program"
    assert rows[1][3] == "not downloaded"
    assert rows[-1][3] == str(mine)
    assert all(cell for row in rows for cell in row)


def test_info_tells_licence_training_data_source_and_address(models):
    text = models("info", "srn-color").stdout.decode()
    model = MODELS["srn-color"]
    for told in (model.license, model.training_data, model.source, model.url):
        assert told in text


@pytest.mark.parametrize("name", ["srn-realblur-j", "srn-realblur-r", "srn-rsblur"])
def test_a_network_that_only_a_browser_can_download_is_refused_with_the_steps(models, name):
    model = MODELS[name]
    rows = [line.split("\t") for line in models("list").stdout.decode().splitlines()]
    (row,) = [row for row in rows if row[0] == name]
    assert row[3] == f"not imported, from {model.page}"
    assert model.page in models("info", name).stdout.decode()
    for arguments in (["download", name], ["path", name]):
        result = models(*arguments)
        assert result.code == 4
        assert f"download {model.file} from {model.page} with a browser" in result.stderr
        assert f"unblur models import FILE --name {name}" in result.stderr


def test_info_of_a_file_tells_its_network_and_where_it_is_from(mine, models):
    rows = models("info", mine).stdout.decode().splitlines()
    told = dict(row.split("\t") for row in rows)
    assert json.loads(told["network"])["width"] == 2
    assert (told["read from"], told["that file's sha256"]) == ("mine.pt", "c0ffee")


def test_info_of_a_damaged_file_is_an_error(mine, models):
    mine.write_bytes(mine.read_bytes()[:50])
    assert models("info", "mine").code == 4


@pytest.mark.weights
def test_path_tells_where_weights_are(mine, models):
    assert models("path", "mine").stdout.decode().strip() == str(mine)
    assert models("path").stdout.decode().strip() == str(mine.parent)
    assert models("path", "srn-compact").stdout.decode().strip() == str(find_weights("srn-compact"))
    assert models("path", "srn-color").code == 4


@pytest.mark.weights
def test_verify_checks_all_that_is_here_and_names_what_is_damaged(mine, models):
    assert models("verify").stdout == b"srn-compact\twhole\nmine\twhole\n"
    flip(mine)
    result = models("verify")
    assert (result.code, result.stdout) == (4, b"srn-compact\twhole\n")
    assert "mine.safetensors: damaged" in result.stderr


def test_remove_deletes_weights_and_nothing_else(mine, models):
    other = keep(SRN(SMALL), "other", "other.pt", None)
    assert models("remove", "mine").code == 0
    assert (mine.exists(), other.exists()) == (False, True)
    assert models("remove", "mine").code == 4


def test_the_embedded_model_is_not_removed(models):
    result = models("remove", "srn-compact")
    assert result.code == 2
    assert "part of the program" in result.stderr


@pytest.mark.parametrize("name", ["../mine", "srn-color", "nonsense"])
def test_what_is_not_here_is_not_removed(mine, models, name):
    assert models("remove", name).code == 4
    assert mine.exists()


def test_import_keeps_a_file_under_a_name(models, unblur, jpeg, tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "SAFE_TORCH", "2.5")  # tests may have an old version
    torch.save(SRN(MODELS["srn-compact"].config).state_dict(), tmp_path / "epoch 3.pt")
    refused = models("import", tmp_path / "epoch 3.pt")
    assert (refused.code, "--name" in refused.stderr) == (2, True)
    result = models("import", tmp_path / "epoch 3.pt", "--name", "epoch-3")
    assert result.stdout.decode().strip() == str(installed_path("epoch-3"))
    digest = hashlib.sha256((tmp_path / "epoch 3.pt").read_bytes()).hexdigest()
    assert read_notes(installed_path("epoch-3"))["unblur.source-sha256"] == digest
    assert unblur(jpeg, model="epoch-3").code == 0


def test_import_of_what_is_no_weights_exits_with_4(models, jpeg):
    result = models("import", jpeg)
    assert result.code == 4
    assert f"{jpeg}: neither an archive" in result.stderr


def test_list_and_help_import_nothing_heavy():
    heavy = ("torch", "numpy", "requests", "safetensors")
    program = (
        "import sys\nfrom unblur.cli import main\n"
        "try: main(['models', 'list'])\n"
        "except SystemExit: "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "[]"
