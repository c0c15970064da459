#!/bin/bash
# Serves this package in Label Studio: a project with its classes, its images as local files, and its tasks.
#
#     pip install label-studio                  # in an environment of its own, and activate it
#     label_studio/start.sh                     # then open the address that it prints; Ctrl-C ends it, to be gone on with
#     label_studio/start.sh export labels.json  # while it runs: all tasks, drafts and the annotators' names
#
# All that is labelled lies in label_studio/data. There is no telemetry: no analytics, no error reports, no look for
# newer versions (tips on its pages come from GitHub, where that is reached). PORT (8080) and INTERNAL_HOST (127.0.0.1;
# 0.0.0.0 lets other machines in) may be set, LABEL_STUDIO names another command than label-studio.
set -euo pipefail

here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
package=$(dirname "$here")
login="$here/data/login"
if [[ $# -ne 0 && ($# -ne 2 || $1 != export) ]]; then
    echo "start.sh: expected nothing, or: export FILE.json" >&2
    exit 2
fi
if [[ ! ${PORT:-8080} =~ ^[0-9]+$ ]]; then
    echo "start.sh: PORT is $PORT, expected a number" >&2
    exit 2
fi
command=${LABEL_STUDIO:-label-studio}
program=$(command -v "$command" || true)
python="$(dirname "$(readlink -f "$program")")/python"
[[ -x $python ]] || python=python3

if [[ ${1:-} == export ]]; then
    if [[ ! -f $login ]]; then
        echo "start.sh: nothing was labelled here yet: run label_studio/start.sh first" >&2
        exit 1
    fi
    export PORT=${PORT:-$(cat "$here/data/port" 2>/dev/null || echo 8080)}
    exec "$python" "$here/server.py" export "$2"
fi

if [[ -z $program ]]; then
    echo "start.sh: there is no $command: install it in an environment of its own (pip install label-studio), activate" \
        "that, or name it by LABEL_STUDIO=/path/to/label-studio" >&2
    exit 1
fi
export PORT=${PORT:-8080} INTERNAL_HOST=${INTERNAL_HOST:-127.0.0.1}
if (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then
    echo "start.sh: port $PORT is taken: end what listens there, or set PORT to another" >&2
    exit 1
fi

export LABEL_STUDIO_COLLECT_ANALYTICS=false LABEL_STUDIO_LATEST_VERSION_CHECK=false
export LABEL_STUDIO_SENTRY_DSN='' LABEL_STUDIO_FRONTEND_SENTRY_DSN='' SENTRY_DSN='' FRONTEND_SENTRY_DSN=''
export LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=$package
export LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN=true # the one kind that can be given to a server beforehand

mkdir -p "$here/data"
echo "$PORT" >"$here/data/port"
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
    --username "$LABEL_STUDIO_USERNAME" --password="$password" --user-token "$token" \
    >"$here/data/server.log" 2>&1 </dev/null &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"$python" "$here/server.py" serve "$server"
printf 'start.sh: log in as %s with %s; to export: %q export labels.json\n' \
    "$LABEL_STUDIO_USERNAME" "$password" "$here/start.sh"
echo "start.sh: Ctrl-C ends the server"
wait "$server"
