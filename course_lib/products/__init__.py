"""Matrix products on compressed weights: integer codes, summed exactly, and sparse ones. NumPy and compiled loops."""

from course_lib.products.binary import BinaryMatrix, matmul_binary, matmul_binary_plain, pack_signs
from course_lib.products.bitserial import BitPlanes, Coding, matmul_bitserial, matmul_bitserial_plain
from course_lib.products.codebook import DeepCompressed, matmul_codebook, matmul_codebook_plain
from course_lib.products.int4 import matmul_int4, matmul_int4_plain, pack_int4, unpack_int4
from course_lib.products.int4_groups import Int4Groups, matmul_int4_groups, matmul_int4_groups_plain, pack_int4_groups
from course_lib.products.int8 import PackedInt8, matmul_int8, matmul_int8_plain, pack_int8
from course_lib.products.sparse import SparseCSR, matmul_csr, matmul_csr_plain
from course_lib.products.two_four import (
    TwoFour,
    is_two_four,
    matmul_two_four,
    matmul_two_four_plain,
    prune_two_four,
    two_four_mask,
)

__all__ = [
    "BinaryMatrix", "BitPlanes", "Coding", "DeepCompressed", "Int4Groups", "PackedInt8", "SparseCSR", "TwoFour",
    "is_two_four", "matmul_binary", "matmul_binary_plain", "matmul_bitserial", "matmul_bitserial_plain",
    "matmul_codebook", "matmul_codebook_plain", "matmul_csr", "matmul_csr_plain", "matmul_int4", "matmul_int4_groups",
    "matmul_int4_groups_plain", "matmul_int4_plain", "matmul_int8", "matmul_int8_plain", "matmul_two_four",
    "matmul_two_four_plain", "pack_int4", "pack_int4_groups", "pack_int8", "pack_signs", "prune_two_four",
    "two_four_mask", "unpack_int4",
]  # fmt: skip
