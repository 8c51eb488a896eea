"""The compiled loops: plain arrays in, plain arrays out, no checks (the friendly functions above them check).

Every kernel is declared with ``@kernel(signatures)`` (see ``compiling.py``), which fixes its argument types, keeps the
compiled code in a cache and compiles or loads it when its module is imported: nothing compiles later.
"""

from course_lib.lazy import room

__getattr__, __dir__, __all__ = room(__name__, {
    "adam": (),
    "bits": (),
    "blocks": (),
    "clustering": (),
    "dense": (),
    "elementwise": (),
    "floats": (),
    "histogram": (),
    "huffman": (),
    "layers": (),
    "matrix_unit": (),
    "microscaling": (),
    "monarch": (),
    "optimal_clusters": (),
    "packing": (),
    "peaks": (),
    "plain": (),
    "sorting": (),
    "sparse": (),
    "tiles": (),
})  # fmt: skip
