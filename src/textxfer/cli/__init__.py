"""The command `textxfer`: one sub-command for each job, its options made from a dataclass."""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from textxfer import __version__
from textxfer.cli import config as configs
from textxfer.cli.common import Training
from textxfer.cli.signals import Terminated, heeded
from textxfer.files import FULL
from textxfer.options import add_options, parse

USAGE_ERROR = 2
INTERRUPTED, NOBODY_READS, TERMINATED = 130, 141, 143
"""128 and the number of the signal, as shells have it."""
TO_BE_CONTINUED = 75
"""The system's EX_TEMPFAIL: nothing is wrong, but the command has to be given again."""
_LOCKED = (errno.EACCES, errno.EPERM, errno.EROFS)
_ARGUMENTS = "text|label|delimiter|encoding|errors"
"""Arguments of what reads files whose options have the same names."""
_OTHERS = {
    "pass on_empty='skip'": "pass --skip-empty",
    "give a file of held-out documents, or pass allow_single=True to keep such rows for training": (
        "or give a file of held-out documents with --test"
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    0; 2 for input that cannot be used, or a disk that cannot be written; 75 after --stop-minutes, if there is more to
    do; 130 after Ctrl-C, 143 after SIGTERM, 141 if nobody reads what it prints any more.
    """
    parser, classes = _parser()
    namespace = parser.parse_args(arguments)
    name = namespace.command
    try:
        config = parse(classes[name], namespace)
        with heeded(), _together(config):
            _check_device(getattr(config, "device", None))
            _check_precision(config)
            _job(name)(config)
        sys.stdout.flush()
    except BrokenPipeError:  # of `textxfer ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it ends
        return NOBODY_READS
    except (KeyboardInterrupt, Terminated) as ended:
        by_hand = isinstance(ended, KeyboardInterrupt)
        what = "interrupted" if by_hand else "ended by SIGTERM"
        print(f"\ntextxfer {name}: {what}; {_left_behind(namespace)}", file=sys.stderr)
        return INTERRUPTED if by_hand else TERMINATED
    except _user_errors() as error:
        print(f"textxfer {name}{_who()}: error: {_as_options(str(error))}", file=sys.stderr)
        return USAGE_ERROR
    except OSError as error:
        if error.errno not in (*FULL, *_LOCKED):
            raise
        print(f"textxfer {name}{_who()}: error: {_disk(error)}; {_left_behind(namespace)}", file=sys.stderr)
        return USAGE_ERROR
    except _unfinished() as pause:
        print(f"\ntextxfer {name}: {pause}", file=sys.stderr)
        return TO_BE_CONTINUED
    return 0


@contextmanager
def _together(config: Any) -> Iterator[None]:
    """Under torchrun, meet the other processes; only the first one speaks."""
    if not _several():
        yield
        return
    from textxfer import distributed
    from textxfer.text.document import DataError

    if not isinstance(config, Training):
        raise DataError("this command is run by one process: start it without torchrun")
    place = distributed.start(config.device, config.timeout_minutes)
    if place.is_main:
        yield
        return
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


def _check_device(name: str | None) -> None:
    """Refuse a device that torch does not know or that is not here, before anything is read."""
    if name is None:
        return
    import torch

    from textxfer.text.document import DataError

    try:
        torch.empty(1, device=name).tolist()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"--device {name} cannot be used: {reason}. Leave it out: the GPU is taken if there is one"
        ) from error


def _check_precision(config: Any) -> None:
    """Refuse training in float16 where there is none, before anything is read."""
    if not (isinstance(config, Training) and config.precision == "fp16"):
        return
    import torch

    from textxfer.text.document import DataError

    device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type != "cuda":
        raise DataError(f"--precision fp16 needs a CUDA GPU, and this is to run on {device.type}: leave it out")


def _who() -> str:
    """Name the process in an error, if there are several."""
    return f" (process {os.environ['RANK']})" if _several() else ""


def _several() -> bool:
    """Whether torchrun has started several processes; `distributed.launched`, without waiting for torch."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and {"RANK", "MASTER_ADDR"} <= os.environ.keys()


def _as_options(message: str) -> str:
    """Name the options where a message of the library names arguments."""
    for own, here in _OTHERS.items():
        message = message.replace(own, here)
    message = re.sub(rf"\bpass ({_ARGUMENTS})=(?=')", r"pass --\1 ", message)
    return re.sub(rf"\bpass ({_ARGUMENTS})=", r"pass --\1", message)


def _disk(error: OSError) -> str:
    """Say which file could not be written, and what to do."""
    remedy = "free some space" if error.errno in FULL else "see to it that the folder may be read and written"
    return f"{error.filename}: {error.strerror}; {remedy}, or choose another folder"


def _left_behind(namespace: argparse.Namespace) -> str:
    """Say what an interrupted command has left."""
    from textxfer.cli.states import has_states, unfinished

    if hasattr(namespace, "resume") and has_states(namespace.out):
        return f"go on with the same command and --resume (states: {unfinished(namespace.out)})"
    return "nothing was written"


def _parser() -> tuple[argparse.ArgumentParser, dict[str, type[Any]]]:
    parser = argparse.ArgumentParser(prog="textxfer", description="Transfer learning for text (ULMFiT).")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    classes = {
        "pretrain": configs.PretrainConfig,
        "finetune": configs.FinetuneConfig,
        "classify": configs.ClassifyConfig,
        "evaluate": configs.EvaluateConfig,
        "predict": configs.PredictConfig,
        "generate": configs.GenerateConfig,
        "show": configs.ShowConfig,
        "release": configs.ReleaseConfig,
        "import": configs.ImportConfig,
    }
    for name, cls in classes.items():
        summary = (cls.__doc__ or "").strip()
        add_options(commands.add_parser(name, help=summary, description=summary), cls)
    return parser, classes


def _job(name: str) -> Callable[[Any], None]:
    """Return the function behind a command; imported late, for `--help` has no need of all that trains."""
    from textxfer.cli import classify, import_weights, pretrain, release, use

    jobs: dict[str, Callable[[Any], None]] = {
        "pretrain": pretrain.pretrain,
        "finetune": pretrain.finetune,
        "classify": classify.classify,
        "evaluate": use.evaluate,
        "predict": use.predict,
        "generate": use.generate,
        "show": use.show,
        "release": release.release,
        "import": import_weights.import_model,
    }
    return jobs[name]


def _user_errors() -> tuple[type[Exception], ...]:
    """Errors whose message tells the user what to do; all others are ours and keep their traceback."""
    from textxfer.artifact import ArtifactError
    from textxfer.distributed import PeerError
    from textxfer.text.document import DataError, MissingPackageError
    from textxfer.training import CheckpointError

    files = (FileNotFoundError, FileExistsError, IsADirectoryError)
    return (DataError, ArtifactError, CheckpointError, MissingPackageError, PeerError, *files)


def _unfinished() -> type[Exception]:
    """Return what a command raises that has stopped in time; imported late, as `_job`."""
    from textxfer.cli.pieces import Unfinished

    return Unfinished


if __name__ == "__main__":
    sys.exit(main())
