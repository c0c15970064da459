"""Nothing half-written is ever found where work on disk belongs."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from m3l_core.files import replacing_file, replacing_folder


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


def test_the_former_folder_comes_back_if_stopped_between_the_two_renames(
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
    assert content(path) == {"old.txt": "old"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_process_leaves_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from m3l_core.files import replacing_file\n"
        "with replacing_file(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os._exit(9)\n"
    )
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    assert subprocess.run([sys.executable, "-c", script, str(path)], env=environment, check=False).returncode == 9
    assert path.read_text() == "old"
