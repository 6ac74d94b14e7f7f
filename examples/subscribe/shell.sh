#!/usr/bin/env bash
# Be told of new mail in a shell script, through a Varlink client of another project:
# the command of the Python package `varlink`.
#
# Usage: shell.sh [COUNT]     ends after COUNT notifications, or with the daemon
set -euo pipefail

count=${1:-0}
socket=${MAILBELL_SOCKET:-/run/mailbell/mailbell.sock}
call=(call --more "unix:$socket/org.mailbell.Listener.Subscribe" '{}')

exec 3< <(exec "${PYTHON:-python3}" -u -m varlink.cli "${call[@]}")
# Without this, the client would live on until it prints its next reply and fails.
trap 'kill "$!" 2>/dev/null || true' EXIT

# The client prints a reply over several lines, each with one member. An account's name
# has only these characters (docs/configuration.md). A line with other characters is
# skipped, so nothing of it reaches a command.
member='^[[:space:]]*"account": "([A-Za-z0-9._@+-]+)",?$'
number=0
while read -r line <&3; do
  [[ $line =~ $member ]] || continue
  echo "${BASH_REMATCH[1]}"
  number=$((number + 1))
  [ "$number" != "$count" ] || exit 0
done
echo "shell.sh: the daemon is gone" >&2
exit 69
