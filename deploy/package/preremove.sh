#!/bin/sh
# Before the files of a deb ($1 is remove, or upgrade) or of an rpm ($1 is how many stay) go.
set -e
case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl --no-reload disable --now parlor.service
	fi
	;;
esac
