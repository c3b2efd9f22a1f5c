"""Speed and memory on this machine, each figure beside its target. Nothing is asserted.

    python tests/bench.py [--only PART ...] [--large]

CPU-seconds and rows a second of a core are taken with one thread, "wall" figures with all cores. Figures are medians
over several runs; memory is the peak of a fresh process.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import median
from typing import Any, NamedTuple

GMVAE = os.path.join(os.path.dirname(sys.executable), "gmvae")
SAMPLES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "sample_data")
MEDIUM_ROWS, LARGE_ROWS = 2_000_000, 20_000_000
MIB = 1 << 20


class Figure(NamedTuple):
    """One line of the table; `target` None is for information. `most`: the target is an upper limit."""

    name: str
    value: float
    unit: str
    target: float | None = None
    most: bool = True

    def __str__(self) -> str:
        value = f"{self.value:,.0f}" if self.value >= 1000 else f"{self.value:.3g}"
        if self.target is None:
            return f"{self.name:<64} {value:>12} {self.unit}"
        met = self.value <= self.target if self.most else self.value >= self.target
        bound = f"{'at most' if self.most else 'at least'} {self.target:,g}"
        return f"{self.name:<64} {value:>12} {self.unit:<12} {bound:<20} {'' if met else 'MISSED'}".rstrip()


class Usage(NamedTuple):
    """Wall and CPU seconds, and peak memory in bytes, of a command and the processes it started."""

    seconds: float
    peak: int
    cpu: float


def command(*arguments: str, expected: int = 0) -> Usage:
    """Run gmvae in a fresh process, which is to end with this exit status.

    This process imports next to nothing, because a child's peak is never below what its parent held when it was born.
    """
    started = time.perf_counter()
    silence = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL if expected else None}
    child = subprocess.Popen([GMVAE, *arguments], **silence)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != expected:
        raise SystemExit(f"gmvae {' '.join(arguments)}: exit status {child.returncode}")
    peak = usage.ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
    return Usage(time.perf_counter() - started, peak, usage.ru_utime + usage.ru_stime)


def in_child(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function in a fresh process, which may import what it likes."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def simulate(folder: str, name: str, rows: int, *options: str) -> str:
    """A simulated series beside its truth, made where it is not there yet."""
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        command("simulate", path, "--steps", str(rows), "--truth", f"{path}.truth", "--quiet", *options)
    return path


def persistent(folder: str, rows: int, suffix: str = "parquet") -> str:
    """K = D = 4, dwell 50, intercept, covariance per regime."""
    options = ("--regimes", "4", "--channels", "4", "--dwell", "50", "--intercept", "--covariance", "regime")
    return simulate(folder, f"persistent_{rows}.{suffix}", rows, *options)


# --- what a fresh process measures -----------------------------------------------------------------------------------


def training_seconds(path: str, options: dict[str, Any], threads: int | None, runs: int) -> tuple[float, float]:
    """Wall and CPU-seconds of `gmvae train` without imports: medians, after a first short training."""
    import pyarrow.parquet as pq
    import torch

    from gmvae_cli.commands.train import train
    from gmvae_cli.config import ModelConfig, SeriesConfig, TrainConfig
    from gmvae_cli.system.progress import silent

    if threads is not None:
        torch.set_num_threads(threads)
    config = TrainConfig(model=ModelConfig(**options))
    few = f"{path}.few.parquet"
    pq.write_table(pq.read_table(path).slice(0, 1000), few)
    wall, cpu = [], []
    for run in range(runs + 1):
        before = time.perf_counter(), time.process_time()
        train([path if run else few], f"{path}.model", config, SeriesConfig(), False, silent)
        wall.append(time.perf_counter() - before[0])
        cpu.append(time.process_time() - before[1])
    return median(wall[1:]), median(cpu[1:])


def inference_seconds(path: str, truth: str, posterior: str, runs: int) -> float:
    """Wall seconds of exact inference over a recording that is in memory, all rows read back."""
    import numpy as np
    import pyarrow.parquet as pq

    from gmvae_cli import checkpoint
    from gmvae_cli.data.series_data import SeriesData
    from gmvae_cli.inference import apply
    from gmvae_cli.system.device import configure_process

    configure_process()
    model = checkpoint.load(truth)
    table = pq.read_table(path, columns=list(model.channels))
    data = SeriesData.from_arrays(np.column_stack([column.to_numpy() for column in table.columns]))
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        with apply.infer(data, model, posterior) as inferred:
            rows = sum(len(block.regimes) for block in inferred.blocks())
        assert rows == data.rows
        seconds.append(time.perf_counter() - started)
    return median(seconds)


def smoothing_seconds(num_regimes: int, num_channels: int, runs: int) -> tuple[float, float]:
    """CPU-seconds of the smoother, and of density and smoother, over MEDIUM_ROWS float32 rows, one thread."""
    import torch

    from gmvae_cli.model.ar_density import Emission, log_likelihoods
    from gmvae_cli.model.chain import Chain, persistent
    from gmvae_cli.model.forward_backward import smooth

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    K, D = num_regimes, num_channels
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(2 * D + 1, MEDIUM_ROWS, generator=generator)
    tril = torch.eye(D, dtype=torch.float64).expand(K, D, D)
    emission = Emission(torch.randn(K, D, D + 1, generator=generator, dtype=torch.float64) / 2, tril)
    chain = Chain(torch.full((K,), 1 / K), persistent(K, 50).float())
    smoothing, both = [], []
    for _ in range(runs + 1):
        started = time.process_time()
        scores = log_likelihoods(y, emission)
        middle = time.process_time()
        smooth(scores.mT, chain)
        both.append(time.process_time() - started)
        smoothing.append(time.process_time() - middle)
    return median(smoothing[1:]), median(both[1:])


# --- parts -----------------------------------------------------------------------------------------------------------


def help_text(folder: str) -> Iterator[Figure]:
    """The time to a first answer."""
    yield Figure("gmvae --help", median(command("--help").seconds for _ in range(9)), "s wall", 0.3)


def train_iid(folder: str) -> Iterator[Figure]:
    """The reference model."""
    path = simulate(folder, "iid_200k.parquet", 200_000, "--prior", "iid")
    options = {"prior": "iid", "intercept": False, "covariance": "shared"}
    wall, cpu = in_child(training_seconds, path, options, None, 3)
    yield Figure("train, T = 200,000, K = 3, D = 2, iid, without imports", wall, "s wall", 10)
    yield Figure("  the same", cpu, "CPU s")


def train_markov(folder: str) -> Iterator[Figure]:
    """Defaults, K = D = 4; ten times the rows; a short series."""
    _, small = in_child(training_seconds, persistent(folder, 200_000), {"regimes": 4}, 1, 5)
    yield Figure("train, T = 200,000, K = D = 4, markov, without imports", small, "CPU s", 4.2)
    _, medium = in_child(training_seconds, persistent(folder, MEDIUM_ROWS), {"regimes": 4}, 1, 3)
    yield Figure("train, T = 2,000,000", medium, "CPU s")
    yield Figure("  ratio of the two", medium / small, "times", 3)
    for channels in (1, 4):
        options = ("--regimes", "2", "--channels", str(channels), "--dwell", "100")
        path = simulate(folder, f"short_{channels}.parquet", 2_000, *options)
        wall, _ = in_child(training_seconds, path, {"regimes": 2}, 1, 5)
        yield Figure(f"train, T = 2,000, K = 2, D = {channels}, markov, without imports", wall, "s wall", 2)


def smoothing(folder: str) -> Iterator[Figure]:
    """The chain by itself."""
    for num_regimes, target in ((4, 3.5e6), (8, 2e6)):
        alone, both = in_child(smoothing_seconds, num_regimes, 4, 7)
        yield Figure(f"smooth, K = {num_regimes}, float32", MEDIUM_ROWS / alone, "rows/s core", target, False)
        if num_regimes == 4:
            yield Figure("density and smooth, K = D = 4, float32", MEDIUM_ROWS / both, "rows/s core", 2.5e6, False)


def infer_memory(folder: str) -> Iterator[Figure]:
    """Exact inference without files."""
    iid = simulate(folder, "iid_2m.parquet", MEDIUM_ROWS, "--prior", "iid")
    seconds = in_child(inference_seconds, iid, f"{iid}.truth", "smooth", 3)
    yield Figure("infer from memory, K = 3, D = 2, iid", MEDIUM_ROWS / seconds, "rows/s wall", 1e6, False)
    path = persistent(folder, MEDIUM_ROWS)
    for posterior in ("smooth", "viterbi", "filter"):
        seconds = in_child(inference_seconds, path, f"{path}.truth", posterior, 3)
        yield Figure(f"infer from memory, K = D = 4, markov, {posterior}", MEDIUM_ROWS / seconds, "rows/s wall")


def infer_files(folder: str) -> Iterator[Figure]:
    """Whole commands on 2,000,000 rows, imports included."""
    iid = simulate(folder, "iid_2m.parquet", MEDIUM_ROWS, "--prior", "iid")
    yield _infer(folder, iid, "smooth", "iid, K = 3, D = 2, Parquet", 3e5)[0]
    path = persistent(folder, MEDIUM_ROWS)
    for posterior in ("smooth", "viterbi"):
        yield from _infer(folder, path, posterior, "K = D = 4, Parquet", None)
    yield _infer(folder, persistent(folder, MEDIUM_ROWS, "csv"), "smooth", "K = D = 4, CSV", 2e5)[0]


def _infer(
    folder: str, path: str, posterior: str, name: str, target: float | None, rows: int = MEDIUM_ROWS, runs: int = 3
) -> tuple[Figure, Figure]:
    """Rows a second and peak memory of `gmvae infer`, from a format to the same."""
    output = os.path.join(folder, "out" + os.path.splitext(path)[1])
    arguments = ("infer", path, "--model", f"{path}.truth", "--output", output, "--posterior", posterior, "--quiet")
    usages = [command(*arguments) for _ in range(runs)]
    os.remove(output)
    seconds, peak = median(usage.seconds for usage in usages), max(usage.peak for usage in usages)
    return (
        Figure(f"infer, {rows:,} rows, {posterior}, {name}", rows / seconds, "rows/s wall", target, False),
        Figure("  its peak", peak / MIB, "MiB", 700),
    )


def write_files(path: str, folder: str) -> None:
    """A series cut into CSV files of 2,000 rows, one of which is broken."""
    import pyarrow.parquet as pq
    from pyarrow import csv

    os.makedirs(folder)
    table = pq.read_table(path)
    for number, start in enumerate(range(0, table.num_rows, 2000)):
        csv.write_csv(table.slice(start, 2000), os.path.join(folder, f"{number:04}.csv"))
    with open(os.path.join(folder, "0500.csv"), "a") as broken:
        broken.write("1,oops\n")


def many_files(folder: str) -> Iterator[Figure]:
    """1,000 files of 2,000 rows in one command, one of them broken, and the same again with --skip-existing."""
    path, inputs, output = persistent(folder, MEDIUM_ROWS), os.path.join(folder, "many"), os.path.join(folder, "out")
    in_child(write_files, path, inputs)
    arguments = ("infer", inputs, "--model", f"{path}.truth", "--output", output, "--quiet")
    usage = command(*arguments, expected=1)
    done = len(os.listdir(output))
    if done != 999:
        raise SystemExit(f"{done} files were labelled, not 999")
    yield Figure("infer, 1,000 CSV files of 2,000 rows, one broken", usage.seconds, "s wall")
    yield Figure("  its peak", usage.peak / MIB, "MiB", 700)
    yield Figure(
        "  the broken one alone, --skip-existing", command(*arguments, "--skip-existing", expected=1).seconds, "s wall"
    )


def segment(folder: str) -> Iterator[Figure]:
    """From a raw CSV file to labels, segments, picture and model."""
    path = persistent(folder, 200_000, "csv")
    files = {name: os.path.join(folder, f"segmented.{name}") for name in ("csv", "png", "safetensors")}
    options = ("--output", files["csv"], "--plot", files["png"], "--model", files["safetensors"])
    usage = command("segment", path, *options, "--quiet")
    yield Figure("segment, T = 200,000, D = 4, CSV, with picture and model", usage.cpu, "CPU s")
    yield Figure("  the same", usage.seconds, "s wall")
    yield Figure("  with --regimes 4", command("segment", path, "--regimes", "4", *options, "--quiet").cpu, "CPU s")


# Files whose plan is held against their run: rows, channels
PLANNED = ((2_000, 2), (20_000, 4), (40_000, 10), (20_000, 60), (300_000, 4), (3_000_000, 4))


def dry_run(folder: str) -> Iterator[Figure]:
    """What `segment --dry-run` estimates over what the run needs, and the costs of `dry_run.py` that fit best."""
    files = [os.path.join(SAMPLES, name) for name in ("us_gnp_growth.csv", "exercise.csv", "press.csv")]
    for rows, channels in PLANNED:
        files.append(simulate(folder, f"{rows}_{channels}.csv", rows, "--channels", str(channels)))
    for regimes in ("auto", "3"):
        measured = []
        for path in files:
            options = (path, "--output", os.path.join(folder, "planned.csv"), "--regimes", regimes, "--quiet")
            words = [GMVAE, "segment", *options, "--dry-run", "--json"]
            plan = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
            usage = command("segment", *options)
            rows, channels = plan["rows"], len(plan["channels"])
            measured.append((rows, channels, usage.cpu))
            name = f"segment --regimes {regimes}, {rows:,} x {channels}, {usage.cpu:.1f} CPU s"
            yield Figure(name + ", its plan", plan["seconds"] / usage.cpu, "times", 2)
            name = f"  its peak of {usage.peak / MIB:.0f} MiB, planned"
            yield Figure(name, plan["memory_bytes"] / usage.peak, "times", 2)
        for cost, value in enumerate(in_child(best_costs, measured)):
            yield Figure(f"  --regimes {regimes}: cost {cost} that fits best", value, "CPU s")


def best_costs(measured: list[tuple[int, int, float]]) -> list[float]:
    """Costs as in commands/dry_run.py of the least squared relative error over (rows, channels, CPU seconds)."""
    import numpy as np
    from scipy.optimize import nnls

    from gmvae_cli.commands.dry_run import segment_counts

    counts = np.array([segment_counts(rows, channels) for rows, channels, _ in measured])
    seconds = np.array([cpu for *_, cpu in measured])
    return nnls(counts / seconds[:, None], np.ones(len(seconds)))[0].tolist()


def large(folder: str) -> Iterator[Figure]:
    """20,000,000 rows: whole commands, and their memory beside that of 2,000,000."""
    started = time.perf_counter()
    path = persistent(folder, LARGE_ROWS)
    yield Figure("simulate, 20,000,000 rows, K = D = 4", time.perf_counter() - started, "s wall", 120)
    for posterior in ("smooth", "viterbi"):
        speed, peak = _infer(folder, path, posterior, "K = D = 4, Parquet", 7e5, LARGE_ROWS, 1)
        _, before = _infer(folder, persistent(folder, MEDIUM_ROWS), posterior, "", None, runs=1)
        yield from (speed, peak)
        yield Figure("  beside the peak of 2,000,000 rows", peak.value / before.value, "times", 1.1)
    usage = command("evaluate", path, "--model", f"{path}.truth", "--quiet")
    yield Figure("evaluate --model, 20,000,000 rows", LARGE_ROWS / usage.seconds, "rows/s wall")
    yield Figure("  its peak", usage.peak / MIB, "MiB", 700)
    usage = command("train", path, "--regimes", "4", "--model", f"{path}.model", "--quiet")
    yield Figure("train, 20,000,000 rows, K = D = 4, defaults", usage.seconds, "s wall")
    yield Figure("  its peak", usage.peak / MIB, "MiB", 1024)


def dealt_seconds(path: str, model: str, output: str, engine: str, stretch_rows: int) -> tuple[float, list[float]]:
    """Wall seconds to start an engine of two workers, and of `infer` by it, the first time and the second."""
    from gmvae_cli.checkpoint import load
    from gmvae_cli.cluster.labelling import DealtLabelling
    from gmvae_cli.cluster.whole_files import FileLabelling
    from gmvae_cli.config import InferConfig, SeriesConfig
    from gmvae_cli.engine_config import EngineConfig
    from gmvae_cli.files.inputs import InputFile
    from gmvae_cli.system.engine import engine_of
    from gmvae_cli.system.progress import silent

    started = time.perf_counter()
    with engine_of(EngineConfig(engine=engine, workers=None if engine == "ray" else 2)) as workers:
        begun, seconds = time.perf_counter() - started, []
        for run in range(2):
            started = time.perf_counter()
            work = FileLabelling(load(model), model, InferConfig(), SeriesConfig(), silent)
            dealt = DealtLabelling(workers, work, stretch_rows)
            dealt.label_file(InputFile(path=path, relative="rows.parquet"), f"{output}{run}")
            seconds.append(time.perf_counter() - started)
    return begun, seconds


def cluster(folder: str) -> Iterator[Figure]:
    """2,000,000 rows by two workers in four stretches, beside the plain command; Ray if RAY_ADDRESS names a cluster."""
    path = persistent(folder, MEDIUM_ROWS)
    plain = [
        command("infer", path, "--model", f"{path}.truth", "--output", f"{path}.out.parquet", "--quiet").seconds
        for _ in range(3)
    ]
    yield Figure("infer, 2,000,000 rows, the plain command", median(plain), "s wall")
    for engine in ("local", "dask", *(["ray"] if "RAY_ADDRESS" in os.environ else [])):
        output = os.path.join(folder, f"{engine} parts ")
        begun, seconds = in_child(dealt_seconds, path, f"{path}.truth", output, engine, MEDIUM_ROWS // 4)
        yield Figure(f"  start of two workers, {engine}", begun, "s wall")
        for name, value in zip(("first", "second"), seconds, strict=True):
            yield Figure(f"  the same by them, {name} time", value / median(plain), "times", 1.5)


# --- rows that arrive one by one -------------------------------------------------------------------------------------


def feed(folder: str, rows: int, num_series: int = 1) -> tuple[str, str]:
    """A feed of 3 channels, the rows of its series interleaved, and its model."""
    source = simulate(folder, "live.csv", MEDIUM_ROWS // 2, "--channels", "3", "--regimes", "4")
    path = os.path.join(folder, f"feed_{rows}_{num_series}.csv")
    with open(source, encoding="utf-8") as lines, open(path, "w", encoding="utf-8") as target:
        header = next(lines)
        target.write(header.replace("t,", "t,series,", 1))
        for row, line in zip(range(rows), lines, strict=False):
            _, cells = line.split(",", 1)
            target.write(f"{row // num_series},s{row % num_series},{cells}")
    return path, f"{source}.truth"


def follow_command(model: str, *options: str) -> list[str]:
    return [GMVAE, "infer", "-", "--follow", "--model", model, "--output", "-", *options]


def piped(path: str, model: str, *options: str) -> Usage:
    """Wall and CPU seconds, and peak memory, of a feed through two pipes; as many lines come out as go in."""
    started = time.perf_counter()
    source = subprocess.Popen(["cat", path], stdout=subprocess.PIPE)
    child = subprocess.Popen(follow_command(model, *options), stdin=source.stdout, stdout=subprocess.PIPE)
    counter = subprocess.Popen(["wc", "-l"], stdin=child.stdout, stdout=subprocess.PIPE)
    for process in (source, child):
        process.stdout.close()
    lines = int(counter.stdout.read())
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    with open(path, "rb") as file:
        assert (child.returncode, lines) == (0, sum(1 for _ in file))
    peak = usage.ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
    return Usage(time.perf_counter() - started, peak, usage.ru_utime + usage.ru_stime)


def round_trips(path: str, model: str, rows: int) -> list[float]:
    """Seconds from a row's way in to its way out, row by row."""
    child = subprocess.Popen(follow_command(model), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    seconds = []
    with open(path, "rb") as lines:
        for _, line in zip(range(rows), lines, strict=False):
            started = time.perf_counter()
            child.stdin.write(line)
            answer = child.stdout.read(4096)
            seconds.append(time.perf_counter() - started)
            assert answer.endswith(b"\n"), answer
    child.stdin.close()
    child.wait()
    return seconds


def quietest(seconds: list[float], percent: int, stretches: int = 10) -> float:
    """A percentile in the quietest of so many stretches, in microseconds: other work on the machine counts least."""
    length = len(seconds) // stretches
    parts = [sorted(seconds[start : start + length]) for start in range(0, length * stretches, length)]
    return 1e6 * min(part[length * percent // 100] for part in parts)


def start_seconds(path: str, model: str) -> float:
    """Wall seconds from the start to the first labelled row."""
    started = time.perf_counter()
    with open(path, "rb") as file:
        lines = file.readline() + file.readline()
    subprocess.run(follow_command(model), input=lines, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def follow(folder: str) -> Iterator[Figure]:
    """1,000,000 rows through a pipe, of one series and of 10,000 in turn; 3 channels, 4 regimes, one lag."""
    path, model = feed(folder, 1_000_000)
    few, _ = feed(folder, 100_000)
    yield Figure("follow, start and first row", median(start_seconds(few, model) for _ in range(5)), "s wall", 1.0)
    usage, small = piped(path, model), piped(few, model)
    yield Figure("follow, 1,000,000 rows", 1e6 / usage.cpu, "rows/s of a core", 25_000, most=False)
    yield Figure("  wall, with cat and wc beside it", 1e6 / usage.seconds, "rows/s")
    yield Figure("  peak memory against 100,000 rows", usage.peak / small.peak, "times", 1.02)
    yield Figure("  peak memory", usage.peak / MIB, "MiB")
    times = round_trips(few, model, 50_000)
    yield Figure("follow, in and out again, median", quietest(times, 50), "microseconds")
    yield Figure("  99th percentile", quietest(times, 99), "microseconds", 1000)
    path, _ = feed(folder, 1_000_000, 10_000)
    usage = piped(path, model)
    yield Figure("follow, 1,000,000 rows of 10,000 series", 1e6 / usage.cpu, "rows/s of a core", 25_000, most=False)
    yield Figure("  peak memory", usage.peak / MIB, "MiB")
    usage = piped(path, model, "--state", os.path.join(folder, "state.json"))
    yield Figure("  with --state", 1e6 / usage.cpu, "rows/s of a core")
    times = round_trips(path, model, 50_000)
    yield Figure("  in and out again, 99th percentile", quietest(times, 99), "microseconds", 1000)


PARTS = {
    "follow": follow,
    "help": help_text,
    "train-iid": train_iid,
    "train-markov": train_markov,
    "smoothing": smoothing,
    "infer-memory": infer_memory,
    "infer-files": infer_files,
    "many-files": many_files,
    "segment": segment,
    "dry-run": dry_run,
    "cluster": cluster,
    "large": large,
}

LONG = ("dry-run", "cluster", "large")


def main() -> None:
    """Print the table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=PARTS, help="run this part; may be given several times")
    parser.add_argument("--large", action="store_true", help="also those that take long; 20,000,000 rows, 4 GB of disk")
    arguments = parser.parse_args()
    chosen = arguments.only or [
        name for name in PARTS if name not in ("large", "dry-run", "cluster") or arguments.large
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            for figure in PARTS[name](folder):
                print(figure, flush=True)


if __name__ == "__main__":
    main()
