"""The checks for a device, on the host, so that the script that a machine with a GPU runs is one that has run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import torch

from scorebed.gpu.bench import device

ROOT = Path(__file__).resolve().parent.parent


def test_the_checks_hold_on_the_host():
    found = list(device.checks("cpu", batch=8))
    assert len(found) == len(device.methods()) * 2 + 2 + 8 + 2
    assert all(check.good for check in found), "\n".join(map(str, found))
    assert len(device.methods()) > 100


def test_a_wrong_answer_is_seen(monkeypatch):
    right = device.exact
    monkeypatch.setattr(device, "exact", lambda x, node: right(x, node) * (1.01 if x.dtype == torch.float32 else 1.0))
    found = {check.name: check for check in device.checks("cpu", ["ddim"], batch=8)}
    assert found["ddim, float64"].good
    assert not found["ddim, float32"].good
    assert str(found["ddim, float32"]).startswith("FAIL")


def test_the_script_says_that_there_is_no_device(tmp_path):
    done = subprocess.run(
        [str(ROOT / "gpu" / "device_check.sh")],
        env={"PATH": "/usr/bin:/bin", "PY": __import__("sys").executable, "OUT": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no CUDA device" in done.stderr
