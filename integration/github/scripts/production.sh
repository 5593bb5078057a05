#!/bin/sh
# Approves every rollout in the file ROLLOUTS, by the hash of the plan whose
# canary was looked at, and follows it to its end. Run again, it goes on with
# what is left.
set -eu
failed=0
tab=$(printf '\t')
while IFS="$tab" read -r file hash id; do
  echo "::group::$file"
  edgefleet rollout status "$id" --output json >status.json </dev/null
  if [ "$(jq --raw-output .state status.json)" = "waiting for approval" ]; then
    edgefleet rollout approve "$id" --plan "$hash" --note "${NOTE:-}" </dev/null
  fi
  if ! edgefleet rollout watch "$id" --exit-when-waiting </dev/null; then
    failed=1
    echo "::error::$file: rollout $id did not come to its end; look at it with: edgefleet rollout status $id --devices, and take it back with: edgefleet rollout rollback $id"
  fi
  echo "::endgroup::"
done <"$ROLLOUTS"
exit "$failed"
