"""A service with a real reader in this process, and pages of a real Chromium that look at it.

``NHIN_AXE`` names axe-core's ``axe.min.js``; ``NHIN_SHOTS`` a folder for a picture of each state.
"""

import asyncio
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from nhin.serve.settings import ServiceSettings
from nhin.serve.worker import ServiceWorker

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCREENS = {"phone": (390, 844), "desktop": (1280, 800)}
SECONDS = 30_000  # (ms) of a page for something to appear, on a busy machine


class MemoryWorker:
    """Reads in this process, each file once."""

    is_open = True
    worker, answers = ServiceWorker(), {}

    def call(self, values, load):
        data = load()
        key = (values["job"], data, str(values["query"]))
        if key not in self.answers:
            found, arrays = self.worker.handle(values, [np.frombuffer(data, np.uint8)])
            self.answers[key] = found, arrays[0].tobytes() if arrays else b""
        return self.answers[key]

    def kill(self):
        """Nothing to end."""

    close = kill


@pytest.fixture(scope="session")
def address():
    """Yield the address of a running service."""
    import uvicorn

    from nhin.serve.app import make_app
    from nhin.serve.service import Service

    opened, _ = MemoryWorker.worker.handle(
        {"open": {"weights": "default", "digest": None, "max_pixels": 10**8, "max_pages": 9}}, []
    )
    assert opened == {"is_ready": True}
    app = make_app(Service(ServiceSettings(workers=1), MemoryWorker))
    config = uvicorn.Config(app, port=0, ws="none", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join(20)


@pytest.fixture(scope="session")
def chromium():
    """Yield a headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, address):
    """Return a function that opens the page; at the end, nobody may have complained on its console."""
    opened = []

    def open_page(screen="desktop", scheme="light", language="en-US"):
        width, height = SCREENS[screen]
        is_phone = screen == "phone"
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            locale=language,
            is_mobile=is_phone,
            has_touch=is_phone,
            permissions=["clipboard-read", "clipboard-write"],
            reduced_motion="reduce",
        )
        context.set_default_timeout(SECONDS)
        page = context.new_page()
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("requestfailed", lambda request: page.complaints.append(f"{request.url} failed"))
        opened.append((context, page))
        page.add_init_script(
            "window.shift = 0; new PerformanceObserver((list) => { for (const entry of list.getEntries())"
            " if (!entry.hadRecentInput) window.shift += entry.value; })"
            ".observe({ type: 'layout-shift', buffered: true });"
        )
        page.goto(address)
        page.wait_for_selector("body:not(.loading)")
        return page

    yield open_page
    for context, page in opened:
        complaints = page.complaints
        context.close()
        assert complaints == []


@pytest.fixture
def inspect_state(request):
    """Return a function that checks a state of a page with axe-core and takes its picture, if asked to."""
    axe, shots = os.environ.get("NHIN_AXE"), os.environ.get("NHIN_SHOTS")

    def inspect_state(page, name):
        if shots:
            page.screenshot(path=Path(shots) / f"{request.node.name}-{name}.png")
        # Nothing is wider than the screen.
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
        if axe:
            page.evaluate(Path(axe).read_text("utf-8"))
            faults = page.evaluate("axe.run(document)")["violations"]
            assert [(fault["id"], [node["html"] for node in fault["nodes"]]) for fault in faults] == [], name

    return inspect_state
