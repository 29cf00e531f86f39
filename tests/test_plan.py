from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from unblur.errors import UsageError
from unblur.options import Options
from unblur.run.history import History
from unblur.run.plan import make_plan
from unblur.storage import files

JPEG_BYTES, PNG_BYTES = b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(JPEG_BYTES)
    return path


@pytest.fixture
def plan(tmp_path):
    """Plan some paths without any history."""
    with History(tmp_path / "history.sqlite3") as history:
        yield (
            lambda *paths, **options: (
                make_plan(map(str, paths), Options(**options), history, "settings").jobs
            )
        )


def test_a_result_lies_beside_its_photo(photo, plan):
    assert plan(photo)[0].target == photo.with_name("photo-unblurred.jpg")


@pytest.mark.parametrize(
    ("name", "content", "result"),
    [
        ("a.JPG", JPEG_BYTES, "a-unblurred.JPG"),
        ("a.b.jpeg", JPEG_BYTES, "a.b-unblurred.jpeg"),
        ("lies.png", JPEG_BYTES, "lies-unblurred.jpg"),
        ("lies.jpg", PNG_BYTES, "lies-unblurred.png"),
        ("no_ending", JPEG_BYTES, "no_ending-unblurred.jpg"),
        ("[b] \n图片.png", PNG_BYTES, "[b] \n图片-unblurred.png"),
    ],
)
def test_the_ending_of_a_result_tells_its_content(tmp_path, name, content, result, plan):
    (tmp_path / name).write_bytes(content)
    assert plan(tmp_path / name)[0].target == tmp_path / result


def test_below_a_folder_each_photo_is_opened_once(tmp_path, plan, monkeypatch):
    opened = []

    def record(path, size):
        opened.append(path.name)
        return read_header(path, size)

    read_header = files.read_header
    monkeypatch.setattr(files, "read_header", record)
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "lies.png"):
        (folder / name).write_bytes(JPEG_BYTES)
    jobs = plan(folder, recursive=True)
    assert [job.target.name for job in jobs] == ["a-unblurred.jpg", "lies-unblurred.jpg"]
    assert opened == ["a.jpg", "lies.png"]


def test_into_a_folder_results_keep_their_names(photo, tmp_path, plan):
    assert (
        plan(photo, output=f"{tmp_path}/new/")[0].target == tmp_path / "new" / "photo-unblurred.jpg"
    )


def test_a_file_can_be_named(photo, tmp_path, plan):
    assert plan(photo, output=str(tmp_path / "sharp.jpg"))[0].target == tmp_path / "sharp.jpg"


def test_streams_have_no_path(plan):
    job = plan("-")[0]
    assert (job.source, job.target) == (None, None)


def test_standard_input_can_go_to_a_file(tmp_path, plan):
    assert plan("-", output=str(tmp_path / "a.jpg"))[0].target == tmp_path / "a.jpg"


def test_a_photo_can_go_to_standard_output(photo, plan):
    assert plan(photo, output="-")[0].target is None


def test_several_photos_need_a_folder(photo, plan):
    with pytest.raises(UsageError, match="name a folder"):
        plan(str(photo), "other.jpg", output="one.jpg")


def test_standard_input_has_no_name_in_a_folder(tmp_path, plan):
    with pytest.raises(UsageError, match="no file name"):
        plan("-", output=str(tmp_path))


def test_two_photos_with_one_result_are_found_before_work_starts(tmp_path, plan):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "photo.jpg").write_bytes(JPEG_BYTES)
    paths = tuple(str(tmp_path / folder / "photo.jpg") for folder in ("a", "b"))
    first, second = plan(*paths, output=f"{tmp_path}/out/")
    assert first.problem is None
    assert paths[0] in second.problem


@pytest.mark.parametrize("source_first", [True, False])
def test_a_photo_of_the_run_is_never_replaced_by_the_result_of_another(photo, plan, source_first):
    other = photo.with_name("photo-unblurred.jpg")
    other.write_bytes(JPEG_BYTES)
    named = [photo, other] if source_first else [other, photo]
    jobs = {job.source: job for job in plan(*named, on_existing="overwrite")}
    assert jobs[photo].problem == f"{other} would be replaced, but is itself a photo of this run"
    assert jobs[other].problem is None


def test_photos_in_place_are_no_collision(photo, plan):
    other = photo.with_name("other.jpg")
    other.write_bytes(JPEG_BYTES)
    assert [job.problem for job in plan(photo, other, in_place=True)] == [None, None]


@pytest.mark.parametrize("options", [{}, {"in_place": True}, {"output": "out/"}])
def test_a_photo_that_is_named_twice_is_done_once(photo, plan, options):
    again = photo.parent / ".." / photo.parent.name / photo.name
    first, second = plan(photo, again, **options)
    assert (first.problem, first.skip) == (None, None)
    assert (second.problem, second.skip) == (None, "named twice")


def test_a_path_that_is_empty_is_not_the_folder_where_one_is(plan):
    with pytest.raises(UsageError, match="a path is empty"):
        plan("", recursive=True)
    with pytest.raises(UsageError, match="--output is empty"):
        plan("photo.jpg", output="")


def test_a_list_that_was_made_for_null_is_told_by_it(plan):
    with pytest.raises(UsageError, match="use -0"):
        plan("a.jpg\0b.jpg")


def test_names_without_room_for_a_suffix_are_told_and_no_endless_task(tmp_path, plan):
    with pytest.raises(UsageError, match="--suffix has more than 100 bytes"):
        plan("photo.jpg", suffix="x" * 101)
    path = tmp_path / ("a." + "b" * 250)
    path.write_bytes(b"no photo")
    assert plan(path)[0].source == path


def test_the_address_of_a_file_is_its_path(tmp_path, plan):
    path = tmp_path / "a photo #1.jpg"
    path.write_bytes(JPEG_BYTES)
    assert path.as_uri() != f"file://{path}"
    assert plan(path.as_uri())[0].target == path.with_name("a photo #1-unblurred.jpg")


@pytest.mark.posix
@pytest.mark.parametrize("on_existing", ["error", "overwrite"])
def test_a_device_is_never_replaced(photo, tmp_path, plan, on_existing):
    os.mkfifo(tmp_path / "pipe.jpg")
    for device in (tmp_path / "pipe.jpg", "/dev/null"):
        problem = plan(photo, output=str(device), on_existing=on_existing)[0].problem
        assert problem == f"{device} is not a regular file; use - for standard output"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names of files")
def test_the_name_of_an_open_file_is_never_replaced(photo, tmp_path, plan):
    with (tmp_path / "open.jpg").open("wb") as file:
        name = f"/dev/fd/{file.fileno()}"
        problem = plan(photo, output=name, on_existing="overwrite")[0].problem
    assert problem == f"{name} is not a regular file; use - for standard output"


def test_an_existing_result_is_a_problem_unless_it_may_be_replaced(photo, plan):
    photo.with_name("photo-unblurred.jpg").write_bytes(b"earlier")
    assert "--overwrite" in plan(photo)[0].problem
    assert plan(photo, on_existing="overwrite")[0].problem is None


@pytest.mark.parametrize("policy", ["error", "skip", "overwrite"])
def test_the_original_is_never_the_result(photo, plan, policy):
    link = photo.with_name("link.jpg")
    link.symlink_to(photo)
    assert "original" in plan(photo, output=str(link), on_existing=policy)[0].problem


@pytest.mark.parametrize(
    ("path", "problem"), [("missing.jpg", "no such file"), (str(Path.cwd()), "is a folder")]
)
def test_what_is_no_file_is_a_problem(path, problem, plan):
    assert problem in plan(path)[0].problem
