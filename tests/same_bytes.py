"""Whether two installed versions of gmvae write the same bytes, command by command, and what CPU time each takes.

    python tests/same_bytes.py OLD_GMVAE NEW_GMVAE

Both names are paths of the `gmvae` script. Compared are every file and every JSON result, without times and the wording
of warnings; of a model all tensors, and its header without that wording. Exit status 1 if something differs.
"""

import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

SAMPLES = Path(__file__).resolve().parent.parent / "sample_data"
COMMANDS = """
simulate markov.csv --steps 6000 --regimes 3 --channels 2 --dwell 40 --truth truth.safetensors --seed 3
simulate gaps.parquet --steps 4000 --regimes 2 --channels 3 --missing 0.05 --outliers 0.01 --series 3 --seed 4
train markov.csv --model markov.safetensors --regimes 3 --json
train markov.csv --model again.safetensors --regimes 3 --init markov.safetensors --align-to truth.safetensors --json
train {samples}/switching_iid.csv --model iid.safetensors --prior iid --no-intercept --covariance shared --json
train gaps.parquet --model student.safetensors --regimes 2 --lags 2 --noise student --expect-dwell 50 --json
train {samples}/exercise.csv --model blocks.safetensors --regimes 4 --summarize auto --seed 1 --json
train {samples}/exercise.csv --model strided.safetensors --regimes 4 --stride auto --estimator exact --json
infer markov.csv --model markov.safetensors --output smooth.parquet --segments segments.csv --json
infer gaps.parquet --model student.safetensors --output viterbi.csv --posterior viterbi --segments visits.parquet
infer markov.csv --model again.safetensors --output filter.csv --posterior filter --only-regimes --manifest
infer {samples}/exercise.csv --model blocks.safetensors --output encoder.csv.gz --posterior encoder
infer {samples}/exercise.csv --model blocks.safetensors --output causal.csv --posterior filter
evaluate smooth.parquet --json
evaluate markov.csv --model markov.safetensors --json
inspect student.safetensors --json
inspect blocks.safetensors --json
select markov.csv --regimes 1:3 --restarts 2 --model chosen.safetensors --json
segment {samples}/exercise.csv --output seg.csv --segments list.csv --model seg.safetensors --plot seg.png --json
segment markov.csv --output found.csv --model found.safetensors --json
segment gaps.parquet --regimes 3 --noise student --output three.parquet --json
plot smooth.parquet --output picture.png
train markov.csv --model none.safetensors --dry-run --json
"""


class Run(NamedTuple):
    """What a command left: exit status, standard output, files with their bytes; and its CPU seconds."""

    status: int
    output: object
    files: dict[str, bytes]
    seconds: float


def without_wording(value: object) -> object:
    """The same JSON value without times and free space, and without the sentences of warnings, whose codes stay."""
    if isinstance(value, dict):
        left_out = {"seconds", "rows_per_second", "free_bytes", *(["sentence"] if "code" in value else [])}
        return {name: without_wording(item) for name, item in value.items() if name not in left_out}
    return [without_wording(item) for item in value] if isinstance(value, list) else value


def comparable(name: str, content: bytes) -> bytes:
    """A file's bytes; of a model its tensors' bytes and its header without wording."""
    if not name.endswith(".safetensors"):
        return content
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = {key: without_wording(json.loads(text)) for key, text in header["__metadata__"].items()}
    return json.dumps(header).encode() + content[8 + length :]


def run(gmvae: str, arguments: list[str], folder: Path) -> Run:
    """Run one command in a folder; the files it left or changed."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    done = subprocess.run([gmvae, *arguments], cwd=folder, capture_output=True, text=True, env=environment, check=False)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    changed = {name: comparable(name, content) for name, content in after.items() if before.get(name) != content}
    seconds = now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime
    output: object = None
    if "--json" in arguments and done.stdout:
        output = without_wording(json.loads(done.stdout))
    return Run(done.returncode, output, changed, seconds)


def differences(old: Run, new: Run) -> list[str]:
    """What differs between two runs of one command, by name."""
    found = [] if old.status == new.status else [f"status {old.status} and {new.status}"]
    if isinstance(old.output, dict) and isinstance(new.output, dict):
        names = sorted({*old.output, *new.output})
        found += [f"json {name}" for name in names if old.output.get(name) != new.output.get(name)]
    names = sorted({*old.files, *new.files})
    return found + [name for name in names if old.files.get(name) != new.files.get(name)]


def main() -> int:
    """Print a line for each command."""
    executables = [os.path.abspath(name) for name in sys.argv[1:3]]
    if len(executables) < 2:
        sys.exit(__doc__)
    differing = 0
    totals = [0.0, 0.0]
    with tempfile.TemporaryDirectory() as old_folder, tempfile.TemporaryDirectory() as new_folder:
        for line in COMMANDS.strip().splitlines():
            arguments = shlex.split(line.format(samples=SAMPLES))
            runs = [
                run(executable, arguments, Path(folder))
                for executable, folder in zip(executables, (old_folder, new_folder), strict=True)
            ]
            found = differences(*runs)
            differing += bool(found)
            totals = [total + one.seconds for total, one in zip(totals, runs, strict=True)]
            seconds = f"{runs[0].seconds:6.2f} {runs[1].seconds:6.2f}"
            verdict = "DIFFERS: " + ", ".join(found) if found else f"same, {len(runs[0].files)} files"
            print(f"{seconds}  {verdict:<24}  {line.format(samples='sample_data')[:80]}", flush=True)
    print(f"{totals[0]:6.1f} {totals[1]:6.1f}  CPU seconds in all; {differing} of the commands differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
