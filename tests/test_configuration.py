"""Options from `unblur.toml` and from environment variables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from unblur.cli import main
from unblur.cli.parameters import Filled
from unblur.cli.shared import options_with_defaults
from unblur.cli.variables import unknown_variables

OPTIONS = {param.name: param for param in main.params if param.name in options_with_defaults(main)}
WRONG = [
    ("tile", "abc", "neither auto nor a number of pixels"),
    ("tile", "64", "at least 128 pixels, not 64"),
    ("strength", "7", "not in the range"),
    ("device", "gpu", "not one of"),
    ("max-memory", "much", "is not a size"),
    ("only", "sharp", "not one of"),
    ("recursive", "maybe", "not a valid boolean"),
    ("report", "s3://bucket/page.html", "is an object"),
]
"""Options with a wrong value, and a part of the message."""


@pytest.fixture
def toml(monkeypatch, tmp_path):
    """The user's configuration, which is not there yet."""
    path = tmp_path / "unblur.toml"
    monkeypatch.setattr("unblur.config.config_file", lambda: path)
    monkeypatch.setattr("unblur.cli.program.config_file", lambda: path)
    return path


@pytest.fixture
def plan(capfd):
    """Plan a run; return what it lists."""

    def plan(*words, **variables):
        result = CliRunner(env=variables).invoke(main, ["--dry-run", "--quiet", *map(str, words)])
        assert result.exit_code == 0, result.stderr
        return capfd.readouterr().out

    return plan


def refusal(*words, **variables):
    """The last line of a run that is refused."""
    result = CliRunner(env=variables).invoke(main, [*map(str, words)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize(("name", "value", "problem"), WRONG)
def test_a_wrong_value_is_told_with_the_place_that_it_comes_from(jpeg, toml, name, value, problem):
    variable = f"UNBLUR_{name.replace('-', '_').upper()}"
    told = refusal(jpeg, **{variable: value})
    assert f"Invalid value for {variable}: " in told
    assert problem in told
    toml.write_text(f"{name} = {value!r}")
    told = refusal(jpeg)
    assert f"Invalid value for {name} in {toml}: " in told
    assert problem in told


def test_a_wrong_value_on_the_command_line_is_told_with_the_option(jpeg, toml):
    toml.write_text("tile = 512")
    assert "Invalid value for '--tile': 'abc'" in refusal(jpeg, "--tile", "abc", UNBLUR_TILE="9")


@pytest.mark.parametrize("place", ["file", "variable"])
def test_a_contradiction_names_the_option_that_was_not_on_the_command_line(jpeg, toml, place):
    variables = {"UNBLUR_IN_PLACE": "1"} if place == "variable" else {}
    if place == "file":
        toml.write_text("in-place = true")
    told = refusal(jpeg, "--output", "x.jpg", **variables)
    assert "--in-place and --output contradict each other" in told
    origin = "UNBLUR_IN_PLACE" if variables else f"in-place in {toml}"
    assert told.endswith(f"; --in-place comes from {origin}")


def test_a_contradiction_on_the_command_line_names_no_other_place(jpeg, toml):
    toml.write_text("quiet = 1")
    assert refusal(jpeg, "--in-place", "--output", "x.jpg").endswith("contradict each other")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("tyle = 5", "unknown option 'tyle'; did you mean tile?"),
        ("max_memry = '2G'", "unknown option 'max_memry'; did you mean max-memory?"),
        ("zzzzzz = 5", "unknown option 'zzzzzz'"),
        ("[unblur]\ntile = 512", "options stand at the top of the file, not in a table"),
        ("tile = {side = 512}", "tile takes one value, not a table"),
        ("output = 2020-01-02", "output takes one value, not 2020-01-02"),
        ("output = 10:00:00", "output takes one value, not 10:00:00"),
        ("output = ['a']", "output takes one value, not ['a']"),
        ("include = [1]", "include takes a list of strings, not [1]"),
        ("dry-run = true\ndry_run = false", "dry_run is set twice, with - and with _"),
        ("tile = 512\ntile = 256", "cannot be read as TOML: Cannot overwrite a value (at line 2"),
        ("jobs = 1\ntile = 512\ntile = 256\nviews = 2", ": tile = 256"),
        ("jobs = 1\ntile 512\nviews = 2", "(at line 2, column 6): tile 512"),
        ("suffix = 'a\u2028b\x85c'\r\njobs = 1\r\ntile = ?\r\n", "at line 3"),
        ("jobs = 1\ntile = " + "[" * 20_000, "nested too deeply: tile = [[["),
        ("jobs = 1\ntile = " + "1_2" * 20_000, "a number has too many digits: tile = 1_21_2"),
        ("#" * (1 << 20), "is too large for a configuration"),
    ],
    ids=lambda text: text[:20],
)
def test_a_mistake_in_the_file_is_named(jpeg, toml, line, told):
    toml.write_text(line + "\n")
    message = refusal(jpeg)
    assert f"{toml}: " in message
    assert told in message
    assert ("did you mean" in message) == ("did you mean" in told)


NO_VALUES = [
    *("nan", "-inf", "1e400", "9" * 30, "9" * 5000, "0x" + "f" * 4000, "-0x" + "f" * 17),
    *("2020-01-02", "2020-01-02T10:00:00Z", "10:00:00", "{a = 1}", "{a = {b = [1]}}"),
    *("[[1]]", "[nan]", "[{a = 1}]", "[true]", "[0x" + "f" * 4000 + "]", "[2020-01-02]"),
]
"""Values of TOML that no option takes."""


@pytest.mark.parametrize("name", OPTIONS)
def test_a_value_of_a_wrong_type_is_told_with_the_file_and_the_option(
    jpeg, toml, name, monkeypatch
):
    monkeypatch.delenv("UNBLUR_HISTORY")  # it would win over the file
    key = name.replace("_", "-")
    for value in NO_VALUES:
        toml.write_text(
            f"suffix = '-a'\n{key} = {value}" if key != "suffix" else f"{key} = {value}"
        )
        told = refusal(jpeg)
        assert str(toml) in told, value
        assert key in told, value
        assert len(told) < 400, value
        assert "sys." not in told, value


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("value", ["nan", "-inf", "1e400", "[1]", "{a = 1}"])
def test_a_wrong_value_of_a_variable_is_told_with_the_variable(jpeg, toml, name, value):
    assert isinstance(OPTIONS[name], Filled)
    if not OPTIONS[name].takes_any_text:
        variable = f"UNBLUR_{name.upper()}"
        assert f"Invalid value for {variable}: " in refusal(jpeg, **{variable: value})


@pytest.mark.parametrize("value", ["nan", "NaN", "-nan", "inf", "1e400", "2"])
def test_a_strength_is_a_number_from_0_to_1(jpeg, toml, value):
    assert "Invalid value for '--strength': " in refusal(jpeg, "--strength", value)


@pytest.mark.parametrize("value", ["9" * 400 + "G", "nanG", "infG", "1e400G"])
def test_a_limit_of_memory_is_a_size(jpeg, toml, value):
    assert "is not a size such as 800M or 2G" in refusal(jpeg, "--max-memory", value)


@pytest.mark.parametrize("place", ["file", "variable"])
@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("model", "nosuchmodel", 4),
        ("device", "cuda:99", 5),
        ("files-from", "nosuchlist", 2),
    ],
)
def test_what_cannot_be_used_is_told_with_the_place_that_it_comes_from(
    jpeg, toml, identity_weights, place, name, value, code
):
    variables = {f"UNBLUR_{name.replace('-', '_').upper()}": value} if place == "variable" else {}
    if place == "file":
        toml.write_text(f"{name} = {value!r}")
    words = [jpeg] if name == "model" else [jpeg, "--model", identity_weights]
    result = CliRunner(env=variables).invoke(main, [str(word) for word in words])
    assert result.exit_code == code
    source = next(iter(variables), f"{name} in {toml}")
    assert f"--{name} comes from {source}" in result.stderr.splitlines()[-1]


def unknown(*names):
    return [*unknown_variables(main, dict.fromkeys(names, "1"))]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *(("STRENGHT", "STRENGTH"), ("MODEL_DIR", "MODELS_DIR"), ("ONLYBLURRY", "ONLY_BLURRY")),
        *(("OFF_LINE", "OFFLINE"), ("MIRRORS", "MIRROR"), ("FORCES", "FORCE")),
    ],
)
def test_a_misspelled_variable_is_told_with_the_right_one(jpeg, toml, name, meant):
    result = CliRunner(env={f"UNBLUR_{name}": "1"}).invoke(main, ["--dry-run", str(jpeg)])
    assert result.exit_code == 0
    line = f"UNBLUR_{name} has no effect: it names no option; did you mean UNBLUR_{meant}?"
    assert result.stderr.splitlines().count(line) == 1
    quiet = CliRunner(env={f"UNBLUR_{name}": "1"}).invoke(main, ["-nq", str(jpeg)])
    assert quiet.stderr == ""


def test_other_commands_tell_it_too():
    result = CliRunner(env={"UNBLUR_STRENGHT": "1"}).invoke(main, ["models", "list"])
    assert result.exit_code == 0
    assert "UNBLUR_STRENGHT has no effect" in result.stderr


def test_a_variable_that_is_like_no_option_is_told_without_advice():
    assert unknown("UNBLUR_XYZZY") == ["UNBLUR_XYZZY has no effect: it names no option"]


def test_variables_of_options_containers_and_other_programs_are_not_told():
    assert not unknown(*(f"UNBLUR_{name.upper()}" for name in OPTIONS))
    assert not unknown("UNBLUR_MODELS_DIR", "UNBLUR_MIRROR", "UNBLUR_OFFLINE", "UNBLUR_CONFIG")
    assert not unknown("UNBLUR_SERVICE_HOST", "UNBLUR_PORT_80_TCP", "UNBLUR_VERSION")
    assert not unknown("UNBLUR", "UNBLURRED", "PATH", "_UNBLUR_COMPLETE")


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("JOBS", ["score", "x.jpg"]),
        ("RECURSIVE", ["restore", "x.jpg"]),
        ("OPENS", ["try", "x.jpg"]),
        ("OFFLINE", ["models", "download", "srn-gray"]),
        ("DOCTOR_AS_JSON", ["doctor"]),
    ],
)
def test_a_variable_that_another_command_reads_is_known(variable, words):
    variable = f"UNBLUR_{variable}"
    result = CliRunner(env={variable: "maybe"}).invoke(main, words)
    assert f"Invalid value for {variable}: 'maybe'" in result.stderr
    assert not unknown(variable)


@pytest.mark.parametrize("name", ["tile", "views", "output", "device", "max-pixels", "jobs"])
@pytest.mark.parametrize("value", ["true", "false"])
def test_an_option_with_a_value_is_no_switch(jpeg, toml, name, value):
    toml.write_text(f"{name} = {value}")
    assert f"for {name} in {toml}: takes a value, not {value}" in refusal(jpeg)


@pytest.mark.parametrize("name", ["compare", "only-blurry", "overwrite", "json", "backup"])
def test_a_switch_can_be_off(jpeg, toml, name, plan):
    toml.write_text(f"{name} = false")
    listed = plan(jpeg, "--in-place") if name == "backup" else plan(jpeg)
    assert "photo" in listed


def test_the_home_folder_has_a_short_name_in_the_file(jpeg, toml, monkeypatch, tmp_path, plan):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr("unblur.config.home_folder", lambda: home)
    toml.write_text("output = '~/results/'")
    assert plan(jpeg).strip() == str(home / "results" / "photo-unblurred.jpg")


def test_paths_in_the_file_are_relative_to_the_current_folder(
    jpeg, toml, monkeypatch, tmp_path, plan
):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    toml.write_text("output = 'results/'")
    assert Path(plan(jpeg).strip()) == Path("results", "photo-unblurred.jpg")


def test_the_command_line_overrides_a_variable_and_that_the_file(jpeg, toml, plan):
    toml.write_text("suffix = '-file'")
    assert "photo-file.jpg" in plan(jpeg)
    assert "photo-variable.jpg" in plan(jpeg, UNBLUR_SUFFIX="-variable")
    assert "photo-line.jpg" in plan(jpeg, "--suffix=-line", UNBLUR_SUFFIX="-variable")


@pytest.mark.posix
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (os.mkfifo, "is a pipe or a device, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a pipe or a device, not a file"),
        (lambda path: path.symlink_to("nowhere"), "no such file"),
        (lambda path: path.symlink_to(path.name), "too many levels of symbolic links"),
        (lambda path: path.mkdir(), "is a directory"),
    ],
    ids=["pipe", "device", "broken link", "loop", "folder"],
)
def test_what_is_no_file_in_place_of_the_configuration_is_refused_at_once(jpeg, toml, make, told):
    make(toml)
    message = refusal(jpeg)
    assert f"{toml}: " in message
    assert told in message


@pytest.mark.posix
def test_the_output_of_a_command_can_be_the_configuration(jpeg, plan):
    reading, writing = os.pipe()
    os.write(writing, b"suffix = '-piped'\n")
    os.close(writing)
    try:
        assert "photo-piped.jpg" in plan(jpeg, "--config", f"/dev/fd/{reading}")
    finally:
        os.close(reading)
