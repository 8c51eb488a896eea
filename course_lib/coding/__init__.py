"""Bits in a file: how codes are stored. NumPy only."""

from course_lib.coding.packing import pack, pack_plain, packed_size, unpack, unpack_plain

__all__ = ["pack", "pack_plain", "packed_size", "unpack", "unpack_plain"]
