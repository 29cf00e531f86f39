"""The networks that are known by name, and where their weights are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unblur.errors import WeightsError


@dataclass(frozen=True)
class Model:
    """A network with weights that come with the program."""

    name: str
    file: str
    """Name of the weights file."""
    summary: str
    """What it is good and bad at."""
    license: str


MODELS = {
    model.name: model
    for model in (
        Model(
            name="srn-compact",
            file="srn-compact.safetensors",
            summary="camera shake and motion; small enough for a CPU; not for focus blur",
            license="MIT",
        ),
    )
}
DEFAULT_MODEL = "srn-compact"


def find_weights(model: str) -> Path:
    """Return the weights file of a model's name, or of a path.

    Raises:
        WeightsError: If there is no such model or file.
    """
    if model in MODELS:
        path = _shipped(MODELS[model].file)
        if path is None:
            raise WeightsError(f"{MODELS[model].file} is missing from this installation: reinstall")
        return path
    path = Path(model)
    if path.is_file():
        return path
    known = ", ".join(MODELS)
    raise WeightsError(f"{model}: neither a model's name ({known}) nor a weights file")


def _shipped(file: str) -> Path | None:
    """Find a file inside the installed package, or in the source tree beside it."""
    package = Path(__file__).parent
    places = (package / "data" / file, package.parents[1] / "weights" / file)
    return next((place for place in places if place.is_file()), None)
