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


USES = {
    "solver": """
from scorebed.toy.properties import PROPERTIES
for name in ("constant_denoiser", "empty_step", "order"): PROPERTIES[name](mine)
""",
    "problem": """
from scorebed.solvers import SOLVERS
from scorebed.toy.measure.runs import order_on
result = order_on(PROBLEMS[0], SOLVERS["dpmpp_2m"])
assert result.inside(2.0), result
""",
    "problem on a space": """
from scorebed.solvers import SOLVERS
from scorebed.toy.measure.runs import order_on
result = order_on(PROBLEMS[0], SOLVERS["geodesic_heun"])
assert result.inside(2.0), result
""",
    "guide": """
from scorebed import check_guided
print(check_guided(fading(2.0), scale=3.0))
""",
    "claim": """
assert all(row.holds for row in ddim_is_exponential(False))
assert not any(row.holds for row in ddim_is_exponential(True))
""",
}
"""What a newcomer does next with each template of CONTRIBUTING, in the order of the page."""


@pytest.mark.parametrize("kind", USES)
def test_each_template_works(kind: str, tmp_path: Path) -> None:
    """The templates of CONTRIBUTING pass lint and types, and do what the page says of them."""
    template = snippets("CONTRIBUTING.md")[list(USES).index(kind)]
    path = tmp_path / "template.py"
    path.write_text(template, encoding="utf-8")
    for command in (["ruff", "check", "--config", str(ROOT / "pyproject.toml")], ["mypy", "--config-file", str(ROOT / "pyproject.toml")]):
        done = subprocess.run(
            [sys.executable, "-m", *command, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    ran(template + USES[kind], tmp_path)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [
        link
        for link in re.findall(r"\[[^\]]*\]\(([\w./-]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        if not link.startswith("http")
    ]
    assert [link for link in links if not (ROOT / link).exists()] == []
