"""Reading the IDX files of MNIST: checked, in memory, no pickle.

An IDX file is a magic number (two zero bytes, 0x08 for unsigned bytes, the number of dimensions), one big-endian
32-bit size for each dimension, and the bytes. The files travel compressed with gzip; both forms are read.

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", section on the file format.
"""

import gzip
import hashlib
import math
import struct
import zlib
from contextlib import nullcontext

import numpy as np

LARGEST = 1 << 30  # bytes that a header may promise; the largest file of MNIST has 47 million
STRANGE = 1 << 16  # bytes read of a file that is something else
MOST_AXES = 64  # of an array, says NumPy


class DataFileError(ValueError):
    """A data file is damaged, truncated, or not the file its name promises."""


def read_bytes(path):
    """The bytes of ``path``, decompressed if they are gzip, and one byte more than the IDX header promises at most.

    So a small file that would unpack to gigabytes is seen for what it is before it fills the memory. Of a file that is
    not IDX at all, the first 64 kB.

    Raises
    ------
    DataFileError
        The gzip stream is truncated or damaged, or the header promises more than a gigabyte.
    OSError
        The file cannot be read.
    """
    with open(path, "rb") as file:
        packed = file.peek(2)[:2] == b"\x1f\x8b"  # the two bytes every gzip file starts with
        try:
            with gzip.GzipFile(fileobj=file) if packed else nullcontext(file) as stream:
                return _read_promised(stream, path)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataFileError(f"{path}: the gzip stream is truncated or damaged ({error})") from error


def _read_promised(stream, path):
    head = stream.read(4)
    if head[:3] != b"\x00\x00\x08" or len(head) < 4:
        return head + stream.read(STRANGE - len(head))
    sizes = stream.read(4 * head[3])
    promised = math.prod(struct.unpack(f">{len(sizes) // 4}I", sizes[: len(sizes) // 4 * 4]))
    if promised > LARGEST:
        raise DataFileError(f"{path}: its IDX header promises {promised} bytes; no file of the course is so large")
    return head + sizes + stream.read(promised + 1)


def check_sha256(content, expected, path, others=()):
    """Raise ``DataFileError`` unless the SHA-256 of ``content`` is ``expected`` (hexadecimal digits).

    ``others`` is a dict of file name -> SHA-256: one of these under a wrong name is called what it is.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        for name in (name for name in others if others[name] == found):
            raise DataFileError(f"{path}: this is {name} under another's name; give each file its own")
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
        The magic number is wrong, the header is cut short or has more than 64 dimensions, or the number of bytes is not
        the one the header says.
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
    if dimensions > MOST_AXES:
        raise DataFileError(f"{name}: the IDX header says {dimensions} dimensions; an array has {MOST_AXES} at most")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    count = math.prod(shape)  # of Python integers: a hostile header cannot overflow them
    if len(content) - start != count:
        raise DataFileError(
            f"{name}: the IDX header promises {shape}, that is {count} bytes, and {len(content) - start} follow"
        )
    if count == 0 and math.prod(size for size in shape if size) > LARGEST:  # NumPy counts the other sizes all the same
        raise DataFileError(f"{name}: the IDX header promises {shape}; no array of the course is so large")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()
