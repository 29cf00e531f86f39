"""Code shared by all commands: common options, choice of the command, exit codes for errors."""

from __future__ import annotations

import codecs
import contextlib
import functools
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from unblur.cli.completion import complete_command, complete_model
from unblur.cli.console import Ui, libraries_logged, output_errors_as_unblur_errors
from unblur.cli.option_groups import PlainOption, in_order, write_groups
from unblur.cli.option_types import Compare, DeviceName, LocalFile
from unblur.cli.parameters import argument, option, origins
from unblur.cli.signals import end_at_once_while_exiting, interrupted_code, orderly_signals
from unblur.cli.streams import prepare_streams
from unblur.cli.variables import unknown_variables
from unblur.config import history_file
from unblur.errors import ExitCode, PhotoError, UnblurError, UsageError, describe_unexpected
from unblur.network.device_kinds import KINDS
from unblur.network.thread_limit import starts_threads
from unblur.options import DEFAULT_MAX_PIXELS, STREAM, NetworkOptions, check_path
from unblur.run.watcher import VERBOSE
from unblur.storage.addresses import without_any_secret, without_secrets
from unblur.storage.files import read_stream
from unblur.storage.waiting import waiting
from unblur.user_text import describe_os_error, printable, problem_of_text

if TYPE_CHECKING:
    from unblur.run.history import History

OLD_BLUR_LEVEL = "--only-blurry="
"""Old spelling: ``--only-blurry=1`` for ``--only-blurry --blur-level=1``."""

F = TypeVar("F", bound=Callable[..., Any])


class PhotosOrCommand(click.Group):
    """Deblurs photos, unless the first word is the name of a command.

    For a photo with such a name, the user writes ``./models``. The package click-default-group does
    the same, but drops ``--``, after which names may begin with a dash.
    """

    def __init__(self, *args: Any, **attributes: Any) -> None:  # noqa: ANN401 (as Click has it)
        super().__init__(*args, **attributes)
        self.params = in_order(self.params)

    def __call__(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401 (as Click has it)
        """Run as the program of this process: signals also end it while Python exits."""
        end_at_once_while_exiting()
        return super().__call__(*args, **extra)

    def main(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401 (as Click has it)
        """Read the command line, and run the command."""
        prepare_streams()
        try:
            # Click's own output, such as the help, may fail, too.
            with orderly_signals(), output_errors_as_unblur_errors():
                return super().main(*args, **extra)
        except UnblurError as error:
            Ui().error(str(error))
            sys.exit(error.exit_code)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:  # noqa: ANN401
        """Read the command line."""
        with _click_errors_escaped():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        """Run the command."""
        with _click_errors_escaped():
            return super().invoke(ctx)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the options for photos; none when a command is named."""
        named = ctx.invoked_subcommand or ctx.command is not self
        return [] if named else super().get_params(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read options for photos, unless the first word is a command."""
        if args and args[0] in self.commands:
            ctx.invoked_subcommand = args[0]
        else:
            ctx.allow_extra_args, ctx.allow_interspersed_args = False, True
            args = [*_respelled(args)]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in groups, then the commands."""
        write_groups(self.get_params(ctx), ctx, formatter)
        self.format_commands(ctx, formatter)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the usage line for photos, without commands."""
        return click.Command.collect_usage_pieces(self, ctx)


def _respelled(args: list[str]) -> Iterator[str]:
    """Yield the words of a command line, with old spellings replaced."""
    end = args.index("--") if "--" in args else len(args)
    for word in Compare.respelled(args[:end]):
        if word.startswith(OLD_BLUR_LEVEL):
            yield from ("--only-blurry", f"--blur-level={word.removeprefix(OLD_BLUR_LEVEL)}")
        else:
            yield word
    yield from args[end:]


@contextlib.contextmanager
def _click_errors_escaped() -> Iterator[None]:
    """Escape control characters in Click's errors, hide secrets, and report an interrupt."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        text = printable(without_secrets(error.format_message()))
        raise click.UsageError(text, error.ctx) from error
    except KeyboardInterrupt as interrupt:  # while the configuration is read
        Ui().error("interrupted")
        sys.exit(interrupted_code(interrupt))


def verbosity_options(command: F) -> F:
    """Add ``--quiet`` and ``--verbose`` to a command."""
    quiet = option("-q", "--quiet", count=True, help="Print only errors.")
    verbose = option("-v", "--verbose", count=True, help="Print more; -vv prints tracebacks, too.")
    return quiet(verbose(command))


def path_options(command: F) -> F:
    """Add the argument and the options that choose photos; see `read_paths`."""
    options = (
        argument("paths", nargs=-1, metavar="PATH...", envvar=[], shell_complete=complete_command),
        option("-r", "--recursive", is_flag=True, help="Search folders and subfolders for photos."),
        option(
            "--files-from",
            metavar="FILE",
            help="Read paths from this file, one per line; - is standard input.",
        ),
        option(
            "--include",
            multiple=True,
            metavar="GLOB",
            help="In folders, take only photos that match; may be repeated.",
        ),
        option(
            "--exclude",
            multiple=True,
            metavar="GLOB",
            help="In folders, leave out photos that match; may be repeated.",
        ),
    )
    for add in reversed(options):
        command = add(command)
    return command


max_pixels_option = option(
    "--max-pixels",
    cls=PlainOption,
    type=click.IntRange(min=1),
    default=DEFAULT_MAX_PIXELS,
    show_default=True,
    metavar="N",
    help="Refuse photos with more pixels than this.",
)


model_option = option(
    "--model",
    default=NetworkOptions.model,
    show_default=True,
    metavar="NAME|FILE",
    shell_complete=complete_model,
    help="Network: a name from unblur models list, or a weights file.",
)


device_option = option(
    "--device",
    type=DeviceName(["auto", *(kind.name for kind in KINDS)]),
    default=NetworkOptions.device,
    show_default=True,
    help="Where to run the network; cuda:1 is the second of several GPUs.",
)


def listing_options(command: F) -> F:
    """Add ``--json`` and ``--null``, formats of the list on standard output."""
    as_json = option("--json", is_flag=True, help="List results as JSON, one object per line.")
    null = option(
        "-0",
        "--null",
        is_flag=True,
        help="End each path with NUL, in --files-from and in the list of results.",
    )
    return as_json(null(command))


history_option = option(
    "--history",
    metavar="FILE",
    type=LocalFile(),
    help="Keep the record of results in this file; machines may share it.",
)


def open_history(flags: dict[str, Any]) -> History:
    """Open the record of results; a dry run only reads it.

    Raises:
        UsageError: See `check_history`.
    """
    from unblur.run.history import History

    check_history(flags["history"])
    return History(flags["history"] or history_file(), writes=not flags["dry_run"])


def check_history(path: Path | None) -> None:
    """Check the path of ``--history``, if it was given.

    Raises:
        UsageError: If it is empty, names a folder, or is in a folder that is missing: if its disk
            is not mounted, a new record would know no result.
    """
    from unblur.storage.files import exists, is_folder

    if path is None:
        return
    with contextlib.suppress(PhotoError):  # the record says why it cannot be used
        if not path.name or is_folder(path):
            raise UsageError(f"--history {path} is a folder, not a file")
        if not exists(path.parent):
            raise UsageError(
                f"--history {path}: there is no folder {path.parent}: make it, or mount its disk"
            )


def options_with_defaults(command: click.Command) -> dict[str, bool]:
    """Return the options that a configuration file may set, and whether each takes a list.

    Eager options are left out: they act before the configuration is read.
    """
    options = (param for param in command.params if isinstance(param, click.Option))
    return {o.name: o.multiple for o in options if o.name and not o.is_eager}


def read_paths(flags: dict[str, Any]) -> list[str]:
    """Return the paths of the command line, then those of ``--files-from``.

    Args:
        flags: The values of `path_options` and `listing_options`.

    Raises:
        UsageError: If there is no path, or the list cannot be read.
    """
    paths = list(flags["paths"])
    source = flags["files_from"]
    if source is None:
        if not paths:
            raise UsageError("name at least one photo; see --help")
        return paths
    check_path(source, "--files-from")
    if source == STREAM and STREAM in paths:
        raise UsageError("standard input cannot hold both a photo and a list of paths")
    try:
        if source == STREAM:
            data = read_stream(sys.stdin.buffer)
        else:
            with Path(source).open("rb") as stream:
                data = read_stream(stream)
    except OSError as error:
        raise UsageError(f"{source}: {describe_os_error(error)}") from error
    # PowerShell 5 writes UTF-16; later versions write UTF-8 with a byte order mark.
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16", "replace").encode()
    data = data.removeprefix(codecs.BOM_UTF8)
    if b"\0" in data and not flags["null"]:
        advice = "; for a list whose paths end with NUL, add -0"
        raise UsageError(f"{source}: {problem_of_text(data)}{advice}")
    lines = data.split(b"\0") if flags["null"] else data.splitlines()
    try:
        return paths + [os.fsdecode(line) for line in lines if line]
    except UnicodeDecodeError as error:  # names on Windows are text
        raise UsageError(f"{source}: {problem_of_text(data)}") from error


def _check_working_folder() -> None:
    """Raise `UsageError` if the working folder is gone: libraries fail without explanation."""
    try:
        Path.cwd()
    except OSError as error:
        raise UsageError("the current folder no longer exists: change to another one") from error


def _limit_openblas() -> None:
    """Let NumPy's OpenBLAS use one thread if the system starts too few: it would raise Ctrl-C."""
    if "numpy" not in sys.modules and not starts_threads():
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _tell_unknown_variables(ui: Ui) -> None:
    context = click.get_current_context(silent=True)
    if context is not None and isinstance(program := context.find_root().command, click.Group):
        for line in unknown_variables(program, os.environ):
            ui.say(line)


def exit_code_of(act: Callable[[], ExitCode], ui: Ui) -> ExitCode:
    """Run a command; print an error as one line, with a traceback at -vv; return the exit code."""
    try:
        _check_working_folder()
        _limit_openblas()
        _tell_unknown_variables(ui)
        with waiting(lambda text: ui.say(text, VERBOSE)), libraries_logged(ui):
            return act()
    except UnblurError as error:
        context = click.get_current_context(silent=True)
        ui.error(str(error) + (origins(str(error), context) if context else ""))
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        ui.error("interrupted")
        return interrupted_code(interrupt)
    except BrokenPipeError:
        return ExitCode.FAILED  # the program that reads the list has ended
    except Exception as error:
        ui.trace(traceback.format_exc())
        ui.error(without_any_secret(describe_unexpected(error)))
        return ExitCode.FAILED


def with_ui(act: Callable[..., ExitCode | None]) -> Callable[..., None]:
    """Give a command a `Ui`, and end the program with the exit code of the command or its error."""

    @functools.wraps(act)
    def command(quiet: int = 0, verbose: int = 0, **flags: Any) -> None:  # noqa: ANN401
        ui = Ui(verbose - quiet)
        sys.exit(exit_code_of(lambda: act(ui, **flags) or ExitCode.OK, ui))

    return command
