"""Options as typed -> the configs that jobs get, without doing the work."""

import importlib

import pytest
import typer

from gmvae_cli import cli
from gmvae_cli.config import EvaluateConfig, InferConfig, ModelConfig, SeriesConfig, SimulateConfig, TrainConfig

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
def received(run, monkeypatch):
    """Run a command whose job only notes what it gets."""

    def received(command, *arguments):
        calls = []
        job = importlib.import_module(f"gmvae_cli.commands.{command}")

        def note(*values):
            calls.append(values[:-1])
            raise typer.Exit(0)

        monkeypatch.setattr(job, command, note)
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
    arguments = ["a.csv", "--model", "m", "--output", "o", "--segments", "s", "--skip-existing"]
    how = ["--posterior", "viterbi", "--only-regimes", "--device", "auto"]
    config = InferConfig(posterior="viterbi", only_regimes=True, device="auto")
    expected = (["a.csv"], "m", "o", config, SeriesConfig(**READ, no_time=True), "s", True)
    assert received("infer", *arguments, *how, *FILES, "--no-time") == expected


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
        pytest.param(["simulate", "a.csv", "--regimes", "two"], "'--regimes'", id="no number"),
        pytest.param(["simulate", "a.csv", "--prior", "sticky"], "'sticky' is not one of 'markov', 'iid'", id="choice"),
        pytest.param(["simulate"], "missing argument 'OUT'", id="no argument"),
        pytest.param(["train", "a.csv"], "missing option '--model'", id="no option"),
        pytest.param(["simulate", "a.csv", "--stepz", "3"], "no such option: --stepz", id="option"),
        pytest.param(["simulat"], "'simulate'", id="command"),
        pytest.param(["--nope"], "no such option: --nope", id="before the command"),
        pytest.param(["simulate", "-", "--json"], "both want stdout", id="two things on stdout"),
        pytest.param(["evaluate", "a.csv", "--fail-under", "ari"], "needs a number", id="gate without value"),
        pytest.param(["evaluate", "a.csv", "--fail-under", "art=1"], "names 'art'", id="gate unknown"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(refusal, arguments, expected):
    assert expected in refusal(*arguments, status=2)


def test_every_command_and_option_has_help():
    for name, command in typer.main.get_command(cli.app).commands.items():
        assert command.help, name
        for parameter in command.params:
            assert parameter.help, f"{name} {parameter.name}"


def test_no_arguments_ask_for_help(run):
    assert run().stdout == run("--help").stdout


def test_help_keeps_to_80_columns(run):
    for command in ("simulate", "train", "infer", "evaluate"):
        assert max(map(len, run(command, "--help").stdout.splitlines())) <= 80
