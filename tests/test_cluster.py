"""Runs on a real cluster of two nodes on this machine."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path

import fsspec
import pytest
import torch
from click.testing import CliRunner
from conftest import make_jpeg

if sys.platform == "win32":
    pytest.skip("Ray's clusters of several nodes are for Linux and macOS", allow_module_level=True)
ray = pytest.importorskip("ray", reason="ray is not installed")

from ray.cluster_utils import Cluster  # noqa: E402

from unblur import __version__  # noqa: E402
from unblur.cli import main  # noqa: E402
from unblur.cli.console import Ui  # noqa: E402
from unblur.errors import DeviceError, UsageError  # noqa: E402
from unblur.models.weights import save_network  # noqa: E402
from unblur.network import ncnn_library  # noqa: E402
from unblur.network.config import SRNConfig  # noqa: E402
from unblur.network.srn import SRN  # noqa: E402
from unblur.network.vulkan_gpus import load_drivers  # noqa: E402
from unblur.options import NetworkOptions, Options  # noqa: E402
from unblur.pictures import compare  # noqa: E402
from unblur.run import ray_dispatch  # noqa: E402
from unblur.run.ray_runner import choose_shapes  # noqa: E402
from unblur.run.ray_worker import Worker, uses_gpu, vulkan_name  # noqa: E402
from unblur.run.report import Status  # noqa: E402

pytestmark = [  # older versions of Ray leave files open
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def cluster(s3_server):
    """Two nodes, whose workers reach the server for objects."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_TOKEN", os.urandom(32).hex())  # or Ray would keep one
        cluster = Cluster(initialize_head=True, head_node_args=NODE)
        cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
        yield cluster
        cluster.shutdown()


def write_library(folder, *names):
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(make_jpeg(200, 200))
    return folder


def files_in(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def statuses(result):
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return {Path(line["input"]).name: (line["status"], line["reason"]) for line in lines}


def test_a_cluster_does_what_one_machine_does(cluster, tmp_path, unblur, monkeypatch):
    library = write_library(tmp_path / "library", *(f"{n}.jpg" for n in range(5)))
    (library / "cut.jpg").write_bytes(make_jpeg()[:200])
    monkeypatch.chdir(tmp_path)  # the workers are elsewhere
    here = unblur("-r", "library", "-o", "here/", "--json")
    there = unblur("-r", "library", "-o", "there/", "--json", "--ray", cluster.address)
    assert (here.code, statuses(here)) == (there.code, statuses(there))
    assert there.code == 1
    assert files_in(Path("here")) == files_in(Path("there"))
    again = unblur("-r", "library", "-o", "there/", "--json")
    assert Counter(status for status, _ in statuses(again).values()) == {"skipped": 5, "failed": 1}


def test_workers_compute_as_the_network_is_told_to(cluster, tmp_path, unblur, monkeypatch):
    torch.manual_seed(1)
    save_network(SRN(SRNConfig(width=1, blocks=1, kernel=3, residual=True)), tmp_path / "model")
    library = write_library(tmp_path / "library", "a.jpg")
    monkeypatch.chdir(tmp_path)
    told, places = ("--views", "3", "--strength", "0.7"), ("plain/", "here/", "there/")
    for place, options in zip(places, [(), told, (*told, "--ray", cluster.address)], strict=True):
        assert unblur("-r", library, "-o", place, *options, model=tmp_path / "model").code == 0
    plain, here, there = (files_in(Path(place)) for place in places)
    assert there == here != plain


def test_workers_compute_with_ncnn(cluster, tmp_path, unblur, monkeypatch):
    pytest.importorskip("ncnn")
    torch.manual_seed(1)
    save_network(SRN(SRNConfig(width=8, blocks=1, kernel=3, residual=True)), tmp_path / "model")
    library = write_library(tmp_path / "library", "a.jpg")
    monkeypatch.chdir(tmp_path)
    run, there = ("-r", library, "--engine", "ncnn", "--json"), ("--ray", cluster.address)
    results = [
        unblur(*run, "-o", "here/", model=tmp_path / "model"),
        unblur(*run, "-o", "there/", *there, model=tmp_path / "model"),
    ]
    lines = [json.loads(result.stdout.splitlines()[0]) for result in results]
    assert [(line["status"], line["engine"]) for line in lines] == [("done", "ncnn")] * 2
    assert files_in(Path("here")) == files_in(Path("there"))


def test_workers_compute_on_the_gpus_with_vulkan_of_their_nodes(
    cluster, tmp_path, unblur, monkeypatch
):
    pytest.importorskip("ncnn")
    monkeypatch.setattr(ncnn_library, "has_ncnn", lambda: True)  # as it is for the workers
    if not load_drivers():
        pytest.skip("no driver for Vulkan is installed")
    torch.manual_seed(1)
    config = SRNConfig(width=4, levels=2, blocks=1, kernel=3, residual=True)
    save_network(SRN(config), tmp_path / "model")
    library = write_library(tmp_path / "library", "a.jpg")
    monkeypatch.chdir(tmp_path)
    run, there = ("-r", library, "--json"), ("--ray", cluster.address)
    results = [
        unblur(*run, "-o", "here/", model=tmp_path / "model", device="vulkan"),
        unblur(*run, "-o", "there/", *there, model=tmp_path / "model", device="vulkan"),
    ]
    lines = [json.loads(result.stdout.splitlines()[0]) for result in results]
    found = [tuple(line[key] for key in ("status", "device", "engine")) for line in lines]
    assert found == [("done", "vulkan", "ncnn")] * 2
    assert files_in(Path("here")) == files_in(Path("there"))


def test_what_workers_draw_is_on_the_page_and_beside_the_results(
    cluster, tmp_path, unblur, monkeypatch
):
    write_library(tmp_path / "library", "a.jpg", "b.jpg")
    monkeypatch.chdir(tmp_path)
    run = ("-r", "library", "--compare", "--ray", cluster.address)
    assert unblur(*run, "--report", "page.html").code == 0
    assert Path("page.html").read_text("utf-8").count('data-status="done"') == 2
    assert Path("page.html").read_text("utf-8").count("data:image/webp") == 8
    assert sorted(p.name for p in Path("library").glob("*.png")) == [
        "a-compared.png",
        "b-compared.png",
    ]
    assert "2 skipped" in unblur(*run).stderr


def test_what_replaced_its_photo_is_known_when_a_worker_has_read_it(
    cluster, tmp_path, unblur, brightening_weights
):
    library = write_library(tmp_path / "library", "a.jpg")
    run = ("-r", "--in-place", "--no-backup", "--ray", cluster.address)
    assert unblur(*run, library, model=brightening_weights).code == 0
    data = (library / "a.jpg").read_bytes()
    moved = tmp_path / "moved" / "b.jpg"
    moved.parent.mkdir()
    moved.write_bytes(data[:2] + b"\xff\xfe\0\x04hi" + data[2:])  # with a comment
    result = unblur(*run, moved.parent, "-v", model=brightening_weights)
    assert "b.jpg: skipped: already done" in result.stderr
    assert files_in(moved.parent) == {"b.jpg": moved.read_bytes()}


class Clumsy(Worker):
    """Cannot draw."""

    def start(self, number, job, source):
        def fail(pair):
            raise MemoryError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compare, "code_comparison", fail)
            return super().start(number, job, source)


def test_a_comparison_that_a_worker_cannot_draw_is_not_listed(
    cluster, tmp_path, unblur, monkeypatch
):
    library = write_library(tmp_path / "library", "a.jpg")
    monkeypatch.setattr(ray_dispatch, "Worker", Clumsy)
    result = unblur("-r", library, "--compare", "--json", "--ray", cluster.address)
    assert result.code == 0
    assert json.loads(result.stdout)["comparison"] is None
    assert "could not be compared with its result" in result.stderr
    assert "compared.png" not in result.stderr
    assert sorted(files_in(library)) == ["a-unblurred.jpg", "a.jpg"]


class Doomed(Worker):
    """A network that kills its process at some photos, always or once, and keeps a diary."""

    diary = Path()

    def note(self, act, job):
        with self.diary.open("a") as diary:
            print(act, job.source.name, file=diary)

    def is_first(self, name):
        try:
            (self.diary.parent / f"died-{name}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def start(self, number, job, source):
        self.note("start", job)
        if job.source.name == "deadly.jpg":
            os._exit(1)
        return super().start(number, job, source)

    def publish(self, number):
        job = self._finished[number].outcome.job
        if job.source.name == "before.jpg" and self.is_first("before"):
            self._finished[number].comparison.publish(replaces=False)  # which comes first
            os._exit(1)
        said = super().publish(number)
        self.note("publish", job)  # now: a worker that is killed before has published nothing
        if job.source.name == "after.jpg" and self.is_first("after"):
            os._exit(1)
        return said


def kill_a_worker():
    name = ray.util.list_named_actors()[0]
    ray.kill(ray.get_actor(name))


def remove_a_node(cluster):
    own = ray.get_runtime_context().get_node_id()  # without it a driver dies
    others = [node for node in cluster.worker_nodes if node.node_id != own]
    cluster.remove_node(others[0] if others else cluster.add_node(num_cpus=1))


@pytest.fixture(scope="module")
def eventful(cluster, tmp_path_factory, identity_weights):
    """A run that loses workers in every way and also a node; with its library, report and diary."""
    folder = tmp_path_factory.mktemp("eventful")
    names = [f"{n}.jpg" for n in range(10)] + ["after.jpg", "before.jpg", "deadly.jpg"]
    library = write_library(folder / "library", *names)
    events = {1: kill_a_worker, 4: lambda: remove_a_node(cluster)}
    outcomes = []

    def note(self, outcome):
        outcomes.append(outcome)
        events.get(len(outcomes), lambda: None)()

    options = [
        "-r",
        str(library),
        "--in-place",
        "--compare",
        "--ray",
        cluster.address,
        "--device",
        "cpu",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNBLUR_HISTORY", str(folder / "history.sqlite3"))
        patch.setattr(Ui, "outcome", note)
        patch.setattr(Doomed, "diary", folder / "diary")
        patch.setattr(ray_dispatch, "Worker", Doomed)
        result = CliRunner().invoke(main, [*options, "--model", str(identity_weights)])
    assert result.exit_code == 1
    cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    return library, outcomes, (folder / "diary").read_text().splitlines()


def test_lost_workers_and_nodes_lose_no_photo(eventful):
    _, outcomes, _ = eventful
    done = [o.job.source.name for o in outcomes if o.status is Status.DONE]
    assert sorted(done) == sorted([f"{n}.jpg" for n in range(10)] + ["after.jpg", "before.jpg"])


def test_a_photo_that_kills_its_workers_fails_in_the_end(eventful):
    _, outcomes, diary = eventful
    (failed,) = [o for o in outcomes if o.status is Status.FAILED]
    assert failed.job.source.name == "deadly.jpg"
    assert "3 workers died while they processed it" in failed.reason
    assert diary.count("start deadly.jpg") <= 3


def test_a_result_that_was_published_by_a_lost_worker_is_not_made_again(eventful):
    _, _, diary = eventful
    assert diary.count("publish after.jpg") == 1
    assert diary[diary.index("publish after.jpg") :].count("start after.jpg") == 0


def test_a_result_that_was_not_published_by_a_lost_worker_is_made_again(eventful):
    _, _, diary = eventful
    assert diary.count("start before.jpg") >= 2
    assert diary.count("publish before.jpg") == 1


def test_lost_workers_leave_no_unfinished_files(eventful):
    library, outcomes, _ = eventful
    assert len(outcomes) == 13
    # With the comparisons and the originals of what is done.
    assert len(files_in(library)) == 13 + 12 + 12


def test_an_interrupted_run_leaves_whole_results_that_the_next_one_skips(
    cluster, tmp_path, unblur, monkeypatch
):
    library = write_library(tmp_path / "library", *(f"{n:02}.jpg" for n in range(40)))
    settled = []
    real = Ui.outcome

    def interrupt_after_two(self, outcome):
        real(self, outcome)
        settled.append(outcome)
        if len(settled) == 2:
            threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()

    options = ["-r", library, "-o", f"{tmp_path}/out/"]
    with monkeypatch.context() as patch:
        patch.setattr(Ui, "outcome", interrupt_after_two)
        result = unblur(*options, "--ray", cluster.address)
    assert (result.code, result.stderr.splitlines()[-1]) == (130, "unblur: error: interrupted")
    results = files_in(tmp_path / "out")
    assert 2 <= len(results) < 40
    assert all(data.endswith(b"\xff\xd9") for data in results.values())
    assert f"{40 - len(results)} done, {len(results)} skipped, 0 failed" in unblur(*options).stderr


def test_workers_read_and_write_objects(cluster, s3_bucket, unblur):
    store = fsspec.filesystem("s3", use_listings_cache=False)
    for number in range(3):
        store.pipe_file(f"{s3_bucket}/in/{number}.jpg", make_jpeg())
    result = unblur("-r", f"{s3_bucket}/in", "-o", f"{s3_bucket}/out/", "--ray", cluster.address)
    assert result.code == 0
    listed = sorted(result.stdout.decode().splitlines())
    assert listed == [f"{s3_bucket}/out/{number}-unblurred.jpg" for number in range(3)]
    assert all(store.cat_file(url).endswith(b"\xff\xd9") for url in listed)
    again = unblur("-r", f"{s3_bucket}/in", "-o", f"{s3_bucket}/out/", "--ray", cluster.address)
    assert "0 done, 3 skipped" in again.stderr


class Blind(Worker):
    """Is on a node that does not see the driver's files."""

    def prepare(self, version, samples):
        return super().prepare(version, [Path("/nowhere/photo.jpg")])


def test_a_run_whose_workers_see_no_photo_ends_with_one_line(cluster, jpeg, unblur, monkeypatch):
    monkeypatch.setattr(ray_dispatch, "Worker", Blind)
    result = unblur(jpeg, "--ray", cluster.address, "--workers", "1")
    assert (result.code, len(result.stderr.splitlines())) == (2, 1)
    assert "does not see /nowhere/photo.jpg: all nodes need" in result.stderr


def test_a_cluster_without_the_device_is_exit_code_5(cluster, jpeg, identity_weights):
    options = [str(jpeg), "--ray", cluster.address, "--device", "cuda"]
    result = CliRunner().invoke(main, [*options, "--model", str(identity_weights)])
    assert (result.exit_code, len(result.stderr.splitlines())) == (5, 1)
    assert "has no GPU" in result.stderr


def test_a_cluster_that_is_not_there_is_exit_code_5(jpeg, unblur):
    result = unblur(jpeg, "--ray", "no-such-host.invalid:6379")
    assert (result.code, len(result.stderr.splitlines())) == (5, 1)
    assert "no-such-host.invalid:6379 cannot be used" in result.stderr


def test_a_worker_of_another_version_is_refused():
    worker = Worker([], Options(), {"num_cpus": 1})
    refusal = worker.prepare("0.0.1", [])
    assert isinstance(refusal, UsageError)
    assert f"has unblur {__version__}, not 0.0.1" in str(refusal)


def test_there_is_a_worker_for_each_gpu():
    nodes = [{"CPU": 16.0, "GPU": 2.0}, {"CPU": 2.0, "GPU": 1.0}, {"CPU": 8.0}, {"memory": 1.0}]
    four, two = {"num_gpus": 1.0, "num_cpus": 4.0}, {"num_gpus": 1.0, "num_cpus": 2.0}
    assert choose_shapes(nodes, NetworkOptions()) == [four, four, two]


def test_there_is_a_worker_for_each_group_of_cores():
    nodes = [{"CPU": 9.0, "GPU": 1.0}, {"CPU": 2.0}]
    assert choose_shapes(nodes, NetworkOptions(device="cpu")) == [{"num_cpus": 4.0}] * 2 + [
        {"num_cpus": 2.0}
    ]
    assert len(choose_shapes(nodes, NetworkOptions(device="cpu", threads=1))) == 11
    assert choose_shapes(nodes, NetworkOptions(engine="ncnn")) == choose_shapes(
        nodes, NetworkOptions(device="cpu")
    )


def test_where_ray_counts_no_gpu_one_worker_of_vulkan_has_the_node():
    nodes = [{"CPU": 2.0}, {"CPU": 16.0, "GPU": 2.0}, {"CPU": 8.0}, {"GPU": 0.0}]
    four = {"num_gpus": 1.0, "num_cpus": 4.0}
    options = NetworkOptions(device="vulkan")
    assert choose_shapes(nodes, options) == [{"num_cpus": 8.0}, four, four, {"num_cpus": 2.0}]
    assert choose_shapes([], options, 1) == [{"num_cpus": 4.0}]
    assert [uses_gpu(options, shape) for shape in ({"num_cpus": 2.0}, four)] == [True, True]
    assert not uses_gpu(NetworkOptions(), {"num_cpus": 2.0})


def test_each_worker_of_a_node_has_a_gpu_of_its_own():
    assert [vulkan_name([str(number)], 2) for number in range(4)] == ["vulkan:0", "vulkan:1"] * 2
    assert {vulkan_name([], 2), vulkan_name(["GPU-4f2c"], 2), vulkan_name(["1"], 1)} == {"vulkan"}


def test_more_workers_than_there_is_room_for_wait_for_nodes():
    assert choose_shapes([{"CPU": 4.0}], NetworkOptions(), 3) == [{"num_cpus": 4.0}] * 3
    gpu = {"num_gpus": 1.0, "num_cpus": 4.0}
    assert choose_shapes([], NetworkOptions(device="cuda"), 2) == [gpu] * 2


def test_a_cluster_with_no_room_at_all_is_told():
    with pytest.raises(DeviceError, match="no GPU"):
        choose_shapes([{"CPU": 4.0}], NetworkOptions(device="cuda"))
    with pytest.raises(DeviceError, match="no cores"):
        choose_shapes([], NetworkOptions())
