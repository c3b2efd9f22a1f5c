"""The contract of every engine; those of clusters run where `make test-cluster` has installed them."""

import sys

import numpy as np
import pytest
from cluster.engines import FaultyEngine, add_in_place, die_once, double, fail_on_three, sleep

from gmvae_cli.engine_config import EngineConfig
from gmvae_cli.errors import ConfigError, SeriesError
from gmvae_cli.system import concurrency
from gmvae_cli.system.engine import LocalEngine, engine_of, in_order

CLUSTERS = [pytest.param(name, marks=pytest.mark.cluster) for name in ("dask", "ray")]


@pytest.fixture(params=["one process", "processes", "faulty", *CLUSTERS])
def engine(request, monkeypatch):
    if request.param == "faulty":
        yield FaultyEngine()
    elif request.param in ("dask", "ray"):
        yield request.getfixturevalue(request.param)
    else:
        monkeypatch.setattr(concurrency, "num_processors", lambda: 2)
        with LocalEngine(1 if request.param == "one process" else 2) as local:
            yield local


def test_every_task_gives_its_result_once(engine):
    results = list(engine.run(double, range(25), 100))
    assert sorted(results) == [(index, 100 + 2 * index) for index in range(25)]
    assert list(in_order(engine.run(double, range(9), 1))) == [1 + 2 * index for index in range(9)]


def test_no_task_gives_no_result(engine):
    assert list(engine.run(double, [], 0)) == []


def test_arrays_may_be_written_to_by_tasks_and_by_who_gets_them(engine):
    shared = np.ones(70_000)
    for _, result in engine.run(add_in_place, [np.arange(70_000.0), np.zeros(70_000)], shared):
        result += 1
        assert result[0] == 2
    assert (shared == 1).all()


def test_an_error_in_a_task_is_raised_as_it_is_and_the_engine_works_on(engine):
    with pytest.raises(SeriesError, match=r"^a\.csv: row 3: no number$"):
        list(engine.run(fail_on_three, range(6), "a.csv"))
    assert dict(engine.run(double, [5], 0)) == {0: 10}


def test_tasks_are_taken_from_their_iterator_as_places_become_free(engine):
    taken = []

    def tasks():
        for index in range(100):
            taken.append(index)
            yield index

    results = engine.run(double, tasks(), 0)
    next(results)
    assert len(taken) < 60
    results.close()


@pytest.mark.parametrize("name", CLUSTERS)
def test_two_workers_share_the_tasks(name, request):
    assert len(dict(map(reversed, request.getfixturevalue(name).run(sleep, [0.5] * 16, None)))) == 2


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_task_whose_worker_dies_is_done_again(name, request, tmp_path):
    engine = request.getfixturevalue(name)
    assert sorted(engine.run(die_once, range(5), str(tmp_path / "mark"))) == [(index, index) for index in range(5)]
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize(("name", "package", "extra"), [("dask", "distributed", "dask"), ("ray", "ray", "ray")])
def test_an_engine_without_its_package_says_what_to_install(name, package, extra, monkeypatch):
    monkeypatch.delitem(sys.modules, f"gmvae_cli.system.{name}_engine", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"^--engine {name} needs .* pip install 'gmvae\[{extra}\]'$"):
        engine_of(EngineConfig(engine=name))
    monkeypatch.delitem(sys.modules, f"gmvae_cli.system.{name}_engine", raising=False)


@pytest.mark.parametrize(
    ("address", "is_private"),
    [
        ("tcp://127.0.0.1:8786", True),
        ("localhost:8786", True),
        ("tcp://[::1]:8786", True),
        ("tls://scheduler.example:8786", True),
        ("tcp://10.0.0.7:8786", False),
        ("scheduler:8786", False),
        ("scheduler", False),
        ("ws://10.0.0.7:8786", False),
    ],
)
def test_a_scheduler_without_tls_is_joined_on_this_machine_alone(address, is_private):
    dask_engine = pytest.importorskip("gmvae_cli.system.dask_engine")
    assert dask_engine.is_private(address) is is_private
    if not is_private:
        with (
            pytest.raises(ConfigError, match=r"is reached without TLS.*--trust-network"),
            engine_of(EngineConfig(engine="dask", scheduler=address)),
        ):
            pass


def test_ray_is_joined_and_never_started(monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ConfigError, match="RAY_ADDRESS names none"):
        engine_of(EngineConfig(engine="ray"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "spark"}, "must be one of local, dask, ray"),
        ({"workers": 0}, "--workers is 0, but must be at least 1"),
        ({"stretch_rows": -5}, "--stretch-rows is -5, but must be at least 1"),
        ({"scheduler": "tcp://a:1"}, "--scheduler is for --engine dask"),
        ({"engine": "dask", "scheduler": "a:1", "workers": 2}, "give one of them"),
        ({"engine": "ray", "workers": 2}, "--workers is not for --engine ray"),
    ],
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        EngineConfig(**options)
