"""What decks load: fetched once, checked, kept; and said in words where it cannot be had."""

import io
import os
import stat
import tarfile

import pytest

import course
from pages import libraries

posix = pytest.mark.skipif(os.name == "nt", reason="uses a shell script in place of npm")


def archive(files):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in files:
            tar.addfile(tarfile.TarInfo(f"package/{name}"))
    return packed.getvalue()


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Two libraries in place of the real ones, an empty cache, and what npm would bring."""
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    packed = {}
    for name in ("REVEAL", "MATHJAX"):
        real = getattr(libraries, name)
        content = archive(real.files)
        source = tmp_path / real.archive
        source.write_bytes(content)
        monkeypatch.setattr(libraries, name, real._replace(sha512=libraries._digest(source)))
        packed[real.archive] = source
    return packed


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """npm as a script: ``npm("...")`` says what it does in the folder where it is called."""
    def install(script):
        (tmp_path / "bin").mkdir(exist_ok=True)
        path = tmp_path / "bin" / "npm"
        path.write_text(f"#!/bin/sh\necho $2 >> {tmp_path}/called\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/bin{os.pathsep}/usr/bin")
    return install


def called(tmp_path):
    return (tmp_path / "called").read_text().split() if (tmp_path / "called").exists() else []


@posix
def test_each_is_fetched_once_and_kept(small, npm, tmp_path):
    npm(f'cp {tmp_path}/$(echo "$2" | tr @ -).tgz .')
    for deck in ("a", "b", "a"):
        libraries.place(tmp_path / deck)
        for library in (libraries.REVEAL, libraries.MATHJAX):
            assert all((tmp_path / deck / "lib" / library.name / name).exists() for name in library.files)
    assert called(tmp_path) == [f"{one.name}@{one.version}" for one in (libraries.REVEAL, libraries.MATHJAX)]


@posix
@pytest.mark.parametrize("script, message", [
    ("echo no such host >&2; exit 1", r"npm did not fetch reveal.js .* \(no such host\): check the network"),
    ("exit 0", "npm did not fetch"),
    ("echo other > reveal.js-5.2.1.tgz", "not the one this course was tested with"),
])
def test_what_npm_does_not_bring_is_said(small, npm, tmp_path, script, message):
    npm(script)
    with pytest.raises(course.Problem, match=message):
        libraries.place(tmp_path / "deck")
    assert not (tmp_path / "deck").exists()
    assert list((tmp_path / "cache" / "decks").iterdir()) == []


def test_without_npm_the_message_says_what_to_do(small, tmp_path, monkeypatch):
    monkeypatch.setattr(libraries.shutil, "which", lambda name: None)
    with pytest.raises(course.Problem, match="there is no npm: install Node.js .* or copy reveal.js-5.2.1.tgz into"):
        libraries.place(tmp_path / "deck")


def test_archives_that_are_there_need_no_npm(small, tmp_path, monkeypatch):
    monkeypatch.setattr(libraries.shutil, "which", lambda name: None)
    (tmp_path / "cache" / "decks").mkdir(parents=True)
    for name, source in small.items():
        (tmp_path / "cache" / "decks" / name).write_bytes(source.read_bytes())
    libraries.place(tmp_path / "deck")
    assert (tmp_path / "deck" / "lib" / "mathjax" / "es5" / "tex-svg.js").exists()
