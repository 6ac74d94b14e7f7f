#!/bin/sh
# Ring from a script: one line for the socket of the hooks. Where there is mailbell-hook, call that
# instead: it never waits, and it reports to the system's log.
#
# Usage: shell.sh ACCOUNT [FOLDER]
#        MAILBELL_HOOK=/path/of/the/socket shell.sh ACCOUNT
socket="${MAILBELL_HOOK:-/run/mailbell-sender/hook}"
# Nothing is ever answered. -T: a sender that is stopped must not keep the script waiting.
printf 'new %s\n' "$*" | timeout 5 socat -u -T 1 - "UNIX-CONNECT:$socket" || true
