"""A program that uses the Python interface; mypy checks that all types come out as documented."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import unblur

if TYPE_CHECKING:
    from typing_extensions import assert_type


def use_all(
    photo: NDArray[np.uint8], deep: NDArray[np.uint16], place: str | Path, either: Path | bytes
) -> None:
    """Use everything, as a program would."""
    assert_type(unblur.deblur("photo.jpg"), str)
    assert_type(unblur.deblur(Path("photo.jpg")), Path)
    assert_type(unblur.deblur(b"JPEG"), bytes)
    assert_type(unblur.deblur(Image.open("photo.jpg")), Image.Image)
    assert_type(unblur.deblur(photo), NDArray[np.uint8])
    assert_type(unblur.deblur(deep, mask=photo), NDArray[np.uint16])
    assert_type(unblur.deblur(place), str | Path)
    unblur.deblur(either)
    with unblur.Deblurrer(tile=512, max_memory=1 << 30) as deblur:
        assert_type(deblur, unblur.Deblurrer)
        assert_type(deblur(place, output=Path("results"), overwrite=True), str | Path)
        assert_type(deblur(photo), NDArray[np.uint8])
    assert_type(unblur.blur_score(either), float)
    assert_type(unblur.find_blur(place).kind, unblur.Kind)
    assert_type(unblur.find_blur(deep).length, float | None)
    assert_type(unblur.list_models(), tuple[unblur.Model, ...])
    assert_type(unblur.UnblurError("text").exit_code, unblur.ExitCode)
    assert_type(unblur.__version__, str)


def misuse(floats: NDArray[np.float32]) -> None:
    """Make mistakes; mypy complains of each line that it takes for right."""
    unblur.deblur(3)  # type: ignore[type-var]
    unblur.deblur(floats)  # type: ignore[type-var]
    unblur.deblur("photo.jpg", tile="large")  # type: ignore[arg-type]
    unblur.deblur("photo.jpg", engine="other")  # type: ignore[arg-type]
    unblur.Deblurrer("srn-compact", "cpu")  # type: ignore[call-arg]
    unblur.sharpen("photo.jpg")  # type: ignore[attr-defined]
