"""One JupyterLab and one browser for all browser tests, and panels as a reader meets them.

A panel's test is short:

    @pytest.fixture(scope="module")
    def quantizer(open_panel):
        return open_panel("cl.panels.QuantizerPanel()", "quantizer")

    def test_every_control_changes_the_picture(quantizer):
        quantizer.move_every_control()
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import nbformat
import pytest

import course
from pages import measure

ROOT = Path(course.__file__).parent
LAPTOP = {"width": measure.WIDTH, "height": measure.HEIGHT}
TOKEN = "browser-tests"
PATIENCE_S = 60


def wait_for(answer, what, within_s=PATIENCE_S, explain=lambda: ""):
    """The first true value of ``answer()``; a failed test that says ``what`` was waited for if there is none."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if value := answer():
            return value
        time.sleep(0.03)
    pytest.fail(f"waited {within_s} s for {what} {explain()}")


@contextmanager
def start_browser():
    """Chromium or Chrome from PATH, else Playwright's own; a skipped test where there is none."""
    with ExitStack() as stack:
        try:
            browser = stack.enter_context(measure.browser())
        except course.Problem as problem:
            pytest.skip(str(problem))
        yield browser


@contextmanager
def start_server(folder, aside):
    """Address of the students' JupyterLab, serving ``folder``; its settings and log lie in ``aside``."""
    if not course.is_set_up(course.VENV):
        pytest.skip("the students' environment is not set up: the tests run elsewhere")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    course.describe_pictures(course.VENV)
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    command = course.lab_command(port, f"--IdentityProvider.token={TOKEN}", browser=False, root_user=as_root)
    command = [
        f"--ServerApp.root_dir={folder}" if part.startswith("--ServerApp.root_dir") else part for part in command
    ]
    env = {**course.child_env(), **course.jupyter_env(aside)}
    log = (aside / "log.txt").open("w")
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: process.poll() is not None or _answers(address), "JupyterLab to start")
        assert process.poll() is None, (aside / "log.txt").read_text()
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _answers(address):
    try:
        with urllib.request.urlopen(f"{address}/api?token={TOKEN}", timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


@pytest.fixture(scope="session")
def browser():
    """The browser of all tests: two at once are not possible in one process."""
    with start_browser() as started:
        yield started


@pytest.fixture(scope="session")
def lab(tmp_path_factory, browser):
    """The students' JupyterLab, on a laptop's screen."""
    folder, aside = tmp_path_factory.mktemp("course") / "notebooks", tmp_path_factory.mktemp("jupyter")
    folder.mkdir()
    shutil.copytree(ROOT / "experiments", folder.parent / "experiments")  # lectures read its tables
    with start_server(folder, aside) as address:
        yield Lab(browser, address, folder)


class Lab:
    """JupyterLab in a browser."""

    def __init__(self, browser, address, folder):
        self.browser, self.address, self.folder = browser, address, folder

    def page(self, place="lab"):
        page = self.browser.new_page(viewport=LAPTOP)
        page.goto(f"{self.address}/{place}{'&' if '?' in place else '?'}token={TOKEN}")
        page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=1000 * PATIENCE_S)
        return page

    def run(self, path, within_s=240):
        """Open a notebook (a path, or a list of cells' sources), run all its cells, and return the page."""
        if isinstance(path, list):
            notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in path])
            notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        else:
            notebook = nbformat.read(path, as_version=4)
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    cell.outputs, cell.execution_count = [], None
        # JupyterLab draws only the cells in sight, and running all of them ends on the last: it tells when all is done.
        notebook.cells.append(nbformat.v4.new_code_cell("'the end'"))
        name = f"test_{len(list(self.folder.iterdir()))}.ipynb"
        nbformat.write(notebook, self.folder / name)
        page = self.page(f"lab/tree/{name}?reset")
        # Asked to run before it has a kernel, JupyterLab opens a dialog; the toolbar's indicator is idle before that.
        idle = page.locator("#jp-main-statusbar").get_by_text("| Idle")
        idle.wait_for(timeout=1000 * PATIENCE_S)
        last = page.locator(".jp-CodeCell").last.locator(".jp-InputPrompt")
        prompt = lambda: last.inner_text().strip() if last.count() else ""  # noqa: E731

        def started():
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click()
            page.wait_for_timeout(1500)  # a kernel that was still connecting has not heard it
            return re.search(r"\d|\*", prompt())

        wait_for(started, "the kernel to take the cells")
        wait_for(lambda: "*" not in prompt(), "the cells to finish", within_s)
        error = page.locator('[data-mime-type="application/vnd.jupyter.error"]')
        assert re.search(r"\d", prompt()), error.first.inner_text() if error.count() else "a cell failed, out of sight"
        return page

    def panel(self, code, name, setup=""):
        """Make a panel in a fresh notebook and wait for its first picture."""
        page = self.run([f"import course_lib as cl\ncl.warm_up(progress=False)\n{setup}", f"panel = {code}\npanel"])
        panel = PanelOnPage(page, page.locator(f".cl-panel.cl-{name}"))
        wait_for(panel.words, "the panel's first picture")
        panel.start = panel.words()
        return panel


@pytest.fixture(scope="session")
def open_panel(lab):
    """Make a panel in a fresh notebook: ``open_panel("cl.panels.QuantizerPanel()", "quantizer")``."""
    return lab.panel


class PanelOnPage:
    """A panel as a reader meets it: labelled boxes, handles, drop-downs, a picture with words."""

    def __init__(self, page, root):
        self.page, self.root = page, root

    wait_for = staticmethod(wait_for)

    def words(self):
        """The picture's accessible name."""
        image = self.root.locator(".widget-image")
        return image.get_attribute("title") if image.count() else None

    def picture(self):
        return self.root.locator(".widget-image").get_attribute("src")

    def alert(self):
        """The error that the panel shows, or ''."""
        shown = self.root.get_by_role("alert")
        return shown.inner_text() if shown.count() and shown.is_visible() else ""

    def control(self, label):
        return self.root.get_by_label(label, exact=True)

    def handle(self, label):
        return self.root.locator(".widget-hbox", has=self.page.get_by_label(label, exact=True)).locator(".noUi-handle")

    def value(self, label):
        """What the box says: the kernel's value, which may be on its way."""
        return float(self.control(label).input_value())

    def handle_value(self, label):
        """Where the handle stands: the page's value, which the kernel may not know yet."""
        return float(self.handle(label).get_attribute("aria-valuenow"))

    def labels(self, kind):
        """The labels of every number box (``input``) or drop-down (``select``)."""
        found = self.root.locator(f"{kind}:not([type=checkbox])").all()
        return [element.evaluate("e => e.labels[0].innerText") for element in found]

    def set(self, label, value):
        """Type a number into a box."""
        box = self.control(label)
        box.fill(f"{value:g}")
        box.press("Tab")

    def choose(self, label, option):
        self.control(label).select_option(option)

    def press(self, label, key, times=1):
        """Press a key on a slider's handle, as fast as the browser takes it."""
        self.focus(self.handle(label))
        for _ in range(times):
            self.page.keyboard.press(key)

    def focus(self, element):
        """Focus an element, and see that JupyterLab lets it have the focus."""

        def focused():
            element.focus()
            self.page.wait_for_timeout(30)
            return element.evaluate("e => e === document.activeElement")

        wait_for(focused, "the focus")

    def reset(self):
        self.root.get_by_role("button", name="Reset").click()
        wait_for(lambda: self.words() == self.start and not self.alert(), "the start to come back")

    def changes(self, action, what):
        """Do ``action`` and wait until picture and words have both changed (the words alone, where it is an error)."""
        words, picture = self.words(), self.picture()
        action()

        def changed():
            return self.words() != words and (self.alert() or self.picture() != picture)

        wait_for(changed, f"{what} to show", explain=self.report)

    def report(self):
        """What stands where, for a test that waited in vain."""
        values = {label: (self.value(label), self.handle_value(label)) for label in self.labels("input")}
        focus = self.page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
        return f"boxes and handles {values}; alert {self.alert()!r}; words {self.words()!r}; focus on {focus}"

    def move_every_control(self):
        """Every control to both ends, or through all its options; each move changes the picture and its words."""
        for label in self.labels("input"):
            self.reset()
            box = self.control(label)
            low, high = (float(box.get_attribute(end)) for end in ("min", "max"))
            for value in (low, high) if self.value(label) != low else (high, low):
                self.changes(lambda label=label, value=value: self.set(label, value), f"{label} = {value:g}")
        for label in self.labels("select"):
            self.reset()
            select = self.control(label)
            options = [option.get_attribute("value") for option in select.locator("option").all()]
            now = select.input_value()
            for option in [option for option in options if option != now] + [now]:
                self.changes(lambda label=label, option=option: self.choose(label, option), f"{label}: {option}")
        self.reset()
