#!/bin/sh
# Before the files of a deb or an rpm are there: the user that they are for.
set -e
if ! getent group parlor >/dev/null; then
	groupadd --system parlor
fi
if ! getent passwd parlor >/dev/null; then
	useradd --system --gid parlor --no-create-home --home-dir /var/lib/parlor --shell /usr/sbin/nologin parlor
fi
