"""k-means of weights, and Huffman coding: what a layer of Deep Compression costs to make and to read."""

import zlib
from functools import partial

import numpy as np

from course_lib.coding import huffman_decode, huffman_encode
from course_lib.machine import ways
from course_lib.measure import Case, Goal, Growth, Row
from course_lib.numerics import kmeans

SYMBOLS = 1 << 24
OF_WAY = {"vector": "way by NumPy's sort", "plain": "way by a sort that counts"}     # ours is the faster one
PART = 256                                              # dahuffman, in plain Python, gets so small a part
SIZES = tuple(1 << power for power in range(10, 25))


def rows():
    """Weight sharing and Huffman coding at the sizes of a large layer."""
    return [
        Row(
            "k-means, k = 32", "1 M float32", _kmeans,
            goals=(Goal("scikit-learn, the same start", 50), Goal("scikit-learn, as it comes", 50)),
            growth=Growth("numbers, ten iterations", SIZES, lambda n: _share(_weights(n), 10), bytes=lambda n: 5 * n),
        ),
        Row(
            "Huffman encode", "16 M symbols, 32 clusters", _encode,
            goals=(Goal("dahuffman", 100), Goal("zlib, Huffman only", 1)),
            growth=Growth("symbols", SIZES, lambda n: _encoder(_symbols(n)), bytes=lambda n: 1.5 * n),
        ),
        Row(
            "Huffman decode", "16 M symbols, 32 clusters", _decode,
            goals=(Goal("dahuffman", 100), Goal("zlib, Huffman only", 1)),
            growth=Growth("symbols", SIZES, lambda n: _decoder(_symbols(n)), bytes=lambda n: 1.5 * n),
        ),
    ]


def _weights(n):
    return np.random.default_rng(0).standard_normal(n, np.float32) * np.float32(0.05)


def _symbols(n):
    """Codes of weights in 32 clusters of equal width: some 4 bits of entropy, as in Deep Compression's layers."""
    x = np.random.default_rng(0).standard_normal(n, np.float32)
    return np.clip(np.rint(x * 4 + 16), 0, 31).astype(np.uint8)


def _share(x, most_iterations=1000):
    return lambda: kmeans(x, 32, most_iterations=most_iterations)


def _encoder(symbols):
    return lambda: huffman_encode(symbols)


def _decoder(symbols):
    stream = huffman_encode(symbols)
    return lambda: huffman_decode(stream)


def _kmeans():
    x = _weights(1_000_000)
    ours = _share(x)
    peers = {f"our {name}": partial(ways.call, way, ours) for way, name in OF_WAY.items()}
    try:
        from sklearn.cluster import KMeans
    except ImportError:
        name = "not installed: scikit-learn"
        peers |= {"scikit-learn, the same start": name, "scikit-learn, as it comes": name}
        return Case(ours, peers, bytes=5 * x.size)
    column, start = x[:, None], np.linspace(x.min(), x.max(), 32)[:, None]
    peers["scikit-learn, the same start"] = lambda: KMeans(32, init=start, n_init=1).fit(column)
    peers["scikit-learn, as it comes"] = lambda: KMeans(32, random_state=0).fit(column)

    def same():
        error = ours().sse
        for name, peer in peers.items():
            theirs = peer().sse if name.startswith("our ") else peer().inertia_
            assert error <= theirs * (1 + 1e-6), f"squared error {error} of ours, {theirs} of {name}"

    return Case(ours, peers, bytes=5 * x.size, same=same)


def _encode():
    symbols = _symbols(SYMBOLS)
    ours, data = _encoder(symbols), symbols.tobytes()
    peers = {"zlib, Huffman only": lambda: _zlib(data)}
    codec = _dahuffman(symbols)
    if isinstance(codec, str):
        peers["dahuffman"] = codec
    else:
        part = symbols[: SYMBOLS // PART].tolist()
        peers["dahuffman"] = lambda: type(codec).from_data(part).encode(part)

    def same():
        theirs = len(_zlib(data))
        assert ours().nbytes <= 1.01 * theirs, f"{ours().nbytes} bytes, {theirs} of zlib"

    return Case(ours, peers, bytes=symbols.size + ours().nbytes, scaled={"dahuffman": PART}, same=same)


def _decode():
    symbols = _symbols(SYMBOLS)
    ours, packed = _decoder(symbols), _zlib(symbols.tobytes())
    peers = {"zlib, Huffman only": lambda: zlib.decompress(packed, -zlib.MAX_WBITS, symbols.size)}
    codec = _dahuffman(symbols)
    if isinstance(codec, str):
        peers["dahuffman"] = codec
    else:
        part = codec.encode(symbols[: SYMBOLS // PART].tolist())
        peers["dahuffman"] = lambda: codec.decode(part)

    def same():
        assert (ours() == symbols).all() and peers["zlib, Huffman only"]() == symbols.tobytes()

    return Case(ours, peers, bytes=symbols.size + huffman_encode(symbols).nbytes, scaled={"dahuffman": PART}, same=same)


def _zlib(data):
    """DEFLATE without its search for repetitions, which leaves Huffman codes; level 1 and level 9 take equally long."""
    deflate = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_HUFFMAN_ONLY)
    return deflate.compress(data) + deflate.flush()


def _dahuffman(symbols):
    try:
        from dahuffman import HuffmanCodec
    except ImportError:
        return "not installed: dahuffman"
    return HuffmanCodec.from_data(symbols[: SYMBOLS // PART].tolist())
