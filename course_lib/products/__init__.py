"""Matrix products on compressed weights: integer codes, summed exactly, and sparse ones. NumPy and compiled loops."""

from course_lib.lazy import room

__getattr__, __dir__, __all__ = room(__name__, {
    "binary": ["BinaryMatrix", "matmul_binary", "matmul_binary_plain", "pack_signs"],
    "bitserial": ["BitPlanes", "Coding", "matmul_bitserial", "matmul_bitserial_plain"],
    "csr": ["SparseCSR", "matmul_csr", "matmul_csr_plain"],
    "deep_compression": ["DeepCompressed", "matmul_codebook", "matmul_codebook_plain"],
    "int4": ["PackedInt4", "matmul_int4", "matmul_int4_plain"],
    "int4_groups": ["Int4Groups", "matmul_int4_groups", "matmul_int4_groups_plain"],
    "int8": ["PackedInt8", "matmul_int8", "matmul_int8_plain"],
    "two_four": [
        "TwoFour", "is_two_four", "matmul_two_four", "matmul_two_four_plain", "prune_two_four", "two_four_mask",
    ],
})  # fmt: skip
