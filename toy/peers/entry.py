"""One line of the scoreboard: a sampler of another library, what it claims, and the papers that the claims are read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scorebed.toy.foreign import Candidate
from scorebed.toy.peers.faces import face, found

DPM = "arXiv:2206.00927"
DPMPP = "arXiv:2211.01095"
EDM = "arXiv:2206.00364"
UNIPC = "arXiv:2302.04867"
DEIS = "arXiv:2204.13902"
PNDM = "arXiv:2202.09778"
SA = "arXiv:2309.05019"
DDIM = "arXiv:2010.02502"
DDPM = "arXiv:2006.11239"
KD = "k-diffusion, sampling.py"
AZ = "azula, docstring"


@dataclass(frozen=True)
class Peer:
    """A sampler of another library with options; nothing is imported before it is asked for.

    Attributes:
        step: of a scheduler, keyword arguments of every ``step``.
        changed: what is used instead of the class or function of that name: a mended copy.
    """

    library: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    step: Mapping[str, Any] = field(default_factory=dict)
    changed: Any = None

    @property
    def made(self) -> Any:
        """The class or function."""
        return self.changed if self.changed is not None else found(self.library, self.name)

    def candidate(self, stochastic: bool = False) -> Candidate:
        """Behind the interface that everything is measured through."""
        made = face(self.library, self.name, self.made, self.options, self.step)
        made.stochastic = stochastic
        return made


def diffusers(name: str, options: Mapping[str, Any] | None = None, step: Mapping[str, Any] | None = None) -> Peer:
    """A scheduler of diffusers."""
    return Peer("diffusers", name, options or {}, step or {})


def kdiffusion(name: str, **options: Any) -> Peer:
    """A ``sample_*`` of k-diffusion."""
    return Peer("k-diffusion", name, options)


def azula(name: str, **options: Any) -> Peer:
    """A sampler of azula."""
    return Peer("azula", name, options)


@dataclass(frozen=True)
class Entry:
    """One line of the scoreboard.

    Attributes:
        order, weak: nominal orders; None where the method is of the other kind; ``weak`` 0 for a stochastic one that claims none.
        source: where the nominal order is claimed.
        defects: keys of ``toy.peers.defects`` that concern it.
        note: what is so by design, or documented by the library.
    """

    name: str
    peer: Peer
    order: int | None
    weak: int | None
    source: str
    defects: tuple[str, ...] = ()
    note: str = ""

    @property
    def library(self) -> str:
        return self.peer.library

    @property
    def key(self) -> str:
        """A name for files."""
        return "".join(c if c.isalnum() else "-" for c in f"{self.library}-{self.name}")

    @property
    def stochastic(self) -> bool:
        return self.weak is not None


def label(options: Mapping[str, Any]) -> str:
    """Options as a reader says them."""
    words = []
    for k, v in options.items():
        short = k.removesuffix("_type").removesuffix("_func").removeprefix("use_")
        words.append(short if v is True else f"no {short}" if v is False else f"{short}={v:g}" if isinstance(v, float) else f"{short}={v}")
    return ", ".join(words)
