"""Examine an installation and its machine for `unblur doctor`, without printing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from unblur import config
from unblur.config import NO_HOME, config_file, history_file, models_folder
from unblur.errors import RAISE_LIMIT, ExitCode, WeightsError
from unblur.models.catalog import DEFAULT_MODEL, MODELS, find_weights, imported_models
from unblur.models.weights import load_network, open_model
from unblur.network.gpus import INSTALL_PAGE, Gpu, find_gpus, install_command
from unblur.network.openmp import import_torch
from unblur.network.thread_limit import startable_threads, starts_threads
from unblur.run.target_checks import problem_of_target
from unblur.storage.files import certainly, exists
from unblur.storage.objects import state_of
from unblur.user_text import one_line
from unblur.version import __version__

if TYPE_CHECKING:
    from unblur.network.examination import PyTorch
    from unblur.network.srn import SRN

LIBRARIES = {"torch": "torch", "Pillow": "pillow", "numpy": "numpy"}
"""Libraries that results depend on most: name to show, and name of the package."""
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+).*extra\s*==\s*['\"]([A-Za-z0-9._-]+)['\"]")
_TELLING_VARIABLES = (
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "PYTORCH_ENABLE_MPS_FALLBACK",
)


@dataclass(frozen=True)
class Extra:
    """An optional package."""

    name: str
    """The extra: ``unblur[name]``."""
    package: str
    version: str | None
    """``None`` if it is not installed."""


@dataclass(frozen=True)
class ModelFile:
    """Weights of a model."""

    name: str
    path: str | None
    """``None`` if they are not on this machine."""
    size: int | None
    """In bytes."""
    problem: str | None
    """Why the weights cannot be used; ``None`` if they can."""


@dataclass(frozen=True)
class Settings:
    """The settings that a run finds in the environment and in the configuration."""

    configuration: Path
    """The configuration file, which may be missing."""
    history: Path
    """The record of results, which may be missing."""
    problem: str | None = None
    """Why a run refuses the settings; ``None`` if it takes them."""


@dataclass(frozen=True)
class Examination:
    """All results of `examine`."""

    unblur: str
    """Version of unblur."""
    installed_in: str
    python: str
    system: str
    libraries: dict[str, str | None]
    extras: tuple[Extra, ...]
    environment: dict[str, str]
    """Environment variables that influence runs."""
    gpus: tuple[Gpu, ...]
    """GPUs that the system reports, usable by PyTorch or not."""
    pytorch: PyTorch | None
    """``None`` if it cannot be imported."""
    pytorch_problem: str | None
    """Why it cannot be imported."""
    models: tuple[ModelFile, ...]
    """Empty if PyTorch is missing."""
    models_folder: str
    """Folder of downloaded and imported models; it may be missing."""
    configuration: str
    """Path of the configuration file; it may be missing."""
    has_configuration: bool
    configuration_problem: str | None
    """Why runs refuse the settings of the environment and the configuration; ``None`` if they take
    them."""
    history: str
    """Path of the record of results; it may be missing."""
    has_history: bool
    history_problem: str | None
    """Why the record of results cannot be written; ``None`` if it can."""
    startable_threads: int | None
    """How many more threads the system starts; ``None``: as many as a run may have."""
    self_tests: str
    """Path of the remembered results of self-tests; it may be missing."""


@dataclass(frozen=True)
class Finding:
    """A problem, or advice."""

    text: str
    command: str = ""
    """Command that solves the problem; or empty."""
    exit_code: ExitCode = ExitCode.OK
    """Exit code of the problem; `ExitCode.OK` for advice."""


def examine(settings: Settings | None = None) -> Examination:
    """Examine everything, and test each device.

    Args:
        settings: The settings of runs; ``None``: those of a user who has set nothing.
    """
    pytorch, pytorch_problem = None, _import_pytorch()
    models: tuple[ModelFile, ...] = ()
    if not pytorch_problem:
        default, network = _examine_model(DEFAULT_MODEL)
        others = [name for name in (*MODELS, *imported_models()) if name != DEFAULT_MODEL]
        models = (default, *(_examine_model(name)[0] for name in others))
        pytorch = _examine_pytorch(network)
    settings = settings or Settings(config_file(), history_file())
    return Examination(
        unblur=__version__,
        installed_in=str(Path(__file__).parent),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        system=f"{platform.system()} {platform.release()} ({platform.machine()})",
        libraries={name: _version(package) for name, package in LIBRARIES.items()},
        extras=find_extras(),
        environment=_environment(),
        gpus=find_gpus(),
        pytorch=pytorch,
        pytorch_problem=pytorch_problem,
        models=models,
        models_folder=_shown(models_folder()),
        configuration=_shown(settings.configuration),
        has_configuration=certainly(exists, settings.configuration),
        configuration_problem=settings.problem,
        history=_shown(settings.history),
        has_history=certainly(exists, settings.history),
        history_problem=_history_problem(settings.history),
        startable_threads=None if starts_threads() else startable_threads(),
        self_tests=_shown(config.self_tests_file()),
    )


def find_extras() -> tuple[Extra, ...]:
    """Return the extras in the metadata of the installed package."""
    try:
        requirements = importlib.metadata.requires("unblur") or []
    except importlib.metadata.PackageNotFoundError:  # run from its source
        return ()
    matches = [match for text in requirements if (match := _REQUIREMENT.match(text))]
    return tuple(Extra(match[2], match[1], _version(match[1])) for match in matches)


def findings(examination: Examination) -> list[Finding]:
    """Return the problems, and after them the advice."""
    found = _pytorch_problems(examination)
    problems = [model.problem for model in examination.models if model.problem]
    found += [Finding(problem, exit_code=ExitCode.WEIGHTS) for problem in problems]
    if examination.configuration_problem:
        found.append(Finding(examination.configuration_problem, exit_code=ExitCode.USAGE))
    if examination.history_problem:
        text = f"A second run will not recognise results: {examination.history_problem}."
        found.append(Finding(f"{text} Set HOME, or name a file with --history."))
    count = examination.startable_threads
    if count is not None:
        text = (
            f"The system starts at most {count} more threads, so runs take longer: {RAISE_LIMIT}."
        )
        found.append(Finding(text))
    return sorted(found, key=lambda finding: finding.exit_code is ExitCode.OK)


def _pytorch_problems(examination: Examination) -> list[Finding]:
    pytorch = examination.pytorch
    if pytorch is None:
        text = f"torch cannot be imported: {examination.pytorch_problem}"
        return [Finding(text, "pip install --force-reinstall torch", ExitCode.FAILED)]
    wrong = [
        Finding(
            f"device {device.name} failed its self-test: {device.problem}. "
            + ("Reinstall torch." if device.name == "cpu" else "Use --device cpu, and update "
               f"the driver and torch: {INSTALL_PAGE}"),
            exit_code=ExitCode.DEVICE,
        )
        for device in pytorch.devices
        if device.problem
    ]  # fmt: skip
    if pytorch.ncnn and pytorch.ncnn.problem:
        text = f"ncnn failed its self-test: {pytorch.ncnn.problem}. Use --engine torch, or run:"
        command = "pip install --upgrade --force-reinstall --no-deps ncnn"
        wrong.append(Finding(text, command, ExitCode.DEVICE))
    wrong += [
        Finding(f"{text}. Update the driver.", exit_code=ExitCode.DEVICE) for text in pytorch.missed
    ]
    return wrong + _unused_gpu(examination, pytorch)


def _unused_gpu(examination: Examination, pytorch: PyTorch) -> list[Finding]:
    """Return advice about a GPU that PyTorch does not use."""
    if not examination.gpus or any(
        device.name != "cpu" and device.is_automatic for device in pytorch.devices
    ):
        return []
    gpu = examination.gpus[0]
    hiding = [name for name in examination.environment if name.endswith("VISIBLE_DEVICES")]
    if hiding and pytorch.build != "CPU":
        text = f"There is an {gpu.maker} GPU, but torch sees none: {hiding[0]} may hide it."
        return [Finding(text)]
    if pytorch.warning:
        why = f"torch sees no GPU: {pytorch.warning}"
    elif pytorch.build == "CPU":
        why = "torch is a build for CPUs"
    else:
        why = f"torch, built for {pytorch.build}, does not see it"
    text = f"There is an {gpu.maker} GPU, but {why}. To use it, see {INSTALL_PAGE} or run:"
    return [Finding(text, install_command(gpu))]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _environment() -> dict[str, str]:
    """Return variables that influence runs; addresses, which may have passwords, become dots."""
    names = [name for name in sorted(os.environ) if name.startswith("UNBLUR_")]
    names += [name for name in _TELLING_VARIABLES if name in os.environ]
    return {name: "..." if "://" in os.environ[name] else os.environ[name] for name in names}


def _shown(place: Path) -> str:
    return "none: there is no home folder" if NO_HOME in place.parents else str(place)


def _history_problem(file: Path) -> str | None:
    """Return why the record of results cannot be written, without writing to it."""
    if NO_HOME in file.parents:
        return "there is no home folder"
    return problem_of_target(file, may_replace=True, look=state_of)


def _examine_model(name: str) -> tuple[ModelFile, SRN | None]:
    """Examine a model's weights; also return the network if the weights can be used."""
    try:
        path = find_weights(name)
    except WeightsError as error:
        has_to_be_here = name in MODELS and MODELS[name].is_embedded
        return ModelFile(name, None, None, str(error) if has_to_be_here else None), None
    file = ModelFile(name, str(path), path.stat().st_size, None)
    try:
        return file, load_network(open_model(name))
    except WeightsError as error:
        return replace(file, problem=str(error)), None


def _import_pytorch() -> str | None:
    """Return why PyTorch cannot be imported; ``None`` if it can."""
    try:
        import_torch()
    except (ImportError, OSError) as error:  # on Windows, a DLL that cannot be loaded
        return one_line(error)
    return None


def _examine_pytorch(network: SRN | None) -> PyTorch:
    from unblur.models.device_caches import SelfTestCache, keep_gpu_list
    from unblur.network.examination import examine_pytorch

    keep_gpu_list()
    return examine_pytorch(network, SelfTestCache())
