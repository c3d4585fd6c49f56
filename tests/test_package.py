"""What is installed: one package, beside anybody else's, at no cost to those who do not use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(python: Path | str, code: str, folder: Path) -> str:
    done = subprocess.run([str(python), "-I", "-c", code], cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, so that no build folder is left in the tree and none of an older build gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "scorebed", "solvers", "analytic", "toy", "gpu"):
        (source / name).symlink_to(ROOT / name)
    command = [
        *("pip", "--disable-pip-version-check", "--quiet", "wheel", "--no-deps", "--no-build-isolation"),
        "-w",
        str(folder),
        str(source),
    ]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (made,) = folder.glob("*.whl")
    return made


def test_a_wheel_owns_one_name(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"scorebed"}
    packed = {name for name in names if name.endswith(".py") and name.count("/") > 1}
    rooms = ("solvers", "analytic", "toy", "gpu")
    assert packed == {f"scorebed/{path.relative_to(ROOT).as_posix()}" for room in rooms for path in (ROOT / room).rglob("*.py")}
    assert "scorebed/solvers/ERRATA.md" in names


def test_a_source_archive_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """The archive holds the rooms as files, not as links, and a wheel made of it holds what one made of the tree holds."""
    build = "import sys; from setuptools import build_meta as b; getattr(b, f'build_{sys.argv[1]}')(sys.argv[2])"

    def make(kind: str, source: Path) -> Path:
        out = tmp_path / kind
        out.mkdir()
        command = [sys.executable, "-c", build, kind, str(out)]
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        (made,) = out.iterdir()
        return made

    tree = wheel.parent / "source"
    with tarfile.open(make("sdist", tree)) as archive:
        assert not [m.name for m in archive.getmembers() if m.issym() or m.islnk()]
        archive.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    names, again = ({n for n in ZipFile(w).namelist() if ".dist-info" not in n} for w in (wheel, make("wheel", source)))
    assert again == names
    assert "scorebed/toy/figures/page.html" in names


def test_it_works_beside_another_owner_of_the_name_solvers(wheel: Path, tmp_path: Path) -> None:
    """An empty environment, the wheel, a distribution that owns a top-level ``solvers``, and a check from a foreign folder."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True, timeout=120)
    env = tmp_path / "env"
    site = env / "Lib" / "site-packages" if os.name == "nt" else next((env / "lib").glob("python*/site-packages"))
    ZipFile(wheel).extractall(site)
    (site / "solvers").mkdir()
    (site / "solvers" / "__init__.py").write_text("OWNER = 'another distribution'\n", encoding="utf-8")
    # what the core depends on; the .pth files of that folder are not read again, so that nothing of this tree is on the path
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    python = env / ("Scripts" if os.name == "nt" else "bin") / "python"
    (foreign := tmp_path / "foreign").mkdir()
    code = """
import json, solvers, scorebed
def euler(denoise, x, nodes):
    for s, t in zip(nodes, nodes[1:]):
        x = (t.sigma / s.sigma) * x + (t.alpha - s.alpha * t.sigma / s.sigma) * denoise(x, s)
    return x
report = scorebed.check_solver(euler, order=1)
print(json.dumps([solvers.OWNER, scorebed.__file__, bool(report)]))
"""
    owner, where, passed = json.loads(run(python, code, foreign).splitlines()[-1])
    assert owner == "another distribution"
    assert Path(where).is_relative_to(tmp_path)
    assert passed


HEAVY = ("torch", "matplotlib", "pandas", "sklearn", "rich", "typer", "hypothesis")


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import scorebed", (*HEAVY, "numpy", "scipy")),
        ("import scorebed.solvers", HEAVY),
        ("from scorebed import GaussianMixture", HEAVY),
    ],
)
def test_nobody_pays_for_what_he_does_not_use(code: str, absent: tuple[str, ...], tmp_path: Path) -> None:
    shown = run(
        sys.executable, f"{code}\nimport sys, json\nprint(json.dumps([name for name in {absent!r} if name in sys.modules]))", tmp_path
    )
    assert json.loads(shown) == []


def test_every_name_is_there(tmp_path: Path) -> None:
    code = "import scorebed\nfor name in scorebed.__all__: getattr(scorebed, name)\nassert set(scorebed.__all__) <= set(dir(scorebed))"
    run(sys.executable, code, tmp_path)
    with pytest.raises(AttributeError, match="offers"):
        _ = __import__("scorebed").nothing
