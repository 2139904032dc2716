"""Whether data are read while a fit goes on: memory maps of which a step sees some rows, and loaders of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ppzoo.datasets.arguments import Arguments, Source
from ppzoo.datasets.batches import batches_of, is_loader, places_of
from ppzoo.datasets.disk import rows_on_disk
from ppzoo.datasets.signature import signature_of
from ppzoo.errors import OptionError

__all__ = ["RowsElsewhere", "streamed"]


@dataclass(frozen=True)
class RowsElsewhere:
    """A :class:`~ppzoo.datasets.arguments.Source` of rows that a saved fit saw, and nobody has any more.

    Attributes:
        rows: How many there were.
        size: Rows of a batch.
    """

    rows: int
    size: int
    per_epoch: ClassVar[int] = 0
    regular: ClassVar[bool] = True
    threaded: ClassVar[bool] = False
    notes: ClassVar[tuple[str, ...]] = ()

    def batches(self, like: Arguments, seed: int, replica: int, first: int = 0) -> Iterator[Arguments]:
        """None."""
        return iter(())

    def once(self, like: Arguments) -> Iterator[Arguments]:
        """None."""
        return iter(())


def streamed(
    function: Callable[..., Any], data: Any, *, batch_size: int | None, rows: int | None
) -> tuple[Any, Source | None]:
    """Data that stand for all, and where all come from; the data themselves and ``None`` where they are in memory.

    Args:
        function: The model.
        data: As they came.
        batch_size: Rows of a step; a loader has its own.
        rows: How many a loader gives, where it does not tell.

    Raises:
        OptionError: If an option is not for such data.
        DataError: If a loader or its first batch cannot be used, or rows on disk are not finite.
    """
    if is_loader(data):
        if batch_size is not None:
            raise OptionError(
                "is the loader's own",
                argument="batch_size",
                got=f"{batch_size} with a {type(data).__name__}",
                remedy="Leave it out, and give it to the loader.",
            )
        source, first = batches_of(data, rows)
        return first, source
    if rows is not None:
        raise OptionError(
            "is for a loader, which does not tell",
            argument="rows",
            got=f"{rows} with a {type(data).__name__}",
            remedy="Leave it out: these data are counted.",
        )
    if isinstance(data, list) or not (isinstance(data, tuple | Mapping) or hasattr(data, "shape")):
        return data, None
    places = places_of(data)
    names = list(signature_of(function).by_position(list(places.values()))) if not isinstance(data, Mapping) else []
    disk = rows_on_disk(
        places, {place: names[place] if isinstance(place, int) else place for place in places}, batch_size
    )
    if disk is None:
        return data, None
    filled = places | disk.shown()
    return filled if isinstance(data, Mapping) else tuple(filled.values()), disk
