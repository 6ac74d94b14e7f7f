#!/usr/bin/env bash
# Be told of new mail in a shell script, through a Varlink client that is not ours:
# the one of Python's package `varlink`.
#
# Usage: shell.sh [COUNT]     ends after COUNT notifications; without one, with the daemon
set -euo pipefail

count=${1:-0}
socket=${MAILBELL_SOCKET:-/run/mailbell/mailbell.sock}
call=(call --more "unix:$socket/org.mailbell.Listener.Subscribe" '{}')

exec 3< <(exec "${PYTHON:-python3}" -u -m varlink.cli "${call[@]}")
trap 'kill "$!" 2>/dev/null || true' EXIT # else it would stay until it has something to print

# It prints each reply over several lines, one member a line. An account's name has no
# other characters than these (docs/configuration.md): whatever else comes is no name,
# and nothing of it reaches a command.
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
