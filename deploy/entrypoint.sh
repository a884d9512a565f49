#!/bin/sh
# web, worker, maintenance or beat: a line of the Procfile; anything else is a command of manage.py.
set -eu
cd "$(dirname "$0")/.."
case "${1:-}" in
    web | worker | maintenance | beat) exec sh -c "$(sed -n "s/^$1: //p" Procfile)" ;;
    *) exec python manage.py "$@" ;;
esac
