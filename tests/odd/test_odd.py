"""Every file of `cases` and `exports` is read as it says, or refused in one line that helps."""

import pytest
from cases import CASES as KINDS
from cases import Refused
from exports import CASES as EXPORTS

from gmvae_cli.config import SeriesConfig
from gmvae_cli.errors import GmvaeError
from gmvae_cli.files.series_reader import open_series

CASES = KINDS | EXPORTS


def test_there_are_cases_enough():
    assert len(CASES) == len(KINDS) + len(EXPORTS) >= 120


@pytest.mark.parametrize("name", CASES)
def test_a_file_is_read_as_it_is_meant_or_refused(tmp_path, name):
    case = CASES[name]
    path = tmp_path / f"file{case.suffix}"
    path.write_bytes(case.content)
    expected = case.expected
    if isinstance(expected, Refused):
        with pytest.raises(GmvaeError) as refusal:
            open_series([str(path)], SeriesConfig(**case.options)).read_data()
        line = str(refusal.value)
        assert "\n" not in line
        assert all(word in line for word in expected.words), line
        return
    reader = open_series([str(path)], SeriesConfig(**case.options))
    with reader.read_data() as data:
        found = reader.layout.time, data.channels, data.rows, int(data.missing.sum()), data.holes, data.num_series
        wanted = expected.time, expected.channels, expected.rows, expected.missing, expected.holes, expected.series
        assert (*found, data.breaks) == (*wanted, expected.breaks), data.notes
        if expected.step is not None:
            assert data.step == pytest.approx(expected.step, rel=1e-3)
        if expected.unit is not None:
            assert data.time_unit == expected.unit
        assert set(expected.notes) <= {code for code, _ in data.notes}, data.notes
