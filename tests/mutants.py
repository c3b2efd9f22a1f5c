"""Deliberate mistakes, each of which must turn a test red: `make mutants`.

A mutation is one replacement in one module. It is made in a copy of the package in a temporary folder, which the tests
named beside it import through PYTHONPATH; the working tree is never touched. The tests run once on the code as it is,
where all must pass, and once for each mutation, where one must fail. `test_mutants.py` keeps the list in step with the
code: every old text occurs exactly once and every test exists.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PACKAGE = "gmvae_cli"
SECONDS = 300  # for the tests of one mutation
PASSED, FAILED = 0, 1  # exit statuses of pytest; others mean that no test was judged


class Mutation(NamedTuple):
    """One mistake: in `module` of the package `old` becomes `new`, and one of `tests` (below tests/) must fail."""

    mistake: str
    module: str
    old: str
    new: str
    tests: Sequence[str]


MUTATIONS: tuple[Mutation, ...] = (
    # --- regimes without lags
    Mutation(
        "without lags a disturbance is said to halve at once",
        "model/ar_dynamics.py",
        "torch.where((radius > 0) & (radius < 1), math",
        "torch.where(radius < 1, math",
        ["commands/test_no_lags.py::test_training_finds_means_covariances_and_dwell"],
    ),
    Mutation(
        "a row that follows a hole is not scored",
        "data/lagged_rows.py",
        "np.maximum.accumulate(breaks)[start - first :] >= lost",
        "np.maximum.accumulate(breaks)[start - first :] >= max(lost, 1)",
        ["commands/test_no_lags.py::test_row_likelihoods_are_those_of_a_forward_recursion_on_the_inspected_model"],
    ),
    # --- rows that arrive one by one
    Mutation(
        "lags reach across holes",
        "filtering/row_filter.py",
        "memory.unbroken = memory.unbroken + 1 if steps == 1 else 0",
        "memory.unbroken = memory.unbroken + 1",
        ["filtering/test_row_filter.py::test_the_filter_equals_that_of_whole_series_and_goes_on_from_any_cut"],
    ),
    Mutation(
        "the chain moves over a hole as if it were none",
        "filtering/row_filter.py",
        "law.dot(self._matrix if steps == 1 else self._power(steps))",
        "law.dot(self._matrix)",
        ["filtering/test_row_filter.py::test_the_filter_equals_that_of_whole_series_and_goes_on_from_any_cut"],
    ),
    Mutation(
        "a lag that was an outlier counts like any other",
        "filtering/row_density.py",
        "return max(1.0, weight)",
        "return 1.0",
        ["filtering/test_row_filter.py::test_the_filter_equals_that_of_whole_series_and_goes_on_from_any_cut"],
    ),
    Mutation(
        "a row with a lag does not see the last of the later rows",
        "filtering/fixed_lag.py",
        "range(len(rows) - 1, 0, -1)",
        "range(len(rows) - 2, 0, -1)",
        ["filtering/test_row_filter.py::test_a_fixed_lag_is_the_smoothing_of_the_series_cut_so_many_rows_later"],
    ),
    Mutation(
        "the last row of a block is labelled from the block itself",
        "filtering/block_filter.py",
        "return Labels(memory.law, share",
        "return Labels(labels.law, share",
        ["filtering/test_row_filter.py::test_rows_of_blocks_are_labelled_from_the_blocks_before"],
    ),
    Mutation(
        "a single row may be of no regime",
        "filtering/row_novelty.py",
        "return state[1] >= self._fewest",
        "return state[1] >= 1",
        ["filtering/test_row_filter.py::test_a_stretch_is_unknown_from_its_third_row_on_and_a_single_row_is_not"],
    ),
    Mutation(
        "rows that wait for later ones are not in the state",
        "live/series_store.py",
        '"waiting": [_content_of(row) for row in series.waiting]',
        '"waiting": []',
        ["live/test_feed_labels.py::test_sessions_with_a_state_have_the_bytes_of_one"],
    ),
    Mutation(
        "series that stay away are never forgotten",
        "live/series_store.py",
        "if not is_late and len(self._series) <= most:",
        "if len(self._series) <= most:",
        ["live/test_feed_labels.py::test_series_that_stay_away_are_forgotten_by_rows_or_by_time"],
    ),
    Mutation(
        "the state of any model will do",
        "live/state_file.py",
        "if found != digest:",
        "if not found:",
        ["live/test_feed_labels.py::test_a_state_of_another_model_or_a_damaged_one_is_an_error"],
    ),
    Mutation(
        "a header with its columns in another order is a broken line",
        "live/feed_lines.py",
        "for name in self._columns]\n        return True",
        "for name in self._columns]\n        return False",
        ["live/test_feed_labels.py::test_headers_that_come_again_and_blank_lines_change_nothing"],
    ),
    Mutation(
        "text that nobody took is lost",
        "live/feed.py",
        "            self.unwritten = data\n",
        "            self.unwritten = b''\n",
        ["live/test_feed.py::test_rows_that_nobody_takes_are_in_the_state"],
    ),
    Mutation(
        "nobody notices that the reader has gone",
        "live/feed.py",
        "if events.get(self._target, 0) & _GONE:",
        "if False:",
        ["live/test_feed.py::test_a_reader_that_goes_away_ends_it_in_silence"],
    ),
    Mutation(
        "rows wait for the next read to be written",
        "live/follow.py",
        "                _write(feed, labels)\n                keeper",
        "                keeper",
        ["live/test_feed.py::test_rows_are_out_before_the_feeder_goes_on"],
    ),
    Mutation(
        "a file begins as if nothing had come before",
        "live/continued.py",
        'laws.append(entry["law"])',
        "laws.append(self._model.initial_probs.tolist())",
        ["live/test_continued.py::test_files_that_go_on_from_a_state_have_the_bytes_of_one"],
    ),
    Mutation(
        "the rows before a file are no lags of its own",
        "live/continued.py",
        "steps[0] = following",
        "steps[0] = 0",
        ["live/test_continued.py::test_files_that_go_on_from_a_state_have_the_bytes_of_one"],
    ),
    # --- rows ahead
    Mutation(
        "regimes ahead stay as they are",
        "forecasting/moments.py",
        "law = laws[step] = law @ matrix",
        "laws[step] = law @ matrix",
        ["forecasting/test_forecast_moments.py::test_the_law_of_the_regime_is_a_power_of_the_matrix"],
    ),
    Mutation(
        "each lane of a stride begins one row ahead",
        "forecasting/moments.py",
        "np.linalg.matrix_power(matrix, first + 1)",
        "np.linalg.matrix_power(matrix, 1)",
        ["forecasting/test_forecast_moments.py::test_moments_equal_the_sum_over_all_paths"],
    ),
    Mutation(
        "regimes that differ in their means add no spread",
        "forecasting/regime_moments.py",
        "self.probs @ (within + (first - mean) ** 2)",
        "self.probs @ within",
        ["forecasting/test_forecast_moments.py::test_moments_equal_the_sum_over_all_paths"],
    ),
    Mutation(
        "regimes that come together forget how far apart they were",
        "forecasting/regime_moments.py",
        "covariance + np.einsum(",
        "covariance + 0 * np.einsum(",
        ["forecasting/test_forecast_moments.py::test_moments_equal_the_sum_over_all_paths"],
    ),
    Mutation(
        "known cells behind the last complete row say nothing",
        "forecasting/regime_moments.py",
        "values[known] - self.mean[:, known])",
        "0 * self.mean[:, known])",
        [
            "forecasting/test_forecast_moments.py::test_missing_cells_at_the_end_are_conditioned_on_exactly_with_one_regime"
        ],
    ),
    Mutation(
        "all rows of a stride have the lags of the first",
        "forecasting/series_state.py",
        "lag * stride - ahead",
        "lag * stride - 1",
        ["forecasting/test_forecast_moments.py::test_moments_equal_the_sum_over_all_paths"],
    ),
    Mutation(
        "a forecast starts from before a break",
        "forecasting/series_state.py",
        "known[-1] >= starts[-1]",
        "known[-1] >= 0",
        ["forecasting/test_forecast_moments.py::test_the_last_complete_row_has_all_its_lags"],
    ),
    Mutation(
        "an outlier makes no wider forecast",
        "forecasting/paths.py",
        "np.sqrt(self.inflation(lane) / squares)",
        "np.sqrt(1 / squares)",
        ["forecasting/test_forecast_moments.py::test_paths_have_the_quantiles_of_rows_drawn_one_by_one"],
    ),
    Mutation(
        "paths begin at the mean of missing cells",
        "forecasting/paths.py",
        "mean[regimes] + np.einsum(",
        "mean[regimes] + 0 * np.einsum(",
        ["forecasting/test_forecast_moments.py::test_paths_start_with_the_spread_of_missing_cells"],
    ),
    Mutation(
        "forecasts ignore the seed",
        "forecasting/forecast.py",
        "np.random.default_rng([config.seed, number])",
        "np.random.default_rng([0, number])",
        ["forecasting/test_cli_forecast.py::test_a_seed_gives_the_same_bytes_and_another_seed_other_quantiles"],
    ),
    Mutation(
        "regimes of one name keep their own probabilities ahead",
        "forecasting/forecast_table.py",
        "probs[:, number] +=",
        "probs[:, regime] +=",
        ["forecasting/test_cli_forecast.py::test_regimes_of_one_name_are_one"],
    ),
    Mutation(
        "months ahead are thirty days",
        "forecasting/future_times.py",
        "    if months:",
        "    if False:",
        ["forecasting/test_future_times.py::test_the_last_times_follow_from_the_others"],
    ),
    Mutation(
        "days ahead are as long in spring as ever",
        "forecasting/future_times.py",
        "if stamps.tz is not None and step % _DAY == 0:",
        "if False:",
        ["forecasting/test_future_times.py::test_days_keep_the_hour_of_a_local_clock"],
    ),
    # --- known regimes
    Mutation(
        "a known regime is only somewhat more likely than others",
        "model/known_regimes.py",
        "own - (own.abs() + _IMPOSSIBLE)",
        "own - 5.0",
        ["model/test_known_regimes.py"],
    ),
    Mutation(
        "the E-step does not look at what is known",
        "training/expectation.py",
        "clamped_scores = clamped(scores.mT, rows.known).mT",
        "clamped_scores = scores",
        ["training/test_given_labels.py::test_responsibilities_are_one_where_the_regime_is_known"],
    ),
    Mutation(
        "annealing does not look at what is known",
        "core.py",
        "clamped(potentials / self.evidence_scale, known)",
        "potentials / self.evidence_scale",
        [
            "training/test_given_labels.py::test_with_every_row_labelled_the_elbo_and_its_gradient_are_those_of_the_labels"
        ],
    ),
    Mutation(
        "the encoder does not learn what is known",
        "training/gradient.py",
        "scores = clamped(scores.mT, rows.known).mT",
        "scores = scores.clone()",
        ["training/test_given_labels.py::test_the_encoder_learns_known_regimes_as_they_are"],
    ),
    Mutation(
        "starts do not begin with the known regimes",
        "training/initialization.py",
        "return torch.arange(num_fixed).repeat(restarts, 1)",
        "return torch.randint(windows, (restarts, 1), generator=generator)",
        ["training/test_given_labels.py::test_every_start_has_the_known_regimes_first"],
    ),
    Mutation(
        "starts are compared by a few rows",
        "training/initialization.py",
        "em.score(rows, parameters).argsort",
        "em.score(rows.rows(0, 150), parameters).argsort",
        ["training/test_initialization.py::test_the_likeliest_start_on_all_rows_is_taken"],
    ),
    Mutation(
        "a known regime may take the place of another",
        "training/fit.py",
        "return start if rows.known is None else start.permuted(torch.as_tensor(order))",
        "return start",
        ["training/test_given_labels.py::test_a_start_in_which_regimes_have_changed_places_is_put_right"],
    ),
    Mutation(
        "labelled rows of a long file are left to chance",
        "training/sampling.py",
        "labelled = pieces_with_labels(counts, min(count, max(int(_LABELLED_SHARE * count), counts.shape[1])))",
        "labelled = np.zeros(0, np.int64)",
        ["training/test_given_labels.py::test_a_long_file_is_sampled_where_it_is_labelled"],
    ),
    Mutation(
        "a labelled visit may be held out",
        "training/sampling.py",
        "return bool((left >= lost).all())",
        "return True",
        ["training/test_given_labels.py::test_a_visit_is_not_held_out"],
    ),
    Mutation(
        "joined passages and blocks relabel rows whose regime is known",
        "inference/labelled_rows.py",
        "numbers[labelled] = regimes[labels[labelled]]",
        "numbers[labelled] = numbers[labelled]",
        ["inference/test_labelled_rows.py::test_known_rows_keep_their_regime_whatever_their_block_says"],
    ),
    Mutation(
        "a block has the label of any of its rows",
        "data/known_labels.py",
        "(2 * labelled > lengths) & (lowest == highest)",
        "labelled > 0",
        ["data/test_known_labels.py"],
    ),
    Mutation(
        "names of known regimes do not follow the numbering",
        "training/numbering.py",
        "tuple(trained.names[regime] for regime in order.tolist())",
        "tuple(trained.names)",
        ["commands/test_known.py::test_names_and_numbers_of_known_regimes_reach_model_and_outputs"],
    ),
    # --- what rows show of a regime
    Mutation(
        "a visit that goes on in the next block begins anew",
        "metrics/regime_profile.py",
        "time[0] += self._open * visits.continued",
        "time[0] += 0 * visits.continued",
        ["metrics/test_regime_profile.py::test_neither_blocks_nor_parts_change_a_sum"],
    ),
    Mutation(
        "a regime follows the last one of another series",
        "metrics/regime_profile.py",
        "follows = ~starts[visits.start]",
        "follows = starts[visits.start] | True",
        ["metrics/test_regime_profile.py::test_sums_equal_a_loop_over_rows"],
    ),
    Mutation(
        "quartiles of values whose first bits differ are those of one group of bits",
        "labelled/quartiles.py",
        "left[mine] -= totals[digit] - of_digit[digit]",
        "left[mine] -= 0",
        ["labelled/test_quartiles.py::test_many_values_of_one_kind"],
    ),
    # --- waveforms
    Mutation(
        "features are the most variable, not the slowest",
        "data/waveform_features.py",
        "noise = changes.T @ changes / (2 * len(changes))",
        "noise = np.eye(len(kept))",
        ["data/test_waveform_features.py"],
    ),
    Mutation(
        "blocks know nothing of the period",
        "selection/waveform_search.py",
        "period = common_period(data) or data.rows / _BLOCKS_WITHOUT_PERIOD",
        "period = data.rows / _BLOCKS_WITHOUT_PERIOD",
        ["selection/test_waveform_search.py"],
    ),
    Mutation(
        "convolutions cross the borders of series",
        "data/waveform_features.py",
        "dilation * np.arange(-4, 5)[:, None], first, last)",
        "dilation * np.arange(-4, 5)[:, None], 0, len(column) - 1)",
        ["data/test_waveform_features.py::test_convolutions_stay_within_a_series"],
    ),
    Mutation(
        "an expected dwell says nothing of waveforms",
        "selection/waveform_search.py",
        "    if dwell is not None:\n        visits",
        "    if dwell is None:\n        dwell = 1e9\n        visits",
        ["selection/test_waveform_search.py::test_an_expected_dwell_finds_visits_that_are_many"],
    ),
    Mutation(
        "one regime is never the answer",
        "selection/waveform_search.py",
        "stability.max() < _ONE_REGIME",
        "stability.max() < -2",
        ["selection/test_waveform_search.py"],
    ),
    Mutation(
        "the blocks judged are those learned from",
        "selection/discrimination.py",
        "seen = ~held_out & (labels == regime)",
        "seen = held_out & (labels == regime)",
        ["selection/test_waveform_search.py"],
    ),
    # --- model
    Mutation(
        "the ELBO adds the KL divergence",
        "core.py",
        "return reconstruction / self.evidence_scale - kl",
        "return reconstruction / self.evidence_scale + kl",
        ["test_core.py::test_elbo_is_the_log_marginal_where_the_potentials_are_the_decoder"],
    ),
    Mutation(
        "the temperature stays where it starts",
        "core.py",
        "progress = min(step / max(num_steps - 1, 1), 1.0)",
        "progress = 0.0",
        ["test_core.py::test_temperature_falls_from_start_to_end"],
    ),
    Mutation(
        "the Gumbel noise has the wrong sign",
        "core.py",
        "return ((log_probs + noise) / temperature).softmax(-1)",
        "return ((log_probs - noise) / temperature).softmax(-1)",
        ["test_core.py::test_relaxed_regimes_follow_the_law_when_cold"],
    ),
    Mutation(
        "a permutation leaves the columns of the transition matrix",
        "core.py",
        "transition_matrix[..., order, :][..., order]",
        "transition_matrix[..., order, :]",
        ["test_core.py::test_permuting_regimes_only_permutes"],
    ),
    Mutation(
        "a hole of n rows moves the chain by one",
        "model/lattice.py",
        "np.maximum(unique, 0))",
        "np.minimum(np.maximum(unique, 0), 1))",
        ["model/test_forward_backward.py::test_smoother_equals_enumeration_for_every_block_size"],
    ),
    Mutation(
        "the smoother forgets the rows after",
        "model/forward_backward.py",
        "ratio.mul_(message).clamp_(max=ceiling)",
        "ratio.clamp_(max=ceiling)",
        ["model/test_forward_backward.py::test_smoother_equals_enumeration_for_every_block_size"],
    ),
    Mutation(
        "the gradient of the chain lacks its mean",
        "model/chain_autograd.py",
        "grad_potentials = probs * (conditional + excess)",
        "grad_potentials = probs * conditional",
        ["model/test_chain_autograd.py"],
    ),
    Mutation(
        "the interval of a change reaches into the visit before the last",
        "outputs/change_intervals.py",
        "reach = -(-self._rows // 2)",
        "reach = self._rows",
        ["outputs/test_change_intervals.py::test_intervals_are_those_found_by_trying_all_whatever_the_blocks"],
    ),
    Mutation(
        "a visit may begin before the first one has lasted",
        "model/dwell_path.py",
        "rows - start < rule.rows + rule.passing",
        "rows - start < 1 + rule.passing",
        ["model/test_dwell_path.py::test_path_is_the_best_of_all_that_obey"],
    ),
    Mutation(
        "lanes keep their first guess",
        "model/dwell_path.py",
        "wrong[1:] |= ~same",
        "wrong[1:] &= ~same",
        ["model/test_dwell_path.py::test_lanes_and_blocks_change_nothing"],
    ),
    Mutation(
        "changes placed at rows forget the shortest visit",
        "inference/file_rows.py",
        "model.shortest_visit if model.shortest_visit > 1 else 0",
        "0",
        ["inference/test_posterior.py::test_blocks_and_changes_placed_at_rows_obey"],
    ),
    Mutation(
        "of equally good predecessors the last one leads",
        "model/viterbi.py",
        "psi.masked_fill_(candidate > best, regime)",
        "psi.masked_fill_(candidate >= best, regime)",
        ["model/test_forward_backward.py::test_viterbi_breaks_ties_to_the_lowest_regime"],
    ),
    Mutation(
        "all rows weigh alike under Student t noise",
        "model/student_t.py",
        "mean = excess + 1",
        "mean = excess * 0 + 1",
        ["model/test_student_t.py::test_weights_are_the_moments_of_a_scale_mixture"],
    ),
    Mutation(
        "the row that keeps a regime near the pooled regression has the spread of all rows",
        "model/moments.py",
        "share = (len(of_all) / (rows + 1)).clamp_max(1)[..., None, None]",
        "share = torch.ones_like(rows)[..., None, None]",
        ["model/test_moments.py::test_a_regime_that_hardly_varies_keeps_its_own_regression"],
    ),
    Mutation(
        "an outlier spoils the rows that it is a lag of",
        "model/student_t.py",
        "return inverse[..., rows].amax(-2)",
        "return torch.ones_like(inverse[..., rows].amax(-2))",
        ["model/test_student_t.py::test_rows_are_inflated_by_the_weight_of_their_lags_for_every_block_size"],
    ),
    Mutation(
        "a prior that is fixed is learned",
        "model/moments.py",
        "counts = torch.ones_like(occupancy) if fixed else occupancy + _TRANSITION_COUNT",
        "counts = occupancy + _TRANSITION_COUNT",
        ["model/test_moments.py::test_laws_are_normalised_counts"],
    ),
    Mutation(
        "the expected dwell is no prior",
        "model/moments.py",
        "(_TRANSITION_COUNT if prior_counts is None else prior_counts + _TRANSITION_COUNT)",
        "_TRANSITION_COUNT",
        ["model/test_moments.py::test_laws_are_normalised_counts"],
    ),
    Mutation(
        "the evidence scale is always one",
        "model/evidence_scale.py",
        "times[restart] = 1.0 + 2.0 * float(kept.sum())",
        "times[restart] = 1.0",
        ["model/test_evidence_scale.py::test_scale_of_coloured_errors_is_the_autocorrelation_time"],
    ),
    Mutation(
        "a simulated chain moves by the transposed matrix",
        "data/simulation.py",
        "thresholds = np.cumsum(chain, axis=1)[:, : K - 1]",
        "thresholds = np.cumsum(chain.T, axis=1)[:, : K - 1]",
        ["data/test_simulation.py::test_regime_path_equals_loop"],
    ),
    Mutation(
        "the oldest lag comes first",
        "model/ar_density.py",
        "for p in range(num_lags + 1)]",
        "for p in [0, *range(num_lags, 0, -1)]]",
        ["model/test_ar_density.py::test_context_puts_lag_one_first_and_the_intercept_last"],
    ),
    # --- training
    Mutation(
        "annealing returns at once",
        "training/gradient.py",
        'for step in range(optimizer.resume(resume_log, "anneal", generator), steps):',
        'for step in range(optimizer.resume(resume_log, "anneal", generator), 0):',
        ["training/test_gradient.py::test_annealing_raises_the_elbo"],
    ),
    Mutation(
        "the encoder learns nothing",
        "training/gradient.py",
        "for step in range(optimizer.resume(resume_log, phase, generator), steps):",
        "for step in range(optimizer.resume(resume_log, phase, generator), 0):",
        ["training/test_gradient.py::test_the_encoder_learns_the_exact_posterior"],
    ),
    Mutation(
        "a jump of a switch outweighs all else",
        "training/em.py",
        "moments, shared = moments + weight[..., None, None] * self.rounding, ",
        "moments, shared = moments.clone(), ",
        ["training/test_fit.py::test_channels_that_stand_still_and_jump_tell_the_regime"],
    ),
    Mutation(
        "a switch that has nothing to do with the regimes hides them",
        "model/moments.py",
        "0.75, 1 / 12, 0.3",
        "0.75, 1 / 12, 1.0",
        ["training/test_fit.py::test_channels_that_jump_at_other_times_hide_no_regime"],
    ),
    Mutation(
        "the jumps of every column of a category count",
        "model/moments.py",
        "variance[channel] = len(standing) * _ROUNDING",
        "variance[channel] = _ROUNDING",
        ["model/test_moments.py::test_several_switches_count_as_one"],
    ),
    Mutation(
        "the intercept beside a single switch is rounded",
        "model/moments.py",
        "torch.arange(1, num_lags + 1, device=y.device)",
        "torch.arange(1, y.shape[0] // D, device=y.device)",
        ["model/test_moments.py::test_the_intercept_beside_a_single_switch_is_exact"],
    ),
    Mutation(
        "standard errors know nothing of rounding",
        "training/em.py",
        "statistics.moments[0] + statistics.weight[0][:, None, None] * self.rounding + self.pooled",
        "statistics.moments[0] + self.pooled",
        ["training/test_fit.py::test_standard_errors_know_the_rounding_of_a_switch"],
    ),
    Mutation(
        "spikes are measured beside the usual step of the whole channel",
        "training/diagnostics.py",
        "np.repeat(around, _LOCAL_ROWS)",
        "np.repeat(np.full(len(local), usual), _LOCAL_ROWS)",
        ["training/test_diagnostics.py::test_a_loud_regime_beside_a_quiet_one_has_no_spikes"],
    ),
    Mutation(
        "levels are compared in units of the whole spread",
        "training/initialization.py",
        "noise.maximum(_LEAST_NOISE * total)",
        "total.new_ones(total.shape)",
        ["training/test_initialization.py::test_windows_are_clustered_by_their_levels_in_units_of_the_noise"],
    ),
    Mutation(
        "levels of a switch are compared without its rounding",
        "training/initialization.py",
        " + em.rounding.diagonal()[:D]",
        "",
        ["training/test_initialization.py::test_a_switch_within_whose_windows_nothing_moves_is_not_all_that_counts"],
    ),
    Mutation(
        "the usual jump is the geometric mean of all",
        "model/moments.py",
        "usual = jumps[channel][jumps[channel] > 0].quantile(_USUAL_JUMP)",
        "usual = jumps[channel][jumps[channel] > 0].log().mean().exp()",
        ["training/test_fit.py::test_the_longest_jumps_of_unrelated_set_points_hide_no_regime"],
    ),
    Mutation(
        "starts see all correlations of channels",
        "training/initialization.py",
        "_UNRELATED_ROWS * columns",
        "0 * columns",
        ["training/test_initialization.py::test_starts_find_levels_in_many_channels"],
    ),
    Mutation(
        "windows are clustered by their level",
        "training/initialization.py",
        '"d...m,d...n->...mn", matrix, matrix)',
        '"d...m,d...n->...mn", matrix, matrix * (torch.arange(size) < len(matrix)))',
        ["training/test_initialization.py::test_windows_are_clustered_by_their_dynamics"],
    ),
    Mutation(
        "empty regimes stay empty",
        "training/initialization.py",
        "if not bool(empty.any()):",
        "if True:",
        ["training/test_initialization.py::test_an_empty_regime_takes_the_rows_that_are_explained_worst"],
    ),
    Mutation(
        "training ignores the seed",
        "training/fit.py",
        "generator = torch.Generator().manual_seed(config.seed)\n    sample",
        "generator = torch.Generator().manual_seed(0)\n    sample",
        ["training/test_fit.py::test_the_seed_decides_where_training_starts"],
    ),
    Mutation(
        "annealing is never skipped",
        "training/fit.py",
        "steps = 0 if skip_annealing else",
        "steps =",
        ["training/test_fit.py::test_a_start_from_a_consensus_is_not_annealed"],
    ),
    # --- selection
    Mutation(
        "the best candidate is chosen, not the smallest within one standard error",
        "selection/cross_validation.py",
        "if mean[index] <= error[index]]",
        "if mean[index] <= 0]",
        ["commands/test_cli_select.py::test_the_smallest_within_one_standard_error_of_the_best_is_chosen"],
    ),
    Mutation(
        "BIC rewards parameters",
        "selection/cross_validation.py",
        "bic = num_free_parameters * np.log(statistics.usable_rows) -",
        "bic = -num_free_parameters * np.log(statistics.usable_rows) -",
        ["commands/test_cli_select.py::test_one_regime_is_scored_as_least_squares_on_the_other_blocks"],
    ),
    Mutation(
        "held-out rows are trained on",
        "selection/cross_validation.py",
        "start = int(edges[block + 1]) + gap",
        "start = int(edges[block]) + gap",
        ["commands/test_cli_select.py::test_training_rows_keep_their_distance_from_held_out_blocks"],
    ),
    Mutation(
        "a labelling that none confirms counts as much as all others",
        "selection/consensus.py",
        "weights = (squares * counted).sum(1) / counted.sum(1)",
        "weights = np.ones(len(labels))",
        ["selection/test_consensus.py::test_labellings_that_another_confirms_weigh_more_than_one_that_none_confirms"],
    ),
    Mutation(
        "what a time scale sees is evidence for itself",
        "selection/consensus.py",
        "if len(np.unique(scales)) > 1 else",
        "if False else",
        ["selection/test_consensus.py::test_scales_at_which_nothing_is_seen_have_no_say"],
    ),
    Mutation(
        "rows that a labelling lacks have its last regime",
        "selection/consensus.py",
        "means.sum(axis=1, keepdims=True)], axis=1)",
        "(directions * factors)[:, -1:]], axis=1)",
        ["selection/test_consensus.py::test_rows_that_a_labelling_does_not_have_are_left_to_the_others"],
    ),
    Mutation(
        "blocks are longer the longer the recording",
        "selection/views.py",
        "length = max(SHORTEST_BLOCK, spacing)",
        "length = max(rows // 1200, SHORTEST_BLOCK, spacing)",
        ["selection/test_views.py::test_a_longer_recording_has_the_same_blocks_and_some_longer_ones"],
    ),
    Mutation(
        "a search for the number of regimes rewards parameters",
        "selection/row_model.py",
        "* np.log(usable) - 2 * log_likelihood",
        "* -np.log(usable) - 2 * log_likelihood",
        ["selection/test_multiscale.py::test_one_autoregression_is_one_regime"],
    ),
    Mutation(
        "regimes that are not found again are the last word",
        "selection/multiscale.py",
        "_stable(chain([best], found), task)",
        "_stable([best], task)",
        ["selection/test_multiscale.py::test_where_the_likeliest_regimes_are_not_found_again_the_next_are_believed"],
    ),
    Mutation(
        "as many regimes as asked for are never those of the rows where they are not found again",
        "selection/multiscale.py",
        "row_model = best if other is not None",
        "row_model = None if other is not None",
        [
            "selection/test_multiscale.py"
            "::test_as_many_regimes_as_asked_for_are_those_of_the_rows_where_fewer_are_found_again"
        ],
    ),
    Mutation(
        "windows of time scales are clustered by regressions alone",
        "selection/multiscale.py",
        "cycle((start_from_levels, start_from_windows))",
        "cycle((start_from_windows,))",
        ["selection/test_multiscale.py::test_levels_of_many_features_are_seen_at_a_time_scale"],
    ),
    Mutation(
        "windows too short for a regression are clustered by regressions",
        "selection/multiscale.py",
        "for length in lengths if length >= columns]",
        "for length in lengths]",
        [
            "selection/test_multiscale.py"
            "::test_levels_of_many_channels_are_found_again_in_windows_too_short_for_a_regression"
        ],
    ),
    Mutation(
        "starts doubt couplings of channels however many rows show them",
        "training/initialization.py",
        " * min(1.0, _ROWS_FOR_A_COEFFICIENT * coefficients / len(rows))",
        "",
        ["training/test_initialization.py::test_starts_find_regimes_that_only_other_channels_tell_apart"],
    ),
    Mutation(
        "a subsample is one piece at the start",
        "training/sampling.py",
        "limit // max(_FEWEST_PIECES, 2 * labels)",
        "limit",
        ["training/test_sampling.py::test_subsample_takes_long_pieces_in_order"],
    ),
    Mutation(
        "models that explain the rows clearly worse are as good",
        "selection/row_model.py",
        "return [fit for fit in ranked if fit.bic <= ranked[0].bic + 2 * _ABOUT_AS_WELL * len(fit.labels)]",
        "return ranked",
        ["selection/test_row_model.py::test_models_that_explain_the_rows_clearly_worse_are_left_out"],
    ),
    Mutation(
        "no more regimes are tried than at first",
        "selection/row_model.py",
        "_BESIDE = (1, -1, -2)",
        "_BESIDE = (-1, -2)",
        ["selection/test_row_model.py::test_the_number_of_regimes_is_followed_as_far_as_it_leads"],
    ),
    Mutation(
        "every regime pays for a covariance of its own",
        "selection/row_model.py",
        "if model.intercept and model.regimes > 1:",
        "if model.regimes < 1:",
        ["selection/test_row_model.py::test_levels_are_counted_though_covariances_of_their_own_would_cost_more"],
    ),
    Mutation(
        "regimes that behave alike are counted apart",
        "selection/row_model.py",
        "distinct = not bool((distances < _SAME_REGIMES).any())",
        "distinct = True",
        ["selection/test_row_model.py::test_visits_of_one_length_are_one_regime"],
    ),
    Mutation(
        "a regime of passages counts",
        "selection/row_model.py",
        "kept = np.flatnonzero(~fit.passing)",
        "kept = np.arange(fit.model.regimes)",
        ["selection/test_row_model.py::test_a_passage_from_one_regime_to_another_is_no_regime"],
    ),
    Mutation(
        "a wave cut into its phases is believed",
        "selection/row_model.py",
        "<= (1 if few else _WHITE_SCALE)",
        "<= _WHITE_SCALE",
        ["selection/test_multiscale.py::test_waveforms_are_told_apart_by_the_views_that_agree"],
    ),
    Mutation(
        "passages go to another series",
        "metrics/passages.py",
        " & (series[first - 1] == series[stop])",
        "",
        ["metrics/test_passages.py::test_no_row_passes_from_one_series_to_another"],
    ),
    # --- inference
    Mutation(
        "inference keeps passages of a model that joins them",
        "inference/posterior.py",
        '0 if posterior == "filter" else model.longest_passage',
        "0",
        ["inference/test_labelled_rows.py::test_a_model_that_joins_passages_differs_in_these_rows_alone"],
    ),
    Mutation(
        "the block in which a change lies is a visit of its own",
        "config.py",
        "self.context_rows + (self.summarize > 1) if",
        "self.context_rows if",
        ["inference/test_placed_changes.py::test_the_block_of_a_change_passes_as_well_as_those_whose_lags_reach_it"],
    ),
    Mutation(
        "short visits of a third regime are passages whatever their rows",
        "inference/placed_changes.py",
        "levels), inside)[:, -1] > 0",
        "levels), inside)[:, -1] > -np.inf",
        ["inference/test_placed_changes.py::test_a_visit_of_its_own_stays"],
    ),
    Mutation(
        "a change moves however little its rows say",
        "inference/placed_changes.py",
        "total[:, reach] + np.log(2 * reach)",
        "total[:, reach]",
        ["inference/test_placed_changes.py::test_a_change_stays_where_the_rows_say_too_little"],
    ),
    Mutation(
        "inference ignores the evidence scale",
        "inference/scored_rows.py",
        "return scores if evidence_scale == 1 else scores / evidence_scale",
        "return scores",
        ["model/test_evidence_scale.py::test_rows_are_predicted_unscaled_by_a_scaled_filter"],
    ),
    Mutation(
        "log-likelihoods are in standardised units",
        "inference/block_labels.py",
        "marginals - self._scorer.log_volume(rows), torch.nan)",
        "marginals, torch.nan)",
        ["model/test_evidence_scale.py::test_rows_are_predicted_unscaled_by_a_scaled_filter"],
    ),
    Mutation(
        "a segment's stop is its last row",
        "outputs/segment_table.py",
        '"stop": last + 1 - origin',
        '"stop": last - origin',
        ["commands/test_cli_infer.py::test_segments_list_every_visit"],
    ),
    Mutation(
        "the mean probability of a segment is divided by one row too many",
        "outputs/segment_table.py",
        '"mean_prob": spans["prob_sum"].to_numpy() / rows',
        '"mean_prob": spans["prob_sum"].to_numpy() / (rows + 1)',
        ["commands/test_cli_infer.py::test_segments_list_every_visit"],
    ),
    Mutation(
        "a segment across files counts in each of them",
        "outputs/label_totals.py",
        "self._last_regime = int(block.regimes[-1])",
        "self._last_regime = -1",
        ["commands/test_cli_many.py::test_a_segment_across_files_counts_once"],
    ),
    Mutation(
        "rows unlike training pass without a word",
        "outputs/label_totals.py",
        "mean < training - _UNLIKE_TRAINING",
        "False",
        ["commands/test_cli_infer.py::test_rows_unlike_training_are_warned_about"],
    ),
    Mutation(
        "the gaps between components count for nothing",
        "metrics/novelty.py",
        "if len(several):",
        "if False:",
        ["metrics/test_novelty.py"],
    ),
    Mutation(
        "weights of components do not follow the channels before",
        "metrics/novelty.py",
        "log_weights = levels - special.logsumexp(levels, axis=0)",
        "pass",
        ["metrics/test_novelty.py"],
    ),
    Mutation(
        "novelty is not calibrated by held-out rows",
        "inference/row_novelty.py",
        "return calibrated(values, self._tail)",
        "return values",
        ["commands/test_cli_novelty.py::test_a_trained_model_keeps_the_tail_of_rows_at_switches"],
    ),
    Mutation(
        "an outlier alone is a stretch that no regime explains",
        "inference/row_novelty.py",
        "short = stretches.stop - stretches.start < self._fewest",
        "short = stretches.stop - stretches.start < 1",
        ["commands/test_cli_novelty.py::test_an_outlier_alone_is_novel_but_no_stretch"],
    ),
    Mutation(
        "rows behind a strange stretch belong to it",
        "inference/row_novelty.py",
        "self._behind = checkpoint.model.context_rows",
        "self._behind = 0",
        ["commands/test_cli_novelty.py::test_a_stretch_that_no_regime_explains_has_none"],
    ),
    Mutation(
        "regimes of one name keep their own probabilities",
        "inference/block_labels.py",
        "        if self._merges:",
        "        if False:",
        ["commands/test_cli_rename.py::test_regimes_of_one_name_are_one"],
    ),
    Mutation(
        "a retrained model forgets the names",
        "training/numbering.py",
        "return (*reference.names, *[",
        "return ()  # (*reference.names, *[",
        ["commands/test_cli_rename.py::test_a_retrained_model_keeps_the_names"],
    ),
    Mutation(
        "labels of an earlier run stay beside the new ones",
        "outputs/label_table.py",
        "return [index for index, name in enumerate(layout.columns) if name not in replaced]",
        "return list(range(len(layout.columns)))",
        ["commands/test_cli_infer.py::test_columns_of_our_names_are_replaced_with_a_note"],
    ),
    # --- data and files
    Mutation(
        "columns are divided by their variance",
        "data/series_data.py",
        "np.sqrt(self._squares / np.maximum(self.observed, 1))",
        "self._squares / np.maximum(self.observed, 1)",
        ["data/test_series_data.py::test_mean_and_scale_are_stable_far_from_zero"],
    ),
    Mutation(
        "--max-gap breaks nothing",
        "data/steps.py",
        "np.where(rows > self.max_gap, 0, rows)",
        "rows",
        ["data/test_series_data.py::test_holes_and_breaks_in_a_jittered_clock"],
    ),
    Mutation(
        "lags look across a break",
        "data/lagged_rows.py",
        "breaks = np.where(steps != 1, np.arange(first, stop), first)",
        "breaks = np.full(stop - first, first)",
        ["data/test_lagged_rows.py::test_a_row_is_usable_only_with_all_its_lags_in_one_stretch"],
    ),
    Mutation(
        "infinite cells are taken",
        "files/validation.py",
        "infinite = magnitude > LARGEST",
        "infinite = magnitude > np.inf",
        ["files/test_series_reader.py::test_a_bad_file_is_an_error_of_one_line"],
    ),
    Mutation(
        "messages count rows from zero",
        "files/row_blocks.py",
        'return lambda row: f"{name}: row {first_row + row + 1}"',
        'return lambda row: f"{name}: row {first_row + row}"',
        ["files/test_series_reader.py::test_a_bad_file_is_an_error_of_one_line"],
    ),
    Mutation(
        "a finished file keeps its temporary name",
        "files/atomic.py",
        "os.replace(temporary, target)",
        "pass",
        ["files/test_table_writer.py::test_compressed_csv_has_the_same_bytes_each_time"],
    ),
    Mutation(
        "a failed run leaves what it wrote",
        "files/atomic.py",
        'temporary = target.with_name(f".{target.name}.part")',
        "temporary = target",
        ["files/test_table_writer.py::test_a_failed_run_leaves_the_old_file"],
    ),
    Mutation(
        "a model may hold NaN",
        "files/tensor_file.py",
        "if not bool(torch.isfinite(tensor).all()):",
        "if False:",
        ["test_checkpoint.py::test_damaged_models_are_rejected_in_one_line"],
    ),
    Mutation(
        "messages count rows from the start of their block",
        "files/row_blocks.py",
        "row += rows.num_rows",
        "row = rows.num_rows",
        ["files/test_series_reader.py::test_text_far_below_the_first_block_is_named_by_its_row"],
    ),
    Mutation(
        "a counter is a channel",
        "recognition/column_reasons.py",
        "if (names.is_counter(name) or names.is_position(name)) and counts(facts.order):",
        "if False:",
        ["odd/test_odd.py::test_a_file_is_read_as_it_is_meant_or_refused"],
    ),
    Mutation(
        "two clocks are no doubt",
        "recognition/time_choice.py",
        "if len(likely) > 1 and not _are_ranges(likely, facts):",
        "if False:",
        ["odd/test_odd.py::test_a_file_is_read_as_it_is_meant_or_refused"],
    ),
    Mutation(
        "ranges end where they like",
        "recognition/time_choice.py",
        "return bool((begins < ends).all() and (ends[:-1] <= begins[1:]).all())",
        "return bool((begins < ends).all())",
        ["odd/test_odd.py::test_a_file_is_read_as_it_is_meant_or_refused"],
    ),
    Mutation(
        "what a line has tells lines apart",
        "recognition/names.py",
        "return is_numbered or found[-1] in kinds or",
        "return bool(kinds & set(found)) or",
        ["odd/test_odd.py::test_a_file_is_read_as_it_is_meant_or_refused"],
    ),
    Mutation(
        "a countdown is a channel",
        "recognition/column_reasons.py",
        "if facts.order is not None and is_ramp(-facts.order):",
        "if False:",
        ["odd/test_odd.py::test_a_file_is_read_as_it_is_meant_or_refused"],
    ),
    Mutation(
        "a header stands anywhere above the rows",
        "recognition/text_layout.py",
        "while start and is_words[start - 1] and (start == stop or not records[start].is_behind_gap):",
        "while start and is_words[start - 1]:",
        ["odd/test_odd.py::test_a_file_is_read_as_it_is_meant_or_refused"],
    ),
    Mutation(
        "another table above is a preamble",
        "recognition/text_layout.py",
        "or any(is_table) or num_rows > 1 or",
        "or",
        ["odd/test_odd.py::test_a_file_is_read_as_it_is_meant_or_refused"],
    ),
    Mutation(
        "a row of units is a row",
        "recognition/text_layout.py",
        "units = len(words) - 1 if words.start == 0 else 0",
        "units = 0",
        ["odd/test_odd.py::test_a_file_is_read_as_it_is_meant_or_refused"],
    ),
    Mutation(
        "the hour that comes twice is one hour",
        "files/time_column.py",
        "is_second = is_double & (count > earlier)",
        "is_second = is_double & False",
        ["odd/test_odd.py::test_a_file_is_read_as_it_is_meant_or_refused"],
    ),
    Mutation(
        "jitter is holes",
        "data/series_data.py",
        "        if period is not None:",
        "        if False:",
        ["data/test_jitter.py::test_a_file_of_jittered_stamps_loses_no_lags"],
    ),
    Mutation(
        "an output may be an input",
        "files/atomic.py",
        'if path != "-" and _identity(path) in read:',
        "if False:",
        ["commands/test_reading.py::test_an_output_is_never_an_input"],
    ),
    Mutation(
        "a model forgets how its file was read",
        "inference/apply.py",
        'config.reading_as(training.get("reading", {}))',
        "config.reading_as({})",
        ["commands/test_reading.py::test_a_model_remembers_how_its_file_was_read"],
    ),
    Mutation(
        "the farthest change is a mean over series",
        "metrics/change_points.py",
        "farthest = max(farthest, scores.hausdorff)",
        "farthest += scores.hausdorff * (stop - start) / num_rows",
        ["metrics/test_change_points.py::test_change_scores_of_series_are_pooled_by_rows"],
    ),
    Mutation(
        "NA is no missing value",
        "files/cells.py",
        "for prepare in (_unchanged, _without_missing, _bare):",
        "for prepare in (_unchanged,):",
        ["files/test_missing_values.py::test_words_that_mean_missing_are_missing"],
    ),
    Mutation(
        "a number given as missing counts",
        "files/cells.py",
        "values = np.where(np.isin(values, form.missing_numbers), np.nan, values)",
        "pass",
        ["files/test_missing_values.py::test_given_values_are_missing_however_they_are_written"],
    ),
    Mutation(
        "a decimal comma is none",
        "files/cells.py",
        'text = pc.replace_substring(text, form.decimal, ".")',
        "pass",
        ["files/test_series_reader.py::test_odd_file_holds_the_same_three_rows"],
    ),
    Mutation(
        "a time that repeats is taken",
        "files/validation.py",
        "(elapsed <= 0) |",
        "(elapsed < 0) |",
        ["files/test_series_reader.py::test_a_bad_file_is_an_error_of_one_line"],
    ),
    Mutation(
        "two runs write one file at once",
        "files/atomic.py",
        "fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        [
            "commands/test_whole_files.py::test_of_two_runs_with_one_target_the_second_is_rejected_and_the_first_wins_whole"
        ],
    ),
    Mutation(
        "an output may be the input",
        "files/atomic.py",
        """f"the input '{path}'" for path in inputs if""",
        """f"the input '{path}'" for path in () if""",
        ["commands/test_cli_train.py::test_outputs_never_overwrite_an_input_or_one_another"],
    ),
    Mutation(
        "a byte order mark is part of the first name",
        "files/inputs.py",
        'head.decode("utf-8-sig")',
        'head.decode("utf-8")',
        ["files/test_series_reader.py::test_odd_file_holds_the_same_three_rows"],
    ),
    Mutation(
        "a compressed file holds the time",
        "files/table_writer.py",
        "mtime=0",
        "mtime=None",
        ["files/test_table_writer.py::test_compressed_csv_has_the_same_bytes_each_time"],
    ),
    Mutation(
        "the first problem that was found is named, not that of the first row",
        "files/validation.py",
        "min(problems)",
        "problems[0]",
        ["files/test_series_reader.py::test_the_first_row_that_cannot_be_used_is_named_whatever_its_column"],
    ),
    Mutation(
        "NaN is a time",
        "files/time_column.py",
        "nan_is_null=True",
        "nan_is_null=False",
        ["files/test_series_reader.py::test_a_time_that_is_nan_is_empty"],
    ),
    Mutation(
        "a model file may announce a header of any size",
        "files/tensor_file.py",
        "if announced > min(_LARGEST_HEADER, nbytes):",
        "if False:",
        ["test_checkpoint.py::test_nested_and_huge_headers_are_rejected_unread"],
    ),
    Mutation(
        "an upload that is cut becomes the result",
        "system/storage.py",
        "if arrived != sent:",
        "if False:",
        ["system/test_storage.py::test_an_upload_that_is_cut_publishes_nothing"],
    ),
    Mutation(
        "an upload that fails stays under its temporary name",
        "system/storage.py",
        "            system.delete_file(temporary)",
        "            pass",
        ["system/test_storage.py::test_a_block_that_fails_leaves_the_old_file_alone"],
    ),
    Mutation(
        "a download that is cut is the file",
        "system/storage.py",
        "if target.tell() != source.size():",
        "if False:",
        ["system/test_storage.py::test_a_download_that_is_cut_is_an_error"],
    ),
    Mutation(
        "a folder of results is complete before its files are",
        "cluster/outcomes.py",
        "if not self.failures and not self.earlier.failed_before:",
        "if True:",
        ["system/test_storage.py::test_a_folder_of_results_ends_with_success"],
    ),
    Mutation(
        "two outputs may be one file",
        "files/atomic.py",
        "if other != option:",
        "if False:",
        ["files/test_table_writer.py::test_outputs_that_are_one_file_or_an_input_are_errors_however_they_are_written"],
    ),
    # --- metrics
    Mutation(
        "change points must meet exactly on one side",
        "metrics/change_points.py",
        'latest = np.searchsorted(more, fewer + tolerance, side="right").tolist()',
        'latest = np.searchsorted(more, fewer, side="right").tolist()',
        ["metrics/test_change_points.py::test_change_scores_equal_the_largest_matching"],
    ),
    Mutation(
        "labels are matched badly",
        "metrics/partition.py",
        "linear_sum_assignment(utility, maximize=True)",
        "linear_sum_assignment(utility, maximize=False)",
        ["metrics/test_partition.py::test_accuracy_equals_the_best_of_all_matchings"],
    ),
    Mutation(
        "the ARI is not adjusted for chance",
        "metrics/partition.py",
        "ratio = (together * pairs - chance) /",
        "ratio = (together * pairs) /",
        ["metrics/test_partition.py::test_partition_scores_equal_the_formulas_on_counts"],
    ),
    Mutation(
        "a segment goes on from series to series",
        "metrics/label_counts.py",
        "begins = np.diff(columns[2], prepend=self._last[2]) != 0",
        "begins = np.zeros(len(columns[2]), np.bool_)",
        ["metrics/test_label_counts.py::test_rows_without_a_true_label_close_up"],
    ),
    Mutation(
        "each of several files begins the list of segments anew",
        "outputs/label_table.py",
        "if self._segments is None:",
        "if True:",
        ["commands/test_segment_many.py::test_a_series_goes_on_in_the_next_file"],
    ),
    # --- pictures
    Mutation(
        "a column of a picture shows its first row alone",
        "plotting/downsampling.py",
        "np.fmin.reduceat(self.low, starts)",
        "self.low[starts]",
        ["plotting/test_artists.py::test_columns_keep_every_extreme_and_lose_no_row"],
    ),
    Mutation(
        "a picture keeps all rows in memory",
        "plotting/downsampling.py",
        "while len(waiting) >= _BLOCK_ROWS:",
        "while False:",
        ["commands/test_cli_plot.py::test_a_spike_in_a_million_rows_is_drawn"],
    ),
    Mutation(
        "each series numbers its segments from zero",
        "plotting/plot_data.py",
        "first_segment = self.segments + int(np.searchsorted(begun, start))",
        "first_segment = 0",
        ["commands/test_cli_plot.py::test_each_of_several_series_has_its_panel_and_its_segments"],
    ),
    Mutation(
        "the picture of several files names none of them",
        "plotting/plot_data.py",
        "file or self.name",
        "self.name",
        ["commands/test_segment_many.py::test_the_picture_names_each_file"],
    ),
    Mutation(
        "channels that never change are not drawn",
        "plotting/plot_data.py",
        "values, steps = data.read_all(",
        "values, steps = data.read(",
        ["plotting/test_plot_data.py::test_rows_in_hand_draw_the_same_bytes_as_the_file"],
    ),
    # --- commands and command line
    Mutation(
        "a long step is silent",
        "cli/terminal.py",
        "            self._print_state(time.monotonic())\n",
        "            pass\n",
        ["cli/test_terminal.py::test_work_that_does_not_report_is_not_silent"],
    ),
    Mutation(
        "--skip-existing is ignored",
        "cluster/outcomes.py",
        "skip_existing and self.is_over(target)",
        "False",
        ["commands/test_cli_infer.py::test_several_files_go_to_a_folder"],
    ),
    Mutation(
        "rows that one model alone can score count in a comparison",
        "commands/compare.py",
        "~np.isnan(one.log_likelihood) & ~np.isnan(two.log_likelihood)",
        "~np.isnan(one.log_likelihood)",
        ["commands/test_cli_compare.py::test_figures_are_those_of_the_labels_that_infer_writes"],
    ),
    Mutation(
        "a regime of B without a match is left out of a comparison",
        "commands/compare.py",
        "*((-1, int(column)) for column in lone)",
        "*((-1, int(column)) for column in lone[:0])",
        ["commands/test_cli_compare.py::test_figures_are_those_of_the_labels_that_infer_writes"],
    ),
    Mutation(
        "a comparison reads the rows as model A does, whatever model B remembers",
        "commands/compare.py",
        "if is_same:",
        "if True:",
        ["commands/test_cli_compare.py::test_rows_are_read_once_where_both_models_read_them_alike"],
    ),
    Mutation(
        "numbers become dates in a list of segments",
        "outputs/segment_list.py",
        "pa.types.is_null(own) or [test(own)",
        "True or [test(own)",
        ["commands/test_cli_fleet.py::test_files_of_other_types_of_time_need_a_list_of_text"],
    ),
    Mutation(
        "a list of segments mixes those of other columns",
        "outputs/segment_list.py",
        "if columns is None or table.column_names == columns:",
        "if True:",
        ["commands/test_cli_fleet.py::test_a_list_of_other_columns_is_not_mixed"],
    ),
    Mutation(
        "the segments that workers find are dropped",
        "cluster/labelling.py",
        "                    release(result.segments, segments)\n",
        "                    pass\n",
        ["commands/test_cli_fleet.py::test_workers_give_the_same_list_and_the_same_figures"],
    ),
    Mutation(
        "a summary may lie among the inputs of the next run",
        "commands/infer.py",
        "if would_be_read(path, inputs):",
        "if False:",
        ["commands/test_cli_fleet.py::test_a_table_that_replaces_something_is_rejected"],
    ),
    Mutation(
        "the counts of a file that fails late stay in those of the run",
        "cluster/whole_files.py",
        "folder, totals = scratch_folder(output), self.outcomes.file_totals()",
        "folder, totals = scratch_folder(output), self.outcomes.totals",
        ["commands/test_cli_fleet.py::test_a_file_that_fails_late_has_no_segments_and_counts_nowhere"],
    ),
    Mutation(
        "the file of a segment that goes on is that in which it ends",
        "outputs/segment_table.py",
        'for name in ("first", "start_time", "begins", _FILE):',
        'for name in ("first", "start_time", "begins"):',
        ["commands/test_segment_many.py::test_a_series_goes_on_in_the_next_file"],
    ),
    Mutation(
        "the list of what moved has every stretch of rows",
        "outputs/moved_rows.py",
        'table = table.filter(pc.is_in(table["regime"], codes))',
        "pass",
        ["commands/test_cli_compare.py::test_the_stretches_that_moved_are_listed"],
    ),
    Mutation(
        "a dry run forgets the scratch space of novelty",
        "inference/posterior.py",
        "NOVELTY_BYTES * (novelty or unknown)",
        "0",
        ["commands/test_cli_novelty.py::test_a_dry_run_counts_the_scratch_space_of_novelty"],
    ),
    Mutation(
        "segments of a file are listed before its output is there",
        "outputs/segment_list.py",
        "        yield held\n        held.close()\n",
        "        try:\n            yield held\n        finally:\n            held.close()\n            file.seek(0)\n"
        "            release(file, target)\n        return\n",
        ["commands/test_cli_fleet.py::test_a_file_that_fails_late_has_no_segments_and_counts_nowhere"],
    ),
    Mutation(
        "a list of segments that is older than an output speaks for it",
        "outputs/earlier_outputs.py",
        "return (modified(table) or 0.0) >= (modified(_written(target)) or 0.0)",
        "return True",
        ["commands/test_cli_fleet.py::test_what_an_earlier_table_cannot_know_is_said"],
    ),
    Mutation(
        "figures of skipped files are forgotten",
        "outputs/file_records.py",
        "if known is not None and known.rows is not None:",
        "if False:",
        ["commands/test_cli_fleet.py::test_files_left_as_they_are_keep_segments_and_figures"],
    ),
    Mutation(
        "segments of skipped files are forgotten",
        "outputs/segment_list.py",
        "        if known:\n",
        "        if False:\n",
        ["commands/test_cli_fleet.py::test_files_left_as_they_are_keep_segments_and_figures"],
    ),
    Mutation(
        "the first novel row of a part is counted from the start of the table",
        "outputs/label_table.py",
        "self._row - begin)",
        "self._row)",
        ["commands/test_cli_fleet.py::test_parts_of_one_table_have_figures_of_their_own"],
    ),
    Mutation(
        "a dry run adds up scratch space that is used in turn",
        "commands/dry_run.py",
        "scratch_bytes=max((table.scratch_bytes for table in plans), default=0)",
        "scratch_bytes=sum(table.scratch_bytes for table in plans)",
        ["commands/test_cli_many.py::test_dry_run_names_each_bad_file_as_the_run_would"],
    ),
    Mutation(
        "a gate below which a distance should stay is one above",
        "commands/evaluate.py",
        'SMALLER_IS_BETTER = ("hausdorff",)',
        "SMALLER_IS_BETTER = ()",
        ["commands/test_cli_evaluate.py::test_gates"],
    ),
    Mutation(
        "an undefined figure meets its gate",
        "commands/gates.py",
        "if value is None:\n        return f",
        "if value is None:\n        return None and f",
        ["commands/test_batch.py::test_a_gate_is_missed_after_the_result_is_written"],
    ),
    Mutation(
        "durations are in rows",
        "commands/inspect.py",
        "None if step is None else dwell[k] * step",
        "None if step is None else dwell[k]",
        ["commands/test_cli_inspect.py::test_the_time_step_makes_dwells_durations"],
    ),
    Mutation(
        "--init is ignored",
        "commands/train.py",
        "older = load(config.init) if config.init else None",
        "older = None",
        ["commands/test_cli_train.py::test_init_starts_from_an_older_model"],
    ),
    Mutation(
        "--align-to is ignored",
        "commands/train.py",
        "reference = load(config.align_to) if config.align_to else None",
        "reference = None",
        ["commands/test_cli_train.py::test_align_to_keeps_the_numbers_of_an_older_model"],
    ),
    Mutation(
        "regimes are not numbered by share",
        "training/numbering.py",
        "return order[np.lexsort((first[order], groups))]",
        "return np.arange(len(order))",
        ["training/test_numbering.py::test_regimes_are_ordered_by_share_and_by_first_appearance"],
    ),
    Mutation(
        "a missed gate is status 0",
        "cli/app.py",
        "raise typer.Exit(1 if failures else 3)",
        "raise typer.Exit(1 if failures else 0)",
        ["commands/test_batch.py::test_a_gate_is_missed_after_the_result_is_written"],
    ),
    Mutation(
        "a gate is met by what falls short",
        "commands/gates.py",
        "if excess <= 0:",
        "if excess <= 1:",
        ["commands/test_cli_evaluate.py::test_gates"],
    ),
    Mutation(
        "JSON holds NaN",
        "cli/formatting.py",
        "return value if math.isfinite(value) else None",
        "return value",
        ["cli/test_report.py::test_json_is_one_object_without_nan"],
    ),
)


def mutated(mutation: Mutation, text: str) -> str:
    """The module's text with the mistake in it; ValueError where the old text does not occur exactly once."""
    count = text.count(mutation.old)
    if count != 1:
        raise ValueError(f"{mutation.module}: {count} times, not once: {mutation.old}")
    return text.replace(mutation.old, mutation.new)


def copied(folder: str, mutation: Mutation | None = None) -> None:
    """Copy the package into a folder, with a mistake in one module or with none."""
    shutil.copytree(ROOT / PACKAGE, Path(folder) / PACKAGE)
    if mutation is not None:
        module = Path(folder) / PACKAGE / mutation.module
        module.write_text(mutated(mutation, module.read_text()))


def outcome(folder: str, tests: Sequence[str]) -> tuple[int, str]:
    """Run tests with the package of a folder: pytest's exit status (-1: out of time), and what it printed."""
    env = os.environ | {"PYTHONPATH": folder, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    location = f"from importlib.util import find_spec; print(find_spec({PACKAGE!r}).origin)"
    origin = subprocess.run([sys.executable, "-P", "-c", location], env=env, check=True, capture_output=True, text=True)
    assert origin.stdout.startswith(folder), origin.stdout
    options = ["-m", "", "-x", "-q", "--no-header", "--tb=line"]  # slow tests as well
    options += ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov"]
    command = [sys.executable, "-P", "-m", "pytest", *options, *(f"tests/{test}" for test in tests)]
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return -1, f"no answer in {SECONDS} seconds"
    return done.returncode, done.stdout + done.stderr


def verdict(mutation: Mutation) -> tuple[str, str]:
    """Judge a mutation: "killed", "survived" or "not judged"; and why."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            copied(folder, mutation)
        except ValueError as problem:
            return "not judged", str(problem)
        status, text = outcome(folder, mutation.tests)
    if status == FAILED:
        return "killed", next((line for line in text.splitlines() if re.match("(FAILED|ERROR) ", line)), "")
    return ("survived", "") if status == PASSED else ("not judged", text.strip())


def judged(mutation: Mutation) -> bool:
    """Print the verdict on a mutation; whether it was killed."""
    started = time.perf_counter()
    word, reason = verdict(mutation)
    print(f"{word:10} {time.perf_counter() - started:5.1f} s  {mutation.mistake} ({mutation.module})", flush=True)
    if word == "not judged":
        print(reason, flush=True)
    return word == "killed"


def main(arguments: Sequence[str]) -> int:
    """Judge all mutations, or those whose mistake or module holds one of the words; the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    parser.add_argument("--within", type=float, default=float("inf"), help="seconds after which no other is begun")
    options = parser.parse_args(arguments)
    words, end = options.words, time.perf_counter() + options.within
    chosen = [one for one in MUTATIONS if not words or any(word in f"{one.mistake} {one.module}" for word in words)]
    tests = sorted({test for mutation in chosen for test in mutation.tests})
    with tempfile.TemporaryDirectory() as folder:
        copied(folder)
        status, text = outcome(folder, tests)
    if status != PASSED:
        print(f"the tests fail without any mutation\n{text}")
        return 1
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2) as workers:
        verdicts = list(workers.map(lambda one: judged(one) if time.perf_counter() < end else None, chosen))
    left = verdicts.count(None)
    print(f"{verdicts.count(True)} of {len(chosen) - left} killed, {left} left for lack of time")
    return 1 if False in verdicts else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
