"""Feed damaged files to the parsers until time is up; the first broken rule ends the run.

    python -m fuzz.run jpeg -max_total_time=60

Options are those of libFuzzer. The first inputs are the tests' photos. Inputs that reach new code
are added to ``fuzz/corpus``, from which the next run starts. An input that breaks a rule or takes
more than a few seconds is written to ``fuzz/findings``.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import atheris
import numpy as np

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"

with atheris.instrument_imports(include=["unblur"]):
    from unblur.errors import PhotoError, WeightsError
    from unblur.formats import any_format, jpeg, png
    from unblur.formats.metadata import Metadata, find_thumbnail
    from unblur.formats.photo import PNG, TIFF
    from unblur.formats.tiff_writer import write_tiff
    from unblur.models import importing, published, tensorflow_checkpoint, weights
    from unblur.network.config import SRNConfig
    from unblur.network.srn import SRN
    from unblur.pictures.display import make_views

sys.path.append(str(TESTS))
import bombs  # noqa: E402 (the tests' folder had to be made known first)
import published_files  # noqa: E402
import test_avif  # noqa: E402
import test_exif_thumbnail  # noqa: E402
import test_jpeg  # noqa: E402
import test_png  # noqa: E402
import test_tensorflow_checkpoint  # noqa: E402
import test_tiff  # noqa: E402
import test_webp  # noqa: E402

CHECKPOINT_INDEX = test_tensorflow_checkpoint.make_table([(b"a/weights", b"\x08\x01")])
CHECKPOINT_ENTRY = test_tensorflow_checkpoint.make_entry(np.ones((2, 3), np.float32), 4)
WEIGHTS = weights.encode_network(SRN(SRNConfig(width=1, blocks=1, kernel=1)))
UNCHECKED_WEIGHTS = WEIGHTS.replace(weights.CHECKSUM_KEY.encode(), b"unblur.nobody")
"""Weights with an unknown checksum key: fuzzing would never produce a correct checksum."""
SCRATCH = HERE / "corpus" / "scratch"
MAX_PIXELS = 100_000
"""Limit on pixels: enough for the seeds, and few enough for thousands of photos per second."""
BOMB_BYTES = 2000
SECONDS = 5
"""Limit in seconds: an input that takes longer is a finding. Most take a thousandth of it."""


def check_splice(container: ModuleType, data: bytes, coded: bytes) -> None:
    """Check that any bytes splice to a complete file, which a second splice does not change."""
    try:
        result = container.splice(data, coded)
    except ValueError:
        return
    assert container.splice(result.data, coded).data == result.data


def check_codec(data: bytes) -> None:
    """Check that any bytes raise ``PhotoError`` or are a photo that can be encoded and shown."""
    try:
        photo = any_format.decode(data, MAX_PIXELS)
        result = any_format.encode(photo, photo.pixels)
    except PhotoError:
        return
    assert any_format.decode(result.data).pixels.shape == photo.pixels.shape
    make_views(photo, photo.pixels)
    with contextlib.suppress(PhotoError):
        any_format.encode(photo, photo.pixels, strip_metadata=True)
        any_format.encode(photo, photo.pixels, form=PNG if photo.format is TIFF else TIFF)


def fuzz_jpeg(data: bytes) -> None:
    """Check JPEG files."""
    check_splice(jpeg, data, test_jpeg.PHOTOS[0])
    check_codec(data)


def fuzz_png(data: bytes) -> None:
    """Check PNG files."""
    check_splice(png, data, test_png.PHOTOS[1])
    check_codec(data)


def fuzz_checkpoint(data: bytes) -> None:
    """Check that any bytes are refused, or are a checkpoint's index with readable fields."""
    with contextlib.suppress(ValueError, IndexError):
        for _, value in tensorflow_checkpoint.read_table(data):
            tensorflow_checkpoint.read_fields(value)
    # Fuzzing never produces correct checksums, so the bytes become an entry of a valid index.
    items = [(b"", test_tensorflow_checkpoint.HEADER), (b"a", data)]
    index = test_tensorflow_checkpoint.make_table(items)
    (SCRATCH / "checkpoint.index").write_bytes(index)
    (SCRATCH / "checkpoint.data-00000-of-00001").write_bytes(bytes(64))
    with contextlib.suppress(WeightsError):
        checkpoint = tensorflow_checkpoint.TensorFlowCheckpoint(SCRATCH / "checkpoint")
        array = checkpoint.read("a")
        assert array.nbytes <= 64


def fuzz_weights(data: bytes) -> None:
    """Check that any bytes are refused, or are a weights file of finite numbers."""
    with contextlib.suppress(ValueError):
        network = weights.decode_network(data)
        assert all(tensor.isfinite().all() for tensor in network.state_dict().values())


def fuzz_archive(data: bytes) -> None:
    """Check that any bytes are refused, or are an archive of a published network."""
    path = SCRATCH / "archive.zip"
    path.write_bytes(data)
    with contextlib.suppress(WeightsError):
        assert importing.read_networks(path).keys() <= published.CONFIGS.keys()


def fuzz_exif(data: bytes) -> None:
    """Check that a TIFF can be written around any bytes as its EXIF block."""
    metadata = Metadata(exif=data, xmp=data)
    assert len(metadata.upright().exif) == len(data)
    result = write_tiff(test_exif_thumbnail.NEW, None, metadata)
    assert any_format.decode(result).pixels.shape == test_exif_thumbnail.NEW.shape


def fuzz_thumbnail(data: bytes) -> None:
    """Check that redrawing pictures in an EXIF block of any bytes changes only the pictures."""
    result = test_exif_thumbnail.refreshed(data, test_exif_thumbnail.NEW)
    if data.count(b"\xff\xd8\xff") > 1:
        return
    place = find_thumbnail(data) or slice(0, 0)
    assert len(result) == len(data)
    assert result[: place.start] == data[: place.start]
    assert result[place.stop :] == data[place.stop :]


def make_small_archive() -> bytes:
    """Make an archive like the authors', with small networks."""
    for name, config in published.CONFIGS.items():
        published.CONFIGS[name] = replace(config, width=1, blocks=1)
    arrays = published_files.make_arrays("srn-color")
    return published_files.make_zip(published_files.checkpoint_members("color", arrays))


def small_bombs(container: str) -> list[bytes]:
    """Return files of a few kilobytes that repeat a part."""
    return list(bombs.make_bombs(container, BOMB_BYTES).values())


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "jpeg": (fuzz_jpeg, lambda: [*test_jpeg.PHOTOS, *small_bombs("JPEG")]),
    "png": (fuzz_png, lambda: [*test_png.PHOTOS, *small_bombs("PNG")]),
    "webp": (
        check_codec,
        lambda: [test_webp.SAMPLE, test_webp.make_webp(lossless=True), *small_bombs("WebP")],
    ),
    "avif": (
        check_codec,
        lambda: [test_avif.SAMPLE, test_avif.with_gain_map(), *small_bombs("AVIF")],
    ),
    "heif": (check_codec, lambda: [bombs.make_heic(), *small_bombs("HEIF")]),
    "tiff": (check_codec, lambda: [*test_tiff.SMALL, *small_bombs("TIFF")]),
    "checkpoint": (fuzz_checkpoint, lambda: [CHECKPOINT_INDEX, CHECKPOINT_ENTRY]),
    "weights": (fuzz_weights, lambda: [WEIGHTS, UNCHECKED_WEIGHTS]),
    "archive": (fuzz_archive, lambda: [make_small_archive()]),
    "exif": (fuzz_exif, lambda: list(test_exif_thumbnail.EXIFS)),
    "thumbnail": (fuzz_thumbnail, lambda: list(test_exif_thumbnail.EXIFS)),
}


def main(name: str, *options: str) -> None:
    """Fuzz one target."""
    target, make_seeds = TARGETS[name]
    corpus, findings = HERE / "corpus" / name, HERE / "findings"
    for folder in (corpus, findings, SCRATCH):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(make_seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    limits = [f"-timeout={SECONDS}", "-rss_limit_mb=2048", f"-artifact_prefix={findings}/"]
    atheris.Setup([sys.argv[0], *limits, *options, str(corpus)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
