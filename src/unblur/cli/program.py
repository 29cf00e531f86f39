"""The command ``unblur``: all options for photos, and the other commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unblur.cli import desktop, doctor, models, restore, score, trial
from unblur.cli.completion import print_script
from unblur.cli.console import Ui
from unblur.cli.deblur import deblur
from unblur.cli.option_groups import PlainOption
from unblur.cli.option_types import (
    Compare,
    LocalFile,
    OnlyBlurry,
    Overwrite,
    Share,
    blur_level,
    memory_size,
    tile_size,
)
from unblur.cli.parameters import CONFIG, option
from unblur.cli.shared import (
    PhotosOrCommand,
    device_option,
    exit_code_of,
    history_option,
    listing_options,
    max_pixels_option,
    model_option,
    options_with_defaults,
    path_options,
    verbosity_options,
)
from unblur.config import config_file, read_config
from unblur.errors import UsageError
from unblur.formats.photo import CONVERSIONS
from unblur.options import BLURRY_LEVEL, MOST_VIEWS, SUFFIX, NetworkOptions
from unblur.user_text import one_of
from unblur.version import __version__

if TYPE_CHECKING:
    from unblur.cli.console import ListFormat

EPILOG = """\
Exit codes: 0 all done or skipped, 1 a photo failed, 2 wrong usage, 3 no photo found,
4 weights missing or damaged, 5 device missing, faulty or lost, 129, 130 or 143 stopped.
"""


def _use_config(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
    ctx.meta[CONFIG] = path or config_file()
    try:
        ctx.default_map = read_config(path, options_with_defaults(ctx.command))
    except UsageError as error:
        raise click.UsageError(str(error), ctx) from error


@click.group(
    cls=PhotosOrCommand,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "UNBLUR"},
    epilog=EPILOG,
)
@path_options
@option(
    "-o",
    "--output",
    metavar="FILE|DIR",
    help="Output file or folder; - is standard output.",
)
@option("--in-place", is_flag=True, help="Replace photos; keep originals as NAME.orig.")
@option(
    "--overwrite",
    cls=Overwrite,
    is_flag=True,
    expose_value=False,
    help="Replace existing files; see --on-existing.",
)
@option("-n", "--dry-run", is_flag=True, help="Show the plan; write nothing.")
@option(
    "--only-blurry",
    cls=OnlyBlurry,
    is_flag=True,
    help="Skip sharp photos, as --only blurry does; see --blur-level.",
)
@option(
    "--strength",
    cls=PlainOption,
    type=Share(),
    default=NetworkOptions.strength,
    show_default=True,
    metavar="0-1",
    help="Share of the change to apply; 0.5 is half.",
)
@option(
    "--compare",
    cls=Compare,
    default=False,
    metavar="[strengths]",
    help="Also write NAME-compared.png: before and after, or several strengths.",
)
@option(
    "--only",
    type=click.Choice(["blurry", "motion"]),
    help="Skip sharp photos; motion also skips photos that are out of focus.",
)
@option(
    "--blur-level",
    type=blur_level,
    default=BLURRY_LEVEL,
    show_default=True,
    metavar="N",
    help="With --only, skip photos with a lower blur score; see unblur score.",
)
@max_pixels_option
@option(
    "--mask",
    metavar="FILE|DIR",
    help="Grey picture: deblur only where it is white. DIR: one mask per photo, by name.",
)
@option(
    "--suffix",
    default=SUFFIX,
    show_default=True,
    help="Add this to the name, before the extension.",
)
@option(
    "--on-existing",
    type=click.Choice(["error", "skip", "overwrite"]),
    default="error",
    show_default=True,
    help="What to do if the output exists and is not an unchanged earlier result.",
)
@option(
    "--backup/--no-backup",
    default=None,
    help="With --in-place, keep originals as NAME.orig (default), or do not.",
)
@option(
    "--format",
    type=click.Choice(list(CONVERSIONS)),
    metavar="FORMAT",
    help=f"Convert results to {one_of(list(CONVERSIONS))}.",
)
@option(
    "--quality",
    cls=PlainOption,
    type=click.IntRange(1, 100),
    metavar="1-100",
    help="Compression quality of lossy formats. Default: the photo's own.",
)
@option("--strip-metadata", is_flag=True, help="Keep only colour profile and orientation.")
@option("--preserve-times", is_flag=True, help="Copy the modification time to the result.")
@option(
    "--sidecars",
    is_flag=True,
    help="Copy .xmp, .json and .pp3 files of the photo, under the result's name.",
)
@option(
    "--refresh-thumbnail/--keep-thumbnail",
    default=True,
    help="Redraw thumbnails and previews in the file (default), or keep them.",
)
@option(
    "--report",
    metavar="FILE.html",
    type=LocalFile(),
    help="Write a web page that shows all photos before and after.",
)
@option("--preview", is_flag=True, help="Show photos before and after in the terminal.")
@model_option
@device_option
@option(
    "--engine",
    type=click.Choice(["auto", "torch", "ncnn"]),
    default=NetworkOptions.engine,
    show_default=True,
    help="Library that runs the network: torch or ncnn on CPUs, ncnn on GPUs with Vulkan.",
)
@option(
    "--tile",
    type=tile_size,
    default=NetworkOptions.tile,
    show_default=True,
    metavar="auto|N",
    help="Largest tile, N x N pixels. Smaller tiles need less memory.",
)
@option(
    "--views",
    cls=PlainOption,
    type=click.IntRange(1, MOST_VIEWS),
    default=NetworkOptions.views,
    show_default=True,
    metavar=f"1-{MOST_VIEWS}",
    help="Average N mirrored and rotated passes: slightly better, N times slower.",
)
@option(
    "--threads",
    cls=PlainOption,
    type=click.IntRange(min=1),
    metavar="N",
    help="CPU threads, at most one per core. Default: one per available core.",
)
@option(
    "--max-memory",
    type=memory_size,
    metavar="SIZE",
    help="Limit on main memory, such as 2G. Default: the free memory.",
)
@option(
    "-j",
    "--jobs",
    type=int,
    metavar="N",
    help="Photos to decode ahead and to write in parallel. Default: 1, more with a GPU.",
)
@option("--fail-fast", is_flag=True, help="Stop at the first photo that fails.")
@history_option
@option(
    "--config",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_use_config,
    help="Read defaults from this file instead of the user's unblur.toml.",
)
@option(
    "--ray",
    metavar="ADDRESS",
    help="Run on a Ray cluster: auto, local, HOST:PORT or ray://HOST:PORT.",
)
@option(
    "--workers",
    cls=PlainOption,
    type=click.IntRange(min=1),
    metavar="N",
    help="Ray workers. Default: one per GPU, or one per 4 cores.",
)
@listing_options
@verbosity_options
@option(
    "--completion",
    type=click.Choice(["bash", "zsh", "fish"]),
    is_eager=True,
    expose_value=False,
    allow_from_autoenv=False,
    callback=print_script,
    help="Print the completion script for this shell.",
)
@click.version_option(
    __version__,
    "-V",
    "--version",
    message="%(prog)s %(version)s",
    allow_from_autoenv=False,  # container images often set UNBLUR_VERSION
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
        return  # another command was given, and runs next
    from unblur.cli.streams import claimed_stdout

    verbosity = flags["verbose"] - flags["quiet"]
    with claimed_stdout() as stdout:
        ui = Ui(verbosity, _choose_listing(flags, stdout), stdout)
        code = exit_code_of(lambda: deblur(flags, ui, stdout), ui)
    sys.exit(code)


def _choose_listing(flags: dict[str, Any], stdout: int) -> ListFormat:
    if flags["json"]:
        return "json"
    if os.isatty(stdout):
        return "none"  # no script reads the list, and messages name the results
    return "nul" if flags["null"] else "lines"


main.add_command(models.models)
main.add_command(doctor.doctor)
main.add_command(score.score)
main.add_command(restore.restore)
main.add_command(trial.try_photo)
main.add_command(desktop.desktop)
