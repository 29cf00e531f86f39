"""Feed damaged files to the parsers until time is up; what a parser must not do ends the run.

    python -m fuzz.run jpeg -max_total_time=60

Options are those of libFuzzer. The first inputs are the photos of the tests;
those that reach new code join them in ``fuzz/corpus``, where the next run begins,
and one that breaks a promise is written to ``fuzz/findings``.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import atheris

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"

with atheris.instrument_imports(include=["unblur"]):
    from unblur import codecs, jpeg, png, tensorflow_checkpoint, thumbnail
    from unblur.errors import PhotoError

sys.path.append(str(TESTS))
import test_avif  # noqa: E402 (the tests' folder had to be made known first)
import test_jpeg  # noqa: E402
import test_png  # noqa: E402
import test_tensorflow_checkpoint  # noqa: E402
import test_thumbnail  # noqa: E402
import test_tiff  # noqa: E402
import test_webp  # noqa: E402

CHECKPOINT_INDEX = test_tensorflow_checkpoint.make_table([(b"a/weights", b"\x08\x01")])
MAX_PIXELS = 100_000
"""Enough for the seeds, and little enough for thousands of photos a second."""


def check_splice(container: ModuleType, data: bytes, coded: bytes) -> None:
    """Any bytes splice to a whole file, in which the next splice finds nothing to change."""
    try:
        result = container.splice(data, coded)
    except ValueError:
        return
    assert container.splice(result.data, coded).data == result.data


def check_codec(data: bytes) -> None:
    """Any bytes are a photo that can be written back, or raise ``PhotoError``."""
    try:
        photo = codecs.decode(data, MAX_PIXELS)
        result = codecs.encode(photo, photo.pixels)
    except PhotoError:
        return
    assert codecs.decode(result.data).pixels.shape == photo.pixels.shape


def fuzz_jpeg(data: bytes) -> None:
    """Check JPEG files."""
    check_splice(jpeg, data, test_jpeg.PHOTOS[0])
    check_codec(data)


def fuzz_png(data: bytes) -> None:
    """Check PNG files."""
    check_splice(png, data, test_png.PHOTOS[1])
    check_codec(data)


def fuzz_checkpoint(data: bytes) -> None:
    """Any bytes are the index of a checkpoint, or raise what the reader catches."""
    with contextlib.suppress(ValueError, IndexError):
        for _, value in tensorflow_checkpoint.read_table(data):
            tensorflow_checkpoint.read_fields(value)


def fuzz_thumbnail(data: bytes) -> None:
    """Any bytes keep their length as an EXIF block, and only the thumbnail's may change."""
    result = thumbnail.refreshed(data, test_thumbnail.NEW)
    place = thumbnail.find(data) or slice(0, 0)
    assert len(result) == len(data)
    assert result[: place.start] == data[: place.start]
    assert result[place.stop :] == data[place.stop :]


TARGETS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "jpeg": (fuzz_jpeg, test_jpeg.PHOTOS),
    "png": (fuzz_png, test_png.PHOTOS),
    "webp": (check_codec, [test_webp.SAMPLE, test_webp.make_webp(lossless=True)]),
    "avif": (check_codec, [test_avif.SAMPLE]),
    "tiff": (check_codec, list(test_tiff.SMALL)),
    "checkpoint": (fuzz_checkpoint, [CHECKPOINT_INDEX]),
    "thumbnail": (fuzz_thumbnail, test_thumbnail.EXIFS),
}


def main(name: str, *options: str) -> None:
    """Fuzz one target."""
    target, seeds = TARGETS[name]
    corpus, findings = HERE / "corpus" / name, HERE / "findings"
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    limits = ["-timeout=10", "-rss_limit_mb=2048", f"-artifact_prefix={findings}/"]
    atheris.Setup([sys.argv[0], *limits, *options, str(corpus)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
