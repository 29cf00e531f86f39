#!/usr/bin/env python3
"""GIMP 3 plug-in: Filters > Enhance > Unblur adds a deblurred copy of each chosen layer.

Copy the folder `unblur` to GIMP's folder of plug-ins (Edit > Preferences > Folders > Plug-ins).
On Linux and macOS, `unblur.py` must be executable.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import gi

gi.require_version("Gimp", "3.0")
gi.require_version("GimpUi", "3.0")
from gi.repository import Gimp, GimpUi, Gio, GLib, GObject  # noqa: E402  versions come first

PROCEDURE = "plug-in-unblur"
USUAL_FOLDERS = ("~/.local/bin", "/opt/homebrew/bin", "/usr/local/bin")
"""Where pipx, uv and Homebrew put programs. Desktops start GIMP without the PATH of a shell."""
GIMPS_OWN = ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""Variables by which bundles of GIMP find their own libraries; unblur has others."""


class UnblurError(Exception):
    """What the user is told."""


def find_program(name: str) -> str:
    """Return the path of unblur; raise `UnblurError` if it is not there."""
    folders = [os.environ.get("PATH", ""), *(str(Path(one).expanduser()) for one in USUAL_FOLDERS)]
    found = shutil.which(Path(name).expanduser(), path=os.pathsep.join(folders))
    if found is None:
        raise UnblurError(f"{name} was not found. Give its whole path as Program.")
    return found


def run_unblur(program: str, strength: float, source: Path, target: Path) -> None:
    """Deblur a file into another; raise `UnblurError` with what unblur says."""
    options = ["--quiet", "--overwrite", "--strength", str(strength), "--output", str(target)]
    own = {name: value for name, value in os.environ.items() if name not in GIMPS_OWN}
    ended = subprocess.run(
        [program, *options, str(source)], env=own, stdin=subprocess.DEVNULL, capture_output=True
    )
    if ended.returncode:
        said = ended.stderr.decode(errors="replace").strip()
        raise UnblurError(said or f"{program} ended with exit code {ended.returncode}")


def precision_for(image: Gimp.Image) -> Gimp.Precision:
    """Return 8 bits for images of 8 bits, 16 for all deeper ones: unblur reads no others."""
    eight = (Gimp.Precision.U8_NON_LINEAR, Gimp.Precision.U8_PERCEPTUAL)
    if image.get_precision() in eight:
        return Gimp.Precision.U8_NON_LINEAR
    return Gimp.Precision.U16_NON_LINEAR


def save_layer(layer: Gimp.Layer, path: Path) -> None:
    """Write the pixels of one layer as a TIFF, without the image's other layers and metadata."""
    image = layer.get_image()
    gray = image.get_base_type() == Gimp.ImageBaseType.GRAY
    base = Gimp.ImageBaseType.GRAY if gray else Gimp.ImageBaseType.RGB
    size = (layer.get_width(), layer.get_height())
    alone = Gimp.Image.new_with_precision(*size, base, precision_for(image))
    try:
        alone.set_color_profile(image.get_effective_color_profile())
        copy = Gimp.Layer.new_from_drawable(layer, alone)
        alone.insert_layer(copy, None, 0)
        copy.set_offsets(0, 0)
        copy.set_opacity(100)
        copy.set_visible(True)
        save(alone, path)
    finally:
        alone.delete()


def save(image: Gimp.Image, path: Path) -> None:
    """Write an image as a TIFF with its profile alone; raise `UnblurError` if GIMP cannot."""
    procedure = Gimp.get_pdb().lookup_procedure("file-tiff-export")
    config = procedure.create_config()
    config.set_property("run-mode", Gimp.RunMode.NONINTERACTIVE)
    config.set_property("image", image)
    config.set_property("file", Gio.File.new_for_path(str(path)))
    config.set_property("save-transparent-pixels", True)
    for part in ("exif", "iptc", "xmp", "thumbnail", "comment"):
        config.set_property(f"include-{part}", False)
    if procedure.run(config).index(0) != Gimp.PDBStatusType.SUCCESS:
        raise UnblurError(f"GIMP could not write {path}: {Gimp.get_pdb().get_last_error()}")


def load_above(layer: Gimp.Layer, path: Path) -> None:
    """Add a picture as a layer in the place of another, which is hidden below it.

    Both would cover what lies below them twice where they are transparent.
    """
    image = layer.get_image()
    file = Gio.File.new_for_path(str(path))
    result = Gimp.file_load_layer(Gimp.RunMode.NONINTERACTIVE, image, file)
    if result is None:
        raise UnblurError(f"GIMP could not read {path}")
    result.set_name(f"{layer.get_name()} (unblurred)")
    image.insert_layer(result, layer.get_parent(), image.get_item_position(layer))
    _, x, y = layer.get_offsets()
    result.set_offsets(x, y)
    result.set_opacity(layer.get_opacity())
    result.set_mode(layer.get_mode())
    layer.set_visible(False)


def deblur_layers(layers: list[Gimp.Layer], program: str, strength: float) -> None:
    """Add a deblurred copy above each layer; one step to undo."""
    image = layers[0].get_image()
    found = find_program(program)
    image.undo_group_start()
    try:
        for number, layer in enumerate(layers):
            Gimp.progress_init(f"Deblurring {layer.get_name()}")
            Gimp.progress_update(number / len(layers))
            with tempfile.TemporaryDirectory(prefix="unblur-") as folder:
                source, target = Path(folder, "layer.tif"), Path(folder, "result.tif")
                save_layer(layer, source)
                run_unblur(found, strength, source, target)
                load_above(layer, target)
    finally:
        image.undo_group_end()
    Gimp.displays_flush()


def ask(procedure: Gimp.Procedure, config: Gimp.ProcedureConfig) -> bool:
    """Show the dialog; return whether the user goes on."""
    GimpUi.init("unblur")
    dialog = GimpUi.ProcedureDialog.new(procedure, config, "Unblur")
    dialog.fill(None)
    goes_on: bool = dialog.run()
    dialog.destroy()
    return goes_on


def run(
    procedure: Gimp.Procedure,
    run_mode: Gimp.RunMode,
    image: Gimp.Image,
    drawables: list[Gimp.Drawable],
    config: Gimp.ProcedureConfig,
    data: object,
) -> Gimp.ValueArray:
    """Do what the menu entry or a script asks for."""
    if run_mode == Gimp.RunMode.INTERACTIVE and not ask(procedure, config):
        return procedure.new_return_values(Gimp.PDBStatusType.CANCEL, GLib.Error())
    layers = [one for one in drawables if isinstance(one, Gimp.Layer)]
    try:
        if not layers:
            raise UnblurError("Choose one or more layers.")
        deblur_layers(layers, config.get_property("program"), config.get_property("strength"))
    except (UnblurError, OSError) as error:
        fault = GLib.Error(f"unblur: {error}")
        return procedure.new_return_values(Gimp.PDBStatusType.EXECUTION_ERROR, fault)
    return procedure.new_return_values(Gimp.PDBStatusType.SUCCESS, GLib.Error())


class Unblur(Gimp.PlugIn):
    """What GIMP asks of a plug-in: its procedures, and each of them."""

    def do_set_i18n(self, name: str) -> bool:
        """Say that there are no translations."""
        return False

    def do_query_procedures(self) -> list[str]:
        """Return the names of all procedures."""
        return [PROCEDURE]

    def do_create_procedure(self, name: str) -> Gimp.Procedure:
        """Describe the only procedure."""
        made = Gimp.ImageProcedure.new(self, name, Gimp.PDBProcType.PLUGIN, run, None)
        made.set_image_types("*")
        selected = Gimp.ProcedureSensitivityMask
        made.set_sensitivity_mask(selected.DRAWABLE | selected.DRAWABLES)
        made.set_menu_label("_Unblur...")
        made.add_menu_path("<Image>/Filters/Enhance/")
        made.set_documentation(
            "Remove motion blur",
            "Adds a deblurred copy above each chosen layer, and hides the layer.",
            name,
        )
        made.set_attribution("The authors of unblur", "MIT licence", "2026")
        writable = GObject.ParamFlags.READWRITE
        made.add_string_argument(
            "program", "_Program", "Name or path of unblur", "unblur", writable
        )
        made.add_double_argument(
            "strength", "_Strength", "Share of the change to apply", 0.0, 1.0, 1.0, writable
        )
        return made


Gimp.main(Unblur.__gtype__, sys.argv)
