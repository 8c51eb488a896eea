"""Bits in a file: how codes are stored, what they are worth, and how JPEG does it. NumPy, and Pillow for image files."""

from course_lib.coding.dct import (
    CHROMINANCE,
    LUMINANCE,
    cosine_matrix,
    dct_plain,
    jpeg_codes,
    jpeg_coefficients,
    jpeg_pixels,
    quantization_table,
)
from course_lib.coding.entropy import entropy, entropy_plain
from course_lib.coding.huffman import (
    HuffmanCode,
    huffman_decode_plain,
    huffman_encode_plain,
    huffman_lengths,
    huffman_lengths_plain,
    huffman_tree_plain,
)
from course_lib.coding.huffman_stream import HuffmanStream, huffman_decode, huffman_encode
from course_lib.coding.images import (
    SUBSAMPLING,
    ImageError,
    JpegFile,
    jpeg_bytes,
    luminance,
    png_bytes,
    psnr_db,
    read_image,
    read_jpeg,
    shrink,
)
from course_lib.coding.packing import pack, pack_plain, packed_size, unpack, unpack_plain
from course_lib.coding.sparse_index import (
    RelativeIndex,
    from_relative_index_plain,
    relative_index,
    relative_index_plain,
)

__all__ = [
    "CHROMINANCE", "LUMINANCE", "SUBSAMPLING", "HuffmanCode", "HuffmanStream", "ImageError", "JpegFile",
    "RelativeIndex", "cosine_matrix", "dct_plain", "entropy", "entropy_plain", "from_relative_index_plain",
    "huffman_decode", "huffman_decode_plain", "huffman_encode", "huffman_encode_plain", "huffman_lengths",
    "huffman_lengths_plain", "huffman_tree_plain", "jpeg_bytes", "jpeg_codes", "jpeg_coefficients", "jpeg_pixels",
    "luminance", "pack", "pack_plain", "packed_size", "png_bytes", "psnr_db", "quantization_table", "read_image",
    "read_jpeg", "relative_index", "relative_index_plain", "shrink", "unpack", "unpack_plain",
]  # fmt: skip
