"""The page in a real browser: drop a picture, see its label and what was looked at."""

from __future__ import annotations

import base64

import pytest
from server_process import WAIT_S, serving

from chromium import in_browser, listened


@pytest.fixture(scope="module")
def locked(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    with serving(made.artifact.folder, folder, EVENSIGHT_TOKEN="open-sesame") as server:
        yield server


@pytest.fixture(params=[390, 1280])
def page(browser, locked, request):
    opened = listened(browser.new_page(viewport={"width": request.param, "height": 844}))
    opened.set_default_timeout(WAIT_S * 1000)
    opened.goto(f"{locked.url}/")
    yield opened
    assert opened.evaluate("document.documentElement.scrollWidth") <= request.param
    own = (f"{locked.url}/", f"blob:{locked.url}/", "data:")
    assert [url for url in opened.fetched if not url.startswith(own)] == []
    opened.close()


def unlock(page) -> None:
    page.fill("#word", "open-sesame")
    page.click("#token button")
    page.wait_for_selector("#about:not([hidden])")


def drop(page, content: bytes, name: str, kind: str) -> None:
    page.evaluate(
        """([content, name, kind]) => {
          const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
          const brought = new DataTransfer();
          brought.items.add(new File([bytes], name, {type: kind}));
          document.getElementById("drop").dispatchEvent(
            new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: brought}));
        }""",
        [base64.b64encode(content).decode(), name, kind],
    )


@in_browser
def test_a_picture_that_is_dropped_gets_its_label_and_what_was_looked_at(page, predictor, images):
    """The network goes by colour alone, and the page says so; the token is asked for first, once."""
    page.wait_for_selector("#token:not([hidden])")
    unlock(page)
    assert page.inner_text("#purpose") == predictor.contract["objective"]["purpose"]
    page.said.clear()  # Chromium itself says of the 401 that there was one
    drop(page, images[0], "a.png", "image/png")
    page.wait_for_selector("#said:not([hidden])")
    (expected,) = predictor.predict([images[0]])
    assert page.inner_text("#label") == expected.label
    assert f"{100 * max(expected.probabilities):.1f} %" in page.inner_text("#sentence")
    assert "by its colour" in page.inner_text("#sentence")
    assert page.evaluate("[...document.querySelectorAll('#bars progress')].map(e => e.value)") == pytest.approx(
        sorted(expected.probabilities, reverse=True), abs=1e-6
    )
    page.wait_for_function("[...document.querySelectorAll('.pair img')].every(e => e.complete)")
    widths = page.evaluate("[...document.querySelectorAll('.pair img')].map(e => e.naturalWidth)")
    assert widths == [32] * 12  # six transplants, each with its donor
    assert page.evaluate("document.getElementById('shown').naturalWidth") == 48
    assert len(page.query_selector_all("#requirements tr")) == len(predictor.contract["bounds"])
    # On a phone, too, a requirement is read in lines of words, not of letters.
    assert page.evaluate("Math.min(...[...document.querySelectorAll('td:first-child')].map(e => e.offsetWidth))") > 250
    assert page.evaluate(
        "Math.max(...[...document.querySelectorAll('td')].map(e => e.getBoundingClientRect().right))"
    ) < (page.viewport_size["width"] - 20)
    assert page.said == []


@in_browser
def test_a_file_that_is_no_picture_is_told_and_another_can_follow(page, images):
    unlock(page)
    drop(page, b"<script>alert(1)</script>", "a.txt", "text/plain")
    page.wait_for_selector("#error:not([hidden])")
    assert "not an image of" in page.inner_text("#error")
    drop(page, images[0], "a.png", "image/png")
    page.wait_for_selector("#said:not([hidden])")
    assert page.is_hidden("#error")
