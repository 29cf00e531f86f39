"""The command line: flags to plain values, and errors to exit codes."""

from __future__ import annotations

import os
import re
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from unblur.cli import doctor, models, restore, score
from unblur.cli.console import Ui
from unblur.cli.option_groups import PlainOption
from unblur.cli.shared import (
    PhotosOrCommand,
    exit_code_of,
    history_option,
    listing_options,
    max_pixels_option,
    open_history,
    options_with_defaults,
    path_options,
    read_paths,
    verbosity_options,
)
from unblur.cli.signals import interrupted_code
from unblur.config import read_config
from unblur.errors import ExitCode, PhotoError, UsageError
from unblur.extras import load_extra
from unblur.formats.photo import CONVERSIONS
from unblur.models.catalog import DEFAULT_MODEL, find_weights
from unblur.options import BLURRY_LEVEL, MOST_VIEWS, SUFFIX, Options
from unblur.run.watcher import NORMAL
from unblur.version import __version__

if TYPE_CHECKING:
    from typing import Literal

    from unblur.cli.console import Listing
    from unblur.network.deblurrer import Deblurrer
    from unblur.run.history import History
    from unblur.run.jobs import Plan
    from unblur.run.report import Report
    from unblur.run.runner import Runner

EPILOG = """\
Exit codes: 0 all done or skipped, 1 a photo failed, 2 wrong usage, 3 no photo found,
4 weights missing or damaged, 5 device missing or faulty, 129, 130 or 143 stopped.
"""


class TileSize(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A number of pixels, or ``auto``."""

    name = "auto|pixels"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | Literal["auto"]:
        """Read the option's text."""
        if value == "auto":
            return "auto"
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither auto nor a number of pixels", param, ctx)


class MemorySize(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A number of bytes, such as ``800M`` or ``1.5G``."""

    name = "size"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Read the option's text."""
        match = re.fullmatch(r"([0-9]*\.?[0-9]+)([MG])B?", str(value).strip().upper())
        if match is None:
            self.fail(f"{value!r} is not a size such as 800M or 2G", param, ctx)
        return int(float(match[1]) * (1 << (20 if match[2] == "M" else 30)))


class BlurLevel(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A blur score."""

    name = "level"

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the option's text."""
        level = _as_number(value)
        if level is None or not 0 <= level < float("inf"):
            self.fail(f"{value!r} is not a blur score: a number, 0 or more", param, ctx)
        return level


def _as_number(value: object) -> float | None:
    """Return the number that a text or a value of TOML stands for; ``None`` if it is none."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except ValueError:
        return None


class OnlyBlurry(click.Option):
    """A flag that was once an option with a level, as which it still may be configured.

    A number in the environment or in a configuration file sets the default of ``--blur-level``.
    """

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:  # noqa: ANN401 (as Click)
        """Read the flag or, from an old setting, the level."""
        if _as_number(value) is None:
            return super().type_cast_value(ctx, value)
        _set_default(ctx, "blur_level", value)
        return True


class Overwrite(click.Option):
    """On the command line ``--overwrite`` is ``--on-existing overwrite``: the last one wins.

    In the environment and in configuration files, which have no order, it sets the default.
    """

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:  # noqa: ANN401 (private class)
        """Let the parser store the flag as the value of ``--on-existing``."""
        parser.add_option(
            obj=self, opts=self.opts, dest="on_existing", action="store_const", const="overwrite"
        )

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:  # noqa: ANN401 (as Click)
        """Read the setting."""
        chosen = super().type_cast_value(ctx, value)
        if chosen:
            _set_default(ctx, "on_existing", "overwrite")
        return chosen


def _set_default(ctx: click.Context, name: str, value: object) -> None:
    """Set the default of an option that is read later than the present one."""
    ctx.default_map = {**(ctx.default_map or {}), name: value}


def _one_of(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _use_config(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
    try:
        ctx.default_map = read_config(path, options_with_defaults(ctx.command))
    except UsageError as error:
        raise click.UsageError(str(error), ctx) from error


def _print_completion(ctx: click.Context, param: click.Parameter, shell: str | None) -> None:
    if shell is None:
        return
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    assert completion is not None
    click.echo(completion(ctx.command, {}, "unblur", "_UNBLUR_COMPLETE").source())
    ctx.exit()


@click.group(
    cls=PhotosOrCommand,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "UNBLUR"},
    epilog=EPILOG,
)
@path_options
@click.option(
    "-o",
    "--output",
    metavar="FILE|DIR",
    help="Output file or folder; - is standard output.",
)
@click.option("--in-place", is_flag=True, help="Replace photos; keep originals as NAME.orig.")
@click.option(
    "--overwrite",
    cls=Overwrite,
    is_flag=True,
    expose_value=False,
    help="Replace existing files; see --on-existing.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Show the plan; write nothing.")
@click.option(
    "--only-blurry",
    cls=OnlyBlurry,
    is_flag=True,
    help="Skip sharp photos; see --blur-level.",
)
@click.option(
    "--strength",
    cls=PlainOption,
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    metavar="0-1",
    help="Share of the change to apply; 0.5 is half.",
)
@click.option(
    "--compare",
    is_flag=True,
    help="Also write NAME-compared.png: before and after, with an enlarged detail.",
)
@click.option(
    "--blur-level",
    type=BlurLevel(),
    default=BLURRY_LEVEL,
    show_default=True,
    metavar="N",
    help="Lowest blur score that --only-blurry takes; see unblur score.",
)
@max_pixels_option
@click.option(
    "--suffix",
    default=SUFFIX,
    show_default=True,
    help="Add this to the name, before the extension.",
)
@click.option(
    "--on-existing",
    type=click.Choice(["error", "skip", "overwrite"]),
    default="error",
    show_default=True,
    help="What to do if the output exists and is not an unchanged earlier result.",
)
@click.option(
    "--backup/--no-backup",
    default=None,
    help="With --in-place, keep originals as NAME.orig (default), or do not.",
)
@click.option(
    "--format",
    type=click.Choice(list(CONVERSIONS)),
    metavar="FORMAT",
    help=f"Convert results to {_one_of(list(CONVERSIONS))}.",
)
@click.option(
    "--quality",
    cls=PlainOption,
    type=click.IntRange(1, 100),
    metavar="1-100",
    help="Compression quality of lossy formats. Default: the photo's own.",
)
@click.option(
    "--strip-metadata",
    is_flag=True,
    help="Keep only colour profile and orientation.",
)
@click.option("--preserve-times", is_flag=True, help="Copy the modification time to the result.")
@click.option(
    "--refresh-thumbnail/--keep-thumbnail",
    default=True,
    help="Redraw the thumbnail in a JPEG file (default), or keep the old one.",
)
@click.option(
    "--report",
    metavar="FILE.html",
    help="Write a web page: all photos before and after.",
)
@click.option("--preview", is_flag=True, help="Show photos before and after in the terminal.")
@click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    metavar="NAME|FILE",
    help="Network: a name from unblur models list, or a weights file.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="Where to run the network.",
)
@click.option(
    "--tile",
    type=TileSize(),
    default="auto",
    show_default=True,
    metavar="auto|N",
    help="Largest tile, N x N pixels. Smaller tiles need less memory.",
)
@click.option(
    "--views",
    cls=PlainOption,
    type=click.IntRange(1, MOST_VIEWS),
    default=1,
    show_default=True,
    metavar=f"1-{MOST_VIEWS}",
    help="Average N mirrored and turned passes: slightly better, N times slower.",
)
@click.option(
    "--threads",
    cls=PlainOption,
    type=click.IntRange(min=1),
    metavar="N",
    help="CPU threads. Default: one per available core.",
)
@click.option(
    "--max-memory",
    type=MemorySize(),
    metavar="SIZE",
    help="Limit on main memory, such as 2G. Default: the free memory.",
)
@click.option(
    "-j",
    "--jobs",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Photos to decode ahead and to write in parallel.",
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first photo that fails.")
@history_option
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_use_config,
    help="Read defaults from this file instead of the user's unblur.toml.",
)
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Run on a Ray cluster: auto, local, HOST:PORT or ray://HOST:PORT.",
)
@click.option(
    "--workers",
    cls=PlainOption,
    type=click.IntRange(min=1),
    metavar="N",
    help="Ray workers. Default: one per GPU, or one per 4 cores.",
)
@listing_options
@verbosity_options
@click.option(
    "--completion",
    type=click.Choice(["bash", "zsh", "fish"]),
    is_eager=True,
    expose_value=False,
    allow_from_autoenv=False,
    callback=_print_completion,
    help="Print the completion script for this shell.",
)
@click.version_option(
    __version__,
    "-V",
    "--version",
    message="%(prog)s %(version)s",
    allow_from_autoenv=False,  # images are customarily given the variable UNBLUR_VERSION
)
def main(**flags: Any) -> None:  # noqa: ANN401 (click hands over every option above)
    """Sharpen photos that are blurred by camera shake or motion.

    For each photo.jpg, write photo-unblurred.jpg beside it, with the same
    metadata. Originals stay unchanged. With - as PATH, read a photo from
    standard input and write the result to standard output.

    A second run skips each photo whose result exists, unless the photo, the
    result or the settings have changed.
    """
    if not flags:
        return  # a command was named, and runs next
    from unblur.cli.streams import claimed_stdout

    verbosity = flags["verbose"] - flags["quiet"]
    with claimed_stdout() as stdout:
        settings = {name: flags[name] for name in ("model", "device", "tile", "strength", "views")}
        ui = Ui(verbosity, _choose_listing(flags, stdout), stdout, settings)
        code = exit_code_of(lambda: _deblur(flags, ui, stdout), ui)
    sys.exit(code)


def _choose_listing(flags: dict[str, Any], stdout: int) -> Listing:
    if flags["json"]:
        return "json"
    if os.isatty(stdout):
        return "none"  # nobody reads the list, and standard error tells the same
    return "nul" if flags["null"] else "lines"


def _deblur(flags: dict[str, Any], ui: Ui, stdout: int) -> ExitCode:
    from unblur.models.weights import fingerprint
    from unblur.run.plan import make_plan
    from unblur.run.report import Report
    from unblur.run.runner import Run, run_plan

    started, options = time.monotonic(), _read_options(flags)
    page = _read_page(flags)
    paths = read_paths(flags)
    weights = find_weights(flags["model"])
    settings = fingerprint(weights) + options.settings
    with open_history(flags) as history:
        _require_memory_of_results(history, options)
        plan = make_plan(paths, options, history, settings)
        _require_memory_of_results(history, options)
        todo = [job for job in plan.jobs if not job.problem]
        if any(job.target is None for job in todo):
            _claim_for_photo(flags, stdout)
        if flags["ray"] and any(None in (job.source, job.target) for job in todo):
            raise UsageError("--ray needs files: it cannot use standard input or output")
        ui.passed_over(plan)
        report = Report(page is not None, plan.in_cloud)
        if flags["dry_run"]:
            _only_plan(plan, ui, report)
            return _conclude(report, ui)
        options = _with_ways_to_show(options, flags, plan, ui)
        run = Run(options, history, settings, ui, stdout, report)
        code = ExitCode.OK
        try:
            run_plan(plan, _make_runner(weights, flags, options, ui), run)
        finally:  # also of a run that was cut short
            if page and report.counts:
                facts = len(plan.jobs), time.monotonic() - started, ui.settings
                code = _write_page(report, page, options, facts, ui)
        if history.problem:
            ui.say(f"a second run will not recognise these results: {history.problem}")
    return _conclude(report, ui) or code


def _require_memory_of_results(history: History, options: Options) -> None:
    """Refuse to replace originals if nobody can tell which have been replaced.

    Raises:
        UsageError: If results could be deblurred once more, now or by a second run.
    """
    if history.problem and options.in_place:
        raise UsageError(f"--in-place needs the record of results: {history.problem}")


def _read_options(flags: dict[str, Any]) -> Options:
    values = {field.name: flags[field.name] for field in fields(Options) if field.name in flags}
    values["only_blurry"] = flags["blur_level"] if flags["only_blurry"] else None
    level_source = click.get_current_context().get_parameter_source("blur_level")
    if not flags["only_blurry"] and level_source is ParameterSource.COMMANDLINE:
        raise UsageError("--blur-level needs --only-blurry")
    return Options(**values)


def _read_page(flags: dict[str, Any]) -> Path | None:
    """Return where the page of the run goes, having looked what stands against that."""
    if flags["report"] is None:
        return None
    from unblur.cli.page import check_target

    check_target(Path(flags["report"]))
    return Path(flags["report"])


def _with_ways_to_show(options: Options, flags: dict[str, Any], plan: Plan, ui: Ui) -> Options:
    """Return options that also tell how photos are to be shown."""
    if flags["report"] is not None:
        from unblur.cli.page import picture_side

        options = replace(options, picture_side=picture_side(len(plan.jobs)))
    if flags["preview"] and ui.verbosity >= NORMAL:
        from unblur.cli.terminal import find_screen

        options = replace(options, screen=find_screen(sys.stderr))
        if options.screen is None and sys.stderr.isatty():
            ui.say("no --preview: this terminal shows neither pictures nor 256 colours")
    return options


def _write_page(
    report: Report, path: Path, options: Options, facts: tuple[int, float, dict[str, Any]], ui: Ui
) -> ExitCode:
    from unblur.cli import page

    planned, seconds, settings = facts
    told = {name: str(value) for name, value in settings.items()} | page.describe_options(options)
    try:
        page.write(report, path, options, page.Facts(planned, seconds, told))
    except PhotoError as error:
        ui.error(str(error))
        return error.exit_code
    ui.say(f"report: {path}")
    return ExitCode.OK


def _claim_for_photo(flags: dict[str, Any], stdout: int) -> None:
    if flags["only_blurry"]:
        raise UsageError(
            "--only-blurry would write nothing to standard output for a sharp photo: add -o FILE"
        )
    if flags["json"]:
        raise UsageError("--json and the photo cannot share standard output: add -o FILE")
    if sys.__stdout__ is None:
        raise UsageError("standard output is closed: add -o FILE")
    if os.isatty(stdout):
        raise UsageError("a photo cannot be shown in a terminal: add >FILE or -o FILE")


def _only_plan(plan: Plan, ui: Ui, report: Report) -> None:
    from unblur.run.report import Outcome, Status, settled_beforehand

    for job in plan.jobs:
        outcome = settled_beforehand(job) or Outcome(job, Status.PLANNED)
        report.add(outcome)
        ui.outcome(outcome)
    if report.keeps_outcomes:
        ui.say("a dry run writes no report")


def _conclude(report: Report, ui: Ui) -> ExitCode:
    ui.summary(report)
    if report.interrupted_by:
        ui.error("interrupted")
        return interrupted_code(report.interrupted_by)
    if report.exit_code is ExitCode.NOTHING_TO_DO:
        ui.error("found no photo")
    return report.exit_code


def _make_runner(weights: Path, flags: dict[str, Any], options: Options, ui: Ui) -> Runner:
    if flags["ray"] is None:
        from unblur.run.local import LocalRunner

        return LocalRunner(lambda: _make_deblurrer(weights, flags, options, ui))
    load_extra("ray", "cluster", "runs on a cluster", UsageError)
    from unblur.models.weights import load_network
    from unblur.run.ray_runner import RayRunner
    from unblur.run.ray_worker import Choices

    choices = Choices(**{field.name: flags[field.name] for field in fields(Choices)})
    return RayRunner(flags["ray"], lambda: load_network(weights), choices)


def _make_deblurrer(weights: Path, flags: dict[str, Any], options: Options, ui: Ui) -> Deblurrer:
    from unblur.models.loading import load_deblurrer
    from unblur.run.work import drawing_bytes

    chosen = {name: flags[name] for name in ("device", "tile", "strength", "views", "max_memory")}
    chosen |= {"threads": flags["threads"] or "auto", "reserved": drawing_bytes(options)}
    deblurrer = load_deblurrer(weights, warn=ui.say, **chosen)
    ui.settings |= {"device": deblurrer.device.type, "tile": deblurrer.tile}
    return deblurrer


main.add_command(models.models)
main.add_command(doctor.doctor)
main.add_command(score.score)
main.add_command(restore.restore)
