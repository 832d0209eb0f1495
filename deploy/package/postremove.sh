#!/bin/sh
# After the files of a deb or an rpm went. Removed, it leaves its data and its keys where they
# are; a purge of the deb takes them. The user stays: files may be elsewhere.
set -e
if [ "$1" = purge ]; then
	rm -rf /var/lib/parlor /etc/parlor
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
