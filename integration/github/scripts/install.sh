#!/bin/sh
# Makes sure that edgefleet is there: the runner's own, or else the one at
# EDGEFLEET_URL, when it has the checksum EDGEFLEET_SHA256.
set -eu
if command -v edgefleet >/dev/null; then
  exit 0
fi
if [ -z "${EDGEFLEET_URL:-}" ] || [ -z "${EDGEFLEET_SHA256:-}" ]; then
  echo "edgefleet is not on this runner: install it there, or set the repository's variables EDGEFLEET_URL and EDGEFLEET_SHA256" >&2
  exit 2
fi
folder="${RUNNER_TEMP:-/tmp}/edgefleet-bin"
mkdir -p "$folder"
curl --fail --silent --show-error --location --proto '=https' --output "$folder/edgefleet" "$EDGEFLEET_URL"
printf '%s  %s\n' "$EDGEFLEET_SHA256" "$folder/edgefleet" | sha256sum -c
chmod 755 "$folder/edgefleet"
printf '%s\n' "$folder" >>"$GITHUB_PATH"
