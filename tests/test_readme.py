"""Every snippet of the README runs as it is printed, in order, in one fresh interpreter; so does the template of CONTRIBUTING."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def snippets(page: str) -> list[str]:
    """The Python blocks of a page, each out of its own indentation."""
    blocks = re.findall(r"^( *)```python\n(.*?)^ *```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in blocks]


def ran(code: str, folder: Path) -> str:
    """What the code prints, in a fresh interpreter in another folder, with warnings as errors of ours."""
    script = folder / "snippet.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, "-I", str(script)], cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_readme_runs_as_printed(tmp_path: Path) -> None:
    shown = ran("\n".join(snippets("README.md")), tmp_path)
    assert "FAIL" in shown.upper()  # the first sampler is broken, and the check says so


def test_the_template_is_a_method(tmp_path: Path) -> None:
    """The template of CONTRIBUTING passes lint, types and the properties that it names."""
    (template, *_) = snippets("CONTRIBUTING.md")
    path = tmp_path / "template.py"
    path.write_text(template, encoding="utf-8")
    for command in (["ruff", "check", "--config", str(ROOT / "pyproject.toml")], ["mypy", "--config-file", str(ROOT / "pyproject.toml")]):
        done = subprocess.run(
            [sys.executable, "-m", *command, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    checks = (
        'from scorebed.toy.properties import PROPERTIES\nfor name in ("constant_denoiser", "empty_step", "order"): PROPERTIES[name](mine)\n'
    )
    ran(template + "\n" + checks + "print('kept')\n", tmp_path)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [
        link
        for link in re.findall(r"\[[^\]]*\]\(([\w./-]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        if not link.startswith("http")
    ]
    assert [link for link in links if not (ROOT / link).exists()] == []
