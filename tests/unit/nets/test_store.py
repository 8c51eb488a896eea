"""The cache of trained networks: whole files only, one maker at a time, never a stale answer."""

import errno
import os
import subprocess
import sys
import textwrap
import time
from dataclasses import asdict, replace

import pytest
import torch

from course_lib import data
from course_lib.nets import cached, clear_cache, store, trained


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    return tmp_path / store.FOLDER


class Maker:
    """Makes a text, and counts how often it had to."""

    def __init__(self, text="made"):
        self.text, self.times = text, 0

    def __call__(self):
        self.times += 1
        return self.text


def keep(make, name="thing", recipe=None):
    return cached(name, recipe or {"epochs": 3}, make, save=lambda text, path: path.write_text(text),
                  load=lambda path: path.read_text())


def only_file(folder):
    (path,) = folder.glob("*.safetensors")
    return path


def test_made_once_then_read():
    make = Maker()
    assert [keep(make) for _ in range(3)] == ["made"] * 3
    assert make.times == 1


@pytest.mark.parametrize("recipe", [{"epochs": 4}, {"epochs": 3, "seed": 0}, {"epochs": "3"}])
def test_another_recipe_or_name_is_another_file(recipe):
    keep(Maker("first"))
    assert keep(Maker("second"), recipe=recipe) == "second"
    assert keep(Maker("third"), name="other") == "third"
    assert keep(Maker("unused")) == "first"


@pytest.mark.parametrize("damage", [
    lambda content: content[:2],
    lambda content: b"",
    lambda content: content + b"x",
    lambda content: b"M" + content[1:],
], ids=["truncated", "empty", "longer", "one byte changed"])
def test_a_damaged_file_is_made_again_and_said(folder, capsys, damage):
    keep(Maker())
    path = only_file(folder)
    path.write_bytes(damage(path.read_bytes()))
    make = Maker()
    assert keep(make) == "made" and make.times == 1
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1 and "is damaged" in printed and str(path) in printed
    assert keep(make) == "made" and make.times == 1 and capsys.readouterr().out == ""


def test_a_file_that_does_not_load_is_made_again(capsys):
    keep(Maker())

    def load(path):
        raise KeyError("fc1.weight")

    make = Maker()
    cached("thing", {"epochs": 3}, make, save=lambda text, path: path.write_text(text), load=load)
    assert make.times == 1 and "KeyError" in capsys.readouterr().out


def test_nothing_half_written_and_nothing_kept_when_making_fails(folder):
    def fail():
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        keep(fail)
    assert list(folder.glob("*.safetensors")) == [] and list(folder.glob(".*.part")) == []
    assert keep(Maker()) == "made"


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path, capsys):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "a file"))  # even root cannot make a folder in a file
    make = Maker()
    assert keep(make) == "made" and make.times == 1
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1 and "not be kept" in printed and "COURSE_CACHE" in printed
    assert clear_cache() == 0


def test_a_disk_that_fills_up(monkeypatch, capsys):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data, "written_aside", full)
    assert keep(Maker()) == "made"
    assert "No space left" in capsys.readouterr().out


# ---- a cache that a class shares


@pytest.fixture
def umask():
    """Set the umask for one test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.skipif(os.name == "nt", reason="rights of files are those of POSIX here")
@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_what_is_kept_may_be_read_by_whom_the_umask_says(folder, umask, mask):
    umask(mask)
    keep(Maker())
    assert only_file(folder).stat().st_mode & 0o777 == 0o666 & ~mask
    assert {path.stat().st_mode & 0o777 for path in folder.glob(".*.lock")} == {0o666 & ~mask}
    assert folder.stat().st_mode & 0o777 == 0o777 & ~mask
    with data.written_aside(folder / "new" / "file") as aside:
        aside.write_text("x")
    assert (folder / "new" / "file").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_file_that_cannot_be_read_is_not_a_damaged_one(ordinary_user, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_CACHE", str(ordinary_user))
    keep(Maker())
    path = only_file(ordinary_user / store.FOLDER)
    path.chmod(0)
    path.parent.chmod(0o555)
    make = Maker("anew")
    assert keep(make) == "anew"
    printed = capsys.readouterr().out
    assert printed.count(f"{path} cannot be read (Permission denied); it is left alone") == 1
    assert "damaged" not in printed
    assert path.exists()
    path.parent.chmod(0o755)  # where the folder can be written, the next one may read what this one makes
    assert [keep(make), keep(Maker())] == ["anew", "anew"]
    assert capsys.readouterr().out.count("\n") == 1


def test_a_shared_cache_that_is_read_only_is_read_without_a_word(ordinary_user, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_CACHE", str(ordinary_user))
    keep(Maker())
    for folder in (ordinary_user / store.FOLDER, ordinary_user):
        folder.chmod(0o555)
    make = Maker()
    assert keep(make) == "made" and make.times == 0 and capsys.readouterr().out == ""
    assert keep(make, name="other") == "made"
    assert "other will not be kept" in capsys.readouterr().out


def test_what_cannot_be_forgotten_is_told(ordinary_user, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_CACHE", str(ordinary_user))
    keep(Maker())
    (ordinary_user / store.FOLDER).chmod(0o555)
    assert clear_cache() == 0 and "cannot be removed (Permission denied)" in capsys.readouterr().out


def test_another_users_lock_holds_nobody_up(ordinary_user, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_CACHE", str(ordinary_user))
    keep(Maker())
    only_file(ordinary_user / store.FOLDER).unlink()
    (lock,) = (ordinary_user / store.FOLDER).glob(".*.lock")
    lock.chmod(0o400)
    make = Maker()
    assert [keep(make), keep(make)] == ["made", "made"] and make.times == 1 and capsys.readouterr().out == ""
    assert [path.name for path in lock.parent.glob(".*")] == [lock.name]


def test_a_temporary_folder_that_is_full_costs_nothing(monkeypatch, tmp_path, capsys):
    (tmp_path / "a file").write_text("")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "a file"))
    make = Maker()
    assert [keep(make), keep(make)] == ["made", "made"] and make.times == 1 and capsys.readouterr().out == ""


SLOW_MAKER = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from course_lib.nets import cached

    def make():
        with open("made.log", "a") as log:
            log.write("x")
        Path("started").touch()
        time.sleep(float(sys.argv[1]))
        return "made by another"

    print(cached("thing", {"epochs": 3}, make, save=lambda text, path: path.write_text(text),
                 load=lambda path: path.read_text()))
""")


def another_process(tmp_path, seconds):
    (tmp_path / "maker.py").write_text(SLOW_MAKER)
    process = subprocess.Popen([sys.executable, "maker.py", str(seconds)], cwd=tmp_path, stdout=subprocess.PIPE,
                               text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while not (tmp_path / "started").exists():
        assert process.poll() is None and time.monotonic() < deadline, "the other process did not start"
        time.sleep(0.02)
    return process


def test_the_second_of_two_processes_waits_and_reads(tmp_path, capsys):
    other = another_process(tmp_path, seconds=2)
    make = Maker()
    assert keep(make) == "made by another" and make.times == 0
    assert "another notebook is training thing; waiting" in capsys.readouterr().out
    assert other.communicate()[0].strip() == "made by another"
    assert (tmp_path / "made.log").read_text() == "x"


def test_a_process_that_was_killed_holds_nobody_up(tmp_path):
    other = another_process(tmp_path, seconds=600)
    other.kill()
    other.communicate()
    assert keep(Maker()) == "made"


def test_a_lock_that_stays_is_waited_for_so_long_and_no_longer(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "WAIT_S", 0.2)
    other = another_process(tmp_path, seconds=600)
    assert keep(Maker()) == "made"
    other.kill()
    other.communicate()


def test_clear_cache_takes_networks_and_nothing_else(folder):
    keep(Maker())
    keep(Maker(), name="other")
    (folder / ".thing.safetensors.abc.part").touch()
    (folder / "notes.txt").touch()
    (folder.parent / "mnist").mkdir()
    assert clear_cache() == 2
    assert [path.name for path in folder.iterdir()] == ["notes.txt"] and (folder.parent / "mnist").exists()
    assert clear_cache() == 0


@pytest.fixture
def quick(monkeypatch):
    """Recipes of one epoch."""
    monkeypatch.setattr(store, "RECIPES", {key: replace(recipe, epochs=1) for key, recipe in store.RECIPES.items()})


def same(first, second):
    first, second = first.state_dict(), second.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_trained_loads_what_it_made(digits, quick, folder, monkeypatch):
    first = trained("lenet_300_100", digits, progress=False)
    monkeypatch.setattr(store, "train", None)  # would fail if called
    second = trained("lenet_300_100", digits, progress=False)
    assert same(first, second) and not first.training and not second.training
    assert all(p.requires_grad for p in second.parameters())
    assert only_file(folder).read_bytes()[8:9] == b"{"  # the header of safetensors, no pickle


@pytest.mark.parametrize(("name", "recipe"), store.RECIPES.items(), ids=map(" on ".join, store.RECIPES))
def test_the_whole_recipe_reaches_training(digits, monkeypatch, name, recipe):
    """Each field, changed to a number of its own, and the seed, for the weights and for the order of the images."""
    changed = {field: 2 * value for field, value in asdict(recipe).items() if field not in ("architecture", "version")}
    monkeypatch.setitem(store.RECIPES, name, replace(recipe, **changed))
    calls = []
    monkeypatch.setattr(store, "train", lambda model, dataset, **options: calls.append((model, dataset, options)))
    dataset = digits if name[1] == "digits" else replace(digits, name=name[1])
    trained(name[0], dataset, seed=7, progress=False)
    ((model, given, options),) = calls
    assert given is dataset
    assert {key: options.get(key) for key in changed} == changed
    assert options["seed"] == 7 and options["progress"] is False
    assert same(model, store.BUILD[recipe.architecture](generator=torch.Generator().manual_seed(7)))


@pytest.mark.parametrize("change", ["seed", "data", "epochs", "version", "lr", "weight_decay", "batch_size"])
def test_what_decides_the_result_is_in_the_key(digits, quick, folder, monkeypatch, change):
    trained("lenet_300_100", digits, progress=False)
    dataset, seed = digits, 0
    if change == "seed":
        seed = 1
    elif change == "data":
        dataset = replace(digits, train_images=digits.train_images[::-1].copy())
    else:
        key = ("lenet_300_100", "digits")
        old = store.RECIPES[key]
        monkeypatch.setitem(store.RECIPES, key, replace(old, **{change: getattr(old, change) + 1}))
    trained("lenet_300_100", dataset, seed=seed, progress=False)
    assert len(list(folder.glob("*.safetensors"))) == 2


def test_a_network_of_another_shape_in_its_place_is_trained_again(digits, quick, folder, capsys):
    trained("lenet_5", digits, progress=False)
    wrong = only_file(folder).read_bytes()
    only_file(folder).unlink()
    trained("lenet_300_100", digits, progress=False)
    path = only_file(folder)
    path.unlink()
    stem = path.name.rsplit("-", 1)[0]
    (folder / store._file_name(stem, wrong)).write_bytes(wrong)
    capsys.readouterr()
    assert trained("lenet_300_100", digits, progress=False).fc1.weight.shape == (300, 784)
    assert "is damaged" in capsys.readouterr().out


def test_an_unknown_name_lists_the_right_ones(digits):
    with pytest.raises(ValueError, match="'resnet'; it should be one of 'lenet_300_100', 'lenet_5'"):
        trained("resnet", digits)


@pytest.mark.skipif(os.name == "nt", reason="locks are those of POSIX here")
@pytest.mark.parametrize("fault", ["ENOSYS", "ENOLCK", "EOPNOTSUPP", "EIO"])
def test_a_disk_that_knows_no_locks_keeps_all_the_same(folder, monkeypatch, capsys, fault):
    """NFS without a lock daemon, some disks of clouds."""
    import fcntl

    def refuse(*_):
        raise OSError(getattr(errno, fault), fault)

    monkeypatch.setattr(fcntl, "flock", refuse)
    make = Maker()
    assert [keep(make), keep(make)] == ["made", "made"] and make.times == 1
    assert capsys.readouterr().out == "" and not list(folder.glob(".*.part"))
