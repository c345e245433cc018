"""Python's search for cyclic garbage, made rarer."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def relax() -> None:
    """Looks for cycles after many more objects than usual.

    A plan of a large fleet makes hundreds of thousands of objects that stay and form no
    cycles: going through them again and again takes a third of the time of planning.
    """
    gc.set_threshold(50_000, 20, 50)


@contextmanager
def loading() -> Iterator[None]:
    """Does not look for cycles in what the block imports, neither meanwhile nor later: all of it stays."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
