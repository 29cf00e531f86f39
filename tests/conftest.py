"""Shared fixtures: generated photos, networks that need no training, and ways to run the tool."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

# As the program does: read by OpenMP when PyTorch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import settings
from PIL import Image
from servers import Server

from unblur.network.vulkan_probe import InMainMemory
from unblur.storage import temporaries, waiting

if sys.version_info < (3, 11):  # pathlib keeps these functions, which tests replace

    def _found_late(module, name):
        return staticmethod(lambda *given, **named: getattr(module, name)(*given, **named))

    pathlib._NormalAccessor.open = _found_late(io, "open")
    for _name in (
        *("chmod", "link", "listdir", "mkdir", "readlink", "rename", "replace", "rmdir"),
        *("scandir", "stat", "unlink"),
    ):
        setattr(pathlib._NormalAccessor, _name, _found_late(os, _name))

# Shells let what they run in the background ignore Ctrl-C, which tests send to themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no reason for a test to fail.
settings.register_profile("unblur", deadline=None)
settings.load_profile("unblur")

SHARED = Path(__file__).parents[2] / "shared"
"""Reference files beside the repository; tests that need them are skipped without."""


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("posix") and sys.platform == "win32":
            item.add_marker(pytest.mark.skip(reason="needs what only POSIX systems have"))
        if item.get_closest_marker("shared") and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason=f"{SHARED} is not there"))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch, tmp_path_factory):
    for name in [name for name in os.environ if name.startswith("UNBLUR_")]:
        monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("COLUMNS", "LINES"):  # pytest-xdist sets them: no terminal would have its own size
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UNBLUR_HISTORY", str(tmp_path_factory.mktemp("data") / "history.sqlite3"))
    monkeypatch.setenv("UNBLUR_MODELS_DIR", str(tmp_path_factory.mktemp("models") / "models"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
    # One for all tests: the network of most tests is the same, and tested once.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def _compute_with_torch(monkeypatch):
    """Let tests expect PyTorch's roundings on every CPU; ``--engine ncnn`` still works."""
    monkeypatch.setattr("unblur.network.ncnn_library.has_ncnn", lambda: False)


@pytest.fixture(autouse=True)
def _no_stored_gpus(monkeypatch):
    monkeypatch.setattr("unblur.network.vulkan_probe._store", InMainMemory())


def make_pixels(height, width, channels=3, dtype=np.uint8, seed=0):
    """A smooth picture with some texture, (H, W, C)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (7 + 3 * c)) + np.cos(y / (5 + 2 * c)) for c in range(channels)]
    image = np.stack(waves, axis=-1) / 5 + 0.5 + rng.normal(0, 0.02, (height, width, channels))
    return (np.clip(image, 0, 1) * np.iinfo(dtype).max).astype(dtype)


def make_exif(orientation=6):
    """EXIF with an orientation and a block that only the camera's maker can read."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Zdjęcia & Söhne"
    exif[0x927C] = bytes(range(256))
    return exif.tobytes()


def encode_image(image, form, **options):
    """The bytes of a file in a format."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def make_jpeg(height=48, width=64, channels=3, **options):
    """The bytes of a JPEG photo."""
    pixels = make_pixels(height, width, channels)
    image = Image.fromarray(pixels if channels == 3 else pixels[..., 0])
    return encode_image(image, "JPEG", **{"quality": 90, "exif": make_exif()} | options)


def check_recoding(data, max_pixels=1_000_000):
    """Check that bytes are refused or coded again at the same size; return both photos, if any."""
    from unblur.errors import PhotoError
    from unblur.formats import any_format

    try:
        photo = any_format.decode(data, max_pixels)
    except PhotoError:
        return None
    again = any_format.decode(any_format.encode(photo, photo.pixels).data)
    assert again.pixels.shape == photo.pixels.shape
    return photo, again


def check_only_the_picture_changed(before, after):
    """Check that two AVIF or HEIF files differ only in the first picture's data."""
    assert before.items.keys() == after.items.keys()
    changed = [key for key in before.items if before.items[key].data != after.items[key].data]
    assert changed == [before.primary_id]
    assert before.references == after.references


@pytest.fixture
def jpeg(tmp_path):
    """A JPEG photo with EXIF and a colour profile."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(make_jpeg(icc_profile=b"a colour profile" * 50))
    return path


@pytest.fixture
def png(tmp_path):
    """A PNG photo."""
    path = tmp_path / "photo.png"
    path.write_bytes(encode_image(Image.fromarray(make_pixels(48, 64)), "PNG"))
    return path


@pytest.fixture(scope="session")
def identity_weights(tmp_path_factory):
    """Weights of a tiny real network that adds nothing to its input."""
    from fakes import unchanging_srn

    from unblur.models.weights import save_network

    path = tmp_path_factory.mktemp("weights") / "identity.safetensors"
    save_network(unchanging_srn(), path)
    return path


@pytest.fixture(scope="session")
def brightening_weights(tmp_path_factory):
    """Weights of a tiny real network that makes every photo brighter, each time it sees it."""
    from fakes import brightening_srn

    from unblur.models.weights import save_network

    path = tmp_path_factory.mktemp("weights") / "brightening.safetensors"
    save_network(brightening_srn(), path)
    return path


@contextlib.contextmanager
def open_database(path):
    """Open an SQLite file, and close it: `sqlite3.Connection` as a context only ends a change."""
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        yield database


@pytest.fixture
def deblur(unblur, brightening_weights):
    """Run the tool with a network that makes every photo brighter, each time it sees it."""
    return partial(unblur, model=brightening_weights)


@pytest.fixture
def brighter(monkeypatch):
    """Let the tool make photos brighter, so that a change shows."""
    import fakes

    network = fakes.on_cpu(fakes.Brighter())
    monkeypatch.setattr("unblur.cli.deblur._make_deblurrer", lambda *_: network)


@pytest.fixture
def server():
    """A local HTTP server; see `servers`."""
    running = Server()
    yield running
    running.close()


@dataclass(frozen=True)
class Result:
    """Exit code and output of a run of the tool."""

    code: int
    stdout: bytes
    stderr: str


@pytest.fixture
def unblur(identity_weights, capfdbinary):
    """Run the tool in this process, with a network that changes nothing."""
    from unblur.cli import main

    def run(*arguments, stdin=b"", model=identity_weights, device="cpu"):
        options = [str(a) for a in arguments] + ["--model", str(model), "--device", device]
        capfdbinary.readouterr()
        result = CliRunner().invoke(main, options, input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        # Results are written to the descriptor, past what the runner catches.
        listed = capfdbinary.readouterr().out
        return Result(result.exit_code, result.stdout_bytes + listed, result.stderr)

    return run


@pytest.fixture
def meanwhile(monkeypatch):
    """Call a function while the network is at work on a photo."""
    from unblur.network.deblurrer import NetworkDeblurrer

    def meanwhile(act):
        start = NetworkDeblurrer.start

        def start_slowly(*inputs):
            act()
            return start(*inputs)

        monkeypatch.setattr(NetworkDeblurrer, "start", start_slowly)

    return meanwhile


@pytest.fixture
def lock(monkeypatch):
    """Let nobody enter a folder, not by a link either; simulated since tests may run as root."""

    def lock(locked, link=None):
        def guarded(call):
            def checked(path, *rest, **named):
                is_path = isinstance(path, (str, os.PathLike))
                leads_in = is_path and Path(path) == link and call.__name__ != "lstat"
                if leads_in and named.get("follow_symlinks") is not False:
                    raise PermissionError(errno.EACCES, "Permission denied", str(path))
                if is_path and locked in Path(path).parents:
                    raise PermissionError(errno.EACCES, "Permission denied", str(path))
                return call(path, *rest, **named)

            return checked

        for module, names in ((os, ("stat", "lstat", "mkdir", "open", "scandir")), (io, ("open",))):
            for name in names:
                monkeypatch.setattr(module, name, guarded(getattr(module, name)))
        may = os.access
        monkeypatch.setattr(
            os, "access", lambda path, mode: Path(path) != locked and may(path, mode)
        )

    return lock


@pytest.fixture
def pass_hours(monkeypatch):
    """Put the file system's clock forward: no file can be made older than it is."""
    clock = temporaries.time_in

    def pass_hours(hours):
        monkeypatch.setattr(temporaries, "time_in", lambda folder: clock(folder) + 3600 * hours)

    return pass_hours


@pytest.fixture
def unblur_process(identity_weights):
    """Run the tool in a process of its own, with a network that changes nothing."""

    def run(*arguments, stdin=b"", model=identity_weights):
        options = [str(a) for a in arguments] + ["--model", str(model), "--device", "cpu"]
        process = subprocess.run(
            [sys.executable, "-m", "unblur", *options], input=stdin, capture_output=True
        )
        return Result(process.returncode, process.stdout, process.stderr.decode())

    return run


class PseudoTerminal:
    """A terminal that a thread reads until its end, and that may answer a question.

    A single read gives what has come through by then, 4 KiB at most.
    """

    def __init__(self, question=b"", answer=b""):
        self.question, self.answer = question, answer
        self.shown = b""
        self.controller, self.descriptor = os.openpty()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def close(self):
        """Wait until the thread has read all output of the programs."""
        os.close(self.descriptor)
        self._reader.join(timeout=10)
        os.close(self.controller)

    def _read(self):
        with contextlib.suppress(OSError):  # the last one to use the terminal has gone
            while data := os.read(self.controller, 65536):
                self.shown += data
                if self.question and self.question in self.shown:
                    os.write(self.controller, self.answer)
                    self.question = b""


@pytest.fixture(scope="session")
def s3_server():
    """A server that speaks S3, in this process."""
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    thread = server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    thread.start()
    host, port = thread.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        yield
    thread.stop()


@pytest.fixture(autouse=True)
def _quick_servers(monkeypatch):
    """Let no test wait for a server, and let it know no server that another test has given up."""
    quick = waiting.Patience(2, backoff_seconds=0, connect_seconds=5, silence_seconds=0.2)
    monkeypatch.setattr(waiting, "PATIENCE", quick)
    monkeypatch.setattr(waiting, "_given_up", set())


@pytest.fixture
def s3_bucket(s3_server):
    """The address of an empty bucket on a server."""
    import fsspec

    store = fsspec.filesystem("s3", use_listings_cache=False)
    bucket = f"bucket-{os.urandom(4).hex()}"
    store.mkdir(bucket)
    return f"s3://{bucket}"


@pytest.fixture
def allow_threads(monkeypatch):
    """Limit the number of further threads that the system starts."""
    from unblur.network.thread_limit import startable_threads

    start = threading.Thread.start

    def allow(count):
        started = []
        startable_threads.cache_clear()

        def start_one(thread):
            if sum(one.is_alive() for one in started) >= count:
                raise RuntimeError("can't start new thread")
            started.append(thread)
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", start_one)

    yield allow
    startable_threads.cache_clear()
