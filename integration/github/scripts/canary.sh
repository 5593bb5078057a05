#!/bin/sh
# Plans and starts a rollout for every baseline in the file CHANGED, and follows
# it until its canary is through. ROLLOUTS gets a line for each: the file, the
# plan's hash, the rollout's ID, separated by tabs.
set -eu
: >"$ROLLOUTS"
while IFS= read -r file; do
  echo "::group::$file"
  edgefleet rollout plan --baseline "$file" --select "${EDGEFLEET_SELECT:-}" --approve fleet --reason "${REASON:-}" --output json >plan.json </dev/null
  hash=$(jq --raw-output .hash plan.json)
  devices=$(jq '[.waves[]?.devices] | add // 0' plan.json)
  if [ "$devices" -eq 0 ]; then
    echo "$file: no device differs; nothing is started"
    echo "::endgroup::"
    continue
  fi
  id=$(printf '%.12s' "$hash")
  printf '%s\t%s\t%s\n' "$file" "$hash" "$id" >>"$ROLLOUTS"
  code=0
  edgefleet rollout start --plan "$hash" --watch --exit-when-waiting --reason "${REASON:-}" </dev/null || code=$?
  echo "::endgroup::"
  # 3 is that it waits for a person: for the approval of production, or because
  # it paused; which of them it is, the health check says.
  case "$code" in
    0 | 3) ;;
    *)
      echo "::error::$file: rollout $id failed; take it back with: edgefleet rollout rollback $id"
      exit "$code"
      ;;
  esac
done <"$CHANGED"
