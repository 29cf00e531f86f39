"""Run jobs on a Ray cluster: connect to it, and choose the workers.

The driver, the program that the user started, has the plan, the record and the report.
`unblur.run.ray_dispatch` sends photos to the workers.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import ray

from unblur.errors import DeviceError
from unblur.options import NetworkOptions
from unblur.run.jobs import Job
from unblur.run.ray_dispatch import Dispatcher
from unblur.run.ray_worker import Shape
from unblur.run.runner import Session
from unblur.user_text import one_line

if TYPE_CHECKING:
    from unblur.network.srn import SRN

CORES = 4
"""Default number of cores of a worker without a GPU."""
CONNECT_SECONDS = 10.0
"""Longest wait for the cluster to accept a connection, in seconds."""
LOCAL_STORE_BYTES = 128 << 20
"""Bytes of the object store of a cluster on this machine, which contains only the network."""


class RayRunner:
    """Runs jobs on a Ray cluster.

    Args:
        address: ``auto``, ``local``, ``host:port`` or ``ray://host:port``.
        load_network: Called once; each node gets a copy through Ray's object store.
        options: Options of the network; ``threads`` are the cores of a worker without a GPU.
        workers: Number of workers to start; ``None``: one for each free place in the cluster.
    """

    def __init__(
        self,
        address: str,
        load_network: Callable[[], SRN],
        options: NetworkOptions,
        workers: int | None,
    ) -> None:
        self._address, self._load_network = address, load_network
        self._options, self._workers = options, workers
        self._dispatcher: Dispatcher | None = None

    def __enter__(self) -> RayRunner:
        self._network = self._load_network()
        with _kept_signal_handlers():
            _connect(self._address)
        return self

    def __exit__(self, *unused: object) -> None:
        ray.shutdown()
        if self._dispatcher:
            self._dispatcher.sweep()

    def do(self, jobs: list[Job], session: Session) -> None:
        """Run jobs, see `unblur.run.runner.Runner`; raise `UnblurError` without a usable worker."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        shapes = choose_shapes(nodes, self._options, self._workers)
        network = ray.put(self._network)
        self._dispatcher = Dispatcher(jobs, session, network, shapes)
        try:
            self._dispatcher.run()
        finally:
            self._dispatcher.end()


def choose_shapes(
    nodes: Iterable[Shape], options: NetworkOptions, wanted: int | None = None
) -> list[Shape]:
    """Return the resources of each worker to start.

    Args:
        nodes: Resources of each node by Ray's names: ``CPU`` and ``GPU``.
        options: Where and how to run the network.
        wanted: Number of workers; ``None``: one for each free place on the nodes.

    Raises:
        DeviceError: If there is no room for a worker, and no number of workers was given.
    """
    nodes = list(nodes)
    cores = options.threads if isinstance(options.threads, int) else CORES
    with_gpu = [shape for node in nodes for shape in _on_gpus(node, options.device, cores)]
    # Ray gives workers only GPUs that PyTorch computes on.
    may_use_gpus = options.device == "auto" and options.engine != "ncnn"
    use_gpus = options.device in ("cuda", "vulkan") or (may_use_gpus and bool(with_gpu))
    shapes = with_gpu if use_gpus else [shape for node in nodes for shape in _on_cores(node, cores)]
    if wanted is None:
        if not shapes:
            raise DeviceError("the cluster has no GPU" if use_gpus else "the cluster has no cores")
        # If small workers came first, they might take the nodes that large ones need.
        return sorted(shapes, key=lambda shape: -shape["num_cpus"])
    # Workers that do not fit wait, which makes an autoscaler add nodes.
    usual: Shape = {"num_gpus": 1.0} if use_gpus and options.device != "vulkan" else {}
    further = shapes[-1] if shapes else usual | {"num_cpus": float(cores)}
    return (shapes + [further] * wanted)[:wanted]


def _on_gpus(node: Shape, device: str, most_cores: int) -> list[Shape]:
    """Return the resources of a worker for each GPU of a node.

    Ray does not count all GPUs with Vulkan: GPUs inside processors are missing. Without counted
    GPUs, one worker takes all cores of a node, so that no second worker uses the same GPU.
    """
    cores, gpus = int(node.get("CPU", 0)), int(node.get("GPU", 0))
    if gpus:
        return [{"num_gpus": 1.0, "num_cpus": float(min(most_cores, cores // gpus))}] * gpus
    return [{"num_cpus": float(cores)}] if cores and device == "vulkan" else []


def _on_cores(node: Shape, most_cores: int) -> list[Shape]:
    """Return the resources of a worker for each group of a node's cores."""
    cores = int(node.get("CPU", 0))
    workers = max(1, cores // most_cores)
    return [{"num_cpus": float(cores // workers)}] * workers if cores else []


def _connect(address: str) -> None:
    """Connect to a cluster, or start one on this machine; raise `DeviceError` on failure."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    options: dict[str, Any] = {"namespace": "unblur"}
    if not address.startswith("ray://"):
        options |= {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        options |= {"include_dashboard": False, "object_store_memory": LOCAL_STORE_BYTES}
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray sends no usage statistics
        # Otherwise Ray would create an access token, and store it in the home folder.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        _refuse_unreachable(address)
        ray.init(address, **options)
    except Exception as error:  # each kind of connection has its own errors
        reason = one_line(error)
        raise DeviceError(f"the Ray cluster {address} cannot be used: {reason}") from error


def _refuse_unreachable(address: str) -> None:
    """Raise `OSError` if no program answers at an address; Ray would retry for many minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()


@contextlib.contextmanager
def _kept_signal_handlers() -> Iterator[None]:
    """Restore the signal handlers that Ray replaces, so that signals end the run cleanly."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
