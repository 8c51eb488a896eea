"""Dense products of low-bit weights against float32 ones and against the libraries' own low-bit products."""

import numpy as np

from course_lib import products
from course_lib.bench.report import PLAIN
from course_lib.kernels import plain
from course_lib.machine import simd
from course_lib.machine.threads import threads as thread_count
from course_lib.measure import Case, Goal, Growth, Row

N = 4096
GROUP = 128
SIZES = (256, 512, 1024, 2048, 4096, 8192)


def rows() -> list[Row]:
    """The rows of this family."""
    overhead = ("a quarter of the bytes is read, so where memory decides four times is the most; a call so short pays "
                "for waking a second thread")
    return [
        Row(
            "int8 product, batch 1", f"{N}×{N}", lambda: _int8(1), (Goal("torch float32", 4.0), Goal("best", 1.0)),
            why=overhead, growth=_growth(1),
        ),
        Row(
            "int8 product, batch 64", f"{N}×{N}", lambda: _int8(64),
            (Goal("torch float32", 5.0), Goal("torch _int_mm", 1.0), Goal("oneDNN dynamic linear", 1 / 1.5)),
            why="a library may feed the processor's matrix unit better" if simd.has("amx-int8") else "",
            growth=_growth(64),
        ),
        Row(
            "int8 product, weights not prepared, batch 64", f"{N}×{N}", lambda: _int8(64, prepared=False),
            (Goal("torch float32", 1.0),), why="rows as they are keep fewer sums in registers than tiles",
        ),
        Row(
            f"int4 product, groups of {GROUP}, batch 1", f"{N}×{N}", lambda: _int4_groups(N),
            (Goal("torch int4pack (bfloat16)", 1.0),),
            why="each weight is turned into a float32 and multiplied as one; int4pack takes numbers of 16 bits",
            growth=Growth("n", SIZES, lambda n: _int4_groups(n, peers=False).ours, slope=1.0, work=lambda n: n * n,
                          bytes=lambda n: n * n // 2 + 4 * n * -(-n // GROUP)),
        ),
    ]


def _growth(batch):
    return Growth("n", SIZES, lambda n: _int8(batch, n, peers=False).ours, work=lambda n: batch * n * n,
                  bytes=lambda n: n * n + 5 * batch * n)


def _int8(batch, n=N, *, prepared=True, peers=True):
    """Integer codes times integer codes, exactly. The dynamic layers take float32 and quantize it in the call."""
    rng = np.random.default_rng(0)
    # 7 bits: where a processor has no dot product of bytes, PyTorch's adds two products in 16 bits, clipped
    w = rng.integers(-64, 64, (n, n), dtype=np.int8)
    x = rng.integers(-64, 64, (batch, n), dtype=np.int8)
    weights = products.PackedInt8.from_dense(w) if prepared else w

    def ours():
        return products.matmul_int8(weights, x)

    others, exact = _int8_peers(w, x) if peers else ({}, {})
    if peers:
        sums = np.empty((batch, n), np.int32)
        others[PLAIN] = lambda: plain.int8_product(w, x, sums)

    def same():
        mine = ours()
        for call in exact.values():
            np.testing.assert_array_equal(mine, np.asarray(call())[:batch])
        others[PLAIN]()
        np.testing.assert_array_equal(mine, sums)

    return Case(ours, others, bytes=n * n + 5 * batch * n, operations=2 * batch * n * n, arithmetic="int8", same=same)


def _int8_peers(w, x):
    """(all peers, those that compute the same integers)"""
    import torch

    batch, wide = len(x), max(len(x), 17)
    weights, codes = torch.from_numpy(w).float(), torch.from_numpy(x)
    real = codes.float()
    padded = torch.zeros(wide, x.shape[1], dtype=torch.int8)        # _int_mm wants more than 16 rows
    padded[:batch] = codes
    transposed = torch.from_numpy(w).T
    name = "torch _int_mm" if wide == batch else f"torch _int_mm ({wide} rows)"
    exact = {name: lambda: torch._int_mm(padded, transposed)}
    layer = _dynamic_linear(weights)
    integer, dynamic = _onnx_runtime(w, x)
    if not isinstance(integer, str):
        exact["ONNX Runtime MatMulInteger"] = integer
    return {
        "torch float32": lambda: torch.nn.functional.linear(real, weights),
        **exact,
        "oneDNN dynamic linear": lambda: layer(real),
        "ONNX Runtime MatMulInteger": integer,
        "ONNX Runtime DynamicQuantizeMatMul": dynamic,
    }, exact


def _dynamic_linear(weights):
    """PyTorch's dynamically quantized layer, with oneDNN's product where PyTorch was built with it."""
    import torch

    before = torch.backends.quantized.engine
    if "onednn" in torch.backends.quantized.supported_engines:
        torch.backends.quantized.engine = "onednn"
    try:
        layer = torch.ao.nn.quantized.dynamic.Linear(weights.shape[1], weights.shape[0], bias_=False)
        layer.set_weight_bias(torch.quantize_per_tensor(weights, 1.0, 0, torch.qint8), None)
    finally:
        torch.backends.quantized.engine = before
    return layer


def _onnx_runtime(w, x):
    """The calls of two products in ONNX Runtime, on as many threads as ours; or why there are none."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        return (f"not installed: {error.name}",) * 2
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")    # its threads would take our cores

    def session(node, constants, kind_in, kind_out):
        infos = [onnx.helper.make_tensor_value_info("x", kind_in, x.shape),
                 onnx.helper.make_tensor_value_info("y", kind_out, (len(x), len(w)))]
        graph = onnx.helper.make_graph([node], "product", infos[:1], infos[1:],
                                       [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()])
        opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
        model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    kinds, transposed = onnx.TensorProto, np.ascontiguousarray(w.T)
    node = onnx.helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    integer = session(node, {"w": transposed}, kinds.INT8, kinds.INT32)
    node = onnx.helper.make_node("DynamicQuantizeMatMul", ["x", "w", "scale"], ["y"], domain="com.microsoft")
    dynamic = session(node, {"w": transposed, "scale": np.ones(1, np.float32)}, kinds.FLOAT, kinds.FLOAT)
    real = x.astype(np.float32)
    return lambda: integer.run(None, {"x": x})[0], lambda: dynamic.run(None, {"x": real})[0]


def _int4_groups(n, *, peers=True):
    """Real activations: float32 in ours and in the dense product, bfloat16 in int4pack."""
    rng = np.random.default_rng(0)
    codes = rng.integers(-8, 8, (n, n), dtype=np.int8)
    scales = rng.uniform(0.5, 1.5, (n, -(-n // GROUP))).astype(np.float32)
    x = rng.standard_normal(n, dtype=np.float32)
    weights = products.Int4Groups.from_codes(codes, scales, GROUP)

    def ours():
        return products.matmul_int4_groups(weights, x)

    others = {}
    if peers:
        import torch

        real, dense = torch.from_numpy(x)[None], torch.from_numpy(weights.to_dense())
        half = real.to(torch.bfloat16)
        packed = torch._convert_weight_to_int4pack_for_cpu(torch.from_numpy(codes.astype(np.int32) + 8), 2)
        by_group = torch.from_numpy(scales.T.copy())
        scale_and_zero = torch.stack([by_group, torch.zeros_like(by_group)], -1).to(torch.bfloat16)
        others["torch float32"] = lambda: torch.nn.functional.linear(real, dense)
        int4pack = torch._weight_int4pack_mm_for_cpu
        others["torch int4pack (bfloat16)"] = lambda: int4pack(half, packed, GROUP, scale_and_zero)
        four, sums = products.PackedInt4.from_dense(codes).packed, np.empty(n, np.float32)
        others[PLAIN] = lambda: plain.int4_groups_product(four, scales, x, GROUP, sums)

    def same():
        mine, size = ours(), np.abs(weights.to_dense()) @ np.abs(x)
        others[PLAIN]()
        assert (np.abs(sums - mine) <= n * 2.0**-24 * size).all(), "the plain loop: one sum of n products in float32"
        for name, unit in (("torch float32", 1e-5), ("torch int4pack (bfloat16)", 2**-7)):
            assert (np.abs(others[name]()[0].float().numpy() - mine) <= unit * size).all(), name

    return Case(ours, others, bytes=weights.nbytes + 8 * n, operations=2 * n * n, same=same)
