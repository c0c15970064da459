"""Speaks with the Label Studio that start.sh runs: makes the project that it lacks, or exports what it has.

A copy of this file lies beside start.sh in a package and runs in Label Studio's Python: it needs no package.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

_LONGEST_START_S = _LONGEST_EXPORT_S = 600
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A proxy that leads to the internet (http_proxy) does not lead to this machine."""
_WHOLE, _NUMBERS = {"only_id": False}, {"only_id": True}


class Server:
    """Label Studio on this machine.

    Args:
        folder: of start.sh.
        port: where it listens.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._token = (folder / "data/login").read_text(encoding="utf-8").split()[1]

    def wait(self, process: int) -> None:
        """Until it is up; ``process`` is its number."""
        until = time.monotonic() + _LONGEST_START_S
        while not self._is_up():
            try:
                os.kill(process, 0)
            except ProcessLookupError:
                self.end("has ended")
            if time.monotonic() > until:
                self.end(f"is not up after {_LONGEST_START_S} s")
            time.sleep(1)

    def end(self, why: str) -> None:
        sys.exit(f"start.sh: Label Studio {why}, see {self._folder}/data/server.log")

    def request(self, method: str, path: str, content: Any = None) -> bytes:
        headers = {"Authorization": f"Token {self._token}", "Content-Type": "application/json"}
        body = None if content is None else json.dumps(content).encode()
        try:
            asked = urllib.request.Request(f"{self.address}{path}", body, headers, method=method)
            with _DIRECTLY.open(asked, timeout=300) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            sys.exit(f"start.sh: {method} {path}: {error}: {error.read().decode(errors='replace')[:2000]}")
        except OSError as error:
            sys.exit(f"start.sh: {self.address} does not answer ({error}): is label_studio/start.sh running?")

    def call(self, method: str, path: str, content: Any = None) -> Any:
        return json.loads(self.request(method, path, content))

    def project(self) -> int | None:
        """The first one: others are the annotators' own."""
        return min((each["id"] for each in self.call("GET", "/api/projects?page_size=100")["results"]), default=None)

    def _is_up(self) -> bool:
        try:
            _DIRECTLY.open(f"{self.address}/health", timeout=10).close()
        except OSError:
            return False
        return True


def serve(server: Server, folder: Path) -> None:
    """Make the project, its storage and its tasks, as far as they are not there yet."""
    package, project = folder.parent, server.project()
    if project is None:
        config = (folder / "config.xml").read_text(encoding="utf-8")
        project = server.call("POST", "/api/projects", {"title": package.name[:50], "label_config": config})["id"]
    storage = {"project": project, "title": "images", "path": f"{package}/images", "use_blob_urls": False}
    made = server.call("GET", f"/api/storages/localfiles?project={project}")
    if not made:
        server.call("POST", "/api/storages/localfiles", storage)
    elif made[0]["path"] != storage["path"]:  # the package has moved
        server.call("PATCH", f"/api/storages/localfiles/{made[0]['id']}", storage)
    if not server.call("GET", f"/api/projects/{project}")["task_number"]:
        tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
        server.call("POST", f"/api/projects/{project}/import", tasks)
    count = server.call("GET", f"/api/projects/{project}")["task_number"]
    print(f"start.sh: {count} tasks at {server.address}/projects/{project}/data", flush=True)


def export(server: Server, path: Path) -> None:
    """Write a snapshot: all tasks, with drafts and the names of the annotators."""
    exports = f"/api/projects/{server.project()}/exports/"
    wanted = {"drafts": _WHOLE, "annotations__completed_by": _WHOLE, "predictions": _NUMBERS}
    number = server.call("POST", exports, {"title": path.stem, "serialization_options": wanted})["id"]
    until = time.monotonic() + _LONGEST_EXPORT_S
    while (status := server.call("GET", f"{exports}{number}")["status"]) != "completed":
        if status == "failed" or time.monotonic() > until:
            server.end(f"has not exported, its state is {status}")
        time.sleep(1)
    content = server.request("GET", f"{exports}{number}/download?exportType=JSON")
    server.request("DELETE", f"{exports}{number}")
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    os.replace(part, path)
    print(f"start.sh: {len(json.loads(content))} tasks written to {path}")


def main() -> None:
    folder, task = Path(__file__).resolve().parent, sys.argv[1]
    server = Server(folder, int(os.environ["PORT"]))
    if task == "serve":
        server.wait(int(sys.argv[2]))
        serve(server, folder)
    else:
        export(server, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
