"""``unblur models``: list, download, import, export, check and remove networks."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from unblur.cli.completion import complete_model
from unblur.cli.console import Ui
from unblur.cli.parameters import argument, option
from unblur.cli.shared import verbosity_options, with_ui
from unblur.config import models_folder
from unblur.errors import UsageError, WeightsError
from unblur.models.catalog import (
    DEFAULT_MODEL,
    MODELS,
    Model,
    find_weights,
    imported_models,
    installed_path,
    is_installed,
    repair_hint,
)
from unblur.user_text import describe_os_error, printable, size


@click.group()
def models() -> None:
    """List, download, import, export, check and remove networks."""


@models.command("list")
@with_ui
def list_models(ui: Ui) -> None:
    """List the models.

    Each line has the name, size, licence, location, strengths and weaknesses.
    """
    ui.table([_row(name) for name in (*MODELS, *imported_models())])


def _row(name: str) -> tuple[str, ...]:
    model = MODELS.get(name)
    purpose = f"good at {model.good_at}; bad at {model.bad_at}" if model else "imported by you"
    return name, _size(name), model.license if model else "not known", _place(name), purpose


def _is_here(name: str) -> bool:
    model = MODELS.get(name)
    return (model is not None and model.is_embedded) or is_installed(name)


def _size(name: str) -> str:
    path = installed_path(name)
    model = MODELS.get(name)
    with contextlib.suppress(OSError):
        return size(path.stat().st_size)
    assert model is not None
    return size(model.size or 4 * model.parameters)


def _place(name: str) -> str:
    model = MODELS.get(name)
    if model and model.is_embedded:
        return "in the program"
    try:
        if _is_here(name):
            return printable(installed_path(name))
    except WeightsError as error:  # a folder that may not be entered
        return printable(str(error))
    return f"not imported, from {model.page}" if model and model.page else "not downloaded"


@models.command()
@argument("model", metavar="NAME|FILE", shell_complete=complete_model)
@verbosity_options
@with_ui
def info(ui: Ui, model: str) -> None:
    """Show the details of a model.

    Print its licence, training data and source, and the notes in its weights
    file.
    """
    ui.table([*_describe_known(model), *_describe_file(model)])


def _describe_known(name: str) -> list[tuple[str, ...]]:
    """Return the rows for a model in `MODELS`: licence, training data, source."""
    model = MODELS.get(name)
    if model is None:
        return []
    unknown = "not published"
    return [
        ("name", model.name),
        ("good at", model.good_at),
        ("bad at", model.bad_at),
        ("licence", model.license),
        ("trained on", model.training_data),
        ("source", model.source),
        ("published as", model.file),
        ("size", f"{model.size} bytes" if model.size else unknown),
        ("sha256", model.sha256 or unknown),
        *([("address", model.url or model.page)] if not model.is_embedded else []),
        ("parameters", f"{model.parameters / 1e6:.2f} million"),
    ]


def _describe_file(name: str) -> list[tuple[str, ...]]:
    """Return the rows for a weights file: its path, and the notes in it.

    Raises:
        WeightsError: If the name is unknown or the file is damaged.
    """
    from unblur.models.weights import CONFIG_KEY, SOURCE_CHECKSUM_KEY, SOURCE_KEY, read_notes

    if name in MODELS and not _is_here(name):
        return [("weights", f"{_place(name)}; they would be at {installed_path(name)}")]
    path = find_weights(name)
    notes = read_notes(path)
    labels = {
        CONFIG_KEY: "network",
        SOURCE_KEY: "read from",
        SOURCE_CHECKSUM_KEY: "that file's sha256",
    }
    rows = [(label, printable(notes[key])) for key, label in labels.items() if key in notes]
    return [("weights", printable(path)), *rows]


@models.command()
@argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_model)
@option(
    "--offline",
    is_flag=True,
    envvar="UNBLUR_OFFLINE",
    show_envvar=True,
    help="Do not use the network; print which file to put where.",
)
@verbosity_options
@with_ui
def download(ui: Ui, names: tuple[str, ...], offline: bool) -> None:
    """Download models from their publishers.

    Models that are published in one file are downloaded together. If the
    publisher states no checksum, later downloads must equal the first one.
    """
    missing = [MODELS[name] for name in _known(names) if not _is_whole(name, ui)]
    for model in missing:
        if model.page:
            hint = repair_hint(model.name)
            raise WeightsError(f"{model.name} cannot be downloaded by programs; {hint}")
    if offline and missing:
        from unblur.models.download import offline_recipe

        raise WeightsError(offline_recipe(missing[0]))
    for file in dict.fromkeys(model.file for model in missing):
        _download_file([model for model in missing if model.file == file], ui)


def _known(names: tuple[str, ...]) -> list[str]:
    for name in names:
        if name not in MODELS:
            raise WeightsError(
                f"{name} is not a model to download; choose from {', '.join(MODELS)}"
            )
    return list(dict.fromkeys(names))


def _is_whole(name: str, ui: Ui) -> bool:
    """Print and return whether a model is here and undamaged."""
    try:
        if not _is_here(name):
            return False
    except WeightsError:  # storing it will report that
        return False
    from unblur.models.weights import load_network, open_model

    try:
        load_network(open_model(name))
    except WeightsError as error:
        if MODELS[name].is_embedded:
            raise
        ui.say(f"{name} is downloaded again: {error}")
        return False
    ui.say(f"{name} is here already: {_place(name)}")
    return True


def _download_file(wanted: list[Model], ui: Ui) -> None:
    """Download the file that contains some models."""
    from unblur.models.download import address, download
    from unblur.storage.http import Watch

    file = wanted[0].file
    ui.say(f"downloading {file} from {address(wanted[0])}")
    with ui.transfer(file) as progress:
        downloaded = download(wanted, Watch(progress))
    if downloaded.is_first:
        ui.say(
            f"the publisher of {file} states no checksum, so it cannot be verified; its sha256 "
            f"{downloaded.checksum} is recorded, and later downloads must match it"
        )
    elif wanted[0].sha256 is None:
        ui.say(f"{file} matches the first download: sha256 {downloaded.checksum}")
    for path in downloaded.paths:
        ui.answer(str(path))


@models.command("import")
@argument("file", type=click.Path(path_type=Path))
@option("--name", help="Name for the model. Default: the name of the file.")
@verbosity_options
@with_ui
def import_model(ui: Ui, file: Path, name: str | None) -> None:
    """Import weights from a file.

    FILE is the authors' archive, a TensorFlow checkpoint, a PyTorch state dict
    or safetensors. It is read as data; nothing in it is executed.
    """
    from unblur.models.importing import file_checksum, keep, read_networks

    found = read_networks(file)
    if name and len(found) > 1:
        names = ", ".join(found)
        raise UsageError(f"{file} holds several networks ({names}): --name names only one")
    checksum = file_checksum(file)
    for usual_name, network in found.items():
        path = keep(network, name or usual_name, file.name, checksum)
        ui.say(f"imported {file} as {name or usual_name}")
        ui.answer(str(path))


@models.command()
@argument("file", type=click.Path(path_type=Path))
@option(
    "--model",
    metavar="NAME|FILE",
    shell_complete=complete_model,
    default=DEFAULT_MODEL,
    show_default=True,
    help="Network: a name from unblur models list, or a weights file.",
)
@option(
    "--format",
    "kind",
    type=click.Choice(["onnx", "dtmodel"]),
    help="ONNX, or a package for darktable. Default: by the extension of FILE.",
)
@option(
    "--precision",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="Type of the weights; fp16 halves the file.",
)
@option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@verbosity_options
@with_ui
def export(
    ui: Ui, file: Path, model: str, kind: str | None, precision: str, overwrite: bool
) -> None:
    """Export a network for other programs.

    The exported network takes photos of any size: float32, RGB, shape
    (N, 3, H, W), sRGB values in [0, 1]. FILE also contains the licence, the
    training data and the source. This needs the extra onnx and takes about
    half a minute.
    """
    from unblur.models.exporting import check_target, encode
    from unblur.models.weights import open_model
    from unblur.storage.drafts import FileDraft
    from unblur.storage.temporaries import sweep

    kind = check_target(file, kind, overwrite)
    weights = open_model(model)
    ui.say(f"exporting {model} for about half a minute")
    sweep(file.parent)
    with FileDraft(file, encode(model, weights, kind, precision, file.stem)) as draft:
        draft.publish(replaces=overwrite)
    ui.answer(str(file))


@models.command()
@argument("names", metavar="[NAME|FILE]...", nargs=-1, shell_complete=complete_model)
@verbosity_options
@with_ui
def verify(ui: Ui, names: tuple[str, ...]) -> None:
    """Check weights against their checksums.

    Without names, check all models on this machine.
    """
    from unblur.models.weights import load_network, open_model

    damaged = 0
    for name in names or [n for n in [*MODELS, *imported_models()] if _is_here(n)]:
        try:
            load_network(open_model(name))
        except WeightsError as error:
            damaged += 1
            ui.error(str(error))
        else:
            ui.answer(name, "whole")
    if damaged:
        raise WeightsError(f"{damaged} of the models cannot be used")


@models.command()
@argument("model", metavar="[NAME|FILE]", required=False, shell_complete=complete_model)
@verbosity_options
@with_ui
def path(ui: Ui, model: str | None) -> None:
    """Print the path of a weights file.

    Without a name, print the folder of downloaded and imported models.
    """
    ui.answer(str(find_weights(model) if model else models_folder()))


@models.command()
@argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_model)
@verbosity_options
@with_ui
def remove(ui: Ui, names: tuple[str, ...]) -> None:
    """Delete downloaded or imported weights."""
    for name in names:
        if name in MODELS and MODELS[name].is_embedded:
            raise UsageError(f"{name} is part of the program and cannot be removed")
        if name not in MODELS and name not in imported_models():
            raise WeightsError(f"{name}: no such model here")
        if not _is_here(name):
            raise WeightsError(f"{name} is not on this machine")
        try:
            installed_path(name).unlink()
        except OSError as error:
            raise WeightsError(f"{installed_path(name)}: {describe_os_error(error)}") from error
        ui.say(f"removed {installed_path(name)}")
