#!/bin/sh
# What is typed when a release was bad; it cannot take a migration back.
set -e
git reset --quiet --hard ORIG_HEAD
.venv/bin/pip install --quiet -r requirements.txt
sh -c "$RESTART"
