"""Downloading, against servers on this machine that misbehave in the ways real ones do."""

import gzip
import hashlib
import multiprocessing
import os
import shutil
import ssl
import struct
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import filelock
import numpy as np
import pytest

from course_lib import data
from course_lib.data import download as downloading
from course_lib.data import mnist

NOBODY = "http://127.0.0.1:9/"  # the discard port: nothing listens, and the system says so at once


def make_files():
    """The four IDX files of a small data set."""
    rng = np.random.default_rng(0)
    files = {}
    for name, shape in zip(mnist.SHA256, [(300, 28, 28), (300,), (10, 28, 28), (10,)]):
        header = b"\x00\x00\x08" + struct.pack(f">B{len(shape)}I", len(shape), *shape)
        files[name] = header + rng.integers(0, 10, shape, dtype=np.uint8).tobytes()
    return files


FILES = make_files()
DIGESTS = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


class Mirror(ThreadingHTTPServer):
    """A server of FILES whose answers ``spoil(name, packed) -> packed`` may change, and which counts what was asked."""

    daemon_threads = True

    def __init__(self, spoil=lambda name, packed: packed, *, slow_s=0.0):
        super().__init__(("127.0.0.1", 0), Answer)
        self.spoil, self.slow_s, self.asked = spoil, slow_s, []
        self.address = f"http://127.0.0.1:{self.server_port}/mnist/"


class Answer(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(404)  # as a storage bucket does for a folder: an answer all the same
        self.end_headers()

    def do_GET(self):
        name = self.path.rpartition("/")[2].removesuffix(".gz")
        self.server.asked.append(name)
        packed = gzip.compress(FILES[name], mtime=0)
        sent = self.server.spoil(name, packed)
        if sent is None:
            return self.send_error(503)
        self.send_response(200)
        self.send_header("Content-Length", str(len(packed)))
        self.end_headers()
        time.sleep(self.server.slow_s)
        self.wfile.write(sent)

    def log_message(self, *_):
        pass


@contextmanager
def serving(*args, **kwargs):
    with Mirror(*args, **kwargs) as mirror:
        threading.Thread(target=mirror.serve_forever, args=(0.01,), daemon=True).start()
        yield mirror
        mirror.shutdown()


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """An empty cache, a network that may be tried, and FILES for the official ones."""
    for name in ("COURSE_DATA", "COURSE_DATASET", "COURSE_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mnist, "SHA256", DIGESTS)
    monkeypatch.setattr(mnist, "_refused", {})


def files_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


ALL = sorted(f"{name}.gz" for name in FILES)


def test_a_download_is_kept_and_not_repeated(capsys):
    with serving() as mirror:
        first = data.load(mirrors=[mirror.address])
        second = data.load(mirrors=[mirror.address])
    assert first.name == "mnist" and len(first.train_images) == 300
    assert second.fingerprint == first.fingerprint
    assert sorted(mirror.asked) == sorted(FILES)
    assert files_in(data.cache_dir() / "mnist") == ALL
    said = capsys.readouterr()
    assert "from the network" in said.out and "from the cache" in said.out
    assert "train-images-idx3-ubyte.gz" in said.err and "100%" in said.err  # the bar


def test_no_network_is_probed_once_and_remembered(monkeypatch, capsys):
    probes = []

    def probe(mirrors):
        probes.append(mirrors)
        return downloading.any_answers(mirrors)

    monkeypatch.setattr(mnist, "any_answers", probe)
    start = time.monotonic()
    assert data.load(mirrors=[NOBODY]).name == "digits"
    assert data.load(mirrors=[NOBODY]).name == "digits"
    monkeypatch.setattr(mnist, "_refused", {})  # another notebook, in another process
    assert data.load(mirrors=[NOBODY]).name == "digits"
    assert time.monotonic() - start < 5
    assert len(probes) == 1
    assert "there is no network (tried a few minutes ago)" in capsys.readouterr().out

    with serving() as mirror, pytest.raises(data.MnistUnavailable, match="connect and"):
        data.load("mnist", mirrors=[NOBODY])  # asked for by name: tried again
    assert len(probes) == 2

    with serving() as mirror:
        assert data.load(mirrors=[mirror.address]).name == "digits"  # the network is back, but that is remembered
        monkeypatch.setattr(mnist, "REMEMBER_S", 0)
        assert data.load(mirrors=[mirror.address]).name == "mnist"  # for a while only


def test_a_silent_network_costs_no_more_than_the_probe():
    """Names that never resolve and hosts that never answer: the probe waits its time and no longer."""
    with serving() as mirror:
        mirror.RequestHandlerClass = type("Silent", (Answer,), {"do_HEAD": lambda self: time.sleep(2)})
        start = time.monotonic()
        assert not downloading.any_answers([mirror.address], within_s=0.3)
        assert time.monotonic() - start < 1.5


def test_offline_never_tries(monkeypatch):
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    with serving() as mirror:
        assert data.load(mirrors=[mirror.address]).name == "digits"
        with pytest.raises(data.MnistUnavailable, match="COURSE_OFFLINE"):
            data.load("mnist", mirrors=[mirror.address])
    assert mirror.asked == []


def test_first_mirror_down_second_up():
    with serving() as up:
        assert data.load(mirrors=[NOBODY, up.address]).name == "mnist"


def test_a_mirror_that_refuses_is_asked_once_only():
    with serving(lambda name, packed: None) as refusing, serving() as up:
        assert data.load(mirrors=[refusing.address, up.address]).name == "mnist"
    assert len(refusing.asked) == 1 and len(up.asked) == 4


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda name, packed: packed[: len(packed) // 2], "broke off"),
        (lambda name, packed: b"x" * len(packed), "not the official file"),
        (lambda name, packed: packed[:20] + b"?" * (len(packed) - 20), "truncated or damaged"),
        (lambda name, packed: None, "answered 503"),
    ],
    ids=["truncated", "wrong checksum", "damaged gzip", "refused"],
)
def test_a_bad_answer_is_never_kept(spoil, why):
    with serving(spoil) as bad:
        with pytest.raises(data.MnistUnavailable, match=why):
            data.load("mnist", mirrors=[bad.address])
        assert files_in(data.cache_dir() / "mnist") == ["failed.txt"]
        with serving() as good:
            assert data.load("mnist", mirrors=[bad.address, good.address]).name == "mnist"


# What kept a download from us, and what to do about it


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (403, "answered 403, it does not let you in"),
        (404, "answered 404, it no longer has the file"),
        (500, "answered 500, it is busy or broken; try again later"),
        (429, "answered 429, it is busy"),
        (407, "answered 407, the proxy wants a user name"),
    ],
)
def test_a_refusal_says_what_it_means(status, why):
    with serving() as mirror:
        mirror.RequestHandlerClass = type("Refusing", (Answer,), {"do_GET": lambda self: self.send_error(status)})
        with pytest.raises(data.MnistUnavailable, match=f"{why}.*mend that and call"):
            data.load("mnist", mirrors=[mirror.address])


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><p>Welcome, guest", b"\n <html>", gzip.compress(b"<html>")])
def test_a_sign_in_page_of_the_network_is_called_one(body):
    def answer(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    with serving() as portal:
        portal.RequestHandlerClass = type("Portal", (Answer,), {"do_GET": answer, "do_HEAD": answer})
        with pytest.raises(data.MnistUnavailable, match="sent a web page instead of the file; .* sign in"):
            data.load("mnist", mirrors=[portal.address])


def test_a_mirror_that_leads_round_in_a_circle():
    def again(self):
        self.send_response(302)
        self.send_header("Location", self.path)
        self.end_headers()

    with serving() as portal:
        portal.RequestHandlerClass = type("Circle", (Answer,), {"do_GET": again})
        with pytest.raises(data.MnistUnavailable, match="round in a circle"):
            data.load("mnist", mirrors=[portal.address])


def test_a_mirror_that_falls_asleep_is_too_slow(monkeypatch):
    monkeypatch.setattr(downloading, "READ_S", 0.2)
    with serving(slow_s=1) as mirror, pytest.raises(data.MnistUnavailable, match="too slow; try again later"):
        data.load("mnist", mirrors=[mirror.address])


@pytest.mark.parametrize(
    ("proxy", "why"),
    [
        ("http://127.0.0.1:9", "the proxy http://127.0.0.1:9 cannot be reached; correct or unset HTTPS_PROXY"),
        ("http://127.0.0.1:99999", "is no address that can be used; correct or unset HTTPS_PROXY"),
        ("socks5://127.0.0.1:9", "is no address that can be used"),
        ("rubbish://x", "is no address that can be used"),
        ("http://me:secret@127.0.0.1:9", "the proxy 127.0.0.1:9 cannot be reached"),
    ],
)
def test_a_wrong_proxy_is_not_called_no_network(monkeypatch, proxy, why):
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("no_proxy", raising=False)
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, proxy)
    with serving() as mirror, pytest.raises(data.MnistUnavailable) as caught:
        data.load("mnist", mirrors=[mirror.address])
    assert why in str(caught.value) and "no network" not in str(caught.value) and "secret" not in str(caught.value)


def test_a_proxy_that_wants_a_password(monkeypatch):
    def refuse(self):
        self.send_error(407)

    with serving() as proxy:
        proxy.RequestHandlerClass = type("Proxy", (Answer,), {"do_CONNECT": refuse})
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        monkeypatch.setenv("https_proxy", proxy.address)
        with pytest.raises(data.MnistUnavailable, match="said 407 Proxy Authentication Required; .*password"):
            data.load("mnist", mirrors=["https://mirror.invalid/"])


def test_a_refused_certificate_is_not_called_no_network(monkeypatch, tmp_path):
    """A server that signed its own certificate, as the filters of some schools do."""
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key",
         "-out", tmp_path / "certificate"], capture_output=True, check=False,
    ) if shutil.which("openssl") else None  # fmt: skip
    if made is None or made.returncode:
        pytest.skip("openssl, which makes the certificate, is not here")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    with serving() as mirror:
        mirror.socket = context.wrap_socket(mirror.socket, server_side=True)
        mirror.handle_error = lambda *_: None
        address = mirror.address.replace("http:", "https:")
        refused = "its certificate was refused .*self.signed.*REQUESTS_CA_BUNDLE"
        with pytest.raises(data.MnistUnavailable, match=refused):
            data.load("mnist", mirrors=[address])
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "nowhere"))
        with pytest.raises(data.MnistUnavailable, match="invalid path: .*nowhere; correct or unset REQUESTS_CA_BUNDLE"):
            data.load("mnist", mirrors=[address])
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificate"))
        assert data.load("mnist", mirrors=[address]).name == "mnist"


def test_a_disk_that_fills_up_in_the_middle(monkeypatch):
    def full(self, url, part, pooch):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", full)
    with serving() as mirror, pytest.raises(data.MnistUnavailable, match="can be written .No space left on device"):
        data.load("mnist", mirrors=[mirror.address])
    assert files_in(data.cache_dir() / "mnist") == ["failed.txt"]


# A cache that a class shares


def test_what_is_downloaded_may_be_read_by_whom_the_umask_says(ordinary_user, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(ordinary_user))
    before = os.umask(0o022)
    try:
        with serving() as mirror:
            data.load("mnist", mirrors=[mirror.address])
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (ordinary_user / "mnist").iterdir()} == {0o644}


@pytest.mark.parametrize("hindrance", ["another user's lock", "another user's file", "a read-only folder"])
def test_a_shared_cache_with_a_hindrance(ordinary_user, monkeypatch, capsys, hindrance):
    monkeypatch.setenv("COURSE_CACHE", str(ordinary_user))
    folder = ordinary_user / "mnist"
    folder.mkdir()
    if hindrance == "a read-only folder":
        folder.chmod(0o555)
    else:
        (folder / (".lock" if "lock" in hindrance else ALL[0])).touch(mode=0)
    with serving() as mirror:
        assert data.load("mnist", mirrors=[mirror.address]).name == "mnist"
    printed = capsys.readouterr().out
    assert ("could not be kept (Permission denied)" in printed) == (hindrance == "a read-only folder")
    assert files_in(folder) == ([] if hindrance == "a read-only folder" else ALL)


def test_a_truncated_file_without_a_length_is_caught_by_its_check():
    def half(name, packed):
        return packed[: len(packed) // 2]

    with serving(half) as bad, serving() as good:
        bad.RequestHandlerClass = type("NoLength", (Answer,), {"send_header": lambda self, name, value: None})
        with pytest.raises(data.MnistUnavailable, match="truncated"):
            data.load("mnist", mirrors=[bad.address])
        assert data.load("mnist", mirrors=[bad.address, good.address]).name == "mnist"


def test_a_damaged_file_in_the_cache_is_replaced():
    with serving() as mirror:
        data.load(mirrors=[mirror.address])
        path = data.cache_dir() / "mnist" / "t10k-images-idx3-ubyte.gz"
        path.write_bytes(path.read_bytes()[:100])
        assert data.load(mirrors=[mirror.address]).name == "mnist"
    assert mirror.asked.count("t10k-images-idx3-ubyte") == 2 and len(mirror.asked) == 5


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path, capsys):
    a_file = tmp_path / "a_file"
    a_file.write_text("in the way")
    monkeypatch.setenv("COURSE_CACHE", str(a_file / "cache"))  # cannot be made, whoever asks
    with serving() as mirror:
        assert data.load(mirrors=[mirror.address]).name == "mnist"
    assert "could not be kept" in capsys.readouterr().out
    assert data.load(mirrors=[NOBODY]).name == "digits"
    monkeypatch.setattr(mnist, "any_answers", lambda mirrors: pytest.fail("the failure was not remembered"))
    assert data.load(mirrors=[NOBODY]).name == "digits"


def test_no_place_to_write_at_all_is_said_in_words(monkeypatch, tmp_path):
    a_file = tmp_path / "a_file"
    a_file.write_text("in the way")
    monkeypatch.setenv("COURSE_CACHE", str(a_file / "cache"))
    monkeypatch.setattr(mnist.tempfile, "tempdir", str(a_file))
    with serving() as mirror, pytest.raises(data.MnistUnavailable, match="neither the cache nor the temporary folder"):
        data.load("mnist", mirrors=[mirror.address])


def test_an_interrupted_download_goes_on_where_it_stopped():
    fetch = downloading._fetch

    def fetch_or_stop(mirror, path, digest, progress):
        if path.name.startswith("t10k-images"):
            (path.parent / f".{path.name}.abc.part").write_bytes(b"half")  # what a killed process leaves behind
            raise KeyboardInterrupt
        return fetch(mirror, path, digest, progress)

    folder = data.cache_dir() / "mnist"
    with serving() as mirror:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(downloading, "_fetch", fetch_or_stop)
            data.load(mirrors=[mirror.address])
        assert files_in(folder) != ALL
        assert data.load(mirrors=[mirror.address]).name == "mnist"
    assert sorted(mirror.asked) == sorted(FILES)  # the first two were not fetched again
    assert files_in(folder) == ALL


def test_stopping_in_the_middle_of_a_file_leaves_no_part():
    def stop(self, url, part, pooch):
        part.write_bytes(b"half")
        assert len(files_in(part.parent)) == 1
        raise KeyboardInterrupt

    with serving() as mirror, pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("pooch.HTTPDownloader.__call__", stop)
        data.load(mirrors=[mirror.address])
    assert files_in(data.cache_dir() / "mnist") == []


def _download_in_a_process(folder, address, results):
    try:
        files = downloading.download(folder, mirrors=[address], sha256=DIGESTS, progress=False)
        results.put(hashlib.sha256(b"".join(files.values())).hexdigest())
    except BaseException as error:
        results.put(repr(error))
        raise


def test_two_processes_at_once_download_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    with serving(slow_s=0.2) as mirror:
        both = [context.Process(target=_download_in_a_process, args=(tmp_path, mirror.address, results)) for _ in "ab"]
        for process in both:
            process.start()
        got = {results.get(timeout=60) for _ in both}
        for process in both:
            process.join(timeout=60)
    assert got == {hashlib.sha256(b"".join(FILES.values())).hexdigest()}
    assert sorted(mirror.asked) == sorted(FILES)  # each file once: the second process waited
    assert files_in(tmp_path) == ALL


def test_waiting_for_another_notebook_is_said_and_ends(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(downloading, "WAIT_S", 0.1)
    held = threading.Event()
    done = threading.Event()

    def hold():
        with filelock.FileLock(tmp_path / ".lock"):
            held.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    try:
        with pytest.raises(downloading.DownloadFailed, match="another process has been downloading"):
            downloading.download(tmp_path, mirrors=[NOBODY], sha256=DIGESTS)
    finally:
        done.set()
        holder.join()
    assert "waiting for it" in capsys.readouterr().out


def test_no_mirrors_at_all(tmp_path):
    with pytest.raises(downloading.DownloadFailed, match="no mirror to ask"):
        downloading.download(tmp_path, mirrors=[], sha256=DIGESTS)


@pytest.mark.parametrize("name, value", [("Content-Length", "abc"), ("Location", "http://[::bad/")])
def test_an_answer_with_a_header_of_nonsense_is_that_mirrors_fault(monkeypatch, name, value):
    def nonsense(answer):
        answer.send_response(302 if name == "Location" else 200)
        answer.send_header(name, value)
        answer.end_headers()

    with serving() as mirror:
        monkeypatch.setattr(Answer, "do_GET", nonsense)
        with pytest.raises(downloading.DownloadFailed, match=r"^127\.0\.0\.1:\d+: .+"):
            downloading.download(data.cache_dir() / "mnist", mirrors=[mirror.address], sha256=DIGESTS, progress=False)
    assert files_in(data.cache_dir() / "mnist") == []
