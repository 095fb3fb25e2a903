"""`muq-hf serve` as a process of its own, and a browser that looks at it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import uvicorn

from muq_hf.serving.npm_packages import NpmPackage, copy_files


AXE = NpmPackage(
    "axe-core",
    "4.14.1",
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
    ("axe.min.js",),
)


class Server:
    """A running server; `address` ends in a slash."""

    def __init__(self, table: Path, *options: str):
        command = [sys.executable, "-m", "muq_hf", "serve", str(table), *options]
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        self.line = self.process.stdout.readline()
        match = re.search(r"http://\S+", self.line)
        if match is None:
            raise RuntimeError(f"the server did not start: {self.line}{self.process.communicate()[1]}")
        self.address = match[0]

    @property
    def port(self) -> str:
        return re.search(r":(\d+)/", self.address)[1]

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """→ exit code and what it wrote on stderr."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors


@contextlib.contextmanager
def served_in_a_thread(application):
    """→ the address of an ASGI application while the block runs."""
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(10)


@contextlib.contextmanager
def open_browser(**options):
    """Chromium by Playwright → a context in which pages are opened. Uses Debian's; the variable CHROMIUM names another."""
    from playwright.sync_api import sync_playwright

    program = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--mute-audio"])
        with contextlib.closing(browser), contextlib.closing(browser.new_context(**options)) as context:
            context.set_default_timeout(15_000)
            yield context


def watched_page(context):
    """→ a page, and the list of errors that it has written to its console."""
    page, errors = context.new_page(), []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    return page, errors


def wait_until(page, expression: str, seconds: float = 15.0) -> None:
    """Until a JavaScript expression is true. Playwright's own way needs `eval` in the page, which its policy forbids."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        if time.monotonic() > deadline:
            raise TimeoutError(f"in {seconds} s this did not become true: {expression}")
        page.wait_for_timeout(50)


def serious_findings(page, folder: Path) -> list[str]:
    """What axe-core calls serious or critical about the page as it stands (WCAG 2.1 A and AA)."""
    script = copy_files(AXE, folder)[0].read_text()
    page.evaluate(script)
    found = page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})")
    return [
        f"{finding['id']}: {node['html'][:160]} ({'; '.join(check['message'] for check in node['any'][:1])})"
        for finding in found["violations"]
        if finding["impact"] in ("serious", "critical")
        for node in finding["nodes"]
    ]
