"""If these fail, an annotation file that is wrong ends in a traceback, is believed, or reads what is not its own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bad_annotations import ANNOTATIONS as XML_ANNOTATIONS
from bad_annotations import NUM_IMAGES
from bad_json_annotations import JSON_ANNOTATIONS
from PIL import Image

from evensight import main
from opened_files import outside, watched

pytestmark = pytest.mark.timeout(60)
HERE = Path(__file__).parent
ANNOTATIONS = {**XML_ANNOTATIONS, **JSON_ANNOTATIONS}
CONFIGS = HERE.parent.parent / "configs"


def lay_out(at: Path) -> Path:
    """Writes images, and beside them what no command may open."""
    (at / "root").mkdir(parents=True)
    (at / "outside").mkdir()
    rng = np.random.default_rng(0)
    for number in range(NUM_IMAGES):
        pixels = rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(at / "root" / f"{number}.png")
    shutil.copy(at / "root" / "0.png", at / "outside" / "secret.png")
    (at / "outside" / "secret.csv").write_text("file_name,label\n0.png,cat\n")
    (at / "outside" / "secret.txt").write_text("0\n")
    (at / "outside" / "secret.xml").write_text("<annotation/>")
    (at / "outside" / "secret.json").write_text("{}")
    return at


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_a_wrong_annotation_file(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    at = lay_out(tmp_path)
    arguments = ["objective", f"datasets_dir={at / 'sets'}", *ANNOTATIONS[name].make(at)]
    with watched() as opened:
        status = main(arguments)
    said = capfd.readouterr().err
    assert status == 2, said
    assert said.startswith("evensight: ") and said.count("\n") == 1 and "Traceback" not in said, said
    assert re.search(ANNOTATIONS[name].said, said), said
    assert outside(opened, [at / "root", at / "sets", CONFIGS]) == []
    assert any(Path(path).is_relative_to(at / "sets") for path in opened), "the watch hears what is opened"
    assert not [path for path in (at / "sets").rglob("*") if path.suffix in (".png", ".tmp")]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_what_the_system_was_asked_to_open(tmp_path: Path) -> None:
    """As above, by the system's own account: what native code opens raises no event in Python."""
    jobs = []
    for number, name in enumerate(ANNOTATIONS):
        at = lay_out(tmp_path / str(number))
        jobs.append(["objective", f"datasets_dir={at / 'sets'}", *ANNOTATIONS[name].make(at)])
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    code = "import json, sys, evensight; print([evensight.main(job) for job in json.load(open(sys.argv[1]))])"
    log = tmp_path / "trace"
    # -y: each descriptor with the path that it is of, links followed.
    trace = ["strace", "--seccomp-bpf", "-f", "-qq", "-y", "-e", "trace=open,openat,openat2", "-o", str(log)]
    command = [*trace, sys.executable, "-c", code, str(tmp_path / "jobs.json")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.stdout.strip().splitlines()[-1:] == [str([2] * len(jobs))], ran.stderr[-2000:]
    opened = set(re.findall(r"= \d+<([^>]*)>", log.read_text(errors="replace")))
    ours = {path for path in opened if path.startswith(f"{tmp_path}/")}
    allowed = re.compile(rf"{re.escape(str(tmp_path))}/(jobs\.json$|\d+/(root|sets)(/|$))")
    assert {path for path in ours if not allowed.match(path)} == set()
    assert len({path.split("/root/")[0] for path in ours if "/root/" in path}) > len(jobs) * 0.8, "the trace hears it"
    homes = (sys.prefix, sys.base_prefix, str(HERE.parent.parent), "/usr/", "/lib", "/proc/", "/sys/", "/dev/", "/etc/")
    assert {
        path for path in opened - ours if not path.startswith((*homes, str(Path(sys.executable).resolve())))
    } == set()
    assert not {path for path in opened if path in ("/etc/hostname", "/etc/passwd", "/etc/shadow")}


def test_the_table_is_as_long_as_it_should_be() -> None:
    assert len(ANNOTATIONS) >= 40
    assert len({bad.said for bad in ANNOTATIONS.values()}) > 30
