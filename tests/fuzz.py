"""Damaged models and series files, thousands of them: each gives a result without NaN, or one line and status 1 or 2.

`make fuzz` prints the figures; any failure ends it with status 1. A case fails by an exception, by more than one line,
by NaN in an output, after 5 seconds, or for want of memory: the process may take 1 GiB more than it has at the start.
"""

import argparse
import contextlib
import io
import json
import math
import resource
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import safetensors
import safetensors.torch
import torch
import typer
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from gmvae_cli import cli

SECONDS, NBYTES = 5, 1 << 30
FLOATS = [math.nan, math.inf, -math.inf, 0.0, -0.0, -1.0, 0.5, 1e-320, 1e-160, 1e160, 1e308, -1e308]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 2, 3, 7, 10**6, 2**63, 10**30, 0.5, 1e308, -0.0]),
    st.sampled_from(["", "x0", "markov", "iid", "shared", "nan", "\n", "\x1b[31m", "\0", "a" * 999]),
    st.just([]),
    st.just({}),
    st.lists(st.integers(-1, 3), max_size=3),
)
TOKENS = [
    b"",
    b"nan",
    b"NaN",
    b"inf",
    b"-inf",
    b"1e999",
    b"1e160",
    b"9" * 400,
    b"0x1",
    b"1,5",
    b"--1",
    b"1e",
    b"\xff\xfe",
]
TOKENS += [
    b"\xef\xbb\xbf",
    b"\0",
    b'"',
    b'""',
    b"\r",
    b"\n",
    b"\r\n",
    b",",
    b",,",
    b";",
    b"\t",
    b"#",
    b"2024-01-31",
    b"t",
]
TOKENS += [
    b"2024-13-01",
    b"31.01.2024",
    b"01/02/2024",
    b"now",
    b"1970-01-01T00:00:00Z",
    b"true",
    b"x0",
    b"regime",
    b"series",
    b"prob_0",
    b"=1+1",
    b" ",
    b"-",
]


class Hang(BaseException):
    """A case that takes too long; no `except Exception` holds it."""


@st.composite
def damaged_bytes(draw, content, tokens=(b"\0" * 8, b"\xff" * 8, b"{", b"}", b'"', b"PAR1")):
    """A few cuts, flips, repeats and insertions."""
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["flip", "cut", "insert", "replace", "repeat", "remove", "number"]))
        at = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.integers(0, 64))
        if kind == "flip":
            content = content[:at] + bytes([draw(st.integers(0, 255))]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "insert":
            content = content[:at] + draw(st.sampled_from(tokens)) + content[at:]
        elif kind == "replace":
            token = draw(st.sampled_from(tokens))
            content = content[:at] + token + content[at + len(token) :]
        elif kind == "repeat":
            content = content[:at] + content[at : at + length] * draw(st.integers(2, 50)) + content[at:]
        elif kind == "remove":
            content = content[:at] + content[at + length :]
        else:
            number = draw(st.sampled_from([0, 1, 255, 2**16, 2**31 - 1, 2**31, 2**40, 2**63, 2**64 - 1]))
            content = content[:at] + struct.pack("<Q", number) + content[at + 8 :]
    return content


@st.composite
def damaged_models(draw, content):
    """A file of another kind in the bytes, in the header, in the tensors; or an honest one with an odd number."""
    kind = draw(st.sampled_from(["bytes", "start", "header", "tensors"]))
    if kind == "bytes":
        return draw(damaged_bytes(content))
    if kind == "start":
        return draw(damaged_bytes(content[:400])) + content[400:]
    tensors = safetensors.torch.load(content)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["gmvae"])
    if kind == "header":
        place = header
        for _ in range(draw(st.integers(0, 2))):
            inner = [value for value in place.values() if isinstance(value, dict) and value]
            place = draw(st.sampled_from(inner)) if inner else place
        place[draw(st.sampled_from([*place, "new"]))] = draw(VALUES)
    else:
        name = draw(st.sampled_from(sorted(tensors)))
        tensor = tensors[name].clone()
        change = draw(st.sampled_from(["number", "all", "shape", "type", "gone", "other name"]))
        odd = torch.tensor(draw(st.sampled_from(FLOATS)), dtype=torch.float64).to(tensor.dtype)
        if change == "number":
            tensor.view(-1)[draw(st.integers(0, tensor.numel() - 1))] = odd
        elif change == "all":
            tensor = odd.expand(tensor.shape)
        elif change == "shape":
            rows = tensor if tensor.ndim else tensor[None]
            tensor = draw(
                st.sampled_from([tensor.reshape(-1), tensor[None], rows[:1], rows[:0], tensor.transpose(0, -1)])
            )
        elif change == "type":
            kinds = [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64]
            tensor = tensor.to(draw(st.sampled_from(kinds)))
        del tensors[name]
        if change != "gone":
            tensors[name if change != "other name" else "other"] = tensor.contiguous()
    return safetensors.torch.save(tensors, {"gmvae": json.dumps(header)})


@st.composite
def damaged_csv(draw, content):
    """Bytes and tokens anywhere, or cells, rows and columns of another kind."""
    if draw(st.booleans()):
        return draw(damaged_bytes(content, TOKENS))
    lines = [line.split(b",") for line in content.splitlines()]
    for _ in range(draw(st.integers(1, 5))):
        row, column = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, 3))
        change = draw(st.sampled_from(["cell", "column", "swap", "shorter", "longer", "empty"]))
        if change == "cell" and column < len(lines[row]):
            lines[row][column] = draw(st.sampled_from(TOKENS))
        elif change == "column":
            token = draw(st.sampled_from(TOKENS))
            lines = [[*line[:column], token, *line[column + 1 :]] for line in lines]
        elif change == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[row], lines[other] = lines[other], lines[row]
        elif change == "shorter":
            lines[row] = lines[row][:column]
        elif change == "longer":
            lines[row] = lines[row] * 2
        elif change == "empty":
            lines[row] = [b""]
    return draw(st.sampled_from([b"\n", b"\r\n", b"\r"])).join(b",".join(line) for line in lines)


KINDS = [pa.int8(), pa.uint64(), pa.int64(), pa.float16(), pa.float32(), pa.bool_(), pa.string(), pa.large_string()]
KINDS += [
    pa.binary(),
    pa.date32(),
    pa.timestamp("ns"),
    pa.timestamp("s", "Europe/Zurich"),
    pa.duration("s"),
    pa.time32("s"),
]
KINDS += [pa.decimal128(38, 3), pa.null(), pa.list_(pa.float64()), pa.struct([("a", pa.int8())])]


@st.composite
def damaged_parquet(draw, content):
    """Bytes anywhere, or an honest file with a column of another type or name, or odd numbers."""
    if draw(st.booleans()):
        return draw(damaged_bytes(content))
    table = pq.read_table(pa.BufferReader(content))
    for _ in range(draw(st.integers(1, 2))):
        index = draw(st.integers(0, table.num_columns - 1))
        column, name = table.column(index), table.column_names[index]
        change = draw(st.sampled_from(["type", "name", "numbers", "nulls", "rows"]))
        if change == "type":
            kind = draw(st.sampled_from(KINDS))
            try:
                column = column.cast(kind, safe=False)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                column = pa.nulls(table.num_rows, kind)
        elif change == "name":
            name = draw(st.sampled_from(["", "x0", "t", "series", "regime", "prob_0", "a\nb", "\x1b[1m", "x" * 300]))
        elif change == "numbers":
            odd = draw(st.lists(st.sampled_from(FLOATS), min_size=table.num_rows, max_size=table.num_rows))
            column = pa.array(odd, from_pandas=draw(st.booleans()))
        elif change == "nulls":
            column = pa.nulls(table.num_rows, column.type)
        else:
            table = table.slice(0, draw(st.integers(0, 3)))
            continue
        table = table.set_column(index, name, column)
    sink = io.BytesIO()
    try:
        pq.write_table(table, sink, row_group_size=draw(st.integers(1, 50)))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # what Parquet itself cannot hold
        return content
    return sink.getvalue()


class Fuzz:
    """Runs cases in this process and counts how they end."""

    def __init__(self, folder, keep):
        self.folder, self.keep, self.counts, self.failures = Path(folder), keep, Counter(), []
        self.slowest = 0.0
        self._command = typer.main.get_command(cli.app)
        self.model, self.series = self.folder / "m.safetensors", self.folder / "d.csv"
        self.must("simulate", self.series, "--steps", "60", "--seed", "1")
        fast = ("--steps", "5", "--restarts", "1", "--polish", "2", "--hidden", "4")
        self.must("train", self.series, "--model", self.model, "--regimes", "2", *fast)
        pq.write_table(pyarrow.csv.read_csv(self.series), self.folder / "d.parquet", row_group_size=20)

    def must(self, *arguments):
        """Run a command that has to succeed."""
        status, lines = self.run(*arguments)
        assert status == 0, lines

    def run(self, *arguments):
        """The status of a command, and its lines on stderr."""
        stderr = io.StringIO()
        with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())):
            try:
                self._command([str(argument) for argument in (*arguments, "--quiet")], prog_name="gmvae")
                status = 0
            except SystemExit as end:
                status = end.code or 0
        return status, stderr.getvalue().splitlines()

    def case(self, kind, name, commands, content):
        """One damaged file and the commands that read it, until one ends with an error."""
        (self.folder / name).write_bytes(content)
        started = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            ending = self._ending(commands)
        except (Exception, Hang, MemoryError) as error:  # whatever a case may do, it is counted
            ending = f"{type(error).__name__}: {error}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self.slowest = max(self.slowest, time.monotonic() - started)
        self.counts[kind, "cases"] += 1
        if ending in ("errors", "results"):
            self.counts[kind, ending] += 1
        else:
            self.counts[kind, "failures"] += 1
            self.failures.append(f"{len(self.failures)}_{name}: {ending}")
            if self.keep is not None:
                self.keep.mkdir(parents=True, exist_ok=True)
                (self.keep / f"{len(self.failures) - 1}_{name}").write_bytes(content)

    def _ending(self, commands):
        output = self.folder / "o.parquet"
        for arguments in commands:
            output.unlink(missing_ok=True)
            status, lines = self.run(*arguments)
            if status:
                if status not in (1, 2) or len(lines) != 1 or "not enough memory" in lines[0]:
                    return f"status {status}: {lines}"
                return "errors"
            if lines:
                return f"a result, but {lines}"
            if output.exists() and (odd := _odd(pq.ParquetFile(output))):
                return f"column '{odd}' holds NaN"
        return "results"


def _odd(file):
    """A column of the result that is no number, or probabilities that do not sum to one."""
    table = file.read()
    probs = [name for name in table.column_names if name.startswith("prob_")]
    total = np.zeros(table.num_rows)
    for name in probs:
        values = table[name].to_numpy()
        total += values
        if not np.isfinite(values).all():
            return name
    likelihoods = table["log_likelihood"].drop_null().to_numpy()
    if not np.isfinite(likelihoods).all():
        return "log_likelihood"
    return None if np.allclose(total, 1) else ", ".join(probs)


def _as_test(run):
    """A function as hypothesis wants it."""

    def test(content):
        run(content)

    return test


def fuzz(cases, folder, start=0, keep=None):
    """Run so many cases: half of them models, the rest series files."""
    state = Fuzz(folder, keep)
    label = ("infer", state.series, "--model", state.model, "--output", state.folder / "o.parquet")
    posteriors = [("--posterior", "viterbi"), ("--posterior", "encoder")]
    damaged = state.folder / "x.safetensors"
    models = [
        ("inspect", damaged),
        *(("infer", state.series, "--model", damaged, *label[4:], *how) for how in posteriors),
    ]
    files = {
        kind: [("infer", state.folder / name, *label[2:])]
        for kind, name in (("csv", "x.csv"), ("parquet", "x.parquet"))
    }
    plan = (
        ("model", cases // 2, damaged_models(state.model.read_bytes()), damaged.name, models),
        ("csv", cases // 4, damaged_csv(state.series.read_bytes()), "x.csv", files["csv"]),
        (
            "parquet",
            cases // 4,
            damaged_parquet((state.folder / "d.parquet").read_bytes()),
            "x.parquet",
            files["parquet"],
        ),
    )
    for kind, count, strategy, name, commands in plan:
        drawn = settings(
            max_examples=count,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=HealthCheck,
        )
        run = partial(state.case, kind, name, commands)
        seed(start)(drawn(given(strategy)(_as_test(run))))()
        assert state.counts[kind, "cases"] >= count, f"hypothesis drew {state.counts[kind, 'cases']} cases of {kind}"
    return state


def _hang(signal_number, frame):
    raise Hang(f"longer than {SECONDS} s")


def main():
    """Print the figures; the status is 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="put the files of cases that failed here")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, _hang)
    with tempfile.TemporaryDirectory() as folder:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + NBYTES, resource.RLIM_INFINITY))
        started = time.monotonic()
        state = fuzz(options.cases, folder, options.seed, options.keep)
        print(f"{'kind':10}{'cases':>8}{'results':>9}{'errors':>10}{'failures':>10}")
        for kind in ("model", "csv", "parquet"):
            numbers = [state.counts[kind, name] for name in ("cases", "results", "errors", "failures")]
            print(f"{kind:10}{numbers[0]:8}{numbers[1]:9}{numbers[2]:10}{numbers[3]:10}")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{time.monotonic() - started:.0f} s, the slowest case {state.slowest:.1f} s; peak memory {peak:.0f} MiB")
        for failure in state.failures:
            print(failure)
    sys.exit(bool(state.failures) or peak > 1024)


if __name__ == "__main__":
    main()
