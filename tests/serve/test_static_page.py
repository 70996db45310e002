"""The static page in a real Chromium: the same text as Python, and nothing leaves this machine.

The runtime is not in the repository: NHIN_BROWSER_RUNTIME names the folder, see docs/browser.md.
"""

import functools
import http.server
import os
import shutil
import threading
from pathlib import Path

import pytest

import nhin
from nhin.serve.static_export import SITE, export_site

RUNTIME, CHROMIUM = os.environ.get("NHIN_BROWSER_RUNTIME"), shutil.which("chromium")
PICTURES = [
    *sorted(Path(__file__).with_name("pictures").iterdir()),
    Path(nhin.__file__).parent / "examples/street_sign.png",
]
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
if RUNTIME is None or CHROMIUM is None:
    pytest.skip("needs chromium, and NHIN_BROWSER_RUNTIME", allow_module_level=True)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder to any page, and remembers what was asked for."""

    def log_message(self, *args):
        self.server.paths.append(self.path)

    def end_headers(self):
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Return a function that serves a folder, and returns its address and the paths asked for."""
    servers = []

    def start(folder):
        handler = functools.partial(Handler, directory=folder)
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        servers[-1].paths = []
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}", servers[-1].paths

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "site"
    export_site(folder, Path(RUNTIME))
    return folder


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def opened(browser, site, serve):
    """Return a page that is ready to read, and every request that it has made."""
    page = browser.new_context(locale="en-GB", permissions=["clipboard-read"]).new_page()
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    address, _ = serve(site)
    page.goto(address)
    playwright.expect(page.locator("#status")).to_have_text("Ready.", timeout=300_000)
    yield page, address, requests
    assert errors == []


def read(page, file):
    page.set_input_files("#file", file)
    article = page.locator("article").first
    playwright.expect(article.locator(".state")).to_contain_text("Seconds", timeout=120_000)
    return article


@pytest.mark.parametrize("file", PICTURES, ids=lambda file: file.name)
def test_the_page_reads_what_python_reads_and_asks_no_other_host(opened, file):
    page, address, requests = opened
    article, reading = read(page, file), nhin.read(file)
    assert reading.text
    assert article.locator("textarea").input_value() == reading.text
    assert article.locator("polygon").count() == len(reading.lines)
    assert article.locator(".warnings li").count() == len(reading.warnings)
    assert {url for url in requests if not url.startswith((f"{address}/", "blob:", "data:"))} == set()


def test_the_text_is_copied_and_downloaded_and_the_language_changes(opened):
    page, *_ = opened
    article = read(page, PICTURES[0])
    text = article.locator("textarea").input_value()
    article.get_by_role("button", name="Copy").click()
    playwright.expect(article.locator(".copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == text
    with page.expect_download() as download:
        article.get_by_role("button", name="Download text").click()
    assert download.value.suggested_filename == f"{PICTURES[0].stem}.txt"
    assert Path(download.value.path()).read_text("utf-8") == f"{text}\n"
    page.locator("#language").click()
    playwright.expect(page.locator("#status")).to_have_text("Sẵn sàng.")
    page.locator("#language").click()


def test_files_that_are_dropped_or_pasted_are_read_and_a_torn_one_is_refused_in_words(opened):
    page, *_ = opened
    count = page.locator("article").count()
    send = """(kind) => {
        const data = new DataTransfer();
        data.items.add(new File(["torn"], `${kind}.png`, {type: "image/png"}));
        const options = {bubbles: true, dataTransfer: data, clipboardData: data};
        const event = kind === "drop" ? DragEvent : ClipboardEvent;
        document.body.dispatchEvent(new event(kind, options));
    }"""
    for i, kind in enumerate(("drop", "paste"), start=1):
        page.evaluate(send, kind)
        playwright.expect(page.locator("article")).to_have_count(count + i)
        state = page.locator("article").first.locator(".state")
        playwright.expect(state).to_contain_text(f"{kind}.png is not a picture nhin can open", timeout=60_000)


def test_a_worker_of_the_page_cannot_reach_another_host(browser, serve, tmp_path):
    other, paths = serve(tmp_path)
    page = browser.new_page()
    page.goto(serve(SITE)[0])
    script = """(url) => new Promise((done) => {
        const code = `fetch("${url}").then(() => postMessage("sent"), () => postMessage("refused"))`;
        const blob = new Blob([code], {type: "text/javascript"});
        const worker = new Worker(URL.createObjectURL(blob), {type: "module"});
        worker.onmessage = ({ data }) => done(data);
    })"""
    assert page.evaluate(script, other) == "refused"
    assert paths == []


def test_a_page_that_lacks_a_file_says_so(browser, serve, tmp_path):
    address, _ = serve(shutil.copytree(SITE, tmp_path / "site"))
    page = browser.new_page(locale="vi-VN")
    page.goto(address)
    playwright.expect(page.locator("#status")).to_contain_text("Không chạy được: ")
    playwright.expect(page.locator("#status")).to_contain_text("runtime/")
    page.set_input_files("#file", PICTURES[0])
    playwright.expect(page.locator("article .state")).to_contain_text("Không đọc được: ")


def test_a_page_opened_as_a_file_says_that_it_needs_a_server(browser):
    page = browser.new_page()
    page.goto((SITE / "index.html").as_uri())
    playwright.expect(page.locator("#no-server")).to_be_visible()
    playwright.expect(page.locator("#no-server")).to_contain_text("python -m http.server")
    playwright.expect(page.locator("#input")).to_be_hidden()
