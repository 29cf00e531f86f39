from __future__ import annotations

from pathlib import Path

import pytest

from unblur.errors import UsageError
from unblur.plan import make_plan

JPEG_BYTES, PNG_BYTES = b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(JPEG_BYTES)
    return path


def plan_one(path, output=None, overwrite=False):
    return make_plan((str(path),), output, overwrite)[0]


def test_a_result_lies_beside_its_photo(photo):
    assert plan_one(photo).target == photo.with_name("photo-unblurred.jpg")


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
def test_the_ending_of_a_result_tells_its_content(tmp_path, name, content, result):
    (tmp_path / name).write_bytes(content)
    assert plan_one(tmp_path / name).target == tmp_path / result


def test_into_a_folder_results_keep_their_names(photo, tmp_path):
    assert plan_one(photo, f"{tmp_path}/new/").target == tmp_path / "new" / "photo-unblurred.jpg"


def test_a_file_can_be_named(photo, tmp_path):
    assert plan_one(photo, str(tmp_path / "sharp.jpg")).target == tmp_path / "sharp.jpg"


def test_streams_have_no_path():
    job = plan_one("-")
    assert (job.source, job.target) == (None, None)


def test_standard_input_can_go_to_a_file(tmp_path):
    assert plan_one("-", str(tmp_path / "a.jpg")).target == tmp_path / "a.jpg"


def test_a_photo_can_go_to_standard_output(photo):
    assert plan_one(photo, "-").target is None


def test_several_photos_need_a_folder(photo):
    with pytest.raises(UsageError, match="name a folder"):
        make_plan((str(photo), "other.jpg"), "one.jpg", False)


def test_standard_input_has_no_name_in_a_folder(tmp_path):
    with pytest.raises(UsageError, match="no name"):
        make_plan(("-",), str(tmp_path), False)


def test_two_photos_with_one_result_are_found_before_work_starts(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "photo.jpg").write_bytes(JPEG_BYTES)
    paths = tuple(str(tmp_path / folder / "photo.jpg") for folder in ("a", "b"))
    first, second = make_plan(paths, f"{tmp_path}/out/", False)
    assert first.problem is None
    assert paths[0] in second.problem


def test_an_existing_result_is_a_problem_unless_it_may_be_replaced(photo):
    photo.with_name("photo-unblurred.jpg").write_bytes(b"earlier")
    assert "--overwrite" in plan_one(photo).problem
    assert plan_one(photo, overwrite=True).problem is None


@pytest.mark.parametrize("overwrite", [True, False])
def test_the_original_is_never_the_result(photo, overwrite):
    link = photo.with_name("link.jpg")
    link.symlink_to(photo)
    assert "original" in plan_one(photo, str(link), overwrite).problem


@pytest.mark.parametrize(
    ("path", "problem"), [("missing.jpg", "no such file"), (str(Path.cwd()), "is a folder")]
)
def test_what_is_no_file_is_a_problem(path, problem):
    assert problem in plan_one(path).problem
