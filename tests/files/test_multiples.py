import numpy as np
import pyarrow as pa
import pytest

from gmvae_cli.files.cells import NumberFormat, numbers
from gmvae_cli.recognition.number_forms import different_units, multiples, number_form


@pytest.mark.parametrize(
    ("units", "factors"),
    [
        (["K", "M"], {"K": 1e3, "M": 1e6}),
        (["", "K"], {"K": 1e3}),
        (["K", "M", "B"], {"K": 1e3, "M": 1e6, "B": 1e9}),
        (["B", "kB", "MB"], {"B": 1, "kB": 1e3, "MB": 1e6}),
        (["kB", "MB"], {"kB": 1e3, "MB": 1e6}),
        (["MiB", "GiB"], {"MiB": 2.0**20, "GiB": 2.0**30}),
        (["Ki", "Gi"], {"Ki": 2.0**10, "Gi": 2.0**30}),
        (["ms", "s"], {"ms": 1e-3, "s": 1}),
        (["m", "mm"], {"m": 1, "mm": 1e-3}),
        (["", "V"], None),
        (["", "ms", "s"], None),
        (["m", "M"], None),
        (["min", "h"], None),
        (["s", "min"], None),
        (["B", "Mi"], None),
        (["psi", "bar"], None),
        ([""], None),
    ],
)
def test_units_are_multiples_of_one(units, factors):
    assert multiples(units) == factors


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["6.92K", "7.17M", "3K", "n/a"], [6920, 7.17e6, 3000, np.nan]),
        (["1384 MiB", "1.5 GiB"], [1384 * 2**20, 1.5 * 2**30]),
        (["12 ms", "1.2 s"], [0.012, 1.2]),
        (["512", "6.5K"], [512, 6500]),
        (["293 K", "294 K"], [293, 294]),
        (["(20.39)", "4", " (1)"], [-20.39, 4, -1]),
        (["($1,234.50)", "$3.00"], [-1234.5, 3]),
        (["(2K)", "3M"], [-2000, 3e6]),
    ],
)
def test_numbers_are_multiplied_and_negated(cells, values):
    form = number_form([cell for cell in cells if cell != "n/a"], NumberFormat())
    assert form is not None
    np.testing.assert_allclose(numbers(pa.array(cells), form), values, rtol=1e-15)


def test_units_that_differ_are_named():
    assert number_form(["1 psi", "2 bar"], NumberFormat()) is None
    assert different_units(["1 psi", "2 bar"]) == ["bar", "psi"]
    assert different_units(["idle", "busy"]) == []
