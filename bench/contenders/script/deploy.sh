#!/bin/sh
# The five lines that people really use, run in the checkout; $RESTART stands for `systemctl restart`.
set -e
git pull --quiet --ff-only
.venv/bin/pip install --quiet -r requirements.txt
.venv/bin/alembic upgrade head
sh -c "$RESTART"
