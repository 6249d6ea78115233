"""A registry's alias, followed: a promotion swaps the model between two batches, and no request notices."""

from __future__ import annotations

import json
import shutil

import pytest
from bad_requests import PNG
from server_process import WAIT_S, serving, started_client, until

from evensight.records.artifact import Artifact
from evensight.records.registry import Registry
from evensight.records.traffic import read_traffic
from evensight.runtime.predictor import Predictor


@pytest.fixture
def registry(tmp_path):
    return Registry.open(tmp_path / "registry", create=True)


def promoted(registry: Registry, artifact: Artifact) -> str:
    registry.add(artifact)
    registry.promote(artifact.identity, "a test")
    return artifact.identity


def point(registry: Registry, identity: str) -> None:
    """Points the champion at an artifact without asking the registry."""
    link = registry.folder / "aliases" / "champion"
    link.unlink()
    link.symlink_to(f"../artifacts/{identity}")


@pytest.mark.slow
def test_5000_requests_across_3_swaps(made, other, registry, folder, tmp_path):
    """None lost, none answered twice, each by a stated identity whose probabilities they are."""
    models = [made.artifact, other(1), other(2), other(3)]
    images, out = made.run.folder.parent / "images", tmp_path / "out.jsonl"
    encoded = [path.read_bytes() for path in sorted(images.iterdir())]
    expected = {one.identity: Predictor(one.folder).predict(encoded) for one in models}
    assert len(expected) == 4
    promoted(registry, models[0])
    arguments = (f"registry={registry.folder}", "follow_s=0.05")
    with serving("registry:champion", folder, *arguments) as server:
        client = started_client(server.url, images, 5000, out)
        for swap, model in enumerate(models[1:], 1):
            until(lambda swap=swap: out.exists() and out.read_text().count("\n") > 1000 * swap)
            promoted(registry, model)
            until(lambda swap=swap: server.figure("evensight_swaps_total") == swap)
        assert client.wait(WAIT_S) == 0
        assert server.stop() == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(line["number"] for line in lines) == list(range(5000))
    assert {line["status"] for line in lines} == {200}
    assert len({line["answer"]["id"] for line in lines}) == 5000
    assert {line["answer"]["identity"] for line in lines} == set(expected)
    for line in lines:
        one = expected[line["answer"]["identity"]][line["image"]]
        assert line["answer"]["label"] == one.label
        assert list(line["answer"]["probabilities"].values()) == pytest.approx(one.probabilities, abs=1e-6)
    traffic = read_traffic(server.log)
    logged = dict(zip(traffic.predictions["id"], traffic.predictions["identity"], strict=True))
    assert logged == {line["answer"]["id"]: line["answer"]["identity"] for line in lines}
    assert traffic.swaps["identity"].to_list() == [one.identity for one in models[1:]]


def test_what_cannot_be_loaded_is_not_swapped_in(made, other, registry, folder, images, tmp_path):
    """Altered, failed, of other classes: the old model goes on, which is counted and said."""
    altered, failed = other(1), other(2)
    first = promoted(registry, made.artifact)
    registry.add(altered)
    registry.add(failed)
    copied = Artifact.open(registry.folder / "artifacts" / failed.identity)
    copied.attach("verdict_test", {"verdict": "FAIL"})
    model = registry.folder / "artifacts" / altered.identity / "model.ts"
    kept = model.read_bytes()
    model.write_bytes(kept[:500] + bytes([kept[500] ^ 1]) + kept[501:])
    arguments = (f"registry={registry.folder}", "follow_s=0.05")
    with serving("registry:champion", folder, *arguments) as server, server.client() as client:
        for number, identity in enumerate((altered.identity, failed.identity, "0" * 64), 1):
            point(registry, identity)
            until(lambda number=number: server.figure("evensight_swaps_refused_total") >= number)
            assert client.get("/ready").json()["identity"] == first
            assert client.post("/predict", content=images[0], headers=PNG).json()["identity"] == first
            said = server.errors.read_text()
            assert said.count(f"champion is not followed to {identity[:12]}: ") == 1
        assert "model.ts is missing or was altered" in said
        assert "its test verdict is FAIL" in said
        # Back, and on to one that is whole: it follows again.
        point(registry, first)
        (copied.folder / "attached" / "verdict_test.json").unlink()
        shutil.rmtree(registry.folder / "artifacts" / altered.identity)
        third = promoted(registry, other(3))
        until(lambda: client.get("/ready").json()["identity"] == third)
        answer = client.post("/predict", content=images[0], headers=PNG).json()
        assert answer["identity"] == third
        assert client.get("/model").json()["contract"]["identity"] == third
        assert server.figure(f'evensight_model{{identity="{third}"}}') == 1
    assert read_traffic(server.log).swaps["identity"].to_list() == [third]
