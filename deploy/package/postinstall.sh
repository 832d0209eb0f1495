#!/bin/sh
# After the files of a deb ($1 is configure, $2 the version before, if any) or of an rpm
# ($1 is how many there are now) are there.
set -e
case "$1" in
configure) [ -n "$2" ] && upgrade=yes || upgrade= ;;
[0-9]*) [ "$1" -gt 1 ] && upgrade=yes || upgrade= ;;
*) exit 0 ;;
esac

# parlor key create leaves the file to its owner, so that a key made by root is one that the
# service reads.
if [ ! -e /etc/parlor/credentials ]; then
	install -o parlor -g parlor -m 0600 /dev/null /etc/parlor/credentials
fi

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# It drains: clients connect again, here or elsewhere.
	[ -z "$upgrade" ] || systemctl try-restart parlor.service
fi

# It lets nobody in without an access key, so it is not started before somebody made one.
[ -n "$upgrade" ] || cat <<END
Parlor is installed, and not started: it needs an access key. To make one, and to start it now and at boot:
  sudo parlor key create --credentials /etc/parlor/credentials --name ops
  sudo systemctl enable --now parlor
Its settings are in /etc/parlor/parlor.yaml.
END
