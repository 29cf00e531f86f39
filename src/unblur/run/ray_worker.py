"""The worker that deblurs photos on a node of a Ray cluster."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from unblur.errors import DeviceError, PhotoError, UnblurError, UsageError
from unblur.models.loading import limit_openmp_spinning, load_deblurrer
from unblur.options import Options
from unblur.run import work
from unblur.run.jobs import Job
from unblur.run.report import Outcome
from unblur.run.work import Finished, Result, attempt
from unblur.storage import files, objects
from unblur.storage.places import FileState
from unblur.version import __version__

if TYPE_CHECKING:
    from unblur.network.srn import SRN

Shape = dict[str, float]
"""Resources of a worker, as Ray names them: ``num_cpus`` and perhaps ``num_gpus``."""


class Worker:
    """Holds the network and deblurs photos, with two calls per photo; it runs as a Ray actor.

    Args:
        network: The network's place in Ray's object store; in a list, or Ray would
            fetch it and import PyTorch before threads are told not to spin.
        options: The options of the run.
        shape: Resources of the worker.
        settings: What a result depends on besides its photo; see `unblur.run.runner.Session`.
    """

    def __init__(
        self,
        network: list[ray.ObjectRef[SRN]],
        options: Options,
        shape: Shape,
        settings: str = "",
    ) -> None:
        limit_openmp_spinning()
        self._network, self._options = network, options
        self._settings, self._shape = settings, shape
        # One thread computes: PyTorch starts threads anew for each one that does.
        self._computing = ThreadPoolExecutor(1, "network")
        self._finished: dict[int, Finished] = {}
        self._warnings: list[str] = []

    def prepare(self, version: str, samples: list[Path]) -> dict[str, Any] | UnblurError:
        """Load the network, and look whether this node can do the driver's photos.

        Args:
            version: The driver's.
            samples: Some photos that the driver sees.

        Returns:
            Device and tile; or why the worker cannot be used.
        """
        try:
            if version != __version__:
                raise UsageError(f"it has unblur {__version__}, not {version}")
            if samples and not any(map(files.exists, samples)):
                raise UsageError(
                    f"it does not see {samples[0]}: all nodes need the same shared file system, "
                    "or photos in an object store"
                )
            return self._computing.submit(self._load_network).result()
        except UnblurError as error:
            reason: UnblurError = error
        except Exception as error:  # such as a library that is missing there
            reason = DeviceError(f"{type(error).__name__}: {error}")
        return type(reason)(f"the worker on {ray.util.get_node_ip_address()}: {reason}")

    def _load_network(self) -> dict[str, Any]:
        engine, cores = self._options.engine, int(self._shape["num_cpus"])
        engine = replace(
            engine,
            device="cuda" if self._shape.get("num_gpus") else "cpu",
            threads=(cores or "auto") if engine.threads == "auto" else engine.threads,
        )
        self._deblurrer = load_deblurrer(
            ray.get(self._network[0]),
            engine,
            reserved=work.drawing_bytes(self._options),
            warn=self._warnings.append,
        )
        return {"device": self._deblurrer.device.type, "tile": self._deblurrer.tile}

    def start(self, number: int, job: Job, source: FileState | None) -> Result | Outcome:
        """Do all of a photo but the last step.

        Args:
            number: Names it to `publish`.
            job: With absolute paths.
            source: The state that the original must be in; ``None`` is any.

        Returns:
            The result, to be recorded; or the outcome, if there is none.
        """
        finished = attempt(job, lambda: self._finish(job, source))
        if isinstance(finished, Outcome):
            return finished
        self._finished[number] = finished
        return finished.result

    def _finish(self, job: Job, source: FileState | None) -> Finished | Outcome:
        assert job.target is not None
        if not job.replaces and objects.state_of(job.target):
            raise PhotoError(f"{job.target} exists; --overwrite replaces it")
        loaded = work.load(job, self._options)
        if isinstance(loaded, Outcome):
            return loaded
        if source is not None and loaded.state != source:
            raise PhotoError("changed meanwhile: a result may be there; run again")
        pixels = self._computing.submit(self._deblurrer, loaded.photo.pixels).result()
        finished = work.finish(loaded, pixels, self._options, self._settings)
        warnings, self._warnings[:] = tuple(self._warnings), []
        result = finished.result
        outcome = replace(result.outcome, notes=result.outcome.notes + warnings)
        return replace(finished, result=replace(result, outcome=outcome))

    def discard(self, number: int) -> None:
        """Throw a result away."""
        with self._finished.pop(number):
            pass

    def publish(self, number: int) -> Result | Outcome:
        """Give a result its name."""
        finished = self._finished.pop(number)
        return attempt(finished.result.outcome.job, lambda: work.publish(finished))
