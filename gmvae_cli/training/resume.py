"""The resume log: the finished phases of a training run, kept in a file so that another run goes on.

Training is a function of its input, options and seed. So a phase that the log lacks is simply run again, and one that
it holds is restored: the tensors at the end agree bit for bit. What the log returns, from `record` as from `recall`,
lies in fresh contiguous memory, because the last bits of a sum depend on where its terms lie.
"""

import hashlib
import json
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
from gmvae_cli.system.storage import is_url, remove, size

FORMAT = 1
SECONDS = 60.0  # between writes of the file at most, as long as records come: what an interruption costs
RECORDS = 50  # between writes at most; the end of a phase writes as well
_KIND = "gmvae resume"
_GENERATOR = "generator"

State = dict[str, Tensor]


class ResumeLog:
    """A log that keeps nothing, for runs that are never resumed; a context manager like `ResumeFile`."""

    problem = ""

    def load(self) -> bool:
        """Load the records of an earlier run; False where there are none."""
        return False

    def remove(self) -> None:
        """Delete the records of a run that is done."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the records as they are."""

    def recall(self, phase: str, like: Mapping[str, Tensor], generator: Generator | None = None) -> State | None:
        """Return the recorded state of a phase, or None, and restore the generator to where it was then.

        Args:
            like: tensors of the names, shapes and types that the state must have.
        Raises:
            CheckpointError: the state has other ones.
        """
        return None

    def record(
        self, phase: str, state: Mapping[str, Tensor], generator: Generator | None = None, *, finished: bool = True
    ) -> State:
        """Record the state of a phase in place of an earlier one; return a contiguous copy to go on with."""
        return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}


NOTHING = ResumeLog()


class ResumeFile(ResumeLog):
    """A resume log in a file; a context manager that writes it when the work inside is interrupted.

    A file that cannot be written never ends a run: `problem` says why, and the next record tries again.

    Args:
        path: of the file. identity: JSON-able; the input, options and versions, which together determine the result.
    """

    def __init__(self, path: str, identity: Mapping[str, Any]) -> None:
        self.path, self.problem = path, ""
        self._identity: dict[str, Any] = json.loads(json.dumps(identity))
        self._states: dict[str, State] = {}
        self._records, self._written = 0, time.monotonic()

    def load(self) -> bool:
        """Load the records of an earlier run; False where it left no file.

        Raises:
            CheckpointError: the file is damaged, or belongs to another input or to other options, which are named.
        """
        if size(self.path) is None:
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
        """Return the recorded state of a phase, as in `ResumeLog`."""
        known = self._states.get(phase)
        if known is None:
            return None
        state = {name: tensor.clone() for name, tensor in known.items() if name != _GENERATOR}
        if _layout(state) != _layout(like):
            raise CheckpointError(f"{self.path}: its phase '{phase}' does not fit this run; leave out --resume")
        if generator is not None:
            try:
                generator.set_state(known[_GENERATOR].clone())
            except (KeyError, RuntimeError, TypeError) as problem:
                raise CheckpointError(
                    f"{self.path}: not a {_KIND} file, or a damaged one (random numbers)"
                ) from problem
        return state

    def record(
        self, phase: str, state: Mapping[str, Tensor], generator: Generator | None = None, *, finished: bool = True
    ) -> State:
        """Record the state of a phase, as in `ResumeLog`, and write the file when it is time."""
        copies = super().record(phase, state)
        generator_state = {} if generator is None else {_GENERATOR: generator.get_state()}
        self._states[phase] = copies | generator_state
        self._records += 1
        is_due = not is_url(self.path) and (finished or self._records >= RECORDS)  # an upload takes eight requests
        if is_due or time.monotonic() - self._written >= SECONDS:
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
        """Delete the file of a run that is done."""
        with suppress(OSError, SeriesError):
            remove(self.path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        repeats = isinstance(error, (GmvaeError, OSError))  # unlike an interruption, it would end a resumed run too
        if error is not None and not repeats:
            self.write()
            error.add_note(f"{self.path} keeps what is done, --resume goes on from there")


def state_of(parameters: Parameters) -> State:
    """Lay out parameters as tensors by name, as a resume file holds them."""
    emission = {f"emission.{name}": value for name, value in vars(parameters.emission).items() if value is not None}
    chain = {f"chain.{name}": value for name, value in parameters.chain._asdict().items()}
    return emission | chain | {"evidence_scale": parameters.evidence_scale}


def parameters_of(state: State) -> Parameters:
    """Put together the parameters that `state_of` took apart; other tensors in the state are ignored."""
    emission, chain = (
        {name.removeprefix(part): value for name, value in state.items() if name.startswith(part)}
        for part in ("emission.", "chain.")
    )
    return Parameters(Emission(**emission), Chain(**chain), state["evidence_scale"])


def _layout(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _spell(value: object) -> str:
    return json.dumps(value)[:60] if value is not None else "not given"
