"""The page in a real browser: what only a layout engine can tell."""

from __future__ import annotations

import pytest

from chromium import in_browser, opened
from evensight.report.report import write_report


@in_browser
@pytest.mark.parametrize("width", [390, 400, 768, 1280])
def test_fits_the_width_says_nothing_and_fetches_nothing(browser, make_run, width):
    path = write_report(make_run(focus=True))
    page = opened(browser, path, width, "light")
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Nothing sticks out of the page, save inside a box that scrolls by itself.
    wide = page.evaluate(
        "w => [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, pre, svg') "
        "&& e.getBoundingClientRect().right > w + 0.5).map(e => e.tagName + '.' + e.className)",
        width,
    )
    assert wide == []
    assert page.said == []
    assert [url for url in page.fetched if not url.startswith("data:")] == [path.as_uri()]
    page.close()


@in_browser
def test_many_long_names_fit_a_phone(browser, make_run):
    names = tuple(f"{'Donaudampfschifffahrt' * 2}{k}" for k in range(20))
    page = opened(browser, write_report(make_run(classes=names, side=224)), 390, "light")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


@in_browser
def test_light_and_dark_are_both_readable(browser, make_run):
    path = write_report(make_run(focus=True))
    grounds = []
    for scheme in ("light", "dark"):
        page = opened(browser, path, 390, scheme)
        ratios = page.evaluate(
            """() => {
              const context = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
              const rgb = colour => {
                context.fillStyle = colour; context.fillRect(0, 0, 1, 1);
                return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
              };
              const light = c => {
                const [r, g, b] = c.map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
                return .2126 * r + .7152 * g + .0722 * b;
              };
              const ground = e => {
                for (; e; e = e.parentElement) {
                  const colour = getComputedStyle(e).backgroundColor;
                  if (colour !== 'rgba(0, 0, 0, 0)') return rgb(colour);
                }
              };
              const chosen = document.querySelectorAll(
                'h1, p, small, .word, .chip, .said, .name, td, th, dt, dd, figcaption b, .moved, .legend b, summary');
              const ratio = e => {
                const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
                return (a + .05) / (b + .05);
              };
              return [...chosen].map(e => [ratio(e), e.className || e.tagName]);
            }"""
        )
        assert len(ratios) > 100
        assert [(round(ratio, 2), name) for ratio, name in ratios if ratio < 4.5] == []  # WCAG 2 AA
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.close()
    assert grounds[0] != grounds[1]


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_line_of_a_chart_of_six_is_seen_and_told_apart(browser, make_run, scheme):
    """Lines need 3 to 1 against their card (WCAG 2, 1.4.11); who cannot tell colours has the dashes of half of them."""
    page = opened(browser, write_report(make_run()), 1280, scheme)
    found = page.evaluate(
        """() => {
          const light = text => {
            const c = text.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255);
            const [r, g, b] = c.map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
            return .2126 * r + .7152 * g + .0722 * b;
          };
          const card = [...document.querySelectorAll('.card')].find(
            e => e.querySelector('h3') && e.querySelector('h3').textContent === 'Reliance on each cue');
          const ground = light(getComputedStyle(card).backgroundColor);
          return [...card.querySelectorAll('path.line')].map(e => {
            const style = getComputedStyle(e), [a, b] = [light(style.stroke), ground].sort((x, y) => y - x);
            return [style.stroke, style.strokeDasharray, (a + .05) / (b + .05)];
          });
        }"""
    )
    assert len(found) == 6
    assert len({(stroke, dash) for stroke, dash, _ in found}) == 6
    assert [round(ratio, 2) for _, _, ratio in found if ratio < 3] == []
    page.close()


@in_browser
def test_pictures_say_what_they_show(browser, make_run):
    page = opened(browser, write_report(make_run(focus=True)), 1280, "light")
    shown = page.evaluate("[...document.querySelectorAll('.saw img')].map(e => [e.alt, e.naturalWidth])")
    assert len(shown) == 16
    assert all(width == 24 for _, width in shown)
    assert shown[0][0] == "training image 1"
    assert "as the network sees it, colour <all>" in shown[1][0]
    page.close()
