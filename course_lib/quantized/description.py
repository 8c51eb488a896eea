"""Reading the description of a quantized network to the end, against the shapes of its arrays, before anything is made.

A description is JSON, from a file that anyone may have written. Every field stands in a table here with what it may
be; each thing wrong is one ValueError that names the field, its value, and what would be right.
"""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from course_lib.coding.packing import packed_size
from course_lib.numerics import Granularity, QParams
from course_lib.quantized.chain import as_tuple, check_activation, check_chain, check_inputs, check_name, scales_shape
from course_lib.quantized.layers import KINDS, has_weights
from course_lib.quantized.layers.base import short, whole

PARTS = {"codes": ("uint8",), "scale": ("float32", "float64"), "zero_point": ("int32",), "bias": ("float32",)}
MOST = 2**31 - 1


def check_description(description: Any, arrays: dict[str, tuple]) -> None:
    """Refuse a description that is not whole, not of the right types, or does not fit its arrays.

    Parameters
    ----------
    description : what ``json.loads`` gave; its format, version and checksum have been looked at
    arrays : dict of name -> (shape, name of the dtype)

    Raises
    ------
    ValueError
    """
    read_fields(description, "description", DESCRIPTION)
    inputs = activation(description["input_qparams"], "input_qparams")
    if inputs is not None:
        check_activation(inputs, "input_qparams")
    left, layers = set(arrays), []
    for i, entry in enumerate(description["layers"]):
        layers.append(_layer(entry, f"layers[{i}]", arrays, left))
    check_chain(layers, inputs)
    if left:
        raise ValueError(f"it holds tensors that no layer needs: {', '.join(sorted(left))}")


def activation(entry: Any, where: str) -> QParams | None:
    """The QParams of an entry of the description; None for None."""
    if entry is None:
        return None
    read_fields(entry, where, ACTIVATION)
    with np.errstate(over="ignore"):                        # becomes infinite, which QParams refuses
        scale = np.array(entry["scale"], entry["dtype"])
    try:
        return QParams(scale, np.array(entry["zero_point"], np.int32), entry["qmin"], entry["qmax"])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def input_activations(entry: Any, where: str, arity: int) -> QParams | tuple[QParams, ...] | None:
    """The QParams of what a layer reads: one, or a tuple of ``arity`` for the list of a layer that reads several."""
    if arity == 1 or entry is None:
        return activation(entry, where)
    of_type(list, f"a list of {arity} objects")(entry, where)
    if len(entry) != arity:
        raise ValueError(f"{where} is {short(entry)}; it must be a list of {arity} objects")
    return tuple(activation(one, f"{where}[{i}]") for i, one in enumerate(entry))


def read_fields(entry: Any, where: str, table: dict) -> None:
    """Check a JSON object: no field missing, none unknown, each as its line of the table says."""
    if not isinstance(entry, dict):
        raise ValueError(f"{where} is {short(entry)}; it must be an object with the fields {', '.join(table)}")
    for field in entry:
        if field not in table:
            raise ValueError(f"{where} has a field {short(field)}; it may have {', '.join(table)}")
    for field, (needed, check) in table.items():
        if field in entry:
            check(entry[field], f"{where}.{field}")
        elif needed:
            raise ValueError(f"{where} lacks {field!r}")


def _layer(entry, where, arrays, left):
    """One layer, checked, as far as a chain of layers is checked by it. Its arrays' names leave ``left``."""
    if isinstance(entry, dict):
        kind_name(entry.get("kind"), f"{where}.kind")
    weighted = isinstance(entry, dict) and has_weights(entry["kind"])
    read_fields(entry, where, WEIGHTED_LAYER if weighted else LAYER)
    name, kind, shape, inputs = entry["name"], entry["kind"], entry.get("shape"), entry.get("inputs", ())
    check_inputs(name, kind, inputs)
    if weighted:
        _weights(entry, where, arrays, left)
    KINDS[kind].window(name, entry.get("options", {}), shape)
    reads = input_activations(entry.get("input_qparams"), f"{where}.input_qparams", KINDS[kind].arity)
    qparams = {"input_qparams": reads, "output_qparams": activation(entry.get("output_qparams"),
                                                                    f"{where}.output_qparams")}
    for role, values in qparams.items():
        for value in as_tuple(values):
            if value is not None:
                check_activation(value, f"{where}.{role}")
    return SimpleNamespace(name=name, kind=kind, weight_shape=shape, inputs=inputs, **qparams)


def _weights(entry, where, arrays, left):
    """The arrays of a layer: those that it lists, each of the dtype and the shape that its description asks for."""
    name, shape, q = entry["name"], entry["shape"], entry["weight_qparams"]
    axes = KINDS[entry["kind"]].weight_axes
    if len(shape) != axes:
        raise ValueError(f"{where}.shape={short(shape)} must have {axes} axes, as the weights of a {entry['kind']} "
                         "layer have")
    bits = (q["qmax"] - q["qmin"]).bit_length()
    if not q["qmin"] < q["qmax"] or bits > 8:
        raise ValueError(f"{where}.weight_qparams: codes from qmin={q['qmin']} to qmax={q['qmax']} take {bits} bits; "
                         "it must be 1 to 8")
    granularity = Granularity(q["granularity"])
    for key, wanted in (("axis", Granularity.PER_CHANNEL), ("group_size", Granularity.PER_GROUP)):
        if (key in q) != (granularity is wanted):
            raise ValueError(f"{where}.weight_qparams {'has' if key in q else 'lacks'} {key!r}; it belongs to "
                             f"{wanted.value}, and the granularity is {granularity.value}")
    scales = scales_shape(name, tuple(shape), granularity, q.get("axis"), q.get("group_size"))
    count = math.prod(shape)
    wanted = {"codes": (packed_size(count, bits),), "scale": scales, "zero_point": scales, "bias": (shape[0],)}
    for part in entry["tensors"]:
        array = f"{name}.{part}"
        if array not in left:
            raise ValueError(f"tensor {array!r} is missing, or asked for twice")
        left.remove(array)
        there, dtype = arrays[array]
        if dtype not in PARTS[part]:
            raise ValueError(f"tensor {array!r} has dtype {dtype}; it must be {PARTS[part][0]}")
        if tuple(there) != wanted[part]:
            why = f": {count} codes of {bits} bits take {wanted[part][0]} bytes" if part == "codes" else ""
            raise ValueError(f"tensor {array!r} has shape {tuple(there)}; for weights of shape {tuple(shape)} it must "
                             f"have shape {wanted[part]}{why}")


def one_of(*choices):
    def check(value, where):
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"{where} is {short(value)}; it must be one of {', '.join(choices)}")
    return check


def kind_name(value, where):
    """Of the table of kinds as it is now, not as it was when this file was imported."""
    one_of(*KINDS)(value, where)


def between(low, high):
    return lambda value, where: whole(value, where, low, high)


def of_type(wanted, words):
    def check(value, where):
        if not isinstance(value, wanted):
            raise ValueError(f"{where} is {short(value)}; it must be {words}")
    return check


def positive(value, where):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1e308:
        raise ValueError(f"{where} is {short(value)}; it must be a positive, finite number")


def sizes(value, where):
    of_type(list, "a list of whole numbers")(value, where)
    for i, n in enumerate(value):
        whole(n, f"{where}[{i}]", 1, MOST)


def parts(value, where):
    of_type(list, f"a list of {', '.join(PARTS)}")(value, where)
    for part in value:
        one_of(*PARTS)(part, f"{where}: a part")
    for part in ("codes", "scale"):
        if part not in value:
            raise ValueError(f"{where} is {short(value)}; it lacks {part!r}")


def weight_quantizer(value, where):
    read_fields(value, where, WEIGHTS)


def anything(value, where):
    """Looked at where it is used: by ``activation`` and ``input_activations``."""


CODES = {"qmin": (True, between(-(2**15), 2**16 - 2)), "qmax": (True, between(-(2**15) + 1, 2**16 - 1))}
ACTIVATION = {"scale": (True, positive), "dtype": (True, one_of("float32", "float64")),
              "zero_point": (True, between(-(2**15), 2**16 - 1)), **CODES}
WEIGHTS = {**CODES, "granularity": (True, one_of(*(member.value for member in Granularity))),
           "axis": (False, between(0, 3)), "group_size": (False, between(1, MOST))}
LAYER = {"kind": (True, kind_name), "name": (True, check_name),
         "options": (False, of_type(dict, "an object")), "inputs": (False, of_type(list, "a list of names")),
         "input_qparams": (False, anything), "output_qparams": (False, anything)}
WEIGHTED_LAYER = {**LAYER, "shape": (True, sizes), "weight_qparams": (True, weight_quantizer), "tensors": (True, parts)}
DESCRIPTION = {"format": (True, of_type(str, "a text")), "version": (True, of_type(int, "a whole number")),
               "meta": (True, of_type(dict, "an object")), "input_qparams": (True, anything),
               "layers": (True, of_type(list, "a list of objects"))}
