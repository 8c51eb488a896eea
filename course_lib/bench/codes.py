"""k-means of weights, and Huffman coding: what a layer of Deep Compression costs to make and to read."""

import zlib
from functools import partial

import numpy as np

from course_lib.bench.report import PLAIN
from course_lib.coding import HuffmanCode, huffman_decode, huffman_encode
from course_lib.kernels import plain
from course_lib.machine import ways
from course_lib.measure import Case, Goal, Growth, Row
from course_lib.numerics import first_centroids, kmeans

SYMBOLS = 1 << 24
OF_WAY = {"vector": "way by NumPy's sort", "plain": "way by a sort that counts"}     # ours is the faster one
PART = 256                                              # dahuffman, in plain Python, gets so small a part
SIZES = tuple(1 << power for power in range(10, 25))


def rows() -> list[Row]:
    """Weight sharing and Huffman coding at the sizes of a large layer."""
    return [
        Row(
            "k-means, k = 32", "1 M float32", _kmeans,
            goals=(Goal("scikit-learn, the same start", 50), Goal("scikit-learn, as it comes", 50)),
            growth=Growth("numbers, ten iterations", SIZES, lambda n: _share(_weights(n), 10), bytes=lambda n: 5 * n),
        ),
        Row(
            "k-means, ten iterations", "1 M float32, k = 32", _ten_iterations,
            goals=(Goal("scikit-learn, ten iterations", 50),),
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


def _ten_iterations():
    """A few rounds, and not all until nothing moves: the plain loop would take a minute for those."""
    x = _weights(1_000_000)
    wide, ours, codes = x.astype(np.float64), _share(x, 10), np.empty(x.size, np.uint8)

    def loop():
        centres = first_centroids(x, 32)
        for _ in range(10):
            plain.lloyd(wide, centres, codes)
        return centres

    peers = {PLAIN: loop}
    try:
        from sklearn.cluster import KMeans
    except ImportError:
        peers["scikit-learn, ten iterations"] = "not installed: scikit-learn"
    else:
        column, start = x[:, None], first_centroids(x, 32).astype(np.float32)[:, None]
        peers["scikit-learn, ten iterations"] = lambda: KMeans(32, init=start, n_init=1, max_iter=10, tol=0).fit(column)

    def same():
        np.testing.assert_allclose(ours().codebook, loop(), rtol=1e-5)

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
    words = HuffmanCode.from_counts(np.bincount(symbols)).words
    stream, children, out = _plain_stream(symbols, words), tree_of(words), np.empty(symbols.size, np.uint8)
    peers = {"zlib, Huffman only": lambda: zlib.decompress(packed, -zlib.MAX_WBITS, symbols.size),
             PLAIN: lambda: plain.huffman_decode(stream, children, out)}
    codec = _dahuffman(symbols)
    if isinstance(codec, str):
        peers["dahuffman"] = codec
    else:
        part = codec.encode(symbols[: SYMBOLS // PART].tolist())
        peers["dahuffman"] = lambda: codec.decode(part)

    def same():
        peers[PLAIN]()
        assert (ours() == symbols).all() and (out == symbols).all()
        assert peers["zlib, Huffman only"]() == symbols.tobytes()

    return Case(ours, peers, bytes=symbols.size + huffman_encode(symbols).nbytes, scaled={"dahuffman": PART}, same=same)


def _plain_stream(symbols, words):
    """All code words in one stream, the first bit lowest: (bytes,) uint8."""
    longest = max(map(len, words))
    bits = np.array([[int(bit) for bit in word.ljust(longest, "0")] for word in words], np.uint8)
    used = np.arange(longest) < np.array([[len(word)] for word in words])
    parts = np.array_split(symbols, 64)                 # a few at a time: eight bits take eight bytes meanwhile
    return np.packbits(np.concatenate([bits[part][used[part]] for part in parts]), bitorder="little")


def tree_of(words: list[str]) -> np.ndarray:
    """The tree of a Huffman code: children[node, bit] is the next node, or −1 − symbol where a word ends.

    Parameters
    ----------
    words : the code word of each symbol, as text of "0" and "1", empty for a symbol without one

    Returns
    -------
    children : int32 ndarray, (nodes, 2); node 0 is the root, and 0 stands where no word leads
    """
    children = [[0, 0]]
    for symbol, word in enumerate(words):
        node = 0
        for bit in map(int, word[:-1]):
            if not children[node][bit]:
                children[node][bit] = len(children)
                children.append([0, 0])
            node = children[node][bit]
        if word:
            children[node][int(word[-1])] = -1 - symbol
    return np.array(children, np.int32)


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
