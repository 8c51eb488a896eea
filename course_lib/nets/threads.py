"""One thread while training: threads cut a sum into parts, and another number of them adds it up in another order.

A last bit that differs in the first step has grown into another network by the last one. On one thread the number of
cores decides nothing. (Another kind of processor still may: its instructions round sums in an order of their own.)
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch (where it is loaded) and the BLAS libraries on one thread inside the block; afterwards as they were."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    try:
        with threadpool_limits(1, user_api="blas"):
            if torch:
                torch.set_num_threads(1)
            yield
    finally:
        if torch:
            torch.set_num_threads(before)
