"""Images as people have them, for networks: one dtype, one order in memory, and words about what cannot be guessed."""

import numpy as np


def as_images(x: object, name: str = "x") -> np.ndarray:
    """``x`` as a float32 array in C order and the machine's byte order, which torch can share and nobody else reads.

    Parameters
    ----------
    x : array, list or torch tensor of any float dtype, order in memory and device, (n, …)
    name : str, of the argument in messages

    Returns
    -------
    ndarray, (n, …) float32; ``x`` itself where it is that already

    Raises
    ------
    ValueError
        Integers (bytes): whether the network wants them as they are or divided by 255 only its maker knows. No axis.
    """
    if isinstance(x, (list, tuple)):
        x = type(x)(map(_plain, x)) if type(x) in (list, tuple) else x
    x, given = _plain(x), type(x).__name__
    if np.ma.is_masked(x):
        raise ValueError(f"{name} has masked values, which no network knows: fill them, {name}.filled(0)")
    try:
        x = np.asarray(x)
    except ValueError as error:                             # a list of unlike things, (images, labels) for one
        raise ValueError(f"{name} is a {type(x).__name__} of unlike parts; it should be one array of images, "
                         "(n, …) float32") from error
    refuse_integers(x, name)
    if x.dtype.kind == "O":
        raise ValueError(f"{name} has dtype object, which {given} gives; it should be one array of images, "
                         "(n, …) float32, as dataset.train_x() is: of a loader "
                         "np.concatenate([images for images, _ in loader])")
    if x.dtype.kind != "f":
        raise ValueError(f"{name} has dtype {x.dtype}; it should be float32, as dataset.train_x() gives it")
    if x.ndim == 0:
        raise ValueError(f"{name} is one number; it should be images, (n, …)")
    with np.errstate(over="ignore"):                        # becomes infinite, which those who mind refuse
        return np.require(x, np.float32, ["C", "W"])


def refuse_integers(x: np.ndarray, name: str = "x") -> None:
    """Bytes come as they are or divided by 255, and only the maker of a network knows which it wants."""
    if x.dtype.kind in "iub":
        raise ValueError(f"{name} has dtype {x.dtype}; it should be float32, in the unit that the network was trained "
                         f"on: {name}.astype(np.float32) / 255 for pixels from 0 to 1, as the course has them, or "
                         f"{name}.astype(np.float32) as they are")


def _plain(x):
    """A tensor as an array; everything else as it is."""
    if not hasattr(x, "detach"):
        return x
    if x.is_meta:
        raise ValueError("x is a tensor on the device 'meta', where it has no values")
    x = x.detach().to_dense().cpu()
    return (x.float() if x.is_floating_point() else x).numpy()


def channel_hint(shape: tuple[int, ...], channels: int, name: str = "x") -> str:
    """What to do about images of a shape that a network of ``channels`` channels cannot take: words to append."""
    if channels == 1 and len(shape) == 3:
        return f"; {name}[:, None] puts the axis of the channel in"
    if len(shape) == 4 and shape[-1] == channels:
        return f"; {name} has its channels last, and np.moveaxis({name}, -1, 1) puts them where they belong"
    return ""
