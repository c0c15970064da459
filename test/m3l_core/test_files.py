"""Nothing half-written is ever found where work on disk belongs."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Barrier

import pytest
from support.python_path import python_path

from m3l_core import files
from m3l_core.errors import M3LError
from m3l_core.files import finish_folder, home_expanded, replacing_file, replacing_folder, sole_user

ROOT = Path(__file__).parents[2]


class Stopped(Exception):
    pass


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("former", [None, "old"])
def test_a_file_appears_when_it_is_complete(tmp_path: Path, former: str | None) -> None:
    path = tmp_path / "deep" / "file.txt"
    if former:
        path.parent.mkdir()
        path.write_text(former)
    with replacing_file(path) as temporary:
        temporary.write_text("new")
        assert path.exists() == (former is not None)
        assert temporary.parent == path.parent
    assert content(path.parent) == {"file.txt": "new"}


def test_two_threads_that_write_one_file_do_not_meet(tmp_path: Path) -> None:
    both_write = Barrier(2)

    def write(text: str) -> None:
        with replacing_file(tmp_path / "file.txt") as temporary:
            temporary.write_text(text)
            both_write.wait(timeout=60)
            assert temporary.read_text() == text

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(write, ["one", "other"])) == [None, None]
    assert content(tmp_path).keys() == {"file.txt"}
    assert content(tmp_path)["file.txt"] in ("one", "other")


def test_a_failure_leaves_the_former_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(Stopped), replacing_file(path) as temporary:
        temporary.write_text("half")
        raise Stopped
    assert content(tmp_path) == {"file.txt": "old"}


@pytest.mark.parametrize("replacing", [replacing_file, replacing_folder])
def test_an_error_that_names_no_file_names_this_one(
    tmp_path: Path, replacing: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    """As the system's of a full disk does not."""
    with pytest.raises(OSError, match=r"No space left on device: '.*place'"), replacing(tmp_path / "place"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OSError, match=r"No such file or directory: '.*other'$"), replacing(tmp_path / "place"):
        (tmp_path / "other").read_text()
    assert list(tmp_path.iterdir()) == []


def test_a_block_that_writes_no_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), replacing_file(path):
        pass
    assert content(tmp_path) == {"file.txt": "old"}


@pytest.mark.parametrize("former", [False, True])
def test_a_folder_appears_when_it_is_complete(tmp_path: Path, former: bool) -> None:
    path = tmp_path / "deep" / "folder"
    if former:
        path.mkdir(parents=True)
        (path / "old.txt").write_text("old")
    with replacing_folder(path) as temporary:
        (temporary / "new.txt").write_text("new")
        assert path.exists() == former
    assert content(path) == {"new.txt": "new"}
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_can_be_read_by_everyone(tmp_path: Path) -> None:
    with replacing_folder(tmp_path / "folder"):
        pass
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [Stopped, KeyboardInterrupt])
def test_a_failure_leaves_the_former_folder_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old.txt").write_text("old")
    with pytest.raises(error), replacing_folder(path) as temporary:
        (temporary / "new.txt").write_text("half")
        raise error
    assert content(path) == {"old.txt": "old"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_complete_folder_takes_its_place_even_if_stopped_between_the_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old.txt").write_text("old")
    replace, renamed = os.replace, []

    def stopped_at_the_second(source: Path, target: Path) -> None:
        renamed.append(target)
        if len(renamed) == 2:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stopped_at_the_second)
    with pytest.raises(KeyboardInterrupt), replacing_folder(path) as temporary:
        (temporary / "new.txt").write_text("new")
    assert content(path) == {"new.txt": "new"}
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, sys
from pathlib import Path
from m3l_core.files import replacing_file, replacing_folder
left = int(sys.argv[2])
def watch(event, arguments):
    global left
    if event in ("os.mkdir", "os.rename", "os.rmdir", "os.remove") or (event == "open" and "w" in str(arguments[1])):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
sys.addaudithook(watch)
with {context}(Path(sys.argv[1])) as temporary:
    {write}
"""


def killed(context: str, write: str, path: Path, after: int) -> bool:
    """Whether the process was killed before it had done so many operations on files, and one more."""
    script = KILLED.format(context=context, write=write)
    environment = os.environ | {"PYTHONPATH": python_path(), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", script, str(path), str(after)]
    return subprocess.run(command, env=environment, check=False, timeout=60).returncode == -9


@pytest.mark.parametrize("former", [False, True])
def test_a_folder_of_a_killed_process_is_finished_or_removed(tmp_path: Path, former: bool) -> None:
    """Killed before each operation: the name is there or comes back, and nothing lies beside it after the next time."""
    for after in range(20):
        path = tmp_path / str(after) / "folder"
        path.parent.mkdir()
        if former:
            path.mkdir()
            (path / "old.txt").write_text("old")
        write = "(temporary / 'new.txt').write_text('new')"
        was_killed = killed("replacing_folder", write, path, after)
        finish_folder(path)
        found = content(path) if path.exists() else None
        assert found in ([{"old.txt": "old"}, {"new.txt": "new"}] if former else [None, {"new.txt": "new"}])
        with replacing_folder(path) as temporary:
            (temporary / "newer.txt").write_text("newer")
        assert content(path) == {"newer.txt": "newer"}
        assert list(path.parent.iterdir()) == [path]
        if not was_killed:
            break
    else:
        raise AssertionError("it never came to its end")
    assert after > 3


def test_a_file_of_a_killed_process_is_removed_by_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("old")
    assert killed("replacing_file", "temporary.write_text('half'); os.kill(os.getpid(), 9)", tmp_path / "file.txt", 9)
    assert content(tmp_path)["file.txt"] == "old"
    assert len(content(tmp_path)) == 2
    of_another_host = tmp_path / ".file.txt.elsewhere-1-1.part"
    of_a_living_one = tmp_path / f".file.txt.{files._HOST}-{os.getpid()}-1.part"
    of_nobody = tmp_path / ".hidden.part"
    for path in (of_another_host, of_a_living_one, of_nobody):
        path.touch()
    with replacing_file(tmp_path / "other.txt") as temporary:
        temporary.write_text("new")
    kept = {path.name for path in (of_another_host, of_a_living_one, of_nobody)}
    assert content(tmp_path).keys() == {"file.txt", "other.txt", *kept}


def test_a_folder_has_one_user_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_PATIENCE_S", 0.2)
    folder = tmp_path / "deep" / "folder"
    refused = pytest.raises(M3LError, match=r"another process is at work in .*folder: wait until")
    with sole_user(folder), refused, sole_user(folder):
        raise AssertionError("both are in")
    with sole_user(folder), sole_user(tmp_path / "deep"):
        pass
    with replacing_folder(tmp_path / "whole"):
        with pytest.raises(M3LError, match=r"another process is writing .*whole"), replacing_folder(tmp_path / "whole"):
            raise AssertionError("both are in")
        assert not (tmp_path / "whole").exists()
    assert [path.name for path in tmp_path.iterdir()].count("whole") == 1


def test_whoever_comes_second_waits_for_a_moment(tmp_path: Path) -> None:
    def write(text: str) -> None:
        with replacing_folder(tmp_path / "folder") as temporary:
            (temporary / "file.txt").write_text(text)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, "abcdefgh")) == [None] * 8
    assert content(tmp_path / "folder")["file.txt"] in "abcdefgh"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_is_left_in_a_folder_is_removed_by_its_next_user(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    assert killed("replacing_file", "temporary.touch(); os.kill(os.getpid(), 9)", inner / "file.txt", 9)
    assert len(list(inner.iterdir())) == 1
    with sole_user(tmp_path):
        assert list(inner.iterdir()) == []


def test_a_user_that_there_is_not_is_told() -> None:
    with pytest.raises(M3LError, match="~nouser/models: "):
        home_expanded("~nouser/models")


def test_a_killed_process_leaves_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    assert killed("replacing_file", "temporary.write_text('half'); os.kill(os.getpid(), 9)", path, 9)
    assert path.read_text() == "old"


@pytest.mark.timeout(20)
def test_who_has_a_folder_for_himself_puts_others_into_it(tmp_path: Path) -> None:
    with sole_user(tmp_path / "mine"):
        for content in ("first", "second"):
            with replacing_folder(tmp_path / "mine" / "inner") as part:
                (part / "file").write_text(content)
    assert (tmp_path / "mine" / "inner" / "file").read_text() == "second"
