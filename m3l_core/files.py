"""Work on disk is written beside its place and renamed, so that nothing half-written is ever found there.

What a run leaves aside that was killed is finished or removed by the next one: a file ``.NAME.HOST-PID-THREAD.part`` is
removed once its process is gone; of a folder, ``.NAME.part`` is begun, ``.NAME.new`` is complete and takes its place,
and ``.NAME.former`` is what that had before.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from m3l_core.errors import M3LError

_PATIENCE_S = 10.0
"""For a process that is about to end: workers outlive one that was killed for a moment."""
_HOST = re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())[:32]
_LEFTOVER = re.compile(rf"\..*\.{_HOST}-(\d+)-\d+\.part")
_looked_through: set[Path] = set()
_held: set[tuple[int, int]] = set()
"""Device and inode of the folders that this process has for itself."""


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes the place of ``path`` if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent not in _looked_through:
        _remove_leftovers(path.parent)
    temporary = path.with_name(f".{path.name}.{_HOST}-{os.getpid()}-{threading.get_ident()}.part")
    try:
        with _naming(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """The same for a folder; a former ``path`` is removed only when the new one is complete.

    Raises:
        M3LError: another process is writing the same folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part, new, _ = _aside(path)
    with _only_one(part, f"another process is writing {path}: wait until it has ended"):
        finish_folder(path)
        for left in part.iterdir():
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        try:
            with _naming(path):
                yield part
                os.replace(part, new)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        try:
            finish_folder(path)
        except BaseException:  # Ctrl-C: it is complete, so it may as well be in its place
            finish_folder(path)
            raise


def finish_folder(path: Path) -> None:
    """Do what a process had left to do that was killed while it put a folder into its place."""
    _, new, former = _aside(path)
    if not new.exists() and not former.exists():
        return
    with _locked(path.parent):
        if new.exists():
            if path.exists():
                shutil.rmtree(former, ignore_errors=True)
                os.replace(path, former)
            os.replace(new, path)
        elif not path.exists() and former.exists():
            os.replace(former, path)
        shutil.rmtree(former, ignore_errors=True)


@contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Have a folder, made if need be, for oneself while the block runs; what killed runs left in it is removed.

    Raises:
        M3LError: another process is at work in it.
        OSError: it cannot be made.
    """
    with _only_one(folder, f"another process is at work in {folder}: wait until it has ended, or choose another"):
        for inner in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            _remove_leftovers(inner)
        yield


def cache_folder() -> Path:
    """Where this user's programs keep what can be made again: ``M3L_CACHE``, or m3l_ros in ``XDG_CACHE_HOME``."""
    if chosen := os.environ.get("M3L_CACHE"):
        return home_expanded(chosen)
    return home_expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "m3l_ros"


def home_expanded(path: str | Path) -> Path:
    """A path with ``~`` and ``~user`` written out.

    Raises:
        M3LError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise M3LError(f"{path}: {error}") from error


def regular_size(path: Path) -> int:
    """Bytes of a file; a pipe or a device, which may wait or go on for ever, is none.

    Raises:
        OSError: it cannot be looked at, or is no regular file.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return status.st_size


def lies_below(path: Path, folder: Path) -> bool:
    """Whether a file lies in a folder or in one of its folders, wherever links lead."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # no name that a file can have, or links that go round
        return False


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an error of the disk say what was written: where it is full, the system names no file."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def copy_folder(folder: Path, target: Path) -> None:
    """Copy all that is in a folder into ``target``, which may be there; linked files as files.

    Raises:
        OSError: it cannot be copied, or holds what has no end: a device, a pipe, or a link to a folder around it.
    """

    def none_left_out(inner: str, names: list[str]) -> tuple[str, ...]:
        for path in (Path(inner, name) for name in names):
            if not path.is_file() and (not path.is_dir() or lies_below(folder, path)):
                raise OSError(f"{path} is no file or folder of its own: remove it")
        return ()

    shutil.copytree(folder, target, dirs_exist_ok=True, ignore=none_left_out)


def _aside(path: Path) -> tuple[Path, Path, Path]:
    part, new, former = (path.with_name(f".{path.name}.{state}") for state in ("part", "new", "former"))
    return part, new, former


def _remove_leftovers(folder: Path) -> None:
    for entry in list(os.scandir(folder)):
        if (found := _LEFTOVER.fullmatch(entry.name)) and not _is_alive(int(found[1])):
            with suppress(FileNotFoundError):  # another one was as quick
                os.unlink(entry.path)
    _looked_through.add(folder)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


@contextmanager
def _only_one(folder: Path, refusal: str) -> Iterator[None]:
    """Make a folder and hold its lock, which ends with the process however that ends."""
    deadline = time.monotonic() + _PATIENCE_S
    while (descriptor := _lock_of(folder)) is None:
        if time.monotonic() > deadline:
            raise M3LError(refusal)
        time.sleep(0.05)
    held = _identity(os.fstat(descriptor))
    _held.add(held)
    try:
        yield
    finally:
        _held.discard(held)
        os.close(descriptor)


def _lock_of(folder: Path) -> int | None:
    """A descriptor that holds the lock; None while another process has it, or puts the folder into its place."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        if folder.exists():  # a file
            raise
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except (FileNotFoundError, BlockingIOError):
        pass
    except OSError:  # a file system without locks
        return descriptor
    os.close(descriptor)
    return None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """For a moment; whoever comes second waits."""
    if _identity(folder.stat()) in _held:  # by this process: it would wait for itself
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
