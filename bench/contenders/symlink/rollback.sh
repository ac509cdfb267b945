#!/bin/sh
# `cap deploy:rollback`: the symlink goes back; it cannot take a migration back.
set -e
ln -s "$(cat previous)" current.new
mv -T current.new current
sh -c "$RESTART"
