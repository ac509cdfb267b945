#!/bin/sh
# As Capistrano deploys: a folder for every release, what is shared linked into it, one symlink.
set -e
git -C repo.git fetch --quiet --prune origin '+refs/heads/*:refs/heads/*'
new=releases/$(date +%Y%m%d%H%M%S%N)
mkdir -p "$new"
git -C repo.git archive main | tar -x -C "$new"
ln -s ../../shared/data "$new/data"
uv venv --quiet "$new/.venv"
uv pip sync --quiet --compile-bytecode --python "$new/.venv/bin/python" "$new/requirements.txt"
(cd "$new" && .venv/bin/alembic upgrade head)
readlink current >previous || true
ln -s "$new" current.new
mv -T current.new current
sh -c "$RESTART"
set -- releases/*
while [ $# -gt 5 ]; do
    rm -rf "$1"
    shift
done
