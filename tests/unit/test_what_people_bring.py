"""Whatever is brought to a public function of numerics, coding and products: the right answer, or our own words.

A table of calls that are right. Each array in them is exchanged for what a reader might have instead. What is only laid
out otherwise has to give the same result or be refused; anything else may be refused as well, but by a TypeError or
ValueError that the course raises itself and that names the argument.
"""

import copy
import dataclasses
import inspect
import traceback
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

import course_lib
from course_lib import coding, numerics, products

LIBRARY = str(Path(course_lib.__file__).parent)
rng = np.random.default_rng(0)
X = rng.normal(size=(4, 8)).astype(np.float32)
CODES = rng.integers(-7, 8, (4, 8)).astype(np.int8)
BYTES = rng.integers(0, 16, (4, 8)).astype(np.uint8)
GREY = rng.integers(0, 256, (16, 24)).astype(np.uint8)
SPARSE = products.prune_two_four(X)
FEW = np.round(2 * X)
LEVELS = np.array([-1, -0.25, 0.5, 2], np.float32)
SIGNS = np.where(X > 0, 1, -1).astype(np.int8)
COUNTS = np.array([5, 1, 1, 3])
Q = numerics.calibrate(X, bits=4)
STREAM = coding.huffman_encode(BYTES)
CODE = coding.HuffmanCode.from_counts(COUNTS)
CSR = products.SparseCSR.from_dense(SPARSE)
FIXED = numerics.FixedPoint(4, 4)

# name: (function, the arguments that are exchanged, the others)
CALLS = {
    "add_in": (numerics.add_in, {"x": X, "y": X[::-1].copy()}, {"format": "bfloat16"}),
    "calibrate": (numerics.calibrate, {"x": X}, {"bits": 4}),
    "calibrate, histogram": (numerics.calibrate, {"x": X}, {"bits": 4, "method": "histogram", "scheme": "affine"}),
    "codebook_dequantize": (numerics.codebook_dequantize, {"codes": BYTES % 4, "levels": LEVELS,
                                                           "scale": np.array(2, np.float32)}, {}),
    "codebook_quantize": (numerics.codebook_quantize, {"x": X, "levels": LEVELS}, {}),
    "cumsum_in": (numerics.cumsum_in, {"x": X}, {"format": "bfloat16"}),
    "decode": (numerics.decode, {"codes": BYTES}, {"format": "e4m3"}),
    "dequantize": (numerics.dequantize, {"codes": CODES, "qparams": Q}, {}),
    "dot_in": (numerics.dot_in, {"x": X, "y": X[::-1].copy()}, {"format": "fp16"}),
    "encode": (numerics.encode, {"x": X}, {"format": "e4m3"}),
    "fake_quantize": (numerics.fake_quantize, {"x": X, "qparams": Q}, {}),
    "first_centroids": (numerics.first_centroids, {"x": X}, {"k": 3}),
    "gradient_descent_in": (numerics.gradient_descent_in, {"x0": X, "lr": np.array(0.1)},
                            {"gradient": lambda x: 2 * x, "steps": 2, "format": "bfloat16"}),
    "kmeans": (numerics.kmeans, {"x": X, "start": np.array([-1.0, 0, 1])}, {"k": 3}),
    "kmeans_optimal": (numerics.kmeans_optimal, {"x": X}, {"k": 3}),
    "mx_dequantize": (numerics.mx_dequantize, {"codes": BYTES, "scale": np.full((4, 1), 127, np.uint8)},
                      {"format": "e2m1"}),
    "mx_quantize": (numerics.mx_quantize, {"x": X}, {"format": "e2m1"}),
    "nearest_level": (numerics.nearest_level, {"x": X, "levels": LEVELS}, {}),
    "qparams_from_range": (numerics.qparams_from_range, {"alpha": -np.ones(3), "beta": np.ones(3)},
                           {"bits": 4, "scheme": "affine", "granularity": "per_channel"}),
    "quantize": (numerics.quantize, {"x": X, "qparams": Q}, {}),
    "round_in": (numerics.round_in, {"x": X}, {"format": "e4m3"}),
    "round_to_integer": (numerics.round_to_integer, {"x": X}, {}),
    "sqnr_db": (numerics.sqnr_db, {"x": X, "x_hat": np.round(X)}, {}),
    "sum_in": (numerics.sum_in, {"x": X}, {"format": "bfloat16"}),
    "to_fixed": (numerics.to_fixed, {"x": X, "fixed": FIXED}, {}),
    "to_format": (numerics.to_format, {"x": X}, {"format": "e4m3"}),
    "QParams": (numerics.QParams, {"scale": np.float32([1, 2]), "zero_point": np.int32([0, 1])},
                {"qmin": 0, "qmax": 7, "granularity": "per_channel", "axis": 0}),

    "entropy": (coding.entropy, {"symbols": BYTES}, {}),
    "huffman_decode": (coding.huffman_decode, {"stream": STREAM}, {}),
    "huffman_encode": (coding.huffman_encode, {"symbols": BYTES % 4, "code": CODE}, {}),
    "huffman_lengths": (coding.huffman_lengths, {"counts": COUNTS}, {}),
    "HuffmanCode": (coding.HuffmanCode, {"lengths": np.array([1, 3, 3, 2])}, {}),
    "HuffmanCode.from_counts": (coding.HuffmanCode.from_counts, {"counts": COUNTS}, {}),
    "HuffmanCode.bits": (CODE.bits, {"counts": COUNTS}, {}),
    "jpeg_bytes": (coding.jpeg_bytes, {"image": GREY}, {"quality": 50}),
    "jpeg_codes": (coding.jpeg_codes, {"grey": GREY}, {"quality": 50}),
    "jpeg_coefficients": (coding.jpeg_coefficients, {"grey": GREY}, {}),
    "jpeg_pixels": (coding.jpeg_pixels, {"codes": coding.jpeg_codes(GREY, 50)}, {"quality": 50, "shape": GREY.shape}),
    "luminance": (coding.luminance, {"image": np.dstack([GREY] * 3)}, {}),
    "pack": (coding.pack, {"codes": BYTES}, {"bits": 4}),
    "png_bytes": (coding.png_bytes, {"image": GREY}, {}),
    "psnr_db": (coding.psnr_db, {"image": GREY, "decoded": GREY[::-1].copy()}, {}),
    "quantization_table": (coding.quantization_table, {"base": coding.LUMINANCE}, {"quality": 30}),
    "read_image": (coding.read_image, {"file": coding.png_bytes(GREY)}, {}),
    "read_jpeg": (coding.read_jpeg, {"file": coding.jpeg_bytes(GREY, 50)}, {}),
    "relative_index": (coding.relative_index, {"w": SPARSE}, {"bits": 3}),
    "shrink": (coding.shrink, {"image": GREY}, {"factor": 2}),
    "unpack": (coding.unpack, {"packed": coding.pack(BYTES, 4)}, {"bits": 4, "count": BYTES.size, "signed": False}),

    "is_two_four": (products.is_two_four, {"w": SPARSE}, {}),
    "matmul_binary": (products.matmul_binary, {"w": products.BinaryMatrix.from_dense(SIGNS), "x": SIGNS}, {}),
    "matmul_bitserial": (products.matmul_bitserial, {
        "w": products.BitPlanes.from_dense(CODES, 4, "signed"),
        "x": products.BitPlanes.from_dense(BYTES, 4, "unsigned")}, {}),
    "matmul_codebook": (products.matmul_codebook, {"w": products.DeepCompressed.from_dense(FEW), "x": X}, {}),
    "matmul_csr": (products.matmul_csr, {"w": CSR, "x": X}, {}),
    "matmul_int4": (products.matmul_int4, {"w": products.PackedInt4.from_dense(CODES), "x": BYTES}, {}),
    "matmul_int4_groups": (products.matmul_int4_groups, {"w": products.Int4Groups.from_dense(X, 8), "x": X}, {}),
    "matmul_int8": (products.matmul_int8, {"w": CODES, "x": BYTES}, {}),
    "matmul_two_four": (products.matmul_two_four, {"w": products.TwoFour.from_dense(SPARSE), "x": X}, {}),
    "pack_signs": (products.pack_signs, {"x": X}, {}),
    "prune_two_four": (products.prune_two_four, {"w": X}, {}),
    "two_four_mask": (products.two_four_mask, {"w": X}, {}),
    "BinaryMatrix.from_dense": (products.BinaryMatrix.from_dense, {"matrix": SIGNS}, {}),
    "BitPlanes.from_dense": (products.BitPlanes.from_dense, {"codes": BYTES}, {"bits": 4, "coding": "unsigned"}),
    "DeepCompressed.from_dense": (products.DeepCompressed.from_dense, {"w": FEW}, {}),
    "Int4Groups.from_codes": (products.Int4Groups.from_codes,
                              {"codes": CODES, "scales": np.ones((4, 1), np.float32)}, {}),
    "Int4Groups.from_dense": (products.Int4Groups.from_dense, {"w": X}, {"group": 8}),
    "PackedInt4.from_dense": (products.PackedInt4.from_dense, {"w": CODES}, {}),
    "PackedInt8.from_dense": (products.PackedInt8.from_dense, {"w": CODES}, {}),
    "SparseCSR": (products.SparseCSR, {"values": CSR.values, "indices": CSR.indices, "row_starts": CSR.row_starts},
                  {"shape": SPARSE.shape}),
    "SparseCSR.from_dense": (products.SparseCSR.from_dense, {"w": SPARSE}, {}),
    "SparseCSR.from_scipy": (products.SparseCSR.from_scipy, {"matrix": scipy.sparse.csr_array(SPARSE)}, {}),
    "TwoFour.from_dense": (products.TwoFour.from_dense, {"w": SPARSE}, {}),
}  # fmt: skip

# What takes no array: numbers and names only.
# calibrate_batches takes batches, and names one by its number: its own tests bring it what people bring
WITHOUT_ARRAYS = {"calibrate_batches", "code_range", "nf4_levels", "power_of_two_levels", "scientific", "sharing_rate",
                  "cosine_matrix", "packed_size"}  # fmt: skip


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


# The same numbers, otherwise laid out.
SAME = {
    "Fortran order": np.asfortranarray,
    "read-only": read_only,
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a,
    "another byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "a tensor": lambda a: torch.from_numpy(a.copy()) if a.dtype.kind != "u" or a.itemsize == 1 else a,
    "nested lists": lambda a: a.tolist(),
    "float64": lambda a: a.astype(np.float64),
    "int64": lambda a: a.astype(np.int64),
}
# Anything.
OTHER = {
    "float16": lambda a: a.astype(np.float16),
    "complex": lambda a: a.astype(complex),
    "bool": lambda a: a.astype(bool),
    "objects": lambda a: a.astype(object),
    "text in an array": lambda a: a.astype(str),
    "one number": lambda a: a.reshape(-1)[0] if a.size else a,
    "empty": lambda a: a[:0] if a.ndim else a,
    "an empty list": lambda a: [],
    "one axis more": lambda a: a[None, None],
    "NaN": lambda a: np.full(a.shape, np.nan, a.dtype if a.dtype.kind == "f" else np.float32),
    "infinity": lambda a: np.full(a.shape, np.inf, a.dtype if a.dtype.kind == "f" else np.float32),
    "a tensor with a gradient": lambda a: torch.from_numpy(a.astype(np.float32)).requires_grad_(),
    "a bfloat16 tensor": lambda a: torch.from_numpy(a.astype(np.float32)).bfloat16(),
    "an uneven list": lambda a: [[1.0], [1.0, 2.0]],
    "a dict": lambda a: {0: 1},
    "text": lambda a: "weights",
    "None": lambda a: None,
    "a function": lambda a: len,
}
EVERY = [(name, argument) for name, (_, arguments, _) in CALLS.items() for argument in arguments]
ARRAYS = [(name, argument) for name, argument in EVERY if isinstance(CALLS[name][1][argument], np.ndarray)]


def result_of(name, **exchanged):
    function, arrays, others = CALLS[name]
    return function(**{**{key: copy.copy(value) for key, value in arrays.items()}, **others, **exchanged})


def plain(result):
    """A result as something that compares: arrays as bytes with dtype and shape, objects by their fields."""
    if isinstance(result, np.ndarray):
        return result.dtype.newbyteorder("="), result.shape, result.tolist()
    if isinstance(result, tuple):
        return tuple(map(plain, result))
    if dataclasses.is_dataclass(result):
        return tuple(plain(getattr(result, field.name)) for field in dataclasses.fields(result))
    return result


def refusal(name, argument, value):
    """None if the call goes well; else the error, once it is sure that it is one of our own."""
    try:
        result_of(name, **{argument: value})
    except (TypeError, ValueError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        assert last.filename.startswith(LIBRARY) and "raise " in inspect.getsource(
            inspect.getmodule(None, last.filename)).splitlines()[last.lineno - 1], f"not our own: {error!r} in {last}"
        assert argument in str(error), f"{argument} is not named: {error}"
        return error
    return None


@pytest.mark.parametrize("name, argument", ARRAYS)
def test_the_same_numbers_give_the_same_result_or_are_refused_in_words(name, argument):
    value = CALLS[name][1][argument]
    expected = plain(result_of(name))
    for kind, change in SAME.items():
        changed = change(value)
        if refusal(name, argument, changed) is None and kind not in ("float64", "int64", "nested lists"):
            assert plain(result_of(name, **{argument: changed})) == expected, kind


@pytest.mark.parametrize("name, argument", EVERY)
def test_anything_else_is_done_or_refused_in_words(name, argument):
    value = CALLS[name][1][argument]
    for kind, change in OTHER.items():
        if not (argument == "file" and kind == "text"):                     # a path, where there is no file
            refusal(name, argument, change(value if isinstance(value, np.ndarray) else X))
    for kind in ("a dict", "None", "a function"):
        if not (argument == "code" and kind == "None"):                     # which is its default
            assert refusal(name, argument, OTHER[kind](X)) is not None, kind


@pytest.mark.parametrize("name, argument", ARRAYS)
def test_nothing_that_is_brought_is_changed(name, argument):
    value = CALLS[name][1][argument]
    before = copy.deepcopy(value)
    result_of(name, **{argument: value})
    assert np.array_equal(value, before)


@pytest.mark.parametrize("wrong", [None, "8", {}, [2], 2.5, np.nan, -1])
@pytest.mark.parametrize("call", [
    lambda bits: numerics.calibrate(X, bits=bits),
    lambda percentile: numerics.calibrate(X, bits=4, method="percentile", percentile=percentile),
    lambda group_size: numerics.calibrate(X, bits=4, granularity="per_group", group_size=group_size or 0),
    lambda method: numerics.calibrate(X, bits=4, method=method),
    lambda scheme: numerics.code_range(4, scheme),
    lambda dtype: numerics.qparams_from_range(0, 1, bits=4, scheme="affine", dtype=dtype or "none"),
    lambda rounding: numerics.quantize(X, Q, rounding=rounding),
    lambda rng: numerics.quantize(X, Q, rounding="stochastic", rng=rng),
    lambda format: numerics.to_format(X, format),
    lambda k: numerics.kmeans(X, k),
    lambda bits: numerics.power_of_two_levels(bits),
    lambda k: numerics.sharing_rate(10, 32, k),
    lambda count: coding.packed_size(count, 4),
    lambda bits: coding.pack(BYTES, bits),
    lambda limit: coding.huffman_lengths(COUNTS, limit=limit or 0),
    lambda quality: coding.jpeg_bytes(GREY, quality),
    lambda factor: coding.shrink(GREY, factor),
    lambda group: products.Int4Groups.from_dense(X, group),
    lambda coding: products.BitPlanes.from_dense(BYTES, 4, coding),
    lambda threads: products.matmul_csr(CSR, X, threads="2" if threads is None else threads),
])
def test_wrong_numbers_and_names_are_refused_in_words(call, wrong):
    (argument,) = inspect.signature(call).parameters
    with pytest.raises((TypeError, ValueError), match=argument):
        call(wrong)


@pytest.mark.parametrize("room", [numerics, coding, products])
def test_the_table_has_every_public_function(room):
    """But the definitions, which take plain Python numbers."""
    functions = {name for name in room.__all__ if inspect.isfunction(getattr(room, name))}
    definitions = {name for name in functions if name.endswith(("_one", "_plain"))}
    assert functions - definitions - WITHOUT_ARRAYS <= set(CALLS)
