#!/bin/sh
# Checks every baseline in the file CHANGED, and the fleet directory as a whole.
# Nothing is asked of Temporal, and nothing is dialled.
set -eu
folder="${FLEET_DIR:-.}"
set --
while IFS= read -r file; do
  set -- "$@" "$file"
done <"$CHANGED"
if [ $# -gt 0 ]; then
  edgefleet config validate --fleet "$folder" -- "$@"
fi
edgefleet fleet validate "$folder"
