"""``unblur models``: the networks that there are."""

from __future__ import annotations

import sys

import click

from unblur.commands import exit_code_of, verbosity_options
from unblur.errors import ExitCode
from unblur.models import MODELS, find_weights
from unblur.ui import Ui


@click.group()
def models() -> None:
    """Show and keep the networks that photos can be sharpened with."""


@models.command()
@click.argument("model", metavar="NAME|FILE")
@verbosity_options
def path(model: str, quiet: int, verbose: int) -> None:
    """Print where the weights of a model are."""
    ui = Ui(verbose - quiet)

    def act() -> ExitCode:
        ui.answer(str(find_weights(model)))
        return ExitCode.OK

    sys.exit(exit_code_of(act, ui))


@models.command("list")
def list_models() -> None:
    """List the models by name, with what they are good and bad at."""
    ui = Ui()
    for model in MODELS.values():
        ui.answer(f"{model.name}\t{model.license}\t{model.summary}")
