"""Finding and reading weights that an installed distribution or its source archive carries, without importing anything of it.

Three kinds of file are read, each by explicit reads of arrays: ``.eqx`` (a run of consecutive ``numpy.load`` arrays), ``.pt``
(``torch.load(weights_only=True)``) and ``.npz``. Nothing is unpickled.
"""

from __future__ import annotations

import io
import os
import sys
import tarfile
from importlib import metadata
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray

FOLDER = "SCOREBED_WEIGHTS"
"""The environment variable that names another folder of source archives than ``<prefix>/share/scorebed``."""


class Missing(FileNotFoundError):
    """The package or archive that carries the weights is not here; the message has the command that brings it."""


def installed(package: str, file: str) -> Path:
    """The path of ``file`` (as the distribution lists it, e.g. ``psdenoiser/constants.npz``) of the installed ``package``.

    Raises:
        Missing: the package is not installed, or does not carry the file.
    """
    how = f"pip install --no-deps -c constraints.txt {package}"
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        raise Missing(f"{package} is not installed; its weights belong to the extra 'models': {how}") from None
    for found in files:
        path = Path(str(found.locate()))
        if found.as_posix() == file and path.is_file():
            return path
    raise Missing(f"{package} {metadata.version(package)} is installed without {file}: {how} --force-reinstall")


def archived(package: str, member: str) -> bytes:
    """The bytes of ``member`` (a path below the archive's own folder) of the source archive of ``package``.

    The archive ``<package>-<version>.tar.gz`` lies in the folder that ``SCOREBED_WEIGHTS`` names, or in ``<prefix>/share/scorebed``.

    Raises:
        Missing: no such archive, or no such member in it.
    """
    folder = Path(os.environ.get(FOLDER) or Path(sys.prefix) / "share" / "scorebed")
    archives = sorted(folder.glob(f"{package}-*.tar.gz"))
    how = f"pip download --no-deps --no-binary {package} -c constraints.txt -d {folder} {package}"
    if not archives:
        raise Missing(f"no source archive of {package} in {folder} ({FOLDER} may name another); it belongs to the extra 'models': {how}")
    with tarfile.open(archives[-1], "r:gz") as archive:
        for entry in archive:
            if entry.isfile() and PurePosixPath(*PurePosixPath(entry.name).parts[1:]) == PurePosixPath(member):
                held = archive.extractfile(entry)
                if held is not None:
                    return held.read()
    raise Missing(f"{archives[-1]} holds no {member}: {how}")


def eqx(path: Path) -> list[NDArray[np.float32]]:
    """Every array of an ``.eqx`` file, in order.

    Raises:
        ValueError: something in it is not a plain array.
    """
    size, arrays = path.stat().st_size, []
    with path.open("rb") as handle:
        while handle.tell() < size:
            arrays.append(np.load(handle, allow_pickle=False))
    return arrays


def tensors(source: Path | bytes) -> dict[str, torch.Tensor]:
    """The state dict of a ``.pt`` file, tensors only, on the CPU.

    Raises:
        ValueError: it holds something else.
    """
    held = torch.load(io.BytesIO(source) if isinstance(source, bytes) else source, map_location="cpu", weights_only=True)
    if not isinstance(held, dict) or not all(isinstance(v, torch.Tensor) for v in held.values()):
        raise ValueError("the weights are not a dict of tensors")
    return held


def licence(package: str) -> str:
    """What the installed distribution declares as its licence, in one line."""
    try:
        about = metadata.metadata(package)
    except metadata.PackageNotFoundError:
        raise Missing(f"{package} is not installed: pip install --no-deps -c constraints.txt {package}") from None
    declared = [line for key in ("License-Expression", "License") for line in about.get_all(key) or []]
    declared += [line.rpartition("::")[2].strip() for line in about.get_all("Classifier") or [] if line.startswith("License ::")]
    return next((str(one).splitlines()[0] for one in declared if one), "none declared: use as installed, do not redistribute")


def archived_licence(package: str) -> str:
    """The first line of the licence file in the source archive of ``package``."""
    return archived(package, "LICENSE").decode("utf-8").strip().splitlines()[0]
