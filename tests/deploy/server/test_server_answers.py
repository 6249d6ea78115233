"""What a server answers where nothing is wrong, and what of it is in the log."""

from __future__ import annotations

import json

import pytest
from bad_requests import FILE, PNG, form
from server_process import serving, until

from evensight.records.traffic import read_traffic
from evensight.testing.reliance import reliance_of


def logged(server, id: str):
    """The row of an answer, once it is in the log."""
    until(lambda: id in read_traffic(server.log).predictions["id"].to_list())
    frame = read_traffic(server.log).predictions
    return frame.row(frame["id"].to_list().index(id), named=True)


@pytest.mark.parametrize("number", [0, 17, 40])
def test_an_image_gets_what_the_predictor_says(server, predictor, images, made, number):
    (expected,) = predictor.predict([images[number]])
    with server.client() as client:
        said = client.post("/predict", content=images[number], headers=PNG).json()
    assert said["label"] == expected.label
    assert list(said["probabilities"]) == list(predictor.classes)
    assert list(said["probabilities"].values()) == pytest.approx(expected.probabilities, abs=1e-6)
    assert said["confidence"] == said["probabilities"][said["label"]]
    assert said["identity"] == made.artifact.identity
    row = logged(server, said["id"])
    assert row["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
    assert row["identity"] == made.artifact.identity
    assert row["image"] == f"images/{said['id'][:2]}/{said['id']}.png"
    assert (server.log.parent / row["image"]).read_bytes() == images[number]


def test_the_log_holds_what_each_cue_says_and_the_embedding(server, predictor, images, made):
    """The cues of the contract, as `describe` gives them on the preprocessed image; the mean of each channel."""
    import torch

    from evensight.cues import build_cue
    from evensight.runtime.decode import decode

    with server.client() as client:
        said = client.post("/predict", content=images[5], headers=PNG).json()
    logged(server, said["id"])
    traffic = read_traffic(server.log)
    row = traffic.predictions["id"].to_list().index(said["id"])
    pixels = predictor.preprocess(decode(images[5])).unsqueeze(0)
    assert set(traffic.describes) == {cue.name for cue in made.artifact.contract.cues}
    for cue, rows in traffic.describes.items():
        assert rows[row] == pytest.approx(build_cue(cue).describe(pixels, {})[0].numpy(), abs=1e-6)
    assert traffic.embeddings is not None
    normalised = (pixels.float() / 255 - 0.5) / 0.25
    assert torch.tensor(traffic.embeddings[row]) == pytest.approx(normalised.mean(dim=(2, 3))[0].numpy(), abs=2e-3)


def test_a_form_gets_a_list_and_attributes_in_turn(server, images):
    parts = [(FILE, images[number]) for number in (1, 2, 3)]
    levels = [('name="attribute.colour"', level) for level in (b"red", b"blue", b"green")]
    with server.client() as client:
        answers = client.post("/predict", **form(*parts, *levels)).json()
        one = client.post("/predict?attribute.colour=blue", **form(parts[0])).json()
        none = client.post("/predict", content=images[1], headers=PNG).json()
    assert len({answer["id"] for answer in [*answers, *one, none]}) == 5
    found = [logged(server, answer["id"])["attribute:colour"] for answer in [*answers, *one, none]]
    assert found == ["red", "blue", "green", "blue", None]


def test_labels_are_joined_doubled_and_in_conflict(server, images):
    with server.client() as client:
        said = client.post("/predict", content=images[0], headers=PNG).json()

        def label(name: str):
            answer = client.post("/feedback", json={"id": said["id"], "label": name})
            return answer.status_code, answer.json().get("state", answer.json().get("code"))

        # At once: the answer may still wait to be described, and its label waits for it.
        assert label("star") == (200, "joined")
        assert label("star") == (200, "duplicate")
        assert logged(server, said["id"])["label"] == 2
        assert label("circle") == (409, "conflict")
    row = logged(server, said["id"])
    assert (row["label"], row["label_state"]) == (None, "conflict")


def test_many_labels_sent_at_once_after_their_answers_are_all_joined(server, images):
    with server.client() as client:
        answers = [client.post("/predict", content=one, headers=PNG).json() for one in images[:20]]
        states = [client.post("/feedback", json={"id": a["id"], "label": a["label"]}).json() for a in answers]
    assert states == [{"id": answer["id"], "state": "joined"} for answer in answers]


def test_health_ready_and_model(server, made):
    with server.client() as client:
        assert client.get("/health").json() == {"alive": True}
        assert client.get("/ready").json() == {"ready": True, "identity": made.artifact.identity}
        about = client.get("/model").json()
    contract = json.loads((made.artifact.folder / "contract.json").read_text())
    assert about["contract"] == contract
    assert about["identity"] == contract["identity"]
    assert about["verdict"] is None
    card = about["card"]
    assert card["purpose"] == contract["objective"]["purpose"]
    assert [row["label"] for row in card["requirements"]] == list(contract["bounds"])
    assert {row["label"]: row["bound"] for row in card["requirements"]} == contract["bounds"]
    assert card["looks_at"] == ["colour"]


def test_metrics_are_prometheus_text_and_count(server, images):
    from prometheus_client.parser import text_string_to_metric_families

    with server.client() as client:
        before = server.figure('evensight_predictions_total{label="star"}')
        labels = [client.post("/predict", content=one, headers=PNG).json()["label"] for one in images[:6]]
        text = client.get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {
        *("evensight_request_seconds", "evensight_batch_images", "evensight_predictions", "evensight_queue_images"),
        *("evensight_model", "evensight_log_written", "evensight_log_lost", "evensight_log_failing", "evensight_swaps"),
    } <= set(families)
    assert server.figure('evensight_predictions_total{label="star"}') == before + labels.count("star")


def test_openapi_names_every_path_class_and_level(server, made):
    with server.client() as client:
        document = client.get("/openapi.json").json()
        for path, methods in document["paths"].items():
            for method in methods:
                assert client.request(method.upper(), path).status_code not in (404, 405)
    assert document["openapi"].startswith("3.1")
    (parameter,) = document["paths"]["/predict"]["post"]["parameters"]
    assert parameter["name"] == "attribute.colour"
    assert parameter["schema"]["enum"] == ["red", "green", "blue"]
    assert document["components"]["schemas"]["Prediction"]["properties"]["label"]["enum"] == list(
        made.artifact.contract.classes
    )
    named = json.dumps(document).split("#/components/schemas/")[1:]
    assert {text.partition('"')[0] for text in named} <= set(document["components"]["schemas"])


def test_explain_shows_the_cue_that_decides_and_logs_nothing(server, made, images):
    """The network decides by colour alone, so under the colour of a donor its class is the donor's."""
    import base64
    import io

    from PIL import Image

    with server.client() as client:
        client.post("/predict", content=images[0], headers=PNG)
        until(lambda: server.figure("evensight_log_waiting") == 0)
        written = server.figure("evensight_log_written_total")
        said = client.post("/explain", content=images[0], headers=PNG).json()
        again = client.post("/explain", content=images[0], headers=PNG).json()
    assert said == again
    (cue,) = said["looked_at"]
    assert cue["cue"] == "colour"
    assert cue["of"] == len(cue["pictures"]) == 6
    assert cue["moved"] == sum(picture["label"] == picture["donor_label"] for picture in cue["pictures"]) >= 5
    assert {picture["donor_label"] for picture in cue["pictures"]} == set(made.artifact.contract.classes) - {
        said["label"]
    }
    for uri in (said["picture"], cue["pictures"][0]["picture"], cue["pictures"][0]["donor"]):
        kind, _, content = uri.partition(",")
        assert kind == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(content))).size == (32, 32)
    assert server.figure("evensight_log_written_total") == written


def test_outcomes_of_live_images_are_those_of_the_test(server, made, images):
    """The same image gets the same donors and outcomes at test and in the log, to the bit."""
    answers = []
    with server.client() as client:
        for start in range(0, len(images), 8):
            answers += client.post("/predict", **form(*[(FILE, one) for one in images[start : start + 8]])).json()
    logged(server, answers[-1]["id"])
    traffic = read_traffic(server.log)
    ids = {answer["id"] for answer in answers}
    rows = {
        (row["id"], row["cue"], row["operator"]): (row["donor_class"], row["transplant"], row["placebo"])
        for row in traffic.outcomes.iter_rows(named=True)
        if row["id"] in ids
    }
    expected = reliance_of(made.artifact, images)
    assert sum(outcome.moved_transplant.sum() for outcome in expected["colour"].values()) > 20  # it relies on colour
    assert rows == {
        (answer["id"], cue, operator): (
            int(outcome.donor_class[number]),
            bool(outcome.moved_transplant[number]),
            bool(outcome.moved_placebo[number]),
        )
        for cue, operators in expected.items()
        for operator, outcome in operators.items()
        for number, answer in enumerate(answers)
    }
    assert traffic.predictions["sampled"].all()


def test_a_token_opens_everything_but_health_and_ready(made, folder, images):
    """The page is free too: it holds nothing, and asks for the token. Without a log, predictions go on."""
    with serving(made.artifact.folder, folder, "log=off", EVENSIGHT_TOKEN="open-sesame") as server:
        for given, status in (
            (None, 401),
            ("Bearer open-sesam", 401),
            ("Basic open-sesame", 401),
            ("Bearer \xff", 401),
            ("Bearer open-sesame", 200),
        ):
            headers = {"Authorization": given.encode("latin-1")} if given else {}
            with server.client() as client:
                answer = client.post("/predict", content=images[0], headers={**PNG, **headers})
                assert answer.status_code == status
                assert answer.json().get("code") == ("token" if status == 401 else None)
                assert client.get("/model", headers=headers).status_code == status
                assert client.get("/metrics", headers=headers).status_code == status
        with server.client(Authorization="Bearer open-sesame") as client:
            refused = client.post("/feedback", json={"id": answer.json()["id"], "label": "star"})
            assert (refused.status_code, refused.json()["code"]) == (409, "no_log")
            assert client.get("/openapi.json").json()["security"] == [{"token": []}]
        with server.client() as client:
            for path in ("/health", "/ready", "/"):
                assert client.get(path).status_code == 200
        assert "open-sesame" not in server.errors.read_text()
    assert not server.log.exists()
