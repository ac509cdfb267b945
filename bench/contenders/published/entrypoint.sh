#!/bin/bash
# The published design's first layer, made again from its description: keeps the app running, and
# brings in new code where it ends with 10. Its fixed pauses are left out.
cd "$(dirname "$0")" || exit 1
lock=data/UPDATE_LOCK.json
trap 'kill -TERM "$app" 2>/dev/null; ended=1' TERM
ended=0

update() {
    mkdir -p data/backups/auto_update
    backup=data/backups/auto_update/code_$(date +%Y%m%d_%H%M%S).tar.gz
    git rev-parse HEAD >data/backups/auto_update/commit
    tar -czf "$backup" --exclude=./data --exclude=./logs --exclude=./temp --exclude=./sessions \
        --exclude=./.env --exclude=./.venv --exclude=./.git . || return 1
    if git fetch --quiet origin main && git reset --quiet --hard origin/main &&
        .venv/bin/pip install --quiet -r requirements.txt; then
        return 0
    fi
    echo 'The update failed: the old code comes back.' >&2
    git reset --quiet --hard "$(cat data/backups/auto_update/commit)"
    tar -xzf "$backup"
    rm -f "$lock"
}

if [ -e "$lock" ]; then update; fi # the power went out in an update: it is done again
while [ "$ended" = 0 ]; do
    .venv/bin/python launcher.py &
    app=$!
    wait "$app"
    code=$?
    if [ "$ended" = 1 ]; then
        wait "$app"
        break
    fi
    case $code in
    0) break ;;
    10) update ;;
    *) sleep 1 ;; # cool-down
    esac
done
