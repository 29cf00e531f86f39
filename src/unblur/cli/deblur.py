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

from unblur.cli import doctor, models, restore, score
from unblur.cli.console import Ui
from unblur.cli.shared import (
    PhotosOrCommand,
    ValueMayBeLeftOut,
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
4 no weights, 5 no such device or a wrong one, 129, 130 or 143 stopped.
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
            self.fail(f"{value!r} is no size such as 800M or 2G", param, ctx)
        return int(float(match[1]) * (1 << (20 if match[2] == "M" else 30)))


class BlurLevel(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A blur score; in a configuration file also ``true`` or ``false``."""

    name = "level"

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        """Read the option's text."""
        if isinstance(value, bool):
            return BLURRY_LEVEL if value else None
        try:
            level = float(value)
        except ValueError:
            level = -1.0
        if not 0 <= level < float("inf"):
            self.fail(f"{value!r} is no blur score, which is 0 or more", param, ctx)
        return level


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
    help="Write to this file, or into this folder as the photos lie below theirs, "
    "or to standard output with -.",
)
@click.option(
    "--suffix",
    default=SUFFIX,
    show_default=True,
    help="Add this to the name, before the extension.",
)
@click.option("--in-place", is_flag=True, help="Replace the photos by their results.")
@click.option(
    "--backup/--no-backup",
    default=None,
    help="With --in-place, keep each original as NAME.orig (the default), or do not.",
)
@click.option(
    "--on-existing",
    type=click.Choice(["error", "skip", "overwrite"]),
    default="error",
    show_default=True,
    help="What to do if the output exists and is not an unchanged earlier result.",
)
@click.option("--overwrite", is_flag=True, help="The same as --on-existing overwrite.")
@click.option("--preserve-times", is_flag=True, help="Give results their originals' time.")
@click.option(
    "--refresh-thumbnail/--keep-thumbnail",
    default=True,
    help="Draw the small picture inside a JPEG file anew, or leave it as it was.",
)
@click.option(
    "--format",
    type=click.Choice(list(CONVERSIONS)),
    help="Write results in this format; a note tells which metadata it cannot hold.",
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    metavar="1-100",
    help="Code pixels at this quality instead of the photo's own, where a format is not lossless.",
)
@click.option(
    "--strip-metadata",
    is_flag=True,
    help="Keep only what is needed to show the photo as before: profile and orientation.",
)
@max_pixels_option
@click.option(
    "--only-blurry",
    cls=ValueMayBeLeftOut,
    type=BlurLevel(),
    metavar="[=LEVEL]",
    is_flag=False,
    flag_value=BLURRY_LEVEL,
    help=f"Leave photos alone whose blur score is below LEVEL, or {BLURRY_LEVEL} if none is "
    "given; unblur score tells scores.",
)
@click.option(
    "--compare",
    is_flag=True,
    help="Also write NAME-compared.png: before, after, and what changed most, magnified.",
)
@click.option(
    "--report",
    metavar="FILE.html",
    help="Write a page that shows each photo of this run before and after.",
)
@click.option(
    "--preview",
    is_flag=True,
    help="Show each photo before and after, if standard error is a terminal.",
)
@history_option
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first photo that fails.")
@click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    metavar="NAME|FILE",
    help="The network: a name that unblur models list shows, or a weights file.",
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
    help="Work on at most N x N pixels at once; less needs less memory.",
)
@click.option(
    "--strength",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    metavar="0-1",
    help="How much of the change is made: half of it with 0.5.",
)
@click.option(
    "--views",
    type=click.IntRange(1, MOST_VIEWS),
    default=1,
    show_default=True,
    metavar=f"1-{MOST_VIEWS}",
    help="Average N mirrored and turned passes: slightly better, N times slower.",
)
@click.option(
    "--max-memory",
    type=MemorySize(),
    metavar="SIZE",
    help="Take no more main memory than this, such as 2G. Tiles shrink first; a photo that still "
    "needs more fails. The default is the memory that is free.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="Compute with this many threads instead of one for each core that may be used.",
)
@click.option(
    "-j",
    "--jobs",
    type=int,
    default=1,
    show_default=True,
    help="Photos to decode ahead and to write in parallel.",
)
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Spread the photos over a Ray cluster: auto, host:port, ray://host:port, or local for "
    "one of this machine.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --ray, this many workers instead of one for each GPU, or each 4 (or --threads) "
    "cores.",
)
@listing_options
@verbosity_options
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_use_config,
    help="Read defaults from this file instead of unblur.toml in the user's configuration folder.",
)
@click.option(
    "--completion",
    type=click.Choice(["bash", "zsh", "fish"]),
    is_eager=True,
    expose_value=False,
    allow_from_autoenv=False,
    callback=_print_completion,
    help="Print the completion script for a shell.",
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

    Each PATH is a photo; photo.jpg becomes photo-unblurred.jpg beside it, with
    the same metadata. The original is never changed. With - as PATH, the photo
    is read from standard input and written to standard output.

    A second run does only what is not done: results that are there, whose
    originals and settings have not changed, are skipped.
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
            raise UsageError("--ray needs files: a cluster reaches no standard input or output")
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
            ui.say(f"a second run will not know these results: {history.problem}")
    return _conclude(report, ui) or code


def _require_memory_of_results(history: History, options: Options) -> None:
    """Refuse to replace originals if nobody can tell which have been replaced.

    Raises:
        UsageError: If results could be deblurred once more, now or by a second run.
    """
    if history.problem and options.in_place:
        raise UsageError(f"--in-place needs to know what it has replaced: {history.problem}")


def _read_options(flags: dict[str, Any]) -> Options:
    values = {field.name: flags[field.name] for field in fields(Options) if field.name in flags}
    if flags["overwrite"] and values["on_existing"] != "overwrite" and _outranks_on_existing():
        values["on_existing"] = "overwrite"
    return Options(**values)


def _outranks_on_existing() -> bool:
    """Tell whether ``--overwrite`` was said in a place that wins over that of ``--on-existing``.

    Raises:
        UsageError: If both were said in one place.
    """
    ranks = ["DEFAULT", "DEFAULT_MAP", "ENVIRONMENT", "COMMANDLINE"]
    context = click.get_current_context()
    source = context.get_parameter_source("overwrite")
    rival = context.get_parameter_source("on_existing")
    assert source is not None
    assert rival is not None
    if source is rival:
        raise UsageError("--overwrite and --on-existing contradict each other")
    return ranks.index(source.name) > ranks.index(rival.name)


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
            ui.say("this terminal shows neither pictures nor enough colours for a preview")
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
    if flags["only_blurry"] is not None:
        raise UsageError(
            "--only-blurry writes nothing for a sharp photo, and standard output cannot tell: "
            "add -o FILE"
        )
    if flags["json"]:
        raise UsageError("standard output cannot hold both a photo and --json")
    if sys.__stdout__ is None:
        raise UsageError("standard output is closed, and takes no photo: add -o FILE")
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
