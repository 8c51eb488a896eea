"""Answers to lab 04 as people write them: wrong in one place, and right in other words."""

from course_lib.check import lab04
from tests.unit.check import bank_lab03
from tests.unit.check.variants import variants

# ------------------------------------------------------------------------------------------- 1 accuracy_with_error

ACCURACY = """
def accuracy_with_error(predicted, labels):
    n = len(labels)
    p = np.sum(predicted == labels) / n
    return p, np.sqrt(p * (1 - p) / n)
"""
ACCURACY_RIGHT = ["""
def accuracy_with_error(predicted, labels):
    wrong = np.count_nonzero(predicted - labels) / labels.size
    return np.array([1 - wrong, ((1 - wrong) * wrong / labels.size) ** 0.5])
""", """
def accuracy_with_error(predicted, labels):
    hits = [int(a == b) for a, b in zip(predicted, labels)]
    p = sum(hits) / len(hits)
    return p, math.sqrt(sum((hit - p) ** 2 for hit in hits)) / len(hits)
"""]
ACCURACY_WRONG = variants(ACCURACY, {
    "predicted == labels": [
        ("predicted != labels", "the error rate"), "predicted >= labels", "predicted <= labels",
        "abs(predicted.astype(int) - labels) <= 1", "predicted.astype(int) - labels < 1", "predicted % 2 == labels % 2",
        "(predicted == labels) & (labels > 0)",
    ],
    "np.sum(predicted == labels) / n": [
        "1 - np.mean(abs(predicted.astype(int) - labels)) / 9", "np.sum(predicted == labels) / 10000",
        "np.sum(predicted == labels) // n", "(np.sum(predicted == labels) + 1) / (n + 2)",
        "np.sum(predicted == labels)",
        "np.mean(np.unique(predicted[predicted == labels]).size / np.unique(labels).size)",
        "round(np.mean(predicted == labels), 2)",
    ],
    "p, np.sqrt": [("100 * p, 100 * np.sqrt", "percent")],
    "np.sqrt(p * (1 - p) / n)": [
        ("p * (1 - p) / n", "the square root is missing"), ("np.sqrt(p * (1 - p))", "the division by n"),
        ("np.sqrt(p * (1 - p)) / n", "divided by n, and should"), "np.sqrt(p * (1 - p) / max(n - 1, 1))",
        "np.sqrt(p / n)", "np.sqrt(p * p / n)", "1.96 * np.sqrt(p * (1 - p) / n)", "2 * np.sqrt(p * (1 - p) / n)",
        "np.sqrt(p * (1 - p) / 10000)", "max(np.sqrt(p * (1 - p) / n), 1 / n)", "round(np.sqrt(p * (1 - p) / n), 4)",
        "np.sqrt(0.25 / n)", "np.std(predicted) / np.sqrt(n)",
    ],
    "    return": ["    if n == 1:\n        return p, np.nan\n    return"],
})

# ------------------------------------------------------------------------------------------------- 2 weight_scales

SCALES = """
def weight_scales(w, bits):
    largest = np.abs(w).max(axis=1)
    scales = largest / (2 ** (bits - 1) - 1)
    return np.where(largest == 0, 1, scales)
"""
SCALES_RIGHT = ["""
def weight_scales(w, bits):
    largest = np.maximum(np.max(w, 1), -np.min(w, 1)).astype(float)
    empty = ~np.any(w, axis=1)
    largest[empty] = 2 ** (bits - 1) - 1
    return largest / (2 ** (bits - 1) - 1)
""", """
def weight_scales(w, bits):
    return [max(abs(row)) / (2 ** (bits - 1) - 1) or 1 for row in w.tolist() for row in [np.array(row)]]
"""]
SCALES_WRONG = variants(SCALES, {
    "largest == 0": [
        *bank_lab03.ZERO_TAKEN, "(w == 0).any(axis=1)", "w.sum(axis=1) == 0", "np.isclose(w.mean(axis=1), 0)",
        "np.prod(w, axis=1) == 0", "w.max(axis=1) == 0", "w[:, 0] == 0", "np.ptp(w, axis=1) == 0", "w.std(axis=1) == 0",
    ],
    "largest == 0, 1,": ["largest == 0, 1e-8,", "largest == 0, 1 / (2 ** (bits - 1) - 1),", "largest == 0, 0,"],
    "np.where(largest == 0, 1, scales)": [
        "np.maximum(scales, 1e-8)", "scales + 1e-12", "np.where(largest == 0, 1, scales)[:, None]",
    ],
    "np.abs(w).max": [("w.max", "not the largest magnitude"), "np.abs(w).mean"],
    "np.abs(w).max(axis=1)": [
        "np.abs(w.max(axis=1))", "np.abs(w).max(axis=0)", ("np.full(len(w), np.abs(w).max())", "the whole tensor"),
        "np.ptp(w, axis=1) / 2", "-w.min(axis=1)", "np.sort(np.abs(w), axis=1)[:, -2:].mean(axis=1)",
    ],
    "(2 ** (bits - 1) - 1)": [
        ("2 ** (bits - 1)", "off by one"), ("(2**bits - 1)", "the sign bit"), "127", "min(2 ** (bits - 1) - 1, 31)",
        "{8: 127, 4: 7, 3: 3, 2: 1}.get(bits, 1)", "max(2 ** (bits - 1) - 1, 3)",
    ],
    "largest / (2 ** (bits - 1) - 1)": [("(2 ** (bits - 1) - 1) / largest", "upside down")],
})

# --------------------------------------------------------------------------------------------- 5 activation_params

PARAMS = """
def activation_params(x, bits):
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    if low == high:
        return 1.0, 0
    scale = (high - low) / (2**bits - 1)
    return scale, round(-low / scale)
"""
PARAMS_RIGHT = ["""
def activation_params(x, bits):
    low, high = np.minimum(x.min(), 0), np.maximum(x.max(), 0)
    scale = (high - low) / (2**bits - 1)
    if scale == 0:
        return np.float32(1), np.int32(0)
    return scale, (2**bits - 1) - np.rint(high / scale).astype(int)
""", """
def activation_params(x, bits):
    if not x.any():
        return [1, 0]
    ends = sorted([0.0, *x.astype(float)])
    return [(ends[-1] - ends[0]) / (2**bits - 1), int(0.5 - ends[0] * (2**bits - 1) / (ends[-1] - ends[0]))]
"""]
PARAMS_WRONG = variants(PARAMS, {
    "low == high": [
        "x.min() == x.max()", "(x == 0).any()", "x.sum() == 0", "np.isclose(x.mean(), 0)", "low == 0", "high == 0",
        "len(x) == 1", "high - low < 1e-6", "high - low < 1e-12", "np.isclose(low, high)",
        "np.isclose(x.min(), x.max())", "np.allclose(x, 0)", "x.std() == 0", "np.prod(x) == 0",
    ],
    "    if low": [
        "    if x.min() == x.max() != 0:\n        raise ValueError('no range')\n    if low",
        "    if x.min() == x.max() != 0:\n        return abs(x[0]), int(x[0] < 0)\n    if low",
    ],
    "return 1.0, 0": ["return 1.0, 2 ** (bits - 1)", "return 1 / (2**bits - 1), 0", "return 0.0, 0"],
    "(high - low) /": ["(high - low + 1e-8) /", "high /", "max(high, -low) /", "(x.max() - x.min()) /"],
    "(high - low) / (2**bits - 1)": ["max((high - low) / (2**bits - 1), 1e-8)"],
    "min(float(x.min()), 0.0)": ["float(x.min())", "0.0"],
    "max(float(x.max()), 0.0)": ["float(x.max())"],
    "float(x.max())": ["float(abs(x).max())", "float(np.percentile(x, 99))"],
    "(2**bits - 1)": [
        ("2**bits", "have 2^bits - 1 steps"), "(2 ** (bits - 1) - 1)", "255", "min(2**bits - 1, 63)",
        "{8: 255, 4: 15, 3: 7, 2: 3}.get(bits, 255)",
    ],
    "round(-low / scale)": [
        ("round(low / scale)", "wrong sign"), ("int(-low / scale)", "cut off"), "math.ceil(-low / scale)",
        "-low / scale", "np.rint(-low / scale)", "round(high / scale)", "0", "round(-low / scale) % 128",
        "round(-low / scale) - 2 ** (bits - 1)", "round(-x.min() / scale)", "round(-low / scale) + 1",
        "round(-low * scale)",
    ],
})

# ---------------------------------------------------------------------------------------------------- 6 pack_codes

PACK = """
def pack_codes(codes, bits):
    stream = (codes.astype(np.int32)[:, None] >> np.arange(bits)) & 1
    return np.packbits(stream.astype(np.uint8).ravel(), bitorder="little")
"""
PACK_RIGHT = ["""
def pack_codes(codes, bits):
    number = sum((int(code) % 2**bits) << (bits * i) for i, code in enumerate(codes))
    return bytearray(number.to_bytes(-(-len(codes) * bits // 8), "little"))
""", """
import torch
def pack_codes(codes, bits):
    each = (torch.tensor(codes).long()[:, None] >> torch.arange(bits)) & 1
    each = torch.nn.functional.pad(each.flatten(), (0, -each.numel() % 8)).reshape(-1, 8)
    return (each << torch.arange(8)).sum(1).to(torch.uint8)
""", """
def pack_codes(codes, bits):
    out, held, count = bytearray(), 0, 0
    for code in codes.tolist():
        held |= (code & (1 << bits) - 1) << count
        count += bits
        while count >= 8:
            out.append(held & 255)
            held, count = held >> 8, count - 8
    return bytes(out + bytes([held] if count else []))
""", """
def pack_codes(codes, bits):
    stream = "".join(format(int(code) % 2**bits, f"0{bits}b")[::-1] for code in codes)
    return [int(stream[i : i + 8][::-1], 2) for i in range(0, len(stream), 8)]
"""]
PACK_WRONG = variants(PACK, {
    'bitorder="little"': [('bitorder="big"', "packbits needs")],
    ">> np.arange(bits)": [(">> np.arange(bits)[::-1]", "the bits of a code run")],
    "codes.astype(np.int32)": [
        ("np.abs(codes.astype(np.int32))", "the sign is lost"),
        ("(codes.astype(np.int32) + 2 ** (bits - 1))", "shifted to start at zero"),
        ("(codes.astype(np.int32) + 2 ** (bits - 1) - 1)", "shifted to start at zero"),
        "(codes.astype(np.int32) - codes.min())",
        "np.where(codes < 0, 2 ** (bits - 1) - codes, codes).astype(np.int32)",
        "np.maximum(codes, 1 - 2 ** (bits - 1)).astype(np.int32)", "np.maximum(codes, 0).astype(np.int32)",
        "np.where(codes == -2 ** (bits - 1), 0, codes).astype(np.int32)", "(~codes.astype(np.int32))",
        "codes.view(np.uint8)", "codes.astype(np.int32)[::-1]", "codes.astype(np.int32)[:64]",
    ],
    "np.arange(bits)": ["np.arange(8)", "np.arange(min(bits, 4))", "np.arange(min(bits, 6))", "np.arange(bits - 1)"],
    "stream.astype(np.uint8).ravel()": [
        "stream.astype(np.uint8).T.ravel()", "stream.astype(np.uint8).ravel()[: len(codes) * bits // 8 * 8]",
    ],
    'return np.packbits(stream.astype(np.uint8).ravel(), bitorder="little")': [
        'return np.packbits(stream.astype(np.uint8), axis=1, bitorder="little").ravel()',
        'return np.packbits(stream.astype(np.uint8).ravel(), bitorder="little").astype(int)',
        'return np.packbits(stream.astype(np.uint8).ravel(), bitorder="little").view(np.int8)',
        'return np.append(np.packbits(stream.astype(np.uint8).ravel(), bitorder="little"), np.uint8(0))',
        'return np.packbits(np.append(stream, np.ones(-stream.size % 8)).astype(np.uint8), bitorder="little")',
        'return np.packbits(stream.astype(np.uint8).ravel(), bitorder="little")[::-1]',
        'return int("".join(map(str, stream.ravel()[::-1])), 2)',
    ],
    "    stream": [
        "    if bits == 3:\n        bits = 4\n    stream", "    assert bits in (2, 3, 4, 8)\n    stream",
        "    assert len(codes) > 1\n    stream",
    ],
})

# ---------------------------------------------------------------------------------------------------- 7 comparison

TABLE = """
def comparison(ptq, qat, measure):
    wanted = [("PTQ", ptq, bits, activations) for bits in (8, 4, 3, 2) for activations in (None, bits)]
    wanted += [("QAT", qat, bits, bits) for bits in (3, 2)]
    rows = []
    for method, make, bits, activations in wanted:
        row = {"method": method, "weight_bits": bits, "activation_bits": activations}
        row.update(measure(make(bits, activations)))
        rows.append(row)
    return rows
"""
TABLE_RIGHT = ["""
def comparison(ptq, qat, measure):
    def row(method, make, w, a):
        return dict(measure(make(weight_bits=w, activation_bits=a)), method=method, weight_bits=w, activation_bits=a)
    rows = [row("PTQ", ptq, b, a) for b in np.array([2, 3, 4, 8]) for a in (b, None)]
    return rows + [row("QAT", qat, b, b) for b in (2, 3)]
""", """
def comparison(ptq, qat, measure):
    rows = []
    for b in [8, 4, 3, 2]:
        networks = {("PTQ", None): ptq(b, None), ("PTQ", b): ptq(b, b)}
        if b < 4:
            networks["QAT", b] = qat(b, b)
        for (method, a), net in networks.items():
            rows.append({"method": method, "weight_bits": b, "activation_bits": a} | measure(net))
    return rows
"""]
TABLE_WRONG = variants(TABLE, {
    "(8, 4, 3, 2)": ["(8, 4, 2)", "(8, 6, 4, 3, 2)", "range(2, 9)", "(4, 3, 2)"],
    "(None, bits)": ["(bits,)", "(None,)", "(None, 8)", "(0, bits)", "(32, bits)"],
    "bits, bits) for bits in (3, 2)": [
        "bits, bits) for bits in (4, 3, 2)", "bits, None) for bits in (3, 2)", "bits, bits) for bits in (2,)",
        "bits, 8) for bits in (3, 2)",
    ],
    '("QAT", qat,': ['("QAT", ptq,', '("PTQ", qat,'],
    '"method": method': ['"method": method.lower()', '"method": "PTQ"'],
    '"weight_bits": bits': ['"bits": bits'],
    '"activation_bits": activations': ['"activation_bits": bits', '"activation_bits": str(activations)'],
    "make(bits, activations)": [
        "make(bits, bits)", "make(8, activations)", "ptq(bits, activations)", "make(activations or bits, bits)",
    ],
    "measure(make(bits, activations))": ["measure(ptq(8, None))"],
    "row.update": ["row.setdefault"],
    "rows.append(row)": ["rows = [row]"],
    "    return rows": [
        "    return rows[:-1]", "    return rows + rows[:1]", "    return tuple(rows)",
        "    return {row['method']: row for row in rows}",
        "    return [dict(row, accuracy=100 * row['accuracy']) for row in rows]",
        "    return [dict(row, accuracy=round(row['accuracy'], 3)) for row in rows]",
        "    return [dict(row, bytes=row['bytes'] / 1000) for row in rows]",
        "    return [dict(row, difference=abs(row['difference'])) for row in rows]",
        "    return [dict(row, difference=row['accuracy'] - rows[0]['accuracy']) for row in rows]",
        "    return [dict(row, difference_stderr=(row['stderr'] ** 2 + rows[0]['stderr'] ** 2) ** 0.5) for row "
        "in rows]",
        "    return [dict(rows[0], method=row['method']) for row in rows]",
    ],
})

# ---------------------------------------------------------------------------------------------------- 8 accumulate

SUMS = """
def accumulate(x_codes, w_codes, x_zero_point, bias_codes):
    x, w = x_codes.astype(np.int32) - x_zero_point, w_codes.astype(np.int32)
    return x @ w.T + bias_codes
"""
SUMS_RIGHT = ["""
def accumulate(x_codes, w_codes, x_zero_point, bias_codes):
    x, w = x_codes.astype(float), w_codes.astype(float)
    return np.rint((x - x_zero_point) @ w.T + bias_codes).astype(np.int64)
""", """
def accumulate(x_codes, w_codes, x_zero_point, bias_codes):
    x = x_codes.astype(np.int16) - np.int16(x_zero_point)
    return (x[:, None, :] * w_codes[None].astype(np.int32)).sum(axis=2) + bias_codes[None]
""", """
def accumulate(x_codes, w_codes, x_zero_point, bias_codes):
    return [[int(b) + sum(int(q) * (int(v) - x_zero_point) for q, v in zip(row, image))
             for row, b in zip(w_codes, bias_codes)] for image in x_codes]
"""]
SUMS_WRONG = variants(SUMS, {
    "x_codes.astype(np.int32) - x_zero_point": [
        ("x_codes.astype(np.int32)", "the zero point is forgotten"),
        ("(x_codes - np.uint8(x_zero_point)).astype(np.int32)", "wraps around"),
        "np.maximum(x_codes.astype(np.int32) - x_zero_point, 0)", "np.abs(x_codes.astype(np.int32) - x_zero_point)",
    ],
    "- x_zero_point": [("+ x_zero_point", "wrong sign"), "- x_zero_point % 128"],
    "x_codes.astype(np.int32)": ["x_codes.astype(np.int8).astype(np.int32)"],
    "w_codes.astype(np.int32)": [
        "w_codes.astype(np.int32) - x_zero_point", "w_codes.view(np.uint8).astype(np.int32)",
        "np.abs(w_codes).astype(np.int32)", "np.maximum(w_codes, -127).astype(np.int32)",
    ],
    "x @ w.T": [
        ("(x.astype(np.float32) @ w.astype(np.float32).T)", "float32"),
        ("(x.astype(np.float32) @ w.astype(np.float32).T).astype(np.int32)", "float32"),
        ("(x.astype(np.int16) @ w.astype(np.int16).T)", "16 bits"), ("(x @ w.T).astype(np.int16)", "16 bits"),
        ("(x @ w.T).astype(np.int8)", "8 bits"), "(x @ w if w.shape[0] == w.shape[1] else x @ w.T)", "x[:1] @ w.T",
        "x[:, :128] @ w[:, :128].T",
    ],
    "x @ w.T + bias_codes": [
        "(x.astype(np.float32) @ w.astype(np.float32).T + bias_codes.astype(np.float32)).astype(np.int64)",
        "(x @ w.T + bias_codes).astype(np.float32).astype(np.int64)", "np.float64(x @ w.T + bias_codes)",
        "np.clip(x @ w.T + bias_codes, -(2**15), 2**15 - 1)", "np.maximum(x @ w.T + bias_codes, 0)",
        "(w @ x.T + bias_codes[:, None])",
    ],
    "+ bias_codes": [
        ("+ bias_codes.astype(np.int16)", "16 bits"), "+ bias_codes.astype(np.int8)",
        "+ np.clip(bias_codes, -(2**15), 2**15 - 1)", "+ bias_codes.astype(np.float32).astype(np.int64)",
        "- bias_codes", ("", "the bias is forgotten"), "+ bias_codes[0]", "+ bias_codes[:, None]",
        "+ bias_codes * x.shape[1]", "- x_zero_point + bias_codes",
    ],
})

# ---------------------------------------------------------------------------------------------------- 9 requantize

NEXT = """
def requantize(acc, multiplier, shift, zero_point, qmin, qmax):
    product = acc.astype(np.int64) * multiplier
    scaled = (product + (1 << (shift - 1))) >> shift
    return np.clip(scaled + zero_point, qmin, qmax)
"""
NEXT_RIGHT = ["""
def requantize(acc, multiplier, shift, zero_point, qmin, qmax):
    product = np.multiply(acc, multiplier, dtype=np.int64)
    whole, rest = product >> shift, product & ((1 << shift) - 1)
    codes = whole + (rest >= 1 << (shift - 1)) + zero_point
    return np.where(codes > qmax, qmax, np.where(codes < qmin, qmin, codes)).astype(np.int32)
""", """
def requantize(acc, multiplier, shift, zero_point, qmin, qmax):
    half = 2 ** (shift - 1)
    return [[min(qmax, max(qmin, (a * m + half) // (2 * half) + zero_point)) for a, m in zip(row, multiplier.tolist())]
            for row in acc.tolist()]
""", """
def requantize(acc, multiplier, shift, zero_point, qmin, qmax):
    scaled = acc.astype(object) * multiplier.astype(object) + (1 << (shift - 1))
    return np.clip(scaled // (1 << shift) + zero_point, qmin, qmax)
"""]
NEXT_WRONG = variants(NEXT, {
    "(product + (1 << (shift - 1))) >> shift": [
        ("product >> shift", "the half is missing"), "(product >> shift) + (1 << (shift - 1))",
        ("np.rint(product / 2**shift).astype(np.int64)", "real numbers"),
        "np.floor(product.astype(float) / 2**shift + 0.5).astype(np.int64)",
        ("np.trunc(product / 2**shift).astype(np.int64)", "cut off toward zero"),
        "np.sign(product) * ((np.abs(product) + (1 << (shift - 1))) >> shift)",
        ("np.sign(product) * (np.abs(product) >> shift)", "cut off toward zero"),
        ("np.round(acc * (multiplier / 2.0**shift)).astype(int)", "real numbers"),
    ],
    "(1 << (shift - 1))": [
        "(1 << shift)", "(1 << (shift - 1)) - 1", "1", ("shift // 2", "the half is missing"),
        "(1 << shift - 1) + zero_point", "np.sign(product) * (1 << (shift - 1))",
    ],
    ">> shift": [">> (shift - 1)", ">> shift + 1", "<< shift", ">> min(shift, 31)", "// shift"],
    "product = acc.astype(np.int64) * multiplier": [
        "product = acc * multiplier.astype(np.int32)",
        "product = (acc.astype(np.float32) * multiplier).astype(np.int64)",
        "product = (acc.astype(np.float32) * multiplier.astype(np.float32)).astype(np.int64)",
        "product = acc.astype(np.float32).astype(np.int64) * multiplier",
        "product = acc.astype(np.int16).astype(np.int64) * multiplier",
        "product = (acc.astype(float) * multiplier).astype(np.int64)",
    ],
    "* multiplier": [
        "* multiplier[0]", "* multiplier.max()", "* multiplier.reshape(-1, 1)", "+ multiplier", "* np.sort(multiplier)",
    ],
    "np.clip(scaled + zero_point, qmin, qmax)": [
        ("scaled + zero_point", "nothing is clipped"),
        ("np.clip(scaled, qmin, qmax) + zero_point", "the clip comes before"),
        ("np.clip(scaled, qmin, qmax)", "Z is left out"),
        ("np.clip(scaled - zero_point, qmin, qmax)", "Z is subtracted"), "np.clip(scaled + zero_point, 0, qmax)",
        "np.clip(scaled + zero_point, zero_point, qmax)", "np.clip(scaled + zero_point, qmin, min(qmax, 255))",
        "np.clip(scaled + zero_point, qmin, qmax - 1)", "np.clip((scaled + zero_point).astype(np.int8), qmin, qmax)",
        "np.clip((scaled + zero_point).astype(np.int16), qmin, qmax)",
        "np.clip(scaled + zero_point, qmin, qmax).astype(np.int8)",
        "np.clip(scaled + zero_point, qmin, qmax).astype(np.uint8)",
        "np.clip(scaled + zero_point, qmin, qmax).astype(float)",
    ],
})

BANK = {
    lab04.accuracy_with_error: (ACCURACY, ACCURACY_RIGHT, ACCURACY_WRONG),
    lab04.weight_scales: (SCALES, SCALES_RIGHT, SCALES_WRONG),
    lab04.quantize: bank_lab03.BANK[bank_lab03.lab03.quantize],
    lab04.dequantize: bank_lab03.BANK[bank_lab03.lab03.dequantize],
    lab04.activation_params: (PARAMS, PARAMS_RIGHT, PARAMS_WRONG),
    lab04.pack_codes: (PACK, PACK_RIGHT, PACK_WRONG),
    lab04.comparison: (TABLE, TABLE_RIGHT, TABLE_WRONG),
    lab04.accumulate: (SUMS, SUMS_RIGHT, SUMS_WRONG),
    lab04.requantize: (NEXT, NEXT_RIGHT, NEXT_WRONG),
}
