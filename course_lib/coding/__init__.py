"""Bits in a file: how codes are stored, what they are worth, and how JPEG does it.

NumPy, and Pillow for image files.
"""

from course_lib.lazy import room

__getattr__, __dir__, __all__ = room(__name__, {
    "dct": [
        "CHROMINANCE", "LUMINANCE", "cosine_matrix", "dct_plain", "jpeg_codes", "jpeg_coefficients", "jpeg_pixels",
        "quantization_table",
    ],
    "huffman": [
        "HuffmanCode", "huffman_decode_plain", "huffman_encode_plain", "huffman_lengths", "huffman_lengths_plain",
        "huffman_tree_plain",
    ],
    "huffman_stream": ["HuffmanStream", "huffman_decode", "huffman_encode"],
    "images": [
        "SUBSAMPLING", "ImageError", "JpegFile", "jpeg_bytes", "luminance", "png_bytes", "psnr_db", "read_image",
        "read_jpeg", "shrink",
    ],
    "information": ["entropy", "entropy_plain"],
    "packing": ["pack", "pack_plain", "packed_size", "unpack", "unpack_plain"],
    "sparse_index": ["RelativeIndex", "from_relative_index_plain", "relative_index", "relative_index_plain"],
})  # fmt: skip
