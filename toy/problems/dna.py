r"""DNA as counts: a gene read three letters at a time, so that what follows a letter depends on its place in the codon.

The counts are those of the human sequence of BRCA1, exon 11, in frame: 2838 letters, no stop among 946 codons. It is one of 55 sequences of
the package cogent3 (BSD-3; of Murphy et al., Science 294, 2001), which ``sequence`` reads. The chain has 12 hidden states, the letter and
its place in the codon, of which only the letter is seen: a stretch that begins anywhere is a hidden chain, and no Markov chain.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

import numpy as np

from scorebed.analytic.finite import TableLaw
from scorebed.analytic.finite.chain import HiddenChain, counted_chain
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.problems.jump import JumpProblem

LETTERS = "ACGT"
COUNTS = (
    ((163, 52, 94, 54), (63, 53, 9, 41), (142, 39, 47, 46), (11, 52, 23, 57)),
    ((142, 36, 87, 114), (78, 27, 5, 86), (37, 39, 25, 72), (62, 29, 39, 68)),
    ((119, 50, 106, 44), (74, 27, 6, 24), (58, 30, 42, 25), (112, 59, 120, 49)),
)
"""How often a letter (row) at each place of a codon is followed by another (column)."""


def counts(letters: str, period: int = 3) -> np.ndarray:
    """Pairs of neighbours at each place modulo ``period``, (P, 4, 4); what is no letter of DNA is left out."""
    x = np.array([LETTERS.index(c) for c in letters.upper() if c in LETTERS])
    out = np.zeros((period, 4, 4), dtype=np.int64)
    np.add.at(out, (np.arange(len(x) - 1) % period, x[:-1], x[1:]), 1)
    return out


def sequence(species: str = "Human") -> str:
    """The letters of a species, gaps of the alignment included, from the file of the package, which is read and not imported.

    Returns:
        the aligned letters of the species, gaps included.

    Raises:
        ModuleNotFoundError: the package is not installed.
        ValueError: a species that it does not have.
    """
    try:
        file = distribution("cogent3").locate_file("cogent3/_dataset/brca1.fasta")
    except PackageNotFoundError:
        raise ModuleNotFoundError("the sequences are in cogent3: pip install --no-deps -c constraints.txt cogent3") from None
    with open(str(file), encoding="ascii") as lines:
        entries = [entry.split("\n", 1) for entry in lines.read().split(">")[1:]]
    every = {name.strip(): letters.replace("\n", "") for name, letters in entries}
    if species not in every:
        raise ValueError(f"species = {species!r} is not there: give one of {', '.join(sorted(every))}")
    return every[species]


def dna_chain(length: int, kernel: str = "absorbing") -> HiddenChain:
    """The law of ``length`` letters that begin anywhere in a codon."""
    return counted_chain(np.array(COUNTS), length=length, process=JumpProcess(4, kernel))


def three_letters() -> TableLaw:
    """Three letters in a row under masks."""
    law = dna_chain(3)
    return TableLaw(law.table(), law.process)


PROBLEMS = (
    JumpProblem(
        name="dna", description="three letters of a gene under masks", make=three_letters, process=JumpProcess(4), start=0.95, end=0.05
    ),
)
