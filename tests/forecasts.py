"""How often the intervals of forecasts hold: `python tests/forecasts.py`, some minutes.

Series are drawn from random processes, and forecast from their last rows by the true model and by one that was trained
on another series. Printed are the share of the rows ahead that lie in their 90 % intervals, by step and in all, and the
mean log score of the Normal law with the mean and standard deviation that the forecast gives, nats.
"""

import sys
from collections.abc import Iterator

import numpy as np
from recovery import Checkpoint, Process, drawn, trained, truth_of

from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.data import simulation
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.filtering.filter_model import FilterModel
from gmvae_cli.forecasting.moments import forecast_moments
from gmvae_cli.forecasting.paths import simulate
from gmvae_cli.forecasting.series_state import SeriesEnd, state_of
from gmvae_cli.inference import apply

HORIZON, ROWS, SERIES, PATHS, TRAINED_ROWS = 20, 200, 2_000, 4_000, 20_000
KINDS = ((2, 1, 1), (3, 2, 2))  # regimes, channels, lags


def as_filter(checkpoint: Checkpoint) -> FilterModel:
    """The parameters of a checkpoint as numpy arrays."""
    parameters, model = checkpoint.parameters, checkpoint.model
    tril = parameters.emission.scale_tril.numpy()
    return FilterModel(
        config=model,
        channels=checkpoint.channels,
        mean=checkpoint.mean.numpy(),
        scale=checkpoint.scale.numpy(),
        weights=parameters.emission.weights.numpy(),
        scale_tril=np.broadcast_to(tril, (model.regimes, *tril.shape[1:])),
        initial_probs=parameters.chain.initial_probs.numpy(),
        transition_matrix=parameters.chain.transition_matrix.numpy(),
        evidence_scale=float(parameters.evidence_scale),
    )


def judged(values: np.ndarray, checkpoint: Checkpoint) -> tuple[np.ndarray, np.ndarray]:
    """Whether each row ahead of S series (S, T + H, D) is in its interval (S, H, D), and its log score."""
    model, inside, scores = as_filter(checkpoint), [], []
    steps = np.tile(np.minimum(np.arange(ROWS), 1), len(values))
    with (
        SeriesData.from_arrays(values[:, :ROWS].reshape(-1, values.shape[2]), steps) as data,
        apply.infer(data, checkpoint, "filter") as posterior,
    ):
        laws = np.concatenate([block.probs for block in posterior.blocks()])[ROWS - 1 :: ROWS]
    for number, (rows, law) in enumerate(zip(values, laws, strict=True)):
        end = SeriesEnd.of(rows[ROWS - 50 : ROWS], np.ones(50, np.int64), model.config.context_rows)
        state = state_of(end, law[None], model)
        low, _, high = simulate(model, state, HORIZON, PATHS, np.random.default_rng(number)).quantiles
        moments = forecast_moments(model, state, HORIZON)
        x = (rows[ROWS:] - model.mean) / model.scale
        inside.append((x >= low) & (x <= high))
        z, std = (x - moments.mean) / moments.std, moments.std * model.scale
        scores.append(-0.5 * z**2 - np.log(std) - 0.5 * np.log(2 * np.pi))
    return np.array(inside), np.array(scores)


def processes() -> Iterator[Process]:
    """A random process of each kind."""
    for regimes, channels, lags in KINDS:
        generator = np.random.default_rng(regimes)
        options = {"dwell": 30.0, "shared_covariance": False, "intercept": True, "generator": generator}
        yield simulation.random_process(regimes, channels, lags, **options)


def ahead_of(process: Process, num_series: int) -> np.ndarray:
    """Series (S, T + H, D), with the rows that are to be forecast."""
    generators = (np.random.default_rng([1, number]) for number in range(num_series))
    chunks = (next(simulation.draw(process, ROWS + HORIZON, rng, simulation.BURN_IN_ROWS)) for rng in generators)
    return np.array([rows for rows, _ in chunks])


def main(num_series: int) -> None:
    """Print the share of rows inside by step, and the log scores."""
    for (regimes, channels, lags), process in zip(KINDS, processes(), strict=True):
        print(f"{regimes} regimes, {channels} channels, {lags} lags; {num_series} series", flush=True)
        config = TrainConfig(model=ModelConfig(regimes=regimes, lags=lags))
        truth = truth_of(process, config.model)
        learned, _ = trained(drawn(process, TRAINED_ROWS, np.random.default_rng(2))[0], config)
        values, scores = ahead_of(process, num_series), []
        for name, checkpoint in (("true", truth), ("trained", learned)):
            inside, score = judged(values, checkpoint)
            shares = 100 * inside.mean((0, 2))
            scores.append(score.mean((1, 2)))
            print(f"{name:>8} model: {shares.mean():.2f} % inside, log score {score.mean():.4f} per value")
            print("   by step:", *(f"{share:.1f}" for share in shares), flush=True)
        lost = scores[0] - scores[1]
        print(f"  lost by training: {lost.mean():.4f} ± {lost.std() / len(lost) ** 0.5:.4f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else SERIES)
