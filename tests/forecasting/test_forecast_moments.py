"""Forecasts equal the sum over all paths of regimes, and what rows drawn one by one show."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from filtering.models import KINDS, as_filter, random_model
from forecasting import twins

from gmvae_cli.data.lagged_rows import LaggedRows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.forecasting.moments import forecast_moments
from gmvae_cli.forecasting.paths import QUANTILES, simulate
from gmvae_cli.forecasting.series_state import LONGEST_GAP, SeriesEnd, end_rows, state_of
from gmvae_cli.model.ar_density import lag_inflation

NORMAL = {name: kind for name, kind in KINDS.items() if kind.get("noise") != "student"}
EXACT = {"rtol": 1e-10, "atol": 1e-10}


def model_of(kind, tmp_path, seed=3):
    return as_filter(random_model(seed, **kind), tmp_path)


def past_of(model, rows, seed=0):
    """Rows (n, D) in standardised units."""
    return np.random.default_rng(seed).normal(size=(rows, len(model.channels)))


def state(model, past, laws, steps=None):
    """The state behind rows (n, D) in standardised units."""
    steps = np.ones(len(past), np.int64) if steps is None else steps
    end = SeriesEnd.of(past * model.scale + model.mean, steps, model.config.context_rows)
    return state_of(end, np.atleast_2d(laws)[-end.rows_behind - 1 :], model)


def random_law(K, seed=1):
    return np.random.default_rng(seed).dirichlet(np.ones(K))


@pytest.mark.parametrize("kind", NORMAL.values(), ids=NORMAL)
def test_moments_equal_the_sum_over_all_paths(kind, tmp_path):
    model = model_of(kind, tmp_path)
    past, law = past_of(model, max(model.config.context_rows, 1)), random_law(model.config.regimes)
    moments = forecast_moments(model, state(model, past, law), 5)
    probs, mean, std = twins.enumerated(model, law, past, 5)
    np.testing.assert_allclose(moments.probs, probs, **EXACT)
    np.testing.assert_allclose(moments.mean, mean, **EXACT)
    np.testing.assert_allclose(moments.std, std, **EXACT)


def test_the_law_of_the_regime_is_a_power_of_the_matrix(tmp_path):
    model = model_of({}, tmp_path)
    law = random_law(3)
    moments = forecast_moments(model, state(model, past_of(model, 1), law), 300)
    for step in (1, 2, 20, 300):
        expected = law @ np.linalg.matrix_power(model.transition_matrix, step)
        np.testing.assert_allclose(moments.probs[step - 1], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [KINDS["a stride"], KINDS["Student noise"]], ids=["a stride", "Student noise"])
def test_paths_have_the_quantiles_of_rows_drawn_one_by_one(kind, tmp_path):
    model = model_of(kind, tmp_path)
    past, law = past_of(model, 2 * model.config.context_rows), random_law(3)
    past[-1] *= 4  # an outlier, which Student t noise remembers
    paths = simulate(model, state(model, past, law), 8, 60_000, np.random.default_rng(1))
    rows = twins.drawn(model, law, past, 8, 60_000, np.random.default_rng(2))
    for level, found in zip(QUANTILES, paths.quantiles, strict=True):
        np.testing.assert_allclose((rows < found).mean(0), level, atol=0.006)


def test_the_spread_of_student_noise_is_that_of_rows_drawn_one_by_one(tmp_path):
    model = replace(model_of(KINDS["Student noise"], tmp_path), degrees=8.0)
    past, law = past_of(model, 4), random_law(3)
    past[-1] *= 4
    start = state(model, past, law)
    paths = simulate(model, start, 6, 60_000, np.random.default_rng(1))
    moments = forecast_moments(model, start, 6, paths.inflation)
    rows = twins.drawn(model, law, past, 6, 120_000, np.random.default_rng(2))
    np.testing.assert_allclose(moments.mean, rows.mean(0), atol=0.05)
    np.testing.assert_allclose(moments.std, rows.std(0), rtol=0.03)
    assert (paths.inflation[0] > 1.5).all()


def test_noise_without_a_variance_has_no_standard_deviation(tmp_path):
    model = replace(model_of(KINDS["Student noise"], tmp_path), degrees=1.9)
    moments = forecast_moments(model, state(model, past_of(model, 4), random_law(3)), 3)
    assert np.isnan(moments.std).all()
    assert np.isfinite(moments.mean).all()
    cauchy = forecast_moments(replace(model, degrees=1.0), state(model, past_of(model, 4), random_law(3)), 3)
    assert np.isnan(cauchy.mean).all()


# --- series that end in missing cells --------------------------------------------------------------------------------


def test_lags_weigh_as_in_the_density_of_whole_series(tmp_path):
    checkpoint = random_model(5, **KINDS["Student noise, a stride and a scale"])
    model = as_filter(checkpoint, tmp_path)
    past = past_of(model, 12)
    past[-4:] *= 5
    values = np.concatenate([past, np.zeros((4, 2))]) * model.scale + model.mean
    with SeriesData.from_arrays(values) as data:
        rows = LaggedRows(data, checkpoint.model, model.mean, model.scale, torch.float64).rows(12, 16)
        expected = lag_inflation(rows.y, checkpoint.parameters.emission, rows.lag_index)
    found = state(model, past, random_law(3)).inflation.max(1)
    np.testing.assert_allclose(found, expected[:2], rtol=1e-10)
    assert (found > 1).all()


@pytest.mark.parametrize("kind", [{"K": 1}, {"K": 1, "P": 2}, {"K": 1, "P": 2, "stride": 3}], ids=str)
def test_missing_cells_at_the_end_are_conditioned_on_exactly_with_one_regime(kind, tmp_path):
    model = model_of(kind, tmp_path)
    lost, behind, ahead = model.config.context_rows, 4, 4
    past = past_of(model, lost + behind)
    past[lost, 0] = past[lost + 2, 1] = past[lost + 3, 0] = np.nan
    past[lost + 1] = np.nan
    moments = forecast_moments(model, state(model, past, np.ones((behind + 1, 1))), ahead)
    mean, covariance = twins.ahead_given_path(model, past[:lost], [0] * (behind + ahead))
    values = np.concatenate([past[lost:].ravel(), np.full(2 * ahead, np.nan)])
    known = ~np.isnan(values)
    if model.config.stride > 1 or model.config.lags == 1:  # a later whole row is a start of its own: the same law
        assert known.any()
    gain = covariance[:, known] @ np.linalg.inv(covariance[np.ix_(known, known)])
    mean = mean + gain @ (values[known] - mean[known])
    covariance = covariance - gain @ covariance[known]
    np.testing.assert_allclose(moments.mean, mean[2 * behind :].reshape(ahead, 2), **EXACT)
    np.testing.assert_allclose(moments.std**2, np.diag(covariance)[2 * behind :].reshape(ahead, 2), **EXACT)


def test_a_hole_at_the_end_is_the_sum_over_all_paths_through_it(tmp_path):
    model = model_of({"P": 2}, tmp_path)
    past, law = past_of(model, 2), random_law(3)
    empty = np.concatenate([past, np.full((1, 2), np.nan)])
    steps = np.array([0, 1, 3])  # the hole lacks two rows, and the last row is empty
    laws = np.stack([law, law @ np.linalg.matrix_power(model.transition_matrix, 3)])
    moments = forecast_moments(model, state(model, empty, laws, steps), 2)
    probs, mean, std = twins.enumerated(model, law, past, 5)
    np.testing.assert_allclose(moments.probs, probs[3:], **EXACT)
    np.testing.assert_allclose(moments.mean, mean[3:], **EXACT)
    np.testing.assert_allclose(moments.std, std[3:], **EXACT)


def test_paths_start_with_the_spread_of_missing_cells(tmp_path):
    model = model_of({"P": 2, "stride": 2}, tmp_path)
    past = past_of(model, 6)
    past[4:] = np.nan
    start = state(model, past, np.tile(random_law(3), (3, 1)))
    paths = simulate(model, start, 4, 100_000, np.random.default_rng(1))
    moments = forecast_moments(model, start, 4)
    width = (paths.quantiles[2] - paths.quantiles[0]) / moments.std
    assert ((width > 2.7) & (width < 3.6)).all()  # 3.29 of a Normal law


@pytest.mark.parametrize(
    ("values", "steps", "complete"),
    [
        ([1, 2, 3], [0, 1, 1], 2),
        ([1, 2, None], [0, 1, 1], 1),
        ([1, 2, 3], [0, 1, 2], 1),  # behind a hole no lag is known
        ([1, 2, 3], [0, 1, 0], None),  # behind a break nothing of before holds
        ([1, None, 3], [0, 1, 1], None),
        ([None, 2, 3], [0, 1, 1], 2),
        ([3], [0], None),
        ([1, 2, None], [0, 1, LONGEST_GAP + 1], None),
    ],
    ids=str,
)
def test_the_last_complete_row_has_all_its_lags(values, steps, complete):
    end = SeriesEnd.of(np.array(values, float)[:, None], np.array(steps), context_rows=2)
    assert end.complete == complete or (complete is None and end.complete is None)
    assert end.rows_behind == (0 if complete is None else len(values) - 1 - complete)


def test_a_long_series_is_cut_to_the_rows_that_count(tmp_path):
    model = model_of({"P": 2, "stride": 3}, tmp_path)
    past, law = past_of(model, end_rows(model)), random_law(3)
    whole = forecast_moments(model, state(model, past, law), 5)
    np.testing.assert_array_equal(forecast_moments(model, state(model, past[-6:], law), 5).mean, whole.mean)
    assert len(SeriesEnd.of(past, np.ones(len(past), int), 6).values) == 12
