"""Kills `train` and `infer` at random moments and looks at what they leave; `make faults` prints the figures.

After SIGKILL (now and then SIGTERM or SIGINT) each output is the old file or the new one, whole; the next run removes
what was left under temporary names; and `train --resume`, itself killed again and again, ends with the same bytes as a
run that nobody interrupted. The status is 1 if anything else was found.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

STATUS = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143, signal.SIGINT: 130}
# written as often as a run of minutes would be, so that one of seconds has something to resume at every moment
OFTEN = "from gmvae_cli.training import resume; resume.SECONDS = 0.05; from gmvae_cli.cli import app; app()"


class Trial:
    """One command in a folder, its output, and the bytes that it may leave there."""

    def __init__(self, folder, output, *arguments):
        self.command = [sys.executable, "-c", OFTEN, *map(str, arguments), "--quiet"]
        self.folder, self.output, self.counts, self.faults = folder, folder / output, Counter(), []
        started = time.monotonic()
        self.finish()
        self.seconds = time.monotonic() - started
        self.new = self.output.read_bytes()
        self.old = b"the old file\n"
        self.output.write_bytes(self.old)

    def finish(self, *more):
        """Run to the end."""
        done = subprocess.run([*self.command, *more], cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            self.faults.append(f"status {done.returncode}: {done.stderr}")

    def kill(self, chance, *more):
        """Start, kill at a random moment, and look at the output."""
        process = subprocess.Popen(
            [*self.command, *more], cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        sent = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        try:
            process.wait(timeout=chance.uniform(0, 1.1 * self.seconds))
            self.counts["ended first"] += 1
        except subprocess.TimeoutExpired:
            process.send_signal(sent)
        lines = process.communicate()[1].splitlines()
        self.counts["kills"] += 1
        content = self.output.read_bytes()
        which = {self.old: "old file", self.new: "new file"}.get(content)
        self.counts[which] += 1
        if which is None:
            self.faults.append(f"after {sent.name}: {len(content)} bytes that are neither the old file nor the new one")
        if process.returncode not in (0, STATUS[sent], -sent) or (len(lines) > 1 and process.returncode > 0):
            self.faults.append(f"after {sent.name}: status {process.returncode}, {lines}")
        self.counts["rests"] += len(list(self.folder.glob(".*.part")))

    def settle(self, *more):
        """Run to the end after a kill: the new file, and nothing beside it that was not there."""
        self.finish(*more)
        if self.output.read_bytes() != self.new:
            self.faults.append("other bytes after a kill")
        self.counts["same bytes in the end"] += self.output.read_bytes() == self.new
        rests = [path.name for path in self.folder.iterdir() if path.name.endswith((".part", ".resume"))]
        if rests:
            self.faults.append(f"left behind: {rests}")
        self.output.write_bytes(self.old)


def _print(name, trial):
    counts = {key: trial.counts[key] for key in ("kills", "old file", "new file", "rests", "same bytes in the end")}
    print(
        f"{name}: " + ", ".join(f"{count} {key}" for key, count in counts.items()) + f", {len(trial.faults)} faults",
        flush=True,
    )
    for fault in trial.faults:
        print(f"  {fault}")


def main():
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="of each command")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate = [sys.executable, "-m", "gmvae_cli", "simulate", "a.csv", "--steps", "20000", "--quiet"]
        subprocess.run([*simulate, "--truth", "truth.safetensors"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        train = Trial(folder, "m.safetensors", "train", "a.csv", "--model", "m.safetensors", "--steps", "60")
        while train.counts["kills"] < options.kills:
            for _ in range(chance.randint(1, 4)):  # killed, resumed, killed again
                train.kill(chance, "--resume")
            train.settle("--resume")
        _print("train", train)
        infer = Trial(folder, "o.csv", "infer", "a.csv", "--model", "truth.safetensors", "--output", "o.csv")
        while infer.counts["kills"] < options.kills:
            infer.kill(chance)
            infer.settle()
        _print("infer", infer)
    sys.exit(bool(train.faults or infer.faults))


if __name__ == "__main__":
    main()
