#!/bin/bash
# Serves this package in Label Studio: a project with its classes, its images as local files, and its tasks.
#
#     pip install label-studio          # in an environment of its own, and activate it
#     label_studio/start.sh             # then open the address that it prints; Ctrl-C ends it, the same command goes on
#
# All that is labelled lies in label_studio/data. There is no telemetry: no analytics, no error reports, no look for
# newer versions (tips on its pages come from GitHub, where that is reached). PORT (8080) and INTERNAL_HOST (127.0.0.1;
# 0.0.0.0 lets other machines in) may be set, LABEL_STUDIO names another command than label-studio.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
package=$(dirname "$here")
command=${LABEL_STUDIO:-label-studio}
export PORT=${PORT:-8080} INTERNAL_HOST=${INTERNAL_HOST:-127.0.0.1}

if ! program=$(command -v "$command"); then
    echo "start.sh: there is no $command: install it in an environment of its own (pip install label-studio), activate" \
        "that, or name it by LABEL_STUDIO=/path/to/label-studio" >&2
    exit 1
fi
python="$(dirname "$(readlink -f "$program")")/python"
[[ -x $python ]] || python=python3

if (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then
    echo "start.sh: port $PORT is taken: end what listens there, or set PORT to another" >&2
    exit 1
fi

export LABEL_STUDIO_COLLECT_ANALYTICS=false LABEL_STUDIO_LATEST_VERSION_CHECK=false
export LABEL_STUDIO_SENTRY_DSN='' LABEL_STUDIO_FRONTEND_SENTRY_DSN='' SENTRY_DSN='' FRONTEND_SENTRY_DSN=''
export LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=$package
export LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN=true # the one kind that can be given to a server beforehand

mkdir -p "$here/data"
login="$here/data/login"
if [[ ! -f $login ]]; then
    (
        umask 077
        "$python" -c 'import secrets; print(secrets.token_urlsafe(9)); print(secrets.token_hex(20))' >"$login.part"
    )
    mv "$login.part" "$login"
fi
{ read -r password && read -r token; } <"$login"
export LABEL_STUDIO_USERNAME=annotator@localhost LABEL_STUDIO_PASSWORD=$password LABEL_STUDIO_USER_TOKEN=$token

echo "start.sh: starting Label Studio, the first time takes a minute or two; it tells more in $here/data/server.log"
"$command" start --no-browser --data-dir "$here/data" --port "$PORT" --internal-host "$INTERNAL_HOST" \
    --username "$LABEL_STUDIO_USERNAME" --password "$password" --user-token "$token" \
    >"$here/data/server.log" 2>&1 </dev/null &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"$python" - "$here" "$package" "$server" <<'PYTHON'
"""Waits for the server, and makes what it lacks."""

import json
import os
import sys
import time
import urllib.error
import urllib.request

here, package, server = sys.argv[1], sys.argv[2], int(sys.argv[3])
address = f"http://127.0.0.1:{os.environ['PORT']}"
LONGEST_START_S = 600


def call(method, path, content=None):
    headers = {"Authorization": f"Token {os.environ['LABEL_STUDIO_USER_TOKEN']}", "Content-Type": "application/json"}
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(f"{address}{path}", body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"start.sh: {method} {path}: {error}: {error.read().decode(errors='replace')[:2000]}")


def is_up():
    try:
        urllib.request.urlopen(f"{address}/health", timeout=10).close()
    except OSError:
        return False
    return True


until = time.monotonic() + LONGEST_START_S
while not is_up():
    try:
        os.kill(server, 0)
    except ProcessLookupError:
        sys.exit(f"start.sh: Label Studio has ended, see {here}/data/server.log")
    if time.monotonic() > until:
        sys.exit(f"start.sh: Label Studio is not up after {LONGEST_START_S} s, see {here}/data/server.log")
    time.sleep(1)

title = os.path.basename(package)[:50]
projects = call("GET", "/api/projects?page_size=100")["results"]
project = next((each["id"] for each in projects if each["title"] == title), None)
if project is None:
    with open(f"{here}/config.xml", encoding="utf-8") as file:
        project = call("POST", "/api/projects", {"title": title, "label_config": file.read()})["id"]
storage = {"project": project, "title": "images", "path": f"{package}/images", "use_blob_urls": False}
made = call("GET", f"/api/storages/localfiles?project={project}")
if not made:
    call("POST", "/api/storages/localfiles", storage)
elif made[0]["path"] != storage["path"]:  # the package has moved
    call("PATCH", f"/api/storages/localfiles/{made[0]['id']}", storage)
if not call("GET", f"/api/projects/{project}")["task_number"]:
    with open(f"{here}/tasks.json", encoding="utf-8") as file:
        call("POST", f"/api/projects/{project}/import", json.load(file))
count = call("GET", f"/api/projects/{project}")["task_number"]
export = f"{address}/api/projects/{project}/export?exportType=JSON&download_all_tasks=true"
print(f"start.sh: {count} tasks at {address}/projects/{project}/data")
print("start.sh: to export all that is labelled, skipped and saved as a draft, while this runs:")
print(f"  curl -H \"Authorization: Token $(sed -n 2p '{here}/data/login')\" '{export}' -o labels.json", flush=True)
PYTHON
echo "start.sh: log in as $LABEL_STUDIO_USERNAME with $password; Ctrl-C ends the server"
wait "$server"
