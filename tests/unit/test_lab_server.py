"""The real `python course.py lab`, on a set-up environment: the address, the first page, no question about news."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import course

ROOT = Path(course.__file__).parent


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """(what it printed up to its address, address, token) of a running JupyterLab."""
    if not course.is_set_up(course.VENV):
        pytest.skip("the students' environment is not set up: the tests run elsewhere")
    aside = tmp_path_factory.mktemp("jupyter")
    (aside / "tornado.py").write_text("raise ImportError('of another Python')")  # what a reader's PYTHONPATH may hold
    env = {**os.environ, **course.jupyter_env(aside), "LAB_ARGS": "--no-browser", "PYTHONPATH": str(aside)}
    command = [sys.executable, "course.py", "lab", f"PORT={free_port()}"]
    # A session of its own: the signal that stops the server must not reach the tests.
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    lines, address = [], None
    with process:
        for line in process.stdout:
            lines.append(line)
            address = re.search(r"(http://127\.0\.0\.1:\d+)(/\S*)\?token=(\w+)", line)
            if address:
                break
        try:
            assert address, "no address was printed:\n" + "".join(lines)
            yield "".join(lines), address
        finally:
            process.send_signal(signal.SIGTERM)
            process.stdout.close()
            process.wait(20)


def get(address, path):
    base, _, token = address.groups()
    request = urllib.request.Request(base + path, headers={"Authorization": f"token {token}"})
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@pytest.mark.skipif(os.name == "nt", reason="stops the server with a signal")
class TestLab:
    def test_installs_nothing_and_opens_on_the_first_page(self, server):
        printed, address = server
        assert "Installing" not in printed and "Control-C here stops it" in printed
        assert address.group(2) == "/lab/tree/notebooks/00_start_here.ipynb"

    def test_serves_the_whole_course(self, server):
        names = {entry["name"] for entry in json.loads(get(server[1], "/api/contents"))["content"]}
        assert {"README.md", "course_lib", "tests"} <= names and ".venv" not in names

    def test_asks_nothing_about_news(self, server):
        page = get(server[1], "/lab")
        script = re.search(r'<script id="jupyter-config-data"[^>]*>(.*?)</script>', page, re.DOTALL)
        config = json.loads(script.group(1))
        assert config["news"] == {"disabled": True}
        schema = json.loads(get(server[1], "/lab/api/settings/@jupyterlab/apputils-extension:notification"))["schema"]
        assert schema["properties"]["fetchNews"]["default"] == "false"
        assert schema["properties"]["checkForUpdates"]["default"] is False

    def test_has_the_widgets_and_no_nbgrader(self, server):
        page = get(server[1], "/lab")
        assert "@jupyter-widgets/jupyterlab-manager" in page and "nbgrader" not in page
