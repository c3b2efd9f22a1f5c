"""Every input row comes back from `infer`, in order, with its own cells unchanged."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ODD = Path(__file__).parent / "odd"
OPTIONS = {
    "semicolons.csv": ("--delimiter", ";"),
    "decimal_comma.csv": ("--decimal", ","),
}
DELIMITERS = {"semicolons.csv": ";", "decimal_comma.csv": ";", "tabs.tsv": "\t"}


def replaced(name):
    return name in ("regime", "log_likelihood") or name.startswith("prob_")


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    from gmvae_cli.commands.simulate import simulate
    from gmvae_cli.config import SimulateConfig
    from gmvae_cli.system.progress import silent

    folder = tmp_path_factory.mktemp("truth")
    simulate(str(folder / "a.csv"), SimulateConfig(steps=10), str(folder / "truth.safetensors"), silent)
    return folder / "truth.safetensors"


def text_rows(path, delimiter=","):
    """Cells as text, header first; lines without any are no rows."""
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as stream:
        return [row for row in csv.reader(stream, delimiter=delimiter) if row]


def read(path):
    """Also where names repeat, which `read_table` does not take."""
    return pq.ParquetFile(path).read()


def assert_rows_come_back(before, after):
    kept = [index for index, name in enumerate(before[0]) if not replaced(name)]
    assert len(after) == len(before)
    for row, again in zip(before, after, strict=True):
        assert again[: len(kept)] == [row[index] for index in kept]
    assert after[0][len(kept) :] == ["regime", "prob_0", "prob_1", "prob_2", "log_likelihood"]


def assert_table_comes_back(before, after):
    kept = [index for index, name in enumerate(before.column_names) if not replaced(name)]
    assert after.select(range(len(kept))).equals(before.select(kept))
    assert [after.field(index).type for index in range(len(kept))] == [before.field(index).type for index in kept]
    assert (before.schema.metadata or {}).items() <= (after.schema.metadata or {}).items()
    assert after.num_columns == len(kept) + 5


@pytest.mark.parametrize("name", sorted(path.name for path in ODD.iterdir()))
def test_cells_of_an_odd_file_come_back(run, tmp_path, truth, name):
    out = tmp_path / name
    result = run("infer", ODD / name, "--model", truth, "--output", out, "--quiet", *OPTIONS.get(name, ()))
    assert result.exit_code == 0, result.output
    if name.endswith(".parquet"):
        assert_table_comes_back(read(ODD / name), read(out))
    else:
        delimiter = DELIMITERS.get(name, ",")
        assert_rows_come_back(text_rows(ODD / name, delimiter), text_rows(out, delimiter))


CELLS = st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n"), max_size=6)


@st.composite
def tables(draw):
    """Two channels with missing cells among other columns of many types, in any order."""
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))

    def with_nulls(values, kind):
        return pa.array(
            [None if empty else value for value, empty in zip(values, rng.random(n) < 0.2, strict=True)], kind
        )

    columns = {
        "x0": with_nulls(rng.normal(size=n).tolist(), draw(st.sampled_from([pa.float32(), pa.float64()]))),
        "x1": with_nulls(rng.integers(-9, 9, n).tolist(), draw(st.sampled_from([pa.int8(), pa.int64(), pa.float64()]))),
        "note": with_nulls(draw(st.lists(CELLS, min_size=n, max_size=n)), pa.string()),
        "flag": with_nulls((rng.random(n) < 0.5).tolist(), pa.bool_()),
        "day": with_nulls(rng.integers(0, 20_000, n).tolist(), pa.int32()).cast(pa.date32()),
        "at": with_nulls(rng.integers(0, 10**12, n).tolist(), pa.int64()).cast(pa.timestamp("ms", "Europe/Rome")),
    }
    names = draw(st.permutations(list(columns)))
    return pa.table({name: columns[name] for name in names}).replace_schema_metadata({"made": "by a test"})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables(), st.integers(1, 50))
def test_rows_of_any_table_come_back(run, tmp_path, truth, table, block_rows):
    from gmvae_cli.inference import apply

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apply, "BLOCK_ROWS", block_rows)
        patch.setitem(apply.infer.__kwdefaults__, "block_rows", block_rows)
        source, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
        pq.write_table(table, source)
        result = run("infer", source, "--model", truth, "--output", out, "--quiet")
        assert result.exit_code == 0, result.output
        assert_table_comes_back(read(source), read(out))
        again, last = tmp_path / "in.csv", tmp_path / "out.csv"
        result = run("infer", source, "--model", truth, "--output", again, "--quiet")
        assert result.exit_code == 0, result.output
        result = run("infer", again, "--model", truth, "--output", last, "--quiet", "--channels", "x0,x1")
        assert result.exit_code == 0, result.output
        assert_rows_come_back(text_rows(again), text_rows(last))
