"""Matrix products on compressed weights: integer codes, summed exactly, and sparse ones. NumPy and compiled loops, no PyTorch."""

from course_lib.products.int4 import matmul_int4, matmul_int4_plain, pack_int4, unpack_int4
from course_lib.products.int8 import matmul_int8, matmul_int8_plain
from course_lib.products.sparse import SparseCSR, matmul_csr, matmul_csr_plain

__all__ = ["SparseCSR", "matmul_csr", "matmul_csr_plain", "matmul_int4", "matmul_int4_plain", "matmul_int8", "matmul_int8_plain", "pack_int4", "unpack_int4"]
