#!/bin/sh
# layout.sh DIR: writes into DIR what packages bring beside the program and the files of
# deploy: the unit for /usr/bin, the changelog.
set -eu
dir=$(realpath "$1")
cd "$(dirname "$0")/../.."
# Without the words on how to install it by hand.
sed -e '1,/^$/d' -e 's|/usr/local/bin/parlor|/usr/bin/parlor|' deploy/parlor.service >"$dir/parlor.service"
gzip --no-name --best <CHANGELOG.md >"$dir/changelog.gz"
