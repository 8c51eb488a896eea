"""A quantized file whose checksum is right and whose description is not: an error in words, or a net that runs."""

import copy
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from course_lib.numerics import calibrate, qparams_from_range, quantize
from course_lib.quantized import QuantizedFileError, QuantizedLayer, QuantizedModel
from course_lib.quantized.file import KEY, _checksum

BYTES = qparams_from_range(-0.4, 2.8, bits=8, scheme="affine")
HIDDEN = qparams_from_range(0, 2, bits=8, scheme="affine")
WIDE = qparams_from_range(-3, 4, bits=8, scheme="affine")
LOGITS = qparams_from_range(-9, 9, bits=16, signed=True, scheme="affine")


def layer(kind, name, shape, reads, writes, *, granularity="per_channel", bits=4, bias=True, scheme="symmetric",
          **options):
    rng = np.random.default_rng(len(name))
    if shape is None:
        return QuantizedLayer(kind, name, input_qparams=reads, output_qparams=writes, options=options)
    w = rng.normal(scale=0.3, size=shape).astype(np.float32)
    q = calibrate(w, bits=bits, scheme=scheme, granularity=granularity, group_size=3)
    b = rng.normal(size=shape[0]).astype(np.float32) if bias else None
    return QuantizedLayer(kind, name, quantize(w, q), q, b, reads, writes, options)


def convolutional():
    return QuantizedModel([
        layer("conv2d", "conv", (4, 1, 3, 3), BYTES, HIDDEN, stride=(1, 1), padding=1),
        layer("max_pool2d", "pool", None, HIDDEN, HIDDEN, kernel_size=2, stride=2, padding=0),
        layer("relu", "relu", None, HIDDEN, HIDDEN),
        layer("flatten", "flat", None, HIDDEN, HIDDEN),
        layer("linear", "fc", (10, 64), HIDDEN, LOGITS, granularity="per_tensor", bits=8),
    ], BYTES, {"note": "é"})


def weights_alone():
    return QuantizedModel([
        layer("flatten", "flat", None, None, None),
        layer("linear", "a", (6, 64), None, None, granularity="per_group", bits=3, scheme="affine"),
        layer("relu", "relu", None, None, None),
        layer("linear", "b", (10, 6), None, None, bias=False),
    ], None)


def residual():
    """A convolution whose output is read twice, a sum of it and of another, an average of each window and of all."""
    return QuantizedModel([
        layer("conv2d", "conv", (4, 1, 3, 3), BYTES, HIDDEN, padding=1),
        layer("conv2d", "body", (4, 4, 3, 3), HIDDEN, WIDE, padding=1),
        QuantizedLayer("residual_sum", "sum", input_qparams=(WIDE, HIDDEN), output_qparams=HIDDEN,
                       inputs=("body", "conv")),
        layer("relu", "relu", None, HIDDEN, HIDDEN),
        layer("avg_pool2d", "average", None, HIDDEN, HIDDEN, kernel_size=2, stride=None),
        layer("global_avg_pool2d", "all", None, HIDDEN, HIDDEN),
        layer("flatten", "flat", None, HIDDEN, HIDDEN),
        layer("linear", "fc", (10, 4), HIDDEN, LOGITS),
    ], BYTES)


MODELS = {"convolutional": convolutional, "weights alone": weights_alone, "residual": residual}
X = np.random.default_rng(0).uniform(-0.4, 2.8, (3, 1, 8, 8)).astype(np.float32)


def parts_of(path):
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()[KEY])


def write(path, tensors, description):
    """As an attacker would: whatever it says, with a checksum that fits."""
    description = {key: value for key, value in description.items() if key != "checksum"}
    save_file(tensors, path, {KEY: json.dumps(description | {"checksum": _checksum(description, tensors)})})


def words_or_a_net(path):
    """Load and run: True if it runs; an error must be one ValueError in words of ours."""
    try:
        model = QuantizedModel.load(path)
    except QuantizedFileError as error:
        message = str(error).removeprefix(str(path))
        assert len(message) > 20 and " " in message[3:] and len(message) < 1500, message
        return False
    ran = []
    for make, x in ((model.simulated, torch.from_numpy(X)), (model.integer_only, X)):
        try:
            ran.append(np.asarray(make()(x)).shape[0] == len(X))
        except ValueError as error:                         # of images of this size, or of what integers alone can do
            assert " " in str(error)
    return any(ran)


def paths_of(value, path=()):
    """Every place in a JSON value, itself first."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths_of(inner, (*path, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


HOSTILE = [None, True, False, 0, 1, 2, 3, 7, -1, 9, 255, 2**31, -(2**31), 2**63, 10**400, 0.0, -0.0, 0.5, 1e-300, 1e300,
           1e39, float("nan"), float("inf"), -float("inf"), "", "1", "conv2d", "relu", "linear", "per_group", "O",
           "\ud800", [], [1, 1], [0, 0], [2**31, 1], [1, 2, 3], [[1]], {}, {"a": 1}, "x" * 5000, [0] * 5000]


@pytest.mark.parametrize("name", MODELS)
def test_every_field_with_every_hostile_value(tmp_path, name):
    """Each field of a valid description in turn, taken out or something else in its place; the checksum made again."""
    path = tmp_path / "model"
    MODELS[name]().save(path)
    tensors, valid = parts_of(path)
    valid.pop("checksum")
    assert words_or_a_net(path)
    ran = 0
    for place in list(paths_of(valid))[1:]:
        *above, last = place
        for value in [*HOSTILE, "taken out", "one more"]:
            changed = copy.deepcopy(valid)
            parent = at(changed, above)
            if value == "taken out":
                del parent[last]
            elif value == "one more":
                if not isinstance(parent, dict):
                    continue
                parent["other"] = 1
            else:
                parent[last] = value
            write(path, tensors, changed)
            ran += words_or_a_net(path)
    assert ran > 20                                         # what may be so: other names, wider ranges, other scales


@pytest.mark.parametrize("name", MODELS)
def test_every_array_with_hostile_contents(tmp_path, name):
    path = tmp_path / "model"
    MODELS[name]().save(path)
    tensors, valid = parts_of(path)
    for key, array in tensors.items():
        changes = [None, array[:-1].copy() if array.ndim else array.reshape(1), array.reshape(-1, 1),
                   array.astype(np.float16), array.astype(np.int64), array.reshape(-1).view(np.int8),
                   np.zeros(0, array.dtype), np.zeros_like(array),
                   np.full_like(array, 255 if array.dtype == np.uint8 else -1), array[..., None].copy()]
        if array.dtype.kind == "f":
            changes += [np.full_like(array, value) for value in (np.nan, np.inf, -1.0, 1e-45, 3e38)]
        for changed in changes:
            put = {other: value for other, value in tensors.items() if other != key}
            write(path, put if changed is None else put | {key: changed}, valid)
            words_or_a_net(path)


def test_random_changes_of_several_fields(tmp_path):
    """Values from one place in another: descriptions that are right in each field and not together."""
    rng = np.random.default_rng(0)
    for name, make in MODELS.items():
        path = tmp_path / name.replace(" ", "")
        make().save(path)
        tensors, valid = parts_of(path)
        valid.pop("checksum")
        places = list(paths_of(valid))[1:]
        for _ in range(400):
            changed = copy.deepcopy(valid)
            for _ in range(rng.integers(1, 4)):
                to, source = places[rng.integers(len(places))], places[rng.integers(len(places))]
                try:
                    at(changed, to[:-1])[to[-1]] = copy.deepcopy(at(valid, source))
                except (KeyError, IndexError, TypeError):   # the place went with an earlier change
                    continue
            write(path, tensors, changed)
            words_or_a_net(path)


WRONG = {                               # field: (its place, what is put there, what the message says)
    "stride": ((0, "options", "stride"), 0, "'conv': stride=0 must be a whole number from 1 to 1024"),
    "stride of one side": ((0, "options", "stride"), [1, 0], "'conv': stride=0 must be"),
    "padding": ((0, "options", "padding"), 2**31, "'conv': padding=2147483648 must be a whole number from 0 to 2"),
    "padding below zero": ((0, "options", "padding"), -1, "'conv': padding=-1 must be"),
    "kernel": ((1, "options", "kernel_size"), None, "'pool': kernel_size=None must be a whole number from 1"),
    "kernel of a million": ((1, "options", "kernel_size"), 10**6, "'pool': kernel_size=1000000 must be"),
    "pool's padding": ((1, "options", "padding"), 2, "'pool': padding=2 must be a whole number from 0 to 1"),
    "unknown option": ((1, "options", "dilation"), 2,
                       "'pool': a max_pool2d layer has no option 'dilation'; it has kernel_size"),
    "options of a relu": ((2, "options"), {"stride": 1}, "a relu layer has no option 'stride'; it has none"),
    "axis": ((0, "weight_qparams", "axis"), 7, r"layers\[0\].weight_qparams.axis=7 must be a whole number from 0 to 3"),
    "axis of a linear layer": ((4, "weight_qparams"),
                               {"qmin": -127, "qmax": 127, "granularity": "per_channel", "axis": 2},
                               "'fc': axis=2 must be a whole number from 0 to 1"),
    "no axis": ((0, "weight_qparams"), {"qmin": -7, "qmax": 7, "granularity": "per_channel"}, "lacks 'axis'"),
    "axis per tensor": ((4, "weight_qparams", "axis"), 0, "has 'axis'; it belongs to per_channel"),
    "16 bits": ((4, "weight_qparams", "qmax"), 32767, "codes from qmin=-127 to qmax=32767 take 16 bits"),
    "no codes": ((4, "weight_qparams", "qmax"), -127, "codes from qmin=-127 to qmax=-127"),
    "true for a number": ((4, "weight_qparams", "qmax"), True, "qmax=True must be a whole number"),
    "text for a number": ((0, "shape"), ["4", 1, 3, 3], r"layers\[0\].shape\[0\]='4' must be a whole number"),
    "two axes": ((0, "shape"), [4, 9], r"layers\[0\].shape=\[4, 9\] must have 4 axes"),
    "features that do not fit": ((4, "shape"), [8, 80],
                                 "'fc.bias' has shape .10,.; for weights of shape .8, 80. it must"),
    "a scale of zero": ((0, "input_qparams", "scale"), 0,
                        r"layers\[0\].input_qparams.scale is 0; it must be a positive"),
    "a negative scale": ((0, "input_qparams", "scale"), -1.0, "scale is -1.0; it must be a positive, finite number"),
    "a scale of another type": ((0, "input_qparams", "dtype"), "U99999999",
                                "dtype is 'U99999999'; it must be one of float32"),
    "zero point": ((0, "output_qparams", "zero_point"), 256, "output_qparams: zero_point must lie in"),
    "codes that are not handed on": ((1, "input_qparams", "zero_point"), 3,
                                     "'pool': input_qparams must be those of the codes"),
    "a pool that changes codes": ((1, "output_qparams", "scale"), 1.0,
                                  "'pool': a max_pool2d layer writes the codes it reads"),
    "only one of both": ((1, "output_qparams"), None, "'pool' lacks input_qparams or output_qparams"),
    "twice the same part": ((4, "tensors"), ["codes", "scale", "scale"], "'fc.scale' is missing, or asked for twice"),
    "a part less": ((0, "tensors"), ["codes"], "it lacks 'scale'"),
    "name": ((0, "name"), 5, r"layers\[0\].name is 5; it must be a text of 1 to 200 characters"),
    "a long name": ((2, "name"), "x" * 201, r"layers\[2\].name is 'xxxxx"),
    "a list for a layer": ((0,), [1], r"layers\[0\] is \[1\]; it must be an object with the fields"),
    "an unknown field": ((0, "color"), 1, r"layers\[0\] has a field 'color'; it may have kind, name"),
    "weights for a relu": ((2, "shape"), [1], r"layers\[2\] has a field 'shape'"),
}


WRONG_INPUTS = {                        # of the sum, layers[2], and of others
    "no inputs": ((2, "inputs"), [], "'sum': a residual_sum layer reads 2 inputs, and inputs=.. names 0"),
    "one input": ((2, "inputs"), ["body"], "'sum': a residual_sum layer reads 2 inputs, and inputs=.'body'. names 1"),
    "two inputs for one": ((3, "inputs"), ["sum", "body"], "'relu': a relu layer reads one input, or names none"),
    "a number": ((2, "inputs"), ["body", 1], "'sum': inputs=.'body', 1. must be names of layers"),
    "text for a list": ((2, "inputs"), "body", r"layers\[2\].inputs is 'body'; it must be a list of names"),
    "a later layer": ((2, "inputs"), ["body", "relu"], "'sum' reads 'relu', and no layer of this name stands"),
    "itself": ((2, "inputs"), ["body", "sum"], "'sum' reads 'sum', and no layer of this name stands before it"),
    "the input's codes": ((2, "inputs"), ["body", ""], "'sum' adds two of the same shape|codes that reach it"),
    "the other way round": ((2, "inputs"), ["conv", "body"], "'sum': input_qparams must be those of the codes that"),
    "one scale for two": ((2, "input_qparams"), {"scale": 1.0, "dtype": "float32", "zero_point": 0, "qmin": 0,
                                                 "qmax": 255}, r"layers\[2\].input_qparams is .* a list of 2 objects"),
    "three scales": ((2, "input_qparams"), [{}, {}, {}], r"layers\[2\].input_qparams is .* a list of 2 objects"),
    "a list for one": ((3, "input_qparams"), [{}], r"layers\[3\].input_qparams is .* it must be an object"),
    "none of two": ((2, "input_qparams"), [None, None], "'sum': input_qparams must be those of the codes that reach"),
    "options of a sum": ((2, "options"), {"stride": 1}, "a residual_sum layer has no option 'stride'; it has none"),
    "the window of an average": ((4, "options", "kernel_size"), 0, "'average': kernel_size=0 must be a whole number"),
    "an average in another scale": ((5, "output_qparams", "scale"), 1.0, "'all': a global_avg_pool2d layer writes the"),
}


@pytest.mark.parametrize("name", WRONG_INPUTS)
def test_the_message_names_the_layer_and_what_it_reads(tmp_path, name):
    place, value, message = WRONG_INPUTS[name]
    path = tmp_path / "model"
    residual().save(path)
    tensors, description = parts_of(path)
    at(description["layers"], place[:-1])[place[-1]] = value
    write(path, tensors, description)
    with pytest.raises(QuantizedFileError, match=message):
        QuantizedModel.load(path)


def test_a_chain_says_nothing_of_inputs(tmp_path):
    """So that files of networks without branches are those of before, to the byte."""
    convolutional().save(tmp_path / "chain")
    residual().save(tmp_path / "branches")
    assert not any("inputs" in entry for entry in parts_of(tmp_path / "chain")[1]["layers"])
    assert [entry.get("inputs") for entry in parts_of(tmp_path / "branches")[1]["layers"]] == [
        None, None, ["body", "conv"], None, None, None, None, None]


@pytest.mark.parametrize("name", WRONG)
def test_the_message_names_the_field_its_value_and_what_is_right(tmp_path, name):
    place, value, message = WRONG[name]
    path = tmp_path / "model"
    convolutional().save(path)
    tensors, description = parts_of(path)
    at(description["layers"], place[:-1])[place[-1]] = value
    write(path, tensors, description)
    with pytest.raises(QuantizedFileError, match=message):
        QuantizedModel.load(path)


def test_layers_that_do_not_follow_each_other(tmp_path):
    path = tmp_path / "model"
    convolutional().save(path)
    tensors, valid = parts_of(path)
    for change, message in (
        (lambda layers: layers.pop(3), "'fc': a linear layer takes features, and images reach it; a flatten layer"),
        (lambda layers: layers.insert(1, layers.pop(3)),
         "'pool': a max_pool2d layer takes images, and features reach it"),
        (lambda layers: layers.clear(), "at least one layer"),
        (lambda layers: layers.append(dict(layers[2])), "a different name for each"),
    ):
        changed = copy.deepcopy(valid)
        change(changed["layers"])
        write(path, tensors if changed["layers"] else {}, changed)
        with pytest.raises(QuantizedFileError, match=message):
            QuantizedModel.load(path)
    shapes = {"fc": (9, 63), "one": (10, 6), "two": (10, 5)}
    with pytest.raises(ValueError, match="'fc' takes 63 features, and a multiple of 4 reach it"):
        QuantizedModel([convolutional().layers[0], convolutional().layers[3],
                        layer("linear", "fc", shapes["fc"], HIDDEN, LOGITS)], BYTES)
    with pytest.raises(ValueError, match="'two' takes 5 features, and 10 reach it"):
        QuantizedModel([layer("linear", name, shapes[name], None, None) for name in ("one", "two")])


def test_nothing_is_allocated_for_a_shape_that_the_arrays_do_not_have(tmp_path):
    path = tmp_path / "model"
    convolutional().save(path)
    tensors, description = parts_of(path)
    description["layers"][4]["shape"] = [2**31 - 1, 2**31 - 1]
    write(path, tensors, description)
    tracemalloc.start()
    try:
        with pytest.raises(QuantizedFileError, match="'fc.codes' has shape"):
            QuantizedModel.load(path)
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "BOOL", "C64", "U64"])
def test_arrays_of_types_that_codes_do_not_have(tmp_path, dtype):
    path = tmp_path / "model"
    convolutional().save(path)
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    last = max(end for key, entry in header.items() if key != "__metadata__" for end in entry["data_offsets"][1:])
    header["more"] = {"dtype": dtype, "shape": [0], "data_offsets": [last, last]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])
    with pytest.raises(QuantizedFileError):
        QuantizedModel.load(path)


@pytest.mark.parametrize(("text", "message"), [
    ('{"format": "course_lib.quantized_model", "version": 1, "checksum": 0, "layers": ' + "[" * 3000 + "]" * 3000 + "}",
     "nested too deep|not JSON|checksum"),
    ('{"format": "course_lib.quantized_model", "version": ' + "9" * 5000 + "}", "not JSON"),
    ('{"format": "course_lib.quantized_model", "version": true}', "version True of the format; this library reads 1"),
    ('{"format": "course_lib.quantized_model", "version": 1}', "lacks 'checksum'"),
    ('{"format": "course_lib.quantized_model"}', "version None"),
    ("null", "not one of format"),
])
def test_texts_that_are_no_description(tmp_path, text, message):
    save_file({"x": np.zeros(1)}, tmp_path / "model", {KEY: text})
    with pytest.raises(QuantizedFileError, match=message):
        QuantizedModel.load(Path(tmp_path / "model"))


def test_scales_beyond_float32_are_refused_where_activations_have_them():
    tiny = qparams_from_range(0, 1e-300, bits=8, dtype=np.float64, scheme="affine")
    with pytest.raises(ValueError, match="output_qparams has scale .*; it must lie in float32's range"):
        layer("relu", "r", None, HIDDEN, tiny)
    with pytest.raises(ValueError, match="^input_qparams has scale"):
        QuantizedModel([layer("relu", "r", None, HIDDEN, HIDDEN)], tiny)


def test_double_scales_run_too():
    """A file may hold them; torch does not multiply float32 by float64."""
    w = np.random.default_rng(0).normal(size=(3, 4))
    q = calibrate(w, bits=8, granularity="per_channel")
    assert q.scale.dtype == np.float64
    model = QuantizedModel([QuantizedLayer("linear", "a", quantize(w, q), q, None, BYTES, LOGITS)], BYTES)
    x = np.random.default_rng(1).uniform(0, 1, (5, 4)).astype(np.float32)
    simulated = model.simulated()(torch.from_numpy(x)).numpy()
    assert np.abs(simulated - x @ w.T).max() < 0.05 and np.abs(model.integer_only()(x) - simulated).max() < 1e-2
