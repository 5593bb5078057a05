#!/bin/sh
# Writes the baselines that differ between the commits BASE and HEAD into the
# file CHANGED, one to a line: those that were changed, and those that name a
# template that was. Without a BASE (a new branch, or one that was pushed by
# force) these are all of them.
set -eu
folder="${FLEET_DIR:-.}"
configs="$folder/edge-configs"
: >"$CHANGED"
case "${BASE:-}" in
  '' | *[!0]*) ;;
  *) BASE= ;; # the zeros that stand for no commit
esac
if [ -n "${BASE:-}" ] && ! git cat-file -e "$BASE^{commit}"; then
  BASE=
fi
if [ -z "${BASE:-}" ]; then
  git ls-files -- "$configs/*.yaml" >"$CHANGED.all"
else
  git diff --name-only --diff-filter=d "$BASE...$HEAD" -- "$configs" >"$CHANGED.all"
  git diff --name-only --diff-filter=D "$BASE...$HEAD" -- "$configs" | while IFS= read -r file; do
    echo "::warning::$file was removed: devices keep the settings that it gave them"
  done
fi
while IFS= read -r file; do
  case "$file" in
    *.yaml) printf '%s\n' "$file" >>"$CHANGED" ;;
    */templates/*)
      grep -rlF --include='*.yaml' -- "templates/${file##*/templates/}" "$configs" >>"$CHANGED" || true
      ;;
  esac
done <"$CHANGED.all"
sed 's|^\./||' "$CHANGED" | sort -u >"$CHANGED.all"
mv "$CHANGED.all" "$CHANGED"
echo "$(wc -l <"$CHANGED") changed:"
cat "$CHANGED"
