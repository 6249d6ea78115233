"""The cycle: a model that sorts by colour is released, watched, caught, and answered by one that does not."""

from __future__ import annotations

import sys

from evensight.config import Config
from evensight.cycle.around import Around
from evensight.data.traffic import traffic_of
from evensight.errors import UserError
from evensight.progress import columns
from evensight.report.cycle import cycle_summary
from evensight.statuses import FAILED
from evensight.update.decide import Decision
from evensight.update.deciding import PROMOTE


def cycle(config: Config) -> int:
    """Goes through all six stages once: `evensight cycle experiment=shapes`.

    Args:
        config: The checked configuration; its data set must be able to draw traffic.

    Returns:
        0 where a challenger was promoted and the second monitor raised no requirement alarm, else 1.
    """
    source = traffic_of(config.data)
    _check(config)
    around = Around.begin(config, source)
    status = FAILED
    try:
        champion = around.stated_and_trained()
        around.released(champion)
        with around.serving() as live:
            around.watched(live, champion)
            merged = around.answered(live, champion)
            challenger = around.retrained(merged, champion)
            decision = around.decided(champion, challenger, merged)
            if decision.result == PROMOTE:
                last = around.swapped(live, challenger, decision)
                status = around.ended_well(last)
            else:
                around.ended(_not_promoted(decision))
            live.measure_blocks()
            around.shown(live, [("champion", champion), ("challenger", challenger)])
    finally:
        around.closed(status)
    print(cycle_summary(around.folder, columns(sys.stdout)))
    return status


def _not_promoted(decision: Decision) -> str:
    first, *others = decision.reasons or ["no reason was given"]
    more = f", and {len(others)} more reasons" if others else ""
    return f"the challenger was not promoted: {first}{more}"


def _check(config: Config) -> None:
    """Refuses what a cycle cannot be made of, before anything is made."""
    if config.data.sealed:
        raise UserError("data.sealed: a cycle looks at the test split twice; choose a data set that draws it anew.")
    if config.run is not None or config.resume is not False:
        raise UserError("run: a cycle begins anew; leave run= and resume= out.")
    if not config.export:
        raise UserError("export: a cycle needs the artifact; leave export=true.")
