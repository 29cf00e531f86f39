"""``unblur doctor``: print the findings of `unblur.doctor`, as text or JSON."""

from __future__ import annotations

import json
import shlex
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from unblur.cli.console import Ui
from unblur.cli.parameters import CONFIG, option, origins
from unblur.cli.shared import check_history, verbosity_options, with_ui
from unblur.config import config_file, history_file
from unblur.errors import ExitCode, UsageError
from unblur.run.watcher import NORMAL
from unblur.user_text import duration, printable, size

if TYPE_CHECKING:
    from unblur.doctor import Examination, Finding, ModelFile, Settings
    from unblur.network.examination import Device, PyTorch, Tested

WIDTH, LABEL_WIDTH = 80, 15
GOOD, BAD, NEITHER = "✓", "✗", " "
PLAIN = str.maketrans({GOOD: "+", BAD: "!"})
"""Marks for terminals that cannot show the usual ones."""


@click.command()
@option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@verbosity_options
@with_ui
def doctor(ui: Ui, as_json: bool) -> ExitCode:
    """Test the installation and each device.

    Print versions, devices, memory, models, record of results and
    configuration. Each device deblurs two pictures; its results are compared
    with those of the CPU in fp32, and remembered. The exit code is 0 if all
    is well, 2 if a run would refuse the configuration or a variable, 4 if
    weights are damaged, and 5 if a device failed. Please add the output to
    bug reports.
    """
    from unblur.doctor import examine, findings

    examination = examine(_read_settings(click.get_current_context().find_root().command))
    found = findings(examination)
    code = next((finding.exit_code for finding in found), ExitCode.OK)
    if as_json:
        values = asdict(examination) | {
            "findings": [asdict(finding) for finding in found],
            "exit_code": code,
        }
        for line in json.dumps(values, indent=2).splitlines():
            ui.answer(line)
        return code
    lines = [*_findings(found, code)]
    if ui.verbosity >= NORMAL:
        lines = [*_lines(examination), "", *lines]
    for line in lines:
        ui.answer(_showable(line, sys.stdout.encoding or "ascii", sys.getfilesystemencoding()))
    return code


def _read_settings(program: click.Command) -> Settings:
    """Read the settings of the environment and the configuration as a run for photos does."""
    from unblur.doctor import Settings

    problem = None
    try:
        context = program.make_context("unblur", ["PHOTO"])
    except click.UsageError as error:
        context, problem = error.ctx or click.get_current_context(), error.message
    history = context.params.get("history")
    try:
        check_history(history)
    except UsageError as error:
        problem = problem or f"{error}{origins(str(error), context)}"
    return Settings(context.meta.get(CONFIG, config_file()), history or history_file(), problem)


def _showable(line: str, *encodings: str) -> str:
    """Return a line with only characters that all of these encodings have."""
    for encoding in encodings:
        try:
            line.encode(encoding)
        except UnicodeEncodeError:
            line = line.translate(PLAIN)
        line = line.encode(encoding, "backslashreplace").decode(encoding)
    return line


def _row(label: str, text: str, mark: str = NEITHER) -> Iterator[str]:
    """Yield the lines of one row: mark, label and text, in columns."""
    start = f"{mark} {label:<{LABEL_WIDTH}}"
    yield from _wrapped(printable(text), start, " " * (LABEL_WIDTH + 2))


def _wrapped(text: str, first: str, following: str) -> list[str]:
    # Do not break paths and addresses, so that they can be copied.
    return textwrap.wrap(
        text, WIDTH - 1, initial_indent=first, subsequent_indent=following,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _lines(found: Examination) -> Iterator[str]:
    yield from _row("unblur", f"{found.unblur} in {found.installed_in}")
    yield from _row("Python", f"{found.python} on {found.system}")
    for name, version in found.libraries.items():
        yield from _row(name, version or "not installed", NEITHER if version else BAD)
    for extra in found.extras:
        missing = (
            f"no {extra.package}; to install it: pip install {shlex.quote(f'unblur[{extra.name}]')}"
        )
        present = f"{extra.package} {extra.version}"
        yield from _row(f"extra {extra.name}", present if extra.version else missing)
    for gpu in found.gpus:
        driver = f", driver {gpu.driver}" if gpu.driver else ""
        yield from _row("GPU", f"{gpu.maker} {gpu.name}{driver}")
    if found.pytorch:
        yield from _pytorch_lines(found.pytorch)
    for model in found.models:
        yield from _model_row(model)
    yield from _row("models folder", found.models_folder)
    state = "" if found.has_history else " (not there yet)"
    yield from _row("record", found.history + state, BAD if found.history_problem else NEITHER)
    yield from _row("self-tests", f"{found.self_tests} (may be deleted)")
    state = "" if found.has_configuration else " (optional, not there)"
    mark = BAD if found.configuration in (found.configuration_problem or "") else NEITHER
    yield from _row("configuration", found.configuration + state, mark)
    for name, value in found.environment.items():
        yield from _row("environment", f"{name}={value}")


def _pytorch_lines(pytorch: PyTorch) -> Iterator[str]:
    yield from _row("torch build", f"for {pytorch.build}")
    for device in pytorch.devices:
        yield from _device_row(device)
    if pytorch.ncnn:
        verdict, mark = _verdict(pytorch.ncnn)
        yield from _row("ncnn", f"{pytorch.ncnn.version} on the CPU; {verdict}", mark)
    yield from _row("--device auto", f"uses {pytorch.chosen}: {_why(pytorch)}")
    instructions = ", ".join(
        f"{name} {'yes' if there else 'no'}" for name, there in pytorch.bf16_instructions.items()
    )
    yield from _row("CPU features", instructions)
    yield from _row("threads", f"{pytorch.threads}: {pytorch.threads_reason}")


def _why(pytorch: PyTorch) -> str:
    first = next(device.name for device in pytorch.devices if device.is_automatic)
    if first == "cpu":
        return "there is no GPU that torch or ncnn can use"
    return "the fastest there is" if first == pytorch.chosen else f"{first} failed its self-test"


def _device_row(device: Device) -> Iterator[str]:
    verdict, mark = _verdict(device)
    tile = f", tiles of {device.tile} pixels" if device.tile else ""
    limit = f" (limit in {device.limited_by})" if device.limited_by else ""
    free = f"{size(device.free_bytes)} free{limit}"
    precision = device.precision
    if device.precision_reason:
        precision += f" ({device.precision_reason})"
    text = f"{device.hardware}: {precision}, {free}{tile}; {verdict}"
    yield from _row(device.name, text, mark)
    if device.name == "cpu":
        yield from _row("--engine auto", f"uses {device.engine}: {device.engine_reason}")


def _verdict(tested: Tested) -> tuple[str, str]:
    """Return the result of a self-test in words, and the row's mark."""
    if tested.problem:
        return f"failed: {tested.problem}", BAD
    if tested.seconds is None:
        return f"not tested: {tested.untested}", NEITHER
    verdict = f"correct, tested in {duration(tested.seconds)}"
    if tested.failed_before:
        verdict += "; an earlier test failed, so it was not used until now"
    return verdict, GOOD


def _model_row(model: ModelFile) -> Iterator[str]:
    if model.path is None:
        text, mark = "cannot be used" if model.problem else "not on this machine", NEITHER
    else:
        text, mark = f"{model.path} ({size(model.size or 0)})", GOOD
    yield from _row(model.name, text, BAD if model.problem else mark)


def _findings(found: list[Finding], code: ExitCode) -> Iterator[str]:
    if code is ExitCode.OK:
        yield "All is well." if not found else "All is well. Advice:"
    for finding in found:
        mark = NEITHER if finding.exit_code is ExitCode.OK else BAD
        yield from _wrapped(printable(finding.text), f"{mark} ", "  ")
        if finding.command:
            yield f"    {finding.command}"
