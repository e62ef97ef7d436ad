"""Progress bars: what is being done, how much is left, and an estimate of the time."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def followed(
    items: Iterable[Item], what: str, total: int | None = None, name: Callable[[Item], str] | None = None
) -> Iterator[Item]:
    """The items, with a bar on standard error while they are worked on; it is gone at the end.

    ``name`` describes the present item. Without ``total`` it is the number of items. Nothing is drawn if standard error
    is no terminal.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from crow.cli.terminal import console, plain

    count = total if total is not None else len(items) if hasattr(items, "__len__") else None
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("so far,"),
        TimeRemainingColumn(), TextColumn("left"),
    )  # fmt: skip
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        bar = progress.add_task(plain(what), total=count)
        for item in items:
            if name is not None:
                progress.update(bar, description=plain(f"{what}: {name(item)}"))
            yield item
            progress.advance(bar)
