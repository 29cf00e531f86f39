"""Deblur photos in a worker, a process on a node of a Ray cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Semaphore
from typing import TYPE_CHECKING, Any, TypeVar

import ray

from unblur.errors import DeviceError, PhotoError, UnblurError, UsageError
from unblur.models.device_caches import keep_gpu_list
from unblur.models.loading import load_deblurrer
from unblur.network import vulkan
from unblur.network.device_kinds import CPU
from unblur.network.openmp import import_torch
from unblur.options import NetworkOptions, Options
from unblur.run import load_step, network_step, write_step
from unblur.run.comparing import drawing_bytes
from unblur.run.jobs import Job
from unblur.run.load_step import LoadedPhoto
from unblur.run.memory_queue import MemoryQueue, Slot
from unblur.run.report import NOTHING_USED, Outcome, outcome_of_error
from unblur.run.threads import ThreadPool
from unblur.run.write_step import FinishedPhoto
from unblur.storage import files, objects
from unblur.storage.places import FileState
from unblur.storage.targets import EXISTS
from unblur.version import __version__

if TYPE_CHECKING:
    from unblur.network.deblurrer import NetworkDeblurrer
    from unblur.network.srn import SRN

E = TypeVar("E", bound=UnblurError)

Shape = dict[str, float]
"""Resources of a worker by Ray's names: ``num_cpus``, and ``num_gpus`` for a GPU that Ray
counts."""


class Worker:
    """Holds the network, and deblurs photos with two calls for each; runs as a Ray actor.

    Args:
        network: A list with the network in Ray's object store. Outside a list, Ray would import
            PyTorch for the network before `import_torch` is called.
        options: The user's options.
        shape: Resources of the worker.
        settings: See `unblur.run.runner.Session`.
    """

    def __init__(
        self,
        network: list[ray.ObjectRef[SRN]],
        options: Options,
        shape: Shape,
        settings: str = "",
    ) -> None:
        import_torch()
        self._network, self._options = network, options
        self._settings, self._shape = settings, shape
        # A single thread runs the network: PyTorch starts new threads for each thread that does.
        self._computing = ThreadPool(1, "network")
        self._memory = MemoryQueue()
        self._finished: dict[int, FinishedPhoto] = {}
        self._warnings: list[str] = []

    def prepare(self, version: str, samples: list[Path]) -> dict[str, Any] | UnblurError:
        """Load the network, and check that this node can read the driver's photos.

        Args:
            version: Version of unblur that the driver runs.
            samples: Some of the photos.

        Returns:
            Device, engine and tile; or the reason why the worker cannot be used.
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
        return self._named(reason)

    def _named(self, reason: E) -> E:
        """Return an error with this node's address."""
        return type(reason)(f"the worker on {ray.util.get_node_ip_address()}: {reason}")

    def _load_network(self) -> dict[str, Any]:
        options, cores = self._options.network, int(self._shape["num_cpus"])
        chosen = replace(
            options,
            device=_own_device(options, self._shape),
            threads=(cores or "auto") if options.threads == "auto" else options.threads,
        )
        self._deblurrer: NetworkDeblurrer = load_deblurrer(
            ray.get(self._network[0]),
            chosen,
            is_named=options.device != "auto",
            reserved=drawing_bytes(self._options),
            warn=self._warnings.append,
        )
        # Beside a GPU, the next photo is there before the result of the one before has come back.
        self._turns = Semaphore(1 if self._deblurrer.kind is CPU else 2)
        return self._deblurrer.used

    def start(self, number: int, job: Job, source: FileState | None) -> Outcome:
        """Deblur a photo and write the result to a temporary file.

        Args:
            number: Number of the photo in later calls of `publish` or `discard`.
            job: The job, with absolute paths.
            source: State that the photo must have; ``None``: not checked.

        Returns:
            The outcome. With the status "done", the result waits for `publish`.

        Raises:
            DeviceError: If the device is lost, so that the worker can no longer be used.
        """
        slot, is_loaded = self._memory.join(), False
        try:
            loaded = self._load(job, source, slot)
            is_loaded = True
            self._finished[number] = self._finish(loaded)
        except DeviceError as error:
            raise self._named(error) from error
        except Exception as error:  # a bug with one photo must not lose the others
            used = self._deblurrer.used if is_loaded else NOTHING_USED
            return replace(outcome_of_error(job, error), used=used)
        finally:
            slot.leave()
        return self._finished[number].outcome

    def _load(self, job: Job, source: FileState | None, slot: Slot) -> LoadedPhoto:
        assert job.target is not None
        if not job.replaces and objects.state_of(job.target):
            raise PhotoError(EXISTS.format(job.target))
        with slot.decoding():
            loaded = load_step.load(job, self._options)
        if source is not None and loaded.state != source:
            raise PhotoError("changed meanwhile: a result may be there; run again")
        return loaded

    def _finish(self, loaded: LoadedPhoto) -> FinishedPhoto:
        with self._turns:
            run = self._computing.submit(network_step.start, loaded, self._deblurrer).result()
            pixels, used = self._computing.submit(run.result).result()
        loaded = run.loaded
        del run  # and a panorama's wider copy
        finished = write_step.finish(loaded, pixels, self._options, self._settings)
        warnings, self._warnings[:] = tuple(self._warnings), []
        outcome = replace(finished.outcome, notes=finished.outcome.notes + warnings, used=used)
        return replace(finished, outcome=outcome)

    def discard(self, number: int) -> None:
        """Delete an unpublished result."""
        with self._finished.pop(number):
            pass

    def publish(self, number: int) -> Outcome:
        """Rename a result to its target, and return the final outcome."""
        finished = self._finished.pop(number)
        try:
            return write_step.publish(finished)
        except Exception as error:  # a bug with one photo must not lose the others
            return outcome_of_error(finished.outcome.job, error)


def uses_gpu(options: NetworkOptions, shape: Shape) -> bool:
    """Return whether a worker computes on a GPU; Ray counts only some GPUs with Vulkan."""
    return options.device == "vulkan" or bool(shape.get("num_gpus"))


def _own_device(options: NetworkOptions, shape: Shape) -> str:
    """Return the name of a worker's device on its node."""
    if options.device != "vulkan":
        return "cuda" if uses_gpu(options, shape) else "cpu"
    assigned = ray.get_gpu_ids() if shape.get("num_gpus") else []
    keep_gpu_list()
    real = [gpu for gpu in vulkan.find_gpus() if not gpu.is_software]
    return vulkan_name([str(gpu) for gpu in assigned], len(real))


def vulkan_name(assigned: list[str], count: int) -> str:
    """Return the name of a worker's GPU with Vulkan.

    CUDA and Vulkan may number GPUs differently. But if Ray gives each worker a different number,
    each worker gets a different GPU.

    Args:
        assigned: GPUs that Ray assigned to the worker, by number or by another name; or none.
        count: Number of GPUs that Vulkan finds on the worker's node.
    """
    if count < 2 or not assigned or not assigned[0].isdigit():
        return "vulkan"
    return f"vulkan:{int(assigned[0]) % count}"
