"""Training several models: one after another on all threads, or side by side on one thread each, which is faster.

Side by side, a model's steps do not wait for each other's barriers, and what one does in Python overlaps with what another does
in a kernel, which releases the GIL. What a model learns does not depend on it, to the bit.
"""

import queue
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

from femto import kernels
from femto.kernels.threads import fixed_threads
from femto.training.session import Event


@dataclass(frozen=True)
class ModelEvent:
    """What happened to one of the models."""

    model: str
    event: Event


Task = Callable[[Callable[[], bool]], Generator[Event, None, None]]
"""Given when to stop, trains one model and yields what happens; closed, it saves."""


def train(tasks: dict[str, Task], stop: Callable[[], bool], side_by_side: bool = True) -> Generator[ModelEvent, None, None]:
    """Run all tasks and yield what happens to each model; when this generator is closed, they save and end.

    The first error of a task ends the others, after a save, and is raised.
    """
    threads = kernels.num_threads()
    if not side_by_side or threads == 1 or len(tasks) == 1:
        for name, task in tasks.items():
            if stop():
                return
            with closing(task(stop)) as events:
                for event in events:
                    yield ModelEvent(name, event)
        return
    yield from _side_by_side(tasks, stop, threads)


def _side_by_side(tasks: dict[str, Task], stop: Callable[[], bool], threads: int) -> Generator[ModelEvent, None, None]:
    waiting = queue.SimpleQueue[tuple[str, Task]]()
    for name_and_task in tasks.items():
        waiting.put(name_and_task)
    happened = queue.Queue[ModelEvent | BaseException | None](maxsize=256)  # None: a worker has ended
    ending = threading.Event()

    def halted() -> bool:
        return ending.is_set() or stop()

    def work() -> None:
        try:
            while not halted():
                name, task = waiting.get_nowait()
                with closing(task(halted)) as events:
                    for event in events:
                        happened.put(ModelEvent(name, event))
        except queue.Empty:
            pass
        except BaseException as error:
            ending.set()
            happened.put(error)
        finally:
            happened.put(None)

    workers = [threading.Thread(target=work, name=f"femto-{i}") for i in range(min(threads, len(tasks)))]
    failed: BaseException | None = None
    with fixed_threads(1):
        for worker in workers:
            worker.start()
        running = len(workers)
        try:
            while True:
                item = happened.get()
                if item is None:
                    running -= 1
                    if not running:
                        break
                elif isinstance(item, ModelEvent):
                    yield item
                else:
                    failed = failed or item
        finally:
            ending.set()
            while running:  # let them put what they have to say, so that they can end
                running -= happened.get() is None
            for worker in workers:
                worker.join()
    if failed is not None:
        raise failed
