"""Matrix products on integer codes, summed exactly in 32 bits. NumPy and compiled loops, no PyTorch."""

from course_lib.products.int4 import matmul_int4, matmul_int4_plain, pack_int4, unpack_int4
from course_lib.products.int8 import matmul_int8, matmul_int8_plain

__all__ = ["matmul_int4", "matmul_int4_plain", "matmul_int8", "matmul_int8_plain", "pack_int4", "unpack_int4"]
