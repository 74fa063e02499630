"""A process that has imported textxfer and forks one that runs a command, so that no command waits for torch.

It reads requests as lines of JSON and answers each with two: the process, and how it ended. A process that has ended
stays in the system's table until the next request, so that its number cannot mean another one.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import sys
import traceback
import types
from pathlib import Path
from typing import Any

from tests.crash.rights import obey_modes

PRELOAD = ("classify", "pretrain", "release", "import_weights")


def serve() -> None:
    """Answer requests until there are no more."""
    for line in sys.stdin:
        request = json.loads(line)
        process = os.fork()
        if not process:
            _child(request)
        _say({"pid": process})
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        _say({"ended": process})
        sys.stdin.readline()  # "that was all of it"
        _say({"code": os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])})


def _say(answer: dict[str, int]) -> None:
    print(json.dumps(answer), flush=True)


def _child(request: dict[str, Any]) -> None:
    """Run the command of a request, as a process of its own does."""
    code = 70
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(number, target)
        if request["obeys"]:
            obey_modes()
        _observe(request)
        from textxfer.cli import main

        code = main(request["arguments"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _observe(request: dict[str, Any]) -> None:
    """Leave out the plots, which take most of the time, and keep the states that a command would remove at its end."""
    from textxfer.cli import classify, output, pieces, pretrain, states

    output.find_spec = lambda name: None  # type: ignore[assignment]
    output.plots = types.SimpleNamespace(save_figure=_nothing, plot_confusion=_nothing)  # type: ignore[assignment]
    if request["keep_all"]:
        pieces.StopSaved._stop = _save_always  # type: ignore[method-assign]
        states.SaveEvery = functools.partial(states.SaveEvery, keep_last=1_000_000)  # type: ignore[misc]
        pretrain.forget_states = classify.forget_states = _nothing
        classify.remove_folder = _nothing
    elif request["seen"] is not None:
        pretrain.forget_states = classify.forget_states = functools.partial(
            _copy, states.forget_states, request["seen"]
        )


def _nothing(*args: Any) -> None:
    """Do nothing."""


def _save_always(self: Any, learn: Any, place: str) -> None:
    """Save behind each batch and each epoch, where a signal could have made `StopSaved` do so."""
    from textxfer.callbacks import SaveEvery

    learn.callback(SaveEvery).save(learn)


def _copy(forget: Any, seen: str, config: Any) -> None:
    """Copy the last states before they are removed."""
    from textxfer.cli.states import unfinished

    if unfinished(config.out).exists():
        shutil.rmtree(seen, ignore_errors=True)
        shutil.copytree(unfinished(config.out), Path(seen))
    forget(config)


if __name__ == "__main__":
    import importlib

    for module in PRELOAD:
        importlib.import_module(f"textxfer.cli.{module}")
    importlib.import_module("spacy.lang.en")
    _say({"ready": os.getpid()})
    with contextlib.suppress(BrokenPipeError):  # who asked is gone
        serve()
