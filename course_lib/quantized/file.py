"""The file of a quantized network: packed codes, scales and a description, in one safetensors file. No pickle.

Tensors, per layer with weights (``*`` is the layer's name):

    *.codes        uint8    the weight codes, b bits each, packed without a gap (``course_lib.coding.pack``)
    *.scale        float32  one, or one per channel or group
    *.zero_point   int32    only where the weights are affine
    *.bias         float32  only where the layer has one

The header's metadata hold one JSON text under the key ``quantized_model``: format name and version, the layers with
their shapes and code ranges, what each reads where that is not the layer before, the scales and zero points of the
activations (two numbers a layer), and a checksum, because safetensors has none. Multipliers for integer inference are
not stored: they follow from the scales.
"""

import json
import math
import os
import zlib
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from course_lib.coding import pack, unpack
from course_lib.data import written_aside
from course_lib.numerics import QParams
from course_lib.quantized.description import activation, check_description, input_activations
from course_lib.quantized.layers import KINDS
from course_lib.quantized.layers.base import short

FORMAT, VERSION = "course_lib.quantized_model", 1
KEY = "quantized_model"


class QuantizedFileError(ValueError):
    """A file that is not a quantized model, or not a whole one. The message names the file and what is wrong."""


def write_model(model: Any, path: str | bytes | os.PathLike) -> int:
    """Write a QuantizedModel to ``path`` and return the bytes it takes on disk."""
    tensors, layers = {}, []
    for layer in model.layers:
        entry = {"kind": layer.kind, "name": layer.name}
        if layer.options:
            entry["options"] = layer.options
        if layer.inputs:
            entry["inputs"] = layer.inputs
        for role in ("input_qparams", "output_qparams"):
            if getattr(layer, role) is not None:
                entry[role] = _activation_entry(getattr(layer, role))
        if layer.weight_codes is not None:
            entry["shape"] = layer.weight_codes.shape
            entry["weight_qparams"] = _weight_entry(layer.weight_qparams)
            parts = _layer_tensors(layer)
            entry["tensors"] = list(parts)
            tensors |= {f"{layer.name}.{part}": value for part, value in parts.items()}
        layers.append(entry)
    inputs = None if model.input_qparams is None else _activation_entry(model.input_qparams)
    description = {"format": FORMAT, "version": VERSION, "meta": model.meta, "input_qparams": inputs, "layers": layers}
    try:
        description["checksum"] = _checksum(description, tensors)
    except (TypeError, ValueError) as error:
        raise TypeError(f"meta should be what JSON can hold, numbers as Python has them ({error})") from error
    return write_aside(path, to_bytes(tensors, {KEY: _json(description)}))


def read_model(path: str | bytes | os.PathLike) -> tuple[list[dict], QParams | None, dict]:
    """Read what ``write_model`` wrote: the layers as dicts of QuantizedLayer's fields, input_qparams, meta.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    QuantizedFileError
        The file is damaged, or is something else.
    """
    path = os.fsdecode(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {path!r}")
    if os.path.isdir(path):
        raise QuantizedFileError(f"{path}: a folder, not a file")
    try:
        tensors, text = _read_safetensors(path)
        description = _parse(text)
        if description.pop("checksum") != _checksum(description, tensors):
            raise ValueError("its content does not match its checksum: it was damaged or changed")
        check_description(description, {name: (value.shape, value.dtype.name) for name, value in tensors.items()})
        layers = [_read_layer(entry, tensors) for entry in description["layers"]]
        return layers, activation(description["input_qparams"], "input_qparams"), description["meta"]
    except (SafetensorError, OSError) as error:
        raise QuantizedFileError(f"{os.fspath(path)}: not a whole safetensors file ({error})") from error
    except RecursionError as error:
        raise QuantizedFileError(f"{os.fspath(path)}: its description is nested too deep") from error
    except ValueError as error:
        raise QuantizedFileError(f"{os.fspath(path)}: {error}") from error


def save_float(model: Any, path: str | bytes | os.PathLike) -> int:
    """Write a PyTorch module's parameters as float32, the baseline that sizes are compared with; return its bytes.

    A weight pruned by ``torch.nn.utils.prune``, which keeps it as ``*_orig`` and ``*_mask``, is written once, as it is
    used.
    """
    if not hasattr(model, "state_dict"):
        raise TypeError(f"model is a {type(model).__name__}; it should be a PyTorch module (a quantized model has "
                        "model.save)")
    for name, value in model.state_dict().items():
        if value.is_meta:
            raise ValueError(f"model has {name!r} on the device 'meta', where it has no values: load them first")
    state = {name: value.detach().float().cpu().numpy() for name, value in model.state_dict().items()}
    for name in [name.removesuffix("_mask") for name in state if name.endswith("_mask")]:
        if f"{name}_orig" in state:
            state[name] = state.pop(f"{name}_orig") * state.pop(f"{name}_mask")
    tensors = {name: np.asarray(value, order="C") for name, value in state.items()}
    return write_aside(path, to_bytes(tensors))


def write_aside(path: str | bytes | os.PathLike, content: bytes) -> int:
    """Write bytes under another name and rename: a reader finds the old file or the new one, never half of one."""
    path = os.path.realpath(os.fsdecode(path))  # the file that a link leads to, not the link
    os.stat(os.path.dirname(path))  # a folder that is missing is a mistake; it is not made here
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path!r} is a folder; the path should end in the name of a file")
    with written_aside(path) as aside:
        aside.write_bytes(content)
    return os.path.getsize(path)


def _layer_tensors(layer):
    """What a layer puts into the file: dict of codes, scale and, where there are any, zero_point and bias."""
    qparams = layer.weight_qparams
    parts = {"codes": pack(layer.weight_codes, qparams.bits), "scale": qparams.scale}
    if qparams.zero_point.any():
        parts["zero_point"] = qparams.zero_point
    if layer.bias is not None:
        parts["bias"] = layer.bias
    return {name: np.asarray(value, order="C") for name, value in parts.items()}


def _json(description):
    return json.dumps(description, separators=(",", ":"))


def _checksum(description, tensors):
    """CRC-32 of the description, then of the tensors' names, shapes, dtypes and bytes, in the order of the names."""
    total = zlib.crc32(_json(description).encode())
    for name in sorted(tensors):
        total = zlib.crc32(f"{name}{tensors[name].shape}{tensors[name].dtype}".encode(), total)
        total = zlib.crc32(tensors[name].tobytes(), total)
    return total


def _weight_entry(q):
    entry = {"qmin": q.qmin, "qmax": q.qmax, "granularity": q.granularity.value}
    return entry | {key: int(getattr(q, key)) for key in ("axis", "group_size") if getattr(q, key) is not None}


def _activation_entry(q):
    """Scale as a JSON number: Python writes the shortest text that reads back as the same number.

    Of a layer that reads several inputs, a list.
    """
    if isinstance(q, tuple):
        return [_activation_entry(one) for one in q]
    return {"scale": q.scale.item(), "dtype": q.scale.dtype.name, "zero_point": q.zero_point.item(),
            "qmin": q.qmin, "qmax": q.qmax}


def _read_safetensors(path):
    with safe_open(path, framework="np") as file:
        text = (file.metadata() or {}).get(KEY)
        if text is None:
            raise ValueError(f"a safetensors file, but not a quantized model (no {KEY!r} in its header)")
        try:
            return {name: file.get_tensor(name) for name in file.keys()}, text
        except (TypeError, AttributeError, KeyError) as error:              # dtypes that NumPy does not have
            raise ValueError(f"it holds a tensor that NumPy cannot read ({error})") from error


def _parse(text):
    """The description as a dict, if it is one of ours."""
    try:
        description = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its description is not JSON ({error})") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ValueError(f"its description is not one of format {FORMAT!r}")
    version = description.get("version")
    if type(version) is not int or version != VERSION:
        raise ValueError(f"it has version {short(version)} of the format; this library reads {VERSION}")
    if "checksum" not in description:
        raise ValueError("the description lacks 'checksum'")
    return description


def _read_layer(entry, tensors):
    """The fields of one QuantizedLayer; its entry of the description has been checked, the codes have not."""
    options, where = entry.get("options", {}), f"layer {entry['name']!r}: "
    fields = {"kind": entry["kind"], "name": entry["name"],
              "options": {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}}
    if "inputs" in entry:
        fields["inputs"] = tuple(entry["inputs"])
    fields["input_qparams"] = input_activations(entry.get("input_qparams"), where + "input_qparams",
                                                KINDS[entry["kind"]].arity)
    fields["output_qparams"] = activation(entry.get("output_qparams"), where + "output_qparams")
    if "shape" not in entry:
        return fields
    parts = {part: tensors[f"{entry['name']}.{part}"] for part in entry["tensors"]}
    scale = parts["scale"]
    try:
        qparams = QParams(scale, parts.get("zero_point", np.zeros(scale.shape, np.int32)), **entry["weight_qparams"])
        codes = unpack(parts["codes"], qparams.bits, math.prod(entry["shape"]), signed=qparams.qmin < 0)
    except ValueError as error:
        raise ValueError(where + str(error)) from None
    return fields | {"weight_codes": codes.reshape(entry["shape"]), "weight_qparams": qparams,
                     "bias": parts.get("bias")}
