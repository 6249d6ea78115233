"""A cycle on its way: the stages that it calls in turn, and what the story keeps of each."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evensight import pipeline
from evensight.config import Config, RelianceConfig
from evensight.cycle.annotators import annotated
from evensight.cycle.client import Client
from evensight.cycle.live import Live
from evensight.cycle.pictures import pictures
from evensight.cycle.service import served
from evensight.cycle.story import Story
from evensight.cycle.walk import walked
from evensight.data.traffic import WAVES, DrawsTraffic
from evensight.errors import UserError
from evensight.logs import logged
from evensight.monitor.monitor import Monitored
from evensight.objective import verdict_file
from evensight.progress import shown
from evensight.records.artifact import Artifact
from evensight.records.registry import Registry
from evensight.report.audit import worst_findings
from evensight.report.cycle import write_cycle_page
from evensight.run import Run
from evensight.statuses import DONE, FAILED
from evensight.update.champion import data_of
from evensight.update.decide import Decision, decide
from evensight.update.merge import Merged, merge
from evensight.update.plan import plan
from evensight.update.train import train

AS_TRAINED, CUE_FREE, NEW_BACKGROUND = WAVES
FIRST_WATCH, SECOND_WATCH = "monitor-1", "monitor-2"


@dataclass
class Around:
    """A cycle on its way: its folder, its story, and the stages that it calls in turn."""

    config: Config  # with a runs folder of its own
    source: DrawsTraffic
    folder: Path
    story: Story
    runs: dict[str, Run] = field(default_factory=dict)  # by identity of their artifacts

    @classmethod
    def begin(cls, config: Config, source: DrawsTraffic) -> Around:
        """Makes the folder of a cycle, whose runs lie in it.

        Raises:
            UserError: It cannot be made.
        """
        stamp = datetime.datetime.now().astimezone().strftime("%Y%m%d_%H%M%S")
        folder = Path(config.runs_dir) / config.experiment_name / f"cycle-{stamp}-{secrets.token_hex(2)}"
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise UserError(f"runs_dir: {folder} cannot be written ({error.strerror}); choose another.") from None
        story = Story(folder)
        story.facts = {
            "experiment": config.experiment_name,
            "purpose": config.objective.purpose,
            "time": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "cores": len(os.sched_getaffinity(0)),
            "waves": [{"name": name, "said": source.waves[name]} for name in WAVES],
            "ended": "it did not come to its end",
        }
        # Before the waves the test split is looked at, so that the first model goes out with its FAIL in the open.
        own = dataclasses.replace(
            config, runs_dir=str(folder / "runs"), test=True, reliance=_watched_cues(config.reliance)
        )
        return cls(own, source, folder, story)

    @property
    def registry(self) -> Path:
        """The registry's folder."""
        return self.folder / "registry"

    @property
    def log_file(self) -> Path:
        """The prediction log."""
        return self.folder / "log" / "predictions.sqlite"

    def stated_and_trained(self) -> Artifact:
        """Stages 1 to 4, by the commands that anybody would type."""
        with self.story.step("Stage 1: the objective and the evidence it takes") as said:
            pipeline.objective(self.config)
            said.append(f"{self.config.objective.purpose} {len(self.config.objective.requirements)} requirements.")
        with self.story.step("Stage 2: the audit of the data, before any training") as said:
            pipeline.audit(self.config)
        with self.story.step("Stages 3 and 4: trained as the data is, exported, tested") as tested:
            artifact = self._trained(Run.make(self.config))
            tested.append(self._tested(artifact))
            self._say_audit(artifact, said)
            self._show_report(artifact, "report of the run")
        return artifact

    def released(self, champion: Artifact) -> None:
        """Puts the model into service although it fails, and says so."""
        with self.story.step("Stage 5: released all the same") as said, logged():
            failed = champion.failures()
            if failed and not self.config.cycle.accept_failed:
                raise UserError(
                    "cycle.accept_failed: the first model fails its test and is not released; "
                    "write cycle.accept_failed=true to see what the monitor makes of it."
                )
            registry = Registry.open(self.registry, create=True)
            registry.add(champion)
            why = "released although its test verdict is FAIL, as the story has it" if failed else "released"
            registry.promote(champion.identity, why)
            said.append(f"{champion.identity[:12]} is champion: {why}. The ledger says so too.")

    @contextlib.contextmanager
    def serving(self) -> Iterator[Live]:
        """Serves the registry's champion by a process of its own."""
        settings = (
            *("artifact=registry:champion", f"registry={self.registry}", f"log={self.log_file}", "port=0"),
            *("keep_images=true", "accept_failed=true", "follow_s=0.2"),
        )
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with (
            served(settings, self.folder / "serve.log") as address,
            contextlib.closing(Client(address, self.config.cycle.connections)) as client,
        ):
            yield Live(self.config.cycle, self.source, client, self.log_file, self.story)

    def watched(self, live: Live, champion: Artifact) -> None:
        """Stage 6, first half: the traffic changes under the model, and the monitor looks."""
        for wave in WAVES:
            with self.story.step(f"Stage 6: traffic, {wave.replace('_', ' ')}") as said, logged():
                found = live.wave(wave, champion, self.folder / FIRST_WATCH)
                said += [f"{self.source.waves[wave]}: {self._of_wave(wave)}", *self._alarmed(found)]
                self.story.show("the monitor's report", self.folder / FIRST_WATCH / "report.html")

    def answered(self, live: Live, champion: Artifact) -> Merged:
        """Stage 6, second half: what to annotate, and the answers in a new version of the data."""
        with self.story.step("Stage 6: the update, planned and annotated") as said, logged():
            verdict = self.folder / FIRST_WATCH / "verdicts" / "monitor.json"
            wanted = plan(
                champion, self.log_file, self.folder / "update", self.config.cycle.budget, monitor_verdict=verdict
            )
            answers = self.folder / "update" / "answers.csv"
            count = annotated(wanted.table, live.answers, answers)
            merged = merge(wanted, answers, self.runs[champion.identity], self.folder / "update")
            reasons = ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in wanted.by_reason.items() if n)
            said.append(f"{count:,} images annotated: {reasons}.")
            added = ", ".join(f"{n:,} to {split}" for split, n in merged.added.items())
            turned = ", ".join(wanted.focus) or "no cue"
            said.append(f"Merged: {added}. The plan turns off: {turned}.")
            self.story.facts |= {"annotated": count, "turned_off": list(wanted.focus)}
        return merged

    def retrained(self, merged: Merged, champion: Artifact) -> Artifact:
        """Trains the challenger with the focus that the plan asks for."""
        with self.story.step("Stages 3 to 5 again: the challenger") as said:
            focus = list(self.story.facts["turned_off"])
            run = train(self.runs[champion.identity], merged, pipeline.main_job, focus, registry=self.registry)
            artifact = Artifact.open(run.artifact)
            self.runs[artifact.identity] = run
            said.append(self._tested(artifact))
            self._show_report(artifact, "report of the challenger's run")
        return artifact

    def decided(self, champion: Artifact, challenger: Artifact, merged: Merged) -> Decision:
        """Compares the two on the test rows."""
        with self.story.step("Stage 6: champion against challenger") as said, logged(), shown() as progress:
            decision = decide(champion, challenger, merged.manifest, self.folder / "update", progress=progress)
            said += [f"{decision.result}.", *decision.reasons]
            self.story.facts["decision"] = decision.result
        return decision

    def swapped(self, live: Live, challenger: Artifact, decision: Decision) -> Monitored:
        """Promotes while requests are under way, and watches the new model on what the old one failed on."""

        def promote() -> None:
            registry = Registry.open(self.registry)
            registry.promote(challenger.identity, "; ".join(decision.reasons)[:500], decision.evidence)

        out = self.folder / SECOND_WATCH
        with self.story.step("Stage 5 again: promoted, and swapped between two batches") as said, logged():
            live.until_swapped(CUE_FREE, challenger.identity, promote)
            Registry.open(self.registry).verify()
            said.append(f"{challenger.identity[:12]} is champion; the ledger's chain is whole.")
        with self.story.step("Stage 6 again: the second watch") as said, logged():
            for wave in (CUE_FREE, NEW_BACKGROUND):
                found = live.wave(wave, challenger, out)
            said += self._alarmed(found)
            self.story.show("the monitor's report", out / "report.html")
        return found

    def ended_well(self, last: Monitored) -> int:
        """Says how a cycle with a promotion ended, and returns its status."""
        alarms = last.requirement_alarms
        if alarms:
            self.ended(f"the challenger was promoted, and the second monitor alarms too: {alarms[0].what}")
            return FAILED
        caught = min((one for one in self.story.moments if one["kind"] == "alarm"), key=_place, default=None)
        pulled = min((one for one in self.story.moments if one.get("cue")), key=_place, default=None)
        when = f"was caught after {caught['after']:,} requests" if caught else "raised no requirement alarm"
        if pulled is not None:
            when += f", and after {pulled['after']:,} by its reliance on {pulled['cue']}, which takes no label"
        self.ended(f"the first model {when}; its challenger was promoted, and raises no requirement alarm")
        return DONE

    def ended(self, how: str) -> None:
        """Keeps the sentence that the page opens with."""
        self.story.facts["ended"] = how

    def shown(self, live: Live, models: list[tuple[str, Artifact]]) -> None:
        """Adds what the page shows of the two models."""
        facts: dict[str, Any] = self.story.facts
        objective = models[0][1].contract.stated_objective()
        facts["models"] = [
            {
                "name": name,
                "identity": artifact.identity,
                "verdict": self._relative(self.runs[artifact.identity].verdicts / "test.json"),
            }
            for name, artifact in models
        ]
        facts["rules"] = [
            {"metric": one.metric, "bound": one.bound_value, "words": f"required: {one.label} {one.bound_value:g}"}
            for one in objective.requirements
            if one.scope == "overall" and one.metric in ("accuracy", "reliance") and one.bound_value is not None
        ]
        facts["pictures"] = pictures(self.folder, live, models)
        facts["walk"] = walked(self.config, models[0][1], self.runs[models[0][1].identity], self.folder / FIRST_WATCH)

    def closed(self, status: int) -> None:
        """Writes the story and its page, however far it came."""
        self.story.facts["status"] = status
        self.story.write()
        write_cycle_page(self.folder)

    def _trained(self, run: Run) -> Artifact:
        pipeline.main_job(self.config, run.folder)
        artifact = Artifact.open(run.artifact)
        self.runs[artifact.identity] = run
        return artifact

    def _tested(self, artifact: Artifact) -> str:
        found = verdict_file.read(self.runs[artifact.identity].verdicts / "test.json")
        failed = [row.label for row in found.requirements if row.verdict == "FAIL"]
        return f"Test verdict {found.verdict}" + (f": {', '.join(failed)}." if failed else ".")

    def _say_audit(self, artifact: Artifact, said: list[str]) -> None:
        folder = data_of(self.runs[artifact.identity]).manifest.folder / "audit"
        said += worst_findings(folder) or []
        shutil.copyfile(folder / "report.html", self.folder / "audit.html")
        self.story.steps[-2]["pages"]["the audit"] = "audit.html"

    def _show_report(self, artifact: Artifact, name: str) -> None:
        self.story.show(name, self.runs[artifact.identity].report)

    def _of_wave(self, wave: str) -> str:
        blocks = [block for block in self.story.blocks if block["wave"] == wave]
        n, right = sum(block["n"] for block in blocks), sum(block["right"] for block in blocks)
        return f"{right:,} of {n:,} answers right."

    def _alarmed(self, found: Monitored) -> list[str]:
        alarms = found.requirement_alarms
        if not alarms:
            return ["The monitor raises no requirement alarm."]
        more = f" and {len(alarms) - 1} more" if len(alarms) > 1 else ""
        return [f"Alarm: {alarms[0].what}{more}."]

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def _watched_cues(reliance: RelianceConfig) -> RelianceConfig:
    """Names texture beside what the objective bounds, so that the log says what a new background changes."""
    return reliance if reliance.cues else dataclasses.replace(reliance, cues=["texture"])


def _place(moment: Mapping[str, Any]) -> int:
    return int(moment["after"])
