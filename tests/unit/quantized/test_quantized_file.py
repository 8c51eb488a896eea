"""The file of a quantized model: the same after a round trip, small, and an error in words where it is not whole."""

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from course_lib.nets import LeNet5, LeNet300100
from course_lib.numerics import calibrate, qparams_from_range, quantize
from course_lib.ptq import quantize_model
from course_lib.quantized import QuantizedFileError, QuantizedLayer, QuantizedModel, save_float
from course_lib.quantized.file import KEY

PIXELS = qparams_from_range(0.0, 1.0, bits=8, scheme="affine")


def small_model(bits=4, granularity="per_channel", scheme="symmetric", bias=True, activations=True):
    rng = np.random.default_rng(bits)
    hidden = qparams_from_range(-0.7, 2.1, bits=8, scheme="affine")
    logits, layers = qparams_from_range(-3, 3, bits=16, scheme="affine"), []
    for name, shape, reads, writes in (("a", (5, 7), PIXELS, hidden), ("b", (3, 5), hidden, logits)):
        w = rng.normal(size=shape).astype(np.float32)
        q = calibrate(w, bits=bits, scheme=scheme, granularity=granularity, group_size=3, signed=None)
        b = rng.normal(size=shape[0]).astype(np.float32) if bias else None
        ranges = (reads, writes) if activations else (None, None)
        layers.append(QuantizedLayer("linear", name, quantize(w, q), q, b, *ranges))
    return QuantizedModel(layers, PIXELS if activations else None, {"bits": bits, "note": "é"})


def assert_same(a, b):
    assert a.meta == b.meta and a.input_qparams == b.input_qparams and len(a.layers) == len(b.layers)
    for one, other in zip(a.layers, b.layers):
        assert (one.kind, one.name, one.options) == (other.kind, other.name, other.options)
        for field in ("weight_qparams", "input_qparams", "output_qparams"):
            assert getattr(one, field) == getattr(other, field)
        for field in ("weight_codes", "bias"):
            x, y = getattr(one, field), getattr(other, field)
            assert (x is None and y is None) or (x.dtype == y.dtype and np.array_equal(x, y))


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel", "per_group"])
@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
def test_round_trip(tmp_path, bits, granularity, scheme):
    model = small_model(bits, granularity, scheme, bias=bits % 2 == 0, activations=bits != 5)
    path = tmp_path / "model.safetensors"
    assert model.save(path) == os.path.getsize(path)
    assert_same(QuantizedModel.load(path), model)
    assert ("a.zero_point" in load_file(path)) == (scheme == "affine")


def test_real_nets_round_trip_bit_for_bit(tmp_path):
    x = np.random.default_rng(0).random((5, 1, 28, 28), np.float32)
    for net in (LeNet300100(), LeNet5()):
        model = quantize_model(net, x, weight_bits=4)
        model.save(tmp_path / "q")
        loaded = QuantizedModel.load(tmp_path / "q")
        assert_same(loaded, model)
        assert np.array_equal(loaded.integer_only()(x), model.integer_only()(x))
        ours, theirs = loaded.simulated().state_dict(), model.simulated().state_dict()
        assert ours.keys() == theirs.keys() and all(ours[key].equal(theirs[key]) for key in ours)


def test_sizes_of_lenet_300_100(tmp_path):
    """int8 per channel at least 3.9 times smaller than the float32 file, int4 at least 7.5 times."""
    net, x = LeNet300100(), np.random.default_rng(0).random((8, 1, 28, 28), np.float32)
    baseline = save_float(net, tmp_path / "float")
    assert baseline == os.path.getsize(tmp_path / "float") > 4 * 266_610
    assert sum(value.size for value in load_file(tmp_path / "float").values()) == 266_610
    for bits, ratio in ((8, 3.9), (4, 7.5), (2, 14.0)):
        assert baseline / quantize_model(net, x, weight_bits=bits).save(tmp_path / "q") >= ratio


def test_same_model_same_bytes(tmp_path):
    small_model().save(tmp_path / "one")
    small_model().save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_runs_without_torch(tmp_path):
    small_model(8).save(tmp_path / "model")
    code = ("import sys, numpy as np; from course_lib.quantized import QuantizedModel; "
            f"net = QuantizedModel.load({str(tmp_path / 'model')!r}).integer_only(); "
            "net(np.zeros((2, 7), np.float32)); assert 'torch' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "model"
    small_model(8).save(path)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("course_lib.quantized.file.os.replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        small_model(4).save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["model"]


@pytest.mark.skipif(os.name == "nt", reason="rights of files are those of POSIX here")
def test_others_may_read_a_saved_model(tmp_path):
    before = os.umask(0o022)
    try:
        small_model(8).save(tmp_path / "model")
    finally:
        os.umask(before)
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o644


def rewrite(path, change):
    """Change the tensors and the description of a saved model, and save them again, checksum and all."""
    from course_lib.quantized.file import _checksum

    with safe_open(path, framework="np") as file:
        description = json.loads(file.metadata()[KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    change(tensors, description)
    if description["checksum"] != "wrong":
        del description["checksum"]
        description["checksum"] = _checksum(description, tensors)
    save_file(tensors, path, {KEY: json.dumps(description)})


def put(where, key, value):
    where[key] = value


DAMAGE = {
    "version": (lambda t, d: put(d, "version", 2), "version 2 of the format; this library reads 1"),
    "format": (lambda t, d: put(d, "format", "other"), "not one of format"),
    "no layers": (lambda t, d: d.pop("layers"), "lacks 'layers'"),
    "layers of another type": (lambda t, d: put(d, "layers", 7), "description.layers is 7; it must be a list"),
    "empty layers": (lambda t, d: (put(d, "layers", []), t.clear()), "at least one layer"),
    "unknown kind": (lambda t, d: put(d["layers"][0], "kind", "lstm"), "kind is 'lstm'; it must be one of linear"),
    "same name twice": (lambda t, d: d["layers"].append({"kind": "relu", "name": "a"}), "a different name"),
    "missing codes": (lambda t, d: t.pop("a.codes"), "tensor 'a.codes' is missing"),
    "missing scale": (lambda t, d: t.pop("b.scale"), "tensor 'b.scale' is missing"),
    "missing bias": (lambda t, d: t.pop("b.bias"), "tensor 'b.bias' is missing"),
    "extra tensor": (lambda t, d: put(t, "c.codes", t["a.codes"]), "no layer needs: c.codes"),
    "too few codes": (lambda t, d: put(t, "a.codes", t["a.codes"][:-1].copy()),
                      "'a.codes' has shape .17,.; .* 35 codes of 4 bits take 18 bytes"),
    "wrong shape": (lambda t, d: put(d["layers"][0], "shape", [7, 5]), r"must have shape \(7,\)"),
    "huge shape": (lambda t, d: put(d["layers"][0], "shape", [2**30, 2**30]), "a.codes' has shape"),
    "negative shape": (lambda t, d: put(d["layers"][0], "shape", [-5, -7]), r"shape\[0\]=-5 must be a whole number"),
    "shape of words": (lambda t, d: put(d["layers"][0], "shape", "57"), "shape is '57'; it must be a list"),
    "scale of wrong shape": (lambda t, d: put(t, "a.scale", t["a.scale"][:-1].copy()), "must have shape"),
    "scale NaN": (lambda t, d: put(t["a.scale"], 0, np.nan), "layer 'a': scale must be positive and finite"),
    "scale inf": (lambda t, d: put(t["a.scale"], 1, np.inf), "layer 'a': scale must be positive and finite"),
    "scale zero": (lambda t, d: put(t["a.scale"], 1, 0), "scale must be positive"),
    "scale of another dtype": (
        lambda t, d: put(t, "a.scale", t["a.scale"].astype(np.int32)), "dtype int32; it must be float32"),
    "activation scale NaN": (lambda t, d: put(d["layers"][0]["output_qparams"], "scale", float("nan")), "scale is nan"),
    "activation zero point": (
        lambda t, d: put(d["layers"][0]["output_qparams"], "zero_point", 300), "zero_point must lie in"),
    "bias NaN": (lambda t, d: put(t["a.bias"], 0, np.nan), "bias must be .* finite"),
    "bias of wrong shape": (lambda t, d: put(t, "a.bias", t["a.bias"][:2].copy()), r"'a.bias' has shape \(2,\)"),
    "codes of another dtype": (
        lambda t, d: put(t, "a.codes", t["a.codes"].view(np.int8)), "dtype int8; it must be uint8"),
    "code out of range": (lambda t, d: put(t["a.codes"], 0, 0x88), r"outside \[-7, 7\]"),
    "bits": (
        lambda t, d: put(d["layers"][0]["weight_qparams"], "qmax", 100), "35 codes of 7 bits take 31"),
    "granularity": (lambda t, d: put(d["layers"][0]["weight_qparams"], "granularity", "per_row"), "granularity"),
    "checksum": (lambda t, d: put(d, "checksum", "wrong"), "does not match its checksum"),
    "unknown part": (
        lambda t, d: d["layers"][0]["tensors"].append("codebook"), "a part is 'codebook'; it must be one of codes"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named(tmp_path, name):
    change, message = DAMAGE[name]
    path = tmp_path / "model.safetensors"
    small_model(4).save(path)
    rewrite(path, change)
    with pytest.raises(QuantizedFileError, match=message) as caught:
        QuantizedModel.load(path)
    assert str(path) in str(caught.value)


SWAPS = {
    "dtype": (b'"a.codes":{"dtype":"U8"', b'"a.codes":{"dtype":"I8"'),
    "dtype of numbers": (b'"a.zero_point":{"dtype":"I32"', b'"a.zero_point":{"dtype":"F32"'),
    "shape": (b'"shape":[18]', b'"shape":[9,2]'),
    "name": (b'"b.bias"', b'"c.bias"'),
}


@pytest.mark.parametrize("what", SWAPS)
def test_the_checksum_covers_what_the_bytes_are(tmp_path, what):
    """The file's own header says dtype, shape and name of each tensor; the bytes behind it stay as they were."""
    path = tmp_path / "model.safetensors"
    small_model(4, scheme="affine").save(path)
    content, (old, new) = path.read_bytes(), SWAPS[what]
    length = int.from_bytes(content[:8], "little")
    header, rest = content[8 : 8 + length], content[8 + length :]
    assert header.count(old) == 1
    header = header.replace(old, new).rstrip()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + rest)
    with pytest.raises(QuantizedFileError, match="does not match its checksum"):
        QuantizedModel.load(path)


class Bomb:
    def __reduce__(self):
        return os.abort, ()


@pytest.mark.parametrize(("content", "message"), [
    (b"", "not a whole safetensors file"),
    (b"\x00" * 8, "not a whole safetensors file"),
    (b"hello", "not a whole safetensors file"),
    (np.random.default_rng(0).bytes(5000), "not a whole safetensors file"),
    (pickle.dumps({"weights": [1, 2, 3]}), "not a whole safetensors file"),
    (pickle.dumps(Bomb()), "not a whole safetensors file"),
    (b"\xff" * 100, "not a whole safetensors file"),
])
def test_foreign_bytes(tmp_path, content, message):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(QuantizedFileError, match=message) as caught:
        QuantizedModel.load(path)
    assert str(path) in str(caught.value)


def test_other_safetensors_files(tmp_path):
    path = tmp_path / "model"
    save_float(LeNet300100(), path)
    with pytest.raises(QuantizedFileError, match="a safetensors file, but not a quantized model"):
        QuantizedModel.load(path)
    texts = {"{": "not JSON", "[1]": "not one of format", "[" * 100_000: "not JSON", "": "not JSON"}
    for text, message in texts.items():
        save_file({"x": np.zeros(1)}, path, {KEY: text})
        with pytest.raises(QuantizedFileError, match=message):
            QuantizedModel.load(path)


def test_every_truncation_and_every_changed_byte(tmp_path):
    """Cut anywhere, or any one byte changed: an error, or (in the header's blanks) the same model; never another."""
    path, model = tmp_path / "model", small_model(4)
    model.save(path)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(QuantizedFileError):
            QuantizedModel.load(path)
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        try:
            loaded = QuantizedModel.load(path)
        except QuantizedFileError:
            continue
        assert_same(loaded, model)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        QuantizedModel.load(tmp_path / "nowhere")
    with pytest.raises(QuantizedFileError):
        QuantizedModel.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="missing"):
        small_model().save(tmp_path / "missing" / "model")


def layer(**changes):
    q = calibrate(np.ones((2, 3), np.float32), bits=4, granularity="per_channel")
    fields = {"kind": "linear", "name": "x", "weight_codes": np.ones((2, 3), np.int8), "weight_qparams": q,
              "bias": np.zeros(2, np.float32)}
    return QuantizedLayer(**fields | changes)


@pytest.mark.parametrize(("changes", "message"), [
    ({"kind": "softmax"}, "kind must be one of"),
    ({"kind": "relu"}, "a relu layer has no weights"),
    ({"weight_codes": None}, "needs weight_codes and weight_qparams"),
    ({"weight_codes": np.ones((2, 3), np.int16)}, "must be int8 with 2 dimensions"),
    ({"weight_codes": np.ones((2, 3, 1, 1), np.int8)}, "must be int8 with 2 dimensions"),
    ({"weight_codes": np.ones((4, 3), np.int8)}, r"must have shape \(4,\), not \(2,\)"),
    ({"weight_codes": np.full((2, 3), 8, np.int8)}, r"lie in \[8, 8\], outside \[-7, 7\]"),
    ({"bias": np.zeros(2)}, "bias must be float32"),
    ({"bias": np.zeros(3, np.float32)}, "bias must be float32 of shape"),
    ({"bias": np.array([0, np.inf], np.float32)}, "finite"),
    ({"input_qparams": calibrate(np.ones((2, 3), np.float32), bits=4, granularity="per_channel")}, "per tensor"),
])
def test_layers_check_themselves(changes, message):
    with pytest.raises(ValueError, match=message):
        layer(**changes)


def test_paths_of_any_kind(tmp_path):
    model = small_model()
    for path in (str(tmp_path / "text"), tmp_path / "path", os.fsencode(tmp_path / "bytes"), tmp_path / "ü 模型"):
        assert model.save(path) == os.path.getsize(path)
        assert [layer.name for layer in QuantizedModel.load(path).layers] == [layer.name for layer in model.layers]
    (tmp_path / "link").symlink_to(tmp_path / "path")
    (tmp_path / "path").write_bytes(b"old")
    model.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and QuantizedModel.load(tmp_path / "path").layers
    with pytest.raises(IsADirectoryError, match="is a folder; the path should end in the name of a file"):
        model.save(tmp_path)
    with pytest.raises(QuantizedFileError, match="a folder, not a file"):
        QuantizedModel.load(tmp_path)
    assert not [path for path in tmp_path.parent.iterdir() if path.name.endswith(".part")]


def test_what_cannot_be_kept_is_refused_before_anything_is_written(tmp_path):
    model = small_model()
    for meta in ({"a": np.float32(1)}, {"a": np.arange(3)}, {(1, 2): 3}):
        with pytest.raises(TypeError, match="meta should be what JSON can hold"):
            replace(model, meta=meta).save(tmp_path / "file")
    with pytest.raises(ValueError, match="meta is a NoneType"):
        replace(model, meta=None)
    for wrong in (model, {"weight": 1}):
        with pytest.raises(TypeError, match="it should be a PyTorch module"):
            save_float(wrong, tmp_path / "file")
    with pytest.raises(ValueError, match="'weight' on the device 'meta'"):
        save_float(torch.nn.Linear(3, 3, device="meta"), tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_a_group_size_of_numpy_is_kept(tmp_path):
    model = quantize_model(LeNet300100(), None, activation_bits=None, granularity="per_group", group_size=np.int64(16))
    model.save(tmp_path / "file")
    assert QuantizedModel.load(tmp_path / "file").layers[1].weight_qparams.group_size == 16
