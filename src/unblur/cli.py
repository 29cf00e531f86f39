"""The command line: flags to plain values, and errors to exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

import click

from unblur import __version__
from unblur.errors import ExitCode, UnblurError, UsageError
from unblur.models import DEFAULT_MODEL
from unblur.plan import make_plan
from unblur.ui import DEBUG, Ui

if TYPE_CHECKING:
    from typing import Literal

    from unblur.deblurrer import Deblurrer


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


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "UNBLUR"},
    epilog="Exit codes: 0 all done, 1 a photo failed, 2 wrong usage, 4 no weights, "
    "5 no such device, 130 interrupted.",
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", envvar=[])
@click.option(
    "-o",
    "--output",
    metavar="FILE|DIR",
    help="Write to this file or into this folder, or to standard output with -.",
)
@click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    metavar="NAME|FILE",
    help="The network: a name, or a weights file.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="What computes.",
)
@click.option(
    "--tile",
    type=TileSize(),
    default="auto",
    show_default=True,
    help="Side of the tiles that large photos are cut into; smaller needs less memory.",
)
@click.option("--overwrite", is_flag=True, help="Replace results that exist.")
@click.option("-q", "--quiet", count=True, help="Say only what went wrong.")
@click.option("-v", "--verbose", count=True, help="Say more; twice shows tracebacks.")
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
def main(
    paths: tuple[str, ...],
    output: str | None,
    model: str,
    device: str,
    tile: int | Literal["auto"],
    overwrite: bool,
    quiet: int,
    verbose: int,
) -> None:
    """Sharpen photos that are blurred by camera shake or motion.

    Each PATH is a JPEG or PNG file; photo.jpg becomes photo-unblurred.jpg
    beside it, with the same metadata. The original is never changed. With - as
    PATH, the photo is read from standard input and written to standard output.
    """
    ui = Ui(verbose - quiet, len(paths))
    try:
        sys.exit(_deblur(paths, output, model, device, tile, overwrite, ui))
    except UnblurError as error:
        ui.error(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        ui.error("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        if ui.verbosity >= DEBUG:
            raise
        ui.error(f"unexpected {type(error).__name__}: {error}; -vv shows where")
        sys.exit(ExitCode.FAILED)


def _deblur(
    paths: tuple[str, ...],
    output: str | None,
    model: str,
    device: str,
    tile: int | Literal["auto"],
    overwrite: bool,
    ui: Ui,
) -> ExitCode:
    from unblur import batch

    jobs = make_plan(paths, output, overwrite)
    with contextlib.ExitStack() as stack:
        stdout = None
        if any(job.target is None for job in jobs):
            if os.isatty(1):
                raise UsageError("a photo cannot be shown in a terminal: add >FILE or -o FILE")
            from unblur.files import claimed_stdout

            stdout = stack.enter_context(claimed_stdout())
        report = batch.run(
            jobs, lambda: _make_deblurrer(model, device, tile), ui, overwrite, stdout
        )
    return report.exit_code


def _make_deblurrer(model: str, device: str, tile: int | Literal["auto"]) -> Deblurrer:
    # Threads that spin while they wait make a busy machine several times slower.
    # OpenMP reads this when PyTorch is imported, which is why imports are late.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from unblur.deblurrer import Deblurrer
    from unblur.models import find_weights
    from unblur.weights import load_network

    return Deblurrer(load_network(find_weights(model)), device, tile)
