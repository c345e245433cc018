"""Python's search for cyclic garbage, made rarer."""

import gc


def relax() -> None:
    """Looks for cycles after many more objects than usual.

    A plan of a large fleet makes hundreds of thousands of objects that stay and form no
    cycles: going through them again and again takes a third of the time of planning.
    """
    gc.set_threshold(50_000, 20, 50)
