"""List the known networks, and find weights by name."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unblur.config import models_folder
from unblur.errors import PhotoError, WeightsError
from unblur.network.config import SRNConfig
from unblur.options import NetworkOptions
from unblur.storage.files import certainly, is_folder, is_regular
from unblur.user_text import describe_os_error

WEIGHTS_SUFFIX = ".safetensors"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Model:
    """A network in the catalog."""

    name: str
    config: SRNConfig
    parameters: int
    """Number of weights."""
    file: str
    """Name of the published file."""
    size: int | None
    """Size of that file in bytes; ``None`` if not published."""
    sha256: str | None
    """Hash of that file; ``None`` if not published."""
    license: str
    training_data: str
    """The photos that the network was trained on, and their licences."""
    source: str
    """The network's authors, and where they describe it."""
    good_at: str
    bad_at: str
    url: str = ""
    """Address of the file for programs; empty if programs cannot download it."""
    page: str = ""
    """Web page with the file for browsers, if programs cannot download it."""

    @property
    def is_embedded(self) -> bool:
        """Whether the weights are part of the package."""
        return not self.url and not self.page


def _published(name: str, config: SRNConfig, parameters: int, good_at: str, bad_at: str) -> Model:
    """Return the entry of a network by the authors of the paper, who publish one archive."""
    return Model(
        name=name,
        config=config,
        parameters=parameters,
        file="srndeblur_models.zip",
        size=None,
        sha256=None,
        license="MIT for the authors' code; none stated for the weights",
        training_data="GoPro (Nah et al., CVPR 2017), CC BY 4.0, according to the paper",
        source="Tao et al., CVPR 2018; https://github.com/jiangsutx/SRN-Deblur",
        good_at=good_at,
        bad_at=bad_at,
        # From checkpoints/download_model.sh of the authors' repository.
        url="http://www.xtao.website/shared_url/srndeblur_models.zip",
    )


def _real_blur(name: str, folder: str, training_data: str, good_at: str, page: str) -> Model:
    """Return the entry of a network by POSTECH: `srn-color`, trained on really blurred photos.

    Args:
        name: Name of the model in this catalog.
        folder: Folder of the checkpoint, as the authors' README names it.
        training_data: The photos that it was trained on.
        good_at: Content of these photos.
        page: The authors' repository, whose README links to the weights.
    """
    return Model(
        name=name,
        config=SRNConfig(channels=3),
        parameters=6_881_251,
        file=folder,
        size=None,
        sha256=None,
        license="none stated for the weights; MIT for the code of SRN",
        training_data=training_data,
        source=f"Rim et al.; {page}",
        good_at=good_at,
        bad_at="speed: 6 times as slow as srn-compact; otherwise not tested by this project",
        page=page,
    )


_REALBLUR, _RSBLUR = "https://github.com/rimchang/RealBlur", "https://github.com/rimchang/RSBlur"

MODELS = {
    model.name: model
    for model in (
        Model(
            name="srn-compact",
            config=SRNConfig(kernel=3, recurrent=True, unshuffle=2, residual=True, resample="area"),
            parameters=3_771_980,
            file="srn-compact.safetensors",
            size=7_552_024,
            sha256="8a5fd647a7eec8f19034a791ca2158d51e9496ac99818950c206df604ebc264e",
            license="MIT",
            training_data="photos and video frames under CC0, CC BY, CC BY-SA, GPL and LGPL, "
            "frames of GoPro and REDS (CC BY 4.0) among them; weights/README.md lists them",
            source="the authors of unblur; weights/README.md describes the training",
            good_at="camera shake and motion, on a CPU",
            bad_at="focus blur, streaks longer than 30 pixels",
        ),
        _published(
            "srn-color",
            SRNConfig(channels=3),
            6_881_251,
            good_at="colour, low light and noise",
            bad_at="fine detail, least sharp of the three; 6 times as slow as srn-compact",
        ),
        _published(
            "srn-gray",
            SRNConfig(channels=1),
            6_876_449,
            good_at="fine detail, the sharpest of the three",
            bad_at="colour, which may ring at edges; about 20 times as slow as srn-compact",
        ),
        _published(
            "srn-lstm",
            SRNConfig(channels=1, recurrent=True),
            8_056_609,
            good_at="strong blur: the network of the paper, with its best figures",
            bad_at="colour, which may ring at edges; 25 times as slow as srn-compact",
        ),
        _real_blur(
            "srn-realblur-j",
            "RealBlurJ_pre_trained+GOPRO+BSD500",
            "RealBlur-J (ECCV 2020, CC BY 4.0), after and with GoPro and blurred BSD500",
            "camera shake in low light, in JPEG photos as cameras write them",
            _REALBLUR,
        ),
        _real_blur(
            "srn-realblur-r",
            "RealBlurR_pre_trained+GOPRO+BSD500",
            "RealBlur-R (ECCV 2020, CC BY 4.0), after and with GoPro and blurred BSD500",
            "camera shake in low light, in photos developed from camera RAW",
            _REALBLUR,
        ),
        _real_blur(
            "srn-rsblur",
            "SRN-Deblur_RSBlur_real",
            "the real photos of RSBlur (ECCV 2022, CC BY 4.0)",
            "real motion blur; 32.53 dB on the test photos of RSBlur, according to its authors",
            _RSBLUR,
        ),
    )
}
DEFAULT_MODEL = NetworkOptions.model


def find_weights(model: str) -> Path:
    """Return the weights file of a model, given by its name or by the file's path.

    Raises:
        WeightsError: If there is no such model or file.
    """
    known = MODELS.get(model)
    if known and known.is_embedded:
        return _find_embedded(known)
    problem = None
    if is_model_name(model):
        try:
            if is_installed(model):
                return installed_path(model)
        except WeightsError as error:
            problem = error
    if known:
        raise problem or WeightsError(f"{model} is not on this machine yet; {repair_hint(model)}")
    path = Path(model)
    with errors_as_weights_errors(path):
        if is_regular(path):
            return path
    if problem:
        raise problem
    names = ", ".join([*MODELS, *imported_models()])
    raise WeightsError(f"{model}: neither a model's name ({names}) nor a weights file")


def is_model_name(text: str) -> bool:
    """Return whether a text is a valid name for a model and for its file."""
    return _NAME.fullmatch(text) is not None


def installed_path(name: str) -> Path:
    """Return the path of a downloaded or imported model; the file may be missing."""
    return models_folder() / f"{name}{WEIGHTS_SUFFIX}"


def is_installed(name: str) -> bool:
    """Return whether a model is in the models folder.

    Raises:
        WeightsError: If the folder may not be entered.
    """
    path = installed_path(name)
    with errors_as_weights_errors(path):
        return is_regular(path)


def imported_models() -> list[str]:
    """Return the sorted names of models in the models folder that are not in the catalog.

    A folder that may not be entered has none.
    """
    folder = models_folder()
    found = folder.glob(f"*{WEIGHTS_SUFFIX}") if certainly(is_folder, folder) else ()
    names = {path.name.removesuffix(WEIGHTS_SUFFIX) for path in found}
    return sorted(name for name in names - MODELS.keys() if is_model_name(name))


def repair_hint(model: str | Path) -> str:
    """Return advice on how to get or repair the weights of a model or file."""
    path = Path(model)
    if path.parent == models_folder():
        model = path.name.removesuffix(WEIGHTS_SUFFIX)
    known = MODELS.get(str(model))
    if known and known.is_embedded:
        return "to repair it, run: pip install --force-reinstall --no-deps unblur"
    if known and known.page:
        return (
            f"to get it, download {known.file} from {known.page} with a browser, and run: "
            f"unblur models import FILE --name {known.name}"
        )
    if known:
        return f"to get it, run: unblur models download {known.name}"
    if is_model_name(str(model)) and path.parent == models_folder():
        return f"to repair it, run: unblur models import FILE --name {model}"
    if path.suffix in (".zip", ".pt", ".pth", ".index"):
        return f"to use it, run: unblur models import {path}"
    return "copy it once more from where it came from"


@contextlib.contextmanager
def errors_as_weights_errors(path: Path, advises: bool = False) -> Iterator[None]:
    """Raise other errors as `WeightsError`, with the path, and for `ValueError` perhaps advice."""
    try:
        yield
    except OSError as error:
        raise WeightsError(f"{path}: {describe_os_error(error)}") from error
    except PhotoError as error:
        raise WeightsError(f"{path}: {error}") from error
    except ValueError as error:
        advice = f"; {repair_hint(path)}" if advises else ""
        raise WeightsError(f"{path}: {error}{advice}") from error


def _find_embedded(model: Model) -> Path:
    """Return a model's file in the installed package, or in the source tree beside it."""
    package = Path(__file__).parents[1]
    places = (package / "data" / model.file, package.parents[1] / "weights" / model.file)
    path = next((place for place in places if place.is_file()), None)
    if path is not None:
        return path
    archive = next((parent for parent in package.parents if parent.is_file()), None)
    if archive:  # Python runs programs in zip files, but PyTorch reads no weights there
        raise WeightsError(
            f"{model.file} cannot be read inside the archive {archive}: unpack the archive, or "
            "install it with pip"
        )
    raise WeightsError(f"{model.file} is missing; {repair_hint(model.name)}")
