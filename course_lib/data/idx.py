"""Reading the IDX files of MNIST: checked, in memory, no pickle.

An IDX file is a magic number (two zero bytes, 0x08 for unsigned bytes, the number of dimensions), one big-endian
32-bit size for each dimension, and the bytes. The files travel compressed with gzip; both forms are read.

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", section on the file format.
"""

import gzip
import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np


class DataFileError(ValueError):
    """A data file is damaged, truncated, or not the file its name promises."""


def read_bytes(path):
    """The bytes of ``path``, decompressed if they are gzip.

    Raises
    ------
    DataFileError
        The gzip stream is truncated or damaged.
    OSError
        The file cannot be read.
    """
    raw = Path(path).read_bytes()
    if raw[:2] != b"\x1f\x8b":  # the two bytes every gzip file starts with
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, OSError, zlib.error) as error:
        raise DataFileError(f"{path}: the gzip stream is truncated or damaged ({error})") from error


def check_sha256(content, expected, path):
    """Raise ``DataFileError`` unless the SHA-256 of ``content`` is ``expected`` (hexadecimal digits)."""
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise DataFileError(
            f"{path}: not the official file: the SHA-256 of its {len(content)} decompressed bytes "
            f"is {found[:12]}…, it should be {expected[:12]}…"
        )


def parse_idx(content, *, name="IDX data"):
    """Turn the bytes of an IDX file of unsigned bytes into an array.

    Parameters
    ----------
    content : bytes, decompressed
    name : str
        What an error calls the data: the file's path.

    Returns
    -------
    ndarray, uint8, writeable, with the dimensions written in the header (a size of 0 gives an empty array)

    Raises
    ------
    DataFileError
        The magic number is wrong, the header is cut short, or the number of bytes is not the one the header says.
    """
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise DataFileError(
            f"{name}: not an IDX file of unsigned bytes: it starts with "
            f"{content[:4].hex(' ') or 'nothing'}, it should start with 00 00 08"
        )
    dimensions = content[3]
    start = 4 + 4 * dimensions
    if dimensions == 0 or len(content) < start:
        raise DataFileError(
            f"{name}: the IDX header says {dimensions} dimensions and the file has {len(content)} bytes; "
            f"it needs at least one dimension, and {start} bytes for the header alone"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    count = 1
    for size in shape:  # Python integers: a hostile header cannot overflow them
        count *= size
    if len(content) - start != count:
        raise DataFileError(
            f"{name}: the IDX header promises {shape}, that is {count} bytes, and {len(content) - start} follow"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()
