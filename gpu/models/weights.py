"""Finding and reading weights that an installed distribution or its source archive carries, without importing anything of it.

Three kinds of file are read, each by explicit reads of arrays: ``.eqx`` (a run of consecutive ``.npy`` arrays), ``.pt``
(``torch.load(weights_only=True)``) and ``.npz``. Nothing is unpickled, and nothing is read whose size, unpacked, is above ``MOST`` bytes:
a file tells its sizes before its contents are touched.
"""

from __future__ import annotations

import io
import math
import os
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from packaging.version import InvalidVersion, Version

FOLDER = "SCOREBED_WEIGHTS"
"""The environment variable that names another folder of source archives than ``<prefix>/share/scorebed``."""


MOST = 1 << 30
"""Bytes of one file's arrays, unpacked. The largest that is read here has 3 % of it."""


class Missing(FileNotFoundError):
    """The package or archive that carries the weights is not here; the message has the command that brings it."""


def installed(package: str, file: str) -> Path:
    """The path of ``file`` (as the distribution lists it, e.g. ``psdenoiser/constants.npz``) of the installed ``package``.

    Returns:
        path of the file on disk.

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

    Returns:
        bytes of the member, uncompressed.

    Raises:
        Missing: no such archive, or no such member in it.
    """
    folder = Path(os.environ.get(FOLDER) or Path(sys.prefix) / "share" / "scorebed")
    archives = sorted((_version(path.name, package), path) for path in folder.glob(f"{package}-*.tar.gz"))
    how = f"pip download --no-deps --no-binary {package} -c constraints.txt -d {folder} {package}"
    if not archives:
        raise Missing(f"no source archive of {package} in {folder} ({FOLDER} may name another); it belongs to the extra 'models': {how}")
    path, passed = archives[-1][1], 0
    with tarfile.open(path, "r:gz") as archive:
        for entry in archive:
            passed += max(entry.size, 0)
            _bounded(passed, f"{path.name} up to {entry.name}")
            if entry.isfile() and PurePosixPath(*PurePosixPath(entry.name).parts[1:]) == PurePosixPath(member):
                held = archive.extractfile(entry)
                if held is not None:
                    return held.read(entry.size)
    raise Missing(f"{path} holds no {member}: {how}")


def _version(name: str, package: str) -> Version:
    """The version in an archive's name; below all others where it is none."""
    try:
        return Version(name.removeprefix(f"{package}-").removesuffix(".tar.gz"))
    except InvalidVersion:
        return Version("0.dev0")


def _bounded(size: int, what: str) -> None:
    """Refuse what would not fit.

    Raises:
        ValueError: more than ``MOST`` bytes.
    """
    if size > MOST:
        raise ValueError(f"{what} unpacks to {size} bytes, more than the {MOST} that weights may take: the file is not what it should be")


def eqx(path: Path) -> list[NDArray[np.float32]]:
    """Every array of an ``.eqx`` file, in order.

    Returns:
        list of float32 arrays, in file order.

    Raises:
        ValueError: something in it is not a plain array, is cut short, or is too large.
    """
    size, arrays = path.stat().st_size, list[NDArray[np.float32]]()
    _bounded(size, path.name)
    with path.open("rb") as handle:
        while (start := handle.tell()) < size:
            version = npy.read_magic(handle)
            header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
            if header is None:
                raise ValueError(f"{path.name}: .npy version {version} is not read here: give 1.0 or 2.0")
            shape, _, dtype = header(handle)
            if dtype.hasobject:
                raise ValueError(f"{path.name} holds Python objects, and allow_pickle is False: give plain arrays")
            if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > size - handle.tell():
                raise ValueError(f"{path.name} is cut short: array {len(arrays)} of shape {shape} does not fit into its {size} bytes")
            handle.seek(start)
            arrays.append(npy.read_array(handle, allow_pickle=False))
    return arrays


def npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` file by name.

    Returns:
        dict from array name to array.

    Raises:
        ValueError: something in it is not a plain array, or it unpacks to too much.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path.name} is not an .npz file")
    with zipfile.ZipFile(path) as archive:
        _bounded(sum(entry.file_size for entry in archive.infolist()), path.name)
    with np.load(path, allow_pickle=False) as held:
        return {name: held[name] for name in held.files}


def tensors(source: Path | bytes) -> dict[str, torch.Tensor]:
    """The state dict of a ``.pt`` file, tensors only, on the CPU.

    Returns:
        dict from parameter name to CPU tensor.

    Raises:
        ValueError: it holds something else, or unpacks to too much.
    """
    if isinstance(source, Path):
        _bounded(source.stat().st_size, source.name)
    data = source.read_bytes() if isinstance(source, Path) else source
    if zipfile.is_zipfile(io.BytesIO(data)):  # the records of torch's own files are stored, but a reader would unpack others
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _bounded(sum(entry.file_size for entry in archive.infolist()), "the file of weights")
    held = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
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
