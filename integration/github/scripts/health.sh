#!/bin/sh
# Requires of every rollout in the file ROLLOUTS that its canary is healthy, and
# that it waits for the approval of production or is done. "Could not find out"
# is not healthy.
set -eu
failed=0
tab=$(printf '\t')
while IFS="$tab" read -r file hash id; do
  edgefleet rollout status "$id" --output json >status.json </dev/null
  verdict=$(jq --raw-output --arg hash "$hash" '
    if .plan_hash != $hash then "it is of another plan"
    elif .state != "waiting for approval" and .state != "done" then "it is " + .state + ": " + (.detail // "")
    elif .failed + .unknown + .changed + .not_begun + .unsafe > 0 then
      "\(.failed) failed, \(.unknown) unknown, \(.changed) changed since the plan, \(.not_begun) not started, \(.unsafe) unsafe"
    elif [.waves[] | select(.ended != null and .verdict != "healthy")] != [] then "a wave is not healthy"
    elif .healthy + .already == 0 then "no device has had its turn"
    else "healthy" end' status.json)
  echo "$file: rollout $id: $verdict"
  if [ "$verdict" != healthy ]; then
    failed=1
    echo "::error::$file: rollout $id: $verdict; look at it with: edgefleet rollout status $id --devices"
  fi
done <"$ROLLOUTS"
exit "$failed"
