"""Options as typed -> the configs that commands get, without doing the work."""

import importlib
import sys
from dataclasses import fields

import pytest
import typer

from gmvae_cli import cli
from gmvae_cli.cli import options
from gmvae_cli.cli.help import GROUPS
from gmvae_cli.cli.terminal import Terminal
from gmvae_cli.commands.infer import Targets
from gmvae_cli.config import (
    EvaluateConfig,
    InferConfig,
    ModelConfig,
    SelectConfig,
    SeriesConfig,
    SimulateConfig,
    TrainConfig,
)
from gmvae_cli.engine_config import EngineConfig

COMMANDS = [[], *([name] for name in typer.main.get_command(cli.app).commands)]

FILES = (
    *("--channels", "a, b", "--series", "who", "--max-gap", "2h", "--delimiter", ";", "--decimal", ",", "--sort"),
    "--regular",
)
READ = {
    "channels": ("a", "b"),
    "series": "who",
    "max_gap": "2h",
    "delimiter": ";",
    "decimal": ",",
    "sort": True,
    "regular": True,
}


@pytest.fixture
def received(run, monkeypatch, tmp_path):
    """Run a command, beside the files that it names, whose work is replaced by noting what it gets."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv", "m", "i", "a"):
        (tmp_path / name).touch()

    def received(command, *arguments):
        calls = []
        module = importlib.import_module(f"gmvae_cli.commands.{command}")

        def note(*values):
            # a terminal is no option, and who does the work is asked for by its own test
            calls.append(
                tuple(value for value in values if not isinstance(value, Terminal) and value != EngineConfig())
            )
            raise typer.Exit(0)

        monkeypatch.setattr(module, command, note)
        result = run(command, *arguments)
        assert result.exit_code == 0, result.output
        return calls[0]

    return received


@pytest.mark.parametrize(
    ("arguments", "config", "truth"),
    [
        pytest.param([], SimulateConfig(), None, id="defaults"),
        pytest.param(
            ["--steps", "7", "--series", "2", "--regimes", "5", "--channels", "4", "--lags", "2"],
            SimulateConfig(steps=7, series=2, regimes=5, channels=4, lags=2),
            None,
            id="size",
        ),
        pytest.param(["--model", "m"], SimulateConfig(model="m"), None, id="from a model"),
        pytest.param(
            ["--prior", "iid", "--intercept", "--covariance", "regime"],
            SimulateConfig(prior="iid", intercept=True, covariance="regime"),
            None,
            id="process",
        ),
        pytest.param(
            ["--missing", "0.1", "--outliers", "0.2", "--dwell", "9", "--seed", "3", "--truth", "t"],
            SimulateConfig(missing=0.1, outliers=0.2, dwell=9, seed=3),
            "t",
            id="damage",
        ),
    ],
)
def test_simulate(received, arguments, config, truth):
    assert received("simulate", "out.csv", *arguments) == ("out.csv", config, truth)


@pytest.mark.parametrize(
    ("arguments", "config", "series"),
    [
        pytest.param([], TrainConfig(), SeriesConfig(), id="defaults"),
        pytest.param(
            [*("--prior", "iid", "--no-intercept", "--covariance", "shared", "--fixed-prior", "--noise", "student")],
            TrainConfig(
                model=ModelConfig(prior="iid", intercept=False, covariance="shared", fixed_prior=True, noise="student")
            ),
            SeriesConfig(),
            id="reference model",
        ),
        pytest.param(
            ["--regimes", "5", "--lags", "2", "--stride", "4", "--hidden", "8", "--layers", "1"],
            TrainConfig(model=ModelConfig(regimes=5, lags=2, stride=4, hidden=8, layers=1)),
            SeriesConfig(),
            id="shape",
        ),
        pytest.param(
            ["--batch-rows", "99", "--validation", "0.3", "--init", "i", "--align-to", "a", "--device", "auto"],
            TrainConfig(batch_rows=99, validation=0.3, init="i", align_to="a", device="auto"),
            SeriesConfig(),
            id="rest",
        ),
        pytest.param(
            ["--steps", "5", "--lr", "0.1", "--polish", "2", "--restarts", "1", "--expect-dwell", "2h", "--seed", "4"],
            TrainConfig(steps=5, lr=0.1, polish=2, restarts=1, expect_dwell="2h", seed=4),
            SeriesConfig(),
            id="training",
        ),
        pytest.param(
            ["--estimator", "exact", "--anneal", "cosine", "--temperature-start", "2", "--temperature-end", "0.5"],
            TrainConfig(estimator="exact", anneal="cosine", temperature_start=2, temperature_end=0.5),
            SeriesConfig(),
            id="annealing",
        ),
        pytest.param(
            [*FILES, "--time", "when"],
            TrainConfig(),
            SeriesConfig(**READ, time="when"),
            id="files",
        ),
    ],
)
def test_train(received, arguments, config, series):
    assert received("train", "a.csv", "b.csv", "--model", "m", *arguments) == (
        ["a.csv", "b.csv"],
        "m",
        config,
        series,
        False,
    )
    assert received("train", "a.csv", "--model", "m", "--resume")[-1] is True


def test_infer(received):
    outputs = ["--output", "o", "--segments", "s", "--summary", "u.csv", "--metrics", "m.prom"]
    arguments = ["a.csv", "--model", "m", *outputs, "--skip-existing"]
    how = ["--posterior", "viterbi", "--only-regimes", "--device", "auto"]
    config = InferConfig(posterior="viterbi", only_regimes=True, device="auto")
    targets = Targets(output="o", segments="s", summary="u.csv", metrics="m.prom")
    expected = (["a.csv"], "m", targets, config, SeriesConfig(**READ, no_time=True), True, "s.state")
    assert received("infer", *arguments, *how, *FILES, "--no-time", "--state", "s.state") == expected


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["--workers", "3", "--stretch-rows", "500"], EngineConfig(workers=3, stretch_rows=500)),
        (
            ["--engine", "dask", "--scheduler", "tcp://a:1", "--trust-network"],
            EngineConfig(engine="dask", scheduler="tcp://a:1", trust_network=True),
        ),
        (["--engine", "ray", "--stretch-rows", "auto"], EngineConfig(engine="ray")),
    ],
)
def test_who_does_the_work(received, typed, expected):
    assert received("infer", "a.csv", "--model", "m", "--output", "o", *typed)[-2:] == (expected, None)


@pytest.mark.parametrize(("typed", "rows"), [("auto", None), ("all", sys.maxsize), ("7000", 7000)])
def test_rows_that_training_passes_over(received, typed, rows):
    assert received("train", "a.csv", "--model", "m", "--workers", "2", "--train-rows", typed)[-1] == EngineConfig(
        workers=2, train_rows=rows
    )


def test_evaluate(received):
    arguments = ["a.csv", "--truth", "who", "--predicted", "label", "--tolerance", "3", "--model", "m"]
    fail_under = ("ari=0.9", "nmi=0.8")
    config = EvaluateConfig(truth="who", predicted="label", tolerance=3, fail_under=fail_under, device="auto")
    gates = ["--fail-under", "ari=0.9", "--fail-under", "nmi=0.8", "--device", "auto"]
    assert received("evaluate", *arguments, *gates, *FILES) == ("a.csv", config, SeriesConfig(**READ), "m")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["simulate", "a.csv", "--regimes", "0"], "--regimes is 0, but must be at least 1", id="range"),
        pytest.param(["train", "a.csv", "--model", "m", "--regimes", "0"], "--regimes is 0", id="regimes"),
        pytest.param(
            ["simulate", "a.csv", "--regimes", "two"], "--regimes is 'two', but must be a whole number", id="no integer"
        ),
        pytest.param(
            ["simulate", "a.csv", "--missing", "few"], "--missing is 'few', but must be a number", id="no number"
        ),
        pytest.param(
            ["segment", "a.csv", "--output", "b.csv", "--regimes", "two"],
            "--regimes is 'two', but must be auto or a whole number",
            id="neither auto nor a number",
        ),
        pytest.param(
            ["simulate", "a.csv", "--prior", "sticky"],
            "--prior is 'sticky', but must be one of markov, iid",
            id="choice",
        ),
        pytest.param(["simulate"], "missing argument 'OUT'", id="no argument"),
        pytest.param(["train", "a.csv"], "missing option '--model'", id="no option"),
        pytest.param(["simulate", "a.csv", "--seed"], "option '--seed' requires an argument", id="no value"),
        pytest.param(
            ["simulate", "a.csv", "--stepz", "3"], "no such option: --stepz; did you mean --steps?", id="option"
        ),
        pytest.param(["simulat"], "no such command 'simulat'; did you mean 'simulate'?", id="command"),
        pytest.param(["--nope"], "no such option: --nope", id="before the command"),
        pytest.param(["simulate", "-", "--json"], "both go to stdout", id="two things on stdout"),
        pytest.param(["evaluate", "a.csv", "--fail-under", "ari"], "needs a number", id="gate without value"),
        pytest.param(["evaluate", "a.csv", "--fail-under", "art=1"], "names 'art'", id="gate unknown"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(rejection, arguments, expected):
    assert expected in rejection(*arguments, status=2)


@pytest.mark.parametrize(
    ("arguments", "usage"),
    [
        (["train", "a.csv", "--modle", "m"], "usage: gmvae train INPUT... --model OUT [OPTIONS]"),
        (["train", "a.csv", "--model"], "usage: gmvae train INPUT... --model OUT [OPTIONS]"),
        (["inspect"], "usage: gmvae inspect CKPT [OPTIONS]"),
        (["trian"], "usage: gmvae [OPTIONS] COMMAND"),
    ],
)
def test_the_parser_shows_the_usage_with_its_error(run, arguments, usage):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[:-1] == [usage]


def test_an_impossible_value_is_one_line_alone(run):
    assert run("simulate", "a.csv", "--regimes", "0").stderr.splitlines() == ["--regimes is 0, but must be at least 1"]


@pytest.mark.parametrize(
    ("declared", "config"),
    [(options.Training, TrainConfig()), (options.Selection, SelectConfig())],
    ids=["train", "select"],
)
def test_defaults_as_typed_are_those_of_the_config(declared, config):
    (option_set,) = declared.__metadata__
    assert option_set.built({parameter.name: parameter.default for parameter in option_set.parameters}) == config


@pytest.mark.parametrize(
    ("declared", "beside"),
    [
        (options.FilesToSegment, {"usual_decimal", "usual_time_format"}),
        (options.Simulation, set()),
        (options.Training, {"model", "search"}),
        (options.Selection, set()),
        (options.Inference, set()),
        (options.Evaluation, set()),
    ],
    ids=lambda value: getattr(getattr(value, "__origin__", None), "__name__", ""),
)
def test_every_field_of_a_config_is_an_option(declared, beside):
    (option_set,) = declared.__metadata__
    assert {field.name for field in fields(declared.__origin__)} - beside <= option_set.declared.keys()


def test_every_option_is_in_a_group_of_the_help():
    for name, command in typer.main.get_command(cli.app).commands.items():
        for parameter in command.params:
            assert parameter.rich_help_panel in GROUPS, f"{name} {parameter.name}"


def test_every_command_and_option_has_help():
    for name, command in typer.main.get_command(cli.app).commands.items():
        assert command.help, name
        for parameter in command.params:
            assert parameter.help, f"{name} {parameter.name}"


def test_no_arguments_ask_for_help(run):
    assert run().stdout == run("--help").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_h_is_help(run, command):
    assert run(*command, "-h").stdout == run(*command, "--help").stdout != ""


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_breaks_lines_between_words(run, monkeypatch, command, columns):
    monkeypatch.setenv("COLUMNS", "1000")
    whole = set(run(*command, "--help").stdout.split())
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = run(*command, "--help").stdout.splitlines()
    assert max(map(len, lines)) <= min(columns, 80)
    assert set(" ".join(lines).split()) == whole


def test_help_lists_the_most_useful_first(run):
    lines = run("train", "--help").stdout.splitlines()
    assert [line for line in lines if line.endswith(":")] == [
        *("Files:", "Model:", "Search:", "Output:", "Cluster:", "Expert:")
    ]
    groups = {line.split()[0]: heading for heading, line in by_heading(lines)}
    assert [groups[name] for name in ("INPUT...", "--regimes", "--restarts", "--model", "--lr")] == [
        "Files:",
        "Model:",
        "Search:",
        "Output:",
        "Expert:",
    ]


def by_heading(lines):
    """(heading, option line) of a help text."""
    heading = None
    for line in lines:
        if line.endswith(":") and not line.startswith(" "):
            heading = line
        elif heading and line[2:3].strip():
            yield heading, line
