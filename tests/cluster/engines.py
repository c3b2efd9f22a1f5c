"""Engines that tests share, and tasks for them at the top of a module, as workers import them."""

import os
import pickle
import random
import signal
import time

from gmvae_cli.errors import SeriesError


def double(shared, task):
    return shared + 2 * task


def add_in_place(shared, task):
    task += shared
    return task


def fail_on_three(shared, task):
    if task == 3:
        raise SeriesError(f"{shared}: row 3: no number")
    return task


def die_once(mark, task):
    """Kill the worker the first time that the task 2 is tried; `mark` is a path that remembers it."""
    if task == 2 and not os.path.exists(mark):
        with open(mark, "w"):
            pass
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def sleep(_, task):
    time.sleep(task)
    return os.getpid()


class FaultyEngine:
    """Engine that does to tasks what a cluster may: each is pickled, some are lost and done again, some are done twice,
    and results come in any order."""

    def __init__(self, seed=0):
        self.random, self.ran, self.lost, self.most_in_flight = random.Random(seed), 0, 0, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def run(self, function, tasks, shared):
        waiting = []
        for index, task in enumerate(tasks):
            waiting.append((index, pickle.dumps((function, shared, task))))
            if len(waiting) == 4:
                yield self._one_of(waiting)
        while waiting:
            yield self._one_of(waiting)

    def _one_of(self, waiting):
        self.most_in_flight = max(self.most_in_flight, len(waiting))
        index, work = waiting.pop(self.random.randrange(len(waiting)))
        for _ in range(1 + (self.random.random() < 0.3)):  # once, or lost after it was done, and done again
            function, shared, task = pickle.loads(work)
            result = function(shared, task)
            self.ran += 1
        return index, pickle.loads(pickle.dumps(result))
