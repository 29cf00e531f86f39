"""The report page in a real browser: the system's Chromium."""

from __future__ import annotations

import io
import re
import shutil

import fakes
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import encode_image, make_jpeg, make_pixels
from PIL import Image

from unblur.cli import deblur, main

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NOT_WORD_FOR_WORD = "<img src=x onerror=\"document.title='broken'\"> 100%.jpg"
LONG_NAME = "a-long-name-" * 16 + ".jpg"
HEBREW_NAME = "תמונה 1.jpg"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not there"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory, identity_weights):
    """A page of photos that were done, skipped and failed."""
    root = tmp_path_factory.mktemp("report")
    folder = root / "photos"
    folder.mkdir()
    (folder / "done before.jpg").write_bytes(make_jpeg())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNBLUR_HISTORY", str(root / "history.sqlite3"))
        patch.setattr(deblur, "_make_deblurrer", lambda *_: fakes.on_cpu(fakes.Brighter()))
        run = ["-r", str(folder), "--model", str(identity_weights)]
        assert CliRunner().invoke(main, run).exit_code == 0
        dark = make_pixels(1200, 1600) // 3
        (folder / NOT_WORD_FOR_WORD).write_bytes(encode_image(Image.fromarray(dark), "JPEG"))
        bright = np.full((300, 400, 3), 220, np.uint8)
        (folder / "bright.png").write_bytes(encode_image(Image.fromarray(bright), "PNG"))
        (folder / "deep.tif").write_bytes(encode_image(Image.fromarray(dark[:300, :400]), "TIFF"))
        (folder / "cut.jpg").write_bytes(make_jpeg()[:300])
        run += ["--report", str(root / "report.html")]
        assert CliRunner().invoke(main, run).exit_code == 1
    return root / "report.html"


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A new empty profile is made for it, and removed.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium):
    """Open a page; each request to a network and each error in its console fails the test."""
    wrong, contexts = [], []

    def open_page(path, allowed="nothing", **options):
        def note(text):
            if not re.search(allowed, text):
                wrong.append(text[:300])

        def note_request(request):
            if not request.url.startswith(("file:", "data:")):
                note(request.url)

        context = chromium.new_context(**{"viewport": {"width": 1000, "height": 800}} | options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: note(message.text))
        page.on("pageerror", lambda error: note(str(error)))
        page.on("request", note_request)
        page.on("requestfailed", lambda request: note(f"failed {request.url}"))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def names(page):
    return page.locator(".card h2").all_text_contents()


def share_shown_before(page):
    """The edge of the picture before, as a share of the canvas's width."""
    return page.evaluate(
        "() => { const clip = getComputedStyle(document.getElementById('before')).clipPath;"
        " const canvas = document.getElementById('canvas');"
        " const split = parseFloat(canvas.style.getPropertyValue('--split'));"
        " if (!clip.startsWith('inset(')) throw clip; return split / canvas.offsetWidth; }"
    )


def open_viewer(page, name=NOT_WORD_FOR_WORD):
    page.get_by_role("button", name=f"Compare {name}", exact=True).click()
    page.locator("#viewer[open]").wait_for()


def wait_for_files(page):
    page.wait_for_function("() => document.getElementById('after').src.startsWith('file:')")


def test_names_are_text(report, browse):
    page = browse(report)
    assert NOT_WORD_FOR_WORD in names(page)
    assert re.fullmatch("3 done, 1 skipped, 1 failed . unblur", page.title())


def test_filters_filter(report, browse):
    from playwright.sync_api import expect

    page = browse(report)
    assert len(names(page)) == 5
    for label, expected in [
        ("Done", ["bright.png", "deep.tif", NOT_WORD_FOR_WORD]),
        ("Skipped", ["done before.jpg"]),
        ("Failed", ["cut.jpg"]),
        ("Most changed", [NOT_WORD_FOR_WORD, "deep.tif", "bright.png"]),
    ]:
        page.get_by_role("radio", name=label).check(force=True)
        shown = names(page)
        assert sorted(shown) == sorted(expected)
        assert page.get_by_role("status").first.inner_text() == f"{len(expected)} of 5 photos"
    assert shown[-1] == "bright.png"  # which could hardly become brighter
    page.get_by_role("radio", name="All").check(force=True)
    page.get_by_role("searchbox").fill("CUT")
    assert names(page) == ["cut.jpg"]
    # Waits for the layout: until then the text of a row that comes into view is empty.
    expect(page.locator(".reason")).to_contain_text("damaged", use_inner_text=True)
    page.get_by_role("searchbox").fill("nothing of that name")
    assert page.get_by_text("No photo matches").is_visible()


def test_photos_of_one_kind_of_blur_are_filtered(report, browse):
    page = browse(report)
    page.get_by_role("radio", name="Unclear").check(force=True)
    assert "bright.png" in names(page)  # it shows nothing that could be blurred
    kinds = page.locator(".card").evaluate_all("cards => cards.map(card => card.dataset.blur)")
    assert set(kinds) == {"unclear"}
    assert len(kinds) < 5


def test_photos_are_sorted(report, browse):
    page = browse(report)
    page.get_by_role("combobox").select_option("name")
    assert names(page)[1:] == ["bright.png", "cut.jpg", "deep.tif", "done before.jpg"]
    page.get_by_role("combobox").select_option("change")
    assert names(page)[2] == "bright.png"


def test_the_slider_moves_by_mouse_and_by_keyboard(report, browse):
    page = browse(report)
    open_viewer(page)
    wait_for_files(page)
    assert share_shown_before(page) == pytest.approx(0.5, abs=0.01)
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 120, steps=5)
    page.mouse.up()
    assert share_shown_before(page) == pytest.approx(0.8, abs=0.01)
    slider = page.get_by_role("slider", name="Divider between before and after")
    assert slider.input_value() == "80"
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    assert share_shown_before(page) == pytest.approx(0.75, abs=0.01)
    assert slider.get_attribute("aria-valuetext") == "75 % before"
    page.keyboard.press("Home")
    assert share_shown_before(page) == pytest.approx(0, abs=0.001)


def test_the_slider_moves_by_touch(report, browse):
    page = browse(report, viewport={"width": 390, "height": 800}, has_touch=True)
    open_viewer(page)
    wait_for_files(page)
    handle = page.locator("#handle i").bounding_box()
    assert min(handle["width"], handle["height"]) >= 44
    x, y = handle["x"] + 22, handle["y"] + 22
    session = page.context.new_cdp_session(page)
    for kind, dx in [("touchStart", 0), ("touchMove", 30), ("touchMove", 78), ("touchEnd", None)]:
        points = [] if dx is None else [{"x": x + dx, "y": y}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert share_shown_before(page) == pytest.approx(0.7, abs=0.02)


def shown_colors(page):
    """The colours at the left and at the right of the photo, as they are on the screen."""
    box = page.locator("#canvas").bounding_box()
    shot = Image.open(io.BytesIO(page.screenshot(clip=box))).convert("RGB")
    y = shot.height // 3  # beside the handle's knob
    return [np.array(shot.getpixel((x * shot.width // 10, y)), int) for x in (2, 8)]


def set_strength(page, value):
    page.get_by_role("slider", name="Strength").fill(str(value))


def test_the_second_slider_blends_as_strength_does(report, browse):
    page = browse(report)
    open_viewer(page, "bright.png")
    wait_for_files(page)
    before, after = shown_colors(page)
    assert list(before) == [220] * 3
    assert list(after) == [255] * 3
    for value in (0, 25, 50, 75, 100):
        set_strength(page, value)
        left, right = shown_colors(page)
        np.testing.assert_array_equal(left, before)
        assert np.abs(right - (before + value / 100 * (after - before))).max() <= 1


def test_the_second_slider_moves_by_keyboard_and_tells_the_option(report, browse):
    page = browse(report)
    open_viewer(page)
    slider = page.get_by_role("slider", name="Strength")
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == "0.75"
    assert page.locator("#strength-value").inner_text() == "0.75"
    assert page.locator("#after").evaluate("image => image.style.opacity") == "0.75"
    assert share_shown_before(page) == pytest.approx(0.5, abs=0.01)
    page.keyboard.press("Home")
    assert slider.get_attribute("aria-valuetext") == "0"


def test_the_second_slider_moves_by_touch(report, browse):
    page = browse(report, viewport={"width": 390, "height": 800}, has_touch=True)
    open_viewer(page)
    wait_for_files(page)
    box = page.locator("#strength").bounding_box()
    assert box["height"] >= 44
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert page.locator("#strength").input_value() == "50"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_strength_of_the_run_is_the_most_that_the_slider_tells(report, browse, tmp_path):
    weaker = tmp_path / "weaker.html"
    text = report.read_text("utf-8")
    assert text.count('data-full="1.0"') == 1
    weaker.write_text(text.replace('data-full="1.0"', 'data-full="0.5"'), "utf-8")
    page = browse(weaker)
    open_viewer(page, "deep.tif")
    set_strength(page, 50)
    assert page.get_by_role("slider", name="Strength").get_attribute("aria-valuetext") == "0.25"


def test_before_and_after_are_shown_on_their_sides(report, browse):
    page = browse(report)
    open_viewer(page)
    wait_for_files(page)
    box = page.locator("#canvas").bounding_box()
    picture = page.screenshot(clip=box)
    with Image.open(io.BytesIO(picture)) as shown:
        pixels = np.asarray(shown.convert("L"), int)
    third = pixels.shape[1] // 3
    assert pixels[:, -third:].mean() > pixels[:, :third].mean() + 80


@pytest.mark.parametrize("density", [1, 2])
def test_the_photo_is_zoomed_to_its_pixels_and_scrolls(report, browse, density):
    page = browse(report, device_scale_factor=density)
    open_viewer(page)
    wait_for_files(page)
    assert page.locator("#canvas").bounding_box()["width"] < 1000
    for label, scale in (("1:1", 1), ("2:1", 2)):
        page.get_by_role("radio", name=label).check(force=True)
        width = page.evaluate("() => document.getElementById('canvas').offsetWidth")
        assert width == 1600 * scale / density
    before = page.evaluate("() => document.getElementById('stage').scrollLeft")
    page.mouse.move(300, 300)
    page.mouse.down()
    page.mouse.move(250, 300, steps=3)
    page.mouse.up()
    after = page.evaluate("() => document.getElementById('stage').scrollLeft")
    assert after == min(before + 50, 3200 / density - 1000)
    assert 0 <= share_shown_before(page) <= 1


def test_what_browsers_cannot_show_has_its_small_pictures(report, browse):
    page = browse(report)
    open_viewer(page, "deep.tif")
    page.get_by_text("This is a small copy").wait_for()
    assert page.locator("#after").get_attribute("src").startswith("data:image/webp")
    page.get_by_role("radio", name="1:1").check(force=True)
    page.get_by_text("the part that changed most, at full resolution").wait_for()
    assert page.evaluate("() => document.getElementById('canvas').offsetWidth") == 192


def test_when_files_have_gone_small_pictures_are_shown_and_it_is_told(report, browse, tmp_path):
    shutil.copy(report, tmp_path)
    page = browse(tmp_path / report.name, allowed="ERR_FILE_NOT_FOUND|failed file:")
    open_viewer(page, "bright.png")
    page.get_by_text("was moved or deleted after this page was made").wait_for()
    assert page.locator("#after").get_attribute("src").startswith("data:image/webp")


def test_the_viewer_is_left_and_walked_through_by_keyboard(report, browse):
    page = browse(report)
    page.get_by_role("radio", name="Done").check(force=True)
    shown = names(page)
    open_viewer(page, shown[0])
    title = page.locator("#viewer-name")
    assert page.evaluate("() => document.activeElement.id") == "split"
    page.keyboard.press("n")
    assert title.inner_text() == shown[1]
    page.keyboard.press("p")
    assert title.inner_text() == shown[0]
    assert page.get_by_role("button", name="Previous photo").is_disabled()
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()
    label = page.evaluate("() => document.activeElement.getAttribute('aria-label')")
    assert label == f"Compare {shown[0]}"


def test_without_scripts_the_page_is_a_plain_list(report, browse):
    page = browse(report, java_script_enabled=False)
    assert len(names(page)) == 5
    assert not page.get_by_role("search").is_visible()
    first = page.locator(".card.done").first
    left, right = (first.locator(f".pair .{kind}").bounding_box() for kind in ("before", "after"))
    assert left["x"] + left["width"] <= right["x"]
    assert first.get_by_role("link", name="Result").is_visible()


def relative_luminance(color):
    """Contrast of two colours, each as CSS's rgb(...), as WCAG 2.2 defines it."""
    values = [int(value) / 255 for value in re.findall(r"\d+", color)[:3]]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(report, browse, scheme):
    page = browse(report, color_scheme=scheme)
    texts = page.evaluate(
        """() => [...document.querySelectorAll('body *')].filter((element) =>
          element.checkVisibility() && [...element.childNodes].some((node) =>
            node.nodeType === 3 && node.textContent.trim())).map((element) => {
          let ground = element, color;
          do { color = getComputedStyle(ground).backgroundColor; ground = ground.parentElement; }
          while (ground && /, 0\\)|transparent/.test(color));
          return [element.className + ' ' + element.textContent.trim().slice(0, 30),
                  getComputedStyle(element).color, color]; })"""
    )
    assert len(texts) > 30
    for text, ink, ground in texts:
        if "color(" in ground:
            continue  # a mixture, of which the plain ground is a part
        high, low = sorted(map(relative_luminance, (ink, ground)), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ink, ground)


def test_every_control_has_a_name(report, browse):
    page = browse(report)
    for role in ("button", "radio", "searchbox", "combobox", "slider", "link", "img"):
        for control in page.get_by_role(role).all():
            assert control.evaluate("(e) => (e.getAttribute('aria-label') || e.alt || e.innerText "
                                    "|| e.labels?.[0]?.innerText || '').trim()")  # fmt: skip


@pytest.mark.parametrize("width", [320, 390, 1600])
def test_nothing_is_wider_than_the_window(report, browse, width):
    page = browse(report, viewport={"width": width, "height": 700})
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    open_viewer(page)
    assert page.evaluate("() => document.getElementById('viewer').scrollWidth") <= width


def test_the_focus_is_never_behind_the_tools(report, browse):
    page = browse(report, viewport={"width": 1000, "height": 560})
    page.keyboard.press("Shift+Tab")  # to the last link of the page
    for _ in range(30):
        edges = page.evaluate(
            "() => { const e = document.activeElement; return e.closest('.card') &&"
            " [e.getBoundingClientRect().top, tools.getBoundingClientRect().bottom]; }"
        )
        if edges is None:
            break
        assert edges[0] >= edges[1]
        page.keyboard.press("Shift+Tab")
    assert page.evaluate("() => document.activeElement.closest('#tools') !== null")


def test_in_forced_colors_what_is_chosen_can_be_read(report, browse):
    page = browse(report, forced_colors="active", color_scheme="dark")
    open_viewer(page)
    for chosen in ("[name=show]:checked + span", "[name=zoom]:checked + span", ".handle"):
        assert page.locator(chosen).evaluate("(e) => getComputedStyle(e).forcedColorAdjust") == (
            "none"
        )


def test_paper_is_white_for_readers_of_a_dark_page(report, browse):
    page = browse(report, color_scheme="dark")
    assert relative_luminance(ground_of(page)) < 0.1
    page.emulate_media(media="print")
    assert relative_luminance(ground_of(page)) > 0.8


def ground_of(page):
    return page.evaluate("() => getComputedStyle(document.body).backgroundColor")


@pytest.fixture(scope="module")
def odd_report(tmp_path_factory, identity_weights):
    """A page of a panorama, and of photos with long names and with names from right to left."""
    root = tmp_path_factory.mktemp("odd")
    folder = root / "photos"
    folder.mkdir()
    for name, size in ((LONG_NAME, (40, 60)), (HEBREW_NAME, (40, 60)), ("wide.jpg", (20, 600))):
        photo = Image.fromarray(make_pixels(*size))
        (folder / name).write_bytes(encode_image(photo, "JPEG"))
    run = ["-r", str(folder), "--model", str(identity_weights)]
    run += ["--report", str(root / "report.html")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNBLUR_HISTORY", str(root / "history.sqlite3"))
        assert CliRunner().invoke(main, run).exit_code == 0
    return root / "report.html"


def test_a_long_name_leaves_room_for_the_photo(odd_report, browse):
    page = browse(odd_report, viewport={"width": 360, "height": 640})
    open_viewer(page, LONG_NAME)
    assert page.locator("#viewer-name").bounding_box()["height"] < 50
    assert page.locator("#viewer-name").get_attribute("title") == LONG_NAME


def test_a_name_from_right_to_left_reads_alike_in_list_and_viewer(odd_report, browse):
    page = browse(odd_report)
    open_viewer(page, HEBREW_NAME)
    direction = "(e) => e.matches(':dir(rtl)')"
    assert page.locator("#viewer-name").evaluate(direction)
    assert page.locator("h2 bdi", has_text=HEBREW_NAME).evaluate(direction)


def test_without_scripts_labels_do_not_hide_a_panorama(odd_report, browse):
    page = browse(odd_report, java_script_enabled=False)
    card = page.locator(".card[data-name='wide.jpg']")
    picture, label = (card.locator(kind).bounding_box() for kind in (".pair .before", ".tag.left"))
    middle = picture["y"] + picture["height"] / 2  # the picture is fitted into its place
    assert label["y"] > middle + picture["width"] / 30 / 2
