"""If these fail, some file of annotations ends a command with a traceback, or never."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_seeds import SEEDS
from fuzz_targets import TARGETS, one

from evensight.errors import UserError

SECONDS = int(os.environ.get("EVENSIGHT_FUZZ_SECONDS", "60"))


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_read_and_their_pieces_are_read_or_refused(name: str) -> None:
    for seed in SEEDS[name]:
        assert not isinstance(one(name, seed), UserError) and one(name, seed)
        for end in range(0, len(seed), 7):
            one(name, seed[:end])
            one(name, seed[:end] + b"\xff" + seed[end:])


@pytest.mark.nightly
@pytest.mark.timeout(SECONDS + 240)
@pytest.mark.parametrize("name", TARGETS)
def test_a_minute_of_atheris_finds_nothing(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="pip install atheris")
    command = [sys.executable, str(Path(__file__).parent / "fuzz_targets.py"), name, str(tmp_path / "corpus")]
    limits = {"max_total_time": SECONDS, "max_len": 4096, "timeout": 20, "rss_limit_mb": 4096, "print_final_stats": 1}
    command += [f"-{key}={value}" for key, value in limits.items()] + [f"-artifact_prefix={tmp_path}/"]
    ran = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert ran.returncode == 0, f"{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
    units = re.search(r"stat::number_of_executed_units: (\d+)", ran.stderr)
    assert units is not None and int(units[1]) > 20 * SECONDS, ran.stderr[-2000:]
    # More than the seeds: what reached new branches was kept.
    assert len(list((tmp_path / "corpus").iterdir())) > len(SEEDS[name])
