"""The course of it: a command is ended a few times, goes on, and in the end has written what the unbroken one wrote."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash import checks
from tests.crash.ends import apply, draw, unexpected
from tests.crash.jobs import Job, Whole, jobs, run_whole, write_inputs
from tests.crash.places import Kind, Place, missing
from tests.crash.processes import Command, Hangs, Running, Server, TrueCommand, finish, stop

_MARK = "earlier.txt"
"""A file that tells an earlier output folder from the one that takes its place."""
_LESS = 0.7
"""Share of its time that a command has left, roughly, when it goes on."""
_START = 6.0
"""Seconds that a true command may need to start."""


@dataclass
class Tally:
    """What has happened.

    Attributes:
        ends: How often processes were ended, by how.
        commands: The same by command.
        resumes: How often a command went on from a saved state.
        states: How many states were compared with those of the unbroken run.
        rounds: Rounds that came to their end.
        failures: What was lost or unequal, with the round that repeats it.
    """

    ends: Counter[str] = field(default_factory=Counter)
    commands: Counter[str] = field(default_factory=Counter)
    resumes: int = 0
    states: int = 0
    rounds: int = 0
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        ends = ", ".join(f"{number} {how}" for how, number in sorted(self.ends.items()))
        commands = ", ".join(f"{number} {name}" for name, number in sorted(self.commands.items()))
        return (
            f"{self.ends.total()} ends ({ends}) in {self.rounds} rounds\n"
            f"commands: {commands}\n{self.resumes} resumes, {self.states} states compared, "
            f"{len(self.failures)} losses and unequal outcomes"
        )


class Lab:
    """Inputs, unbroken runs and a server: all that rounds share.

    Args:
        folder: A folder for everything.
        server: What starts processes.
        seed: What the inputs and all ends are drawn from.
        names: The commands to end.
    """

    def __init__(self, folder: Path, server: Server, seed: int, names: Sequence[str]) -> None:
        self.folder, self.server, self.seed = folder, server, seed
        self.log = folder / "log.txt"
        write_inputs(folder / "inputs", seed)
        whole = folder / "whole"
        self.jobs: list[Job] = []
        self.whole: dict[str, Whole] = {}
        for job in jobs(folder / "inputs", whole):
            if job.name in names or job.name == "pretrain":  # others start from what it trains
                self.whole[job.name] = run_whole(server, job, whole, self.log)
                self.jobs += [job] if job.name in names else []
        (folder / "try").mkdir()
        self.missing = missing(folder / "try")
        kinds: tuple[Kind, ...] = ("plain", "plain", "small disk", "lockable")
        self.kinds: list[Kind] = [kind for kind in kinds if kind not in self.missing]


class Round:
    """One command, ended a few times.

    Args:
        lab: What rounds share.
        number: Number of the round, from which all is drawn.
        tally: Where it is counted.
        true_share: Share of the rounds with true command lines, which wait for torch.
    """

    def __init__(self, lab: Lab, number: int, tally: Tally, true_share: float = 0.0) -> None:
        self.lab, self.number, self.tally = lab, number, tally
        self.draw = random.Random(f"{lab.seed} {number}")
        self.job = lab.jobs[number % len(lab.jobs)]
        self.true = self.draw.random() < true_share
        kind: Kind = self.draw.choice(lab.kinds)
        self.place = Place(lab.folder / f"round-{number}", kind)
        self.out = self.place.folder / self.job.out
        self.log = lab.folder / f"round-{number}.log"
        self.replaces = self.job.name != "prepare" and self.draw.random() < 0.5
        self.before: checks.Outcome | None = None
        self.told: list[str] = []
        self.locked = False

    def run(self) -> None:
        """Run it; failures go to the tally, and what it wrote is kept."""
        failures: list[str] = []
        self.place.make()
        try:
            self._put_earlier()
            failures = self._end_and_go_on()
        except Hangs as error:
            failures = [str(error)]
        finally:
            self.place.close(remove=not failures)
        repeat = f"--seed {self.lab.seed} --first-round {self.number}"
        story = "; ".join([f"round {self.number}, {self.job.name} on a {self.place.kind} folder", *self.told])
        self.tally.failures += [f"{failure}\n  {story}\n  repeat: {repeat}, output: {self.log}" for failure in failures]
        self.tally.rounds += 1

    def _put_earlier(self) -> None:
        """Put an earlier output where the new one will be."""
        if not self.replaces:
            return
        shutil.copytree(self.lab.whole[self.job.name].folder, self.out)
        (self.out / _MARK).write_text("of an earlier run")
        self.before = checks.outcome(self.out)

    def _end_and_go_on(self) -> list[str]:
        """Start the command until it is done; return what is wrong."""
        limit = self.lab.whole[self.job.name].seconds + (_START if self.true else 0.0)
        for left in range(1 if self.true else self.draw.randint(2, 6), -1, -1):
            process = self._start()
            try:
                code, wrong = self._end(process, limit * _LESS ** len(self.told)) if left else self._let_end(process)
            except BaseException:
                stop(process)
                raise
            wrong += self._check()
            if wrong or code == 0:
                return wrong or list(self._check_end())
        return []

    def _start(self) -> Running:
        """Start the command, to go on from its states if there are some."""
        arguments = self.job.arguments(self.place.folder)
        if self.job.resumes:
            resume = bool(checks.state_folders(self._unfinished()))
            self.tally.resumes += resume
            arguments += ["--save-minutes", self.draw.choice(["1e-9", "1e-9", "0.002"]), *["--resume"][:resume]]
        if self.job.name != "prepare" and (self.replaces or self.out.exists()):
            arguments.append("--replace")
        seen = self.place.seen if self.job.resumes else None
        self.log.write_text("")
        command = Command(arguments, self.log, self.place.kind == "lockable", seen=seen)
        return TrueCommand(command) if self.true else self.lab.server.start(command)

    def _end(self, process: Running, limit: float) -> tuple[int, list[str]]:
        """End a process; return its code and what is wrong with its end."""
        end = draw(self.draw, self.place.kind, limit, many_writes=self.job.resumes)
        try:
            ended = apply(end, process, self.place)
            code = finish(process)
        finally:
            self.place.repair()
        self.locked = ended and end.how == "locked folder"
        self.told.append(f"{end}: code {code}" if ended else f"done before {end}: code {code}")
        if not ended:
            return code, [f"it ended by itself with code {code}: {self._printed()[-400:]}"] if code else []
        if code:
            self.tally.ends[end.how] += 1
            self.tally.commands[self.job.name] += 1
        wrong = unexpected(end, code, self._printed())
        return code, [f"{wrong}: {self._printed()[-600:]}"] if wrong else []

    def _let_end(self, process: Running) -> tuple[int, list[str]]:
        """Wait until a process has done its work."""
        self.locked, code = False, finish(process)
        return code, [f"the last command ended with code {code}: {self._printed()[-400:]}"] if code else []

    def _check(self) -> list[str]:
        """Look at what is there behind any end."""
        wrong = [f"half written: {text}" for text in checks.unreadable(self.place.folder)]
        if wrong:
            return wrong
        states = checks.states_below(self._unfinished())
        self.tally.states += len(states)
        wrong = list(checks.unequal_states(states, self.lab.whole[self.job.name].states))
        if self.out.exists():
            found = checks.outcome(self.out)
            if found not in (self.before, self.lab.whole[self.job.name].outcome):
                wanted = self.lab.whole[self.job.name].outcome
                wrong.append(f"the output differs in {checks.differences(found, wanted)}")
        elif self.before is not None:
            wrong.append("the earlier output is gone and the new one is not there")
        return wrong

    def _check_end(self) -> Iterator[str]:
        """Look at what a command has left that came to its end."""
        whole = self.lab.whole[self.job.name]
        if not self.out.exists() or checks.outcome(self.out) != whole.outcome:
            yield "the command has ended well, and its output is not there"
        left = checks.leftovers(self.place.folder)
        if left and not self.locked:  # then it could not tidy up
            yield f"left behind: {', '.join(left)}"
        if self.place.seen.exists():
            states = checks.states_below(self.place.seen)
            self.tally.states += len(states)
            yield from checks.unequal_states(states, whole.states)

    def _unfinished(self) -> Path:
        return self.out.with_name(f"{self.job.out}.unfinished")

    def _printed(self) -> str:
        return self.log.read_text(errors="replace")
