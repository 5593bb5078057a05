#!/bin/sh
# Shows PLAN_MD on the pull request PR, in one comment that is written over.
set -eu
mine=$(gh api --paginate "repos/$GITHUB_REPOSITORY/issues/$PR/comments" --jq '.[] | select(.user.type == "Bot" and (.body | startswith("<!-- edgefleet rollout plan -->"))) | .id' | head -n 1)
if [ -n "$mine" ]; then
  gh api --silent --method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$mine" --field "body=@$PLAN_MD"
else
  gh api --silent --method POST "repos/$GITHUB_REPOSITORY/issues/$PR/comments" --field "body=@$PLAN_MD"
fi
