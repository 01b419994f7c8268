"""A real browser, Chromium through Playwright, against a live server."""

import itertools
import os
import re
import shutil
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Error

from tests.live import ROOT, Server

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
# Without the first ones Chromium talks to its maker's hosts at each start.
ARGUMENTS = [
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-gpu",
    "--disable-quic",
    *(["--no-sandbox"] if os.geteuid() == 0 else []),
]
NUMBERS = itertools.count(1)  # of browsers; fewer than 256 in a run
SHOTS = ROOT / "build" / "screenshots"


@pytest.fixture(scope="package")  # Playwright's event loop is in this thread, where Django then allows no query
def chromium():
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The server of the browser tests. Each browser has an address of its own, which limits on signing in count."""
    server = Server(
        tmp_path_factory.mktemp("browser") / "data", RATE_LIMIT_DEFAULT="unlimited", TRUSTED_PROXIES="1"
    ).start()
    yield server
    server.stop()


class Person:
    """Somebody at a browser. Every page is watched: console errors and requests to other hosts fail the test."""

    def __init__(self, chromium, site, *, dark=False, phone=False, javascript=True):
        self.site, self.complaints = site, []
        self.context = chromium.new_context(
            base_url=site.url,
            viewport={"width": 390, "height": 844} if phone else {"width": 1280, "height": 900},
            color_scheme="dark" if dark else "light",
            java_script_enabled=javascript,
            permissions=["clipboard-read", "clipboard-write"],
            extra_http_headers={"X-Forwarded-For": f"10.0.{next(NUMBERS)}.1"},
        )
        self.context.set_default_timeout(10_000)
        self.page = self.new_page()

    def new_page(self):
        page = self.context.new_page()
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: self.complaints.append(str(e)))
        page.on("request", self._note_request)
        return page

    def _note_request(self, request):
        address = urlsplit(request.url)
        ours = address.hostname in ("127.0.0.1", "localhost") and address.port == self.site.port
        if address.scheme not in ("data", "blob") and not ours:
            self.complaints.append(f"request to {request.url}")

    def sign_up(self, username, password="correct horse battery"):
        self.page.goto("/accounts/signup/")
        self.page.get_by_label(re.compile("username", re.I)).fill(username)
        self.page.get_by_label("Password", exact=True).fill(password)
        self.page.get_by_label(re.compile(r"password.*again|confirm", re.I)).fill(password)
        self.page.get_by_role("button", name=re.compile("sign up", re.I)).click()
        self.page.wait_for_url("**/settings**")
        return self

    def sign_in(self, username, password):
        self.page.goto("/accounts/login/")
        self.page.get_by_label(re.compile("^username|^login", re.I)).fill(username)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name=re.compile("^sign in$", re.I)).click()
        self.page.wait_for_url("**/settings**")
        return self

    def shot(self, name):
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png", full_page=True)

    def assert_accessible(self):
        for attempt in range(3):
            self.page.wait_for_load_state()
            try:
                found = Axe().run(self.page, options={"resultTypes": ["violations"]})
                break
            except Error:  # the page was left for the next one meanwhile
                if attempt == 2:
                    raise
        assert found.violations_count == 0, found.generate_report()

    def assert_fits(self):
        width = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert width <= 0, f"{self.page.url} is {width} pixels too wide"

    def clipboard(self):
        return self.page.evaluate("navigator.clipboard.readText()")


@pytest.fixture
def person(chromium, site):
    people = []

    def open_browser(**options):
        one = Person(chromium, site, **options)
        people.append(one)
        return one

    yield open_browser
    for one in people:
        complaints = list(one.complaints)
        one.context.close()
        assert complaints == []
