"""Where the work runs: in this process when there is little, else by Daft, on this machine or on a
Ray cluster.

The same tasks give the same files everywhere: a task reads and writes its own files, and nothing
depends on which task ends first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

from langraft.core.errors import BadInput

SMALL = 48_000_000  # bytes of input below which starting an engine takes longer than the work
LOCAL = "local"


def run_tasks(
    work: Callable[[str], str], tasks: Sequence[str], size: int, cluster: str | None
) -> Iterator[str]:
    """Call `work` for every task and yield what it returns, in any order.

    Args:
        work: takes and returns a str; must be picklable, and release the interpreter's lock in its
            long loops.
        tasks: one str a task.
        size: bytes of input of all tasks together.
        cluster: None for this machine; `ray://HOST:PORT`, or `local` for a Ray started here.

    Raises:
        BadInput: a cluster is asked for and Ray is not installed.
    """
    if cluster is None and (size < SMALL or len(tasks) < 2):
        yield from map(work, tasks)
        return
    import daft

    _choose(cluster)

    def each(column: daft.Series) -> list[str]:
        return [work(task) for task in column.to_pylist()]

    batched = daft.func.batch(return_dtype=daft.DataType.string(), batch_size=1)(each)

    frame = daft.from_pydict({"task": list(tasks)})
    frame = frame.into_partitions(len(tasks)) if cluster else frame.into_batches(1)
    for row in frame.select(batched(daft.col("task")).alias("done")).iter_rows():
        yield row["done"]


@functools.cache
def _choose(cluster: str | None) -> None:
    """Daft's runner can be chosen only once in a process."""
    import daft

    if cluster is None:
        daft.set_runner_native()
        return
    try:
        import ray
    except ImportError as error:
        raise BadInput(
            "hardware.cluster: Ray is not installed; pip install 'langraft[cluster]'"
        ) from error
    if cluster == LOCAL:
        if not ray.is_initialized():
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
        daft.set_runner_ray()
    else:
        daft.set_runner_ray(cluster)
