"""The scripts for photo managers, in the real programs without their windows."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import encode_image, make_jpeg, make_pixels
from PIL import Image

PACKAGING = Path(__file__).parents[1] / "packaging"
DARKTABLE = shutil.which("darktable-cli")
GIMP = shutil.which("gimp-console-3.0")
ODD = 'it\'s 50% "odd" & $HOME; ünd so'


@pytest.fixture
def program(tmp_path, brightening_weights):
    """unblur as a program of one file, with a network that makes every photo brighter."""
    path = tmp_path / "un blur"
    words = [sys.executable, "-m", "unblur", "--model", str(brightening_weights)]
    command = shlex.join([*words, "--device", "cpu"])
    path.write_text(
        f'#!/bin/sh\nPYTHONPATH={shlex.quote(os.pathsep.join(sys.path))} {command} "$@"\n'
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("script", ["lightroom/unblur.bat", "lightroom/unblur.applescript"])
def test_the_options_of_a_script_for_lightroom_exist(script, jpeg, unblur):
    command = re.search(r"unblur (-.*?) --\W", (PACKAGING / script).read_text("utf-8"))[1]
    assert unblur(*command.split(), jpeg).code == 0
    assert jpeg.with_name("photo.jpg.orig").exists()


# What darktable does for an export to unblur: the same functions, called for the same file.
EXPORT_WITH_DARKTABLE = """
local dt = require "darktable"
local here = os.getenv("HERE")
package.path = os.getenv("SCRIPTS") .. "/?.lua;" .. package.path
dt.preferences.write("unblur", "program", "string", os.getenv("PROGRAM"))
local unblur = require "unblur"
dt.register_event("test", "intermediate-export-image", function(_, image, exported, format)
  image.rating, image.red = 4, true
  dt.tags.attach(dt.tags.create("places|sea"), image)
  assert(unblur.supported(nil, format))
  local copy = here .. "/copy." .. format.extension
  local from, to = io.open(exported, "rb"), io.open(copy, "wb")
  to:write(from:read("a"))
  from:close()
  to:close()
  local result = unblur.store(nil, image, format, copy)
  if not result then return end
  local tags = {}
  for _, tag in ipairs(dt.tags.get_tags(result)) do
    tags[#tags + 1] = tag.name
  end
  local said = io.open(here .. "/result", "w")
  said:write(table.concat({
    result.path .. "/" .. result.filename, result.rating, tostring(result.red),
    #image:get_group_members(), table.concat(tags, ","),
  }, "\\n"))
  said:close()
end)
"""


@pytest.fixture
def export_with_darktable(tmp_path):
    """Export a photo with darktable-cli and unblur.lua; return darktable's output."""
    script = tmp_path / "export.lua"
    script.write_text(EXPORT_WITH_DARKTABLE)

    def run(photo, exported, program):
        core = ["--configdir", tmp_path / "config", "--library", ":memory:"]
        core += ["--conf", "plugins/imageio/format/tiff/bpp=16"]
        core += ["--luacmd", f"dofile({str(script)!r})"]
        variables = {"HERE": tmp_path, "SCRIPTS": PACKAGING / "darktable", "PROGRAM": program}
        return subprocess.run(
            [DARKTABLE, photo, exported, "--core", *core],
            env=os.environ | {name: str(value) for name, value in variables.items()},
            capture_output=True,
            timeout=120,
        )

    return run


@pytest.mark.skipif(DARKTABLE is None, reason="darktable is not there")
@pytest.mark.parametrize("extension", ["jpg", "tif"])
def test_darktable_deblurs_what_it_exports_and_groups_it_with_the_photo(
    extension, tmp_path, program, export_with_darktable
):
    photo = tmp_path / f"{ODD}.jpg"
    photo.write_bytes(make_jpeg())
    exported = tmp_path / f"exported.{extension}"
    said = export_with_darktable(photo, exported, program)
    assert (tmp_path / "result").exists(), said
    place, rating, red, members, tags = (tmp_path / "result").read_text().split("\n")
    assert place == str(tmp_path / f"{ODD}-unblurred.{extension}")
    assert (rating, red, members) == ("4", "true", "2")
    assert "places|sea" in tags
    assert {path.name for path in tmp_path.glob("copy*")} == set()
    before, after = (np.asarray(Image.open(path), int) for path in (exported, place))
    assert 20 < (after - before).mean() < 30


@pytest.mark.skipif(DARKTABLE is None, reason="darktable is not there")
def test_darktable_shows_why_unblur_failed(tmp_path, program, export_with_darktable):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(make_jpeg())
    said = export_with_darktable(photo, tmp_path / "exported.jpg", tmp_path / "not there")
    assert re.search(rb"photo\.jpg: .*/not there: ", said.stdout + said.stderr)
    assert not (tmp_path / "result").exists()
    assert not list(tmp_path.glob("copy*"))


# Deblurs the first image of the folder, and saves the new layer alone.
DEBLUR_WITH_GIMP = """
import json, os
from gi.repository import Gimp, Gio
here = {here!r}
quiet = Gimp.RunMode.NONINTERACTIVE
image = Gimp.file_load(quiet, Gio.File.new_for_path(here + "/photo.png"))
image.convert_precision(Gimp.Precision.{precision})
image.get_layers()[0].set_offsets(3, 4)
procedure = Gimp.get_pdb().lookup_procedure("plug-in-unblur")
config = procedure.create_config()
config.set_property("run-mode", quiet)
config.set_property("image", image)
config.set_core_object_array("drawables", image.get_layers())
config.set_property("program", {program!r})
status = procedure.run(config).index(0)
error = Gimp.get_pdb().get_last_error()
layers = image.get_layers()
json.dump(
    dict(
        status=status.value_nick,
        error=error,
        names=[layer.get_name() for layer in layers],
        visible=[layer.get_visible() for layer in layers],
        offsets=[list(layer.get_offsets())[1:] for layer in layers],
        precision=image.get_precision().value_nick,
    ),
    open(here + "/said.json", "w"),
)
for layer in layers[1:]:
    image.remove_layer(layer)
image.convert_precision(Gimp.Precision.U8_NON_LINEAR)
image.resize_to_layers()
Gimp.file_save(quiet, image, Gio.File.new_for_path(here + "/result.png"), None)
"""


@pytest.fixture
def deblur_with_gimp(tmp_path):
    """Run the plug-in on photo.png in GIMP; return its status, its error and the layers."""
    plug_ins = tmp_path / "gimp" / "plug-ins"
    shutil.copytree(PACKAGING / "gimp" / "unblur", plug_ins / "unblur")

    def run(program, precision="U8_NON_LINEAR"):
        script = tmp_path / "deblur.py"
        values = {"here": str(tmp_path), "program": str(program), "precision": precision}
        script.write_text(DEBLUR_WITH_GIMP.format(**values))
        words = ["--no-interface", "--batch-interpreter=python-fu-eval", "--quit"]
        words += ["-b", f"exec(open({str(script)!r}).read())"]
        environment = os.environ | {"GIMP3_DIRECTORY": str(tmp_path / "gimp")}
        ended = subprocess.run([GIMP, *words], env=environment, capture_output=True, timeout=120)
        said = tmp_path / "said.json"
        assert said.exists(), ended
        return json.loads(said.read_text())

    return run


def make_transparent_png(path):
    """A photo that becomes more and more transparent to the right, as an array."""
    pixels = make_pixels(48, 64, channels=4) // 2
    pixels[..., 3] = np.linspace(20, 255, 64)
    path.write_bytes(encode_image(Image.fromarray(pixels), "PNG"))
    return pixels.astype(int)


@pytest.mark.skipif(GIMP is None, reason="GIMP 3 is not there")
@pytest.mark.parametrize("precision", ["U8_NON_LINEAR", "U16_NON_LINEAR"])
def test_gimp_adds_the_deblurred_layer_above_and_keeps_its_transparency(
    precision, tmp_path, program, deblur_with_gimp
):
    before = make_transparent_png(tmp_path / "photo.png")
    said = deblur_with_gimp(program, precision)
    assert said["status"] == "success", said
    assert said["names"][0] == f"{said['names'][1]} (unblurred)"
    assert said["visible"] == [True, False]
    assert said["offsets"] == [[3, 4], [3, 4]]
    assert said["precision"] == precision.lower().replace("_", "-")
    after = np.asarray(Image.open(tmp_path / "result.png"), int)
    assert np.abs(after[..., 3] - before[..., 3]).max() <= 1
    assert 20 < (after - before)[..., :3].mean() < 30


@pytest.mark.skipif(GIMP is None, reason="GIMP 3 is not there")
def test_gimp_tells_that_unblur_is_not_there(tmp_path, deblur_with_gimp):
    make_transparent_png(tmp_path / "photo.png")
    said = deblur_with_gimp("unblur-that-is-nowhere")
    assert said["status"] == "execution-error"
    assert "unblur-that-is-nowhere was not found" in said["error"]
    assert len(said["names"]) == 1
