"""The Python interface: deblur paths, bytes, images and arrays; see ``docs/api.md``.

No function prints or exits. Notes and warnings go to the logger ``unblur``, which is silent unless
the caller configures it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias, TypeVar, cast

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from unblur import blur, score
from unblur.blur import Blur
from unblur.errors import PhotoError, UsageError
from unblur.forks import PerProcess
from unblur.formats import any_format
from unblur.formats.codec import Reduced
from unblur.formats.companions import with_new_companions
from unblur.formats.in_memory import like, orientation_of, read
from unblur.formats.masks import Mask, blended, make_mask, masked
from unblur.formats.panorama import deblurred, is_round
from unblur.formats.pixels import turned
from unblur.models.catalog import DEFAULT_MODEL, MODELS, Model
from unblur.models.loading import load_deblurrer
from unblur.models.weights import open_model
from unblur.network import device_kinds
from unblur.network.openmp import computed
from unblur.options import STREAM, NetworkOptions, Options, check_path
from unblur.run import load_step, write_step
from unblur.run.history import IN_MEMORY, History
from unblur.run.jobs import Job
from unblur.run.mask_files import open_mask
from unblur.run.plan import make_plan
from unblur.storage.places import parse_place

if TYPE_CHECKING:
    from unblur.formats.photo import Photo
    from unblur.network.deblurrer import NetworkDeblurrer

AnyPhoto: TypeAlias = str | Path | bytes | PIL.Image.Image | NDArray[np.uint8] | NDArray[np.uint16]
"""A file's path or an object's address, a file's content, a Pillow image, or (H, W, 3 or 1)
pixels."""
PhotoLike = TypeVar(
    "PhotoLike",
    str,
    Path,
    bytes,
    PIL.Image.Image,
    NDArray[np.uint8],
    NDArray[np.uint16],
    str | Path,
    AnyPhoto,
)
"""A photo whose result has the same type; a program may leave open which of several it is."""
MaskLike: TypeAlias = str | Path | NDArray[np.bool_] | NDArray[np.uint8] | NDArray[np.uint16]
"""A mask's path, or (H, W) pixels."""

_log = logging.getLogger("unblur")
_log.addHandler(logging.NullHandler())


class Deblurrer:
    """Deblurs photos with one network, which is loaded only once.

    Threads may share a Deblurrer; they take turns with the network. `close`, or the end of a
    ``with`` block, frees the network.

    Args:
        model: A model's name, or a weights file.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``, ``xpu`` or ``vulkan``, optionally with the
            number of a device, such as ``cuda:1``.
        engine: Library that runs the network: ``auto``, ``torch`` or ``ncnn``.
        tile: Side of the largest tile, a square, in pixels, or ``auto``.
        strength: Share of the change to apply, from 0 to 1.
        views: Number of mirrored and rotated passes to average, from 1 to 8.
        max_memory: Limit on main memory, in bytes. Default: the free memory.

    Raises:
        WeightsError: If the weights are missing or damaged.
        DeviceError: If the device is missing, or computes wrongly.
        UsageError: If the device is unknown, or tile, strength, views or max_memory are out of
            range.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        *,
        device: str = "auto",
        engine: Literal["auto", "torch", "ncnn"] = "auto",
        tile: int | Literal["auto"] = "auto",
        strength: float = 1.0,
        views: int = 1,
        max_memory: int | None = None,
    ) -> None:
        chosen = NetworkOptions(
            model=_path_text(model, "model"),
            device=device,
            engine=engine,
            tile=tile,
            strength=strength,
            views=views,
            threads=None,
            max_memory=max_memory,
        )
        if chosen.device != "auto":
            device_kinds.parse_device(device)
        weights = open_model(chosen.model)
        self._network: NetworkDeblurrer | None = computed(
            lambda: load_deblurrer(weights, chosen, warn=_log.warning, tell=_log.info)
        )
        self._turn = PerProcess(threading.Lock)

    def __enter__(self) -> Deblurrer:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise UsageError("a Deblurrer cannot be copied or pickled: make one in each process")

    def close(self) -> None:
        """Free the network; later calls raise `UsageError`."""
        self._network = None

    def __call__(
        self,
        image: PhotoLike,
        *,
        output: str | Path | None = None,
        overwrite: bool = False,
        sidecars: bool = False,
        mask: MaskLike | None = None,
    ) -> PhotoLike:
        """Deblur a photo.

        Args:
            image: A path, a file's content, a Pillow image or an array.
            output: For paths: file or folder of the result. Default: ``<name>-unblurred.<ext>``
                beside the photo.
            overwrite: For paths: whether to replace an existing file.
            sidecars: For paths: whether to copy files that belong to the photo, such as ``.xmp``,
                under the result's name.
            mask: Areas to deblur: the path of a grey picture, or an array (H, W), bool, uint8 or
                uint16, of any size. White areas are deblurred, black areas are kept. The mask has
                the orientation of the upright photo; for an array, of the array.

        Returns:
            A result of the same kind: the path of the result, the content of its file, an
            image with the photo's ``info``, or an array of the same shape and type. The
            photo itself is never changed.

        Raises:
            PhotoError: If the image is not a photo, cannot be read or written, or needs more memory
                than is free; or if the mask is not a mask, or does not fit.
            DeviceError: If the device was lost, unless it is ``auto``.
            UsageError: If ``image`` has another type, or the network was freed.
        """
        self._open_network()
        for name, flag in (("overwrite", overwrite), ("sidecars", sidecars)):
            if not isinstance(flag, bool | np.bool_):  # the text "no" would count as yes
                raise UsageError(f"{name} takes True or False, not {flag!r}")
        if not isinstance(image, str | Path) and (output is not None or overwrite or sidecars):
            raise UsageError(
                "output, overwrite and sidecars apply to paths only: other results are returned"
            )
        options = Options(
            output=None if output is None else _not_a_stream(_path_text(output, "output")),
            on_existing="overwrite" if overwrite else "error",
            sidecars=sidecars,
        )
        read = None if mask is None else _read_mask(mask)
        with _named(image):
            return cast("PhotoLike", self._deblur_any(image, options, read))

    def _deblur_any(self, image: object, options: Options, mask: Mask | None) -> object:
        if isinstance(image, Path):
            return Path(self._deblur_file(str(image), options, mask))
        if isinstance(image, str):
            return self._deblur_file(image, options, mask)
        if isinstance(image, bytes):
            return self._deblur_bytes(image, mask)
        pixels, alpha = read(image)
        result = self._deblur(pixels)
        if mask:
            result = blended(
                pixels, result, mask, lambda array: turned(array, orientation_of(image))
            )
        return like(image, result, alpha)

    def _deblur(self, pixels: NDArray[Any]) -> NDArray[Any]:
        network = self._open_network()
        try:
            with self._turn.get():
                return computed(lambda: network(pixels))
        except MemoryError as error:
            raise PhotoError("out of memory; a smaller tile needs less") from error

    def _open_network(self) -> NetworkDeblurrer:
        network = self._network  # another thread may close it meanwhile
        if network is None:
            raise UsageError("the Deblurrer is closed")
        return network

    def _deblur_photo(self, photo: Photo) -> tuple[Photo, NDArray[Any]]:
        """Return a photo whose companions have new pixels, and its own new pixels."""
        round_photo = is_round(photo)
        new = with_new_companions(photo, round_photo, self._deblur)
        return new, deblurred(photo.pixels, round_photo, self._deblur)

    def _deblur_bytes(self, data: bytes, mask: Mask | None) -> bytes:
        photo, pixels = self._deblur_photo(any_format.decode(data))
        if mask:
            photo, pixels = masked(photo, pixels, mask)
        encoded = any_format.encode(photo, pixels)
        _tell(photo.notes + encoded.notes)
        return encoded.data

    def _deblur_file(self, path: str, options: Options, mask: Mask | None) -> str:
        with History(IN_MEMORY) as history:
            (job,) = make_plan([_not_a_stream(path)], options, history, "").jobs
        if job.problem:
            raise PhotoError(job.problem)
        loaded = replace(load_step.load(job, options), mask=mask)
        photo, pixels = self._deblur_photo(loaded.photo)
        finished = write_step.finish(replace(loaded, photo=photo), pixels, options)
        outcome = write_step.publish(finished)
        _tell(outcome.notes + outcome.details)
        return str(job.target)


def deblur(
    image: PhotoLike,
    *,
    output: str | Path | None = None,
    overwrite: bool = False,
    sidecars: bool = False,
    mask: MaskLike | None = None,
    model: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    engine: Literal["auto", "torch", "ncnn"] = "auto",
    tile: int | Literal["auto"] = "auto",
    strength: float = 1.0,
    views: int = 1,
    max_memory: int | None = None,
) -> PhotoLike:
    """Deblur one photo; for several photos, `Deblurrer` loads the network only once.

    Raises:
        UnblurError: As `Deblurrer` does.
    """
    with Deblurrer(
        model,
        device=device,
        engine=engine,
        tile=tile,
        strength=strength,
        views=views,
        max_memory=max_memory,
    ) as deblurrer:
        return deblurrer(image, output=output, overwrite=overwrite, sidecars=sidecars, mask=mask)


def blur_score(image: AnyPhoto) -> float:
    """Measure the blur of a photo: the excess width of its sharpest contours.

    Args:
        image: A path, a file's content, a Pillow image or an array.

    Returns:
        Thousandths of the photo's diagonal, 0 or more; see `unblur.score.blur_score`.

    Raises:
        PhotoError: If it is not a photo, or cannot be read.
        UsageError: If ``image`` is of another type.
    """
    return score.blur_score(_read_reduced(image).pixels)


def find_blur(image: AnyPhoto) -> Blur:
    """Find out how a photo is blurred: by motion, and by how much, or out of focus.

    Args:
        image: A path, a file's content, a Pillow image or an array.

    Returns:
        The kind, the score, and for motion the length in pixels and the angle in degrees.
        ``docs/score.md`` shows how reliable they are.

    Raises:
        PhotoError: If it is not a photo, or cannot be read.
        UsageError: If ``image`` is of another type.
    """
    reduced = _read_reduced(image)
    return blur.find_blur(reduced.pixels, reduced.factor)


def _read_reduced(image: object) -> Reduced:
    """Read a photo at the resolution for measuring its blur."""
    with _named(image):
        if isinstance(image, str | Path):
            place = parse_place(_path_text(image, "image"))
            return load_step.read_reduced(Job(place, None), Options())
        if isinstance(image, bytes):
            return any_format.decode_reduced(image)[0]
        return Reduced(read(image)[0], 1)


def list_models() -> tuple[Model, ...]:
    """Return the known models, the default first."""
    return tuple(MODELS.values())


@contextlib.contextmanager
def _named(image: object) -> Iterator[None]:
    """Add the name of the file to errors."""
    try:
        yield
    except MemoryError as error:
        place = f"{image}: " if isinstance(image, str | Path) else ""
        raise PhotoError(f"{place}out of memory") from error
    except PhotoError as error:
        if not isinstance(image, str | Path):
            raise
        raise PhotoError(f"{image}: {error}") from error


def _path_text(path: object, name: str) -> str:
    """Return an argument's path as text, or raise `UsageError`."""
    if not isinstance(path, str | Path):
        raise UsageError(f"{name} takes a path, not {path!r}")
    check_path(str(path), name)
    return str(path)


def _not_a_stream(path: str) -> str:
    """Return a path that cannot mean standard input or output."""
    return str(Path.cwd() / path) if path == STREAM else path


def _tell(notes: tuple[str, ...]) -> None:
    for note in notes:
        _log.info(note)


def _read_mask(mask: object) -> Mask:
    """Return a mask from its path or its pixels."""
    if isinstance(mask, str | Path):
        return open_mask(parse_place(_path_text(mask, "mask")), Options())
    if isinstance(mask, np.ndarray):
        return make_mask(mask)
    raise UsageError(f"a mask is a path or an array, not of the type {type(mask).__name__}")
