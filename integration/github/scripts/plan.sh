#!/bin/sh
# Plans the rollout of every baseline in the file CHANGED: the devices are read
# and nothing is written. PLAN_MD gets what people shall read, and no plan that
# is made here is ever started.
set -eu
{
  echo '<!-- edgefleet rollout plan -->'
  echo '### What this change does to devices'
} >"$PLAN_MD"
if [ ! -s "$CHANGED" ]; then
  printf '\nNo baseline is changed.\n' >>"$PLAN_MD"
fi
failed=0
while IFS= read -r file; do
  printf '\n`%s`\n\n' "$file" >>"$PLAN_MD"
  if edgefleet rollout plan --baseline "$file" --select "${EDGEFLEET_SELECT:-}" --reason "pull request ${PR:-}" --detail >plan.txt 2>plan.err </dev/null; then
    # Four spaces are a block that no text in it can end.
    sed 's/^/    /' plan.txt | head -c 30000 >>"$PLAN_MD"
  else
    failed=1
    printf 'There is no plan:\n\n' >>"$PLAN_MD"
    sed 's/^/    /' plan.err | head -c 10000 >>"$PLAN_MD"
    cat plan.err >&2
  fi
done <"$CHANGED"
cat "$PLAN_MD" >>"${GITHUB_STEP_SUMMARY:-/dev/null}"
exit "$failed"
