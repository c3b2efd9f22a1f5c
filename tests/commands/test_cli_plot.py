import json
import re
import time

import numpy as np
import pandas as pd
import pytest

from gmvae_cli.config import SeriesConfig
from gmvae_cli.plotting import figure, labelled_file, plot_data
from gmvae_cli.plotting.downsampling import Columns
from gmvae_cli.system.progress import silent


@pytest.fixture
def inferred(run, tmp_path):
    """A labelled file: `inferred(*options of simulate)`, its path and that of its segments."""

    def inferred(*options):
        path, truth = tmp_path / "drawn.csv", tmp_path / "truth.safetensors"
        out, listed = tmp_path / "labelled.csv", tmp_path / "segments.csv"
        assert run("simulate", path, "--truth", truth, "--dwell", "20", *options).exit_code == 0
        assert run("infer", path, "--model", truth, "--output", out, "--segments", listed).exit_code == 0
        return out, pd.read_csv(listed)

    return inferred


def drawn(path, **files):
    """The picture of a file, before it is written."""
    return figure.draw(labelled_file.read(str(path), SeriesConfig(**files), silent))


def shaded(axes):
    """(regime, start, stop) of every shaded stretch, in order."""
    found = []
    for collection in axes.collections:
        if re.fullmatch(r"regime \d+", collection.get_gid() or ""):
            regime = int(collection.get_gid().split()[1])
            for path in collection.get_paths():
                found.append((regime, path.vertices[:, 0].min(), path.vertices[:, 0].max()))
    return sorted(found, key=lambda span: span[1])


@pytest.mark.parametrize("regimes", [1, 3, 8])
def test_shaded_spans_equal_the_segments(inferred, regimes):
    path, segments = inferred("--steps", "900", "--regimes", regimes)
    channels = drawn(path).axes[1:-1]
    expected = list(zip(segments["regime"], segments["start"], segments["stop"], strict=True))
    for axes in channels:
        assert shaded(axes) == expected
    numbers = [int(text.get_text()) for text in channels[0].texts]
    assert set(numbers) <= set(segments["segment"])
    wide = segments["rows"] > 30
    assert set(segments["segment"][wide]) <= set(numbers)


def test_spans_stand_at_dates(tmp_path):
    """Quarters, and a label that changes once."""
    dates = pd.date_range("2020-01-01", periods=8, freq="D")
    table = pd.DataFrame({"date": dates, "x": np.arange(8.0), "regime": [0] * 3 + [1] * 5})
    table.to_csv(tmp_path / "dates.csv", index=False)
    axes = drawn(tmp_path / "dates.csv").axes
    days = (dates - pd.Timestamp("1970-01-01")).days.to_numpy()
    assert shaded(axes[0]) == [(0, days[0], days[3]), (1, days[3], days[7] + 1)]
    labels = [label.get_text() for label in axes[-1].get_xticklabels()]
    assert len(labels) > 2
    axes[0].figure.draw_without_rendering()
    assert any("02" in label.get_text() or "Jan" in label.get_text() for label in axes[-1].get_xticklabels())


def test_each_of_several_series_has_its_panel_and_its_segments(inferred):
    path, segments = inferred("--steps", "200", "--series", "3", "--channels", "4")
    axes = drawn(path).axes
    assert len(axes) == 3 * 3  # truth, channels, probabilities
    for series, panel in enumerate(axes[1::3]):
        mine = segments[segments["series"] == series]
        assert shaded(panel) == list(zip(mine["regime"], mine["start"], mine["stop"], strict=True))
        assert {int(text.get_text()) for text in panel.texts} <= set(mine["segment"])
        assert [label.get_text() for label in panel.get_yticklabels()] == ["x0", "x1", "x2", "x3"]
    assert [panel.get_title(loc="left") for panel in axes[::3]] == ["series 0", "series 1", "series 2"]


def test_more_than_twelve_series_or_channels_are_said(run, inferred):
    path, _ = inferred("--steps", "30", "--series", "14", "--channels", "13")
    out = path.with_suffix(".png")
    result = run("plot", path, "--output", out, "--json")
    figures = json.loads(result.stdout)
    assert (figures["series"], figures["series_drawn"], len(figures["channels"])) == (14, 12, 12)
    assert {warning["code"] for warning in figures["warnings"]} == {"many_series", "many_channels"}
    assert "holds 14 series; the first 12 are drawn" in result.stderr
    assert "of 13 channels the first 12 are drawn; --channels names others" in result.stderr
    assert run("plot", path, "--output", out, "--json", "--quiet").stderr == ""


def test_truth_takes_the_colours_of_the_regimes_it_agrees_with(tmp_path):
    """Text labels, numbered otherwise, one cell empty, and one label that no regime stands for."""
    truth = ["walk"] * 4 + ["run"] * 4 + ["rest"] + [""]
    table = pd.DataFrame({"x": np.arange(10.0), "regime": [1] * 4 + [0] * 6, "true_regime": truth})
    table.to_csv(tmp_path / "a.csv", index=False)
    strip = drawn(tmp_path / "a.csv").axes[0]
    assert shaded(strip) == [(1, 0, 4), (0, 4, 8), (2, 8, 9)]


def test_missing_stretches_are_gaps(tmp_path):
    values = np.arange(10.0)
    values[4:6] = np.nan
    table = pd.DataFrame({"t": [*range(7), 20, 21, 22], "x": values, "regime": 0})
    table.to_csv(tmp_path / "a.csv", index=False)

    def pieces(**files):
        axes = drawn(tmp_path / "a.csv", **files).axes[0]
        known = np.isfinite(axes.lines[0].get_ydata())
        return int((np.diff(known.astype(int), prepend=0) == 1).sum()), len(shaded(axes))

    assert pieces() == (3, 2)  # cells missing, then rows missing: white where there are no rows
    assert pieces(regular=True) == (2, 1)


def test_probabilities_are_drawn_where_the_file_has_them(tmp_path):
    table = pd.DataFrame({"x": [1.0, 2], "regime": [0, 1], "prob_0": [0.75, 0.25], "prob_1": [0.25, 0.75]})
    table.to_csv(tmp_path / "a.csv", index=False)
    table[["x", "regime"]].to_csv(tmp_path / "b.csv", index=False)
    heights = {}
    for name in ("a", "b"):
        lower = drawn(tmp_path / f"{name}.csv").axes[-1]
        heights[name] = {float(y) for y in lower.collections[0].get_paths()[0].vertices[:, 1]}
    assert heights == {"a": {0, 0.25, 0.75}, "b": {0, 1}}


def test_labels_alone_are_drawn_as_steps(run, tmp_path):
    """What `infer --only-regimes` writes."""
    (tmp_path / "a.csv").write_text("t,regime\n0,0\n1,0\n2,1\n")
    result = run("plot", tmp_path / "a.csv", "--output", tmp_path / "a.svg", "--json")
    assert json.loads(result.stdout)["channels"] == ["regime"]
    assert shaded(drawn(tmp_path / "a.csv").axes[0]) == [(0, 0, 2), (1, 2, 3)]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_same_file_same_picture(run, inferred, suffix):
    path, _ = inferred("--steps", "100")
    pictures = []
    for name in ("a", "b"):
        out = path.with_name(f"{name}.{suffix}")
        assert run("plot", path, "--output", out).exit_code == 0
        pictures.append(out.read_bytes())
        time.sleep(1.1 if name == "a" and suffix == "pdf" else 0)
    assert pictures[0] == pictures[1]
    assert pictures[0].startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix])


@pytest.mark.parametrize("suffix", [".parquet", ".csv.gz", ".tsv"])
def test_formats_draw_the_same(run, inferred, suffix):
    path, _ = inferred("--steps", "100", "--missing", "0.1")
    table = pd.read_csv(path)
    other = path.with_name("labelled" + suffix)
    write = {".parquet": pd.DataFrame.to_parquet, ".tsv": lambda t, p, index: t.to_csv(p, sep="\t", index=index)}
    write.get(suffix, pd.DataFrame.to_csv)(table, other, index=False)
    assert shaded(drawn(path).axes[1]) == shaded(drawn(other).axes[1])


def test_names_are_no_mathematics_and_no_markup(run, tmp_path):
    (tmp_path / "a.csv").write_text("t,$x_1^$,_y,温度,regime\n0,1,2,3,0\n1,2,3,4,0\n")
    result = run("plot", tmp_path / "a.csv", "--output", tmp_path / "a.png")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "3: $x_1^$, _y, 温度" in result.stdout


def test_settings_of_the_user_change_nothing(run, inferred):
    import matplotlib

    path, _ = inferred("--steps", "60")
    run("plot", path, "--output", path.with_name("a.png"))
    with matplotlib.rc_context({"lines.linewidth": 9, "savefig.dpi": 30, "font.size": 20}):
        run("plot", path, "--output", path.with_name("b.png"))
        assert matplotlib.rcParams["lines.linewidth"] == 9
    assert path.with_name("a.png").read_bytes() == path.with_name("b.png").read_bytes()


def test_a_file_from_a_pipe(run, inferred):
    path, _ = inferred("--steps", "50")
    out = path.with_name("piped.png")
    assert run("plot", "-", "--output", out, stdin=path.read_text()).exit_code == 0
    assert out.stat().st_size > 1000


@pytest.mark.parametrize(
    ("content", "output", "status", "expected"),
    [
        pytest.param("t,x\n0,1\n", "a.png", 1, "no column 'regime'; give a file that infer wrote", id="no regime"),
        pytest.param("t,x,regime\n0,1,0\n1,1,\n", "a.png", 1, "row 2: column 'regime' is empty", id="empty regime"),
        pytest.param("t,x,regime\n0,1,0.5\n", "a.png", 1, "row 1: column 'regime' holds '0.5'; expected", id="half"),
        pytest.param("t,x,regime\n0,1,-2\n", "a.png", 1, "holds '-2'; expected a whole number from -1", id="negative"),
        pytest.param("t,x,regime\n0,1,b\n", "a.png", 1, "column 'regime' holds 'b', not a number", id="text"),
        pytest.param("t,x,regime\n0,1,0\n", "a.jpg", 2, "ends in none of .png, .svg, .pdf", id="format"),
        pytest.param("t,x,regime\n0,1,0\n", "no/a.png", 1, "cannot be written (there is no folder", id="folder"),
        pytest.param("t,x,regime\n0,1,0\n1,z,0\n2,3,0\n", "a.png", 1, "row 2: column 'x' holds 'z'", id="cell"),
        pytest.param("t,x,regime\n1,1,0\n0,1,0\n", "a.png", 1, "column 't' goes back from '1' to '0'", id="time"),
        pytest.param(None, "a.png", 1, "there is no such file", id="missing file"),
    ],
)
def test_failures_are_one_line_and_leave_the_old_picture(
    rejection, tmp_path, monkeypatch, content, output, status, expected
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_text("old")
    if content is not None:
        (tmp_path / "in.csv").write_text(content)
    before = sorted(tmp_path.iterdir())
    assert expected in rejection("plot", "in.csv", "--output", output, status=status)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "a.png").read_text() == "old"


@pytest.fixture
def work(monkeypatch):
    """Rows of each block that is taken in, and of each block whose columns are merged."""
    taken, merged = [], []
    add, merge = plot_data.PlotDataBuilder.add, Columns.merged
    monkeypatch.setattr(
        plot_data.PlotDataBuilder, "add", lambda self, *rows: (taken.append(len(rows[2])), add(self, *rows))[1]
    )
    monkeypatch.setattr(Columns, "merged", lambda self, starts: (merged.append(len(self)), merge(self, starts))[1])
    return taken, merged


def test_a_spike_in_a_million_rows_is_drawn(run, tmp_path, work):
    """Each row is worked on once, and the row that stands out and the visit that is shorter than a pixel are there."""
    rng = np.random.default_rng(0)
    n = 1_000_000
    x = rng.normal(size=n).astype(np.float32)
    x[[123_456, 777_777]] = 500, -400
    regime = np.zeros(n, np.int64)
    regime[600_000:600_100] = 1
    pd.DataFrame({"t": np.arange(n), "x": x, "regime": regime}).to_parquet(tmp_path / "big.parquet")
    assert run("plot", tmp_path / "big.parquet", "--output", tmp_path / "big.png").exit_code == 0
    taken, merged = work
    assert sum(taken) == n and max(taken) <= 1 << 16
    assert n <= sum(merged) <= 1.1 * n  # beside the rows only the columns of earlier blocks, and a picture's few
    assert max(merged) <= (1 << 16) + 4096
    axes = drawn(tmp_path / "big.parquet").axes[0]
    at, values = axes.lines[0].get_data()
    assert len(at) <= 2 * 4096
    assert (values.max(), values.min()) == (500, -400)
    assert abs(at[values.argmax()] - 123_456) < n / 2048
    assert shaded(axes) == [(0, 0, 600_000), (1, 600_000, 600_100), (0, 600_100, n)]


def test_a_regime_that_flickers_through_a_million_rows_keeps_its_share(tmp_path):
    """Too many segments to draw one by one: the most frequent regime of each column."""
    rng = np.random.default_rng(0)
    n = 300_000
    regime = np.where(np.arange(n) < n // 2, rng.random(n) < 0.1, rng.random(n) < 0.9).astype(int)
    pd.DataFrame({"x": rng.normal(size=n), "regime": regime}).to_parquet(tmp_path / "a.parquet")
    axes = drawn(tmp_path / "a.parquet").axes
    spans = shaded(axes[0])
    lengths = [sum(stop - start for regime, start, stop in spans if regime == k) for k in range(2)]
    assert lengths == pytest.approx([n / 2, n / 2], rel=0.02)
    assert spans[0][1] == 0
    assert spans[-1][2] == n
    assert [before[2] for before in spans[:-1]] == [after[1] for after in spans[1:]]


def test_options_reach_the_reader(run, tmp_path):
    (tmp_path / "a.csv").write_text("when;who;x;y;regime\n0;a;1,5;2;0\n1;a;2,5;3;0\n0;b;1;2;0\n")
    options = ("--time", "when", "--series", "who", "--channels", "y", "--delimiter", ";", "--decimal", ",")
    result = run("plot", tmp_path / "a.csv", "--output", tmp_path / "a.svg", *options, "--json")
    figures = json.loads(result.stdout)
    assert (figures["series"], figures["channels"], figures["regimes"], figures["segments"]) == (2, ["y"], 1, 2)


def test_a_ribbon_ends_infer_on_a_terminal_only(run, inferred, monkeypatch):
    from gmvae_cli.cli import report, terminal

    path, _ = inferred("--steps", "300")
    arguments = ("infer", path, "--model", path.with_name("truth.safetensors"), "--output", path.with_name("o.csv"))
    assert "ribbon" not in json.loads(run(*arguments, "--json").stdout)
    plain = run(*arguments).stdout
    assert "\x1b" not in plain
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(report, "plain", lambda stream: False)
    monkeypatch.setattr(terminal, "plain", lambda stream: False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = run(*arguments).stdout
    ribbon = [line for line in coloured.splitlines() if "\x1b[" in line and "48;" in line]
    assert len(ribbon) == 1
    assert len(re.sub(r"\x1b\[[0-9;]*m", "", ribbon[0])) == 80
    assert not [line for line in run(*arguments, "--quiet").stdout.splitlines() if "48;" in line]
