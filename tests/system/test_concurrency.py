"""Tasks in worker processes, and items computed ahead in a thread. The work is at the top: workers import this file.

Tasks that must be ended wait for ever, so a test that comes to its end has ended them.
"""

import multiprocessing
import os
import signal
import threading
import time

import pytest

from gmvae_cli.errors import GmvaeError, SeriesError
from gmvae_cli.system import concurrency
from gmvae_cli.system.concurrency import Processes, prefetch


def in_processes(work, tasks):
    """Results of tasks that have processes of their own, which end with the iteration."""
    with Processes(len(tasks)) as processes:
        yield from processes.run(work, tasks)


def square_and_process(number):
    return number * number, os.getpid()


def sleep_and_name(task):
    seconds, name = task  # None: for ever
    threading.Event().wait(seconds)
    return name


def fail_on_three(number):
    if number == 3:
        raise SeriesError("a.csv: row 3: no number")
    return number


def hang_or_fail(number):
    if number == 0:
        raise ValueError("the first task failed")
    threading.Event().wait()


def die_on_one(number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()


@pytest.fixture
def processors(monkeypatch):
    """A function that makes this process believe in so many processors."""

    def processors(count):
        monkeypatch.setattr(concurrency, "num_processors", lambda: count)

    processors(2)
    return processors


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """No worker process outlives a test by more than the moment it takes to end."""
    before = set(multiprocessing.active_children())
    yield
    deadline = time.monotonic() + 30
    while (left := set(multiprocessing.active_children()) - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def test_every_task_is_done_once_in_another_process(processors):
    results = dict(in_processes(square_and_process, range(6)))
    assert {index: square for index, (square, _) in results.items()} == {index: index * index for index in range(6)}
    assert os.getpid() not in {process for _, process in results.values()}


def test_rounds_of_work_share_their_processes(processors):
    with Processes() as processes:
        rounds = [{process for _, (_, process) in processes.run(square_and_process, range(6))} for _ in range(2)]
        assert list(processes.run(square_and_process, [3])) == [(0, (9, os.getpid()))]
        workers = {child.pid for child in multiprocessing.active_children()}
    # Either may have been quick enough to take every task; that a third was started for a round is what must not be.
    assert len(workers) == 2
    assert rounds[0] | rounds[1] <= workers


@pytest.mark.parametrize(("count", "tasks"), [(1, [2, 3]), (4, [2]), (4, [])])
def test_one_processor_or_one_task_needs_no_process(processors, count, tasks):
    processors(count)
    results = list(in_processes(square_and_process, tasks))
    assert results == [(index, (number * number, os.getpid())) for index, number in enumerate(tasks)]


def test_results_come_as_they_finish_under_their_positions(processors):
    results = list(in_processes(sleep_and_name, [(4, "slow"), (0, "quick"), (0, "quicker")]))
    assert results[-1] == (0, "slow")
    assert sorted(results) == [(0, "slow"), (1, "quick"), (2, "quicker")]


def test_processors_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert concurrency.num_processors() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert concurrency.num_processors() == 1, "where nobody knows"


def test_no_more_processes_than_processors_or_tasks(processors, monkeypatch):
    sizes = []
    pool = concurrency._process_pool
    monkeypatch.setattr(concurrency, "_process_pool", lambda workers: sizes.append(workers) or pool(workers))
    processors(16)
    assert len(list(in_processes(square_and_process, range(2)))) == 2
    processors(2)
    assert len(list(in_processes(square_and_process, range(3)))) == 3
    assert sizes == [2, 2]


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_of_a_task_keeps_its_type_and_message(processors, count):
    processors(count)
    with pytest.raises(SeriesError, match=r"^a\.csv: row 3: no number$"):
        list(in_processes(fail_on_three, range(5)))


def test_an_error_ends_the_other_workers_at_once(processors):
    with pytest.raises(ValueError, match="the first task failed"):
        list(in_processes(hang_or_fail, range(4)))


def test_a_killed_worker_is_one_line_and_ends_the_others(processors):
    with pytest.raises(GmvaeError, match="a worker process was killed, possibly because memory ran out"):
        list(in_processes(die_on_one, range(4)))


def test_an_abandoned_iteration_ends_its_workers(processors):
    results = in_processes(sleep_and_name, [(0, "first"), (None, "never"), (None, "never")])
    assert next(results) == (0, "first")
    results.close()


def test_interrupts_reach_this_process_again_afterwards(processors):
    before = signal.getsignal(signal.SIGINT)
    results = in_processes(square_and_process, range(3))
    next(results)
    assert signal.getsignal(signal.SIGINT) is before
    assert len(list(results)) == 2


def test_processes_start_from_a_second_thread_too(processors):
    """Where signals cannot be set."""
    results = []
    thread = threading.Thread(target=lambda: results.extend(in_processes(square_and_process, range(3))))
    thread.start()
    thread.join()
    assert sorted(index for index, _ in results) == [0, 1, 2]


def test_items_come_in_order_from_another_thread():
    def items():
        for number in range(50):
            yield number, threading.get_ident()

    results = list(prefetch(items()))
    assert [number for number, _ in results] == list(range(50))
    assert threading.get_ident() not in {thread for _, thread in results}
    assert list(prefetch([])) == []


def test_an_error_is_raised_where_the_item_is_wanted():
    def items():
        yield 1
        raise OSError("no more")

    source = prefetch(items())
    assert next(source) == 1
    with pytest.raises(OSError, match="no more"):
        next(source)


def test_at_most_one_item_is_computed_ahead():
    computed = []

    def items():
        for number in range(10):
            computed.append(number)
            yield number

    source = prefetch(items())
    assert next(source) == 0
    source.close()
    assert len(computed) <= 2
