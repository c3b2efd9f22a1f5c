"""What a training run has done so far, phase by phase, kept in a file so that another run can go on from there.

Training is a function of its input, options and seed, so a phase that the journal does not know is simply run again,
and one that it knows is put back as it was: the tensors at the end agree bit for bit. What comes out of the journal
lies in fresh contiguous memory, and so does what `record` returns: a sum may depend on where its terms lie.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import torch
from torch import Generator, Tensor

from gmvae_cli.core import Parameters
from gmvae_cli.errors import CheckpointError, GmvaeError, SeriesError
from gmvae_cli.files.atomic import atomic
from gmvae_cli.files.tensor_file import content, opened
from gmvae_cli.model.ar_density import Emission
from gmvae_cli.model.chain import Chain

FORMAT = 1
SECONDS = 60.0  # the file is written this long after the last time, or after so many records, or as a phase ends
RECORDS = 50
_KIND = "gmvae resume"
_GENERATOR = "generator"

State = dict[str, Tensor]


class ResumeLog:
    """One that forgets: for runs that nobody resumes. A context manager, as the one that a file keeps."""

    problem = ""

    def load(self) -> bool:
        """Take up what an earlier run has recorded; False where there is nothing."""
        return False

    def remove(self) -> None:
        """The run is done: nothing is left to resume."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave what is known as it is."""

    def recall(self, phase: str, like: Mapping[str, Tensor], generator: Generator | None = None) -> State | None:
        """What was recorded of a phase, or None; the generator is put back to where it was then.

        Args:
            like: tensors of the names, shapes and types that the state must have.
        Raises:
            CheckpointError: it has others.
        """
        return None

    def record(
        self, phase: str, state: Mapping[str, Tensor], generator: Generator | None = None, *, finished: bool = True
    ) -> State:
        """Keep the state of a phase in place of an earlier one; a copy of it, contiguous, to go on with."""
        return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}


NOTHING = ResumeLog()


class ResumeFile(ResumeLog):
    """A journal that a file keeps; a context manager that saves it when the work inside is interrupted.

    A file that cannot be written never ends a run: `problem` says why, and the next record tries again.

    Args:
        path: of the file. identity: JSON-able input, options and versions, all of which decide the result.
    """

    def __init__(self, path: str, identity: Mapping[str, Any]) -> None:
        self.path, self.problem = path, ""
        self._identity: dict[str, Any] = json.loads(json.dumps(identity))
        self._states: dict[str, State] = {}
        self._records, self._written = 0, time.monotonic()

    def load(self) -> bool:
        """Take up what an earlier run has recorded; False where it left no file.

        Raises:
            CheckpointError: a damaged file, or one of another input or of other options; the message says which.
        """
        if not os.path.lexists(self.path):
            return False
        with opened(self.path, "gmvae_resume", f"{_KIND} file") as file:
            if file.header["format"] != FORMAT:
                raise ValueError("its format is unknown")
            self._require_same(file.header["identity"])
            tensors = file.read()
            if file.header["digest"] != _digest(tensors):
                raise ValueError("its content is not what was written")
        for name, tensor in tensors.items():
            phase, _, key = name.partition("/")
            self._states.setdefault(phase, {})[key] = tensor
        return True

    def _require_same(self, identity: Any) -> None:
        if not isinstance(identity, dict):
            raise ValueError("it does not say what it belongs to")
        now = self._identity
        other = [
            f"{name} was {_spell(identity.get(name))} and is {_spell(now.get(name))}"
            for name in dict.fromkeys([*now, *identity])
            if identity.get(name) != now.get(name)
        ]
        if other:
            raise CheckpointError(
                f"{self.path}: belongs to another run: {', '.join(other)}; "
                "give the same input and options, or leave out --resume"
            )

    def recall(self, phase: str, like: Mapping[str, Tensor], generator: Generator | None = None) -> State | None:
        """As in `ResumeLog`."""
        known = self._states.get(phase)
        if known is None:
            return None
        state = {name: tensor.clone() for name, tensor in known.items() if name != _GENERATOR}
        found, expected = ({name: (t.shape, t.dtype) for name, t in one.items()} for one in (state, like))
        if found != expected:
            raise CheckpointError(f"{self.path}: its phase '{phase}' does not fit this run; leave out --resume")
        if generator is not None:
            try:
                generator.set_state(known[_GENERATOR].clone())
            except (KeyError, RuntimeError, TypeError) as problem:
                raise CheckpointError(f"{self.path}: not a {_KIND} file, or a damaged one (chance)") from problem
        return state

    def record(
        self, phase: str, state: Mapping[str, Tensor], generator: Generator | None = None, *, finished: bool = True
    ) -> State:
        """As in `ResumeLog`."""
        copies = super().record(phase, state)
        chance = {} if generator is None else {_GENERATOR: generator.get_state()}
        self._states[phase] = copies | chance
        self._records += 1
        if finished or self._records >= RECORDS or time.monotonic() - self._written >= SECONDS:
            with suppress(SeriesError):
                self.write()
        return {name: tensor.clone() for name, tensor in copies.items()}

    def write(self) -> None:
        """Write the file, whole or not at all."""
        tensors = {f"{phase}/{name}": tensor for phase, state in self._states.items() for name, tensor in state.items()}
        header = {"format": FORMAT, "identity": self._identity, "digest": _digest(tensors)}
        self._records, self._written = 0, time.monotonic()
        try:
            with atomic(self.path) as temporary, open(temporary, "wb") as file:
                file.write(content(tensors, header, "gmvae_resume"))
        except SeriesError as error:
            self.problem = str(error)
            raise
        self.problem = ""

    def remove(self) -> None:
        """As in `ResumeLog`."""
        with suppress(OSError):
            os.unlink(self.path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        would_come_again = isinstance(error, (GmvaeError, OSError))  # unlike a signal
        if error is not None and not would_come_again:
            self.write()
            error.add_note(f"{self.path} keeps what is done, --resume goes on from there")


def state_of(parameters: Parameters) -> State:
    """The tensors of parameters by name, as a resume file holds them."""
    emission = {f"emission.{name}": value for name, value in vars(parameters.emission).items() if value is not None}
    chain = {f"chain.{name}": value for name, value in parameters.chain._asdict().items()}
    return emission | chain | {"evidence_scale": parameters.evidence_scale}


def parameters_of(state: State) -> Parameters:
    """The parameters that `state_of` took apart; other tensors in the state are ignored."""
    emission, chain = (
        {name.removeprefix(part): value for name, value in state.items() if name.startswith(part)}
        for part in ("emission.", "chain.")
    )
    return Parameters(Emission(**emission), Chain(**chain), state["evidence_scale"])


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _spell(value: object) -> str:
    return json.dumps(value)[:60] if value is not None else "not given"
