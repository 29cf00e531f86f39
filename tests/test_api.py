from __future__ import annotations

import copy
import inspect
import io
import logging
import pickle
import re
import subprocess
import sys
from pathlib import Path

import fakes
import numpy as np
import pytest
from conftest import encode_image, make_exif, make_jpeg, make_pixels
from PIL import Image

import unblur
from unblur import api
from unblur.formats import any_format
from unblur.models.weights import open_model

DOCS = (Path(__file__).parents[1] / "docs" / "api.md").read_text()


@pytest.fixture(autouse=True)
def identity(monkeypatch, identity_weights):
    """Replace every model by the network that changes nothing."""
    monkeypatch.setattr(api, "open_model", lambda model: open_model(str(identity_weights)))


@pytest.fixture
def brighter(monkeypatch):
    """A deblurrer whose network makes everything brighter."""
    deblurrer = unblur.Deblurrer()
    deblurrer._network = fakes.on_cpu(fakes.Brighter())
    return deblurrer


def run_python(program):
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_importing_the_package_imports_nothing_heavy():
    heavy = ("torch", "numpy", "PIL", "click", "unblur.api")
    assert (
        run_python(f"import sys, unblur; print([n for n in {heavy} if n in sys.modules])") == "[]"
    )


def test_a_score_and_the_list_of_models_need_no_pytorch():
    program = (
        "import sys, unblur; unblur.list_models(); unblur.blur_score; print('torch' in sys.modules)"
    )
    assert run_python(program) == "False"


def test_every_public_name_is_there_and_documented():
    assert unblur.__all__ == sorted(unblur.__all__)
    assert dir(unblur) == unblur.__all__
    for name in unblur.__all__:
        assert getattr(unblur, name)
        assert re.search(rf"\b{name}\b", DOCS), name


def test_what_is_not_public_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'sharpen'"):
        unblur.sharpen  # noqa: B018


@pytest.mark.parametrize("name", ["deblur", "Deblurrer", "blur_score", "list_models"])
def test_the_documented_signatures_are_the_real_ones(name):
    signature = inspect.signature(getattr(unblur, name))
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    text = str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty))
    assert f"\n\n`{name}{text}`\n\n" in re.sub(r"(?<=,)\n", " ", DOCS)


def test_the_documented_exit_codes_are_the_real_ones():
    for name, code in re.findall(r"\| `(\w+Error)` \| (\d+) \|", DOCS):
        assert getattr(unblur, name).exit_code == int(code)


def test_the_documented_examples_run_and_say_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(make_jpeg())
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(make_jpeg())
    (tmp_path / "photos" / "cut.jpg").write_bytes(make_jpeg()[:200])
    names = {}
    for example in re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL):
        exec(example, names)
    assert (names["code"], names["text"]) == (1, "missing.jpg: no such file or directory")
    assert sorted(p.name for p in (tmp_path / "results").iterdir()) == [
        "a-unblurred.jpg", "photo-unblurred.jpg"
    ]  # fmt: skip
    with Image.open(tmp_path / "sharp.jpg") as sharp:
        assert sharp.getexif()[0x0112] == 6
    printed = capfd.readouterr()
    assert printed.err == ""
    assert re.fullmatch(r"photos.cut\.jpg: damaged .*\n", printed.out)  # by the example itself


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_comes_back_as_the_path_of_the_result(jpeg, kind):
    original = jpeg.read_bytes()
    result = unblur.deblur(kind(jpeg))
    assert result == kind(jpeg.with_name("photo-unblurred.jpg"))
    assert type(result) is type(kind(jpeg))
    assert jpeg.read_bytes() == original
    with Image.open(result) as after:
        assert after.info["exif"] == make_exif()
    assert {p.name for p in jpeg.parent.iterdir()} == {"photo.jpg", "photo-unblurred.jpg"}


def test_the_file_is_what_the_command_line_writes(jpeg, unblur, tmp_path):
    unblur(jpeg)
    written = jpeg.with_name("photo-unblurred.jpg").read_bytes()
    assert api.deblur(jpeg, output=tmp_path / "api.jpg").read_bytes() == written
    assert api.deblur(jpeg.read_bytes()) == written


def test_a_file_in_the_way_stays_unless_it_may_be_replaced(jpeg):
    output = jpeg.with_name("photo-unblurred.jpg")
    output.write_bytes(b"earlier")
    with pytest.raises(unblur.PhotoError, match=r"photo\.jpg: .*exists"):
        unblur.deblur(jpeg)
    assert output.read_bytes() == b"earlier"
    assert unblur.deblur(jpeg, overwrite=True).read_bytes().startswith(b"\xff\xd8")


def test_the_original_is_never_replaced(jpeg):
    original = jpeg.read_bytes()
    with pytest.raises(unblur.PhotoError, match="would replace the original"):
        unblur.deblur(jpeg, output=jpeg, overwrite=True)
    assert jpeg.read_bytes() == original


def test_a_file_named_as_the_stream_is_a_file(tmp_path, monkeypatch, capfdbinary):
    monkeypatch.chdir(tmp_path)
    Path("-").write_bytes(make_jpeg())
    assert unblur.deblur("-", output="out.jpg") == "out.jpg"
    with pytest.raises(unblur.PhotoError, match="- exists"):
        unblur.deblur("out.jpg", output="-")
    assert capfdbinary.readouterr().out == b""


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_an_image_keeps_its_mode_and_opacity_and_info(mode, brighter):
    if mode == "I;16":
        before = Image.fromarray(make_pixels(40, 50, 1, np.uint16)[..., 0])
    else:
        channels = len(mode)
        before = Image.fromarray(make_pixels(40, 50, channels).squeeze(), mode=None)
    before.info["exif"], before.info["dpi"] = make_exif(), (72, 72)
    kept = before.copy()
    after = brighter(before)
    assert (after.mode, after.size, after.info) == (mode, before.size, before.info)
    assert np.array_equal(before, kept)
    if mode[-1] == "A":
        assert np.array_equal(after.getchannel("A"), before.getchannel("A"))
    assert np.asarray(after, float).mean() > np.asarray(before, float).mean()


@pytest.mark.parametrize(
    ("mode", "better"),
    [(mode, "RGB") for mode in ("1", "P", "CMYK", "YCbCr", "LAB", "HSV", "RGBX", "F")]
    + [(mode, "I;16") for mode in ("I", "I;16B", "I;16L", "I;16N")]
    + [("La", "LA"), ("PA", "RGBA"), ("RGBa", "RGBA")],
)
def test_an_image_of_another_mode_is_refused_with_advice_that_works(mode, better):
    image = Image.new(mode, (40, 30))
    with pytest.raises(unblur.PhotoError, match=f"mode {mode} .* convert it to {better}"):
        unblur.deblur(image)
    assert unblur.deblur(image.convert(better)).mode == better


def test_an_image_without_pixels_is_refused():
    with pytest.raises(unblur.PhotoError, match="the image has no pixels"):
        unblur.deblur(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_array_keeps_its_shape_and_type_and_itself(dtype, channels, brighter):
    before = make_pixels(40, 50, channels, dtype)
    kept = before.copy()
    after = brighter(before[::-1, ::-1])
    assert (after.shape, after.dtype) == (before.shape, dtype)
    assert np.array_equal(before, kept)
    assert after.mean() > before.mean()


@pytest.mark.parametrize(
    "image",
    [
        None,
        7,
        bytearray(b"x"),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
    ids=str,
)
def test_what_is_no_photo_is_wrong_usage(image):
    for function in (unblur.deblur, unblur.blur_score):
        with pytest.raises(unblur.UsageError) as caught:
            function(image)
        assert caught.value.exit_code == unblur.ExitCode.USAGE


@pytest.mark.parametrize("path", ["", "a\0b.jpg", "\ud800.jpg"], ids=["empty", "NUL", "surrogate"])
def test_what_is_no_path_is_wrong_usage(path):
    for function in (unblur.deblur, unblur.blur_score, unblur.find_blur):
        with pytest.raises(unblur.UsageError):
            function(path)
    with pytest.raises(unblur.UsageError):
        unblur.deblur("a.jpg", output=path)
    with pytest.raises(unblur.UsageError):
        unblur.deblur(make_pixels(40, 50), mask=path)


@pytest.mark.parametrize("name", ["model", "output"])
def test_an_argument_of_another_type_than_a_path_is_refused_by_name(name):
    with pytest.raises(unblur.UsageError, match=f"{name} takes a path, not 3"):
        unblur.deblur("a.jpg", **{name: 3})


def closed_image():
    image = Image.fromarray(make_pixels(40, 50))
    image.close()
    return image


@pytest.mark.parametrize(
    "make",
    [closed_image, lambda: Image.open(io.BytesIO(make_jpeg()[:-400]))],
    ids=["closed", "cut off"],
)
def test_an_image_that_pillow_cannot_read_is_a_photo_error(make):
    for function in (unblur.deblur, unblur.blur_score, unblur.find_blur):
        with pytest.raises(unblur.PhotoError, match="the image cannot be read"):
            function(make())


def test_an_array_in_another_byte_order_has_the_same_result_in_that_order(brighter):
    pixels = make_pixels(40, 50).astype(np.uint16) * np.uint16(257)
    swapped = pixels.astype(pixels.dtype.newbyteorder("S"))
    mask = np.full((40, 50), 0x1234, np.uint16)
    result = brighter(swapped, mask=mask.astype(mask.dtype.newbyteorder("S")))
    assert result.dtype == swapped.dtype != pixels.dtype
    assert np.array_equal(result, brighter(pixels, mask=mask))
    assert unblur.blur_score(swapped) == unblur.blur_score(pixels)


def test_memory_that_runs_out_while_a_photo_is_read_is_a_photo_error(monkeypatch, jpeg):
    def fail(*unused):
        raise MemoryError

    monkeypatch.setattr(api.any_format, "decode", fail)
    with pytest.raises(unblur.PhotoError, match="^out of memory$"):
        unblur.deblur(jpeg.read_bytes())


def test_sidecars_are_copied_if_the_caller_wants(tmp_path):
    photo, copy = tmp_path / "a.jpg", tmp_path / "a-unblurred.jpg.xmp"
    photo.write_bytes(make_jpeg())
    (tmp_path / "a.jpg.xmp").write_bytes(b"rating 5")
    with unblur.Deblurrer() as deblur:
        deblur(photo)
        assert not copy.exists()
        deblur(photo, overwrite=True, sidecars=True)
    assert copy.read_bytes() == b"rating 5"
    with pytest.raises(unblur.UsageError, match="to paths only"):
        unblur.deblur(make_jpeg(), sidecars=True)


def test_output_is_for_paths_only():
    with pytest.raises(unblur.UsageError, match="to paths only"):
        unblur.deblur(make_jpeg(), output="x.jpg")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"device": "mps"}, "DeviceError"),
        ({"device": "gpu"}, "UsageError"),
        ({"tile": 7}, "UsageError"),
        ({"max_memory": 0}, "UsageError"),
        ({"strength": 2}, "UsageError"),
    ],
)
def test_what_cannot_be_is_told_at_once(options, error, monkeypatch):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(getattr(unblur, error)):
        unblur.Deblurrer(**options)


@pytest.mark.parametrize("name", ["overwrite", "sidecars"])
@pytest.mark.parametrize("value", ["no", 1, None])
def test_a_switch_that_is_neither_true_nor_false_replaces_nothing(jpeg, name, value):
    output = jpeg.with_name("photo-unblurred.jpg")
    output.write_bytes(b"earlier")
    with pytest.raises(unblur.UsageError, match=f"{name} takes True or False, not {value!r}"):
        unblur.deblur(jpeg, **{name: value})
    assert output.read_bytes() == b"earlier"


@pytest.mark.parametrize("name", ["tile", "strength", "views", "max_memory", "device", "model"])
def test_true_is_no_number_and_no_name(name):
    with pytest.raises(unblur.UsageError, match=f"{name} takes .*, not True"):
        unblur.Deblurrer(**{name: True})


@pytest.mark.parametrize("copy", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_deblurrer_cannot_be_copied_into_another_process(copy):
    with pytest.raises(unblur.UsageError, match="make one in each process"):
        copy(unblur.Deblurrer())


@pytest.mark.parametrize("name", ["PhotoError", "UsageError", "WeightsError", "DeviceError"])
def test_errors_and_results_come_back_from_another_process_as_they_were(name):
    error = pickle.loads(pickle.dumps(getattr(unblur, name)("photo.jpg: damaged")))
    assert (type(error).__name__, str(error)) == (name, "photo.jpg: damaged")
    blur = unblur.find_blur(make_pixels(40, 50))
    assert pickle.loads(pickle.dumps(blur)) == blur


def test_missing_weights_have_their_exit_code(monkeypatch):
    monkeypatch.undo()
    with pytest.raises(unblur.WeightsError) as caught:
        unblur.Deblurrer("nowhere.safetensors")
    assert caught.value.exit_code == 4


def test_damaged_photos_are_named_if_they_have_a_name(tmp_path):
    path = tmp_path / "cut.jpg"
    path.write_bytes(make_jpeg()[:200])
    for function in (unblur.deblur, unblur.blur_score):
        with pytest.raises(unblur.PhotoError, match=r"^\S*cut\.jpg: damaged or cut off"):
            function(path)
        with pytest.raises(unblur.PhotoError, match="^damaged or cut off"):
            function(path.read_bytes())


def test_memory_that_runs_out_is_a_photo_error(brighter):
    brighter._network = fakes.on_cpu(fakes.OutOfMemoryAbove(0))
    with pytest.raises(unblur.PhotoError, match="out of memory"):
        brighter(make_pixels(40, 50))


def test_a_closed_deblurrer_says_so():
    with unblur.Deblurrer() as deblur:
        deblur(make_pixels(40, 50))
    with pytest.raises(unblur.UsageError, match="closed"):
        deblur(make_pixels(40, 50))


def test_a_stray_note_goes_to_the_logger(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "unblur"):
        unblur.deblur(encode_image(Image.new("P", (40, 30)), "PNG"))
    assert "the palette became truecolour" in caplog.text


def test_every_kind_of_photo_has_the_same_score(tmp_path):
    data = encode_image(Image.fromarray(make_pixels(200, 300)), "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    pixels = any_format.decode(data).pixels
    photos = (path, str(path), data, pixels, Image.fromarray(pixels))
    assert len({unblur.blur_score(photo) for photo in photos}) == 1


def test_models_are_listed_with_the_default_first():
    models = unblur.list_models()
    assert isinstance(models, tuple)
    assert models[0].name == inspect.signature(unblur.deblur).parameters["model"].default
    assert all(isinstance(model, unblur.Model) for model in models)


def test_the_package_says_that_it_is_typed():
    assert Path(unblur.__file__).with_name("py.typed").exists()
