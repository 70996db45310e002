"""The page in a real browser: what people do with it, at the width of a phone and of a desk."""

import io
import json
from importlib.resources import files
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")
pytest.importorskip("fastapi", reason="the extra serve is not installed")

from nhin.reading.document_writer import DocumentWriter
from nhin.reading.documents import ReadPage
from nhin.reading.reading import Reading
from nhin.reading.result import Line

SIGN = Path(str(files("nhin").joinpath("examples", "street_sign.png")))
TEXT = SIGN.with_suffix(".txt").read_text("utf-8").split("\n")
looks = pytest.mark.parametrize(
    ("screen", "scheme", "language"),
    [
        ("phone", "light", "vi-VN"),
        ("phone", "dark", "en-US"),
        ("desktop", "light", "en-US"),
        ("desktop", "dark", "vi-VN"),
    ],
)


@pytest.fixture(scope="module")
def document():
    """Return a PDF of three pages with a text layer, as for the page to choose."""
    writer = DocumentWriter(file := io.BytesIO(), "pdf", "sign")
    for number in (1, 2, 3):
        box = ((300, 120), (680, 120), (680, 165), (300, 165))
        reading = Reading((Line(f"Trang số {number}", 1.0, box),), 1024, 576, number)
        writer.add(ReadPage(reading, 96.0))
    writer.finish()
    return {"name": "tài liệu.pdf", "mimeType": "application/pdf", "buffer": file.getvalue()}


def choose(page, *chosen):
    sign = {"name": SIGN.name, "mimeType": "image/png", "buffer": SIGN.read_bytes()}
    page.set_input_files("#file-input", [sign if one == SIGN else one for one in chosen])


def wait_for_picture(page):
    """Wait until there is one; ``wait_for_function`` would be refused by the page's policy."""
    for _ in range(600):
        if page.evaluate("document.getElementById('page-picture').naturalWidth > 0"):
            return
        page.wait_for_timeout(50)
    raise AssertionError("no picture")


def read_sign(page):
    choose(page, SIGN)
    page.wait_for_selector("#text .word")
    wait_for_picture(page)
    page.wait_for_selector(".file.done")


def pick_box(page, line, word=None):
    """Click in the middle of a word's or a line's box on the picture."""
    page.locator("#stage").scroll_into_view_if_needed()
    place = ":not([data-word])" if word is None else f"[data-word='{word}']"
    box = page.locator(f"polygon[data-line='{line}']{place}").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def download(page, format):
    with page.expect_download() as waiting:
        page.click(f"[data-download={format}]")
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


@looks
def test_a_picture_is_read_looked_at_corrected_and_downloaded(
    open_page, inspect_state, screen, scheme, language
):
    page = open_page(screen, scheme, language)
    inspect_state(page, "start")
    read_sign(page)
    assert [line.inner_text().split(None, 1)[1] for line in page.locator("#text .line").all()] == TEXT[:4]
    inspect_state(page, "read")

    # Text to box.
    page.click("#text [data-line='1'][data-word='1']")
    assert page.locator("polygon.selected").get_attribute("data-word") == "1"
    assert "NGUYỄN" in page.inner_text("#detail-title")
    assert page.locator("#letters li b").all_inner_texts() == list("NGUYỄN")
    assert page.locator("#crop").is_visible()
    inspect_state(page, "word")

    page.click("#look")
    page.wait_for_selector("#strips li")
    assert page.locator("#strips li").count() == len("NGUYỄN") + 1
    page.locator("#strips li").last.scroll_into_view_if_needed()
    inspect_state(page, "look")
    page.click("#close")
    assert not page.is_visible("#detail")

    # Box to text.
    pick_box(page, 2, 0)
    assert page.locator("#text [aria-pressed=true]").all_inner_texts() == ["Từ"]
    page.fill("#correction", "Sửa  đổi ")
    page.click("#correct-form button[type=submit]")
    inspect_state(page, "corrected")
    assert page.locator("#text .corrected").all_inner_texts() == ["Sửa đổi"]
    page.click("#close")
    page.click("[data-boxes=line]")
    pick_box(page, 0)
    assert "PHƯỜNG BẾN THÀNH" in page.inner_text("#detail-title")
    inspect_state(page, "line")
    page.click("#close")

    want = "\n".join(TEXT[:4]).replace("Từ số", "Sửa đổi số")
    page.click("#copy")
    assert page.evaluate("navigator.clipboard.readText()").strip() == want
    assert download(page, "text") == ("street_sign.txt", f"{want}\n".encode())
    name, markdown = download(page, "markdown")
    assert name == "street_sign.md"
    assert "Sửa đổi số 12" in markdown.decode()
    tree = json.loads(download(page, "json")[1])
    assert tree["text"] == want
    assert [word["text"] for word in tree["lines"][2]["words"]][:3] == ["Sửa", "đổi", "số"]
    assert download(page, "pdf")[1].startswith(b"%PDF-")

    page.click("#text [data-line='2'][data-word='0']")
    page.click("#undo")
    assert page.locator("#text .corrected").count() == 0


@pytest.mark.parametrize("screen", ["phone", "desktop"])
def test_nothing_moves_when_the_text_arrives(open_page, screen):
    page, held = open_page(screen), []
    page.route("**/v1/read*", lambda route: held.append(route))
    choose(page, SIGN)
    wait_for_picture(page)
    page.wait_for_timeout(500)
    page.evaluate("window.shift = 0")
    held[0].continue_()
    page.wait_for_selector("#text .word")
    page.wait_for_timeout(500)
    assert page.evaluate("window.shift") < 0.02


@looks
def test_a_long_document_is_shown_page_by_page(open_page, inspect_state, document, screen, scheme, language):
    page = open_page(screen, scheme, language)
    choose(page, document, SIGN)
    page.wait_for_selector(".file.done >> nth=1")
    for number in (1, 2, 3):
        assert f"Trang số {number}" in page.inner_text("#text .line")
        wait_for_picture(page)
        assert page.is_disabled("#next") == (number == 3)
        if number < 3:
            page.click("#next")
    inspect_state(page, "pages")
    page.click("#previous")
    assert "Trang số 2" in page.inner_text("#text .line")
    page.click("#text .word >> nth=0")
    assert not page.is_visible("#look")  # nobody looked: the file said what stands there
    page.click("#close")
    assert download(page, "text")[1].decode().split("\f") == [f"Trang số {n}\n" for n in (1, 2, 3)]
    page.click("button.choose >> nth=1")
    assert page.locator("#text .line").count() == 4


def test_only_the_pages_that_are_asked_for_are_read(open_page, document):
    page = open_page()
    page.click("#options summary")
    page.fill("#pages", "2-3")
    choose(page, document)
    page.wait_for_selector(".file.done")
    assert "Trang số 2" in page.inner_text("#text .line")
    assert page.inner_text("#page-number") == "Page 1 of 2"


@pytest.mark.parametrize(
    ("language", "busy"), [("vi-VN", "Máy chủ đang bận"), ("en-US", "The server is busy")]
)
def test_a_busy_service_is_asked_again_after_a_countdown(open_page, inspect_state, language, busy):
    page = open_page("phone", "light", language)
    tries = []

    def refuse_once(route):
        tries.append(1)
        if len(tries) > 1:
            return route.continue_()
        return route.fulfill(status=429, headers={"Retry-After": "2"}, json={"detail": "too many"})

    page.route("**/v1/read*", refuse_once)
    choose(page, SIGN)
    page.locator(".state", has_text=busy).wait_for()
    inspect_state(page, "busy")
    page.wait_for_selector(".file.done")
    assert len(tries) == 2
    assert all("429" in line or "v1/read" in line for line in page.complaints)
    page.complaints.clear()


@pytest.mark.parametrize(
    ("language", "status", "words"),
    [
        ("vi-VN", 413, "Tệp này quá lớn."),
        ("en-US", 413, "This file is too large."),
        ("vi-VN", 422, "Không đọc được tệp này."),
        ("en-US", 504, "Reading this file took too long"),
        ("en-US", 500, "The server failed."),
        ("vi-VN", 0, "Không kết nối được với máy chủ."),
    ],
)
def test_errors_are_told_in_the_language_of_the_page_and_can_be_tried_again(
    open_page, inspect_state, language, status, words
):
    page = open_page("phone", "light", language)
    fulfil = {"status": status, "json": {"detail": "so many words"}}
    page.route("**/v1/read*", lambda route: route.fulfill(**fulfil) if status else route.abort())
    choose(page, SIGN)
    page.wait_for_selector(".file.failed")
    alert = page.inner_text("[role=alert]")
    assert words in alert
    assert ("so many words" in alert) == (status > 0)
    inspect_state(page, "failed")
    page.unroute("**/v1/read*")
    page.click("#alerts button")
    page.click(".file button:visible >> nth=1")
    page.wait_for_selector(".file.done")
    assert page.locator("#text .line").count() == 4
    page.complaints.clear()


def test_reading_can_be_stopped_and_a_file_removed(open_page):
    page = open_page()
    page.route("**/v1/read*", lambda route: None)  # never answered
    choose(page, SIGN)
    page.click("[aria-label='Stop reading street_sign.png']")
    page.wait_for_selector(".file.cancelled")
    page.click("[aria-label='Remove street_sign.png from the list']")
    assert page.locator(".file").count() == 0
    assert page.evaluate("document.activeElement.id") == "choose"
    page.complaints.clear()


def test_a_weak_word_is_marked_and_another_text_can_be_taken(open_page, inspect_state):
    page = open_page()
    (tree,) = page.request.post(
        f"{page.url}v1/read", data=SIGN.read_bytes(), headers={"Content-Type": "image/png"}
    ).json()["pages"]
    tree["lines"][0]["words"][1]["confidence"] = 0.4
    tree["lines"][0]["alternatives"] = [
        {"text": "PHƯỜNG BỀN THÀNH", "probability": 0.5},
        {"text": "PHƯỜNG THÀNH", "probability": 0.1},
    ]
    tree["warnings"] = [{"code": "ink-unread", "message": "the file has ink"}]
    page.route("**/v1/read*", lambda route: route.fulfill(body=json.dumps(tree)))
    read_sign(page)
    assert page.locator("#text .unsure").all_inner_texts() == ["BẾN"]
    assert "Some ink looks like text" in page.inner_text("#warnings")
    page.click("#text .unsure")
    inspect_state(page, "doubt")
    page.click("#alternatives button >> nth=0")
    assert page.locator("#text .corrected").all_inner_texts() == ["BỀN"]
    assert download(page, "text")[1].decode().startswith("PHƯỜNG BỀN THÀNH\n")
    page.click("#undo")
    page.click("#alternatives button >> nth=1")  # the word is not there
    assert download(page, "text")[1].decode().startswith("PHƯỜNG THÀNH\n")


def test_everything_can_be_done_with_the_keyboard(open_page):
    page = open_page()
    read_sign(page)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "text-title"
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#text') !== null"):
            break
    assert page.evaluate("document.activeElement.dataset.word") == ""
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.id") == "detail-title"
    assert "NGUYỄN" in page.inner_text("#detail-title")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Control+a")
    page.keyboard.type("Nguyễn")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == "Nguyễn"
    assert not page.is_visible("#detail")


def test_files_can_be_dropped_pasted_and_photographed(open_page):
    page = open_page("phone")
    field = page.locator("#camera-input")
    assert field.get_attribute("capture") == "environment"
    data = list(SIGN.read_bytes())
    for kind, name in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.evaluate(
            """([kind, name, data]) => {
              const transfer = new DataTransfer();
              transfer.items.add(new File([new Uint8Array(data)], `${kind}.png`, { type: "image/png" }));
              const Kind = kind === "drop" ? DragEvent : ClipboardEvent;
              const how = { [name]: transfer, bubbles: true, cancelable: true };
              document.body.dispatchEvent(new Kind(kind, how));
            }""",
            [kind, name, data],
        )
    field.set_input_files(str(SIGN))
    page.wait_for_selector(".file.done >> nth=2")
    assert page.locator(".file .name").all_inner_texts() == ["drop.png", "paste.png", "street_sign.png"]


def test_the_language_is_the_browsers_until_another_is_chosen_which_is_remembered(open_page):
    page = open_page(language="fr-FR")
    assert page.evaluate("document.documentElement.lang") == "en"
    page = open_page(language="vi-VN")
    assert page.inner_text("#choose") == "Chọn tệp"
    page.click("[data-language=en]")
    assert page.inner_text("#choose") == "Choose files"
    page.reload()
    page.wait_for_selector("body:not(.loading)")
    assert page.evaluate("document.documentElement.lang") == "en"
    assert "read Vietnamese" in page.title()


def test_the_policy_holds_against_a_script_that_was_slipped_in(open_page):
    page = open_page()
    page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.slipped = true";
          document.body.append(script);
        }"""
    )
    assert page.evaluate("window.slipped") is None
    assert "Content Security Policy" in page.complaints[0]
    page.complaints.clear()
