from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from m3l_core import errors
from m3l_core.errors import M3LError, MissingPackageError, require
from m3l_core.installation import install_command


def test_a_package_that_is_there_is_imported() -> None:
    assert require("json", "train") is json


def test_a_missing_package_names_the_extra_that_brings_it() -> None:
    with pytest.raises(
        MissingPackageError, match=rf"'no_such_package'.*{re.escape(install_command('train'))}"
    ) as caught:
        require("no_such_package", "train")
    assert isinstance(caught.value.__cause__, ImportError)


def test_a_package_that_breaks_on_import_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_package.py").write_text("raise ImportError('libcudnn.so.9 not found')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackageError, match=r"libcudnn\.so\.9 not found"):
        require("broken_package", "train")


def test_one_except_clause_catches_every_error() -> None:
    own = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(own) >= 6
    assert all(issubclass(kind, M3LError) for kind in own)
