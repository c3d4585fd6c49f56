"""Hostile files of weights: nothing is run, nothing is read without end or without bound, and versions are numbers."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from scorebed.gpu.models import weights


def write(path: Path, *arrays: np.ndarray) -> Path:
    with path.open("wb") as handle:
        for one in arrays:
            np.save(handle, one)
    return path


def test_arrays_come_back(tmp_path: Path) -> None:
    arrays = [np.arange(6.0, dtype=np.float32).reshape(2, 3), np.array(2.5), np.zeros((0, 4), np.float32), np.asfortranarray(np.eye(3))]
    for found, one in zip(weights.eqx(write(tmp_path / "a.eqx", *arrays)), arrays, strict=True):
        np.testing.assert_array_equal(found, one)


def test_a_zip_named_eqx_ends(tmp_path: Path) -> None:
    """It was read again and again without moving on."""
    np.savez(tmp_path / "a.npz", a=np.ones(3))
    path = (tmp_path / "a.npz").rename(tmp_path / "a.eqx")
    with pytest.raises(ValueError, match="magic"):
        weights.eqx(path)


@pytest.mark.parametrize("cut", [1, 40, 130, 139])
def test_a_file_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path / "a.eqx", np.ones(3, np.float32))
    assert path.stat().st_size == 140
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"cut short|magic|EOF|header"):
        weights.eqx(path)


def test_a_header_that_lies_takes_no_memory(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)})
    (tmp_path / "a.eqx").write_bytes(header.getvalue() + b"\0" * 16)
    with pytest.raises(ValueError, match="cut short"):
        weights.eqx(tmp_path / "a.eqx")


def test_bombs_are_refused_by_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of some kilobytes that unpack to megabytes, here more than allowed."""
    monkeypatch.setattr(weights, "MOST", 1 << 20)
    monkeypatch.setenv(weights.FOLDER, str(tmp_path))
    zeros = np.zeros(1 << 19)
    np.savez_compressed(tmp_path / "a.npz", a=zeros)
    with pytest.raises(ValueError, match="unpacks to"):
        weights.npz(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data/0", zeros.tobytes())
    with pytest.raises(ValueError, match="unpacks to"):
        weights.tensors(tmp_path / "a.pt")
    for name in ("before", "net"):
        with tarfile.open(tmp_path / "net-1.0.tar.gz", "w:gz") as tar:
            for member, size in ((name, 1 << 22), ("net.pt", 3)):
                entry = tarfile.TarInfo(f"net-1.0/{member}")
                entry.size = size
                tar.addfile(entry, io.BytesIO(b"\0" * size))
        assert (tmp_path / "net-1.0.tar.gz").stat().st_size < 1 << 14
        with pytest.raises(ValueError, match="unpacks to"):
            weights.archived("net", "net.pt" if name == "before" else "net")
    write(tmp_path / "large.eqx", zeros)
    with pytest.raises(ValueError, match="unpacks to"):
        weights.eqx(tmp_path / "large.eqx")


def test_the_newest_archive_is_the_largest_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1.10 is above 1.9, a release above its candidate, and a name without a version below all."""
    monkeypatch.setenv(weights.FOLDER, str(tmp_path))
    for version in ("1.9.0", "1.10.0", "1.10.0rc1", "latest"):
        with tarfile.open(tmp_path / f"net-{version}.tar.gz", "w:gz") as tar:
            entry = tarfile.TarInfo(f"net-{version}/what")
            entry.size = len(version)
            tar.addfile(entry, io.BytesIO(version.encode()))
    assert weights.archived("net", "what") == b"1.10.0"


def test_tensors_come_back(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pt")
    assert torch.equal(weights.tensors(tmp_path / "a.pt")["a"], torch.ones(2))
    assert torch.equal(weights.tensors((tmp_path / "a.pt").read_bytes())["a"], torch.ones(2))


CODE = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\nclass Mine: pass\n"


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ({"_class_name": "DDPMPipeline", "unet": ["mine", "Mine"]}, "unet = "),
        ({"_class_name": "DDPMPipeline", "unet": ["os", "system"]}, "unet = "),
        ({"_class_name": "DDPMPipeline", "unet": ["diffusers.pipelines.mine", "Mine"]}, "unet = "),
        ({"_class_name": "DDPMPipeline", "unet": [["mine"], "Mine"]}, "unet = "),
        ({"_class_name": ["mine", "Mine"]}, "_class_name"),
        ({"_class_name": "Mine"}, "_class_name"),
        ({}, "_class_name"),
        ([], "holds a list"),
    ],
)
def test_no_code_of_a_folder_is_run(tmp_path: Path, index: object, words: str) -> None:
    """Whatever version of diffusers would do: what is none of diffusers, transformers or ours is refused before it is asked."""
    from scorebed.gpu.diffusers import pipelines

    (tmp_path / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    for place in (tmp_path, tmp_path / "unet"):
        place.mkdir(exist_ok=True)
        (place / "mine.py").write_text(CODE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipelines.DiffusionPipeline, "from_pretrained", lambda *a, **k: pytest.fail("diffusers was asked"))
        with pytest.raises(ValueError, match=words):
            pipelines.load(tmp_path)
    assert list(tmp_path.rglob("ran")) == []
