"""The intervals of forecasts hold as often as they say, at every step."""

import forecasts
import pytest
from recovery import truth_of

from gmvae_cli.config import ModelConfig


@pytest.mark.slow
def test_nine_rows_of_ten_lie_in_their_interval_at_every_step():
    (regimes, _, lags), process = list(zip(forecasts.KINDS, forecasts.processes(), strict=True))[1]
    checkpoint = truth_of(process, ModelConfig(regimes=regimes, lags=lags))
    inside, _ = forecasts.judged(forecasts.ahead_of(process, forecasts.SERIES), checkpoint)
    shares = inside.mean((0, 2))
    assert len(shares) == 20
    assert ((shares > 0.88) & (shares < 0.92)).all(), shares
