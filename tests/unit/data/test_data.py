"""The data sets as a notebook meets them, and the readers below them."""

import gzip
import hashlib
import os
import struct
import subprocess
import sys
import types

import numpy as np
import pytest
from platformdirs.macos import MacOS
from platformdirs.unix import Unix
from platformdirs.windows import Windows

from course_lib import data
from course_lib.data import digits, idx, mnist

GIVEN = os.environ.get("COURSE_DATA")


def idx_bytes(array):
    """The IDX file of a uint8 array."""
    return b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture(autouse=True)
def clean_surroundings(monkeypatch, tmp_path):
    """No variable of the user's, an empty cache, and no network."""
    for name in ("COURSE_DATA", "COURSE_DATASET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    monkeypatch.setattr(mnist, "_refused", {})


@pytest.fixture
def small_mnist(monkeypatch, tmp_path):
    """A folder for COURSE_DATA whose mnist/ holds four small files that count as official."""
    rng = np.random.default_rng(0)
    shapes = [(30, 28, 28), (30,), (10, 28, 28), (10,)]
    arrays = [rng.integers(0, 10, shape, dtype=np.uint8) for shape in shapes]
    files = {name: idx_bytes(array) for name, array in zip(mnist.SHA256, arrays)}
    monkeypatch.setattr(mnist, "SHA256", {name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    return folder.parent, arrays


# Which data set is taken, and what is said about it


def test_mnist_from_course_data(small_mnist, monkeypatch, capsys):
    folder, arrays = small_mnist
    monkeypatch.setenv("COURSE_DATA", str(folder))
    loaded = data.load()
    assert loaded.name == "mnist"
    for got, written in zip((loaded.train_images, loaded.train_labels, loaded.test_images, loaded.test_labels), arrays):
        np.testing.assert_array_equal(got, written)
        assert got.dtype == np.uint8 and got.flags.writeable
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "digits" in said
    assert "MNIST (30 training and 10 test images), from COURSE_DATA" in said


def test_mnist_files_may_be_unpacked_and_may_lie_in_the_cache(small_mnist, capsys):
    folder, arrays = small_mnist
    cache = data.cache_dir() / "mnist"
    cache.mkdir(parents=True)
    for packed in (folder / "mnist").iterdir():
        (cache / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    np.testing.assert_array_equal(data.load("mnist").train_images, arrays[0])
    assert "from the cache" in capsys.readouterr().out


@pytest.mark.skipif(not GIVEN, reason="COURSE_DATA is not set: no MNIST to look at")
def test_the_real_mnist_has_the_official_bytes():
    files = mnist.read_folder(os.path.join(GIVEN, "mnist"))
    official_md5 = {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }
    assert {name: hashlib.md5(content).hexdigest() for name, content in files.items()} == official_md5
    assert idx.parse_idx(files["t10k-images-idx3-ubyte"]).shape == (10000, 28, 28)


def test_without_mnist_the_digits_and_one_line_that_says_why_and_how(capsys):
    assert data.load().name == "digits"
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "UCI digits (1297 training and 500 test images)" in said
    assert "COURSE_OFFLINE forbids" in said and "set COURSE_DATA" in said


def test_a_course_data_without_mnist_is_mentioned(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "nowhere"))
    assert data.load().name == "digits"
    assert "nowhere" in capsys.readouterr().out


def test_the_variable_forces_digits_and_the_argument_wins(small_mnist, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(small_mnist[0]))
    monkeypatch.setenv("COURSE_DATASET", "digits")
    assert data.load().name == "digits"
    assert data.load("mnist").name == "mnist"


def test_mnist_by_name_never_becomes_digits(monkeypatch):
    with pytest.raises(data.MnistUnavailable, match="set COURSE_DATA"):
        data.load("mnist")
    monkeypatch.setenv("COURSE_DATASET", "mnist")
    with pytest.raises(data.MnistUnavailable, match="COURSE_OFFLINE"):
        data.load()


def test_an_unknown_name_is_refused_with_the_right_ones(monkeypatch):
    with pytest.raises(ValueError, match="name is 'cifar'.*'mnist', 'digits'"):
        data.load("cifar")
    monkeypatch.setenv("COURSE_DATASET", "Digits")
    with pytest.raises(ValueError, match="COURSE_DATASET is 'Digits'"):
        data.load()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda packed: packed[: len(packed) // 2], "truncated or damaged"),
        (lambda packed: packed[:10] + b"\xff" * 20 + packed[30:], "truncated or damaged"),
        (lambda packed: gzip.compress(gzip.decompress(packed) + b"\x00"), "not the official file"),
        (lambda packed: b"<html>please sign in</html>", "not the official file"),
        (lambda packed: b"", "not the official file"),
    ],
    ids=["truncated", "scrambled", "one byte more", "a web page", "empty"],
)
def test_a_damaged_file_in_course_data_is_an_error_that_names_it(small_mnist, monkeypatch, damage, message):
    folder, _ = small_mnist
    monkeypatch.setenv("COURSE_DATA", str(folder))
    path = folder / "mnist" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(data.DataFileError, match=f"t10k-images.*{message}"):
        data.load()


@pytest.mark.parametrize("place", ["mnist", "MNIST/raw", "mnist/MNIST/raw", "."])
@pytest.mark.parametrize(
    "called",
    [
        lambda name: name.replace("-idx", ".idx"),
        lambda name: name.replace("-idx", ".idx") + ".gz",
        lambda name: name.upper() + ".GZ",
        lambda name: name.replace("-", "_"),
        lambda name: f"{name}/{name.replace('-idx', '.idx')}",
    ],
    ids=["dot", "dot, packed", "capitals", "underscores", "in folders"],
)
def test_other_archivers_names_and_folders(small_mnist, monkeypatch, tmp_path, called, place):
    folder, arrays = small_mnist
    for packed in (folder / "mnist").iterdir():
        path = tmp_path / "other" / place / called(packed.stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed.read_bytes() if path.suffix.lower() == ".gz" else gzip.decompress(packed.read_bytes()))
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "other"))
    np.testing.assert_array_equal(data.load("mnist").test_images, arrays[2])


def test_of_two_files_the_right_one_is_taken(small_mnist, monkeypatch):
    folder, arrays = small_mnist
    monkeypatch.setenv("COURSE_DATA", str(folder))
    packed = folder / "mnist" / "t10k-labels-idx1-ubyte.gz"
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.write_bytes(b"half")
    np.testing.assert_array_equal(data.load("mnist").test_labels, arrays[3])


@pytest.mark.parametrize("kind", ["folder", "circle", "unreadable"])
def test_a_file_that_cannot_be_read_is_named(small_mnist, monkeypatch, ordinary_user, kind):
    folder = ordinary_user / "data"
    (folder / "mnist").mkdir(parents=True)
    for name in mnist.SHA256:
        (folder / "mnist" / name).write_bytes(b"")
    path = folder / "mnist" / "train-images-idx3-ubyte"
    if kind == "unreadable":
        path.chmod(0)
    else:
        path.unlink()
        path.mkdir() if kind == "folder" else path.symlink_to(path.name)
    monkeypatch.setenv("COURSE_DATA", str(folder))
    monkeypatch.setenv("COURSE_CACHE", str(ordinary_user / "cache"))
    with pytest.raises(data.DataFileError, match="train-images-idx3-ubyte cannot be read"):
        data.load()


def test_an_unreadable_file_in_the_cache_is_told_and_passed_over(small_mnist, monkeypatch, ordinary_user, capsys):
    monkeypatch.setenv("COURSE_CACHE", str(ordinary_user))
    (ordinary_user / "mnist").mkdir()
    for name in mnist.SHA256:
        (ordinary_user / "mnist" / name).touch(mode=0)
    assert data.load().name == "digits"
    assert "train-images-idx3-ubyte cannot be read (Permission denied)" in capsys.readouterr().out
    assert len(list((ordinary_user / "mnist").iterdir())) == 4


# What a data set gives


def test_images_as_real_numbers():
    loaded = data.load("digits")
    x = loaded.train_x()
    assert x.shape == (1297, 1, 28, 28) and x.dtype == np.float32 and x.flags.c_contiguous
    np.testing.assert_array_equal(x[:, 0], loaded.train_images / np.float32(255))
    assert x.min() == 0 and x.max() == 1
    assert loaded.test_x().shape == (500, 1, 28, 28)
    np.testing.assert_array_equal(loaded.test_x(7), loaded.test_x()[:7])
    assert loaded.train_y().dtype == loaded.test_y(7).dtype == np.int64
    np.testing.assert_array_equal(loaded.test_y(7), loaded.test_labels[:7])
    assert "train_images" not in repr(loaded)


def test_the_fingerprint_changes_with_any_byte():
    loaded = data.load("digits")
    images = loaded.test_images.copy()
    images[-1, -1, -1] ^= 1
    changed = data.Dataset("digits", loaded.train_images, loaded.train_labels, images, loaded.test_labels)
    assert changed.fingerprint != loaded.fingerprint == data.load("digits").fingerprint


def test_a_data_set_of_the_wrong_shape_is_refused():
    images, labels = np.zeros((3, 28, 28), np.uint8), np.zeros(3, np.uint8)
    with pytest.raises(data.DataFileError, match="test_labels is uint8 \\(2,\\)"):
        data.Dataset("broken", images, labels, images, labels[:2])


# The digits


def test_the_digits_are_the_same_everywhere():
    # Whole-number arithmetic and a promised random stream: a change here would make trained models of last year stale.
    assert data.load("digits").fingerprint == "9e2aaac9760c"


def test_digits_split_and_classes():
    loaded = data.load("digits")
    seen = np.concatenate([loaded.train_images, loaded.test_images]).reshape(1797, -1)
    assert len(np.unique(seen, axis=0)) == 1797  # no image is both in training and in test
    assert np.bincount(loaded.test_labels, minlength=10).min() >= 40
    assert set(loaded.train_labels) == set(range(10))
    assert loaded.train_images[:, :4].max() == loaded.train_images[:, :, -4:].max() == 0  # a border, as in MNIST


def test_enlarging_is_bilinear():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 17, (5, 8, 8))
    where = np.clip(0.4 * np.arange(20) - 0.3, 0, 7)
    one_way = np.stack([[np.interp(where, np.arange(8), row) for row in image] for image in small])
    both = np.stack([[np.interp(where, np.arange(8), row) for row in image.T] for image in one_way])
    want = np.swapaxes(both, 1, 2) * 255 / 16
    got = digits.enlarge(small)
    assert got.shape == (5, 28, 28)
    assert np.abs(got[:, 4:-4, 4:-4] - want).max() <= 0.5 + 1e-9


def test_loading_the_digits_does_not_import_scikit_learn():
    code = (
        "import sys; from course_lib import data; data.load('digits');"
        "print(sorted({'sklearn', 'scipy', 'torch', 'ipywidgets', 'requests'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.endswith("[]\n"), ran.stdout


def test_no_scikit_learn_is_said_in_words(monkeypatch):
    monkeypatch.setattr(digits.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install scikit-learn"):
        data.load("digits")


def test_a_scikit_learn_without_the_digits_is_said_in_words(monkeypatch, tmp_path):
    elsewhere = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(digits.importlib.util, "find_spec", lambda name: elsewhere)
    with pytest.raises(FileNotFoundError, match="has no digits at"):
        data.load("digits")


def test_a_damaged_digits_file_is_named(monkeypatch, tmp_path):
    row = b"1," * 64 + b"3\n"
    for content in (b"not gzip", gzip.compress(b"1,2,3\n"), gzip.compress(b"words\n"), gzip.compress(row)[:-9]):
        path = tmp_path / "digits.csv.gz"
        path.write_bytes(content)
        monkeypatch.setattr(digits, "digits_path", lambda path=path: path)
        with pytest.raises(data.DataFileError, match="digits.csv.gz"):
            data.load("digits")


# IDX files


@pytest.mark.parametrize("shape", [(5,), (3, 4, 2), (0, 28, 28), (1, 1)])
def test_idx_round_trip(shape):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    np.testing.assert_array_equal(idx.parse_idx(idx_bytes(array)), array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing"),
        (b"\x00\x00", "should start with 00 00 08"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00\x00\x00\x00", "starts with 00 00 0d 01"),
        (b"\x00\x00\x08\x00", "0 dimensions"),
        (b"\x00\x00\x08\x03\x00\x00\x00\x01", "16 bytes for the header"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x05abcd", "5 bytes, and 4 follow"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x03abcd", "3 bytes, and 4 follow"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "79228162458924105385300197375 bytes, and 0 follow"),
    ],
)
def test_malformed_idx_is_named(content, message):
    with pytest.raises(data.DataFileError, match=f"some.idx: .*{message}"):
        idx.parse_idx(content, name="some.idx")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\x00\x08\x41" + b"\x00\x00\x00\x01" * 65 + b"x", "65 dimensions; an array has 64 at most"),
        (b"\x00\x00\x08\x04" + b"\xff" * 12 + bytes(4), "so large"),
    ],
    ids=["65 axes", "2**96 times nothing"],
)
def test_headers_that_numpy_cannot_hold_are_refused_in_our_words(content, message):
    with pytest.raises(data.DataFileError, match=f"some.idx: .*{message}"):
        idx.parse_idx(content, name="some.idx")
    ones = np.ones((1,) * 64, np.uint8)
    np.testing.assert_array_equal(idx.parse_idx(idx_bytes(ones)), ones)


def test_no_more_is_unpacked_than_the_header_promises(tmp_path):
    """A small file of many zeros: read one byte beyond its promise, to be seen, and no further."""
    for head, read in ((idx_bytes(np.zeros((2, 3), np.uint8)), 12 + 6 + 1), (b"<html>", idx.STRANGE)):
        path = tmp_path / "bomb.gz"
        path.write_bytes(gzip.compress(head + bytes(1 << 24)))
        assert len(idx.read_bytes(path)) == read
        path.write_bytes(head + bytes(1 << 24))
        assert len(idx.read_bytes(path)) == read


def test_a_header_that_promises_too_much_is_refused_before_anything_is_read(tmp_path):
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(b"\x00\x00\x08\x03" + b"\xff" * 12 + bytes(99)))
    with pytest.raises(data.DataFileError, match="t10k-images.*promises 79228162458924105385300197375 bytes"):
        idx.read_bytes(path)


# The cache folder


@pytest.mark.parametrize("system, xdg, parent", [
    (Unix, "xdg", "xdg"), (Unix, "", ".cache"), (MacOS, "xdg", "xdg"), (MacOS, "", "Library/Caches"),
    (Windows, "xdg", "local"),
])  # fmt: skip
def test_cache_dir_follows_the_variables(monkeypatch, tmp_path, system, xdg, parent):
    assert data.cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("COURSE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / xdg) if xdg else "")
    monkeypatch.setattr("platformdirs.windows.get_win_folder", lambda name: str(tmp_path / "local"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("platformdirs.PlatformDirs", system)
    assert data.cache_dir() == tmp_path / parent / "compression-course"


def test_a_cache_that_a_mac_has_already_is_kept(monkeypatch, tmp_path):
    monkeypatch.delenv("COURSE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr("platformdirs.PlatformDirs", MacOS)
    (tmp_path / "Library" / "Caches" / "compression-course").mkdir(parents=True)
    assert data.cache_dir() == tmp_path / "Library" / "Caches" / "compression-course"
    (tmp_path / "xdg" / "compression-course").mkdir(parents=True)
    assert data.cache_dir() == tmp_path / "xdg" / "compression-course"


NO_SUCH_USER = "~no-such-user-of-this-computer"


def without_home(monkeypatch):
    """No HOME, and a user whom the list of users does not know."""
    for name in ("COURSE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA", "HOME", "USERPROFILE", "HOMEPATH"):
        monkeypatch.delenv(name, raising=False)
    if os.name != "nt":
        monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)


@pytest.mark.parametrize("chosen", [NO_SUCH_USER, f"{NO_SUCH_USER}/cache", None])
def test_no_home_folder_is_said_in_one_line_and_the_course_goes_on(monkeypatch, tmp_path, capsys, chosen):
    monkeypatch.setattr("course_lib.data.cache._said", set())
    without_home(monkeypatch)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if chosen:
        monkeypatch.setenv("COURSE_CACHE", chosen)
    folder = data.cache_dir()
    assert folder.parent == tmp_path == data.cache_dir().parent
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1 and str(folder) in printed and (chosen or "no home folder") in printed
    assert data.cache_trouble() in printed
    with data.written_aside(folder / "file") as aside:
        aside.write_text("kept")


def test_a_course_data_in_no_home_folder(monkeypatch, capsys):
    monkeypatch.setenv("COURSE_DATA", NO_SUCH_USER)
    assert data.load().name == "digits"
    assert NO_SUCH_USER in capsys.readouterr().out


def test_written_aside_leaves_the_old_file_or_the_whole_new_one(tmp_path):
    path = tmp_path / "sub" / "file"
    with data.written_aside(path) as aside:
        aside.write_text("one")
        assert not path.exists()
    with pytest.raises(KeyboardInterrupt), data.written_aside(path) as aside:
        aside.write_text("tw")
        raise KeyboardInterrupt
    assert path.read_text() == "one" and list(path.parent.iterdir()) == [path]


def test_official_files_under_each_others_names_are_called_by_their_own(monkeypatch, tmp_path):
    contents = {name: name.encode() for name in mnist.SHA256}
    monkeypatch.setattr(mnist, "SHA256", {name: hashlib.sha256(one).hexdigest() for name, one in contents.items()})
    images, labels, *others = contents
    for name, holds in {images: images, labels: others[1], others[0]: others[0], others[1]: labels}.items():
        (tmp_path / name).write_bytes(contents[holds])
    with pytest.raises(data.DataFileError, match=f"{labels}: this is {others[1]} under another's name"):
        mnist.read_folder(tmp_path)


def test_the_one_file_that_is_missing_is_named(monkeypatch, tmp_path, capsys):
    (tmp_path / "mnist").mkdir()
    *here, missing = mnist.SHA256
    for name in here:
        (tmp_path / "mnist" / f"{name}.gz").touch()
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    monkeypatch.delenv("COURSE_DATASET", raising=False)
    assert data.load().name == "digits"
    assert f"where {missing} is not" in capsys.readouterr().out
