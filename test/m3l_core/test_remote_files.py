"""Files by URL: copied here and back, over storage in memory and on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3l_core.errors import DatasetError, MissingPackageError
from m3l_core.remote_files import absolute, cached_copy, joined, local_copy, local_folder, location, make_folder

pytestmark = pytest.mark.needs("fsspec")


@pytest.fixture
def memory() -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    yield files
    clear(files)


@pytest.fixture(params=["memory", "file"])
def root(request: pytest.FixtureRequest, memory: Any, tmp_path: Path) -> str:
    """URL of an empty folder."""
    return "memory://bucket" if request.param == "memory" else f"file://{tmp_path}/bucket"


def clear(memory: Any) -> None:
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


def put(url: str, content: bytes) -> None:
    with fsspec.open(url, "wb", auto_mkdir=True) as file:
        file.write(content)


def read(url: str) -> bytes:
    with fsspec.open(url, "rb") as file:
        return bytes(file.read())


def names(url: str) -> set[str]:
    files, root = fsspec.core.url_to_fs(url)
    return {name.removeprefix(root).lstrip("/") for name in files.find(root)}


def test_a_path_stands_for_itself(tmp_path: Path) -> None:
    assert location("bags/hall") == Path("bags/hall")
    with local_copy(tmp_path) as copy, local_folder(tmp_path) as folder:
        assert copy == folder == cached_copy(tmp_path) == tmp_path
    assert joined(tmp_path, "hall") == tmp_path / "hall"
    assert absolute(Path("hall")) == Path.cwd() / "hall"


def test_a_url_is_kept_as_it_is() -> None:
    assert location("s3://bucket/bags//hall/") == "s3://bucket/bags//hall"
    assert joined("s3://bucket/bags", "hall") == "s3://bucket/bags/hall"
    assert absolute("s3://bucket") == "s3://bucket"


def test_a_folder_is_copied_under_its_name_and_only_what_is_in_it(root: str) -> None:
    put(f"{root}/hall/metadata.yaml", b"hall")
    put(f"{root}/hall/deep/er/hall_0.mcap", b"messages")
    put(f"{root}/hallway/metadata.yaml", b"hallway")
    with local_copy(f"{root}/hall") as path:
        assert path.name == "hall"
        assert {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()} == {
            "metadata.yaml",
            "deep/er/hall_0.mcap",
        }
        assert (path / "deep/er/hall_0.mcap").read_bytes() == b"messages"
    assert not path.exists()


def test_a_file_is_copied_under_its_name(root: str) -> None:
    put(f"{root}/hall [1].mcap", b"messages")
    with local_copy(f"{root}/hall [1].mcap") as path:
        assert (path.name, path.read_bytes()) == ("hall [1].mcap", b"messages")


def test_errors_speak_of_the_url(root: str) -> None:
    put(f"{root}/hall/metadata.yaml", b"hall")
    with pytest.raises(DatasetError) as caught, local_copy(f"{root}/hall") as path:
        raise DatasetError(f"bag {path} is damaged")
    assert str(caught.value) == f"bag {root}/hall is damaged"


def test_what_is_not_there_is_told(root: str) -> None:
    with (
        pytest.raises(DatasetError, match=f"{root}/none cannot be copied to this machine: "),
        local_copy(f"{root}/none"),
    ):
        pass
    with pytest.raises(DatasetError, match=f"{root}/none cannot be copied to "):
        cached_copy(f"{root}/none")


def test_storage_that_is_not_known_is_told() -> None:
    with (
        pytest.raises(DatasetError, match="the storage of nonsense://bucket/bag cannot be reached: "),
        local_copy("nonsense://bucket/bag"),
    ):
        pass


def test_storage_that_needs_a_package_is_told() -> None:
    fsspec.register_implementation("absent", "m3l_no_such_package.Files", errtxt="Install absentfs")
    with pytest.raises(MissingPackageError, match="absent://bag needs another package: Install absentfs"):
        make_folder("absent://bag")


def test_a_name_that_leads_out_of_the_folder_is_refused(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files, inside = fsspec.core.url_to_fs(f"{root}/hall")
    monkeypatch.setattr(type(files), "find", lambda self, path, **options: [f"{inside}/../../stolen"])
    with pytest.raises(DatasetError, match="leads out of it"), local_copy(f"{root}/hall"):
        pass


@pytest.mark.parametrize("error", [DatasetError, ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_what_is_written_is_uploaded_whatever_ends_it(root: str, error: type[BaseException]) -> None:
    make_folder(f"{root}/data/hall")
    with local_folder(f"{root}/data/hall") as folder:
        (folder / "color").mkdir()
        (folder / "color/1.png").write_bytes(b"one")
        (folder / "frames.json").write_bytes(b"[1]")
    with pytest.raises(error), local_folder(f"{root}/data/hall") as folder:
        assert list(folder.iterdir()) == []
        (folder / "2.png").write_bytes(b"two")
        raise error("enough")
    assert names(f"{root}/data/hall") == {"color/1.png", "frames.json", "2.png"}
    assert read(f"{root}/data/hall/2.png") == b"two"


def test_an_error_speaks_of_the_url(root: str) -> None:
    make_folder(f"{root}/hall")
    with pytest.raises(DatasetError) as caught, local_folder(f"{root}/hall") as folder:
        raise DatasetError(f"{folder}/source.yaml does not say what {folder} holds")
    assert str(caught.value) == f"{root}/hall/source.yaml does not say what {root}/hall holds"


def test_what_is_there_already_is_not_uploaded_again(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("1.png", "2.png", "frames.json"):
        put(f"{root}/hall/{name}", b"former")
    files, _ = fsspec.core.url_to_fs(root)
    uploads: list[list[str]] = []
    put_files = type(files).put

    def counted(self: Any, local: list[str], remote: list[str], **options: Any) -> None:
        uploads.append([Path(name).name for name in remote])
        put_files(self, local, remote, **options)

    monkeypatch.setattr(type(files), "put", counted)
    with local_folder(f"{root}/hall", with_content=True) as folder:
        assert (folder / "1.png").read_bytes() == b"former"
        for name in ("source.yaml", "3.png", "4.png", "frames.json"):
            temporary = folder / f".{name}"
            temporary.write_bytes(b"former" if name == "frames.json" else b"new")
            temporary.rename(folder / name)
    # The first and the last that were written say what the folder is, and what is in it.
    assert uploads == [["source.yaml"], ["3.png", "4.png"], ["frames.json"]]
    assert names(f"{root}/hall") == {"1.png", "2.png", "3.png", "4.png", "source.yaml", "frames.json"}
    uploads.clear()
    with local_folder(f"{root}/hall", with_content=True):
        pass
    assert uploads == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "data", f"file://{tmp_path}/file/data"):
        with pytest.raises(DatasetError, match="file/data cannot be the output folder: "):
            make_folder(folder)
    with (
        pytest.raises(DatasetError, match="file/data cannot be written: "),
        local_folder(f"file://{tmp_path}/file/data") as made,
    ):
        (made / "report.json").touch()


def test_a_copy_is_kept_until_the_original_changes(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M3L_CACHE", str(tmp_path / "cache"))
    put(f"{root}/bundle/model.yaml", b"first")
    copy = cached_copy(f"{root}/bundle")
    assert (copy.name, (copy / "model.yaml").read_bytes()) == ("bundle", b"first")
    (copy / "engine").touch()
    assert cached_copy(f"{root}/bundle") == copy
    assert (copy / "engine").is_file()
    put(f"{root}/bundle/model.yaml", b"second")
    second = cached_copy(f"{root}/bundle")
    assert (second / "model.yaml").read_bytes() == b"second"
    assert (copy / "model.yaml").read_bytes() == b"first"
    assert not [path for path in (tmp_path / "cache/copies").iterdir() if path.name.startswith(".")]


FILES = st.dictionaries(
    st.lists(st.text("ab c*?[]#%.", min_size=1).filter(lambda part: part.strip(". ")), min_size=1, max_size=3).map(
        "/".join
    ),
    st.binary(max_size=20),
    min_size=1,
    max_size=5,
)


@given(FILES)
def test_what_goes_there_comes_back(content: dict[str, bytes]) -> None:
    """But for names that are a file and a folder at once."""
    folders = {name.rpartition("/")[0][:length] for name in content for length in range(len(name))}
    content = {name: data for name, data in content.items() if name not in folders}
    clear(fsspec.filesystem("memory"))
    with local_folder("memory://round/trip") as folder:
        for name, data in content.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    if content:
        with local_copy("memory://round/trip") as path:
            found = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
        assert found == content
