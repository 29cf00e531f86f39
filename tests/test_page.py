from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import stat
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import fakes
import numpy as np
import pytest
from conftest import encode_image, make_jpeg, make_pixels
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unblur.cli import deblur, page
from unblur.cli.page import picture_side, relative_link
from unblur.options import Options
from unblur.pictures.compare import Pictures
from unblur.run.jobs import Job
from unblur.run.report import Outcome, Report, Status


class Elements(HTMLParser):
    """Every element of a page with its attributes, and all of its text."""

    VOID = frozenset({"meta", "link", "img", "input"})

    def __init__(self, html):
        super().__init__()
        self.elements, self.text, self.open = [], "", []
        self.feed(html)
        self.close()
        assert self.open == [], "not well-formed"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag != "path":
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "

    def all(self, tag, **wanted):
        return [
            found
            for name, found in self.elements
            if name == tag and all(found.get(key) == value for key, value in wanted.items())
        ]

    def cards(self, status=None):
        cards = [card for card in self.all("li") if (card.get("class") or "").startswith("card")]
        return [card for card in cards if status in (None, card["data-status"])]


def read(path):
    return Elements(path.read_text("utf-8"))


def links(found):
    return [anchor["href"] for anchor in found.all("a") if not anchor["href"].startswith("#")]


def lead_to(link, folder):
    """The target file of a link of a page in a folder."""
    parts = urlsplit(link)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    return Path(folder) / os.fsdecode(unquote_to_bytes(parts.path))


@pytest.fixture
def report(tmp_path, unblur):
    """Run the tool with a report; return the run and the parsed page."""

    def run(*arguments, **options):
        path = tmp_path / "report.html"
        result = unblur(*arguments, "--report", path, **options)
        return result, read(path)

    return run


def test_a_page_shows_what_became_of_each_photo(jpeg, png, tmp_path, report, unblur):
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(make_jpeg()[:300])
    unblur(png, "--suffix", "-unblurred2", "--format", "png")
    other = png.rename(tmp_path / "other.png")
    unblur(other)
    result, found = report(jpeg, other, cut)
    assert result.code == 1
    assert "report.html" in result.stderr
    assert {card["data-name"]: card["data-status"] for card in found.cards()} == {
        "photo.jpg": "done",
        "other.png": "skipped",
        "cut.jpg": "failed",
    }
    assert "already done" in found.text
    assert "damaged or cut off JPEG file" in found.text
    assert "1 done, 1 skipped, 1 failed" in found.text


def test_only_other_folders_than_the_current_one_are_named(tmp_path, unblur, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    for path in (Path("here.jpg"), Path("sub/there.jpg")):
        path.write_bytes(make_jpeg())
    unblur("here.jpg", "sub/there.jpg", "--report", "page.html")
    folders = re.findall('<p class="folder"><bdi>(.*?)</bdi>', Path("page.html").read_text("utf-8"))
    assert folders == ["sub"]


def test_links_are_relative_and_lead_to_the_files(jpeg, tmp_path, unblur):
    folder = tmp_path / "reports"
    folder.mkdir()
    unblur(jpeg, "--compare", "--report", folder / "page.html")
    leads = [lead_to(link, folder).resolve() for link in links(read(folder / "page.html"))]
    names = ("photo.jpg", "photo-unblurred.jpg", "photo-compared.png")
    assert leads == [tmp_path / name for name in names]


NAMES = [
    "with space.jpg",
    "ünïcödé-照片-🙂.jpg",
    "new\nline.jpg",
    "latin1-\udce9\udcff.jpg",
    "esc-\x1b[31mred.jpg",
    "rtl-\u202egpj.exe.jpg",
    "--help.jpg",
    "[bold.jpg",
    "glob*?[a-z].jpg",
    "quote'\"`$HOME.jpg",
    "back\\slash.jpg",
    "%s%n%d %20 {0} {{ name }}.jpg",
    "semi;colon & amp|pipe#hash?.jpg",
    "https:colon.jpg",
    "<img src=x onerror=alert(1)>.jpg",
    "'><script>alert(1)<!--.jpg",
]


@pytest.mark.skipif(os.name == "nt", reason="names that Windows refuses")
@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_text_and_its_links_lead_to_the_file(name, tmp_path, unblur):
    photo = tmp_path / name
    photo.write_bytes(make_jpeg())
    assert unblur("-r", tmp_path, "--report", tmp_path / "report.html").code == 0
    found = read(tmp_path / "report.html")
    assert [lead_to(link, tmp_path) for link in links(found)] == [
        photo,
        tmp_path / f"{photo.stem}-unblurred.jpg",
    ]
    assert len(found.all("script")) == 1
    assert not any(key.startswith("on") for _, keys in found.elements for key in keys)
    assert len(found.all("img")) == 4 + 3  # of the photo, and of the viewer
    shown = found.cards()[0]["data-name"]
    assert shown.isprintable()
    if name.isprintable():
        assert shown == name
        assert name in found.text


@given(name=st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1))
def test_every_link_leads_back_to_its_path(name):
    path = Path("/photos") / name
    link = relative_link(path, Path("/reports/of today"))
    lead = os.path.normpath(lead_to(link, "/reports/of today"))
    assert lead == os.path.normpath(path)


def test_a_page_asks_for_nothing_from_a_network(jpeg, report, tmp_path):
    _, found = report(jpeg)
    text = (tmp_path / "report.html").read_text()
    policy = found.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    for kind, pattern in (
        ("script", r"<script>(.*?)</script>"),
        ("style", r"<style>(.*?)</style>"),
    ):
        digest = hashlib.sha256(re.findall(pattern, text, re.DOTALL)[0].encode()).digest()
        assert f"{kind}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert policy.startswith("default-src 'none'; img-src 'self' file: data:;")
    sources = [keys.get("src") or keys.get("href") or "" for _, keys in found.elements]
    assert not any(re.match(r"(https?:)?//", source) for source in sources)
    assert not any("style" in keys for _, keys in found.elements)  # which the policy forbids


def test_small_pictures_are_inside_the_page(jpeg, report):
    _, found = report(jpeg)
    pictures = [image["src"] for image in found.all("img") if image.get("src")]
    assert len(pictures) == 4
    for picture in pictures:
        kind, data = picture.split(",")
        assert kind == "data:image/webp;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            image.load()
    assert all(image["alt"] for image in found.all("img") if image.get("src"))


def test_a_photo_that_is_turned_is_told_as_it_is_seen(jpeg, report):
    card = report(jpeg)[1].cards()[0]
    assert (card["data-width"], card["data-height"]) == ("48", "64")


@pytest.mark.parametrize(
    ("photo", "is_shown"),
    [("a.jpg", True), ("a.png", True), ("a.webp", True), ("a.avif", True), ("a.tif", False)],
)
def test_only_what_browsers_show_is_opened_from_its_file(photo, is_shown, tmp_path, report):
    form = {".jpg": "JPEG", ".tif": "TIFF"}.get(Path(photo).suffix, Path(photo).suffix[1:].upper())
    path = tmp_path / photo
    path.write_bytes(encode_image(Image.fromarray(make_pixels(40, 40)), form))
    result, found = report(path)
    assert result.code == 0
    card = found.cards("done")[0]
    assert ("data-original" in card, "data-result" in card) == (is_shown, is_shown)
    assert len(links(found)) == 2


def test_in_place_the_original_is_its_backup_or_nowhere(jpeg, tmp_path, report):
    original = jpeg.read_bytes()
    _, found = report(jpeg, "--in-place", "--no-backup")
    assert [lead_to(link, tmp_path).name for link in links(found)] == ["photo.jpg"]
    assert "data-original" not in found.cards()[0]
    jpeg.write_bytes(original)
    _, found = report(jpeg, "--in-place")
    names = [lead_to(link, tmp_path).name for link in links(found)]
    assert names == ["photo.jpg.orig", "photo.jpg"]


def test_streams_are_shown_without_links(tmp_path, report):
    result, found = report("-", stdin=make_jpeg())
    assert result.stdout.startswith(b"\xff\xd8")
    assert found.cards()[0]["data-name"] == "standard input"
    assert links(found) == []


def test_a_run_that_is_interrupted_still_writes_its_page(tmp_path, report, monkeypatch):
    class Interrupted(fakes.Identity):
        calls = 0

        def run_scale(self, blurred, previous, state, buffers):
            Interrupted.calls += 1
            if Interrupted.calls > 6:  # three scales of two photos
                raise KeyboardInterrupt
            return blurred, None

    for index in range(5):
        (tmp_path / f"{index}.jpg").write_bytes(make_jpeg())
    monkeypatch.setattr(deblur, "_make_deblurrer", lambda *_: fakes.on_cpu(Interrupted()))
    result, found = report("-r", tmp_path)
    assert result.code == 130
    assert len(found.cards("done")) == 2
    assert "3 of 5 photos were not reached" in found.text


def test_a_page_is_written_when_nobody_reads_the_list(tmp_path, unblur, jpeg, monkeypatch):
    from unblur.cli import console

    def gone(descriptor, data):
        raise BrokenPipeError

    monkeypatch.setattr(console, "write_all", gone)
    assert unblur(jpeg, "--report", tmp_path / "report.html").code == 1
    assert len(read(tmp_path / "report.html").cards("done")) == 1


def test_settings_are_told(jpeg, report):
    _, found = report(jpeg, "--quality", "70", "--strip-metadata", "--tile", "256")
    told = re.sub(r"\s+", " ", found.text)
    for words in ("model", "device cpu", "tile 256", "--quality 70", "--strip-metadata"):
        assert words in told


def test_a_page_of_an_earlier_run_is_replaced_and_nothing_else(jpeg, tmp_path, unblur):
    path = tmp_path / "report.html"
    assert unblur(jpeg, "--report", path).code == 0
    assert unblur(jpeg, "--report", path).code == 0
    assert len(read(path).cards("skipped")) == 1
    path.write_text("<!doctype html><title>My homepage</title>")
    result = unblur(jpeg, "--report", path)
    assert result.code == 2
    assert "is not a report" in result.stderr
    assert path.read_text() == "<!doctype html><title>My homepage</title>"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("photo.jpg", "a name that ends in .html"),
        ("-", "a name that ends in .html"),
        ("missing/report.html", "cannot be written there"),
        ("folder.html", "is a folder"),
    ],
)
def test_a_page_that_cannot_be_written_is_told_before_work_starts(
    jpeg, tmp_path, unblur, name, told
):
    (tmp_path / "folder.html").mkdir()
    before = jpeg.read_bytes()
    result = unblur(jpeg, "--report", name if name == "-" else tmp_path / name)
    assert (result.code, jpeg.read_bytes()) == (2, before)
    assert told in result.stderr
    assert not jpeg.with_name("photo-unblurred.jpg").exists()


def test_a_page_that_fails_at_the_end_is_told_and_the_photos_stay(
    jpeg, tmp_path, unblur, monkeypatch
):
    from unblur.errors import PhotoError
    from unblur.storage import drafts

    draft = drafts.FileDraft

    def fail(path, *arguments, **options):
        if path.suffix == ".html":
            raise PhotoError(f"cannot write {path}: no space left on device")
        return draft(path, *arguments, **options)

    monkeypatch.setattr(drafts, "FileDraft", fail)
    result = unblur(jpeg, "--report", tmp_path / "report.html")
    assert result.code == 1
    assert "no space left" in result.stderr
    assert jpeg.with_name("photo-unblurred.jpg").exists()


def test_a_dry_run_writes_no_page_and_says_so(jpeg, tmp_path, unblur):
    result = unblur(jpeg, "--dry-run", "--report", tmp_path / "report.html")
    assert result.code == 0
    assert "no report" in result.stderr
    assert not (tmp_path / "report.html").exists()


def test_where_there_is_no_photo_there_is_no_page(tmp_path, unblur):
    assert unblur("-r", tmp_path, "--report", tmp_path / "report.html").code == 3
    assert not (tmp_path / "report.html").exists()


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_page_is_as_private_as_the_most_private_photo(jpeg, png, tmp_path, report):
    png = png.rename(tmp_path / "other.png")
    jpeg.chmod(0o640)
    png.chmod(0o604)
    report(jpeg, png)
    assert stat.S_IMODE((tmp_path / "report.html").stat().st_mode) == 0o600


def test_a_run_keeps_only_small_pictures(tmp_path, report, monkeypatch):
    kept = []
    write = page.write
    monkeypatch.setattr(page, "write", lambda *a: (kept.append(a[0]), write(*a)))
    photo = tmp_path / "large.png"
    photo.write_bytes(encode_image(Image.fromarray(make_pixels(900, 1200)), "PNG"))
    report(photo)
    (outcome,) = kept[0].outcomes
    pictures = outcome.pictures
    small = (pictures.before, pictures.after, pictures.detail_before, pictures.detail_after)
    assert sum(map(len, small)) < 150_000 < photo.stat().st_size


def test_without_a_page_outcomes_are_not_kept(jpeg, unblur, monkeypatch):
    kept = []
    summary = deblur._print_summary
    monkeypatch.setattr(deblur, "_print_summary", lambda r, ui: (kept.append(r), summary(r, ui))[1])
    assert unblur(jpeg).code == 0
    assert kept[0].outcomes == []


@given(photos=st.integers(0, 100_000))
def test_pictures_are_smaller_the_more_there_are(photos):
    side = picture_side(photos)
    assert 160 <= side <= 480
    assert side <= picture_side(photos // 2)


def test_only_unusual_options_are_described():
    assert page.describe_options(Options()) == {}
    options = Options(quality=70, compare=True, include=("*.jpg", "a\nb"), picture_side=160)
    assert page.describe_options(options) == {
        "--include": "*.jpg, a\\nb",
        "--compare": "",
        "--quality": "70",
    }


def test_json_is_as_before_with_a_page(jpeg, tmp_path, unblur):
    line = unblur(jpeg, "--json", "--report", tmp_path / "report.html").stdout
    assert json.loads(line)["status"] == "done"


def test_a_photo_done_earlier_is_shown_by_the_picture_inside_it(
    jpeg, tmp_path, unblur, monkeypatch
):
    picture = encode_image(Image.fromarray(make_pixels(30, 40)), "WEBP")
    from unblur.pictures import compare

    monkeypatch.setattr(compare, "code_thumbnail", lambda header: picture if header else None)
    unblur(jpeg)
    unblur(jpeg, "--report", tmp_path / "report.html")
    shown = [image["src"] for image in read(tmp_path / "report.html").all("img") if "src" in image]
    assert shown == ["data:image/webp;base64," + base64.b64encode(picture).decode()] * 2


def test_the_share_that_changed_is_told(tmp_path, unblur, monkeypatch):
    photo = tmp_path / "grey.png"
    photo.write_bytes(encode_image(Image.fromarray(np.full((40, 40, 3), 110, np.uint8)), "PNG"))
    monkeypatch.setattr(deblur, "_make_deblurrer", lambda *_: fakes.on_cpu(fakes.Brighter()))
    unblur(photo, "--report", tmp_path / "report.html")
    found = read(tmp_path / "report.html")
    assert float(found.cards()[0]["data-change"]) == pytest.approx(0.5, abs=0.01)
    assert "changed by 50.2%" in found.text


def kept(photos, picture):
    """The report of photos that have this picture, before and after."""
    report = Report(keeps_outcomes=True)
    pictures = Pictures(picture, picture, b"", b"", (64, 48), (0.5, 0.5), 0.1, (2.0, 1.0))
    for number in range(photos):
        job = Job(Path(f"{number}.jpg"), Path(f"{number}-unblurred.jpg"))
        report.add(Outcome(job, Status.DONE, pictures=pictures))
    return report


def test_ten_thousand_photos_make_a_page_of_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr("unblur.run.report.MOST_PICTURE_BYTES", 1 << 20)
    report = kept(10_000, bytes(5000))
    held = sum(len(data) for o in report.outcomes for data in o.pictures.coded)
    assert (held, report.left_out) == (1_040_000, 9_896)
    page.write(report, tmp_path / "report.html", Options(), page.Facts(10_000, 1.0, {}))
    text = (tmp_path / "report.html").read_text("utf-8")
    assert text.count("data:image/webp") == 2 * 104
    assert text.count('data-change="0.1"') == 10_000
    assert "The last 9,896 photos have no small pictures here" in text


def test_pictures_inside_photos_that_were_done_earlier_have_the_same_bound(
    tmp_path, unblur, monkeypatch
):
    monkeypatch.setattr("unblur.run.report.MOST_PICTURE_BYTES", 100)
    monkeypatch.setattr("unblur.pictures.compare.code_thumbnail", lambda header: bytes(30))
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_bytes(make_jpeg(48 + ord(name), 64))
    unblur("-r", tmp_path)
    result = unblur("-r", tmp_path, "--report", tmp_path / "report.html")
    assert "no room for the small pictures of the last 2" in result.stderr
    assert (
        len([image for image in read(tmp_path / "report.html").all("img") if "src" in image]) == 2
    )
